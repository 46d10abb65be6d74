from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxopt_intro import trees
from jaxopt_intro.regularizers import PENALTIES, dropout, l1, l2

PARAMS = {"bias": jnp.array([5.0, -7.0]), "kernel": jnp.array([[1.0, -2.0], [0.0, 0.5]])}
SIZE = 40_000


def test_values_by_hand():
    assert float(l1(PARAMS, strength=2.0)) == 2 * 15.5
    assert float(l2(PARAMS, strength=2.0)) == 25 + 49 + 1 + 4 + 0.25


@pytest.mark.parametrize(("name", "kernel"), [("l1", 3.5), ("l2", 2.625)])
def test_factors_choose_leaves(name: str, kernel: float):
    penalty = PENALTIES[name]
    assert float(penalty(PARAMS, strength=1.0, factors=trees.kernels(PARAMS))) == kernel
    half = {"bias": 0.0, "kernel": jnp.array(0.5)}
    assert float(jax.jit(lambda f: penalty(PARAMS, strength=1.0, factors=f))(half)) == 0.5 * kernel
    # A leaf that does not count is not looked at, whatever is in it.
    poisoned = {**PARAMS, "bias": jnp.array([jnp.nan, jnp.inf])}
    for zero in (0, 0.0, jnp.array(0.0)):
        factors = {"bias": zero, "kernel": 1.0}
        assert float(penalty(poisoned, strength=1.0, factors=factors)) == kernel
    gradient = jax.grad(lambda p: penalty(p, strength=1.0, factors=trees.kernels(PARAMS)))(poisoned)
    np.testing.assert_array_equal(gradient["bias"], [0.0, 0.0])


def test_the_gradient_of_l2_is_strength_times_params():
    gradient = jax.grad(lambda p: l2(p, strength=0.25))(PARAMS)
    jax.tree.map(lambda g, p: np.testing.assert_array_equal(g, 0.25 * p), gradient, PARAMS)


def test_the_gradient_of_l1_is_the_sign_and_zero_at_zero():
    gradient = jax.grad(lambda p: l1(p, strength=0.25))(PARAMS)
    np.testing.assert_array_equal(gradient["kernel"], [[0.25, -0.25], [0.0, 0.25]])


@given(st.integers(0, 2**31 - 1))
def test_dropout_is_exact_at_both_ends(seed: int):
    x, key = jnp.array([1.5, -2.25, 0.0, 1e30, -1e-30]), jax.random.key(seed)
    for rate in (0.0, 0, jnp.float32(0)):
        np.testing.assert_array_equal(dropout(x, rate, key=key), x)
    for rate in (1.0, 1, jnp.float32(1)):
        np.testing.assert_array_equal(dropout(x, rate, key=key), jnp.zeros(5))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_drops_its_share_and_keeps_the_mean(rate: float):
    dropped = np.asarray(dropout(jnp.full(SIZE, 3.0), rate, key=jax.random.key(1)))
    zero, kept = np.unique(dropped)
    assert zero == 0.0
    assert kept == pytest.approx(3 / (1 - rate), rel=4 * float(np.finfo(np.float32).eps))
    share_error = np.sqrt(rate * (1 - rate) / SIZE)
    assert abs((dropped == 0).mean() - rate) < 4 * share_error
    assert abs(dropped.mean() - 3.0) < 4 * 3.0 / (1 - rate) * share_error


def test_a_rate_may_be_traced_and_each_member_is_as_if_alone():
    x, keys = jnp.linspace(-1.0, 2.0, 64), jax.random.split(jax.random.key(2), 4)
    rates = jnp.array([0.0, 0.3, 0.8, 1.0])
    population = jax.jit(jax.vmap(lambda rate, key: dropout(x, rate, key=key)))(rates, keys)
    for i in range(4):
        solo = dropout(x, float(rates[i]), key=keys[i])
        np.testing.assert_allclose(population[i], solo, rtol=4 * np.finfo(np.float32).eps)
    one_key = jax.vmap(lambda rate: dropout(x, rate, key=keys[0]) != 0)(jnp.array([0.3, 0.8]))
    assert np.all(one_key[0] | ~one_key[1])  # with the same key a higher rate drops more of the same


def test_keys_are_independent():
    first, second = (np.asarray(dropout(jnp.ones(SIZE), 0.5, key=k)) > 0 for k in jax.random.split(jax.random.key(3)))
    correlation = np.corrcoef(first, second)[0, 1]
    assert abs(correlation) < 4 / np.sqrt(SIZE)
    again = [dropout(jnp.ones(9), 0.5, key=jax.random.key(4)) for _ in range(2)]
    np.testing.assert_array_equal(*again)


def test_the_derivative_by_the_rate_is_pathwise(x64: None):
    x, key = jnp.linspace(0.5, 2.0, 16), jax.random.key(5)
    for rate in (0.0, 0.3, 0.75):
        kept = np.asarray(jax.random.uniform(key, x.shape) >= rate)
        derivative = jax.grad(lambda r: jnp.sum(dropout(x, r, key=key)))(rate)
        np.testing.assert_allclose(derivative, np.sum(kept * x) / (1 - rate) ** 2, rtol=1e-14)
    assert float(jax.grad(lambda r: jnp.sum(dropout(x, r, key=key)))(1.0)) == 0.0


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32], ids=lambda d: d.__name__)
def test_dropout_keeps_the_dtype_and_scales_in_float32(dtype):
    x = jnp.full(64, 3.0, dtype)
    dropped = dropout(x, jnp.float32(0.1), key=jax.random.key(6))
    assert dropped.dtype == dtype
    kept = dropped[dropped != 0].astype(jnp.float32)
    # One rounding to the dtype after a product in float32; a scale rounded first would be off by up to two more halves.
    np.testing.assert_allclose(kept, 3 / 0.9, rtol=float(jnp.finfo(dtype).eps) / 2 + 4 * np.finfo(np.float32).eps)
    assert 0 < kept.size < 64


def test_the_gradient_passes_where_it_was_kept():
    key = jax.random.key(7)
    gradient = jax.grad(lambda x: jnp.sum(dropout(x, 0.5, key=key)))(jnp.ones(32))
    np.testing.assert_array_equal(gradient, dropout(jnp.ones(32), 0.5, key=key))
