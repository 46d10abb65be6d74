"""Pruned sweeps: who goes on was not trained again, nobody is lost, and a kill changes no bit and no verdict."""

from __future__ import annotations

import collections

import jax
import numpy as np
import pytest
from flax import nnx

from jaxopt_intro import (
    Experiment,
    Space,
    adaptive,
    choice,
    journal,
    load_model,
    log_uniform,
    losses,
    pruning,
    quantized,
    results,
    sweep,
)
from jaxopt_intro.experiment import files, running
from jaxopt_intro.sweeps import planning, tiles
from jaxopt_intro.sweeps.session import Session
from tests.small import DATA, of

pytestmark = pytest.mark.usefixtures("compiled_once")

EXPERIMENT = Experiment(data=DATA, model="linear", optimizer="sgd", penalty="l2", epochs=9, batch_size=8, keep=100)
SPACE = Space(learning_rate=log_uniform(1e-3, 1.0), l2=log_uniform(1e-5, 1e-1))
TRIALS = SPACE.random(13, seed=2)


def curves(directory):
    """Every metric of every member by epoch, as bits."""
    found = {}
    for record in of(directory, "epoch"):
        for i, member in enumerate(map(tuple, record["members"])):
            values = {name: np.float32(column[i]).tobytes() for name, column in record["metrics"].items()}
            assert found.setdefault((*member, record["epoch"]), values) == values
    return found


def ends(directory):
    return {(r["trial"], r["seed"]): r for r in of(directory, "end")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """All trials without a pruner."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    sweep(EXPERIMENT, TRIALS, directory=directory, width=4)
    return curves(directory)


@pytest.mark.parametrize(
    ("pruner", "busy"),  # 13 trials in tiles of 4: halved to 4 and 1, 27 of 48 lanes' epochs are all that there can be
    [
        (pruning.successive_halving(), 27 / 48),
        (pruning.hyperband(), 0.94),
        (pruning.asha(), 27 / 48),
        (pruning.median(least=1, metric="loss"), 0.75),
    ],
    ids=lambda given: given.asked["name"] if isinstance(given, pruning.Pruner) else "",
)
def test_a_curve_until_its_end_is_that_of_the_trial_without_a_pruner(pruner, busy, whole, tmp_path):
    found = sweep(EXPERIMENT, TRIALS, directory=tmp_path / "run", width=4, pruner=pruner)
    status = collections.Counter(found.status.values.ravel().tolist())
    assert set(status) == {"finished", "pruned"}
    own, over = curves(tmp_path / "run"), ends(tmp_path / "run")
    assert len(over) == len(TRIALS)
    assert own == {place: values for place, values in whole.items() if place[2] <= over[place[:2]]["epoch"]}
    assert all(r["reason"] and r["epoch"] < 9 for r in over.values() if r["status"] == "pruned")
    (receipt,) = of(tmp_path / "run", "receipt")
    assert receipt["busy"] >= busy
    assert results.best(found).score.item() == found.score.max().item()


def test_a_pruner_chooses_among_all_groups_and_those_who_go_on_share_tiles(tmp_path):
    optimizers = choice(["sgd", "momentum"])
    space = Space(learning_rate=log_uniform(1e-3, 1.0), optimizer=optimizers)
    pruner = pruning.successive_halving(eta=2)
    experiment = Experiment(**{**vars(EXPERIMENT), "penalty": ()})
    found = sweep(experiment, space.grid(8), directory=tmp_path / "run", width=2, pruner=pruner)
    verdicts = [v for r in of(tmp_path / "run", "rung") for v in r["verdicts"]]
    gone = collections.Counter(v["to"] for v in verdicts if v["action"] == "go")
    assert gone == {2.0: 8, 4.0: 4, 9.0: 2}
    assert (found.status == "finished").sum() == 2
    (receipt,) = of(tmp_path / "run", "receipt")
    assert receipt["busy"] > 0.85


def test_a_trial_is_judged_by_the_mean_of_its_seeds_and_a_failed_seed_takes_it_out(tmp_path):
    bad = TRIALS[0]._replace(hparams={**TRIALS[0].hparams, "learning_rate": 1e30})
    pruner = pruning.successive_halving(eta=2, metric="loss")
    experiment = Experiment(**{**vars(EXPERIMENT), "vary_batches": True, "epochs": 4})
    found = sweep(experiment, [bad, *TRIALS[:3]], 3, tmp_path / "run", width=4, pruner=pruner)
    assert found.status.values[0].tolist() == ["failed"] * 3
    rung = next(r for r in of(tmp_path / "run", "rung") if len(r["verdicts"]) == 4)
    going = {v["trial"] for v in rung["verdicts"] if v["action"] == "go"}
    losses = found.valid_loss.isel(epoch=0).mean("seed").to_series().drop(found.trial.values[0])
    assert going == set(losses.nsmallest(2).index)


@pytest.mark.parametrize(("unit", "first"), [("steps", 3.0), ("examples", 24.0)])
def test_rungs_count_steps_or_examples_too_and_validation_comes_as_often_as_asked(tmp_path, unit, first):
    experiment = Experiment(**{**vars(EXPERIMENT), "steps": 27, "validate_every": 3})
    pruner = pruning.successive_halving(first=first, unit=unit)
    found = sweep(experiment, TRIALS[:9], directory=tmp_path / "run", width=4, pruner=pruner)
    assert found.sizes["epoch"] == 9
    assert sorted(r["step"] for r in ends(tmp_path / "run").values()) == [3] * 6 + [9] * 2 + [27]
    whole = sweep(experiment, TRIALS[:9], directory=tmp_path / "whole", width=4)
    by_epochs = sweep(
        Experiment(**{**vars(experiment), "validate_every": None}), TRIALS[:9], directory=tmp_path / "e", width=4
    )
    last = by_epochs.valid_loss.isel(epoch=-1).values  # 27 steps, of 3 an epoch
    np.testing.assert_array_equal(whole.valid_loss.isel(epoch=-1).values, last)


def lineage(directory):
    return [(v["trial"], v["from"], v["hparams"]) for r in of(directory, "rung") for v in r["verdicts"] if "from" in v]


def test_population_based_training_copies_weights_and_goes_on_with_other_numbers(tmp_path):
    experiment = Experiment(**{**vars(EXPERIMENT), "epochs": 4})
    bad = TRIALS[0]._replace(hparams={**TRIALS[0].hparams, "learning_rate": 1e30})
    pruner = pruning.pbt(share=0.25)
    found = sweep(experiment, [bad, *TRIALS[:7]], directory=tmp_path / "run", width=4, pruner=pruner)
    assert (found.status == "finished").all()  # the diverged one too: it took over another's weights
    copies = lineage(tmp_path / "run")
    assert len(copies) == 2 * 3
    assert (found.copied_from != "").sum() == 2 * 3
    assert found.rung.values.tolist() == [1.0, 2.0, 3.0, 4.0]
    first = found.trial.values[0]
    assert copies[0][0] == first or copies[1][0] == first
    assert (
        np.isnan(found.valid_loss.sel(trial=first, epoch=1)).all() or found.valid_loss.sel(trial=first, epoch=1) > 1e3
    )
    assert np.isfinite(found.valid_loss.sel(trial=first, epoch=slice(2, None))).all()
    assert found.learning_rate.sel(trial=first) < 1e3  # the numbers that its score was reached with
    assert found.attrs["changed"].startswith(f"{len({copy for copy, _, _ in copies})} went on with other numbers")


def test_copies_stay_in_the_space_and_a_resumed_run_knows_it(tmp_path):
    numbers = {"learning_rate": log_uniform(1e-3, 1.0), "l2": quantized(0.0, 0.1, 0.05)}
    space = Space(**numbers, batch_size=choice([4, 8, 12]))
    experiment = Experiment(**{**vars(EXPERIMENT), "epochs": 4, "batch_size": 4, "microbatch": 4})
    trials, pruner = space.random(8), pruning.pbt(share=0.5)
    sweep(experiment, trials, directory=tmp_path / "run", width=4, pruner=pruner)
    copied = [hparams for _, _, hparams in lineage(tmp_path / "run")]
    assert {own["batch_size"] for own in copied} <= {4, 8, 12}
    assert {own["l2"] for own in copied} <= {0.0, 0.05, 0.1}
    (started,) = of(tmp_path / "run", "run")
    assert running._numbers({}, [started]) == running._numbers(trials.asked, []) == numbers


class Gained(nnx.Module):
    """A linear model whose outputs are multiplied by a number: it is read where the model is evaluated, too."""

    def __init__(self, example, *, outputs, gain=1.0, rngs):
        self.dense, self.gain = nnx.Linear(example[0].size, outputs, rngs=rngs), gain

    def __call__(self, x):
        return self.gain * self.dense(x)


def test_kept_weights_of_a_population_come_with_the_numbers_that_they_were_reached_with(tmp_path):
    changed = {"model": Gained, "penalty": (), "epochs": 5, "objective": "loss", "metrics": ()}
    experiment = Experiment(**{**vars(EXPERIMENT), **changed})
    trials = Space(learning_rate=log_uniform(0.3, 3.0), gain=log_uniform(1.0, 9.0)).random(6, seed=6)
    run = tmp_path / "run"
    found = sweep(experiment, trials, directory=run, width=2, pruner=pruning.pbt(share=0.5))
    began = {r["trial"]: r["hparams"] for r in of(run, "trial")}
    last = {pair[0]: end["hparams"] for pair, end in ends(run).items()}

    def loss(loaded, split):
        inputs, targets = split
        return losses.softmax_cross_entropy(loaded.predict(inputs), targets).mean()

    since_it_began = 0
    for one in (found.isel(trial=i) for i in range(6)):
        name, best = one.trial.item(), load_model(run, one.trial.item())
        assert best.hparams["gain"] == np.float32(one.gain.item())
        np.testing.assert_allclose(loss(best, DATA.valid), one.score.item(), rtol=1e-5)
        at_the_end = load_model(run, name, which="last")
        np.testing.assert_allclose(loss(at_the_end, DATA.valid), one.valid_loss.values[0, -1], rtol=1e-5)
        since_it_began += best.hparams["gain"] != np.float32(began[name]["gain"])
        if np.isfinite(one.test_loss.item()):
            np.testing.assert_allclose(loss(best, DATA.test), one.test_loss.item(), rtol=1e-5)
            assert best.hparams["gain"] != np.float32(last[name]["gain"])
    assert since_it_began
    assert np.isfinite(found.test_loss).sum() == 1


class Killed(Exception):
    """Stands for a kill: the process is gone, its journal and checkpoints are there."""


def killed_again_and_again(monkeypatch, go, *, first):
    """Kills a run after so many checkpoints, then after 3 more each time, until it comes to its end."""
    left, saves = [first], Session.save_checkpoint

    def save(session, record, tree):
        saves(session, record, tree)
        left[0] -= 1
        if left[0] == 0:
            raise Killed

    monkeypatch.setattr(Session, "save_checkpoint", save)
    for kills in range(30):
        left[0] = first + 3 * kills
        try:
            go()
            break
        except Killed:
            pass
    assert kills >= 2


@pytest.mark.parametrize("name", [None, "hyperband", "asha", "median", "pbt"])
def test_a_kill_at_any_moment_changes_no_bit_and_no_verdict(name, tmp_path, monkeypatch):
    """Every segment is a step, a checkpoint after each; killed again and again, after a few more tiles each time."""
    monkeypatch.setattr(planning, "SEGMENT_SECONDS", 0.0)
    monkeypatch.setattr(running, "Session", lambda *a, **k: Session(*a, checkpoint_seconds=0.0, **k))
    experiment = Experiment(**{**vars(EXPERIMENT), "epochs": 4})
    pruner = pruning.PRUNERS[name](**({"share": 0.5} if name == "pbt" else {})) if name else None

    def go(directory):
        return sweep(experiment, TRIALS[:7], directory=directory, width=2, pruner=pruner)

    go(tmp_path / "whole")
    killed_again_and_again(monkeypatch, lambda: go(tmp_path / "run"), first=5)
    assert curves(tmp_path / "run") == curves(tmp_path / "whole")
    assert ends(tmp_path / "run") == ends(tmp_path / "whole")
    assert len(ends(tmp_path / "run")) == 7
    said = [{r["number"]: (r["values"], r["verdicts"]) for r in of(d, "rung")} for d in (
        tmp_path / "run", tmp_path / "whole")]  # fmt: skip
    assert said[0] == said[1]
    records = len(journal.read(tmp_path / "run"))
    go(tmp_path / "run")  # a finished run is finished
    assert [r["type"] for r in journal.read(tmp_path / "run")[records:]] == ["run"] + ["checkpoint"] * bool(name)


def test_a_run_prunes_as_it_was_asked_to(tmp_path):
    sweep(EXPERIMENT, TRIALS[:3], directory=tmp_path / "run", width=4, pruner=pruning.asha())
    with pytest.raises(ValueError, match=r"asked with pruner=.*'asha'"):
        sweep(EXPERIMENT, TRIALS[:3], directory=tmp_path / "run", width=4)
    with pytest.raises(ValueError, match="prunes among its 3 trials"):
        sweep(EXPERIMENT, TRIALS[:4], directory=tmp_path / "run", width=4, pruner=pruning.asha())
    with pytest.raises(
        ValueError, match=r"asha: got eta=3, first=10 and validations after 1, 2, …, 9 epochs; expected"
    ):
        sweep(EXPERIMENT, TRIALS[:3], directory=tmp_path / "other", width=4, pruner=pruning.asha(first=10))
    with pytest.raises(ValueError, match=r"such as pruning\.hyperband"):
        sweep(EXPERIMENT, TRIALS[:3], directory=tmp_path / "other", width=4, pruner=pruning.asha)
    with pytest.raises(ValueError, match="objective 'accuracies'"):
        sweep(EXPERIMENT, TRIALS[:3], directory=tmp_path / "other", pruner=pruning.asha(metric="accuracies"))
    for wrong in (pruning.asha(direction="min"), pruning.median(direction="min", metric="accuracy")):
        with pytest.raises(ValueError, match="of the objective accuracy 'max' is better"):
            sweep(EXPERIMENT, TRIALS[:3], directory=tmp_path / "other", pruner=wrong)
    assert not (tmp_path / "other").exists()


def test_a_sweep_ends_well_when_its_time_is_over(tmp_path, monkeypatch):
    calls, run = [0], tiles.run_tile

    def run_tile(job, session, *rest):
        calls[0] += 1
        end = run(job, session, *rest)
        if calls[0] == 2:
            monkeypatch.setattr(session, "elapsed", lambda: 1e6)
        return end

    monkeypatch.setattr(tiles, "run_tile", run_tile)
    found = sweep(EXPERIMENT, TRIALS, directory=tmp_path / "run", width=4, max_time=1e5, max_trials=12)
    assert found.status.values.ravel().tolist() == ["finished"] * 8 + ["pruned"] * 4
    assert set(found.reason.values.ravel()[8:]) == {
        "the sweep's time was over, 100000 seconds, and no resume trains it further"
    }
    assert len(of(tmp_path / "run", "test")) == 1
    for wrong in ({"max_time": 0}, {"max_time": "10m"}, {"max_failures": -1}, {"max_trials": 0}):
        with pytest.raises(ValueError, match="sweep: got max_"):
            sweep(EXPERIMENT, TRIALS, directory=tmp_path / "none", **wrong)


def test_a_sweep_ends_when_too_many_have_failed(tmp_path):
    bad = [t._replace(hparams={**t.hparams, "learning_rate": 1e30}) for t in TRIALS]
    found = sweep(EXPERIMENT, [*TRIALS[:2], *bad], directory=tmp_path / "run", width=4, max_failures=3)
    status = collections.Counter(found.status.values.ravel().tolist())
    assert 4 <= status["failed"] <= 8
    assert status["pruned"] >= 15 - 8 - 2
    assert "more than 3 had failed, and no resume trains it further" in set(found.reason.values.ravel())


class Exhausted:
    """A compiled program that runs out of memory where it is wider than two lanes."""

    def __init__(self, program, when):
        self._program, self._when = program, when

    def __call__(self, lanes, *rest):
        if len(jax.tree.leaves(lanes)[0]) > 2 and self._when():
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8 bytes.")
        return self._program(lanes, *rest)

    def memory_analysis(self):
        return self._program.memory_analysis()


def run_out(monkeypatch, what, *, when=lambda: True):
    """Lets those programs of more than two lanes run out of memory that are for the same."""
    compiled = planning.Programs._get

    def get(programs, key, lower):
        program = compiled(programs, key, lower)
        return Exhausted(program, when) if key[0] == what else program

    monkeypatch.setattr(planning.Programs, "_get", get)


@pytest.mark.parametrize("what", ["init", "segment", "validate"])
def test_what_runs_out_of_memory_runs_narrower_and_no_result_shows_it(what, tmp_path, monkeypatch):
    planned, choose = [], planning.choose

    def chosen(*args, **options):
        planned.append(choose(*args, **options))
        return planned[-1]

    monkeypatch.setattr(planning, "WIDTHS", (8, 8))
    monkeypatch.setattr(planning, "choose", chosen)
    run_out(monkeypatch, what, when=lambda: bool(planned))
    experiment = Experiment(**{**vars(EXPERIMENT), "epochs": 3})
    found = sweep(experiment, TRIALS[:8], directory=tmp_path / "run")
    assert (found.status == "finished").all()
    plans = of(tmp_path / "run", "plan")
    assert [plan["width"] for plan in plans] == [8, 4, 2]
    assert "did not fit" in plans[-1]["why"]
    monkeypatch.undo()
    with jax.default_device(jax.local_devices()[0]):
        again = sweep(experiment, TRIALS[:8], directory=tmp_path / "two", width=2)
    np.testing.assert_array_equal(found.valid_loss.values, again.valid_loss.values)


def test_a_probe_that_runs_out_of_memory_is_a_width_that_does_not_fit(tmp_path, monkeypatch):
    run_out(monkeypatch, "segment")
    with pytest.raises(MemoryError, match=r"4 would not fit in memory: got width=4.*Use a smaller width"):
        sweep(EXPERIMENT, TRIALS[:4], directory=tmp_path / "run", width=4)


def test_another_error_of_a_program_is_not_taken_for_exhaustion(tmp_path, monkeypatch):
    compiled = planning.Programs._get

    def broken(*_):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    monkeypatch.setattr(
        planning.Programs, "_get", lambda own, key, lower: broken if key[0] == "init" else compiled(own, key, lower)
    )
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        sweep(EXPERIMENT, TRIALS[:2], directory=tmp_path / "run", width=2)


@pytest.mark.parametrize("pruner", [None, pruning.asha()], ids=["all", "asha"])
def test_a_searcher_asks_again_and_again_and_a_kill_changes_no_trial(pruner, tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    monkeypatch.setattr(planning, "SEGMENT_SECONDS", 0.0)
    monkeypatch.setattr(running, "Session", lambda *a, **k: Session(*a, checkpoint_seconds=0.0, **k))
    space = Space(learning_rate=log_uniform(1e-3, 1.0), optimizer=choice(["sgd", "adam"]))
    experiment = Experiment(**{**vars(EXPERIMENT), "penalty": (), "epochs": 3, "objective": "loss"})

    def go(directory):
        return sweep(experiment, adaptive(space, trials=20), directory=directory, width=4, pruner=pruner)

    whole = go(tmp_path / "whole")
    assert whole.sizes["trial"] == 20
    asks = of(tmp_path / "whole", "ask")
    assert [len(ask["trials"]) for ask in asks] == [5, 5, 6, 4]  # each option first, for half of the budget
    assert all(len({whole.optimizer.sel(trial=t).item() for t in ask["trials"]}) == 1 for ask in asks)
    assert len({trial for ask in asks for trial in ask["told"]}) > 0
    killed_again_and_again(monkeypatch, lambda: go(tmp_path / "run"), first=7)
    assert ends(tmp_path / "run") == ends(tmp_path / "whole")
    assert curves(tmp_path / "run") == curves(tmp_path / "whole")
    with pytest.raises(ValueError, match="asked with search"):
        sweep(experiment, adaptive(space, trials=21), directory=tmp_path / "run", width=4, pruner=pruner)


def test_every_batch_of_a_search_is_halved_though_its_best_had_stopped_early(tmp_path):
    pytest.importorskip("optuna")
    changed = {"stopping": "early_stopping", "penalty": ()}
    experiment = Experiment(**{**vars(EXPERIMENT), **changed})
    searcher = adaptive(Space(learning_rate=log_uniform(1e-1, 10.0), patience=1), "random", trials=16)
    pruner = pruning.successive_halving(eta=2)
    sweep(experiment, searcher, directory=tmp_path / "run", width=4, pruner=pruner)
    told = of(tmp_path / "run", "rung")
    gone = {(v["trial"], v["to"]) for r in told for v in r["verdicts"] if v["action"] == "go"}
    assert any(t in r["ended"] for t, to in gone if to < 9 for r in told)  # sent to a rung that it never reaches
    for ask in of(tmp_path / "run", "ask"):
        assert sum((trial, 2.0) in gone for trial in ask["trials"]) == 4


def test_a_resumed_run_knows_its_searcher_and_pruner(tmp_path):
    pytest.importorskip("optuna")
    space = Space(learning_rate=log_uniform(1e-3, 1.0))
    experiment = Experiment(data="digits", model="linear", optimizer="sgd", epochs=2, batch_size=256)
    sweep(experiment, adaptive(space, "random", trials=8), 2, tmp_path / "run", width=4, pruner=pruning.asha(eta=2))
    again = files.resume(tmp_path / "run")
    assert (again.replicates, again.pruner.asked["eta"]) == (2, 2)
    assert again.trials.asked == {**space.asked(), "search": {"sampler": "random", "trials": 8, "seed": 0}}
    tables = files.read(tmp_path / "run" / "experiment.toml")
    assert tables["pruner"]["name"] == "asha"
    assert tables["search"]["sampler"] == "random"


@pytest.mark.parametrize(("objective", "better"), [("loss", max), ("accuracy", min)])
def test_a_searcher_is_told_that_more_is_better(tmp_path, objective, better):
    pytest.importorskip("optuna")
    told, searcher = [], adaptive(Space(learning_rate=log_uniform(1e-3, 1.0)), trials=16)
    experiment = Experiment(**{**vars(EXPERIMENT), "penalty": (), "epochs": 1, "objective": objective})
    heard = searcher._replace(tell=lambda news: told.extend(news) or searcher.tell(news))
    found = sweep(experiment, heard, directory=tmp_path / "run", width=4)
    assert len(told) >= 8
    best = better(found.score.values.ravel()[: len(told)])  # the worst of the told
    assert min(t.value for t in told) == (-best if objective == "loss" else best)


@pytest.mark.parametrize(
    "pruner",
    [
        pruning.successive_halving(first=1, unit="steps"),
        pruning.hyperband(first=8, unit="examples"),
        pruning.asha(first=1, unit="steps"),
        pruning.median(interval=0.001, least=1),
        pruning.pbt(interval=1, unit="steps"),
        pruning.successive_halving(eta=1.25),
    ],
    ids=lambda pruner: pruner.asked["name"],
)
def test_rungs_that_are_closer_than_validations_are_at_the_next_one(pruner, tmp_path):
    found = sweep(EXPERIMENT, TRIALS[:9], directory=tmp_path / "run", width=4, pruner=pruner)
    assert (found.status == "finished").any()
    assert "nobody said" not in " ".join(found.reason.values.ravel())
    judged = [(trial, r["rung"]) for r in of(tmp_path / "run", "rung") for trial in r["values"]]
    assert len(judged) == len(set(judged))
    if pruner.asked == pruning.successive_halving(first=1, unit="steps").asked:  # rungs at 1 and 3 steps are one
        assert sorted(r["step"] for r in ends(tmp_path / "run").values()) == [3] * 6 + [9] * 2 + [27]


def test_seeds_that_end_apart_are_one_trial_after_a_kill_too(tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "SEGMENT_SECONDS", 0.0)
    monkeypatch.setattr(running, "Session", lambda *a, **k: Session(*a, checkpoint_seconds=0.0, **k))
    changed = {"vary_batches": True, "stopping": "early_stopping", "epochs": 6, "penalty": ()}
    experiment = Experiment(**{**vars(EXPERIMENT), **changed})
    trials = Space(learning_rate=log_uniform(1e-2, 3.0), patience=1).random(5, seed=1)
    pruner = pruning.median(least=1)

    def go(directory):
        return sweep(experiment, trials, 3, directory, width=2, pruner=pruner)

    go(tmp_path / "whole")
    assert any("stopped early" in (r["reason"] or "") for r in ends(tmp_path / "whole").values())
    killed_again_and_again(monkeypatch, lambda: go(tmp_path / "run"), first=9)
    assert ends(tmp_path / "run") == ends(tmp_path / "whole")


def test_what_a_pruner_cannot_do_is_said(tmp_path):
    sweep(EXPERIMENT, TRIALS[:3], directory=tmp_path / "run", width=4, pruner=pruning.asha())
    with pytest.raises(ValueError, match="asked with replicates=1; got 2"):
        sweep(EXPERIMENT, TRIALS[:3], 2, tmp_path / "run", width=4, pruner=pruning.asha())
    stopping = Experiment(**{**vars(EXPERIMENT), "stopping": "early_stopping"})
    with pytest.raises(ValueError, match="who was stopped cannot be gone on from"):
        sweep(stopping, TRIALS[:3], directory=tmp_path / "other", pruner=pruning.pbt())


def test_ctrl_c_between_tiles_ends_the_session_and_the_run_goes_on(tmp_path, monkeypatch):
    """With one validation of one segment there is no checkpoint within a tile."""
    experiment = Experiment(**{**vars(EXPERIMENT), "epochs": 1})
    calls, run = [0], tiles.run_tile

    def run_tile(job, session, *rest):
        calls[0] += 1
        session.stopping = calls[0] == 2
        return run(job, session, *rest)

    monkeypatch.setattr(tiles, "run_tile", run_tile)
    with pytest.raises(KeyboardInterrupt):
        sweep(experiment, TRIALS, directory=tmp_path / "run", width=4)
    assert calls[0] == 2
    monkeypatch.undo()
    found = sweep(experiment, TRIALS, directory=tmp_path / "run", width=4)
    assert (found.status == "finished").all()
    assert len(of(tmp_path / "run", "end")) == len(TRIALS)
