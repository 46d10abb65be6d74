"""Probes against direct computation, alone and as lanes."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from jaxopt_intro import losses, metrics, models, optimizers
from jaxopt_intro.training import TrainState, evaluate, make_training, probes
from tests.small import X, Y

BATCH = jnp.asarray(X[:16]), jnp.asarray(Y[:16])
MODEL = models.mlp(outputs=3, widths=(5,))
TRAINING = make_training(MODEL, losses.softmax_cross_entropy, optimizers.sgd, example=BATCH)
HPARAMS = {"learning_rate": 0.5}


def measure(state, data, hparams):
    return evaluate(
        MODEL, state, data, hparams, metrics={"accuracy": metrics.accuracy}, loss=losses.softmax_cross_entropy
    )


@pytest.fixture
def state():
    before = TRAINING.init(jax.random.key(3), HPARAMS)
    for _ in range(5):
        before, _ = TRAINING.step(before, BATCH, HPARAMS)
    return before


def loss_of(state):
    flat, back = ravel_pytree(state.params)
    return flat, lambda x, batch=BATCH: measure(state._replace(params=back(x)), batch, HPARAMS)["loss"]


def quadratic(matrix):
    return lambda state, batch, hparams: {"loss": 0.5 * state.params @ matrix @ state.params}


def sharpness_of(matrix, **more):
    params = jnp.ones(len(matrix), matrix.dtype)
    state = TrainState(0, jax.random.key(0), params, (), ())
    return probes.sharpness(state, (), {}, training=TRAINING, evaluate=quadratic(matrix), **more).item()


def test_sharpness_is_the_largest_eigenvalue_of_the_dense_hessian(state, x64):
    double = state._replace(params=jax.tree.map(lambda x: x.astype(jnp.float64), state.params))
    batch = BATCH[0].astype(jnp.float64), BATCH[1]
    flat, loss = loss_of(double)
    dense = np.linalg.eigvalsh(jax.hessian(lambda x: loss(x, batch))(flat))
    assert dense[0] < 0 < dense[-1]
    sharp = functools.partial(probes.sharpness, double, batch, HPARAMS, training=TRAINING, evaluate=measure)
    np.testing.assert_allclose(sharp(iterations=len(flat)), dense[-1], rtol=1e-9)
    np.testing.assert_allclose(sharp(), dense[-1], rtol=1e-3)
    assert sharp(iterations=3) <= dense[-1] * (1 + 1e-9)


def test_sharpness_is_signed_not_the_largest_in_magnitude(x64):
    draw = np.random.default_rng(0)
    basis = np.linalg.qr(draw.normal(size=(30, 30)))[0]
    matrix = jnp.asarray(basis @ np.diag(np.linspace(-50.0, 3.0, 30)) @ basis.T)
    np.testing.assert_allclose(sharpness_of(matrix, iterations=30), 3.0, rtol=1e-6)


@pytest.mark.parametrize("value", [-2.0, 0.0, 2.0])
def test_sharpness_where_the_first_vector_is_an_eigenvector(value):
    np.testing.assert_allclose(sharpness_of(value * jnp.eye(6)), value, rtol=1e-6)


def test_sharpness_of_what_is_not_finite_is_nan():
    assert np.isnan(sharpness_of(jnp.full((3, 3), jnp.nan)))


def test_update_ratio_is_the_step_over_the_parameters(state):
    flat, loss = loss_of(state)
    expected = 0.5 * np.linalg.norm(jax.grad(loss)(flat)) / np.linalg.norm(flat)
    found = probes.update_ratio(state, BATCH, HPARAMS, training=TRAINING, evaluate=measure)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_gradient_noise_scale_is_the_trace_of_the_covariance_over_the_squared_gradient(state):
    flat, loss = loss_of(state)
    one = [jax.grad(loss)(flat, jax.tree.map(lambda x, i=i: x[i : i + 1], BATCH)) for i in range(16)]
    gradients = np.asarray(one, np.float64)
    trace = np.trace(np.cov(gradients.T))
    squared = np.sum(gradients.mean(0) ** 2) - trace / 16  # a mean's square holds its own variance
    found = probes.gradient_noise_scale(state, BATCH, HPARAMS, training=TRAINING, evaluate=measure)
    np.testing.assert_allclose(found, trace / squared, rtol=1e-3)


def test_ascent_is_the_rise_along_the_gradient(state):
    flat, loss = loss_of(state)
    slope = jax.grad(loss)(flat)
    expected = loss(flat + 0.05 * slope / jnp.linalg.norm(slope)) - loss(flat)
    assert expected > 0
    found = probes.ascent(state, BATCH, HPARAMS, training=TRAINING, evaluate=measure)
    np.testing.assert_allclose(found, expected, rtol=1e-3)


@pytest.mark.parametrize("name", probes.PROBES)
def test_every_probe_of_a_lane_is_that_of_the_member_alone(name):
    keys = jax.random.split(jax.random.key(1), 3)
    hparams = {"learning_rate": jnp.array([0.01, 0.1, 1.0])}
    states = jax.vmap(TRAINING.init)(keys, hparams)
    states, _ = jax.vmap(TRAINING.step, (0, None, 0))(states, BATCH, hparams)
    probe = functools.partial(probes.PROBES[name], training=TRAINING, evaluate=measure)
    found = jax.jit(jax.vmap(probe, (0, None, 0)))(states, BATCH, hparams)
    one = functools.partial(jax.tree.map, lambda x: x[1])
    alone = probe(one(states), BATCH, one(hparams))
    assert found.shape == (3,)
    assert len(set(found.tolist())) == 3
    np.testing.assert_allclose(found[1], alone, rtol=1e-3)
