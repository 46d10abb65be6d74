"""Nesterov's accelerated gradient."""

from __future__ import annotations

from typing import Any

import jax
import optax

from jaxopt_intro.checks import checked
from jaxopt_intro.optimizers.momentum import MomentumState
from jaxopt_intro.optimizers.sgd import descend, scale_by_rate
from jaxopt_intro.trees import at_least_float32, zeros_at_least_float32
from jaxopt_intro.typing import Decay, Nonnegative, PyTree


@checked
def scale_by_nesterov(momentum: Decay) -> optax.GradientTransformation:
    """Accumulates a velocity and looks one step ahead along it.

        velocity = momentum * velocity + updates
        out      = updates + momentum * velocity

    Args:
        momentum: How much of the velocity stays, in `[0, 1)`. May be traced.

    Returns:
        The transform. Its state is that of `scale_by_momentum`.

    Examples:
        >>> import jax.numpy as jnp
        >>> transform = scale_by_nesterov(0.5)
        >>> updates, _ = transform.update(jnp.ones(1), transform.init(jnp.zeros(1)))
        >>> updates.tolist()
        [1.5]
    """

    def init(params: PyTree) -> MomentumState:
        return MomentumState(zeros_at_least_float32(params))

    def update(updates: PyTree, state: Any, params: PyTree | None = None) -> tuple[PyTree, Any]:
        del params
        velocity = jax.tree.map(
            lambda v, u: (momentum * v + at_least_float32(u)).astype(v.dtype), state.velocity, updates
        )
        ahead = jax.tree.map(lambda v, u: momentum * v + at_least_float32(u), velocity, updates)
        return ahead, MomentumState(velocity)

    return optax.GradientTransformation(init, update)


@checked
def nesterov(*, learning_rate: Nonnegative, momentum: Decay = 0.9) -> optax.GradientTransformationExtraArgs:
    """Nesterov's accelerated gradient, in the variables at which the gradient is taken.

        velocity = momentum * velocity + learning_rate * grads
        params  -= momentum * velocity + learning_rate * grads

    The paper takes the gradient at `position - momentum * velocity`. That point is what `params` are here, so any
    training step computes the right gradient; `params + momentum * velocity` is the paper's position. The rate is
    inside the velocity, as in Sutskever. PyTorch and `optax.sgd(nesterov=True)` put it outside: the same for a constant
    rate, another method as soon as the rate changes. The momentum is constant, unlike in Nesterov's convex scheme.

    Args:
        learning_rate: The step size, at least 0. May be traced.
        momentum: How much of the velocity stays, in `[0, 1)`. May be traced.

    Returns:
        The optimizer.

    References:
        Nesterov 1983, A method for solving the convex programming problem with convergence rate O(1/k^2); Sutskever et
        al. 2013, On the importance of initialization and momentum in deep learning, equations (3) and (4).

    Examples:
        >>> import jax.numpy as jnp
        >>> optimizer = nesterov(learning_rate=1.0, momentum=0.5)
        >>> updates, _ = optimizer.update(jnp.ones(1), optimizer.init(jnp.zeros(1)))
        >>> updates.tolist()
        [-1.5]
    """
    return optax.chain(scale_by_rate(learning_rate), scale_by_nesterov(momentum), descend(1.0))
