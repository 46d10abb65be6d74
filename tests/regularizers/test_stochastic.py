"""Noise keeps the mean within its standard error, is exact at its ends, and drops what it says it drops."""

from __future__ import annotations

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxopt_intro import models
from jaxopt_intro.models import layers
from jaxopt_intro.regularizers import STOCHASTIC, dropout, gaussian_noise, spatial_dropout, stochastic_depth

KEY = jax.random.key(5)
X = jnp.asarray(1.5 + np.sin(np.arange(64 * 4 * 3 * 8) ** 1.1).reshape(64, 4, 3, 8), jnp.float32)
DROPS = {name: noise for name, noise in STOCHASTIC.items() if name != "gaussian_noise"}
BLOCKS = {"dropout": X.size, "spatial_dropout": 64 * 8, "stochastic_depth": 64}


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("name", DROPS)
def test_dropping_keeps_the_mean(name: str, rate: float):
    keys = jax.random.split(KEY, 50)
    factors = jax.jit(jax.vmap(lambda k: DROPS[name](jnp.ones_like(X), rate, key=k)))(keys)
    factors = np.float64(factors)
    assert len(np.unique(factors)) == 2
    # A block's factor has the variance rate / (1 - rate); there are 50 draws of each.
    error = np.sqrt(rate / (1 - rate) / (50 * BLOCKS[name]))
    assert abs(np.mean(factors) - 1) < 4 * error
    np.testing.assert_allclose(np.var(factors), rate / (1 - rate), rtol=60 / np.sqrt(50 * BLOCKS[name]))


def test_each_drops_its_own_blocks():
    factors = {name: np.asarray(noise(jnp.ones_like(X), 0.5, key=KEY)) for name, noise in DROPS.items()}
    assert np.all(np.ptp(factors["spatial_dropout"], axis=(1, 2)) == 0)
    assert np.ptp(factors["spatial_dropout"], axis=0).all()
    assert np.ptp(factors["spatial_dropout"], axis=-1).any()
    assert np.all(np.ptp(factors["stochastic_depth"], axis=(1, 2, 3)) == 0)
    assert np.ptp(factors["stochastic_depth"][:, 0, 0, 0]) == 2
    assert np.all(np.ptp(factors["dropout"].reshape(64, -1), axis=-1) == 2)
    kept = factors["spatial_dropout"] > 0
    np.testing.assert_array_equal(spatial_dropout(X, 0.5, key=KEY), np.where(kept, 2 * np.asarray(X), 0))


@pytest.mark.parametrize("name", DROPS)
def test_the_ends_are_exact(name: str):
    run = jax.jit(lambda x, rate: DROPS[name](x, rate, key=KEY))
    for x in (X, X.astype(jnp.bfloat16)):
        np.testing.assert_array_equal(run(x, 0.0), x)
        np.testing.assert_array_equal(run(x, 1.0), jnp.zeros_like(x))
        assert run(x, 0.3).dtype == x.dtype
    for rate in (0.0, 0.5, 1.0):
        assert all(np.all(np.isfinite(d)) for d in jax.grad(lambda x, r: jnp.sum(run(x, r)), (0, 1))(X, rate))


@pytest.mark.parametrize("name", STOCHASTIC)
def test_numbers_may_be_traced(name: str):
    rates = jnp.array([0.0, 0.3, 0.75])
    many = jax.jit(jax.vmap(lambda r: STOCHASTIC[name](X, r, key=KEY)))(rates)
    np.testing.assert_allclose(many[1], STOCHASTIC[name](X, 0.3, key=KEY), rtol=4e-7, atol=4e-7)
    assert next(iter(inspect.signature(STOCHASTIC[name]).parameters)) == "x"
    assert "References:" in STOCHASTIC[name].__doc__


@pytest.mark.parametrize("name", DROPS)
def test_the_derivative_is_pathwise(name: str):
    out, slope = jax.jvp(lambda r: DROPS[name](X, r, key=KEY), (jnp.float32(0.4),), (jnp.float32(1.0),))
    np.testing.assert_allclose(slope, out / 0.6, rtol=1e-6)  # of the scale 1 / (1 - rate) alone


def test_gaussian_noise_is_normal():
    noise = np.float64(gaussian_noise(jnp.zeros(100_000), 0.3, key=KEY)) / 0.3
    error = 1 / np.sqrt(noise.size)
    assert abs(noise.mean()) < 4 * error
    assert abs(np.mean(noise**2) - 1) < 4 * np.sqrt(2) * error
    assert abs(np.mean(noise**4) - 3) < 4 * np.sqrt(96) * error
    half = gaussian_noise(X.astype(jnp.bfloat16), jnp.float32(0.3), key=KEY)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_array_equal(gaussian_noise(X, jnp.float32(0), key=KEY), X)
    slope = jax.grad(lambda s: jnp.sum(gaussian_noise(jnp.zeros(3), s, key=KEY)))(jnp.float32(0))
    np.testing.assert_allclose(slope, jnp.sum(jax.random.normal(KEY, (3,))), rtol=1e-6)


def test_too_few_axes_are_refused():
    with pytest.raises(ValueError, match=r"spatial_dropout: got .*\(3,\); expected \[batch, \.\.\., channels\]"):
        spatial_dropout(jnp.ones(3), 0.5, key=KEY)
    with pytest.raises(ValueError, match="stochastic_depth: got a scalar"):
        stochastic_depth(jnp.ones(()), 0.5, key=KEY)


class Residual(nnx.Module):
    """A block whose branch may be dropped."""

    def __init__(self, *, rate=0.0, rngs):
        self.dense = nnx.Linear(2, 2, rngs=rngs)
        self.depth = layers.StochasticDepth(rate, rngs=rngs)

    def __call__(self, x):
        return x + self.depth(self.dense(x))


def test_the_layer_takes_a_traced_rate():
    model, x = models.from_nnx(Residual), jnp.asarray(np.sin(np.arange(512.0)).reshape(256, 2), jnp.float32)
    params, state = model.init(KEY, x, {})

    @jax.jit
    @jax.vmap
    def outputs(rate):
        return model.apply(params, state, x, train=True, key=jax.random.key(1), hparams={"rate": rate})[0]

    shortcut, some, none = outputs(jnp.array([1.0, 0.25, 0.0]))
    full = model.apply(params, state, x, train=False, key=None, hparams={"rate": 0.25})[0]
    np.testing.assert_array_equal(shortcut, x)
    np.testing.assert_allclose(none, full, rtol=1e-6, atol=1e-6)
    branch = np.asarray(some - x)
    dropped = np.all(branch == 0, axis=-1)
    assert abs(dropped.mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 256)
    np.testing.assert_allclose(branch[~dropped], np.asarray(full - x)[~dropped] / 0.75, rtol=1e-5, atol=1e-5)


def test_the_layers_are_drop_ins_for_flax_s():
    layer = layers.Dropout(0.5, broadcast_dims=(1,), rngs=nnx.Rngs(dropout=3))
    assert isinstance(layer, nnx.Dropout)
    x = jnp.ones((64, 8))
    first, second = np.asarray(layer(x)), np.asarray(layer(x))
    assert np.all(np.ptp(first, axis=1) == 0)
    assert 0 < np.sum(first[:, 0] == 0) < 64
    assert np.any(first != second)  # a new key each time
    np.testing.assert_array_equal(layer(x, deterministic=True), x)
    np.testing.assert_array_equal(layer(x, rngs=KEY), layer(x, rngs=KEY))
    assert np.any(layer(x, rngs=nnx.Rngs(dropout=1)) != layer(x, rngs=nnx.Rngs(dropout=2)))
    np.testing.assert_array_equal(nnx.view(layer, deterministic=True)(x), x)
    with pytest.raises(ValueError, match="Dropout: got no rngs; expected them"):
        layers.Dropout(0.5)(x)
    with pytest.raises(ValueError, match="StochasticDepth: got deterministic None; expected True or False"):
        layers.StochasticDepth(0.5, deterministic=None, rngs=nnx.Rngs(0))(x)


def test_rates_with_axes_are_refused():
    for name, noise in STOCHASTIC.items():
        with pytest.raises(ValueError, match=r"got (rate|stddev) of shape \(8,\); expected one number"):
            noise(X, jnp.full(8, 0.5), key=KEY)
        assert name in noise.__qualname__
    with pytest.raises(ValueError, match=r"dropout: got axes \(4,\) for an array of shape"):
        dropout(X, 0.5, key=KEY, broadcast_dims=(4,))


def test_dropout_is_what_it_was():
    # Stored results depend on it.
    found = dropout(jnp.arange(1.0, 9.0), 0.5, key=jax.random.key(0))
    kept = jax.random.uniform(jax.random.key(0), (8,)) >= 0.5
    np.testing.assert_array_equal(found, jnp.where(kept, 2 * jnp.arange(1.0, 9.0), 0))
