"""Batch normalization whose numbers may be traced, and differentiated."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from jaxopt_intro.trees import at_least_float32
from jaxopt_intro.typing import Array, Number


class BatchNorm(nnx.Module):
    """Batch normalization as a layer, of the last axis.

        mean, var = of the batch, while training        mean = momentum * mean + (1 - momentum) * mean of the batch
        y = scale * (x - mean) / sqrt(var + epsilon) + bias

    Unlike `flax.nnx.BatchNorm` the running statistics have a derivative with respect to `momentum`, and the variance
    is that of the differences from the mean, which no large mean cancels. As there, the running variance is the
    batch's own, not corrected by its size. Statistics are computed and kept in float32.

    Args:
        features: The length of the last axis.
        momentum: How much of the running mean and variance stays in a step, in `[0, 1)`. May be traced.
        epsilon: Added to the variance, positive. May be traced.
        rngs: Flax's; nothing is drawn.

    References:
        Ioffe and Szegedy 2015, Batch normalization: accelerating deep network training by reducing internal covariate
        shift, algorithms 1 and 2.

    Examples:
        >>> layer = BatchNorm(1, momentum=0.5, rngs=nnx.Rngs(0))
        >>> layer(jnp.array([[1.0], [3.0]])).round(3).tolist()
        [[-1.0], [1.0]]
        >>> layer.mean[...].tolist()
        [1.0]
    """

    def __init__(self, features: int, *, momentum: Number = 0.9, epsilon: Number = 1e-5, rngs: nnx.Rngs | None = None):
        del rngs
        self.scale, self.bias = nnx.Param(jnp.ones(features)), nnx.Param(jnp.zeros(features))
        self.mean, self.var = nnx.BatchStat(jnp.zeros(features)), nnx.BatchStat(jnp.ones(features))
        self.momentum, self.epsilon = momentum, epsilon
        self.use_running_average = False  # set by `module.eval()` and `module.train()`

    def __call__(self, x: Array) -> Array:
        wide, last = at_least_float32(x), (1,) * (x.ndim - 1) + (-1,)
        mean, var, near = self.mean[...], self.var[...], self.mean[...]
        if not self.use_running_average:
            axes = tuple(range(x.ndim - 1))
            batch_mean = jnp.mean(wide, axes)
            # Differences from the mean as a constant, less what that leaves out, which is 0 and has a derivative: all
            # derivatives are those of differences from the mean, with one pass over the batch less.
            near = jax.lax.stop_gradient(batch_mean)
            second = jnp.mean(jnp.square(wide - near.reshape(last)), axes)
            batch_var = second - jnp.square(batch_mean - near)
            self.mean[...] = (self.momentum * mean + (1 - self.momentum) * batch_mean).astype(mean.dtype)
            self.var[...] = (self.momentum * var + (1 - self.momentum) * batch_var).astype(var.dtype)
            mean, var = batch_mean, batch_var
        factor = at_least_float32(self.scale[...]) * jax.lax.rsqrt(var + self.epsilon)
        shift = at_least_float32(self.bias[...]) - (mean - near) * factor
        return ((wide - near.reshape(last)) * factor.reshape(last) + shift.reshape(last)).astype(x.dtype)
