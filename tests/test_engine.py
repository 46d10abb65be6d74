"""The engine: every asked member ends, the best weights stay, what happened is in the journal."""

from __future__ import annotations

import functools
import types
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxopt_intro import Experiment, Space, choice, journal, log_uniform, results, sweep
from jaxopt_intro.experiment import running
from jaxopt_intro.journal import Journal
from jaxopt_intro.sweeps import planning
from jaxopt_intro.sweeps.keeping import Keeper, ranking
from jaxopt_intro.sweeps.population import Best, Lane
from jaxopt_intro.sweeps.session import Session
from tests.small import DATA, of

pytestmark = pytest.mark.usefixtures("compiled_once")

EXPERIMENT = Experiment(data=DATA, model="linear", optimizer="sgd", epochs=2, batch_size=8)
RATES = Space(learning_rate=log_uniform(1e-3, 1.0))


def experiment(**changed):
    return Experiment(**{**vars(EXPERIMENT), **changed})


def weights(directory):
    return {path.name.removesuffix(".npz") for path in (directory / "weights").glob("*")}


# -- failing ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def diverging(tmp_path_factory):
    """Tiles of 2: one sound, one half diverging, one all diverging; by the sgd of a linear model with a huge rate."""
    directory = tmp_path_factory.mktemp("diverging") / "run"
    trials = RATES.grid(3)
    bad = [trials[0]._replace(hparams={"learning_rate": rate}) for rate in (1e30, 2e30, 3e30)]
    heard = []
    found = sweep(experiment(epochs=5), [*trials, *bad], directory=directory, width=2, listener=heard.append)
    return types.SimpleNamespace(directory=directory, found=found, heard=heard)


def test_every_member_ends_and_a_failed_one_says_when_and_why(diverging):
    assert diverging.found.status.values.ravel().tolist() == ["finished"] * 3 + ["failed"] * 3
    ends = of(diverging.directory, "end")
    assert len(ends) == len({(end["trial"], end["seed"]) for end in ends}) == 6
    for end in ends[3:]:
        assert end["reason"] == "the loss or the update was not finite"
        assert 1 <= end["step"] <= 4
        assert end["epoch"] == 0
    assert {end["step"] for end in ends[:3]} == {5 * (30 // 8)}
    assert all(np.isfinite(end["score"]) for end in ends[:3])


def test_the_neighbour_of_a_failed_lane_is_sound(diverging):
    neighbour = diverging.found.isel(trial=2, seed=0)
    for name in ("valid_accuracy", "valid_loss", "train_loss", "train_grad_norm"):
        assert np.isfinite(neighbour[name]).all(), name
    assert not np.isfinite(diverging.found.isel(trial=3, seed=0).valid_accuracy).any()


def test_a_tile_whose_lanes_have_all_failed_ends_early(diverging):
    failed = [record for record in of(diverging.directory, "epoch") if record["members"][0][0] == str(
        diverging.found.trial.values[4])]  # fmt: skip
    assert 1 <= len(failed) < 5


def test_failed_trials_keep_no_weights_and_are_not_chosen(diverging):
    sound = {f"{trial}-0-{which}" for trial in diverging.found.trial.values[:3] for which in ("best", "last")}
    assert weights(diverging.directory) == sound
    (test,) = of(diverging.directory, "test")
    assert test["trial"] == results.best(diverging.found).trial.item()


def test_a_sweep_that_only_fails_ends_in_order(tmp_path):
    bad = RATES.grid(1)[0]._replace(hparams={"learning_rate": 1e30})
    found = sweep(EXPERIMENT, [bad], 2, tmp_path / "run", width=2)
    assert found.status.values.tolist() == [["failed", "failed"]]
    assert weights(tmp_path / "run") == set()
    assert not of(tmp_path / "run", "test")
    assert len(of(tmp_path / "run", "receipt")) == 1


def test_the_listener_hears_the_journal_and_how_far_it_is(diverging):
    kinds = {record["type"] for record in diverging.heard}
    assert {"directory", "run", "trial", "plan", "progress", "epoch", "end", "weights", "test", "receipt"} == kinds
    done = [record["done"] for record in diverging.heard if record["type"] == "epoch"]
    assert done == sorted(done)
    assert done[-1] <= diverging.heard[-1]["total"] == 30
    heard = [record for record in diverging.heard if record["type"] not in ("progress", "directory")]
    assert [r["type"] for r in heard] == [r["type"] for r in journal.read(diverging.directory)]


def test_the_receipt_counts_what_was_done(diverging):
    (receipt,) = of(diverging.directory, "receipt")
    assert (receipt["trials"], receipt["members"]) == (6, 6)
    assert 0 < receipt["busy"] < 1
    (group,) = receipt["groups"]
    assert (group["width"], group["why"], group["members"]) == (2, "asked for", 6)
    parts = ("compile_seconds", "measuring_seconds", "run_seconds")
    assert sum(receipt[part] for part in parts) == pytest.approx(receipt["seconds"], abs=0.01)


# -- groups, seeds, batches ------------------------------------------------------------------------------------


def test_groups_run_one_after_another_and_each_has_its_plan(tmp_path):
    optimizers = choice(["sgd", "momentum"])
    space = Space({"momentum.momentum": 0.5}, learning_rate=log_uniform(1e-2, 1e-1), optimizer=optimizers)
    found = sweep(experiment(optimizer="adam"), space.grid(2), directory=tmp_path / "run", width=2)
    assert (found.status == "finished").all()
    plans = of(tmp_path / "run", "plan")
    assert [plan["title"] for plan in plans] == ["optimizer sgd", "optimizer momentum"]
    assert len(set(found.group.values)) == 2
    assert np.isnan(found["momentum.momentum"].values).tolist() == [True, True, False, False]


@pytest.mark.parametrize("vary_batches", [False, True])
def test_seeds_share_their_batches_unless_asked_otherwise(tmp_path, vary_batches):
    """A linear model starts at zero: without noise, seeds differ by their batches or not at all."""
    found = sweep(experiment(vary_batches=vary_batches), RATES.grid(2), 3, tmp_path / "run", width=4)
    assert (found.status == "finished").all()
    losses = found.train_loss.isel(epoch=0).values
    assert [len(set(row)) for row in losses] == ([3, 3] if vary_batches else [1, 1])


def test_how_a_round_is_cut_changes_no_weight(tmp_path, monkeypatch):
    kept = []
    for seconds in (5.0, 0.0):
        monkeypatch.setattr(planning, "SEGMENT_SECONDS", seconds)
        directory = tmp_path / str(seconds)
        found = sweep(EXPERIMENT, RATES.grid(3), directory=directory, width=3)
        kept.append({name: dict(np.load(directory / "weights" / f"{name}.npz")) for name in weights(directory)})
        assert of(directory, "plan")[0]["segment"] == (3 if seconds else 1)
        kept[-1]["valid"] = {"valid_accuracy": found.valid_accuracy.values}
    for name, arrays in kept[0].items():
        for leaf, array in arrays.items():
            np.testing.assert_array_equal(kept[1][name][leaf], array)


def test_steps_in_place_of_epochs_end_in_a_shorter_round(tmp_path):
    found = sweep(experiment(steps=7), RATES.grid(2), directory=tmp_path / "run", width=2)
    assert found.sizes["epoch"] == 3
    assert (found.stopped_step == 7).all()
    assert np.isfinite(found.train_loss).all()


# -- going on --------------------------------------------------------------------------------------------------


class Stop(Exception):
    pass


def stop_after(kind, count):
    """A listener that ends the process' work, as a kill would, right after so many records of a kind."""
    seen = []

    def listen(record):
        seen.extend([record] if record["type"] == kind else [])
        if len(seen) == count:
            raise Stop

    return listen


def outcome(directory):
    ends = {(r["trial"], r["seed"]): repr(r) for r in of(directory, "end")}
    kept = {name: (directory / "weights" / f"{name}.npz").read_bytes() for name in weights(directory)}
    return ends, kept, of(directory, "test")


def test_wherever_a_run_is_cut_it_goes_on_to_the_same_end(tmp_path, monkeypatch):
    """At each record in turn: between the weights of a tile, its ends, the removal of others, the tests of seeds."""
    monkeypatch.setattr(running, "Session", functools.partial(Session, checkpoint_seconds=0.0))
    asked = experiment(keep=2, epochs=4), RATES.grid(3), 2
    sweep(*asked, tmp_path / "whole", width=4)
    expected = outcome(tmp_path / "whole")
    counts = {kind: len(of(tmp_path / "whole", kind)) for kind in ("weights", "end", "test")}
    assert counts["weights"] > 8, "some weights were removed again"
    assert counts["test"] == 2
    assert min(end["best_epoch"] for end in of(tmp_path / "whole", "end")) == 1, "a best epoch lies before a cut"
    directory = tmp_path / "cut"
    for kind, count in [
        ("trial", 2),
        ("plan", 1),
        ("epoch", 1),
        ("epoch", 2),
        ("weights", 3),
        ("end", 2),
        ("end", 1),
        ("test", 1),
    ]:
        with pytest.raises(Stop):
            sweep(*asked, directory, width=4, listener=stop_after(kind, count))
    sweep(*asked, directory)
    assert outcome(directory) == expected
    assert of(directory, "receipt")


def test_more_trials_train_only_themselves_and_the_best_of_all_is_chosen(tmp_path):
    directory = tmp_path / "run"
    good, poor = Space(learning_rate=0.5).grid(), Space(learning_rate=log_uniform(1e-6, 1e-5)).grid(2)
    sweep(experiment(keep=2), good, directory=directory, width=2)
    first = weights(directory)
    found = sweep(experiment(keep=2), poor, directory=directory)
    assert found.sizes["trial"] == 3
    assert len(of(directory, "end")) == 3
    best = results.best(found).trial.item()
    assert first < weights(directory), "the first trial's weights stay though it was not asked again"
    assert [test["trial"] for test in of(directory, "test")] == [best], "the test split is touched once"
    before = len(of(directory, "epoch"))
    sweep(experiment(keep=2), [*poor, *good], directory=directory)
    assert len(of(directory, "epoch")) == before


def test_more_and_fewer_replicates(tmp_path):
    directory = tmp_path / "run"
    sweep(EXPERIMENT, RATES.grid(2), directory=directory, width=2)
    more = sweep(EXPERIMENT, RATES.grid(2), 3, directory)
    assert more.status.values.tolist() == [["finished"] * 3] * 2
    assert len(of(directory, "end")) == 6
    fewer = sweep(EXPERIMENT, RATES.grid(2), 1, directory)
    np.testing.assert_array_equal(fewer.score, more.score)
    tests = [(test["trial"], test["seed"]) for test in of(directory, "test")]
    assert len(tests) == len(set(tests))
    assert {seed for trial, seed in tests if trial == results.best(fewer).trial.item()} == {0, 1, 2}


def test_fewer_trials_than_an_interrupted_tile_held(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "Session", functools.partial(Session, checkpoint_seconds=0.0))
    trials = RATES.grid(4)
    with pytest.raises(Stop):
        sweep(EXPERIMENT, trials, directory=tmp_path / "run", width=4, listener=stop_after("epoch", 1))
    assert of(tmp_path / "run", "checkpoint")
    found = sweep(EXPERIMENT, trials[:2], directory=tmp_path / "run")
    assert found.status.values.ravel()[:2].tolist() == ["finished"] * 2


# -- the keeper ------------------------------------------------------------------------------------------------


class Asked(NamedTuple):
    trial: str
    seed: int


def lanes_of(scores, failed):
    """Lanes at their end, each with its number as its weights."""
    count = len(scores)
    params = {"w": np.arange(count, dtype=np.float32)}
    state = types.SimpleNamespace(params=params, model_state={})
    best = Best(np.array(scores, np.float32), np.where(np.isfinite(scores), 2, 0), params, {})
    return Lane(state, np.array(failed, np.int32), np.zeros(count, np.int32), best, (), ())


def keep_all(directory, tiles, *, keep, seeds, direction="max"):
    """Ends tiles `[(trial, seed, score, failed step)]` in turn; returns the trials whose weights are there."""
    sign = 1.0 if direction == "max" else -1.0
    with Journal(directory) as writer:
        writer.append({"type": "run", "format": journal.FORMAT})
        session = Session(directory, writer, [], lambda record: None)
        session.seeds |= seeds
        keeper = Keeper(session, types.SimpleNamespace(direction=direction, keep=keep))
        for tile in tiles:
            lanes = lanes_of([sign * score for _, _, score, _ in tile], [step for *_, step in tile])
            keeper.finish([Asked(trial, seed) for trial, seed, *_ in tile], lanes, [3, 3], 2)
    on_disk = weights(directory)
    recorded = {}
    for record in of(directory, "weights"):
        recorded[f"{record['trial']}-{record['seed']}-{record['which']}"] = record["path"]
    assert {name for name, path in recorded.items() if path} == on_disk, "the journal says what is there"
    return sorted({name.split("-")[0] for name in on_disk})


ONE = {name: [0] for name in "abcdef"}


@pytest.mark.parametrize(("direction", "best"), [("max", ["c", "d"]), ("min", ["a", "b"])])
def test_the_best_trials_weights_are_kept_and_the_others_removed(tmp_path, direction, best):
    tiles = [[("a", 0, 0.1, 0), ("d", 0, 0.4, 0)], [("c", 0, 0.3, 0), ("b", 0, 0.2, 0)]]
    assert keep_all(tmp_path, tiles, keep=2, seeds=ONE, direction=direction) == best


def test_of_equal_scores_the_first_asked_is_kept(tmp_path):
    tiles = [[("d", 0, 0.5, 0)], [("b", 0, 0.5, 0), ("c", 0, 0.5, 0)], [("a", 0, 0.4, 0)]]
    assert keep_all(tmp_path, tiles, keep=1, seeds=ONE) == ["b"]


def test_failed_ones_and_those_that_never_had_a_score_are_left_out(tmp_path):
    tiles = [[("a", 0, 0.9, 4), ("b", 0, 0.1, 0), ("c", 0, -np.inf, 0)]]
    assert keep_all(tmp_path, tiles, keep=1, seeds=ONE) == ["b"], "they take nobody's place"
    ends = {end["trial"]: end for end in of(tmp_path, "end")}
    assert [ends[t]["status"] for t in "abc"] == ["failed", "finished", "finished"]
    assert [(ends[t]["step"], ends[t]["epoch"]) for t in "abc"] == [(4, 1), (6, 2), (6, 2)]
    assert [ends[t]["best_epoch"] for t in "abc"] == [2, 2, 0]


def test_a_trial_is_ranked_when_all_its_seeds_have_ended(tmp_path):
    seeds = {"a": [0, 1], "b": [0, 1]}
    tiles = [[("a", 0, 0.1, 0), ("b", 0, 0.9, 0)], [("b", 1, 0.1, 0)]]
    assert keep_all(tmp_path / "some", tiles, keep=1, seeds=seeds) == ["a", "b"], "a has a seed to come"
    assert keep_all(tmp_path / "all", [*tiles, [("a", 1, 0.6, 0)]], keep=1, seeds=seeds) == ["b"]
    assert keep_all(
        tmp_path / "one failed", [*tiles[:1], [("b", 1, 0.9, 5), ("a", 1, 0.0, 0)]], keep=1, seeds=seeds
    ) == ["a"]


scores = st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.7]), min_size=6, max_size=6)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(scores=scores, failed=st.sets(st.integers(0, 5)), order=st.permutations(range(6)), keep=st.integers(1, 3))
def test_what_is_kept_does_not_depend_on_the_order_in_which_tiles_end(tmp_path_factory, scores, failed, order, keep):
    members = [(name, 0, scores[i], 3 if i in failed else 0) for i, name in enumerate("abcdef")]
    expected = sorted(
        sorted((name for name, _, _, step in members if not step), key=lambda n: -scores["abcdef".index(n)])[:keep]
    )
    directory = tmp_path_factory.mktemp("kept")
    assert keep_all(directory, [[members[i]] for i in order], keep=keep, seeds=ONE) == expected


def test_the_ranking_does_not_depend_on_where_scores_were_read():
    """In memory a score is a float32, in the journal the shortest text of it."""
    ended = {
        ("a", 0): np.float32(0.1), ("a", 1): np.float32(0.2),
        ("b", 0): np.float32(0.2), ("b", 1): np.float32(0.1),
        ("c", 0): np.float32(0.3), ("c", 1): np.float32(0.0),
    }  # fmt: skip
    seeds = {"c": [0, 1], "b": [0, 1], "a": [0, 1]}

    def order(read):
        records = {pair: {"status": "finished", "best_epoch": 1, "score": read(s)} for pair, s in ended.items()}
        return ranking(records, seeds, 1.0)

    assert order(lambda s: s) == order(lambda s: float(str(s)))


def test_the_next_group_compiles_while_one_runs_and_no_bit_shows_it(tmp_path, monkeypatch):
    from jaxopt_intro.sweeps import engine, readying

    compiled, ahead = [], readying.Ahead._compile

    def watched(self, contexts):
        ahead(self, contexts)
        compiled.append((self._group.title, sorted(key[0] for key in self.programs._compiled)))

    space = Space(learning_rate=log_uniform(1e-2, 1e-1), optimizer=choice(["sgd", "adam", "momentum"]))
    monkeypatch.setattr(readying.Ahead, "_compile", watched)
    for name, spare in (("alone", False), ("ahead", True)):
        monkeypatch.setattr(engine, "spare_cores", lambda spare=spare: spare)
        found = sweep(EXPERIMENT, space.grid(4), directory=tmp_path / name, width=2)
        assert (found.status == "finished").all()
    assert [title for title, _ in compiled] == ["optimizer adam", "optimizer momentum"]
    assert all({"init", "segment", "validate"} == set(kinds) for _, kinds in compiled)
    both = [results.open(tmp_path / name) for name in ("alone", "ahead")]
    np.testing.assert_array_equal(both[0].valid_loss.values, both[1].valid_loss.values)
