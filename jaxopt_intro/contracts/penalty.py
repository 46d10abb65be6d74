"""A penalty: one number of all parameters."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxopt_intro.contracts.measuring import called, compiled, finite, of_numbers
from jaxopt_intro.contracts.subject import PARAMS, Checked, array_shape, asking, broken, cast, checked, subject_of
from jaxopt_intro.typing import Array, PyTree


def check_penalty(
    penalty: Callable[..., Array],
    *,
    params: PyTree = None,
    numbers: Mapping[str, float] | None = None,
    positive: Collection[str] = (),
) -> Checked:
    """Checks a penalty: contracts 1 to 3 for each number, a scalar in float32 or wider, gradients finite at zero.

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
    return checked(subject, passed, "shaped", "finite gradients")
