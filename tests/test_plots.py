"""Pictures of searches and spaces: each is drawn, and holds the numbers that it should."""

from __future__ import annotations

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest

from jaxopt_intro import results
from jaxopt_intro.journal import Journal
from jaxopt_intro.results import maps, plots
from jaxopt_intro.results.importance import _divergence, importance
from tests.journals import RATES, diverges, grid_trials, run_record, trial, write


@pytest.fixture(autouse=True)
def _draw_and_close_figures():
    yield
    for number in plt.get_fignums():
        plt.figure(number).canvas.draw()
    plt.close("all")


@pytest.fixture(scope="module")
def seeded(tmp_path_factory):
    trials = grid_trials(rates=RATES[1::2], seeds=(0, 1))
    return results.open(write(tmp_path_factory.mktemp("seeded"), trials, fails=diverges))


@pytest.fixture(scope="module")
def scattered(tmp_path_factory):
    """Random trials: the learning rate decides, the dropout does nothing."""
    draw = np.random.default_rng(0)
    trials = [
        trial({"learning_rate": float(10 ** draw.uniform(-4, 0)), "dropout": float(draw.uniform(0, 0.6))},
              {"optimizer": ["adam", "momentum"][i % 2]})
        for i in range(80)
    ]  # fmt: skip
    return results.open(write(tmp_path_factory.mktemp("scattered"), trials, fails=diverges))


def marked(ax, gid):
    return [a for a in ax.lines if a.get_gid() == gid]


def test_the_gap_has_training_and_validation_of_the_best(tmp_path):
    with Journal(tmp_path) as journal:
        journal.append(run_record("min", "valid_loss"))
        for name, rate in (("a", 0.1), ("b", 0.2)):
            journal.append(trial({"learning_rate": rate}, seeds=(0, 1), name=name))
            for epoch in (1, 2):
                train, valid = [1.0 / epoch, 3.0 / epoch], [2.0 / epoch * rate, 4.0 / epoch * rate]
                metrics = {"train_loss": train, "valid_loss": valid, "valid_accuracy": [0.5, 0.5]}
                members = [[name, 0], [name, 1]]
                journal.append({"type": "epoch", "epoch": epoch, "members": members, "metrics": metrics})
    dataset = results.open(tmp_path)
    ax = plots.gap(dataset, top=1)
    valid, train = ax.lines
    np.testing.assert_allclose(valid.get_ydata(), [0.3, 0.15], rtol=1e-6)
    np.testing.assert_allclose(train.get_ydata(), [2.0, 1.0])
    assert (valid.get_linestyle(), train.get_linestyle()) == ("-", "--")
    assert ax.get_legend().get_texts()[0].get_text() == "1: learning_rate 0.1"
    with pytest.raises(ValueError, match=r"unknown metric of training and validation 'accuracy'.*Known: loss"):
        plots.gap(dataset, metric="accuracy")


def test_the_best_so_far_against_trials_never_gets_worse(seeded):
    ax = plots.best_so_far(seeded)
    (line,), (dots,) = marked(ax, "best"), marked(ax, "each")
    scores = results.summary(seeded).score.values
    known = np.isfinite(scores)
    assert dots.get_xdata().tolist() == (np.flatnonzero(known) + 1).tolist()
    np.testing.assert_array_equal(line.get_ydata()[:-1], np.maximum.accumulate(scores[known]))
    assert line.get_xdata()[-1] == seeded.sizes["trial"], "the line reaches the last trial, also if that has failed"


def test_the_best_so_far_against_time_waits_for_all_seeds(tmp_path):
    with Journal(tmp_path) as journal:
        journal.append(run_record("min", "value"))
        for name in "ab":
            journal.append(trial({"q": float(ord(name))}, seeds=(0, 1), name=name))
        for at, name, seed, value in [(1, "a", 0, 0.0), (2, "a", 1, 4.0), (3, "b", 0, 1.0), (9, "b", 1, 2.0)]:
            record = {"type": "epoch", "epoch": 1, "members": [[name, seed]], "metrics": {"value": [value]}, "time": at}
            journal.append(record)
    ax = plots.best_so_far(results.open(tmp_path), against="seconds")
    (line,) = marked(ax, "best")
    assert line.get_xdata().tolist() == [2.0, 9.0]
    assert line.get_ydata().tolist() == [2.0, 1.5]
    assert ax.get_xlabel() == "seconds of work"
    with pytest.raises(ValueError, match="Did you mean 'seconds'"):
        plots.best_so_far(results.open(tmp_path), against="second")


def test_a_comparison_has_a_line_and_a_band_for_each_label(seeded):
    compared = results.compare(seeded, "optimizer")
    ax = plots.comparison(compared)
    for line, label in zip(ax.lines, ["momentum", "adam"], strict=True):
        np.testing.assert_array_equal(line.get_ydata(), compared.expected.sel(label=label).dropna("trials"))
    assert len({(line.get_linestyle(), line.get_marker()) for line in ax.lines}) == 2, "told apart without colours"
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["momentum (16 trials, 4 failed)", "adam (16 trials)"]
    assert "as if drawn from the grid" in ax.get_title()
    assert len(ax.collections) == 2


def pruned(directory):
    said = {"to": 4, "reason": "", "from": None, "hparams": None, "action": "go"}
    with Journal(directory) as journal:
        journal.append(run_record())
        for name in "abc":
            journal.append(trial({"learning_rate": 0.1 * (1 + ord(name))}, name=name))
        for epoch, values in ((2, {"a": 0.5, "b": 0.75, "c": 0.25}), (4, {"a": 0.625, "b": 0.875})):
            record = {"type": "epoch", "epoch": epoch, "members": [[n, 0] for n in values]}
            journal.append({**record, "metrics": {"valid_accuracy": list(values.values())}})
            verdicts = [{**said, "trial": name} for name in values]
            verdicts[-1]["action"] = "stop" if epoch == 2 else "go"
            verdicts[0] |= {"action": "copy", "from": "b"} if epoch == 4 else {}
            journal.append({"type": "rung", "rung": float(epoch), "values": values, "verdicts": verdicts, "time": 1.0})
        journal.append({"type": "end", "trial": "c", "seed": 0, "status": "pruned", "step": 6, "epoch": 2})
    return results.open(directory)


def test_rungs_show_who_was_stopped_and_who_copied_whom(tmp_path, seeded):
    ax = plots.rungs(pruned(tmp_path))
    (stopped,), (copied,), (link,), (best,) = (marked(ax, gid) for gid in ("stop", "copy", "from", "best"))
    assert (stopped.get_xdata().tolist(), stopped.get_ydata().tolist()) == ([2], [0.25])
    assert (copied.get_xdata().tolist(), copied.get_ydata().tolist()) == ([4], [0.625])
    assert list(link.get_ydata()) == [0.875, 0.625]
    assert best.get_ydata().tolist() == [0.75, 0.875]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["2", "4"]
    with pytest.raises(ValueError, match="the run has no rung; expected a sweep with a pruner"):
        plots.rungs(seeded)


def test_parallel_coordinates_put_each_trial_at_its_values(seeded):
    ax = plots.parallel(seeded)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["optimizer", "learning_rate", "l2"]
    trials, (best,) = results.summary(seeded), marked(ax, "best")
    assert len(marked(ax, "trial")) == int(trials.score.notnull().sum())
    assert len(marked(ax, "failed")) == int((trials.status == "failed").sum()) > 0
    first = results.best(seeded)
    rates = np.log(np.unique(seeded.learning_rate))
    height = (np.log(first.learning_rate.item()) - rates[0]) / (rates[-1] - rates[0])
    assert best.get_ydata()[1] == pytest.approx(height)
    assert best.get_ydata()[0] == ["momentum", "adam"].index(first.optimizer.item())
    last = marked(ax, "trial")[-1].get_ydata()
    np.testing.assert_array_equal(last, best.get_ydata(), err_msg="the best lies on top of the others")


def test_parallel_coordinates_of_conditional_zero_and_constant_settings(tmp_path):
    trials = [
        trial({"learning_rate": rate, "l2": l2}, {"optimizer": "sgd"}) for rate in RATES for l2 in (0.0, 1e-4, 1e-2)
    ]
    trials += [trial({"learning_rate": rate, "l2": 0.0, "b1": 0.8 + i / 99}, {"optimizer": "adam"})
               for i, rate in enumerate(RATES)]  # fmt: skip
    dataset = results.open(write(tmp_path, trials))
    ax = plots.parallel(dataset, ["l2", "b1"])
    heights = np.array([line.get_ydata() for line in marked(ax, "trial")])
    assert np.isnan(heights[:, 1]).sum() == 24, "sgd has no b1"
    assert sorted({*heights[:, 0].tolist()})[0] == 0.0
    assert len({*heights[:, 0].tolist()}) == 3
    with pytest.raises(ValueError, match="no setting of the run varies"):
        plots.parallel(dataset.isel(trial=[0]))
    with pytest.raises(ValueError, match="Did you mean 'learning_rate'"):
        plots.parallel(dataset, ["learning_rates"])


def test_importance_finds_what_decides(scattered):
    shares = importance(scattered)
    assert shares.sum() == pytest.approx(1.0)
    assert shares.index[0] == "learning_rate"
    assert shares["dropout"] < 0.15
    bars = plots.importance(scattered).patches
    assert [bar.get_width() for bar in bars] == shares[::-1].tolist()


def test_importance_of_chance_is_near_none():
    """Scores that depend on nothing: the divergence of a setting is that of chance, which is taken off."""
    draw = np.random.default_rng(3)
    bins, counted = draw.integers(0, 6, 60), np.ones(60, bool)
    found = [_divergence(bins, draw.permutation(60), counted, 0.25) for _ in range(400)]
    decided = _divergence(bins, np.argsort(np.argsort(bins, kind="stable")), counted, 0.25)
    assert np.median(found) < 0.05 * decided
    assert decided > 1.5


def test_importance_refuses_too_few(scattered):
    with pytest.raises(ValueError, match="7 trials have a score or failed; expected at least 8"):
        importance(scattered.isel(trial=range(7)))
    with pytest.raises(ValueError, match="got best=25; expected a share"):
        importance(scattered, best=25)


def test_coefficient_paths_are_ordered_and_counted():
    strengths = np.array([1.0, 0.01, 0.1])
    ax = plots.coefficient_paths(strengths, np.array([[0.0, 0.0], [2.0, -1.0], [1.0, 0.0]]), names=["x", "y"])
    assert ax.lines[0].get_xdata().tolist() == [0.01, 0.1, 1.0]
    assert ax.lines[0].get_ydata().tolist() == [2.0, 1.0, 0.0]
    (above,) = ax.child_axes
    assert [label.get_text() for label in above.get_xticklabels()] == ["2", "1", "0"]
    with pytest.raises(ValueError, match=r"got strengths \(3,\) and coefficients \(2, 2\)"):
        plots.coefficient_paths(strengths, np.ones((2, 2)))
    with pytest.raises(ValueError, match="a vector above 0"):
        plots.coefficient_paths(np.array([0.0, 1.0]), np.ones((2, 2)))


def test_every_picture_draws_into_given_axes_also_of_a_run_that_has_only_begun(tmp_path, seeded):
    _, places = plt.subplots(4)
    assert plots.best_so_far(seeded, ax=places[0]) is places[0]
    assert plots.parallel(seeded, ax=places[1]) is places[1]
    assert plots.comparison(results.compare(seeded), ax=places[2]) is places[2]
    assert plots.importance(seeded, ax=places[3]) is places[3]
    with Journal(tmp_path) as journal:
        journal.append(run_record())
        for rate in (0.1, 0.2):
            journal.append(trial({"learning_rate": rate}))
    begun = results.open(tmp_path)
    for against in ("trials", "seconds"):
        assert len(marked(plots.best_so_far(begun, against=against), "each")[0].get_xdata()) == 0
    assert not marked(plots.parallel(begun), "best")


# -- maps -----------------------------------------------------------------------------------------------------


@pytest.fixture
def mapped(tmp_path):
    """A map of 5 x 5 of which the corners of 4 cells are known: a slope to the right, and an edge at its end."""
    rows, columns = (g.ravel() for g in np.meshgrid([0, 2, 4], [0, 2, 4], indexing="ij"))
    objective, diverged = 0.5 + columns / 8 - rows / 100, columns == 4
    ones = np.ones(9)
    lanes = maps.Lanes(rows, columns, 0 * rows, objective, ones - objective, 0.5 * ones, diverged)
    maps.write_asked(tmp_path, {
        "x": {"name": "learning_rate", "low": 1e-4, "high": 1.0, "scale": "log"},
        "y": {"name": "momentum", "low": 0.0, "high": 0.8, "scale": "linear"},
        "resolution": 4, "objective": "valid_accuracy", "direction": "max", "precision": "float32",
        "constants": {"l2": 0.001},
    })  # fmt: skip
    maps.write_lanes(tmp_path, lanes)
    maps.write_arrows(tmp_path, {
        "x": np.array([1e-3, 1e-3, 0.1]), "y": np.array([0.2, 0.6, 0.2]), "right": np.array([0.4, 0.1, 9.0]),
        "up": np.array([0.0, -0.1, 0.0]), "refused": np.array(["", "", "steeper than 10"]),
    })  # fmt: skip
    return results.open_map(tmp_path)


def painted(ax, gid):
    (mesh,) = [c for c in ax.collections if c.get_gid() == gid]
    return np.ma.filled(mesh.get_array().reshape(5, 5), np.nan)


def test_a_landscape_shows_what_is_known_and_the_mean_between(mapped):
    ax = plots.landscape(mapped)
    values, over = painted(ax, "trained"), np.isfinite(painted(ax, "diverged"))
    assert values[0, :3] == pytest.approx([0.5, 0.625, 0.75])  # known, between, known
    assert values[1, 1] == pytest.approx(0.615)  # of the four around
    assert over[:, 4].all()
    assert not over[:, :3].any()
    assert (np.isnan(values) == over).all()
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")
    (ring,) = [c for c in ax.collections if c.get_gid() == "best"]
    assert ring.get_offsets()[0].tolist() == pytest.approx([0.01, 0.0])
    title = ax.get_title()
    assert "9 of 25 points computed" in title
    assert "best valid_accuracy 0.750 at learning_rate 1e-2, momentum 0" in title
    assert "l2 1e-3" in title
    assert "2 of 3 arrows, downhill in loss; left out:\n1 steeper than 10" in title


def test_arrows_point_the_way_that_is_downhill(mapped):
    ax = plots.landscape(mapped)
    (arrows,) = [c for c in ax.collections if c.get_gid() == "arrows"]
    assert len(arrows.U) == 2
    assert arrows.U[0] > 0
    assert arrows.V[0] == 0
    assert arrows.U[1] == pytest.approx(-arrows.V[1])
    at = ax.transData.inverted().transform(ax.transAxes.transform(np.stack([arrows.X, arrows.Y], 1)))
    ax.figure.canvas.draw()
    np.testing.assert_allclose(at, [[1e-3, 0.2], [1e-3, 0.6]], rtol=1e-4)


def test_slowness_has_no_arrows_and_greys_what_diverged(mapped):
    ax = plots.landscape(mapped, of="slowness")
    assert painted(ax, "trained")[0, 0] == 0.5
    assert painted(ax, "diverged")[0, 4] == 0.5
    assert not [c for c in ax.collections if c.get_gid() == "arrows"]
    with pytest.raises(ValueError, match="'speed'"):
        plots.landscape(mapped, of="speed")


def test_the_best_of_a_map_is_not_one_lucky_seed(tmp_path, mapped):
    lanes = maps.read_lanes(maps.Path(mapped.attrs["map"]))
    more = maps.Lanes(*(np.tile(values[[0, 1]], 8) for values in lanes))  # eight more seeds of two points
    more = more._replace(objective=0.749 + np.tile([0.02, -0.02], 8))
    lucky = np.flatnonzero(~lanes.diverged)[2]  # a single seed, above the mean of any nine
    lanes = lanes._replace(objective=np.where(np.arange(len(lanes.row)) == lucky, 0.745, lanes.objective))
    known = maps.Lanes(*(np.concatenate(pair) for pair in zip(lanes, more, strict=True)))
    maps.write_lanes(maps.Path(mapped.attrs["map"]), known)
    opened = results.open_map(mapped.attrs["map"])
    found = maps.best(opened)
    assert found.seeds.item() == 9
    assert opened.objective.max() > found.objective
