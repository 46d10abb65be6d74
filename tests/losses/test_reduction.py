from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_intro.losses import reduction

EPS = float(np.finfo(np.float32).eps)


@pytest.mark.parametrize("reduce", [reduction.mean, reduction.sum])
@pytest.mark.parametrize("shape", [(5, 1), (1,), (4,), ()])
def test_weights_that_would_broadcast_are_refused(reduce, shape):
    with pytest.raises(
        ValueError, match=r"got weights of shape .*; expected one weight for each example, shape \(5,\)"
    ):
        reduce(jnp.ones((5, 2)), weights=jnp.ones(shape))


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_an_example_of_weight_zero_counts_neither_in_the_value_nor_in_the_gradient(poison: float):
    values, weights = jnp.array([[1.0, 3.0], [poison, 0.0], [4.0, 8.0]]), jnp.array([1.0, 0.0, 3.0])
    for reduce, scale in ((reduction.sum, 1.0), (reduction.mean, 4.0)):
        value, gradient = jax.value_and_grad(reduce)(values, weights=weights)
        np.testing.assert_allclose(value, 20.0 / scale, rtol=EPS)
        np.testing.assert_allclose(gradient, np.array([[0.5, 0.5], [0.0, 0.0], [1.5, 1.5]]) / scale, rtol=EPS)
        by_weights = jax.grad(lambda w, reduce=reduce: reduce(values, weights=w))(weights)
        assert np.all(np.isfinite(by_weights))


def test_no_weight_at_all_is_zero():
    value, gradient = jax.value_and_grad(lambda v: reduction.mean(v, weights=jnp.zeros(3)))(
        jnp.array([1.0, np.nan, 2.0])
    )
    assert value == 0
    assert gradient.tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("shape", [(0,), (0, 3)])
def test_no_example_is_zero(shape):
    for reduce in (reduction.mean, reduction.sum):
        assert reduce(jnp.zeros(shape)) == reduce(jnp.zeros(shape), weights=jnp.zeros(0)) == 0


def test_half_precision_is_averaged_in_float32():
    values = jnp.ones((3000, 1), jnp.bfloat16).at[0].set(2.0)  # a bfloat16 sum cannot tell 3001 from 3000
    assert reduction.sum(values) == 3001
    assert reduction.mean(values) == np.float32(3001 / 3000)
    assert reduction.sum(values, weights=jnp.ones(3000)) == 3001
    assert reduction.mean(values, weights=jnp.ones(3000, jnp.bfloat16)) == np.float32(3001 / 3000)
    assert reduction.per_example(values).dtype == reduction.mean(values).dtype == jnp.float32


def test_with_the_sum_a_penalty_needs_a_strength_larger_by_the_number_of_examples():
    x, y = jnp.array([0.3, -1.2, 2.0, 0.7]), jnp.array([1.0, 0.2, -0.5, 3.0])

    def least(reduce, strength):  # of reduce((w x - y)^2) + strength w^2, a parabola in w
        slope = jax.grad(lambda w: reduce(jnp.square(w * x - y)) + strength * w**2)
        return -slope(0.0) / (slope(1.0) - slope(0.0))

    np.testing.assert_allclose(least(reduction.mean, 0.3), least(reduction.sum, 4 * 0.3), rtol=8 * EPS)
    assert abs(least(reduction.mean, 0.3) - least(reduction.sum, 0.3)) > 0.01


def test_a_scalar_is_no_value_for_each_example():
    with pytest.raises(ValueError, match="reduction: got a scalar; expected a value for each example"):
        reduction.sum(jnp.float32(1.0))
