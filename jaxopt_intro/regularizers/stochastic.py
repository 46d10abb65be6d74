"""Noise inside a model: `(x, rate, *, key) -> x`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxopt_intro.trees import at_least_float32
from jaxopt_intro.typing import Array, Number


def dropout(x: Float[Array, "*shape"], rate: Number, *, key: Array) -> Float[Array, "*shape"]:
    """Drops each element with probability `rate` and scales the others so that the mean stays.

        kept = uniform(key) >= rate
        out  = kept * x / (1 - rate)

    Exact at the ends: rate 0 returns `x`, rate 1 returns zeros. The derivative with respect to the rate is pathwise:
    through the scale alone, not through which elements are kept.

    Args:
        x: Activations.
        rate: The probability of dropping, in `[0, 1]`. May be traced.
        key: A key for this call alone.

    Returns:
        The activations, dropped and scaled, in the dtype of `x`.

    References:
        Srivastava et al. 2014, Dropout, section 4, in the inverted form of its section 10.

    Examples:
        >>> dropout(jnp.ones(3), 0.0, key=jax.random.key(0)).tolist()
        [1.0, 1.0, 1.0]
        >>> dropout(jnp.ones(3), 1.0, key=jax.random.key(0)).tolist()
        [0.0, 0.0, 0.0]
    """
    kept = jax.random.uniform(key, x.shape) >= rate
    share = 1 - at_least_float32(jnp.asarray(rate))
    scale = jnp.where(share > 0, 1 / jnp.where(share > 0, share, 1.0), 0.0)
    return jnp.where(kept, (at_least_float32(x) * scale).astype(x.dtype), jnp.zeros_like(x))
