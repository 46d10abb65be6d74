"""From a value per example to one number: the only place that reduces."""

from __future__ import annotations

import math

import jax.numpy as jnp
from jaxtyping import Float

from jaxopt_intro.trees import at_least_float32
from jaxopt_intro.typing import Array, PerExample, Scalar


def per_example(values: PerExample) -> Float[Array, " batch"]:
    """Averages every axis but the first, so that one value per example is left.

    Raises:
        ValueError: The values have no axis.

    Examples:
        >>> per_example(jnp.array([[1.0, 3.0], [5.0, 5.0]])).tolist()
        [2.0, 5.0]
    """
    if not values.shape:
        raise ValueError("reduction: got a scalar; expected a value for each example. Reduce once, or add an axis.")
    return jnp.mean(at_least_float32(values).reshape(values.shape[0], math.prod(values.shape[1:])), axis=1)


def mean(values: PerExample, *, weights: Float[Array, " batch"] | None = None) -> Scalar:
    """Returns the mean over examples.

    With the mean, a penalty's strength weighs against one average example. With `sum` it weighs against the whole
    batch, so the same balance needs a strength that is larger by the number of examples.

    Args:
        values: A value, or several, for each example.
        weights: A factor for each example; one of weight 0 does not count, whatever its value.

    Returns:
        The weighted mean, in float32 or wider; 0 where all weights are 0, or there is no example, never NaN.

    Raises:
        ValueError: There is not one weight for each example.

    Examples:
        >>> mean(jnp.array([1.0, 3.0, jnp.nan]), weights=jnp.array([1.0, 1.0, 0.0])).tolist()
        2.0
    """
    if weights is None:
        return jnp.sum(at_least_float32(values)) / max(1, values.size)
    total = jnp.sum(at_least_float32(weights))
    return sum(values, weights=weights) / jnp.where(total == 0, 1.0, total)


def sum(values: PerExample, *, weights: Float[Array, " batch"] | None = None) -> Scalar:
    """Returns the sum over examples, of the mean of each example's values.

    Args:
        values: A value, or several, for each example.
        weights: A factor for each example; one of weight 0 does not count, whatever its value.

    Returns:
        The weighted sum, in float32 or wider.

    Raises:
        ValueError: There is not one weight for each example.

    Examples:
        >>> sum(jnp.array([1.0, 3.0])).tolist()
        4.0
    """
    one_each = per_example(values)
    if weights is None:
        return jnp.sum(one_each)
    if weights.shape != one_each.shape:
        raise ValueError(
            f"reduction: got weights of shape {weights.shape} for values of shape {values.shape}; expected one weight "
            f"for each example, shape {one_each.shape}."
        )
    counts = weights != 0
    return jnp.sum(jnp.where(counts, weights * jnp.where(counts, one_each, 0.0), 0.0))
