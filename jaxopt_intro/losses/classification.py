"""Losses for classes: logits `[batch, classes]`, the class axis last, and integer labels `[batch]`."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float

from jaxopt_intro.checks import class_labels
from jaxopt_intro.trees import at_least_float32
from jaxopt_intro.typing import Array, Labels, Number


def softmax_cross_entropy(
    logits: Float[Array, "*batch classes"],
    labels: Labels,
    *,
    label_smoothing: Number = 0.0,
    class_weights: Float[Array, " classes"] | None = None,
) -> Float[Array, "*batch"]:
    """Cross entropy of the softmax of logits, with label smoothing.

        target = (1 - label_smoothing) * one_hot(labels) + label_smoothing / classes
        loss   = -sum(target * log_softmax(logits)) * class_weights[labels]

    The logarithm is natural: the slide's 0.89 for the cat is the base-10 logarithm of the same probability.

    Args:
        logits: Scores before the softmax, finite.
        labels: Integer classes in `[0, classes)`. Outside it the loss is NaN, never a wrong finite number.
        label_smoothing: The share of the target that is spread over all classes, in `[0, 1]`. May be traced.
        class_weights: A factor for each class, not negative. May be traced. Not normalized by their sum.

    Returns:
        The loss of each example, in float32 or wider.

    Raises:
        ValueError: The shapes are not `[..., classes]` and `[...]`, or the labels are not integers.

    References:
        Szegedy et al. 2016, Rethinking the Inception Architecture, section 7 (label smoothing).

    Examples:
        >>> scores = jnp.array([[3.2, 5.1, -1.7]])
        >>> [round(v, 2) for v in softmax_cross_entropy(scores, jnp.array([0])).tolist()]
        [2.04]
    """
    class_labels(logits, labels, function="softmax_cross_entropy")
    logits = at_least_float32(logits)
    shifted = logits - jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
    right = picked(shifted, labels)
    normalizer = jnp.log(jnp.sum(jnp.exp(shifted), axis=-1))
    loss = normalizer - (1 - label_smoothing) * right - label_smoothing * jnp.mean(shifted, axis=-1)
    return loss if class_weights is None else loss * class_weights[labels]


def own_class(logits: Float[Array, "*batch classes"], labels: Labels) -> Bool[Array, "*batch classes"]:
    """Returns whether each score is that of its example's own class; nowhere where the label is no class.

    Examples:
        >>> own_class(jnp.zeros((2, 2)), jnp.array([1, -1])).tolist()
        [[False, True], [False, False]]
    """
    return jax.nn.one_hot(_wide(labels), logits.shape[-1], dtype=bool)


def picked(logits: Float[Array, "*batch classes"], labels: Labels) -> Float[Array, "*batch"]:
    """Returns the score of each example's own class; NaN where the label is no class.

    Examples:
        >>> picked(jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([1, -1])).tolist()
        [2.0, nan]
    """
    # A sum over a mask, not a gather: it fuses with the loss, and its gradient is no scatter.
    score = jnp.sum(jnp.where(own_class(logits, labels), logits, 0.0), axis=-1)
    return jnp.where((labels >= 0) & (_wide(labels) < logits.shape[-1]), score, jnp.nan)


def _wide(labels: Labels) -> Labels:
    return labels.astype(jnp.promote_types(labels.dtype, jnp.int32))  # 300 classes wrap around in uint8
