"""A loss: a value for each example, of that example alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_intro import routing
from jaxopt_intro.contracts.measuring import close, finite, of_numbers, shapes
from jaxopt_intro.contracts.subject import (
    Checked,
    broken,
    cast,
    checked,
    short,
    subject_of,
)
from jaxopt_intro.typing import Array

# Skewed values: symmetric ones hide a reversed sign, equal ones a swapped element.
SCORES = np.array([[3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1], [0.4, -0.3, 0.9]])
LABELS = np.array([0, 1, 2, 2], np.int32)
TARGETS = np.array([[1.0, 2.5, 0.5], [3.0, 0.2, 0.1], [0.7, 4.0, 1.5], [2.0, 0.6, 0.3]])


def check_loss(
    loss: Callable[..., Array],
    *,
    predictions: Any = None,
    targets: Any = None,
    numbers: Mapping[str, float] | None = None,
    positive: Collection[str] = (),
) -> Checked:
    """Checks a loss: contracts 1 to 3 for each number, and one value for each example, of that example alone.

    Args:
        loss: `(predictions, targets, *, numbers) -> [batch]`, or the predictions' shape.
        predictions: Four examples or more; None takes scores `[4, 3]`.
        targets: What belongs to them; None takes labels `[4]` where the second argument is called `labels`, and
            otherwise numbers `[4, 3]`.
        numbers: A value for each number, inside its range; None takes the defaults.
        positive: Numbers that are more than 0, such as a temperature: nothing is asked of them at 0.

    Returns:
        What was checked.

    Raises:
        Broken: The loss breaks a contract.

    Examples:
        >>> from jaxopt_intro import losses
        >>> check_loss(losses.weston_watkins).contracts[0]
        ('traceable', 'margin')
        >>> check_loss(lambda predictions, labels: jnp.mean(predictions))
        Traceback (most recent call last):
        ...
        jaxopt_intro.contracts.subject.Broken: loss <lambda> breaks contract 4 (shaped): got shape () for 4 ...
    """
    predictions = SCORES if predictions is None else predictions
    if targets is None:
        second = list(routing.parameters(loss).values())[1]
        targets = LABELS if second.name == "labels" else TARGETS
    predictions, targets = np.asarray(predictions), np.asarray(targets)

    def run(given: Mapping[str, Any], dtype: Any) -> Array:
        return loss(jnp.asarray(predictions, dtype), cast(targets, dtype), **given)

    subject = subject_of("loss", loss, run, numbers, constructs=False, positive=positive)
    values = shapes(subject)
    count = len(predictions)
    if values.ndim == 0 or values.shape[0] != count or values.shape not in ((count,), predictions.shape, targets.shape):
        raise broken(
            subject, 4, "shaped", f"got shape {values.shape} for {count} examples; expected ({count},) or the shape of "
            "predictions or targets. Return the values before their mean, and give both one shape",
        )  # fmt: skip
    passed = of_numbers(subject)
    if jnp.issubdtype(targets.dtype, jnp.integer) and targets.ndim == 1:
        for wrong in (-1, predictions.shape[-1]):
            strange = jax.jit(lambda t: loss(jnp.asarray(predictions, jnp.float32), t, **subject.numbers))(
                jnp.full(count, wrong, jnp.int32)
            )
            if np.isfinite(strange).any():
                raise broken(
                    subject, 4, "shaped", f"the label {wrong}, which is no class, has the loss {short(strange)} under "
                    "jit; expected NaN, never a wrong finite number. Compare labels with the number of classes",
                )  # fmt: skip
    whole = subject.run(subject.numbers, jnp.float32)
    for i in range(count):
        alone = loss(
            jnp.asarray(predictions[i : i + 1], jnp.float32), cast(targets[i : i + 1], jnp.float32), **subject.numbers
        )
        if not close(whole[i], alone[0]):
            raise broken(
                subject, 4, "shaped", f"example {i} has the loss {short(whole[i])} among {count} and "
                f"{short(alone[0])} alone; expected the same. Reduce over no batch axis",
            )  # fmt: skip
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(loss(p, cast(targets, jnp.float32), **subject.numbers))))
    for what, scale in (("at predictions of zero", 0.0), ("at predictions a thousand times larger", 1e3)):
        finite(subject, gradient(jnp.asarray(scale * predictions, jnp.float32)), what)
    half = jax.eval_shape(lambda: subject.run(subject.numbers, jnp.bfloat16))
    if half.dtype == jnp.bfloat16:
        raise broken(
            subject, 4, "shaped", "got bfloat16 for bfloat16 predictions, whose mean is right to 2 digits; expected "
            "float32. Cast the predictions first",
        )  # fmt: skip
    return checked(subject, passed, "shaped", "finite gradients")
