"""`optimizers.proximal` and `optimizers.projected`: what they promise after `optax.apply_updates`."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_intro import losses, models, optimizers, regularizers, trees
from jaxopt_intro.optimizers import adam, adam_metric, momentum, projected, proximal, sgd
from jaxopt_intro.regularizers import projections
from jaxopt_intro.regularizers import proximal as operators
from jaxopt_intro.training import make_training
from tests.regularizers.cases import leaves, params

EPS32 = float(np.finfo(np.float32).eps)
MINIMUM = jax.tree.map(lambda x: 3.0 * jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape), params())
CURVATURE = jax.tree.map(lambda x: 0.2 + jnp.sin(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape) ** 2, params())


def _walk(optimizer, start, steps=40):
    def body(carry, _):
        x, state = carry
        grads = jax.tree.map(lambda p, m, c: (c * (p - m)).astype(p.dtype), x, MINIMUM, CURVATURE)
        updates, state = optimizer.update(grads, state, x)
        x = optax.apply_updates(x, updates)
        return (x, state), x

    (_, state), path = jax.lax.scan(body, (start, optimizer.init(start)), length=steps)
    return path, state


@pytest.mark.parametrize("make", [sgd, momentum, adam], ids=lambda m: m.__name__)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=lambda d: d.__name__)
def test_zeros_are_exact(make, dtype):
    @jax.jit
    @jax.vmap
    def walk(strength):
        prox = functools.partial(operators.l1, strength=strength)
        return _walk(proximal(make(learning_rate=0.1), 0.1, prox), params(dtype))[0]

    path = walk(jnp.array([0.0, 0.5, 100.0]))
    zeros = np.array([[np.sum(x[lane, -1] == 0) for x in jax.tree.leaves(path)] for lane in range(3)]).sum(1)
    assert zeros[0] == 0
    assert 0 < zeros[1] < zeros[2] == 32
    assert all(x.dtype == dtype for x in jax.tree.leaves(path))


def test_a_step_is_a_gradient_step_then_a_proximal_step():
    x, strength = params(), 0.7
    schedule = lambda step: 0.3 / (1.0 + step)  # noqa: E731
    optimizer = proximal(optax.sgd(schedule), schedule, functools.partial(operators.l1, strength=strength))
    state, by_hand = optimizer.init(x), [np.float64(p) for p in jax.tree.leaves(x)]
    for t in range(4):
        grads = jax.tree.map(lambda p, m, c: c * (p - m), x, MINIMUM, CURVATURE)
        updates, state = optimizer.update(grads, state, x)
        x = optax.apply_updates(x, updates)
        rate = 0.3 / (1 + t)
        moved = [p - rate * c * (p - m) for p, m, c in zip(by_hand, leaves(MINIMUM), leaves(CURVATURE), strict=True)]
        by_hand = [np.sign(z) * np.maximum(np.abs(z) - rate * strength, 0) for z in moved]
    assert state.step == 4
    for ours, theirs in zip(leaves(x), by_hand, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=32 * EPS32, atol=32 * EPS32)


def test_it_rests_where_the_penalized_bowl_does():
    expected = _lasso(0.5)
    for make, length, right in ((sgd, 0.1, True), (momentum, 1.0, True), (momentum, 0.1, False)):
        prox = functools.partial(operators.l1, strength=0.5)
        path, _ = jax.jit(lambda p: _walk(proximal(make(learning_rate=0.1), length, prox), p, 1000))(params())  # noqa: B023
        away = max(np.abs(a[-1] - b).max() for a, b in zip(leaves(path), leaves(expected), strict=True))
        assert (away < 1e-5) == right, (make, length, away)


def _lasso(strength):
    return jax.tree.map(lambda m, c: jnp.sign(m) * jnp.maximum(jnp.abs(m) - strength / c, 0.0), MINIMUM, CURVATURE)


def test_a_metric_gives_each_element_its_own_step():
    # In Adam's own metric it rests where the penalized bowl does; in the Euclidean one elsewhere.
    strength = 0.5
    direction = adam(learning_rate=0.01, b1=0.0)
    prox = functools.partial(operators.l1, strength=strength)
    expected, found = _lasso(strength), {}
    for metric in (None, adam_metric):
        path, _ = jax.jit(lambda p, m=metric: _walk(proximal(direction, 0.01, prox, metric=m), p, 3000))(params())
        last = jax.tree.map(lambda x: x[-1], path)
        found[metric] = max(np.abs(a - b).max() for a, b in zip(leaves(last), leaves(expected), strict=True))
        if metric is not None:
            assert all(np.array_equal(a == 0, b == 0) for a, b in zip(leaves(last), leaves(expected), strict=True))
    assert found[adam_metric] < 0.02
    assert found[None] > 0.2


@pytest.mark.parametrize("make", [sgd, momentum, adam], ids=lambda m: m.__name__)
def test_the_norm_bound_holds_after_every_step(make):
    @jax.jit
    @jax.vmap
    def walk(radius):
        set_ = functools.partial(projections.max_norm, radius=radius)
        return _walk(projected(make(learning_rate=0.3), set_), set_(params()), 100)[0]

    radii = np.float32([0.1, 0.7, 2.0])
    path = walk(jnp.asarray(radii))
    norms = np.linalg.norm(np.float64(path["conv"]["kernel"]).reshape(3, 100, 8, 3), axis=2)
    assert np.max(norms / radii[:, None, None]) <= 1 + 8 * EPS32
    assert np.min(norms[:, -1] / radii[:, None]) > 0.5  # the bound binds
    np.testing.assert_allclose(path["bias"][0], path["bias"][2])  # biases are free


def test_a_set_far_away_is_met_to_the_rounding_of_the_old_parameters():
    optimizer = projected(sgd(learning_rate=0.0), functools.partial(projections.nonnegative))
    far = jnp.array([-1e4, 3e3])
    updates, _ = optimizer.update(jnp.zeros(2), optimizer.init(far), far)
    np.testing.assert_array_equal(optax.apply_updates(far, updates), [0.0, 3e3])


def test_extra_arguments_reach_the_optimizer_inside():
    def update(updates, state, params=None, *, value):
        return jax.tree.map(lambda u: u * value, updates), state

    inner = optax.GradientTransformationExtraArgs(lambda p: optax.EmptyState(), update)
    for outer in (proximal(inner, 0.0, lambda x, step: x), projected(inner, lambda x: x)):
        updates, _ = outer.update(jnp.ones(2), outer.init(jnp.zeros(2)), jnp.zeros(2), value=3.0)
        assert updates.tolist() == [3.0, 3.0]


def test_no_parameters_are_refused():
    for outer in (
        proximal(sgd(learning_rate=0.1), 0.1, lambda x, s: x),
        projected(sgd(learning_rate=0.1), lambda x: x),
    ):
        with pytest.raises(ValueError, match="got no params; expected them"):
            outer.update(jnp.ones(2), outer.init(jnp.ones(2)))


def test_a_state_without_adam_has_no_metric():
    with pytest.raises(ValueError, match="adam_metric: got 0 states of Adam; expected 1"):
        adam_metric(sgd(learning_rate=0.1).init(jnp.ones(2)))


def test_a_training_takes_them():
    def sparse(*, learning_rate, strength):
        prox = lambda tree, step: operators.l1(tree, step, strength=strength, factors=trees.kernels(tree))  # noqa: E731
        return optimizers.proximal(sgd(learning_rate=learning_rate), learning_rate, prox)

    random = np.random.default_rng(0)
    batch = jnp.asarray(random.normal(size=(64, 6)), jnp.float32), jnp.asarray(random.integers(0, 3, 64))
    after = regularizers.PROJECTIONS["max_norm"]
    training = make_training(
        models.linear(outputs=3), losses.softmax_cross_entropy, sparse, example=batch, after_update=after
    )
    hparams = {"learning_rate": 0.5, "strength": jnp.array([0.0, 0.05, 10.0]), "radius": jnp.float32(0.3)}
    axes = {"learning_rate": None, "strength": 0, "radius": None}
    state = jax.vmap(training.init, (None, axes))(jax.random.key(0), hparams)
    step = jax.jit(jax.vmap(training.step, (0, None, axes)))
    for _ in range(20):
        state, _ = step(state, batch, hparams)
    (kernel,) = [x for n, x in trees.named_leaves(state.params).items() if n.endswith("kernel")]
    zeros = np.sum(np.asarray(kernel) == 0, axis=(1, 2))
    assert zeros[0] == 0 < zeros[1] < zeros[2] == 18
    assert np.linalg.norm(kernel, axis=1).max() <= 0.3 * (1 + 8 * EPS32)
