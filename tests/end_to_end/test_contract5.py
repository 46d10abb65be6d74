"""Contract 5: alone or in company, a trial is bitwise the same: in what is journalled and in the weights kept."""

from __future__ import annotations

import contextlib
import random

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from jaxopt_intro import Experiment, Space, data, journal, log_uniform, pruning, sweep, uniform
from jaxopt_intro.experiment import running
from jaxopt_intro.sweeps import planning, readying, session
from jaxopt_intro.sweeps.space import unique

WIDTH = 4
rng = np.random.default_rng(5)
X = rng.normal(size=(70, 6)).astype(np.float32)
Y = (X @ rng.normal(size=(6, 3)) + rng.normal(size=(70, 3))).argmax(1).astype(np.int32)
DATA = data.from_arrays(train=(X, Y), valid=0.3)
EXPERIMENT = Experiment(
    data=DATA, model="mlp", optimizer="sgd", penalty="l2", epochs=3, batch_size=8, keep=1000, metrics=["accuracy"]
)
SPACE = Space(
    learning_rate=log_uniform(1e-2, 1.0), l2=log_uniform(1e-5, 1e-1), dropout=uniform(0.0, 0.8), widths=(6,)
)  # fmt: skip
SOUND = SPACE.random(6, seed=1)
DIVERGING = SOUND[0]._replace(hparams={**SOUND[0].hparams, "learning_rate": 1e30})
TRIALS = [*SOUND[:3], DIVERGING, *SOUND[3:]]


def outcome(directory):
    """What a run says of each member, every number as its bits: metrics by epoch, how it ended, its kept weights.

    An epoch without any number is left out: a tile whose lanes have all failed ends early.
    """
    found = {}
    for record in journal.read(directory):
        if record["type"] == "epoch":
            for i, member in enumerate(map(tuple, record["members"])):
                values = {name: np.float32(column[i]) for name, column in record["metrics"].items()}
                epochs = found.setdefault(member, {})
                if not np.isnan(list(values.values())).all():
                    values = {name: value.tobytes() for name, value in values.items()}
                    assert epochs.setdefault(record["epoch"], values) == values  # a resume may write an epoch again
        elif record["type"] == "end":
            found[record["trial"], record["seed"]]["end"] = record
        elif record["type"] == "weights" and record["path"]:
            with np.load(directory / record["path"]) as stored:
                weights = {name: stored[name].tobytes() for name in stored.files}
            found[record["trial"], record["seed"]][record["which"]] = weights
    return found


@pytest.fixture(scope="module", autouse=True)
def one_executable():
    """All runs of a width share its compiled programs, as the contract says; and the tests take seconds."""
    kept = {}

    def programs(make_tile, *args, **options):
        return kept.setdefault("programs", engine_programs(make_tile, *args, **options))

    engine_programs = readying.Programs
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readying, "Programs", programs)
        yield


def run(directory, trials, replicates=1, *, width=WIDTH, experiment=EXPERIMENT):
    sweep(experiment, trials, replicates, directory, width=width)
    return outcome(directory)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Each trial in a run of its own: one lane of four, the others padding."""
    found = {}
    for trial in TRIALS:
        found |= run(tmp_path_factory.mktemp("alone") / "run", [trial])
    assert len(found) == len(TRIALS)
    return found


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    return run(tmp_path_factory.mktemp("together") / "run", TRIALS)


def test_the_case_is_worth_its_name(alone, together):
    """Trials differ, one diverges beside the others, and all are there."""
    ends = [member["end"] for member in together.values()]
    assert [end["status"] for end in ends] == ["finished"] * 3 + ["failed"] + ["finished"] * 3
    sound = [member for member in together.values() if member["end"]["status"] == "finished"]
    assert all({"best", "last", 1, 2, 3} <= member.keys() for member in sound)
    assert len({member[3]["train_loss"] for member in sound}) == len(SOUND)


def test_a_trial_alone_is_bitwise_the_trial_in_company(alone, together):
    assert alone == together


@settings(deadline=None, derandomize=True, max_examples=12)
@given(chosen=st.lists(st.sampled_from(range(len(TRIALS))), min_size=2, unique=True))
def test_no_order_tile_or_company_changes_a_bit(alone, tmp_path_factory, chosen):
    found = run(tmp_path_factory.mktemp("company") / "run", [TRIALS[i] for i in chosen])
    assert found == {member: alone[member] for member in found}
    assert len(found) == len(chosen)


def test_a_program_compiled_anew_gives_the_same_bits(alone, tmp_path, monkeypatch):
    monkeypatch.setattr(readying, "Programs", planning.Programs)
    assert run(tmp_path / "run", TRIALS[::-1]) == alone


def test_more_trials_later_are_the_same_trials(alone, tmp_path):
    first = run(tmp_path / "run", TRIALS[4:1:-1])
    assert first == {member: alone[member] for member in first}
    assert run(tmp_path / "run", TRIALS) == alone


@pytest.mark.parametrize("vary_batches", [False, True])
def test_a_replicate_is_the_trial_asked_alone_with_its_seed(tmp_path, vary_batches):
    experiment = Experiment(**{**vars(EXPERIMENT), "vary_batches": vary_batches})
    three = run(tmp_path / "three", TRIALS[2:5], 3, experiment=experiment)
    assert len(three) == 9
    for seed in (0, 1, 2):
        one = run(tmp_path / f"seed{seed}", TRIALS[3:1:-1], experiment=Experiment(**{**vars(experiment), "seed": seed}))
        assert len(one) == 2
        assert one == {member: three[member] for member in one}


@pytest.mark.parametrize("width", [1, 7])
def test_another_width_agrees_over_the_first_epoch(together, tmp_path, width, monkeypatch):
    monkeypatch.setattr(readying, "Programs", planning.Programs)
    other = run(tmp_path / "run", TRIALS, width=width)
    assert {member: (x["end"]["status"], x["end"]["step"]) for member, x in other.items()} == {
        member: (x["end"]["status"], x["end"]["step"]) for member, x in together.items()
    }
    for member, epochs in together.items():
        for name, value in epochs.get(1, {}).items():
            got, expected = (np.frombuffer(v, np.float32) for v in (other[member][1][name], value))
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5, err_msg=f"{member} {name}")


def test_padding_never_appears(tmp_path):
    directory = tmp_path / "run"
    found = run(directory, TRIALS[:2])
    records = journal.read(directory)
    assert len(found) == 2
    assert all(len(r["members"]) == 2 for r in records if r["type"] == "epoch")
    assert sum(r["type"] == "end" for r in records) == 2
    assert {tuple(np.shape(column)) for r in records if r["type"] == "epoch" for column in r["metrics"].values()} == {
        (2,)
    }


# -- 200 trials, searched for a counter-example -----------------------------------------------------------------

MANY = SPACE.random(200, seed=7)
WIDE = 16


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """200 trials in the order asked, without a pruner, for 1, 2 and 3 epochs: what other ways to run them are held to.

    A trial is its curve, and a longer one begins with the shorter: so these are what a pruned trial's weights were.
    """
    kept = readying.Programs
    with pytest.MonkeyPatch.context() as patch:
        programs = {}
        patch.setattr(readying, "Programs", lambda *a, **k: programs.setdefault("of 16", planning.Programs(*a, **k)))
        patch.setattr(planning, "SEGMENT_SECONDS", 0.0)  # train_* are sums within a segment
        runs = {}
        for epochs in (1, 2, 3):
            experiment = Experiment(**{**vars(EXPERIMENT), "epochs": epochs})
            runs[epochs] = run(tmp_path_factory.mktemp("many") / "run", MANY, width=WIDE, experiment=experiment)
        yield Outcome(runs)
    assert readying.Programs is kept


class Outcome(dict):
    """Of many members, by epochs: Hypothesis warns of arguments that are long to write down."""

    def __repr__(self):
        return f"{len(self)} runs"


class Killed(Exception):
    """Stands for a kill: the process is gone, its journal and checkpoints are there."""


@settings(deadline=None, derandomize=True, max_examples=4, phases=[Phase.generate])  # shrinking takes minutes
@given(
    order=st.integers(0, 2**32),
    count=st.integers(20, len(MANY)),
    places=st.lists(st.integers(0, 20), max_size=5),
    prune=st.sampled_from([None, "hyperband", "asha", "median"]),
    moments=st.lists(st.integers(1, 12), max_size=3),
)
def test_no_pruning_of_others_nan_or_kill_changes_a_bit_of_200_trials(
    many, tmp_path_factory, order, count, places, prune, moments
):
    trials = random.Random(order).sample(MANY, count)
    for place in places:
        bad = MANY[place % 7]
        trials.insert(place, bad._replace(hparams={**bad.hparams, "learning_rate": 1e30}))
    pruner = pruning.PRUNERS[prune]() if prune else None
    directory = tmp_path_factory.mktemp("searched") / "run"
    saves = session.Session.save_checkpoint
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "SEGMENT_SECONDS", 0.0)
        patch.setattr(running, "Session", lambda *a, **k: session.Session(*a, checkpoint_seconds=0.0, **k))
        for moment in [*moments, None]:
            left = [moment]

            def save(own, record, tree, left=left):
                saves(own, record, tree)
                if left[0] is not None:
                    left[0] -= 1
                    if left[0] == 0:
                        raise Killed

            patch.setattr(session.Session, "save_checkpoint", save)
            with contextlib.suppress(Killed):
                sweep(EXPERIMENT, trials, directory=directory, width=WIDE, pruner=pruner)
    found = outcome(directory)
    assert len(found) == len(unique(trials))
    assert len(many[3].keys() & found.keys()) == count
    for member, own in found.items():
        if member not in many[3]:  # one that diverges
            assert own["end"]["status"] == "failed"
            continue
        epochs = own["end"]["epoch"]
        alike = {name: value for name, value in many[epochs][member].items() if name != "end"}
        assert {name: value for name, value in own.items() if name != "end"} == alike  # also the weights of pruned ones
        status = {name: own["end"][name] for name in ("status", "reason")}
        assert own["end"] == {**many[epochs][member]["end"], **status}
        assert status["status"] == "pruned" or epochs == 3


def test_across_widths_trials_differ_no_more_than_by_an_ulp_of_the_learning_rate(tmp_path, monkeypatch):
    """Later differences are those of chaos: another width is one more way to round."""
    monkeypatch.setattr(readying, "Programs", planning.Programs)
    experiment = Experiment(**{**vars(EXPERIMENT), "epochs": 25, "penalty": ()})
    trials = Space(learning_rate=log_uniform(1.0, 8.0), widths=(6,)).random(16, seed=3)
    rates = [np.nextafter(np.float32(t.hparams["learning_rate"]), np.float32(9)) for t in trials]
    nudged = [t._replace(hparams={"learning_rate": float(rate)}) for t, rate in zip(trials, rates, strict=True)]
    runs = (("base", trials, 16), ("nudged", nudged, 16), ("one", trials, 1), ("five", trials, 5))
    base, by_ulp, *by_width = (
        np.nan_to_num(sweep(experiment, asked, directory=tmp_path / name, width=width).valid_loss.values)
        for name, asked, width in runs
    )
    ulp = np.abs(by_ulp - base) / (1 + np.abs(base))
    assert np.quantile(ulp, 0.9) > 1e-5  # grown a hundredfold: there is chaos to compare with
    for other in by_width:
        apart = np.abs(other - base) / (1 + np.abs(base))
        for share in (0.5, 0.75, 0.9):
            assert np.quantile(apart, share) <= 5 * np.quantile(ulp, share) + 1e-6
