"""Stochastic gradient descent, and the links of other chains: the rate, and a step down in the parameters' dtype."""

from __future__ import annotations

from typing import Any

import jax
import optax

from jaxopt_intro.domains import checked
from jaxopt_intro.trees import at_least_float32
from jaxopt_intro.typing import Nonnegative, PyTree


@checked
def descend(learning_rate: Nonnegative) -> optax.GradientTransformationExtraArgs:
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

    def update(updates: PyTree, state: Any, params: PyTree | None = None, **extra: Any) -> tuple[PyTree, Any]:
        del extra
        like = updates if params is None else params
        return jax.tree.map(lambda u, p: (-(learning_rate * at_least_float32(u))).astype(p.dtype), updates, like), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


@checked
def scale_by_rate(learning_rate: Nonnegative) -> optax.GradientTransformation:
    """Multiplies by the rate, where it stands inside a velocity or before a decay: `learning_rate * updates`.

    Args:
        learning_rate: The step size, at least 0. May be traced.

    Returns:
        A stateless transform; its output is float32 or wider.

    Examples:
        >>> import jax.numpy as jnp
        >>> scale_by_rate(0.5).update(jnp.array([2.0]), optax.EmptyState())[0].tolist()
        [1.0]
    """
    return optax.stateless(lambda updates, _: jax.tree.map(lambda u: learning_rate * at_least_float32(u), updates))


@checked
def sgd(*, learning_rate: Nonnegative) -> optax.GradientTransformationExtraArgs:
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


@checked
def sgd_metric(state: PyTree, **others: Any) -> PyTree:
    """Returns 1: what gradient descent divides its rate by, the metric for `proximal`.

    Args:
        state: A state of `sgd`, after an update.
        **others: Its other numbers, which do not matter here.

    Returns:
        A number.

    Examples:
        >>> sgd_metric(sgd(learning_rate=0.5).init(0.0))
        1.0
    """
    del state, others
    return 1.0
