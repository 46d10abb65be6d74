"""A loss: a value for each example, of that example alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_intro import routing
from jaxopt_intro.contracts.measuring import called, close, compiled, finite, gradient_of, of_numbers, skewed_sum
from jaxopt_intro.contracts.subject import (
    Checked,
    Subject,
    arguments,
    array_shape,
    asking,
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

    Its gradient by the predictions agrees with finite differences in float64 wherever it has no kink, is not 0
    everywhere, and is finite at predictions of zero, a thousand times larger ones, and those that equal the targets.
    Its values in float32 are those in float64 up to rounding. It refuses labels that are no classes.

    Args:
        loss: `(predictions, targets, *, numbers) -> [batch]`, or the predictions' shape.
        predictions: Four examples or more; None takes scores `[4, 3]`.
        targets: What belongs to them; None takes labels `[4]` where the second argument is called `labels`, and
            otherwise numbers `[4, 3]`.
        numbers: A value for each number, inside its range; None takes the defaults. None in place of a
            value leaves a number out, such as a count.
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
    takes = arguments("loss", loss)
    positional = [p.name for p in takes.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(positional) < 2:
        raise ValueError(
            f"check_loss: got {routing.own_name(loss)}({', '.join(takes)}); expected (predictions, "
            "targets, *, numbers). Numbers are keyword-only: put a * before them."
        )
    predictions = np.asarray(SCORES if predictions is None else predictions)
    targets = np.asarray((LABELS if positional[1] == "labels" else TARGETS) if targets is None else targets)

    def run(given: Mapping[str, Any], dtype: Any) -> Array:
        return loss(jnp.asarray(predictions, dtype), cast(targets, dtype), **given)

    subject = subject_of("loss", loss, run, numbers, positive=positive)
    usual, count = called(subject), len(predictions)
    expected = f"({count},) or the shape of predictions or targets"
    shape = array_shape(subject, usual, f"an array of shape {expected}", "Return the values before their mean")
    if shape not in ((count,), predictions.shape, targets.shape) or not shape:
        raise broken(
            subject, "shaped", f"got shape {shape} for {count} examples; expected {expected}. Return the values "
            "before their mean, and give both one shape",
        )  # fmt: skip
    passed = of_numbers(subject, usual)

    @compiled
    def ask(predictions: Array, targets: Array) -> tuple[Array, Array, Array]:
        """The values among others, those of each example alone, and the gradient."""

        def of(predictions: Array, targets: Array) -> Array:
            return loss(predictions, targets, **subject.numbers)

        alone = jax.vmap(lambda p, t: of(p[None], t[None])[0])(predictions, targets)
        return of(predictions, targets), alone, jax.grad(lambda p: jnp.sum(of(p, targets)))(predictions)

    single, own = jnp.asarray(predictions, jnp.float32), cast(targets, jnp.float32)
    with asking(subject, "shaped", "traced, or with one example alone, it", "Use jnp in place of Python's branches"):
        together, alone, _ = ask(single, own)
    for i in range(count):
        if not close(together[i], alone[i]):
            raise broken(
                subject, "shaped", f"example {i} has the loss {short(together[i])} among {count} and "
                f"{short(alone[i])} alone; expected the same. Reduce over no batch axis",
            )  # fmt: skip
    if jnp.issubdtype(own.dtype, jnp.integer) and own.ndim == 1:
        for wrong in (-1, predictions.shape[-1]):
            strange, *_ = ask(single, jnp.full_like(own, wrong))
            if np.isfinite(strange).any():
                raise broken(
                    subject, "shaped", f"the label {wrong}, which is no class, has the loss {short(strange)} under "
                    "jit; expected NaN, never a wrong finite number. Compare labels with the number of classes",
                )  # fmt: skip
    gradients = []
    for what, place in {
        "at predictions of zero": 0 * single,
        "at predictions a thousand times larger": 1e3 * single,
        **_perfect(single, own),
    }.items():
        gradients.append(ask(place, own)[2])
        finite(subject, gradients[-1], what)
    with asking(subject, "callable", "with bfloat16 predictions it", "Cast the predictions to float32 first"):
        half = jax.eval_shape(lambda: run(subject.numbers, jnp.bfloat16))
    if half.dtype == jnp.bfloat16:
        raise broken(
            subject, "shaped", "got bfloat16 for bfloat16 predictions, whose mean is right to 2 digits; expected "
            "float32. Cast the predictions first",
        )  # fmt: skip
    _check_digits(subject, together, run, predictions, targets)

    def total(predictions: Array) -> Array:
        return skewed_sum(loss(predictions, cast(targets, jnp.float64), **subject.numbers))

    _, gradient = gradient_of(subject, total, predictions, "the predictions")
    if not any(np.any(g) for g in (gradient, *gradients)):
        raise broken(
            subject, "differentiable", "its gradient by the predictions is 0 at all of them, so nothing is learnt. "
            "Compute it with the predictions, and stop no gradient",
        )  # fmt: skip
    return checked(subject, passed, "shaped", "finite gradients", "gradients", "precise")


def _perfect(predictions: Array, targets: Array) -> dict[str, Array]:
    """Predictions that equal the targets: as numbers, or as the one label among the scores."""
    what = "at predictions that equal the targets"
    if jnp.issubdtype(targets.dtype, jnp.integer) and targets.shape == predictions.shape[:-1]:
        return {what: jax.nn.one_hot(targets, predictions.shape[-1])}
    if targets.shape == predictions.shape:
        return {what: jnp.asarray(targets, jnp.float32)}
    if targets.ndim == predictions.ndim and targets.shape[-1] <= predictions.shape[-1]:  # the first of two halves
        return {what: predictions.at[..., : targets.shape[-1]].set(jnp.asarray(targets, jnp.float32))}
    return {}


def _check_digits(
    subject: Subject, single: Array, run: Callable[..., Array], predictions: np.ndarray, targets: np.ndarray
) -> None:
    """The float32 values are those of float64, up to a rounding for each operation."""
    with jax.enable_x64(True), asking(subject, "callable", "with float64 predictions it", "Compute in their dtype"):
        double = np.asarray(run(subject.numbers, jnp.float64), np.float64)
    of_each = predictions[0].size  # operations grow with it
    inputs = [np.abs(x[np.isfinite(x)]) for x in (predictions, targets, double)]
    scale = max(float(np.max(x, initial=1.0)) for x in inputs)
    tolerance = (64 + of_each) * float(np.finfo(np.float32).eps)
    off = np.abs(np.asarray(single, np.float64) - double)
    if not np.all((off <= tolerance * scale) | ~np.isfinite(double)):
        raise broken(
            subject, "shaped", f"its values in float32 are off those in float64 by up to {short(np.nanmax(off))}; "
            f"expected {tolerance * scale:.1g} at most. Compute nothing in less than float32",
        )  # fmt: skip
