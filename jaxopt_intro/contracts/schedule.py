"""A schedule: a finite factor at any step."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_intro.contracts.measuring import finite, of_numbers
from jaxopt_intro.contracts.subject import (
    Checked,
    broken,
    checked,
    subject_of,
)
from jaxopt_intro.typing import Array


def check_schedule(
    make: Callable[..., Callable[[Array], Array]],
    *,
    numbers: Mapping[str, float] | None = None,
    positive: Collection[str] = (),
) -> Checked:
    """Checks a schedule: contracts 1 to 3 for each number, and a finite factor at any step.

    Args:
        make: `(**numbers) -> (step -> factor)`.
        numbers: A value for each number, inside its range; None takes the defaults, 7.3 where there is none.
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
        return jnp.stack([jnp.asarray(make(**given)(step), dtype) for step in jnp.asarray(steps)])

    subject = subject_of("schedule", make, run, numbers, constructs=True, positive=positive, guess=7.3)
    factors = jax.eval_shape(lambda: make(**subject.numbers)(jnp.int32(3)))
    if factors.shape != ():
        raise broken(
            subject, 4, "shaped", f"got a factor of shape {factors.shape} for one step; expected a scalar. Return one "
            "number for each step",
        )  # fmt: skip
    passed = of_numbers(subject)
    finite(subject, jax.jit(lambda n: run(n, jnp.float32))(subject.numbers), "at steps 0 to 100", of="factors")
    return checked(subject, passed, "shaped", "finite factors")
