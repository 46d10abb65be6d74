"""Early stopping against a transcription in plain Python, for a population of numbers inside one scan."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_intro.regularizers import EarlyStopping

VALUES = [3.0, 2.5, 2.45, 2.6, math.nan, 2.44, 2.0, 2.1, 2.0, 1.99, 2.3, 2.2, 2.4, 0.1, math.inf]


def _stops(values, patience, min_delta):
    """Goodfellow, Bengio and Courville 2016, algorithm 7.1, with Keras' min_delta."""
    best, waited, stops = math.inf, 0, []
    for value in values:
        if value < best - min_delta:
            best, waited = value, 0
        else:
            waited += 1
        stops.append(bool(stops and stops[-1]) or waited >= patience)
    return stops


def _run(patience, min_delta, values):
    stopping = EarlyStopping(patience, min_delta)
    return jax.lax.scan(stopping.update, stopping.init(), values)


def test_a_population_stops_lane_by_lane():
    numbers = [(p, d) for p in (1, 2, 3, 4, 20) for d in (0.0, 0.1, 0.6)]
    patience, min_delta = jnp.array([p for p, _ in numbers]), jnp.array([d for _, d in numbers])
    values = jnp.array(VALUES)
    _, stops = jax.jit(jax.vmap(_run, (0, 0, None)))(patience, min_delta, values)
    for lane, (p, d) in enumerate(numbers):
        assert stops[lane].tolist() == _stops(np.asarray(values).tolist(), p, float(np.float32(d))), (p, d)
    assert len({tuple(s) for s in np.asarray(stops).tolist()}) > 5


def test_it_stays_stopped_and_remembers_the_best():
    state, stops = _run(2, 0.0, jnp.array([2.0, 2.1, 2.2, 1.0, 0.5]))
    assert stops.tolist() == [False, False, True, True, True]
    assert bool(state.stopped)
    state, _ = _run(9, 0.0, jnp.array([2.0, math.nan, 1.5, 3.0]))
    assert (state.best.tolist(), state.waited.tolist()) == (1.5, 1)


def test_a_patience_of_0_is_one_of_1():
    values = jnp.array([2.0, 1.0, 1.5])
    assert _run(0, 0.0, values)[1].tolist() == _run(1, 0.0, values)[1].tolist() == [False, False, True]


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_state_is_steady(dtype):
    stopping = EarlyStopping(jnp.int32(3), jnp.float32(0.1))
    state, _ = stopping.update(stopping.init(), jnp.ones((), dtype))
    assert [x.dtype for x in state] == [jnp.float32, jnp.int32, bool]
    with jax.enable_x64(True):
        assert stopping.update(stopping.init(), jnp.float64(1 + 1e-12))[0].best == 1 + 1e-12


def test_the_numbers_of_a_population_are_a_tree():
    population = EarlyStopping(jnp.array([1, 3]), jnp.zeros(2))
    update = jax.jit(jax.vmap(lambda stopping, state, value: stopping.update(state, value), (0, 0, None)))
    state = jax.vmap(lambda stopping: stopping.init())(population)
    for value in (2.0, 3.0, 3.0):
        state, stops = update(population, state, value)
    assert stops.tolist() == [True, False]


def test_a_value_with_axes_is_refused():
    stopping = EarlyStopping(3)
    with pytest.raises(ValueError, match=r"EarlyStopping: got value of shape \(2,\); expected one number"):
        stopping.update(stopping.init(), jnp.ones(2))
