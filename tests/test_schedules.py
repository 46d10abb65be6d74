"""Schedules against their papers and optax, with every number traced, at every boundary."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_intro import schedules
from jaxopt_intro.schedules import SCHEDULES
from tests.reference import schedules as reference

STEPS = np.arange(0, 64)
EPS = np.finfo(np.float32).eps
# The steepest curve here falls by 1 over 3 steps, and a step carries a rounding of up to 64 * eps / 2.
TOLERANCE = 64 * EPS

# Three settings of every number: the second has whole boundaries, so that each is hit by a step.
NUMBERS = {
    "constant": {},
    "linear": {"length": [9.5, 20, 33], "end": [0.1, 0.0, 0.3]},
    "polynomial": {"length": [9.5, 20, 33], "exponent": [0.7, 2.0, 3.0], "end": [0.1, 0.0, 0.3]},
    "exponential": {"rate": [0.3, 0.5, 0.9], "length": [7.5, 10, 1.2], "end": [0.05, 0.0, 0.2]},
    "piecewise": {
        "boundaries": [[3.5, 10, 20.25], [5, 10, 30], [30, 5, 12]],
        "factors": [[0.3, 2.0, 0.5], [0.5, 0.1, 0.2], [1, 0.7, 0.4]],
    },
    "step_decay": {"every": [7.5, 10, 1.25], "rate": [0.3, 0.5, 0.9]},
    "cosine": {"length": [9.5, 20, 33], "end": [0.1, 0.0, 0.3]},
    "inverse_sqrt": {"warmup": [4.5, 16, 1]},
    "one_cycle": {
        "length": [45.5, 40, 62], "peak_at": [0.31, 0.25, 0.5], "back_at": [0.77, 0.75, 0.9], "start": [0.1, 0.04, 0.3],
        "end": [0.02, 0.001, 0.1],
    },
    "one_cycle_cosine": {
        "length": [45.5, 40, 62], "peak_at": [0.31, 0.25, 0.5], "start": [0.1, 0.04, 0.3], "end": [0.02, 0.001, 0.1],
    },
    "triangular": {
        "half_cycle": [4.75, 8, 11], "low": [0.1, 0.0, 0.3], "cycle_factor": [0.8, 0.5, 1.0],
        "step_factor": [0.97, 1.0, 0.9],
    },
    "warm_restarts": {
        "first_cycle": [9.5, 7, 4], "t_mult": [1.3, 2.0, 1.0], "end": [0.1, 0.0, 0.3], "cycle_factor": [0.8, 1.0, 0.9],
    },
    "warmup": {"warmup": [4.5, 16, 1], "start": [0.1, 0.0, 0.3]},
    "warmup_linear": {
        "length": [45.5, 40, 60], "warmup": [7.5, 10, 3], "end": [0.1, 0.0, 0.3], "start": [0.2, 0.0, 0.1],
    },
    "warmup_polynomial": {
        "length": [45.5, 40, 60], "warmup": [7.5, 10, 3], "exponent": [0.7, 2.0, 3.0], "end": [0.1, 0.0, 0.3],
        "start": [0.2, 0.0, 0.1],
    },
    "warmup_cosine": {
        "length": [45.5, 40, 60], "warmup": [7.5, 10, 3], "end": [0.1, 0.0, 0.3], "start": [0.2, 0.0, 0.1],
    },
    "warmup_stable_decay": {
        "length": [45.5, 40, 60], "warmup": [7.5, 10, 3], "decay": [11.25, 10, 30], "end": [0.1, 0.0, 0.3],
    },
}  # fmt: skip
EACH = pytest.mark.parametrize("name", SCHEDULES)
WITH_NUMBERS = pytest.mark.parametrize("name", [name for name in SCHEDULES if NUMBERS[name]])


def setting(name, i):
    return {number: values[i] for number, values in NUMBERS[name].items()}


@functools.cache
def compiled(name):
    return jax.jit(lambda numbers, step: SCHEDULES[name](**numbers)(step))


def test_every_schedule_has_settings_here():
    assert set(NUMBERS) == set(SCHEDULES)


@EACH
@pytest.mark.parametrize("i", range(3))
def test_schedules_are_their_papers(name, i):
    numbers = {k: jnp.float32(v) for k, v in setting(name, i).items()}
    exact = {k: np.float64(v) for k, v in numbers.items()}
    got = compiled(name)(numbers, STEPS)
    want = [getattr(reference, name)(float(step), **exact) for step in STEPS]
    np.testing.assert_allclose(got, want, rtol=TOLERANCE, atol=TOLERANCE)
    assert got.dtype == jnp.float32
    assert np.max(want) <= 1 or name == "piecewise"


@EACH
def test_steps_may_be_whole_or_real_single_or_many(name):
    numbers = {k: jnp.float32(v) for k, v in setting(name, 0).items()}
    many = compiled(name)(numbers, STEPS)
    np.testing.assert_array_equal(many, compiled(name)(numbers, STEPS.astype(np.float32)))
    np.testing.assert_array_equal(many.reshape(8, 8), compiled(name)(numbers, STEPS.reshape(8, 8)))
    single = SCHEDULES[name](**setting(name, 0))(13)
    assert single.shape == ()
    np.testing.assert_allclose(single, many[13], rtol=TOLERANCE)


@EACH
def test_the_step_may_be_a_scans_counter(name):
    numbers = {k: jnp.float32(v) for k, v in setting(name, 0).items()}
    body = lambda step, _: (step + 1, SCHEDULES[name](**numbers)(step))  # noqa: E731
    scanned = jax.lax.scan(body, jnp.int32(0), length=64)[1]
    np.testing.assert_allclose(scanned, compiled(name)(numbers, STEPS), rtol=TOLERANCE, atol=TOLERANCE)


@EACH
def test_ten_million_steps_are_counted_in_float32(name):
    steps = np.array([10**6 + 1, 9_999_999, 10**7], np.int32)
    numbers = {k: jnp.float32(v) for k, v in setting(name, 0).items()}
    if name == "triangular":  # its heights would long be 0
        numbers |= {"half_cycle": jnp.float32(4.77), "cycle_factor": jnp.float32(1), "step_factor": jnp.float32(1)}
    want = [getattr(reference, name)(float(s), **{k: np.float64(v) for k, v in numbers.items()}) for s in steps]
    for run in (compiled(name), lambda n, s: SCHEDULES[name](**n)(s)):  # compiled, a product may escape its rounding
        np.testing.assert_allclose(run(numbers, steps), want, rtol=TOLERANCE, atol=TOLERANCE)


@WITH_NUMBERS
@pytest.mark.parametrize("small", [0.0, 1e-30, 1e-8, -1.0])
def test_values_and_gradients_are_finite_at_kinks_and_for_any_small_number(name, small):
    @jax.jit
    def both(numbers):
        factor = lambda n: SCHEDULES[name](**n)(STEPS)  # noqa: E731
        return factor(numbers), jax.jacrev(factor)(numbers)

    start = {k: jnp.float32(v) for k, v in setting(name, 1).items()}
    smalls = jax.tree.map(lambda v: jnp.full_like(v, small), start)
    for numbers in [start, smalls, *({**start, k: smalls[k]} for k in start)]:
        assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(both(numbers)))


@WITH_NUMBERS
@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_dtypes_are_kept_and_at_least_float32(name, dtype, x64):
    numbers = {k: jnp.array(v, dtype) for k, v in setting(name, 1).items()}
    got = SCHEDULES[name](**numbers)(jnp.arange(40))
    assert got.dtype == ("float64" if dtype == "float64" else "float32")


OPTAX = {
    "linear": (schedules.linear(length=20, end=0.1), optax.linear_schedule(1.0, 0.1, 20)),
    "polynomial": (
        schedules.polynomial(length=20, exponent=3, end=0.1), optax.polynomial_schedule(1.0, 0.1, 3, 20),
    ),
    "exponential": (
        schedules.exponential(rate=0.4, length=10, end=0.05), optax.exponential_decay(1.0, 10, 0.4, end_value=0.05),
    ),
    "staircase": (schedules.step_decay(every=10, rate=0.4), optax.exponential_decay(1.0, 10, 0.4, staircase=True)),
    "piecewise": (
        schedules.piecewise(boundaries=[10, 30], factors=[0.5, 0.1]),
        optax.piecewise_constant_schedule(1.0, {10: 0.5, 30: 0.1}),
    ),
    "cosine": (schedules.cosine(length=20, end=0.1), optax.cosine_decay_schedule(1.0, 20, 0.1)),
    "warmup_cosine": (
        schedules.with_warmup(schedules.cosine(length=30, end=0.1), length=10, start=0.2),
        optax.warmup_cosine_decay_schedule(0.2, 1.0, 10, 40, 0.1),
    ),
    "warmup_constant": (
        schedules.with_warmup(schedules.constant(), length=10, start=0.2), optax.warmup_constant_schedule(0.2, 1.0, 10),
    ),
    "warm_restarts": (
        schedules.warm_restarts(first_cycle=9, t_mult=2, end=0.1),
        optax.sgdr_schedule([
            {"init_value": 1.0, "peak_value": 1.0, "warmup_steps": 0, "decay_steps": steps, "end_value": 0.1}
            for steps in (9, 18, 36)
        ]),
    ),
    "one_cycle": (
        schedules.one_cycle(length=40, peak_at=0.25, back_at=0.75, start=1 / 25, end=1 / 25e4),
        optax.linear_onecycle_schedule(40, 1.0, 0.25, 0.75, 25.0, 1e4),
    ),
    "one_cycle_cosine": (
        schedules.one_cycle_cosine(length=40, peak_at=0.25, start=1 / 25, end=1 / 25e4),
        optax.cosine_onecycle_schedule(40, 1.0, 0.25, 25.0, 1e4),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OPTAX)
def test_schedules_agree_with_optax(name):
    ours, theirs = OPTAX[name]
    want = [float(theirs(step)) for step in range(60)]
    np.testing.assert_allclose(ours(np.arange(60)), want, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("length", [0.0, 1.0, 2.5, 8.0])
def test_warmup_rises_to_a_schedule_of_its_own_steps(length):
    factor = jax.jit(lambda n, s: schedules.with_warmup(schedules.linear(length=20.0), length=n, start=0.2)(s))
    want = [
        0.2 + 0.8 * step / length if step < length else reference.linear(step - length, length=20.0) for step in STEPS
    ]
    np.testing.assert_allclose(factor(jnp.float32(length), STEPS), want, rtol=TOLERANCE, atol=TOLERANCE)
    assert np.all(np.isfinite(jax.jacfwd(factor)(jnp.float32(length), STEPS)))


def test_a_warmup_of_zero_is_none():
    decay = schedules.cosine(length=9)
    np.testing.assert_array_equal(schedules.with_warmup(decay, length=jnp.float32(0))(STEPS), decay(STEPS))
    plateau = schedules.warmup_stable_decay(length=9, warmup=jnp.float32(0), decay=jnp.float32(0), end=0.1)
    np.testing.assert_allclose(plateau(STEPS), np.where(STEPS < 9, 1.0, 0.1), rtol=EPS)


@pytest.mark.parametrize(("length", "t_mult"), [(10, 1), (1, 1), (10, 2), (7, 3), (1, 2), (3, 5)])
def test_a_restart_is_at_its_very_step(length, t_mult):
    starts, cycle = [0], length
    while starts[-1] < 300_000:
        starts.append(starts[-1] + cycle)
        cycle *= t_mult
    starts = np.array(starts[-2000:])
    factor = jax.jit(lambda n, m, s: schedules.warm_restarts(first_cycle=n, t_mult=m)(s))
    restarted = factor(jnp.float32(length), jnp.float32(t_mult), starts)
    np.testing.assert_array_equal(restarted, 1.0)
    before = factor(jnp.float32(length), jnp.float32(t_mult), starts[1:] - 1)
    assert np.all(before < 0.3) or length == 1


def test_the_derivative_of_equal_cycles_sees_them_grow(x64):
    factor = lambda m: schedules.warm_restarts(first_cycle=5.0, t_mult=m)(jnp.array([3.0, 7.0, 18.0]))  # noqa: E731
    at_one = jax.jacfwd(factor)(1.0)
    np.testing.assert_allclose(at_one, (factor(1 + 1e-6) - factor(1.0)) / 1e-6, rtol=1e-4, atol=1e-9)
    assert np.all(at_one[1:] != 0)


def test_the_end_is_exact_however_small():
    for make in (schedules.one_cycle, schedules.one_cycle_cosine):
        np.testing.assert_allclose(make(length=40.0, start=0.04, end=1e-9)(np.array([0, 40, 50])), [0.04, 1e-9, 1e-9])
    assert schedules.cosine(length=7.0)(7) == 0


def test_piecewise_refuses_unequal_vectors():
    with pytest.raises(ValueError, match=r"boundaries of shape \(2,\) and factors of shape \(3,\)"):
        schedules.piecewise(boundaries=jnp.zeros(2), factors=jnp.ones(3))
