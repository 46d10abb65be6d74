"""A replay: the journal's numbers come out again, bit for bit, whoever was trained beside, judged, copied or failed."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_intro import Experiment, Space, choice, journal, log_uniform, pruning, replay, results, sweep, trees
from jaxopt_intro.experiment.lineage import lives
from jaxopt_intro.sweeps.session import Session
from tests.small import DATA, X, Y, changed_first, of, one_ulp, rewritten

pytestmark = pytest.mark.usefixtures("compiled_once")

EXPERIMENT = Experiment(data=DATA, model="linear", optimizer="momentum", epochs=6, batch_size=8)
SPACE = Space(learning_rate=log_uniform(1e-3, 1.0), momentum=log_uniform(0.5, 0.9))
TRIALS = SPACE.random(7, seed=2)
BAD = TRIALS[0]._replace(hparams={**TRIALS[0].hparams, "learning_rate": 1e30})


def changed(**fields):
    return Experiment(**{**vars(EXPERIMENT), **fields})


def run_of(tmp_path_factory, experiment, trials, **asked):
    directory = tmp_path_factory.mktemp("replayed") / "run"
    sweep(experiment, trials, directory=directory, width=3, **asked)
    return directory


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """One that fails beside two that do not, and two tiles that are full of others."""
    return run_of(tmp_path_factory, EXPERIMENT, [TRIALS[1], BAD, *TRIALS[2:]])


@pytest.fixture(scope="module")
def evolved(tmp_path_factory):
    return run_of(tmp_path_factory, EXPERIMENT, [BAD, *TRIALS[1:]], replicates=2, pruner=pruning.pbt(share=0.3))


def ids(directory):
    return [record["trial"] for record in of(directory, "trial")]


def test_trials_alone_are_bitwise_those_of_the_run_and_the_run_is_only_read(plain):
    before = (plain / "journal.jsonl").read_bytes(), sorted(plain.rglob("*"))
    for trial in (ids(plain)[0], ids(plain)[4:]):
        again = replay(plain, trial, data=DATA)
        assert again.agrees
        assert again.first_difference is again.largest_difference is None
        found, whole = again.dataset, results.open(plain).sel(trial=again.dataset.trial)
        np.testing.assert_array_equal(found.valid_loss, whole.valid_loss)
        np.testing.assert_array_equal(found.train_loss, whole.train_loss)
        assert np.isfinite(found.valid_loss).all()
        assert (found.status == "finished").all()
    assert ((plain / "journal.jsonl").read_bytes(), sorted(plain.rglob("*"))) == before


def test_a_failed_trial_and_its_neighbour(plain):
    neighbour, failed = ids(plain)[:2]
    again = replay(plain, failed, data=DATA)
    assert again.agrees
    assert again.dataset.status.item() == "failed"
    assert "failed at step" in again.words
    assert replay(plain, neighbour, data=DATA).agrees
    assert replay(plain, [failed, neighbour], data=DATA, probes=["update_ratio"]).agrees


@pytest.mark.parametrize("metric", ["valid_loss", "train_grad_norm"])
def test_one_ulp_in_the_journal_is_found(plain, tmp_path, metric):
    trial, seed = changed_first(plain, tmp_path / "run", one_ulp, metric)
    again = replay(tmp_path / "run", trial, data=DATA)
    assert not again.agrees
    first = again.first_difference
    assert first[:4] == (trial, seed, 4, metric)
    assert 0 < abs(first.journalled - first.replayed) < 1e-5
    assert again.largest_difference == first
    assert f"{metric} was" in again.words
    others = [other for other in ids(plain) if other != trial]
    assert replay(tmp_path / "run", others[2], data=DATA).agrees


def test_another_width_agrees_within_rounding_and_tells_what_differs_by_more(plain, tmp_path):
    again = replay(plain, ids(plain)[3:5], width=1, data=DATA)
    assert again.agrees
    assert again.first_difference is None
    assert again.largest_difference is None or again.largest_difference.size < 1e-4
    assert "1 side by side on a device, in the run 3" in again.words
    for epoch, agrees in ((4, True), (1, False)):  # the first steps agree, later differences may have grown
        trial, _ = changed_first(plain, tmp_path / f"run{epoch}", lambda value: value + np.float32(0.5), epoch=epoch)
        again = replay(tmp_path / f"run{epoch}", trial, width=1, data=DATA)
        assert again.agrees is agrees
        assert (again.first_difference.epoch, again.first_difference.metric) == (epoch, "valid_loss")


@pytest.mark.parametrize("name", ["hyperband", "median"])
def test_a_pruned_trial_stops_where_it_was_pruned(tmp_path_factory, name):
    directory = run_of(tmp_path_factory, EXPERIMENT, TRIALS, pruner=pruning.PRUNERS[name]())
    ended = {r["trial"]: r for r in of(directory, "end")}
    pruned = [trial for trial, end in ended.items() if end["status"] == "pruned"]
    assert pruned
    again = replay(directory, ids(directory), data=DATA)
    assert again.agrees
    curves = np.isfinite(again.dataset.valid_loss.isel(seed=0))
    for trial, end in ended.items():
        assert curves.sel(trial=trial).sum() == end["epoch"]
    assert ended[pruned[0]]["reason"] in again.words


def test_a_population_is_followed_through_its_copies(evolved):
    family = lives(journal.read(evolved))
    copied = [life for life in family.values() if len({stage.trial for stage in life.stages}) > 2]
    assert copied, "a copy of a copy"
    again = replay(evolved, ids(evolved), data=DATA)
    assert again.agrees
    whole = results.open(evolved)
    for life in copied:
        origin = again.dataset.origin.sel(trial=life.trial).values.tolist()
        assert origin[-1] == life.trial
        assert len(set(origin)) > 1
        found = again.dataset.valid_loss.sel(trial=life.trial, seed=life.seed).values
        own = [whole.valid_loss.sel(trial=t, seed=life.seed, epoch=e).item() for e, t in enumerate(origin, 1)]
        np.testing.assert_array_equal(found, own)
    life = copied[0]
    alone = replay(evolved, life.trial, seed=life.seed, data=DATA)
    assert alone.agrees
    assert alone.dataset.seed.values.tolist() == [life.seed]
    assert f"trial {life.trial} comes from {life.stages[0].trial} until validation" in alone.words


def test_a_changed_copy_is_another_life(evolved, tmp_path):
    """The lineage decides: with another factor in a journalled copy the numbers no longer come out."""
    last = max(r["number"] for r in of(evolved, "rung") if any(v["action"] == "copy" for v in r["verdicts"]))
    touched = []

    def of_record(record):
        if record["type"] == "rung" and record["number"] == last:
            copy = next(v for v in record["verdicts"] if v["action"] == "copy")
            copy["hparams"]["learning_rate"] *= 1.001
            touched.append(copy["trial"])

    rewritten(evolved, tmp_path / "run", of_record)
    again = replay(tmp_path / "run", touched[0], data=DATA)
    assert not again.agrees
    assert again.first_difference.epoch > 1


def test_a_population_that_was_killed_has_the_same_lives(tmp_path, monkeypatch):
    from jaxopt_intro.experiment import running
    from jaxopt_intro.sweeps import planning

    monkeypatch.setattr(planning, "SEGMENT_SECONDS", 0.0)
    monkeypatch.setattr(running, "Session", lambda *a, **k: Session(*a, checkpoint_seconds=0.0, **k))

    class Killed(Exception):
        pass

    def go(directory):
        sweep(EXPERIMENT, TRIALS, directory=directory, width=2, pruner=pruning.pbt(share=0.3))

    emitted, emit = [0], Session.emit

    def killed(session, record):
        emit(session, record)
        emitted[0] += record["type"] == "rung"
        if emitted[0] in (9, 21) and record["type"] == "rung":  # what came since the last checkpoint comes again
            raise Killed

    go(tmp_path / "whole")
    monkeypatch.setattr(Session, "emit", killed)
    kills = 0
    while True:
        try:
            go(tmp_path / "run")
            break
        except Killed:
            kills += 1
    monkeypatch.setattr(Session, "emit", emit)
    assert kills == 2
    rungs = [r["number"] for r in of(tmp_path / "run", "rung")]
    assert len(rungs) > len(set(rungs))
    assert lives(journal.read(tmp_path / "run")) == lives(journal.read(tmp_path / "whole"))
    assert replay(tmp_path / "run", ids(tmp_path / "run")[:3], data=DATA).agrees


def test_early_stopping_stops_again(tmp_path_factory):
    experiment = changed(stopping="early_stopping", epochs=12)
    trials = [t._replace(hparams={**t.hparams, "patience": 2}) for t in TRIALS[:5]]
    directory = run_of(tmp_path_factory, experiment, trials)
    stopped = [r for r in of(directory, "end") if "stopped early" in (r["reason"] or "")]
    assert stopped
    again = replay(directory, [r["trial"] for r in stopped], data=DATA, probes=["ascent"])
    assert again.agrees
    for record in stopped:
        measured = again.dataset.probe_ascent.sel(trial=record["trial"]).values.ravel()
        assert np.isfinite(measured[: record["epoch"] - 1]).all()
        assert np.isnan(measured[record["epoch"] :]).all()


def test_seeds_with_batches_of_their_own_and_several_programs(tmp_path_factory):
    space = Space(learning_rate=log_uniform(1e-2, 1.0), optimizer=choice(["sgd", "adam"]))
    directory = run_of(tmp_path_factory, changed(vary_batches=True, epochs=2), space.grid(2), replicates=3)
    again = replay(directory, ids(directory), data=DATA)
    assert again.agrees
    assert dict(again.dataset.sizes) == {"trial": 4, "seed": 3, "epoch": 2}
    one = replay(directory, ids(directory)[3], seed=2, data=DATA)
    assert one.agrees
    assert dict(one.dataset.sizes) == {"trial": 1, "seed": 1, "epoch": 2}


def test_devices_side_by_side_change_no_bit(plain, all_devices):
    again = replay(plain, ids(plain), data=DATA, probes=["sharpness"])
    assert again.agrees
    assert np.isfinite(again.dataset.probe_sharpness.sel(trial=ids(plain)[2])).all()


def distance(state, batch, hparams, *, training, evaluate):
    del training, evaluate
    return jnp.stack([trees.norm(state.params), hparams["learning_rate"], state.step, batch[0].sum()])


def test_probes_see_the_state_after_each_validation(plain, tmp_path):
    trials = ids(plain)[2:6]
    directory = tmp_path / "kept"
    again = replay(plain, trials, data=DATA, probes={"mine": distance, "rise": "ascent"}, every=2, directory=directory)
    assert again.agrees
    mine = again.dataset.probe_mine.isel(seed=0)
    assert mine.shape == (4, 6, 4)
    assert np.isnan(mine.values[:, ::2]).all()
    rates = results.open(plain).sel(trial=trials).learning_rate.values
    for row, epoch in enumerate((2, 4, 6)):
        at = mine.sel(epoch=epoch).values
        np.testing.assert_allclose(at[:, 1], rates, rtol=1e-6)
        assert at[:, 2].tolist() == [3 * epoch] * 4
        assert (at[:, 0] > 0).all(), row
    assert len(set(mine.values[:, 1:, 3][np.isfinite(mine.values[:, 1:, 3])])) == 1, "always the same batch"
    kept = results.open(directory)
    np.testing.assert_array_equal(kept.valid_loss, again.dataset.valid_loss)
    (started,) = of(directory, "run")
    assert started["replay"]["trials"] == trials
    assert len(of(directory, "probe")) == 3 * 2
    with pytest.raises(ValueError, match="where a run is"):
        replay(plain, trials, data=DATA, directory=directory)


def test_probes_change_no_bit_and_are_those_of_any_width(plain):
    probes = ["sharpness", "update_ratio", "gradient_noise_scale"]
    wide = replay(plain, ids(plain)[2:5], data=DATA, probes=probes)
    alone = replay(plain, ids(plain)[2:5], data=DATA, probes=probes, width=1)
    assert wide.agrees
    for name in probes:
        np.testing.assert_allclose(wide.dataset[f"probe_{name}"], alone.dataset[f"probe_{name}"], rtol=1e-2)


def test_a_probe_that_raises_or_returns_no_array_is_named(plain):
    def broken(state, batch, hparams, *, training, evaluate):
        raise KeyError("kernel")

    with pytest.raises(ValueError, match=r"probe mine: when traced, .*KeyError"):
        replay(plain, ids(plain)[0], data=DATA, probes={"mine": broken})
    with pytest.raises(ValueError, match=r"probe mine: got .*Return one array"):
        replay(plain, ids(plain)[0], data=DATA, probes={"mine": lambda *a, **k: {"a": 1.0}})
    with pytest.raises(ValueError, match="Did you mean 'sharpness'"):
        replay(plain, ids(plain)[0], data=DATA, probes=["sharpnes"])
    with pytest.raises(ValueError, match="got mine=3; expected a name"):
        replay(plain, ids(plain)[0], data=DATA, probes={"mine": 3})


def test_what_is_wrong_is_said(plain, tmp_path):
    first = ids(plain)[0]
    assert replay(plain, first[:6], data=DATA).agrees
    with pytest.raises(ValueError, match=f"Did you mean '{first}'"):
        replay(plain, first[:-1] + ("0" if first[-1] != "0" else "1"), data=DATA)
    with pytest.raises(ValueError, match=r"with which 7 ids begin|expected one of the run's 7 ids"):
        replay(plain, "", data=DATA)
    with pytest.raises(ValueError, match=r"got seed=5 .*; expected one of \[0\]"):
        replay(plain, first, seed=5, data=DATA)
    with pytest.raises(ValueError, match="arrays in memory"):
        replay(plain, first)
    with pytest.raises(ValueError, match="expected the same data"):
        replay(plain, first, data=(X, Y))
    with pytest.raises(ValueError, match="got width=0"):
        replay(plain, first, width=0, data=DATA)
    with journal.Journal(plain), pytest.raises(journal.Locked, match="being written"):
        replay(plain, first, data=DATA)
    with pytest.raises(FileNotFoundError, match="no such directory"):
        replay(tmp_path / "none", first)


def test_another_version_is_said_and_bits_are_then_not_asked_for(plain, tmp_path):
    trial, _ = changed_first(plain, tmp_path / "new", one_ulp)
    rewritten(tmp_path / "new", tmp_path / "run", lambda r: r["type"] == "run" and r["versions"].update(jax="9.0"))
    again = replay(tmp_path / "run", trial, data=DATA)
    assert again.agrees
    assert "note: jax was 9.0" in again.words
    assert again.largest_difference.size < 1e-6


def local_loss(outputs, targets, *, scale=1.0):
    return scale * (outputs - jnp.eye(3)[targets]) ** 2


def test_callables_of_another_script_are_given_as_parts(tmp_path_factory, monkeypatch):
    local_loss.__module__ = "another_script"
    directory = run_of(tmp_path_factory, changed(loss=local_loss), TRIALS[:2])
    with pytest.raises(ValueError, match="parts="):
        replay(directory, ids(directory)[0], data=DATA)
    assert replay(directory, ids(directory)[0], data=DATA, parts={"local_loss": local_loss}).agrees

    def other(outputs, targets, *, scale=1.0):
        return 2 * scale * (outputs - jnp.eye(3)[targets]) ** 2

    again = replay(directory, ids(directory)[0], data=DATA, parts={"local_loss": other})
    assert not again.agrees
    assert "the code of its parts is another" in again.words
