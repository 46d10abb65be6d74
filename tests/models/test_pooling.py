"""`layers.max_pool` and `avg_pool` against Flax's own: values, derivatives of every mode, `vmap`, ties, NaN."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from jaxopt_intro.models import layers

RNG = np.random.default_rng(0)
CASES = [
    ((2, 2), (2, 2), "VALID", (3, 6, 8, 2)),
    ((3, 3), (2, 2), "SAME", (3, 7, 6, 2)),
    ((3, 2), (1, 2), "VALID", (2, 5, 7, 1)),
    ((2, 3), (2, 1), ((1, 0), (0, 2)), (2, 5, 4, 3)),
    ((2,), (2,), "SAME", (2, 5, 3)),
    ((2, 2), (3, 3), "VALID", (2, 8, 8, 1)),
    ((3, 3), None, "SAME", (1, 4, 4, 2)),
]
PAIRS = {"max": (layers.max_pool, nnx.max_pool), "avg": (layers.avg_pool, nnx.avg_pool)}


def sums(pool, window, strides, padding):
    return lambda x: jnp.sum(jnp.sin(pool(x, window, strides, padding)))


@pytest.mark.parametrize("kind", PAIRS)
@pytest.mark.parametrize(("window", "strides", "padding", "shape"), CASES)
def test_values_and_derivatives_are_flax_ones(kind, window, strides, padding, shape):
    x, way = (jnp.asarray(RNG.normal(size=shape), jnp.float32) for _ in range(2))
    ours, theirs = (sums(pool, window, strides, padding) for pool in PAIRS[kind])
    mine, other = (pool(x, window, strides, padding) for pool in PAIRS[kind])
    np.testing.assert_allclose(mine, other, rtol=2e-6, atol=1e-6)
    np.testing.assert_allclose(jax.grad(ours)(x), jax.grad(theirs)(x), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jax.jvp(ours, (x,), (way,))[1], jax.jvp(theirs, (x,), (way,))[1], rtol=1e-4, atol=1e-5)
    hessian = jax.jvp(jax.grad(ours), (x,), (way,))[1]
    reverse = jax.grad(lambda x: jnp.vdot(jax.grad(ours)(x), way))(x)
    np.testing.assert_allclose(hessian, reverse, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(hessian, jax.grad(lambda x: jnp.vdot(jax.grad(theirs)(x), way))(x), rtol=1e-4, atol=1e-5)


def test_a_population_inside_a_loop():
    xs = jnp.asarray(RNG.normal(size=(4, 3, 7, 6, 2)), jnp.float32)

    def descended(pool):
        loss = sums(pool, (3, 3), (2, 2), "SAME")
        return jax.vmap(lambda x: lax.fori_loop(0, 3, lambda _, x: x - 0.1 * jax.grad(loss)(x), x))

    np.testing.assert_allclose(descended(layers.max_pool)(xs), descended(nnx.max_pool)(xs), rtol=1e-5, atol=1e-6)
    one = xs[0]
    directions = jnp.asarray(RNG.normal(size=(5, *one.shape)), jnp.float32)
    ours = jax.vmap(lambda t: jax.jvp(lambda x: layers.max_pool(x, (2, 2)), (one,), (t,))[1])(directions)
    theirs = jax.vmap(lambda t: jax.jvp(lambda x: nnx.max_pool(x, (2, 2)), (one,), (t,))[1])(directions)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_the_gradient_goes_to_the_first_of_equal_elements_as_in_xla():
    x = jnp.zeros((1, 4, 4, 1)).at[0, 1, 1, 0].set(1.0).at[0, 0, 1, 0].set(1.0)
    ours, theirs = (jax.grad(lambda x, p=p: p(x, (2, 2), (2, 2)).sum())(x) for p in PAIRS["max"])
    np.testing.assert_array_equal(ours, theirs)
    assert ours[0, 0, 1, 0] == 1.0
    assert ours[0, 1, 1, 0] == 0.0


def test_nan_and_infinity_are_the_largest():
    x = jnp.array([1.0, jnp.nan, 5.0, -jnp.inf, -jnp.inf, -jnp.inf, jnp.inf, 2.0]).reshape(1, 8, 1)
    ours, theirs = (pool(x, (2,), (2,)) for pool in PAIRS["max"])
    np.testing.assert_array_equal(ours, theirs)


def test_the_mean_may_leave_padding_out_and_inputs_may_have_no_or_more_axes_of_examples():
    x = jnp.asarray(RNG.normal(size=(2, 3, 5, 5, 2)), jnp.float32)
    for pool, theirs in PAIRS.values():
        each = jnp.stack([theirs(one, (2, 2), (2, 2), "SAME") for one in x])
        np.testing.assert_allclose(pool(x, (2, 2), (2, 2), "SAME"), each, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(pool(x[0, 0], (2, 2), (2, 2), "SAME"), each[0, 0], rtol=1e-6, atol=1e-6)
    ours, theirs = (p(x[0], (3, 3), (2, 2), "SAME", count_include_pad=False) for p in PAIRS["avg"])
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("pool", [layers.max_pool, layers.avg_pool])
@pytest.mark.parametrize("window", [(), (2, 2, 2)])
def test_a_window_of_other_axes_is_an_error(pool, window):
    with pytest.raises(ValueError, match=r"got a window of shape .* expected one axis for each spatial axis"):
        pool(jnp.ones((2, 4, 1)), window)
