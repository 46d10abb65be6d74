"""A penalty: one number of all parameters."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_intro import trees
from jaxopt_intro.contracts.measuring import called, compiled, finite, gradient_of, of_numbers
from jaxopt_intro.contracts.subject import (
    PARAMS,
    Checked,
    array_shape,
    asking,
    broken,
    cast,
    checked,
    short,
    subject_of,
)
from jaxopt_intro.typing import Array, PyTree


def check_penalty(
    penalty: Callable[..., Array],
    *,
    params: PyTree = None,
    numbers: Mapping[str, float] | None = None,
    positive: Collection[str] = (),
) -> Checked:
    """Checks a penalty: contracts 1 to 3 for each number, a scalar in float32 or wider, gradients finite at zero.

    Its gradient by the parameters agrees with finite differences in float64 wherever it has no kink, and is not 0 for
    a whole kernel (a leaf of two axes or more). With `strength` 0 it is 0.

    Args:
        penalty: `(params, *, numbers) -> scalar`.
        params: Parameters; None takes those of a dense layer.
        numbers: A value for each number, inside its range; None takes the defaults. None in place of a
            value leaves a number out, such as a count.
        positive: Numbers that are more than 0, such as a temperature: nothing is asked of them at 0.

    Returns:
        What was checked.

    Raises:
        Broken: The penalty breaks a contract.

    Examples:
        >>> from jaxopt_intro import regularizers
        >>> ("differentiable", "strength") in check_penalty(regularizers.l2).contracts
        True
    """
    params = PARAMS if params is None else params

    def run(given: Mapping[str, Any], dtype: Any) -> Array:
        return penalty(cast(params, dtype), **given)

    subject = subject_of("penalty", penalty, run, numbers, positive=positive)
    usual, mend = called(subject), "Sum over all leaves, each cast to float32 first"
    shape = array_shape(subject, usual, "one number", mend)
    with asking(subject, "callable", "with traced bfloat16 parameters it", "Compute with jnp, and branch on no values"):
        half = jax.eval_shape(lambda p: penalty(p, **subject.numbers), cast(params, jnp.bfloat16))
    if shape or half.dtype == jnp.bfloat16:
        raise broken(
            subject, "shaped", f"got {half.dtype}{list(half.shape)} for bfloat16 parameters; expected a float32 "
            f"scalar. {mend}",
        )  # fmt: skip
    passed = of_numbers(subject, usual)
    gradient = compiled(jax.grad(lambda p: penalty(p, **subject.numbers)))
    finite(subject, gradient(jax.tree.map(jnp.zeros_like, cast(params, jnp.float32))), "at parameters of zero")
    _, gradients = gradient_of(subject, lambda p: penalty(p, **subject.numbers), params, "the parameters")
    kernels = trees.kernels(params)
    for name, gradient in trees.named_leaves(gradients).items():
        if trees.named_leaves(kernels)[name] and not np.any(gradient):
            raise broken(
                subject, "differentiable", f"its gradient by the kernel {name!r} is 0, so nothing is penalized there. "
                "Sum over all leaves",
            )  # fmt: skip
    if "strength" in subject.numbers and "strength" not in subject.positive:
        none = penalty(cast(params, jnp.float32), **{**subject.numbers, "strength": 0.0})
        if none != 0:
            raise broken(
                subject, "shaped", f"with strength 0 it is {short(none)}; expected 0. Let the strength multiply all of "
                "it",
            )  # fmt: skip
    return checked(subject, passed, "shaped", "finite gradients", "gradients", "0 at strength 0")
