"""Probes: what can be measured of a training besides its metrics, at one point of it.

A probe is a pure function `(state, batch, hparams, *, training, evaluate) -> array` of one member, where `training` is
the pair that trains it and `evaluate(state, data, hparams)` returns its metrics, the mean loss as "loss". It composes
with `jit` and `vmap`, so that a tile of members is measured by one program.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jaxopt_intro import trees
from jaxopt_intro.training.making import TrainState
from jaxopt_intro.typing import Array, Batch, Hparams, PyTree, Scalar, Training

Evaluate = Callable[[Any, Batch, Hparams], dict[str, Scalar]]


def sharpness(
    state: TrainState, batch: Batch, hparams: Hparams, *, training: Training, evaluate: Evaluate, iterations: int = 20
) -> Scalar:
    """The largest eigenvalue of the Hessian of the batch's mean loss.

    By the Lanczos method with products of the Hessian and a vector: the largest of `iterations` Ritz values, which
    comes near from below. Nothing is kept but three vectors: without reorthogonalization converged eigenvalues may be
    found again, which leaves the largest what it is. Penalties are left out, and the model is in evaluation mode.

    Args:
        state: The training's state.
        batch: Examples.
        hparams: The member's numbers.
        training: Not used.
        evaluate: Measures the loss; it must have derivatives in forward mode too.
        iterations: Products with the Hessian; no more than there are parameters are made. Static.

    Returns:
        The eigenvalue. Gradient descent with a learning rate above 2 / sharpness is unstable in that direction.

    References:
        Lanczos 1950, An iteration method for the solution of the eigenvalue problem; Cohen et al. 2021, Gradient
        descent on neural networks typically occurs at the edge of stability, section 2.

    Examples:
        >>> state = TrainState(0, jax.random.key(0), jnp.ones(3), (), ())
        >>> def evaluate(state, batch, hparams):
        ...     return {"loss": 0.5 * jnp.sum(batch * state.params**2)}
        >>> sharpness(state, jnp.array([1.0, 4.0, 2.0]), {}, training=None, evaluate=evaluate).round(3).tolist()
        4.0
    """
    del training
    start, unraveled = ravel_pytree(state.params)
    slope = jax.grad(lambda flat: _loss(evaluate, state, unraveled(flat), batch, hparams))
    first = jax.random.normal(jax.random.key(0), start.shape, start.dtype)

    def body(carry: tuple[Array, Array, Array], _: None) -> tuple[tuple[Array, Array, Array], tuple[Array, Array]]:
        before, vector, beta = carry
        product = jax.jvp(slope, (start,), (vector,))[1] - beta * before
        alpha = trees.dot(product, vector)
        rest = product - alpha * vector
        beta = trees.norm(rest)
        return (vector, rest / jnp.where(beta > 0, beta, 1.0), beta), (alpha, beta)

    begin = jnp.zeros_like(first), first / trees.norm(first), jnp.zeros((), start.dtype)
    _, (diagonal, beside) = jax.lax.scan(body, begin, None, length=min(iterations, start.size))
    # After an invariant subspace the vectors are zero. A Ritz value of 0 could be above all eigenvalues; the first
    # Rayleigh quotient cannot.
    ended = jnp.cumsum(jnp.concatenate([jnp.zeros(1, bool), beside[:-1] == 0])) > 0
    diagonal = jnp.where(ended, diagonal[0], diagonal)
    tridiagonal = jnp.diag(diagonal) + jnp.diag(beside[:-1], 1) + jnp.diag(beside[:-1], -1)
    return jnp.linalg.eigvalsh(tridiagonal)[-1]


def update_ratio(
    state: TrainState, batch: Batch, hparams: Hparams, *, training: Training, evaluate: Evaluate
) -> Scalar:
    """The norm of the update that a step on the batch would make, over the norm of the parameters.

    Proximal step and projections are part of the update, as in `TrainInfo.update_norm`.

    Args:
        state: The training's state.
        batch: Examples.
        hparams: The member's numbers.
        training: Makes the step.
        evaluate: Not used.

    Returns:
        The ratio; NaN where all parameters are zero.

    Examples:
        >>> from jaxopt_intro import losses, models, optimizers
        >>> from jaxopt_intro.training import make_training
        >>> batch = jnp.ones((4, 2)), jnp.zeros((4, 1))
        >>> training = make_training(models.mlp(outputs=1), losses.huber, optimizers.sgd, example=batch)
        >>> hparams = {"learning_rate": 0.0}
        >>> state = training.init(jax.random.key(0), hparams)
        >>> update_ratio(state, batch, hparams, training=training, evaluate=None).tolist()
        0.0
    """
    del evaluate
    _, info = training.step(state, batch, hparams)
    return info.update_norm / trees.norm(state.params)


def gradient_noise_scale(
    state: TrainState, batch: Batch, hparams: Hparams, *, training: Training, evaluate: Evaluate
) -> Scalar:
    """The simple noise scale: the batch size at which a gradient's noise is as large as the gradient.

        tr(covariance of an example's gradient) / |mean gradient|^2

    Both are estimated without bias from the gradients of single examples and of their batch; their quotient is a noisy
    figure of the right order, negative or very large where the gradient is lost in its noise. For losses that are means
    over examples.

    Args:
        state: The training's state.
        batch: At least two examples.
        hparams: The member's numbers.
        training: Not used.
        evaluate: Measures the loss, the model in evaluation mode; penalties are left out.

    Returns:
        The scale, in examples.

    References:
        McCandlish et al. 2018, An empirical model of large-batch training, section 2.2 and appendix A.1.

    Examples:
        >>> state = TrainState(0, jax.random.key(0), jnp.array(0.0), (), ())
        >>> def evaluate(state, batch, hparams):
        ...     return {"loss": 0.5 * jnp.mean((state.params - batch) ** 2)}
        >>> (3 * gradient_noise_scale(state, jnp.array([1.0, 3.0]), {}, training=None, evaluate=evaluate)).tolist()
        2.0
    """
    del training
    count = jax.tree.leaves(batch)[0].shape[0]
    slope = jax.grad(lambda params, examples: _loss(evaluate, state, params, examples, hparams))

    def body(carry: tuple[PyTree, Scalar], example: PyTree) -> tuple[tuple[PyTree, Scalar], None]:
        sums, squares = carry
        own = slope(state.params, jax.tree.map(lambda x: x[None], example))
        return (jax.tree.map(jnp.add, sums, own), squares + trees.dot(own, own)), None

    zeros = jax.tree.map(jnp.zeros_like, state.params), jnp.zeros((), trees.widest(state.params))
    (sums, squares), _ = jax.lax.scan(body, zeros, batch)
    large, small = trees.dot(sums, sums) / count**2, squares / count
    squared_gradient = (count * large - small) / (count - 1)
    variance = (small - large) / (1 - 1 / count)
    return variance / squared_gradient


def ascent(
    state: TrainState, batch: Batch, hparams: Hparams, *, training: Training, evaluate: Evaluate, radius: float = 0.05
) -> Scalar:
    """How much the batch's mean loss rises where the parameters are moved up its gradient, as far as a radius.

    Args:
        state: The training's state.
        batch: Examples.
        hparams: The member's numbers.
        training: Not used.
        evaluate: Measures the loss, the model in evaluation mode; penalties are left out.
        radius: The Euclidean length of the move.

    Returns:
        The rise: small in a flat place.

    References:
        Foret et al. 2021, Sharpness-aware minimization for efficiently improving generalization, equation (2).

    Examples:
        >>> state = TrainState(0, jax.random.key(0), jnp.array([3.0, 4.0]), (), ())
        >>> def evaluate(state, batch, hparams):
        ...     return {"loss": trees.norm(state.params)}
        >>> ascent(state, jnp.zeros(1), {}, training=None, evaluate=evaluate, radius=0.5).tolist()
        0.5
    """
    del training
    here, slope = jax.value_and_grad(lambda params: _loss(evaluate, state, params, batch, hparams))(state.params)
    _, direction = trees.norm_and_directions(slope)
    moved = jax.tree.map(lambda p, d: (p + radius * d).astype(p.dtype), state.params, direction)
    return _loss(evaluate, state, moved, batch, hparams) - here


PROBES: dict[str, Callable[..., Array]] = {
    "sharpness": sharpness,
    "update_ratio": update_ratio,
    "gradient_noise_scale": gradient_noise_scale,
    "ascent": ascent,
}


def _loss(evaluate: Evaluate, state: TrainState, params: PyTree, batch: Batch, hparams: Hparams) -> Scalar:
    return evaluate(state._replace(params=params), batch, hparams)["loss"]
