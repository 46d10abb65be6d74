"""Margin losses: support vector machines for several classes."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Float

from jaxopt_intro.checks import class_labels
from jaxopt_intro.losses.classification import own_class, picked
from jaxopt_intro.trees import at_least_float32
from jaxopt_intro.typing import Array, Labels, Number


def weston_watkins(
    scores: Float[Array, "*batch classes"], labels: Labels, *, margin: Number = 1.0
) -> Float[Array, "*batch"]:
    """Multiclass hinge loss that sums over all wrong classes.

        loss = sum over j != label of max(0, scores[j] - scores[label] + margin)

    Crammer and Singer's form takes the maximum over j instead of the sum; optax's `multiclass_hinge_loss` is theirs.

    Args:
        scores: Scores of the classes.
        labels: Integer classes in `[0, classes)`. Outside it the loss is NaN, never a wrong finite number.
        margin: By how much the right class must win, at least 0. May be traced.

    Returns:
        The loss of each example, in float32 or wider.

    Raises:
        ValueError: The shapes are not `[..., classes]` and `[...]`, or the labels are not integers.

    References:
        Weston and Watkins 1999, Support vector machines for multi-class pattern recognition, equation (6).

    Examples:
        >>> scores = jnp.array([[3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1]])
        >>> [round(v, 2) for v in weston_watkins(scores, jnp.array([0, 1, 2])).tolist()]
        [2.9, 0.0, 12.9]
    """
    class_labels(scores, labels, function="weston_watkins")
    scores = at_least_float32(scores)
    violations = jnp.maximum(0.0, scores - picked(scores, labels)[..., None] + margin)
    wrong = ~own_class(scores, labels)
    return jnp.sum(violations * wrong, axis=-1)
