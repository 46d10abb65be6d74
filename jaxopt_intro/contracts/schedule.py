"""A schedule: a finite factor at any step."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_intro.contracts.measuring import VALUE_TOLERANCE, called, finite, of_numbers
from jaxopt_intro.contracts.subject import Checked, array_shape, asking, broken, checked, short, subject_of
from jaxopt_intro.typing import Array


def check_schedule(
    make: Callable[..., Callable[[Array], Array]],
    *,
    numbers: Mapping[str, float] | None = None,
    positive: Collection[str] = (),
) -> Checked:
    """Checks a schedule: contracts 1 to 3 for each number, and a finite factor at any step.

    Factors at steps 0 to 100, and at a million, are finite and not negative.

    Args:
        make: `(**numbers) -> (step -> factor)`.
        numbers: A value for each number, inside its range; None takes the defaults, 7.3 where there is none,
            and less for each further one: a length comes before a warm-up. None in place of a value
            leaves a number out, such as a count.
        positive: Numbers that are more than 0, such as a temperature: nothing is asked of them at 0.

    Returns:
        What was checked.

    Raises:
        Broken: The schedule breaks a contract.

    Examples:
        >>> check_schedule(lambda *, rate=0.9: lambda step: rate**step).contracts[0]
        ('traceable', 'rate')
    """
    steps = np.array([0, 1, 2, 3, 5, 8, 13, 100], np.int32)

    def run(given: Mapping[str, Any], dtype: Any) -> Array:
        return jnp.asarray(jax.vmap(make(**given))(jnp.asarray(steps)), dtype)

    subject = subject_of("schedule", make, run, numbers, positive=positive, guess=7.3)
    with asking(subject, "callable", f"with the numbers {subject.numbers} it", "Pass numbers= inside its range"):
        schedule = make(**subject.numbers)
    if not callable(schedule):
        raise broken(subject, "shaped", f"it makes a {type(schedule).__name__}; expected a function, step -> factor")
    with asking(
        subject, "traceable", "with the step traced it", "Use jnp.where in place of a branch, and jnp in place of math"
    ):
        factor = jax.eval_shape(schedule, jax.ShapeDtypeStruct((), jnp.int32))
    shape = array_shape(subject, factor, "a scalar", "Return one number for each step")
    if shape != ():
        raise broken(
            subject, "shaped", f"got a factor of shape {shape} for one step; expected a scalar. Return one number for "
            "each step",
        )  # fmt: skip
    usual = called(subject)
    passed = of_numbers(subject, usual)
    finite(subject, usual, "at steps 0 to 100", of="factors")
    late = schedule(jnp.asarray(1_000_000, jnp.int32))
    finite(subject, late, "at step 1000000", of="factors")
    if (least := float(np.min(np.append(usual, late)))) < -VALUE_TOLERANCE:
        raise broken(
            subject, "shaped", f"its least factor at steps 0 to 100 and 1000000 is {short(least)}; expected none below "
            "0, which would climb. Clip the progress: jnp.clip(step / length, 0, 1)",
        )  # fmt: skip
    return checked(subject, passed, "shaped", "finite factors")
