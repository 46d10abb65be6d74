"""Results of runs that are written here through the journal, with skewed numbers as real sweeps have them."""

from __future__ import annotations

import json
import subprocess
import sys

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from jaxopt_intro import results
from jaxopt_intro.journal import Journal
from jaxopt_intro.results import plots
from tests.journals import RATES, STRENGTHS, accuracy, diverges, grid_trials, run_record, trial, write


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def default_run(tmp_path_factory):
    return write(tmp_path_factory.mktemp("default"), grid_trials(), fails=diverges)


@pytest.fixture(scope="module")
def default(default_run):
    return results.open(default_run)


@pytest.fixture(scope="module")
def seeded(tmp_path_factory):
    trials = grid_trials(rates=RATES[::2], strengths=STRENGTHS[:2], seeds=(0, 1, 2))
    return results.open(write(tmp_path_factory.mktemp("seeded"), trials))


def row(dataset, **settings):
    """Which trial has these settings."""
    mask = np.logical_and.reduce([dataset[name].values == value for name, value in settings.items()])
    (found,) = np.flatnonzero(mask)
    return found


def test_the_numbers_of_a_population_are_those_of_the_best_epoch(tmp_path):
    """Of each trial: it began with one rate, copied after epochs 1 and 3; its best epoch decides."""
    with Journal(tmp_path / "run") as journal:
        journal.append(run_record())
        for name, rate in (("a", 0.1), ("b", 0.2), ("c", 0.3)):
            journal.append(trial({"learning_rate": rate, "l2": 0.5}, seeds=(0, 1), name=name))
        curves = {"a": [0.9, 0.1, 0.1, 0.1], "b": [0.1, 0.1, 0.8, 0.1], "c": [0.1, 0.2, 0.3, 0.4]}
        for epoch in range(1, 5):
            members = [[name, seed] for name in curves for seed in (0, 1)]
            values = [curves[name][epoch - 1] for name, _ in members]
            journal.append({"type": "epoch", "epoch": epoch, "members": members, "metrics": {"valid_accuracy": values}})
            if epoch in (1, 3):
                copies = [
                    {"trial": name, "action": "copy", "from": "a", "hparams": {"learning_rate": rate * epoch}}
                    for name, rate in (("a", 1.0), ("b", 2.0), ("c", 3.0))
                ]
                rung = {"type": "rung", "number": epoch // 2, "rung": epoch, "values": {}, "verdicts": copies}
                journal.append(rung)
                journal.append(rung)  # as after a kill
    found = results.open(tmp_path / "run")
    assert found.learning_rate.values.tolist() == [0.1, 2.0, 9.0]
    assert found.l2.values.tolist() == [0.5] * 3
    assert "3 went on with other numbers" in found.attrs["changed"]
    assert "3 went on with other numbers" in repr(results.table(found))


# -- the dataset -------------------------------------------------------------------------------------------------


def test_every_number_is_where_it_belongs(default):
    assert dict(default.sizes) == {"trial": 64, "seed": 1, "epoch": 5}
    assert default.valid_accuracy.dtype == np.float32
    for optimizer, rate, l2, epoch in [("adam", RATES[2], 1e-5, 4), ("momentum", RATES[4], 1e-3, 1)]:
        at = row(default, optimizer=optimizer, learning_rate=rate, l2=l2)
        expected = np.float32(accuracy({"learning_rate": rate, "l2": l2}, {"optimizer": optimizer}, 0, epoch))
        assert default.valid_accuracy[at].sel(seed=0, epoch=epoch).item() == expected
        assert default.group[at].item() == optimizer
        assert default.position[at].item() == at
    assert default.sel(trial=default.trial[7].item()).position.item() == 7


def test_attributes_are_strings_and_hold_what_was_recorded(default, default_run):
    assert all(isinstance(value, str) for value in default.attrs.values())
    assert (default.attrs["objective"], default.attrs["direction"]) == ("valid_accuracy", "max")
    assert json.loads(default.attrs["receipt"]) == {"seconds": 12.5, "width": 8}
    assert json.loads(default.attrs["data"]) == {"hash": "abc123"}
    assert default.attrs["run"] == str(default_run)


def test_failed_members_have_a_reason_and_no_score(default):
    bad = row(default, optimizer="momentum", learning_rate=1.0, l2=1e-6)
    assert default.status[bad].item() == "failed"
    assert default.reason[bad].item() == "train_loss is nan"
    assert default.stopped_step[bad].item() == 70
    assert np.isnan(default.score[bad].item())
    assert default.best_epoch[bad].item() == 0
    assert np.isfinite(default.valid_accuracy[bad].sel(epoch=2)).all()
    assert np.isnan(default.valid_accuracy[bad].sel(epoch=3)).all()
    assert int((default.status == "failed").sum()) == 8


@pytest.mark.parametrize(("direction", "score", "epoch"), [("max", 0.75, 2), ("min", 0.25, 4)])
def test_the_score_is_the_first_best_epoch(tmp_path, direction, score, epoch):
    with Journal(tmp_path) as journal:
        journal.append(run_record(direction, "value"))
        journal.append(trial({"q": 1.0}, name="a"))
        for number, value in enumerate([0.5, 0.75, 0.75, 0.25, 0.25, float("nan"), float("inf")], 1):
            journal.append({"type": "epoch", "epoch": number, "members": [["a", 0]], "metrics": {"value": [value]}})
    dataset = results.open(tmp_path)
    assert (dataset.score.item(), dataset.best_epoch.item()) == (score, epoch)


def test_a_run_that_goes_on(tmp_path):
    trials = grid_trials(optimizers=["adam"], rates=RATES[:2], strengths=STRENGTHS[:2])
    write(tmp_path, trials, epochs=3, until=1, end=False)
    with Journal(tmp_path) as journal:
        journal.append(trial({"learning_rate": 0.5, "l2": 0.0}, {"optimizer": "adam"}, name="late"))
        dataset = results.open(tmp_path)  # while the writer holds the run
    assert dataset.status.values.ravel().tolist() == ["running"] * 4 + ["asked"]
    assert dataset.best_epoch.values.ravel().tolist() == [3, 3, 1, 1, 0]
    assert results.top(dataset).status.tolist() == ["running"] * 4 + ["asked"]
    assert (dataset.stopped_step == -1).all()


def test_asked_only(tmp_path):
    with Journal(tmp_path) as journal:
        journal.append(run_record())
        journal.append(trial({"learning_rate": 0.5}, seeds=(0, 1)))
    dataset = results.open(tmp_path)
    assert dict(dataset.sizes) == {"trial": 1, "seed": 2, "epoch": 0}
    assert dataset.valid_accuracy.isnull().all()
    assert results.top(dataset).seeds.tolist() == [0]
    with pytest.raises(ValueError, match=r"none of 1 trials has a score \(1 asked\)"):
        results.best(dataset)
    plots.overview(dataset).savefig(tmp_path / "x.png")


def test_a_resume_repeats_records_and_the_last_wins(tmp_path):
    one = trial({"learning_rate": 0.5}, name="a")
    line = {"type": "epoch", "epoch": 1, "members": [["a", 0]]}
    with Journal(tmp_path) as journal:
        journal.append(run_record())
        journal.append(one)
        journal.append({**line, "metrics": {"valid_accuracy": [0.5]}})
        journal.append({**run_record(), "versions": {"jax": "0.11"}})
        journal.append(one)
        journal.append({**line, "metrics": {"valid_accuracy": [0.75]}})
    dataset = results.open(tmp_path)
    assert dataset.score.values.tolist() == [[0.75]]
    assert json.loads(dataset.attrs["versions"]) == {"jax": "0.11"}


def test_settings_that_only_some_trials_have(tmp_path):
    trials = [
        trial({"learning_rate": 0.1, "momentum": 0.9}, {"optimizer": "sgd"}, seeds=(0,), name="a"),
        trial({"learning_rate": 0.1}, {"optimizer": "adam", "variant": "amsgrad"}, seeds=(0, 2), name="b"),
    ]
    dataset = results.open(write(tmp_path, trials))
    np.testing.assert_array_equal(dataset.momentum, [0.9, np.nan])
    assert dataset.variant.values.tolist() == ["", "amsgrad"]
    assert dataset.seed.values.tolist() == [0, 2]
    assert dataset.status.values.tolist() == [["finished", ""], ["finished", "finished"]]
    assert "momentum" not in results.top(dataset)  # one value wherever it exists: it doesn't vary
    assert results.summary(dataset).status.values.tolist() == ["finished", "finished"]


def test_names_that_are_taken_get_their_kind_in_front(tmp_path):
    hparams = {"epoch": 3.0, "valid_accuracy": 0.5, "status": 1.0, "mine.beta": 0.9, "rank": 2.0}
    dataset = results.open(write(tmp_path, [trial(hparams, {"mine.beta": "traced", "seed": "x"})]))
    for name, value in hparams.items():
        assert dataset[name if name == "mine.beta" else f"hparams.{name}"].item() == value
    assert dataset["choices.mine.beta"].item() == "traced"
    assert dataset["choices.seed"].item() == "x"
    assert dataset.valid_accuracy.dims == ("trial", "seed", "epoch")
    assert "hparams.rank" in results.top(dataset)


def test_a_metric_whose_name_is_taken(tmp_path):
    with Journal(tmp_path) as journal:
        journal.append(run_record("min", "score"))
        journal.append(trial({"q": 1.0}, name="a"))
        record = {"type": "epoch", "epoch": 1, "members": [["a", 0]]}
        journal.append({**record, "metrics": {"score": [0.3], "test_loss": [0.2]}})
        journal.append({"type": "test", "trial": "a", "seed": 0, "epoch": 1, "metrics": {"loss": 0.7, "accuracy": 0.5}})
    dataset = results.open(tmp_path)
    assert dataset.attrs["objective"] == "metrics.score"
    assert dataset["metrics.score"].dims == ("trial", "seed", "epoch")
    assert dataset.test_loss.values.tolist() == [[np.float32(0.7)]]
    assert dataset["metrics.test_loss"].values.tolist() == [[[np.float32(0.2)]]]
    assert dataset.test_accuracy.item() == 0.5
    assert results.top(dataset)["metrics.score"].tolist() == [np.float32(0.3)]


def test_the_dataset_can_become_netcdf(default, tmp_path):
    default.to_netcdf(tmp_path / "run.nc", engine="scipy")
    with xr.open_dataset(tmp_path / "run.nc", engine="scipy") as back:
        back.load()
    assert results.top(back).equals(results.top(default))
    assert back.attrs == default.attrs


def test_no_run_and_no_trial_are_clear(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected the directory of a run"):
        results.open(tmp_path)
    with Journal(tmp_path) as journal:
        with pytest.raises(ValueError, match="has 0 records and no trial; expected at least one"):
            results.open(tmp_path)
        journal.append(run_record())
    with pytest.raises(ValueError, match="has 1 records and no trial"):
        results.open(tmp_path)


# -- the grid ----------------------------------------------------------------------------------------------------


def test_a_full_grid_gets_its_own_axes(default):
    shuffled = default.isel(trial=np.random.default_rng(0).permutation(64))
    for dataset in (default, shuffled):
        folded = results.grid(dataset)
        assert dict(folded.sizes) == {"optimizer": 2, "learning_rate": 8, "l2": 4, "seed": 1, "epoch": 5}
        one = folded.sel(optimizer="adam", learning_rate=RATES[3], l2=1e-4)
        same = default.isel(trial=row(default, optimizer="adam", learning_rate=RATES[3], l2=1e-4))
        np.testing.assert_array_equal(one.valid_accuracy, same.valid_accuracy)
        assert one.trial.item() == same.trial.item()
        assert one.status.item() == same.status.item()
    assert results.grid(default).optimizer.values.tolist() == ["momentum", "adam"]  # in the order asked
    assert results.grid(default).learning_rate.values.tolist() == sorted(RATES)


def test_a_number_that_the_choice_decides_is_no_axis(tmp_path):
    trials = [
        trial({"learning_rate": rate, **({"momentum": 0.9} if optimizer == "sgd" else {"b1": 0.8, "b2": 0.99})},
              {"optimizer": optimizer})
        for optimizer in ("sgd", "adam") for rate in (0.01, 0.1)
    ]  # fmt: skip
    assert dict(results.grid(results.open(write(tmp_path, trials))).sizes)["learning_rate"] == 2


@pytest.mark.parametrize("broken", ["missing", "twice", "single"])
def test_what_is_no_grid_says_so(default, broken):
    trials = {"missing": range(63), "twice": [*range(64), 5], "single": [3, 3]}[broken]
    with pytest.raises(ValueError, match="expected every combination exactly once"):
        results.grid(default.isel(trial=list(trials)))


def test_one_trial_is_a_grid_without_axes(default):
    assert dict(results.grid(default.isel(trial=[3])).sizes) == {"seed": 1, "epoch": 5}


# -- ranking -----------------------------------------------------------------------------------------------------


def test_top_is_what_sorting_by_hand_gives(default):
    table = results.top(default, k=5)
    assert table.index.tolist() == [1, 2, 3, 4, 5]
    assert table.columns.tolist() == [
        "trial", "optimizer", "learning_rate", "l2", "valid_accuracy", "seeds", "best_epoch", "status",
    ]  # fmt: skip
    scores = default.score.values.ravel()
    expected = sorted(range(64), key=lambda i: (np.isnan(scores[i]), -scores[i], i))[:5]
    assert table.trial.tolist() == default.trial.values[expected].tolist()
    assert results.best(default).trial.item() == table.trial[1]
    assert results.best(default).learning_rate.item() == table.learning_rate[1]


def test_least_is_best_when_the_objective_is_a_loss(tmp_path):
    dataset = results.open(write(tmp_path, grid_trials(), fails=diverges, run=run_record("min", "train_loss")))
    table = results.top(dataset, k=64)
    known = table.train_loss.dropna()
    assert known.is_monotonic_increasing
    assert known.iloc[0] == dataset.score.min()
    assert table.status[table.train_loss.isna()].eq("failed").all()


def test_seeds_are_averaged_with_their_standard_error(seeded):
    summary = results.summary(seeded)
    scores = seeded.score.values.astype(float)
    np.testing.assert_allclose(summary.score, scores.mean(1), rtol=1e-12)
    np.testing.assert_allclose(summary.standard_error, scores.std(1, ddof=1) / np.sqrt(3), rtol=1e-9)
    assert set(summary.seeds.values.tolist()) == {3}
    assert "standard_error" in results.top(seeded)


def scored(tmp_path, scores, ends=(), seeds=(0, 1, 2)):
    """A run of one epoch with these scores, a row for each trial; `ends`: (trial, seed, status)."""
    with Journal(tmp_path) as journal:
        journal.append(run_record())
        for number, values in enumerate(scores):
            journal.append(trial({"q": float(number)}, seeds=seeds, name=f"t{number}"))
            members = [[f"t{number}", seed] for seed, value in enumerate(values) if value is not None]
            known = [value for value in values if value is not None]
            journal.append({"type": "epoch", "epoch": 1, "members": members, "metrics": {"valid_accuracy": known}})
        for name, seed, status in ends:
            journal.append({"type": "end", "trial": name, "seed": seed, "status": status, "reason": "r", "step": 9})
    return results.open(tmp_path)


def test_one_failed_seed_ranks_the_trial_last(tmp_path):
    dataset = scored(tmp_path, [[0.9, 0.9, 0.9], [0.1, 0.2, 0.3], [None] * 3], ends=[("t0", 1, "failed")])
    table = results.top(dataset)
    assert table.trial.tolist() == ["t1", "t2", "t0"]  # not yet begun comes before failed
    assert table.status.tolist() == ["running", "asked", "failed"]
    assert np.isnan(table.valid_accuracy[3])
    assert table.seeds.tolist() == [3, 0, 2]


def test_ties_are_ranked_in_the_order_asked(tmp_path):
    dataset = scored(tmp_path, [[0.5]] * 30, seeds=(0,))
    for order in (np.arange(30), np.arange(30)[::-1]):
        assert results.top(dataset.isel(trial=order), k=30).trial.tolist() == [f"t{i}" for i in range(30)]


def test_the_status_of_a_trial_is_that_of_all_its_seeds(tmp_path):
    scores = [[0.5, 0.5], [0.5, 0.5], [0.5, None], [0.5, 0.5]]
    ends = [("t0", 0, "finished"), ("t0", 1, "finished"), ("t1", 0, "finished"), ("t2", 0, "finished"),
            ("t3", 0, "pruned"), ("t3", 1, "finished")]  # fmt: skip
    found = results.summary(scored(tmp_path, scores, ends, seeds=(0, 1))).status.values.tolist()
    assert found == ["finished", "running", "running", "pruned"]


def test_top_refuses_nothing(default):
    with pytest.raises(ValueError, match="got k=0; expected at least 1"):
        results.top(default, k=0)


# -- plots -------------------------------------------------------------------------------------------------------


def mesh_of(ax):
    from matplotlib.collections import QuadMesh

    return next(c for c in ax.collections if isinstance(c, QuadMesh))


def marked(ax, gid):
    return [a for a in (*ax.patches, *ax.collections, *ax.lines) if a.get_gid() == gid]


def test_the_heat_map_holds_the_best_over_the_rest(default):
    ax = plots.heatmap(default, "learning_rate", "l2")
    ax.figure.canvas.draw()
    folded = results.grid(default).score.squeeze("seed")
    expected = folded.max("optimizer").transpose("l2", "learning_rate").values
    np.testing.assert_allclose(mesh_of(ax).get_array().filled(np.nan), expected, rtol=1e-6)
    assert ax.get_xscale() == ax.get_yscale() == "log"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("learning_rate", "l2")
    assert "highest over optimizer" in ax.get_title()
    (frame,) = marked(ax, "best")
    best = results.best(default)
    assert frame.get_x() < best.learning_rate.item() < frame.get_x() + frame.get_width()
    widths = np.diff(np.log(mesh_of(ax).get_coordinates()[0, :, 0]))
    np.testing.assert_allclose(widths, np.log(10) * 4 / 7, rtol=0.01)  # cells of equal width on the log axis
    assert frame.get_y() < best.l2.item() < frame.get_y() + frame.get_height()
    assert ax.figure.axes[1].get_ylabel() == "valid_accuracy"


def test_failed_cells_are_hatched(default):
    ax = plots.heatmap(default.isel(trial=default.optimizer.values == "momentum"), "learning_rate", "l2")
    boxes = marked(ax, "failed")
    assert len(boxes) == 8
    assert all(box.get_hatch() and box.get_x() > 0.1 for box in boxes)
    assert np.isnan(mesh_of(ax).get_array().filled(np.nan)).sum() == 8


def test_the_heat_map_averages_over_seeds_and_takes_a_metric_of_the_chosen(seeded):
    ax = plots.heatmap(seeded, "l2", "optimizer", metric="train_loss")
    trials = results.summary(seeded)
    for i, optimizer in enumerate(["momentum", "adam"]):
        for j, l2 in enumerate(STRENGTHS[:2]):
            mask = (trials.optimizer.values == optimizer) & (trials.l2.values == l2)
            at = int(np.flatnonzero(mask)[trials.score.values[mask].argmax()])
            epochs = seeded.best_epoch[at].values
            expected = np.mean([seeded.train_loss[at, s].sel(epoch=e).item() for s, e in enumerate(epochs)])
            assert mesh_of(ax).get_array()[i, j] == pytest.approx(expected, rel=1e-6)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["momentum", "adam"]
    assert "mean over 3 seeds, at the highest valid_accuracy over learning_rate" in ax.get_title()


@pytest.mark.parametrize(
    ("values", "scale"),
    [([1e-4, 1e-3, 1e-2], "log"), ([0.0, 1e-4, 1e-3], "symlog"), ([0.0, 0.1, 0.2], "linear"), ([1, 2, 3], "linear"),
     ([0.1], "linear"), ([32, 64, 128, 256], "log"), ([-1.0, 1.0, 100.0], "linear")],
)  # fmt: skip
def test_axes_are_logarithmic_when_the_values_are(tmp_path, values, scale):
    trials = grid_trials(optimizers=[None], rates=RATES[:2], strengths=values)
    ax = plots.heatmap(results.open(write(tmp_path, trials)), "learning_rate", "l2")
    assert ax.get_yscale() == scale
    assert len(ax.get_yticks()) == len(values)
    ax.figure.canvas.draw()


def random_run(directory, count=40, **options):
    draw = np.random.default_rng(0)
    trials = [
        trial({"learning_rate": float(10 ** draw.uniform(-4, 0)), "l2": float(10 ** draw.uniform(-6, -2)),
               "dropout": float(draw.uniform(0, 0.6))}, {"optimizer": ["adam", "momentum"][i % 2]})
        for i in range(count)
    ]  # fmt: skip
    return results.open(write(directory, trials, fails=diverges, **options))


def test_random_trials_are_points(tmp_path):
    dataset = random_run(tmp_path)
    ax = plots.heatmap(dataset, "learning_rate", "l2")
    points = ax.collections[0]
    trials = results.summary(dataset)
    known = np.isfinite(trials.score.values)
    assert len(points.get_offsets()) == known.sum()
    assert sorted(points.get_array().tolist()) == sorted(trials.score.values[known].tolist())
    (ring,) = marked(ax, "best")
    best = results.best(dataset)
    np.testing.assert_allclose(ring.get_offsets()[0], [best.learning_rate.item(), best.l2.item()])
    assert len(marked(ax, "failed")[0].get_offsets()) == (~known).sum() > 0
    assert ax.get_xscale() == ax.get_yscale() == "log"


def test_curves_show_the_best_with_bands(seeded):
    ax = plots.curves(seeded, top=3)
    assert len(ax.lines) == len(ax.collections) == 3
    for line, name in zip(ax.lines, results.top(seeded, k=3).trial, strict=True):
        curve = seeded.valid_accuracy.sel(trial=name)
        np.testing.assert_allclose(line.get_ydata(), curve.mean("seed"), rtol=1e-6)
    low, high = (
        getattr(seeded.valid_accuracy.sel(trial=results.top(seeded).trial[1]), f)("seed") for f in ("min", "max")
    )
    ends = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (ends.min(), ends.max()) == (pytest.approx(low.min().item()), pytest.approx(high.max().item()))
    assert ax.get_legend().get_texts()[0].get_text().startswith("1: ")
    assert plots.curves(seeded, metric="train_loss").get_ylabel() == "train_loss"


def test_sensitivity_has_a_line_for_each_choice(default):
    ax = plots.sensitivity(default, "learning_rate", by="optimizer")
    folded = results.grid(default).score.squeeze("seed").max("l2")
    for line, optimizer in zip([c.lines[0] for c in ax.containers], ["momentum", "adam"], strict=True):
        expected = folded.sel(optimizer=optimizer).dropna("learning_rate")
        np.testing.assert_allclose(line.get_xdata(), expected.learning_rate)
        np.testing.assert_allclose(line.get_ydata(), expected, rtol=1e-6)
    assert ax.get_xscale() == "log"
    assert sum(len(cross.get_xdata()) for cross in marked(ax, "failed")) == 2


@pytest.mark.parametrize(
    ("trials", "panels"),
    [
        (grid_trials(), 4),  # two maps, their colour scale, the curves
        (grid_trials(optimizers=[None]), 3),
        (grid_trials(strengths=[1e-4]), 2),
        (grid_trials(rates=[0.01], strengths=[1e-4]), 2),
        (grid_trials(optimizers=["adam"], rates=[0.01], strengths=[1e-4]), 1),
        (grid_trials(optimizers=[f"method_{i}" for i in range(9)], rates=RATES[::4], strengths=STRENGTHS[:2]), 8),
    ],
)
def test_overview_suits_what_varies(tmp_path, trials, panels):
    figure = plots.overview(results.open(write(tmp_path, trials)))
    assert len(figure.axes) == panels
    assert figure.get_suptitle().startswith(f"{len(trials)} trials, best valid_accuracy 0.")
    figure.savefig(tmp_path / "sweep.png")
    assert plt.get_fignums() == []  # no window holds it


def test_overview_maps_share_one_scale_and_the_axis_is_the_longer(default):
    maps = plots.overview(default).axes[:2]
    assert len({(mesh_of(ax).norm.vmin, mesh_of(ax).norm.vmax) for ax in maps}) == 1
    assert maps[0].get_xlabel() == "learning_rate"
    assert [ax.get_title().split(":")[0] for ax in maps] == ["momentum", "adam"]
    folded = results.grid(default).score.squeeze("seed").transpose("optimizer", "l2", "learning_rate")
    for ax, expected in zip(maps, folded.values, strict=True):
        np.testing.assert_allclose(mesh_of(ax).get_array().filled(np.nan), expected, rtol=1e-6)


def test_overview_maps_of_different_values_share_their_axes(tmp_path):
    trials = grid_trials(["momentum"], rates=RATES[4:]) + grid_trials(["adam"], rates=RATES[:2])
    maps = plots.overview(results.open(write(tmp_path, trials))).axes[:2]
    assert maps[0].get_xlim() == maps[1].get_xlim()
    assert [ax.get_xscale() for ax in maps] == ["log", "log"]
    assert [len(ax.get_xticks()) for ax in maps] == [6, 6]


def test_overview_of_random_trials_of_failures_and_of_a_swept_conditional(tmp_path):
    plots.overview(random_run(tmp_path / "random")).savefig(tmp_path / "a.png")
    lost = results.open(write(tmp_path / "lost", grid_trials(), fails=lambda *_: True))
    figure = plots.overview(lost)
    figure.savefig(tmp_path / "b.png")
    assert figure.get_suptitle() == "64 trials, 64 failed"
    trials = [
        trial({"learning_rate": rate, "adam.b1": b1}, {"optimizer": "adam"}) for rate in RATES for b1 in (0.8, 0.9)
    ]
    trials += [trial({"learning_rate": rate}, {"optimizer": "sgd"}) for rate in RATES]
    figure = plots.overview(results.open(write(tmp_path / "conditional", trials)))
    figure.savefig(tmp_path / "c.png")
    assert figure.axes[0].get_xlabel() == "learning_rate"


def test_plots_draw_into_given_axes(default):
    _, places = plt.subplots(3)
    assert plots.heatmap(default, "learning_rate", "l2", ax=places[0]) is places[0]
    assert plots.curves(default, ax=places[1]) is places[1]
    assert plots.sensitivity(default, "learning_rate", ax=places[2]) is places[2]


def test_unknown_names_say_the_nearest(default):
    with pytest.raises(ValueError, match="Did you mean 'learning_rate'"):
        plots.heatmap(default, "learning_rat", "l2")
    with pytest.raises(ValueError, match=r"unknown metric 'train_los'\. Did you mean 'train_loss'"):
        plots.curves(default, metric="train_los")
    with pytest.raises(ValueError, match="Did you mean 'valid_accuracy'"):
        plots.heatmap(default, "learning_rate", "l2", metric="valid_acuracy")
    with pytest.raises(ValueError, match="expected two different settings"):
        plots.heatmap(default, "l2", "l2")


def test_importing_results_is_light_and_knows_no_jax():
    code = (
        "import sys, jaxopt_intro.results as r; bad = {'xarray', 'matplotlib', 'pandas'} & set(sys.modules); "
        "r.top, r.plots, r.report; sys.exit(bool(bad | ({'jax', 'matplotlib.pyplot'} & set(sys.modules))))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
