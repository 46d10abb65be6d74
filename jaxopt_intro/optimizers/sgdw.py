"""SGDW: momentum with weight decay beside it."""

from __future__ import annotations

import optax

from jaxopt_intro.optimizers.adamw import DECAYS, Decay, add_decay
from jaxopt_intro.optimizers.hyperparameters import in_domain, one_of
from jaxopt_intro.optimizers.momentum import scale_by_momentum
from jaxopt_intro.optimizers.sgd import descend, scale_by_rate
from jaxopt_intro.typing import Number


def sgdw(
    *,
    learning_rate: Number,
    momentum: Number = 0.9,
    weight_decay: Number = 1e-4,
    decay: Decay = "decoupled",
) -> optax.GradientTransformationExtraArgs:
    """SGDW: gradient descent with momentum, and weight decay beside it.

        velocity = momentum * velocity + learning_rate * grads
        params  -= velocity + weight_decay * params                       decay="decoupled"
        params  -= velocity + learning_rate * weight_decay * params       decay="times_rate"
        params  -= velocity       of grads + weight_decay * params        decay="coupled"

    The paper's decay is not multiplied by the learning rate, only by the factor of its schedule, as the rate is: where
    the rate has a schedule, give the decay the same. "coupled" is PyTorch's `SGD(weight_decay=...)`. The paper gives no
    value. All parameters decay; `optax.partition` leaves some out.

    Args:
        learning_rate: The step size, at least 0. May be traced.
        momentum: How much of the velocity stays, in `[0, 1)`. May be traced.
        weight_decay: The share of the parameters that is subtracted, at least 0. May be traced.
        decay: What multiplies the decay, as above. Static.

    Returns:
        The optimizer. Its update needs the parameters.

    Raises:
        ValueError: A Python number is outside its range, or there is no such decay. At an update without parameters.

    References:
        Loshchilov and Hutter 2019, Decoupled weight decay regularization, algorithm 1.

    Examples:
        >>> import jax.numpy as jnp
        >>> optimizer, params = sgdw(learning_rate=0.5, weight_decay=0.25), jnp.array([8.0])
        >>> updates, _ = optimizer.update(jnp.array([1.0]), optimizer.init(params), params)
        >>> updates.tolist()
        [-2.5]
    """
    in_domain("sgdw", learning_rate=learning_rate, momentum=momentum, weight_decay=weight_decay)
    one_of("sgdw", DECAYS, decay=decay)
    rolling = [scale_by_rate(learning_rate), scale_by_momentum(momentum)]
    if decay == "coupled":
        return optax.chain(add_decay(weight_decay), *rolling, descend(1.0))
    share = learning_rate * weight_decay if decay == "times_rate" else weight_decay
    return optax.chain(*rolling, add_decay(share), descend(1.0))
