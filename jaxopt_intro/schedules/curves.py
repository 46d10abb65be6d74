"""What schedules are built of: progress through a length, mixtures, and powers with finite derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import jax.numpy as jnp

from jaxopt_intro.typing import Array, Number

Schedule: TypeAlias = Callable[[Array], Array]
"""`step -> factor`."""

_NONE = 1e-9


def real(number: Number) -> Array:
    """Returns a number as a float, float32 or wider; a Python number or whole array stays weakly typed.

    Examples:
        >>> real(jnp.bfloat16(3)).dtype, real(3).tolist()
        (dtype('float32'), 3.0)
    """
    number = jnp.asarray(number) * 1.0
    return number.astype(jnp.float32) if number.dtype.itemsize < 4 else number


def divisor(length: Number) -> Array:
    """Returns a length where there is one, otherwise 1. A length below 1e-9 is none: derivatives divide by its square.

    Examples:
        >>> divisor(0.0).tolist(), divisor(0.5).tolist()
        (1.0, 0.5)
    """
    length = real(length)
    return jnp.where(length > _NONE, length, 1.0)


def progress(step: Number, length: Number) -> Array:
    """Returns how much of a length is done, from 0 to 1; a length of 0 is a jump from 0 to 1 at step 0.

    Examples:
        >>> progress(jnp.array([-1, 1, 9]), 4.0).tolist()
        [0.0, 0.25, 1.0]
        >>> progress(jnp.array([-1, 0]), 0.0).tolist()
        [0.0, 1.0]
    """
    step, length = real(step), real(length)
    return jnp.where(length > _NONE, jnp.clip(step / divisor(length), 0.0, 1.0), jnp.where(step >= 0, 1.0, 0.0))


def mix(start: Number, end: Number, share: Array) -> Array:
    """Goes from `start` (share 0) to `end` (share 1); exact at both, however far apart they are.

    Examples:
        >>> mix(1.0, 3.0, jnp.array(0.25)).tolist()
        1.5
    """
    return real(start) * (1 - share) + real(end) * share


def ease(share: Array) -> Array:
    """Half a cosine wave from 0 to 1: `(1 - cos(pi * share)) / 2`, written as a square, so that small values are exact.

    Examples:
        >>> ease(jnp.array([0.0, 1.0])).tolist()
        [0.0, 1.0]
    """
    return jnp.square(jnp.sin(0.5 * jnp.pi * share))


def power(base: Number, exponent: Number) -> Array:
    """`base ** exponent` for a base of at least 0; its derivatives at base 0, which may be infinite, are taken as 0.

    Examples:
        >>> power(0.0, jnp.array([0.0, 0.5])).tolist()
        [1.0, 0.0]
    """
    base, exponent = real(base), real(exponent)
    return jnp.where(base > 0, jnp.where(base > 0, base, 1.0) ** exponent, jnp.where(exponent == 0, 1.0, 0.0))
