"""Stochastic gradient descent, and the last link of every chain: a step down, in the parameters' dtype."""

from __future__ import annotations

from typing import Any

import jax
import optax

from jaxopt_intro.checks import checked
from jaxopt_intro.trees import at_least_float32
from jaxopt_intro.typing import Nonnegative, PyTree


@checked
def descend(learning_rate: Nonnegative) -> optax.GradientTransformation:
    """Turns a direction into a step: `-learning_rate * direction`, cast to the dtype of the parameters.

    Args:
        learning_rate: The step size, at least 0. May be traced.

    Returns:
        A stateless transform.

    Examples:
        >>> import jax.numpy as jnp
        >>> updates, _ = descend(0.5).update({"w": jnp.array([2.0])}, optax.EmptyState())
        >>> updates["w"].tolist()
        [-1.0]
    """

    def update(updates: PyTree, state: Any, params: PyTree | None = None) -> tuple[PyTree, Any]:
        like = updates if params is None else params
        return jax.tree.map(lambda u, p: (-learning_rate * at_least_float32(u)).astype(p.dtype), updates, like), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


@checked
def sgd(*, learning_rate: Nonnegative) -> optax.GradientTransformation:
    """Stochastic gradient descent: `params -= learning_rate * grads`.

    Args:
        learning_rate: The step size, at least 0. May be traced.

    Returns:
        The optimizer. It has no state, unlike `optax.sgd` with a momentum of 0.

    References:
        Robbins and Monro 1951, A stochastic approximation method, equation (6); Ruder 2016, equation (2).

    Examples:
        >>> import jax.numpy as jnp
        >>> optimizer = sgd(learning_rate=0.5)
        >>> updates, _ = optimizer.update(jnp.array([1.0, -2.0]), optimizer.init(jnp.zeros(2)))
        >>> updates.tolist()
        [-0.5, 1.0]
    """
    return descend(learning_rate)
