"""AdamW, and the decay of weights that SGDW shares with it."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import jax
import optax

from jaxopt_intro.optimizers.adam import scale_by_adam
from jaxopt_intro.optimizers.hyperparameters import in_domain, one_of
from jaxopt_intro.optimizers.sgd import descend, scale_by_rate
from jaxopt_intro.trees import at_least_float32
from jaxopt_intro.typing import Number, PyTree

Decay: TypeAlias = Literal["decoupled", "times_rate", "coupled"]
DECAYS = ("decoupled", "times_rate", "coupled")


def add_decay(weight_decay: Number) -> optax.GradientTransformation:
    """Adds a share of the parameters: `updates + weight_decay * params`. Its place in a chain is the convention.

    Args:
        weight_decay: The share, at least 0. May be traced.

    Returns:
        A stateless transform; its output is float32 or wider.

    Raises:
        ValueError: At an update without parameters.

    Examples:
        >>> import jax.numpy as jnp
        >>> add_decay(0.5).update(jnp.array([1.0]), optax.EmptyState(), jnp.array([4.0]))[0].tolist()
        [3.0]
    """

    def update(updates: PyTree, params: PyTree | None) -> Any:
        if params is None:
            raise ValueError(
                "weight decay: got no params; expected them, since a share of them is subtracted. Pass "
                "update(..., params)."
            )
        return jax.tree.map(lambda u, p: at_least_float32(u) + weight_decay * at_least_float32(p), updates, params)

    return optax.stateless(update)


def adamw(
    *,
    learning_rate: Number,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    weight_decay: Number = 1e-4,
    decay: Decay = "decoupled",
) -> optax.GradientTransformationExtraArgs:
    """AdamW: Adam with weight decay beside it.

        ratio   = (mu / (1 - b1 ** step)) / (sqrt(nu / (1 - b2 ** step)) + eps)       mu, nu as in `adam`
        params -= learning_rate * ratio + weight_decay * params                       decay="decoupled"
        params -= learning_rate * (ratio + weight_decay * params)                     decay="times_rate"
        params -= learning_rate * ratio       of grads + weight_decay * params        decay="coupled"

    The paper's decay is not multiplied by the learning rate, only by the factor of its schedule, as the rate is: where
    the rate has a schedule, give the decay the same. PyTorch and optax multiply it by the rate: their 1e-2 and 1e-4 at
    a rate of 1e-3 are 1e-5 and 1e-7 here. The paper gives no value. "coupled" is Adam with an L2 penalty of half the
    decay. All parameters decay; `optax.partition` leaves some out.

    Args:
        learning_rate: The step size, at least 0. May be traced.
        b1: Decay of the first moment, in `[0, 1)`. May be traced.
        b2: Decay of the second moment, in `[0, 1)`. May be traced.
        eps: Added to the root, outside it, at least 0. May be traced.
        weight_decay: The share of the parameters that is subtracted, at least 0. May be traced.
        decay: What multiplies the decay, as above. Static.

    Returns:
        The optimizer. Its update needs the parameters.

    Raises:
        ValueError: A Python number is outside its range, or there is no such decay. At an update without parameters.

    References:
        Loshchilov and Hutter 2019, Decoupled weight decay regularization, algorithm 2.

    Examples:
        >>> import jax.numpy as jnp
        >>> optimizer, params = adamw(learning_rate=0.125, weight_decay=0.25), jnp.array([8.0])
        >>> updates, _ = optimizer.update(jnp.array([3.0]), optimizer.init(params), params)
        >>> updates.round(4).tolist()
        [-2.125]
    """
    in_domain("adamw", learning_rate=learning_rate, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay)
    one_of("adamw", DECAYS, decay=decay)
    scaled, decayed = scale_by_adam(b1, b2, eps), add_decay(weight_decay)
    if decay == "coupled":
        return optax.chain(decayed, scaled, descend(learning_rate))
    if decay == "times_rate":
        return optax.chain(scaled, decayed, descend(learning_rate))
    return optax.chain(scaled, scale_by_rate(learning_rate), decayed, descend(1.0))
