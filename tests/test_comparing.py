"""The expected best after k trials: against draws, by hand, and over several runs."""

from __future__ import annotations

import json

import numpy as np
import pytest

from jaxopt_intro import results
from jaxopt_intro.journal import Journal
from jaxopt_intro.results.comparing import expected_best
from tests.journals import RATES, diverges, grid_trials, run_record, trial, write


def scored(directory, scores, *, direction="max", failed=(), optimizer=None, experiment=None, data=None):
    """A run of one epoch, with a trial for each score."""
    with Journal(directory) as journal:
        more = {"experiment": experiment or {"model": "mlp", "optimizer": "adam"}, "data": data or {"fingerprint": "x"}}
        journal.append(run_record(direction) | more)
        for i, value in enumerate(scores):
            choices = {"optimizer": optimizer[i]} if optimizer else {}
            journal.append(trial({"learning_rate": 0.1 + i}, choices, name=f"t{i}"))
            members, metrics = [[f"t{i}", 0]], {"valid_accuracy": [value]}
            journal.append({"type": "epoch", "epoch": 1, "members": members, "metrics": metrics})
            status = "failed" if i in failed else "finished"
            journal.append({"type": "end", "trial": f"t{i}", "seed": 0, "status": status, "step": 3, "epoch": 1})
    return results.open(directory)


def test_the_expectation_is_what_drawing_gives():
    scores = np.array([0.1, 0.7, 0.7, 0.75, 0.3])
    drawn = np.random.default_rng(1).choice(scores, (200_000, 3)).max(1)
    tolerance = 5 * drawn.std() / np.sqrt(len(drawn))
    assert expected_best(scores, np.array([3]))[0] == pytest.approx(drawn.mean(), abs=tolerance)
    assert expected_best(scores, np.array([1]))[0] == pytest.approx(scores.mean())
    curve = expected_best(scores, np.arange(1, 200))
    assert (np.diff(curve) >= -1e-15).all(), "but for rounding"
    assert curve[-1] == pytest.approx(0.75, abs=1e-12)


def test_labels_of_a_choice_with_their_counts_and_intervals(tmp_path):
    dataset = results.open(write(tmp_path, grid_trials(), fails=diverges))
    found = results.compare(dataset, "optimizer")
    assert found.label.values.tolist() == ["momentum", "adam"]
    assert found["count"].values.tolist() == [32, 32]
    assert found.failed.values.tolist() == [8, 0]
    assert (found.low <= found.expected + 1e-9).all()
    assert (found.expected <= found.high + 1e-9).all()
    adam = dataset.score.values[dataset.optimizer.values == "adam"].astype(float)
    assert found.expected.sel(label="adam", trials=1).item() == pytest.approx(adam.mean())
    assert found.best.sel(label="adam").item() == adam.max()
    assert (found.attrs["search"], found.attrs["objective"], found.attrs["by"]) == (
        "grid", "valid_accuracy", "optimizer",
    )  # fmt: skip


def test_a_failed_trial_counts_as_the_lowest_score_of_all(tmp_path):
    optimizer = ["a", "a", "b", "b"]
    dataset = scored(tmp_path, [0.9, 0.5, 0.25, 0.75], failed=[0], optimizer=optimizer)
    found = results.compare(dataset, "optimizer")
    assert found.expected.sel(trials=1).values.tolist() == [(0.5 + 0.25) / 2, 0.5]
    assert found.best.sel(label="a").item() == 0.5


def test_where_less_is_better_the_least_is_expected_and_low_is_below(tmp_path):
    dataset = scored(tmp_path, [3.0, 1.0, 2.0, 7.0], direction="min")
    found = results.compare(dataset).squeeze("label")
    assert found.expected.sel(trials=1).item() == pytest.approx(3.25)
    assert found.expected.values.tolist() == sorted(found.expected.values.tolist(), reverse=True)
    assert (found.low <= found.expected).all()
    assert (found.high >= found.expected).all()
    assert found.best.item() == 1.0


def test_several_runs_by_name_and_by_what_differs_between_them(tmp_path):
    one = scored(tmp_path / "one", [0.5, 0.75], experiment={"optimizer": "sgd"})
    scored(tmp_path / "two", [0.25, 0.5, 0.75], experiment={"optimizer": "adam"})
    found = results.compare([one, tmp_path / "two"])
    assert found.label.values.tolist() == ["one", "two"]
    assert found.trials.values.tolist() == [1, 2, 3]
    assert np.isnan(found.expected.sel(label="one", trials=3).item()), "one has two trials only"
    assert results.compare([one, tmp_path / "two"], "optimizer").label.values.tolist() == ["sgd", "adam"]


def test_random_trials_are_no_grid(tmp_path):
    trials = [trial({"learning_rate": rate, "l2": rate**2}) for rate in RATES]
    assert results.compare(write(tmp_path / "r", trials)).attrs["search"] == "random"


def test_what_cannot_be_compared_says_why(tmp_path):
    one = scored(tmp_path / "one", [0.5])
    with pytest.raises(ValueError, match=r"direction 'max' and 'min'; expected the same"):
        results.compare([one, scored(tmp_path / "two", [0.5], direction="min")])
    with pytest.raises(ValueError, match=r"different data \(unknown and digits\)"):
        results.compare([one, scored(tmp_path / "three", [0.5], data={"fingerprint": "y", "name": "digits"})])
    with pytest.raises(ValueError, match="Did you mean 'optimizer'"):
        results.compare(one, "optimiser")
    with pytest.raises(ValueError, match="got no run"):
        results.compare([])
    with pytest.raises(ValueError, match="got one run twice"):
        results.compare([one, one])
    with pytest.raises(ValueError, match="no trial has a score"):
        results.compare(scored(tmp_path / "four", [float("nan")]))


def test_a_run_is_compared_while_it_goes_on(tmp_path):
    trials = grid_trials(rates=RATES[:3])
    write(tmp_path, trials, epochs=1, end=False)
    before = results.compare(tmp_path, "optimizer")
    with Journal(tmp_path) as journal:
        members = [[trials[0]["trial"], 0]]
        journal.append({"type": "epoch", "epoch": 2, "members": members, "metrics": {"valid_accuracy": [0.99]}})
        after = results.compare(tmp_path, "optimizer")
    assert before.best.sel(label="momentum").item() < 0.9
    assert after.best.sel(label="momentum").item() == pytest.approx(0.99)
    assert before.best.sel(label="adam").item() == after.best.sel(label="adam").item()


def test_the_methods_are_cited_and_the_batch_order_is_said(tmp_path):
    record = run_record() | {"methods": {"adam": "Kingma and Ba 2015"}, "experiment": {"vary_batches": True}}
    dataset = results.open(write(tmp_path, grid_trials(rates=RATES[:1], seeds=(0, 1)), run=record))
    assert results.citations(dataset) == {"adam": "Kingma and Ba 2015"}
    summary = results.summary(dataset)
    assert (summary.attrs["seeds"], summary.attrs["batch_order"]) == ("2", "varied")
    shared = results.open(write(tmp_path / "shared", grid_trials(rates=RATES[:1])))
    assert results.summary(shared).attrs["batch_order"] == "shared"
    assert results.citations(shared) == json.loads(shared.attrs["methods"]) == {}
