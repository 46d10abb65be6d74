"""Losses and penalties against stored values of scikit-learn; the lasso's path is in regularizers/test_lasso.py.

`tests/reference/make_sklearn.py` made the values. What scikit-learn calls otherwise, or weighs otherwise, is written
where it is compared.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_intro import losses
from jaxopt_intro.losses import reduction
from jaxopt_intro.optimizers import proximal, sgd
from jaxopt_intro.regularizers import penalties
from jaxopt_intro.regularizers import proximal as operators

STORED = json.loads((Path(__file__).parent / "reference" / "sklearn.json").read_text())
EPS = float(np.finfo(np.float64).eps)
STEPS = 3000
# Outputs of up to 26 make gradients that are known to some 10 * 26 * EPS. Where the least curvature is 0.3, both sides
# come to rest within that over 0.3; the descent shrinks what is further by 0.96 in each step.
AT_REST = 1000 * EPS

pytestmark = pytest.mark.usefixtures("x64")

# Of which inputs, and what it is in ours.
METRICS: dict[str, tuple[tuple[str, ...], Callable[..., Any]]] = {
    "log_loss": (("logits", "labels"), losses.softmax_cross_entropy),
    "hinge_loss": (("scores", "signs"), losses.hinge),
    "hinge_loss: classes": (("logits", "labels"), losses.crammer_singer),
    "mean_pinball_loss": (("predictions", "targets"), functools.partial(losses.quantile, level=0.8)),
    "mean_pinball_loss: weighted": (
        ("predictions", "targets", "weights"),
        lambda p, t, w: reduction.mean(losses.quantile(p, t, level=0.8), weights=w),
    ),
    # Twice as far above the best possible prediction, which is the count itself.
    "mean_poisson_deviance": (
        ("predictions", "counts"),
        lambda p, n: 2 * (losses.poisson_nll(p, n) - losses.poisson_nll(jnp.log(n), n)),
    ),
}


def _inputs(*names: str) -> list[jax.Array]:
    return [jnp.array(STORED["inputs"][name]) for name in names]


def _error(params: dict[str, Any], features: jax.Array, outputs: jax.Array) -> Any:
    """The mean over examples of half the squared error, summed over outputs."""
    predictions = features @ params["kernel"] + params["bias"][None]
    return jnp.mean(jnp.sum(losses.half_squared(predictions, outputs), axis=1))


def _surprise(params: dict[str, Any], features: jax.Array, classes: jax.Array) -> Any:
    return reduction.mean(losses.softmax_cross_entropy(features @ params["kernel"] + params["bias"][None], classes))


def _fitted(prox: Callable[..., Any], strengths: jax.Array) -> dict[str, jax.Array]:
    """Runs proximal gradient descent for all strengths at once; biases are not penalized."""
    features, outputs = _inputs("features", "outputs")
    with_ones = np.column_stack([features, np.ones(len(features))])
    learning_rate = 1 / float(np.linalg.eigvalsh(with_ones.T @ with_ones / len(features)).max())

    @jax.jit
    @jax.vmap
    def fit(strength):
        bound = functools.partial(prox, strength=strength, factors={"kernel": 1.0, "bias": 0.0})
        optimizer = proximal(sgd(learning_rate=learning_rate), learning_rate, bound)
        params = {"kernel": jnp.zeros((features.shape[1], outputs.shape[1])), "bias": jnp.zeros(outputs.shape[1])}

        def step(carry, _):
            params, state = carry
            updates, state = optimizer.update(jax.grad(_error)(params, features, outputs), state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, optimizer.init(params)), length=STEPS)[0][0]

    return fit(strengths)


@pytest.mark.parametrize("name", METRICS)
def test_metrics(name: str):
    names, ours = METRICS[name]
    values = jax.jit(ours)(*_inputs(*names))
    # A few roundings on each side, of numbers up to 20.
    np.testing.assert_allclose(values, STORED["metrics"][name], rtol=32 * EPS, atol=32 * EPS)


def test_every_metric_is_compared():
    assert set(METRICS) == set(STORED["metrics"])


def test_group_lasso_is_the_multi_task_lasso():
    stored = STORED["models"]["MultiTaskLasso"]
    kernels = np.array(stored["kernels"])
    # A group is a feature's row, which ours weighs by the root of the number of tasks.
    prox = functools.partial(operators.group_lasso, axes=(-1,))
    found = _fitted(prox, jnp.array(stored["strengths"]) / np.sqrt(kernels.shape[2]))
    np.testing.assert_allclose(found["kernel"], kernels, rtol=0, atol=AT_REST)
    np.testing.assert_allclose(found["bias"], stored["biases"], rtol=0, atol=AT_REST)
    zero = (kernels == 0).all(2)
    np.testing.assert_array_equal((np.asarray(found["kernel"]) == 0).all(2), zero)
    assert zero.sum(1).tolist() == [0, 3, 4, 4]


def test_the_operator_of_l2_is_ridge_regression():
    stored = STORED["models"]["Ridge"]
    # scikit-learn's squares are neither halved nor averaged over examples.
    found = _fitted(operators.l2, jnp.array(stored["strengths"]) / len(STORED["inputs"]["features"]))
    np.testing.assert_allclose(found["kernel"], stored["kernels"], rtol=0, atol=AT_REST)
    np.testing.assert_allclose(found["bias"], stored["biases"], rtol=0, atol=AT_REST)


@pytest.mark.parametrize(
    ("name", "loss", "targets", "strength"),
    [
        # alpha: squares are neither halved nor averaged. C: the strength of the loss, which is a sum over examples.
        ("Ridge", _error, "outputs", lambda alpha, examples: alpha / examples),
        ("LogisticRegression", _surprise, "classes", lambda c, examples: 1 / (c * examples)),
    ],
)
def test_the_gradient_with_the_penalty_l2_is_zero_at_the_solution(name: str, loss: Any, targets: str, strength: Any):
    features, answers = _inputs("features", targets)

    @jax.jit
    @jax.vmap
    def gradient(params, strength):
        def penalized(params):
            factors = {"kernel": 1.0, "bias": 0.0}
            return loss(params, features, answers) + penalties.l2(params, strength=strength, factors=factors)

        return jax.grad(penalized)(params), jax.grad(loss)(params, features, answers)

    stored = STORED["models"][name]
    params = {"kernel": jnp.array(stored["kernels"]), "bias": jnp.array(stored["biases"])}
    whole, of_loss = gradient(params, strength(jnp.array(stored["strengths"]), len(features)))
    for leaf in jax.tree.leaves(whole):
        np.testing.assert_allclose(leaf, 0.0, atol=1e-13)  # scikit-learn's own tolerance
    assert float(jnp.abs(of_loss["kernel"]).max(axis=(1, 2)).min()) > 1e-3  # the penalty did matter
