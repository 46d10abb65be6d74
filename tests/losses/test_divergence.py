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
from scipy import special, stats
from scipy.spatial import distance

from jaxopt_intro import losses

EPS = float(np.finfo(np.float32).eps)

scores = hnp.arrays(np.float32, (5, 4), elements=st.floats(-10, 10, width=32))
# Multiples of 1 / 64, zeros among them, that sum to exactly 1.
distributions = hnp.arrays(np.int64, (5, 3), elements=st.integers(0, 64)).map(
    lambda cuts: (np.diff(np.sort(cuts, axis=1), prepend=0, append=64, axis=1) / 64).astype(np.float32)
)
_kl, _js = jax.jit(losses.kl), jax.jit(losses.jensen_shannon)
_kl_gradient = jax.jit(jax.grad(lambda logits, targets: jnp.sum(losses.kl(logits, targets))))


def _logits(p):
    with np.errstate(divide="ignore"):
        return np.log(p)


@given(scores, distributions)
def test_they_are_scipys(s, t):
    p = special.softmax(np.float64(s), axis=1)
    np.testing.assert_allclose(_kl(s, t), [stats.entropy(b, a) for a, b in zip(p, t, strict=True)], atol=8 * EPS * 20)
    expected = [distance.jensenshannon(a, b) ** 2 for a, b in zip(p, t, strict=True)]
    np.testing.assert_allclose(_js(s, t), expected, atol=32 * EPS)


@given(scores, distributions)
def test_kl_agrees_with_optax(s, t):
    expected = optax.losses.kl_divergence(jax.nn.log_softmax(jnp.asarray(s)), jnp.asarray(t))
    np.testing.assert_allclose(_kl(s, t), expected, atol=8 * EPS * 20)


@given(scores, distributions)
def test_kl_is_not_negative_and_pinskers_inequality_holds(s, t):
    total_variation = 0.5 * np.abs(special.softmax(np.float64(s), axis=1) - t).sum(axis=1)
    assert np.all(_kl(s, t) >= 2 * total_variation**2 - 8 * EPS * 20)


@given(distributions)
def test_equal_distributions_do_not_diverge(t):
    np.testing.assert_allclose(_kl(_logits(t), t), 0.0, atol=8 * EPS)
    np.testing.assert_allclose(_js(_logits(t), t), 0.0, atol=8 * EPS)
    np.testing.assert_allclose(_kl(_logits(t) + np.float32(3.0), t), 0.0, atol=32 * EPS)  # a shift is no difference


@given(distributions, distributions)
def test_jensen_shannon_is_the_square_of_a_metric_and_at_most_log_2(p, t):
    there, back = _js(_logits(p), t), _js(_logits(t), p)
    np.testing.assert_allclose(there, back, atol=16 * EPS)
    assert np.all(there <= math.log(2) + 8 * EPS)
    total_variation = 0.5 * np.abs(np.float64(p) - t).sum(axis=1)
    assert np.all(there >= total_variation**2 / 2 - 8 * EPS)  # Pinsker's inequality to the middle, twice
    corner = np.eye(4, dtype=np.float32)[np.zeros(5, int)]
    # Endres and Schindelin 2003: the root obeys the triangle inequality. A root near 0 is off by the root of 16 EPS.
    roots = [np.sqrt(np.maximum(0, x)) for x in (there, _js(_logits(corner), p), _js(_logits(corner), t))]
    assert np.all(roots[0] <= roots[1] + roots[2] + 2 * math.sqrt(16 * EPS))


def test_distributions_without_a_common_class_are_log_2_apart():
    p, t = jnp.array([[0.3, 0.7, 0.0, 0.0]]), jnp.array([[0.0, 0.0, 0.9, 0.1]])
    np.testing.assert_allclose(losses.jensen_shannon(jnp.log(p), t), math.log(2), rtol=4 * EPS)
    assert losses.kl(jnp.log(p), t).tolist() == [math.inf]


@given(scores, distributions)
def test_the_gradient_by_the_logits_is_the_difference(s, t):
    np.testing.assert_allclose(_kl_gradient(s, t), special.softmax(s, axis=1) - t, atol=16 * EPS)


@pytest.mark.parametrize("loss", [losses.kl, losses.jensen_shannon])
def test_gradients_are_finite_where_probabilities_are_zero(loss):
    logits = jnp.array(
        [[0.0, -jnp.inf, 1.0], [-jnp.inf, 0.0, 0.0], [1e4, -1e4, 0.0], [0.0, -1e4, 1e4], [0.0, 0.0, 0.0]]
    )
    targets = jnp.array([[0.2, 0.0, 0.8], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.5, 0.0, 0.5], [1.0, 0.0, 0.0]])
    value, gradients = jax.value_and_grad(lambda s, t: jnp.sum(loss(s, t)), argnums=(0, 1))(logits, targets)
    assert np.isfinite(value)
    assert all(np.all(np.isfinite(g)) for g in gradients)
    impossible = jax.grad(lambda s: jnp.sum(loss(s, jnp.array([1.0, 0.0]))))(jnp.array([-jnp.inf, 0.0]))
    assert np.all(np.isfinite(impossible))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("loss", [losses.kl, losses.jensen_shannon])
def test_gradients_are_finite_differences(loss):
    logits, targets = jnp.array([0.3, -1.2, 2.0]), jnp.array([0.1, 0.75, 0.15])
    for argument in (0, 1):
        gradient = jax.grad(loss, argnums=argument)(logits, targets)
        for i, step in enumerate(1e-6 * np.eye(3)):
            moved = [
                [logits + sign * step, targets] if argument == 0 else [logits, targets + sign * step]
                for sign in (1, -1)
            ]
            difference = (loss(*moved[0]) - loss(*moved[1])) / 2e-6
            np.testing.assert_allclose(gradient[i], difference, rtol=1e-7, atol=1e-9)


def test_kl_weighs_by_the_target():
    p, t = jnp.array([[0.5, 0.5]]), jnp.array([[0.9, 0.1]])
    np.testing.assert_allclose(losses.kl(jnp.log(p), t), 0.9 * math.log(1.8) + 0.1 * math.log(0.2), rtol=16 * EPS)
