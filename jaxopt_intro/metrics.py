"""Metrics: one value per example, averaged over examples, and which direction is better."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxopt_intro.checks import class_labels, same_shape
from jaxopt_intro.typing import Array, Labels


class Metric(NamedTuple):
    """A metric's function `(predictions, targets) -> [batch]` and its better direction, "max" or "min"."""

    function: object
    direction: str


def accuracy(logits: Float[Array, "*batch classes"], labels: Labels) -> Float[Array, "*batch"]:
    """Whether the highest score is the label's: 1 or 0. A NaN among the scores is wrong.

    Args:
        logits: Scores, the class axis last.
        labels: Integer classes.

    Returns:
        1.0 or 0.0 for each example.

    Raises:
        ValueError: The shapes are not `[..., classes]` and `[...]`, or the labels are not integers.

    Examples:
        >>> accuracy(jnp.array([[0.1, 0.9], [0.8, 0.2]]), jnp.array([1, 1])).tolist()
        [1.0, 0.0]
    """
    class_labels(logits, labels, function="accuracy")
    labels = labels.astype(jnp.promote_types(labels.dtype, jnp.int32))  # 300 classes wrap around in uint8
    classes = jax.lax.broadcasted_iota(labels.dtype, logits.shape, logits.ndim - 1)
    label = labels[..., None]
    own = jnp.take_along_axis(logits, label, axis=-1, mode="clip")
    # Of equal scores the first class wins, as with argmax, which is slow on CPUs where classes are many; a comparison
    # with NaN fails.
    behind = jnp.where(classes < label, logits < own, logits <= own)
    known = (labels >= 0) & (labels < logits.shape[-1])
    return (jnp.all(behind, axis=-1) & known).astype(jnp.float32)


def squared_error(predictions: Float[Array, "batch *rest"], targets: Float[Array, "batch *rest"]) -> Array:
    """The squared difference, averaged over an example's outputs.

    Examples:
        >>> squared_error(jnp.array([1.0, 3.0]), jnp.array([1.0, 1.0])).tolist()
        [0.0, 4.0]
    """
    same_shape(predictions, targets, function="squared_error")
    return jnp.mean(jnp.square(predictions - targets).reshape(predictions.shape[0], -1), axis=1)


METRICS = {
    "accuracy": Metric(accuracy, "max"),
    "squared_error": Metric(squared_error, "min"),
}
