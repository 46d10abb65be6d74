from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from jaxopt_intro import losses
from tests.reference.losses import REFERENCES

EPS = float(np.finfo(np.float32).eps)
TINY = 2 * float(np.finfo(np.float32).tiny)  # smaller numbers are flushed to 0
NUMBERS = {"huber": "delta", "quantile": "level", "epsilon_insensitive": "epsilon"}
OF_ERRORS = ["squared", "half_squared", "absolute", "log_cosh", *NUMBERS]
JITTED = {name: jax.jit(losses.LOSSES[name]) for name in [*OF_ERRORS, "gaussian_nll", "poisson_nll"]}
_poisson_slopes = jax.jit(jax.grad(lambda p, t: jnp.sum(losses.poisson_nll(p, t))))

values = hnp.arrays(np.float32, (6, 3), elements=st.floats(-20, 20, width=32))
rates = hnp.arrays(np.float32, (6, 3), elements=st.floats(-5, 5, width=32))
counts = hnp.arrays(np.float32, (6, 3), elements=st.integers(0, 40).map(float))
shares = st.floats(0, 1, width=32)


def _numbers(name: str, value: float) -> dict[str, float]:
    return {NUMBERS[name]: value} if name in NUMBERS else {}


@pytest.mark.parametrize("name", OF_ERRORS)
@given(values, values, shares)
def test_a_loss_of_errors_is_its_transcription(name: str, p, t, share):
    numbers = _numbers(name, share)
    # The error is rounded once, at the size of the values; a square doubles that and multiplies it by the error.
    atol = 2 * 40 * 20 * EPS if "squared" in name else 4 * 40 * EPS
    np.testing.assert_allclose(
        JITTED[name](p, t, **numbers), REFERENCES[name](p, t, **numbers), rtol=4 * EPS, atol=atol
    )


@given(rates, rates, values)
def test_gaussian_nll_is_scipys_density(mean, log_variance, t):
    expected = -stats.norm.logpdf(np.float64(t), mean, np.exp(np.float64(log_variance) / 2))
    ours = JITTED["gaussian_nll"](np.concatenate([mean, log_variance], axis=-1), t)
    np.testing.assert_allclose(ours, expected, rtol=32 * EPS, atol=32 * EPS * 20)


@given(rates, counts)
def test_poisson_nll_is_scipys_mass(log_rate, t):
    expected = -stats.poisson.logpmf(t, np.exp(np.float64(log_rate)))
    np.testing.assert_allclose(JITTED["poisson_nll"](log_rate, t), expected, rtol=0, atol=16 * EPS * 200)


@given(values, values, shares)
def test_agreement_with_optax(p, t, delta):
    p, t = jnp.asarray(p), jnp.asarray(t)
    np.testing.assert_array_equal(JITTED["squared"](p, t), optax.losses.squared_error(p, t))
    np.testing.assert_array_equal(JITTED["half_squared"](p, t), optax.losses.l2_loss(p, t))
    expected = optax.losses.huber_loss(p, t, delta=delta)
    np.testing.assert_allclose(JITTED["huber"](p, t, delta=delta), expected, rtol=4 * EPS)
    # optax's cancels near zero: it is only right to the size of log(2).
    np.testing.assert_allclose(JITTED["log_cosh"](p, t), optax.losses.log_cosh(p, t), rtol=4 * EPS, atol=4 * EPS)


@given(values, values)
def test_huber_lies_between_absolute_and_half_squared(p, t):
    np.testing.assert_array_equal(JITTED["huber"](p, t, delta=1e3), JITTED["half_squared"](p, t))
    small = JITTED["huber"](p, t, delta=2.0**-20) * 2.0**20
    absolute = JITTED["absolute"](p, t)
    assert np.all(small <= absolute * (1 + 4 * EPS))
    assert np.all(small >= absolute * (1 - 4 * EPS) - 2.0**-21)
    assert np.all(JITTED["huber"](p, t, delta=0.0) == 0)


@given(values, values, shares)
def test_quantile_leans_to_one_side(p, t, level):
    halves = JITTED["absolute"](p, t) / 2
    np.testing.assert_allclose(JITTED["quantile"](p, t, level=0.5), halves, rtol=EPS, atol=TINY)
    both = JITTED["quantile"](p, t, level=level) + JITTED["quantile"](t, p, level=level)
    np.testing.assert_allclose(both, 2 * halves, rtol=4 * EPS, atol=TINY)


@pytest.mark.parametrize("level", [0.05, 0.3, 0.9])
def test_the_mean_quantile_loss_is_least_at_the_quantile(level: float):
    sample = np.sort(np.random.default_rng(0).exponential(size=211)).astype(np.float32)  # skewed
    candidates = jnp.asarray(np.concatenate([sample, sample + 0.01, sample - 0.01]))
    mean = jax.vmap(lambda c: jnp.mean(losses.quantile(jnp.full(211, c), sample, level=level)))(candidates)
    best = candidates[jnp.argmin(mean)]
    assert best == np.quantile(sample, level, method="inverted_cdf")


@given(values, values)
def test_epsilon_insensitive_forgives_epsilon(p, t):
    absolute = JITTED["absolute"](p, t)
    np.testing.assert_array_equal(JITTED["epsilon_insensitive"](p, t, epsilon=0.0), absolute)
    forgiven = JITTED["epsilon_insensitive"](p, t, epsilon=3.0)
    np.testing.assert_array_equal(forgiven == 0, absolute <= 3)
    assert np.all(forgiven >= absolute - 3)


@given(values, values)
def test_log_cosh_lies_between_its_limits(p, t):
    ours, error = JITTED["log_cosh"](p, t), np.abs(p - t)
    assert np.all(ours <= JITTED["half_squared"](p, t) * (1 + 8 * EPS))
    assert np.all(ours >= error - math.log(2) - 4 * EPS * 40)


def test_log_cosh_does_not_cancel_near_zero():
    error = np.float32([1e-12, 1e-6, 1e-3, 0.1, 0.999, 1.001])
    ours = losses.log_cosh(jnp.asarray(error), jnp.zeros(6))
    expected = np.log1p(2 * np.sinh(np.float64(error) / 2) ** 2)
    np.testing.assert_allclose(ours, expected, rtol=8 * EPS)
    slopes = jax.vmap(jax.grad(losses.log_cosh), (0, None))(jnp.asarray([*error, 1e4, -1e4, 0.0]), jnp.zeros(()))
    np.testing.assert_allclose(slopes, [*np.tanh(np.float64(error)), 1.0, -1.0, 0.0], rtol=8 * EPS)


@pytest.mark.parametrize("name", OF_ERRORS)
def test_no_error_is_no_loss_and_no_push(name: str):
    targets = jnp.array([0.3, -1e4, 0.0])
    value, gradient = jax.value_and_grad(lambda p: jnp.sum(losses.LOSSES[name](p, targets)))(targets)
    assert value == 0
    np.testing.assert_array_equal(gradient, 0.0)


@pytest.mark.parametrize("name", ["squared", "half_squared", "huber", "log_cosh"])
def test_second_derivatives_at_no_error_are_those_around_it(name: str):
    second = jax.vmap(jax.grad(jax.grad(losses.LOSSES[name])), (0, None))(jnp.array([-1e-3, 0.0, 1e-3]), jnp.zeros(()))
    np.testing.assert_allclose(second, 2.0 if name == "squared" else 1.0, rtol=1e-5)


def test_gaussian_nll_is_least_at_the_target_and_its_squared_distance():
    targets, mean = jnp.array([[0.3, -2.0]]), jnp.array([[1.0, 0.5]])

    def slope(mean, log_variance):
        predictions = jnp.concatenate([mean, log_variance], axis=-1)
        return jax.grad(lambda p: jnp.sum(losses.gaussian_nll(p, targets)))(predictions)

    best = jnp.log(jnp.square(mean - targets))
    np.testing.assert_allclose(slope(mean, best)[0, 2:], 0.0, atol=8 * EPS)
    assert np.all(slope(mean, best + 0.1)[0, 2:] > 0)
    assert np.all(slope(mean, best - 0.1)[0, 2:] < 0)
    np.testing.assert_array_equal(slope(targets, best)[0, :2], 0.0)
    assert np.sign(slope(mean, best)[0, :2]).tolist() == [1.0, 1.0]
    assert slope(mean, best)[0, 1] < slope(mean, best)[0, 0]  # 1 / error: each mean is matched with its own variance


@pytest.mark.parametrize("shapes", [((4, 2), (4,)), ((4, 3), (4, 3)), ((4, 2), (1, 1)), ((2,), ()), ((4, 1), (4, 2))])
def test_gaussian_nll_wants_twice_as_many_outputs(shapes):
    with pytest.raises(ValueError, match="twice as many outputs"):
        losses.gaussian_nll(jnp.zeros(shapes[0]), jnp.zeros(shapes[1]))


@given(counts)
def test_poisson_nll_is_least_at_the_count(t):
    some = np.maximum(t, 0.5)
    np.testing.assert_allclose(_poisson_slopes(np.log(some), some), 0.0, atol=8 * EPS * 40)
    np.testing.assert_allclose(_poisson_slopes(np.zeros_like(t), t), 1 - t, rtol=4 * EPS)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_where_exp_could_overflow_its_tangent_goes_on(dtype, x64: None):
    last = 0.5 * math.log(np.finfo(dtype).max)
    x = jnp.array([last - 1, last - 1e-3, last + 1e-3, last + 1, 1e4], dtype)

    def loss(x):
        return losses.poisson_nll(x, jnp.array(2.0, dtype))

    value, slope = jax.vmap(jax.value_and_grad(loss))(x)
    assert value.dtype == dtype
    rtol = 4 * last * float(np.finfo(dtype).eps)  # the exponent's rounding
    np.testing.assert_allclose(value[:2], np.exp(np.float64(x[:2])), rtol=rtol)
    np.testing.assert_allclose(slope[:2], np.exp(np.float64(x[:2])), rtol=rtol)
    np.testing.assert_allclose(slope[2:], math.exp(last), rtol=rtol)
    np.testing.assert_allclose(value[3] - value[2], math.exp(last) * 0.999, rtol=1e-3 if dtype == np.float32 else 1e-10)
    assert np.all(np.isfinite(value))


def test_integers_are_targets_too():
    counts = jnp.array([[0], [3]])
    log_rates = jnp.array([[0.5], [1.0]])
    expected = losses.poisson_nll(log_rates, counts.astype(jnp.float32))
    np.testing.assert_array_equal(losses.poisson_nll(log_rates, counts), expected)
    assert losses.squared(log_rates, counts).tolist() == [[0.25], [4.0]]
