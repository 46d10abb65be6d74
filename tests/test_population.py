"""A tile: what a lane computes comes from its own numbers, seed and batches alone."""

from __future__ import annotations

import functools
import itertools

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxopt_intro import losses, metrics, models, optimizers, regularizers, training
from jaxopt_intro.data import batching
from jaxopt_intro.sweeps.population import make_tile, stack_hparams

WIDTH = 4
rng = np.random.default_rng(7)
X = rng.normal(size=(30, 5)).astype(np.float32)
Y = (X @ rng.normal(size=(5, 3))).argmax(1).astype(np.int32)
DATA, VALID = (X[:24], Y[:24]), (X[24:], Y[24:])
ROWS = np.concatenate([batching.epoch_indices(24, 8, seed=0, epoch=epoch) for epoch in range(3)])
DIVERGES = {"learning_rate": 1e30, "l2": 1e-3, "dropout": 0.1}


@functools.cache
def parts():
    model = models.mlp(outputs=3, widths=(6,))
    loss, measured = losses.softmax_cross_entropy, {"accuracy": metrics.accuracy}
    made = training.make_training(
        model, loss, optimizers.sgd, example=DATA, penalty=regularizers.l2, metrics={"accuracy": metrics.accuracy}
    )
    return made, functools.partial(training.evaluate, model, metrics=measured, loss=loss)


@functools.cache
def tile(width, objective="accuracy", direction="max"):
    """The tile's functions, each compiled once for all tests."""
    made, evaluate = parts()
    functions = make_tile(made, evaluate, width=width, objective=objective, direction=direction)
    return type(functions)(*map(jax.jit, functions))


def train(members, *, width=WIDTH, pieces=(ROWS,), validate=True):
    """Trains members `(seed, numbers)` in a tile padded with its last member; returns lanes, totals and metrics."""
    members = [*members, *[members[-1]] * (width - len(members))]
    hparams = stack_hparams([numbers for _, numbers in members])
    functions = tile(width)
    lanes = functions.init(np.array([seed for seed, _ in members], np.uint32), hparams)
    totals, measured = [], {}
    for rows in pieces:
        lanes, new = functions.segment(lanes, hparams, DATA, rows)
        totals.append(new)
    if validate:
        lanes, measured = functions.validate(lanes, hparams, VALID, DATA, np.int32(1))
    return lanes, totals, measured


def bits(tree, lane):
    """Every leaf of one lane as bytes: equal only if every bit is."""
    leaves = (jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x for x in
              jax.tree.leaves(tree))  # fmt: skip
    return [np.asarray(leaf)[lane].tobytes() for leaf in leaves]


rates = st.sampled_from([1e-3, 0.03, 0.3, 1.0, 30.0, 1e30])
members = st.tuples(
    st.integers(0, 2**31 - 1),
    st.fixed_dictionaries(
        {"learning_rate": rates, "l2": st.floats(0, 0.5, width=32), "dropout": st.floats(0, 0.875, width=32)}
    ),
)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(member=members, company=st.lists(members, min_size=WIDTH - 1, max_size=WIDTH - 1), lane=st.integers(0, 3))
def test_a_lane_is_bitwise_the_same_in_any_place_and_company(member, company, lane):
    alone = train([member])  # beside copies of itself
    beside = train([*company[:lane], member, *company[lane:]])
    assert bits(alone, 0) == bits(beside, lane)


@pytest.mark.parametrize("width", [1, 7])
def test_at_another_width_the_first_steps_agree(width):
    four = [(seed, {"learning_rate": 0.1, "l2": 0.01, "dropout": 0.25}) for seed in range(4)]
    lanes, totals, measured = train(four, pieces=(ROWS[:3],))
    for i, one in enumerate(four):
        own, own_totals, own_measured = train([one], width=width, pieces=(ROWS[:3],))
        for a, b in zip(jax.tree.leaves(lanes.state.params), jax.tree.leaves(own.state.params), strict=True):
            np.testing.assert_allclose(a[i], b[0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(totals[0]["loss"][i], own_totals[0]["loss"][0], rtol=1e-5)
        np.testing.assert_allclose(measured["loss"][i], own_measured["loss"][0], rtol=1e-5)


def test_a_single_lane_keeps_the_tiles_shapes():
    wide, narrow = train([(0, DIVERGES)]), train([(0, DIVERGES)], width=1)
    assert jax.tree.map(lambda x: x.shape[1:], wide) == jax.tree.map(lambda x: x.shape[1:], narrow)
    assert {x.shape[0] for x in jax.tree.leaves(narrow)} == {1}


def test_the_seed_decides_weights_and_noise_and_the_key_stays():
    numbers = {"learning_rate": 0.1, "l2": 0.0, "dropout": 0.5}
    lanes, *_ = train([(0, numbers), (1, numbers), (0, numbers)])
    assert bits(lanes, 0) == bits(lanes, 2)
    assert all(a != b for a, b in zip(bits(lanes.state.params, 0), bits(lanes.state.params, 1), strict=True))
    first = tile(WIDTH).init(np.arange(4, dtype=np.uint32), stack_hparams([numbers] * 4))
    np.testing.assert_array_equal(jax.random.key_data(first.state.key)[0], jax.random.key_data(lanes.state.key)[0])


# -- a lane that fails -----------------------------------------------------------------------------------------


def one_after_another(seed, numbers):
    """The states before each step, and the first step whose loss or update is not finite, in a Python loop."""
    made, _ = parts()
    numbers = {name: np.float32(value) for name, value in numbers.items()}
    state, states, step = made.init(jax.random.key(seed), numbers), [], jax.jit(made.step)
    for number, rows in enumerate(ROWS, 1):
        states.append(state)
        state, info = step(state, (DATA[0][rows], DATA[1][rows]), numbers)
        if not np.isfinite([info.loss + info.penalty, info.update_norm]).all():
            return states, number
    return states, 0


@pytest.mark.parametrize("learning_rate", [30.0, 3e5, 1e10])
def test_a_failed_lane_stops_counting_at_the_right_step(learning_rate):
    numbers = {"learning_rate": learning_rate, "l2": 10.0, "dropout": 0.0}
    _, failed_at = one_after_another(3, numbers)
    lanes, (totals,), measured = train([(0, DIVERGES | {"learning_rate": 0.1}), (3, numbers)])
    assert int(lanes.failed_at[1]) == int(measured["failed_at"][1]) == failed_at > 1
    assert int(lanes.failed_at[0]) == 0
    assert totals["steps"].tolist()[:2] == [len(ROWS), failed_at - 1]
    assert all(np.isfinite(total).all() for total in totals.values())
    for best in jax.tree.leaves(lanes.best.params):
        assert np.isfinite(best).all()


def test_a_lane_that_failed_never_wakes_up_and_its_best_epoch_stays():
    numbers = [(0, {"learning_rate": 0.1, "l2": 0.0, "dropout": 0.0}), (0, DIVERGES)]
    hparams = stack_hparams([n for _, n in numbers] * 2)
    functions = tile(WIDTH)
    lanes = functions.init(np.zeros(4, np.uint32), hparams)
    lanes, _ = functions.validate(lanes, hparams, VALID, DATA, np.int32(1))
    failed = [bits(functions.validate(lanes, hparams, VALID, DATA, np.int32(1))[0].best, 1)]
    for epoch in (2, 3):
        lanes, totals = functions.segment(lanes, hparams, DATA, ROWS)
        lanes, measured = functions.validate(lanes, hparams, VALID, DATA, np.int32(epoch))
        failed.append(bits(lanes.best, 1))
        assert (measured["failed_at"] > 0).tolist() == [False, True, False, True]
    assert int(totals["steps"][1]) == 0
    assert failed[0] == failed[1] == failed[2]


# -- the best epoch --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("objective", "direction"), [("accuracy", "max"), ("loss", "min")])
def test_the_first_of_the_best_epochs_is_kept_with_its_weights(objective, direction):
    functions = tile(WIDTH, objective, direction)
    numbers = [{"learning_rate": rate, "l2": 0.0, "dropout": 0.0} for rate in (0.0, 0.3, 3.0, 30.0)]
    hparams = stack_hparams(numbers)
    lanes = functions.init(np.arange(4, dtype=np.uint32), hparams)
    scores, weights = [], []
    for epoch in range(1, 7):
        lanes, _ = functions.segment(lanes, hparams, DATA, ROWS[3 * (epoch % 3) :][:3])
        lanes, measured = functions.validate(lanes, hparams, VALID, DATA, np.int32(epoch))
        scores.append(np.asarray(measured[objective]))
        weights.append(lanes.state.params)
    best = np.argmax(scores, 0) if direction == "max" else np.argmin(scores, 0)
    assert len(set(best.tolist())) > 1, "the case says nothing if all lanes agree"
    assert lanes.best.epoch.tolist() == (best + 1).tolist()
    for lane, epoch in enumerate(best):
        assert bits(lanes.best.params, lane) == bits(weights[epoch], lane)
        assert float(lanes.best.score[lane]) == scores[epoch][lane] * (1 if direction == "max" else -1)


# -- segments --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lengths", [(3, 3, 3), (8, 1)])
def test_how_an_epoch_is_cut_into_segments_changes_no_weight(lengths):
    cuts = [0, *itertools.accumulate(lengths)]
    pieces = [ROWS[a:b] for a, b in itertools.pairwise(cuts)]
    four = [(seed, {"learning_rate": 0.3, "l2": 0.01, "dropout": 0.25}) for seed in range(3)] + [(0, DIVERGES)]
    whole, cut = train(four), train(four, pieces=pieces)
    assert all(bits(whole[0], lane) == bits(cut[0], lane) for lane in range(WIDTH))
    for name, total in whole[1][0].items():
        np.testing.assert_allclose(sum(np.float64(part[name]) for part in cut[1]), total, rtol=1e-6)


def test_stacked_numbers_are_float32_and_a_group_without_numbers_is_fine():
    stacked = stack_hparams([{"l2": 0.1, "b1": 1}, {"l2": 2, "b1": 0.5}])
    assert {name: (x.dtype, x.tolist()) for name, x in stacked.items()} == {
        "l2": (np.float32, [np.float32(0.1), 2.0]),
        "b1": (np.float32, [1.0, 0.5]),
    }
    assert stack_hparams([{}, {}]) == {}
