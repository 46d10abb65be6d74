"""Early stopping in a sweep: each lane stops by its own numbers, and is until then what it is without."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from jaxopt_intro import Experiment, Space, results, sweep
from tests.small import DATA, of

pytestmark = pytest.mark.usefixtures("compiled_once")

EXPERIMENT = Experiment(data=DATA, model="linear", optimizer="sgd", epochs=12, batch_size=8, objective="loss")
RATES, PATIENCES, MARGINS = (0.3, 3.0, 20.0), (1.0, 3.0), (0.0, 0.05)


def trials(**numbers):
    values = itertools.product(*numbers.values())
    return [t for row in values for t in Space(**dict(zip(numbers, row, strict=True))).grid()]


def stops_after(losses, patience, min_delta):
    """The rule of the docstring as a loop: the epoch after which it stops, or None."""
    best, waited = np.inf, 0
    for epoch, loss in enumerate(losses, 1):
        improved = loss < best - min_delta
        best, waited = (loss, 0) if improved else (best, waited + 1)
        if waited >= patience:
            return epoch
    return None


@pytest.fixture(scope="module")
def free(tmp_path_factory):
    """Each rate's validation losses without stopping."""
    directory = tmp_path_factory.mktemp("free") / "run"
    found = sweep(EXPERIMENT, trials(learning_rate=RATES), directory=directory, width=12)
    return dict(zip(RATES, found.valid_loss.values[:, 0], strict=True))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    directory = tmp_path_factory.mktemp("stopped") / "run"
    experiment = Experiment(**{**vars(EXPERIMENT), "stopping": "early_stopping"})
    asked = trials(learning_rate=RATES, patience=PATIENCES, min_delta=MARGINS)
    return sweep(experiment, asked, directory=directory, width=12)


def test_a_lane_stops_where_a_loop_over_its_losses_does_and_is_the_same_until_then(free, stopped):
    ends = []
    for i, numbers in enumerate(itertools.product(RATES, PATIENCES, MARGINS)):
        expected = stops_after(free[numbers[0]], *numbers[1:])
        losses = stopped.valid_loss.values[i, 0]
        np.testing.assert_array_equal(losses[:expected], free[numbers[0]][:expected])
        assert np.isnan(losses[expected:]).all() or expected is None
        assert stopped.stopped_step.values[i, 0] == (expected or 12) * (30 // 8)
        ends.append(expected)
    assert None in ends, "one goes on to the end"
    assert len(set(ends)) > 3, "others stop at different epochs"


def test_a_stopped_trial_is_finished_says_why_and_has_the_score_of_its_best_epoch(free, stopped):
    assert (stopped.status == "finished").all()
    early = stopped.stopped_step.values[:, 0] < 12 * (30 // 8)
    for reason, was_early in zip(stopped.reason.values[:, 0], early, strict=True):
        assert reason == ("stopped early: its validation no longer improved" if was_early else "")
    for i, numbers in enumerate(itertools.product(RATES, PATIENCES, MARGINS)):
        end = stops_after(free[numbers[0]], *numbers[1:]) or 12
        assert stopped.score.values[i, 0] == free[numbers[0]][:end].min()
        assert stopped.best_epoch.values[i, 0] == free[numbers[0]][:end].argmin() + 1
    assert len(of(stopped.attrs["run"], "test")) == 1
    assert results.best(stopped).trial.item()


def test_tiles_whose_lanes_have_all_stopped_end_early(tmp_path):
    experiment = Experiment(**{**vars(EXPERIMENT), "stopping": "early_stopping", "epochs": 200})
    sweep(experiment, trials(learning_rate=(20.0, 30.0), patience=(2.0,)), directory=tmp_path / "run", width=2)
    assert len(of(tmp_path / "run", "epoch")) < 100


def test_the_number_that_it_needs_is_asked_for(tmp_path):
    experiment = Experiment(**{**vars(EXPERIMENT), "stopping": "early_stopping"})
    with pytest.raises(ValueError, match="stopping early_stopping: got no value for 'patience'; expected one"):
        sweep(experiment, trials(learning_rate=RATES), directory=tmp_path / "run")
    with pytest.raises(ValueError, match=r"unknown stopping 'early_stop'. Did you mean 'early_stopping'"):
        sweep(Experiment(**{**vars(EXPERIMENT), "stopping": "early_stop"}), trials(learning_rate=RATES))
    assert not (tmp_path / "run").exists()
