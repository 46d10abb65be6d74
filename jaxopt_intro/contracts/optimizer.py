"""An optimizer: an update for each parameter, and a state that a scan can carry."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxopt_intro.contracts.measuring import finite, of_numbers
from jaxopt_intro.contracts.subject import (
    PARAMS,
    Checked,
    broken,
    cast,
    checked,
    kinds,
    subject_of,
    words,
)
from jaxopt_intro.typing import PyTree


def check_optimizer(
    make: Callable[..., optax.GradientTransformation],
    *,
    params: PyTree = None,
    numbers: Mapping[str, float] | None = None,
    positive: Collection[str] = (),
) -> Checked:
    """Checks an optimizer: contracts 1 to 3 for each number, and a state that a scan can carry.

    Args:
        make: `(**numbers) -> optax.GradientTransformation`.
        params: Parameters; None takes those of a dense layer.
        numbers: A value for each number, inside its range; None takes the defaults, 0.1 where there is none.
        positive: Numbers that are more than 0, such as a temperature: nothing is asked of them at 0.

    Returns:
        What was checked.

    Raises:
        Broken: The optimizer breaks a contract.

    Examples:
        >>> from jaxopt_intro import optimizers
        >>> check_optimizer(optimizers.adam).part
        'optimizer adam'
        >>> check_optimizer(optax.lion)
        Traceback (most recent call last):
        ...
        jaxopt_intro.contracts.subject.Broken: optimizer lion breaks contract 2 (steady): its state is ...
    """
    params = PARAMS if params is None else params

    def descend(given: Mapping[str, Any], dtype: Any) -> Any:
        optimizer, start = make(**given), cast(params, dtype)
        state = optimizer.init(start)
        path = []
        for _ in range(3):
            grads = jax.tree.map(lambda p: p + jnp.asarray(0.3, p.dtype), start)
            updates, state = optimizer.update(grads, state, start)
            start = optax.apply_updates(start, updates)
            path.append(start)
        return path

    subject = subject_of("optimizer", make, descend, numbers, constructs=True, positive=positive)
    passed = of_numbers(subject)
    for dtype in (jnp.float32, jnp.bfloat16):
        traced = {name: jnp.float32(value) for name, value in subject.numbers.items()}
        start = cast(params, dtype)
        before = jax.eval_shape(lambda start=start, traced=traced: make(**traced).init(start))
        updates, after = jax.eval_shape(lambda s, p=start, t=traced: make(**t).update(p, s, p), before)
        if (jax.tree.structure(before), kinds(before)) != (jax.tree.structure(after), kinds(after)):
            raise broken(
                subject, 2, "steady", f"its state is {words(before)} before an update of {dtype.__name__} parameters "
                f"and {words(after)} after it, so no scan can carry it. Cast the new state to the old one's dtypes",
            )  # fmt: skip
        if kinds(updates) != kinds(start):
            raise broken(
                subject, 4, "shaped", f"its updates are {words(updates)} for {dtype.__name__} parameters; expected "
                "their shapes and dtypes. Cast the update, last of all, to each parameter's dtype",
            )  # fmt: skip

    def still(numbers: Mapping[str, Any]) -> Any:
        optimizer, zeros = make(**numbers), jax.tree.map(jnp.zeros_like, cast(params, jnp.float32))
        state = optimizer.init(zeros)
        return optimizer.update(zeros, state, zeros)[0]

    finite(subject, jax.jit(still)(subject.numbers), "at gradients of zero", of="updates")
    return checked(subject, passed, "steady", "shaped", "finite updates")
