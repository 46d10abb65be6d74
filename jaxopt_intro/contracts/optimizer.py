"""An optimizer: an update for each parameter, and a state that a scan can carry."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxopt_intro.contracts.measuring import called, compiled, finite, of_numbers
from jaxopt_intro.contracts.subject import (
    PARAMS,
    Checked,
    Subject,
    asking,
    broken,
    cast,
    checked,
    kinds,
    subject_of,
    words,
)
from jaxopt_intro.trees import at_least_float32
from jaxopt_intro.typing import Array, PyTree


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
            None in place of a value leaves a number out, such as a count.
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

    def run(given: Mapping[str, Any], dtype: Any) -> Any:
        optimizer, now = make(**given), cast(params, dtype)
        state = optimizer.init(now)
        path = []
        for _ in range(3):
            updates, state = _update(optimizer, now, state)
            now = optax.apply_updates(now, updates)
            path.append(now)
        return path

    subject = subject_of("optimizer", make, run, numbers, positive=positive)
    _check_protocol(subject, make, cast(params, jnp.float32))
    _check_carried(subject, make, cast(params, jnp.float32), "float32")
    passed = of_numbers(subject, called(subject))
    _check_carried(subject, make, cast(params, jnp.bfloat16), "bfloat16")

    def still(numbers: Mapping[str, Any]) -> Any:
        optimizer, zeros = make(**numbers), jax.tree.map(jnp.zeros_like, cast(params, jnp.float32))
        return _update(optimizer, zeros, optimizer.init(zeros), slope=0.0)[0]

    finite(subject, compiled(still)(subject.numbers), "at gradients of zero", of="updates")
    return checked(subject, passed, "steady", "shaped", "finite updates")


def _update(optimizer: Any, params: PyTree, state: PyTree, slope: float = 0.3) -> tuple[PyTree, PyTree]:
    """One update down `sum(params ** 2 / 2 + slope * params)`, given all that a training gives."""

    def value(params: PyTree) -> Array:
        wide = [at_least_float32(p) for p in jax.tree.leaves(params)]
        return sum((jnp.sum(0.5 * p * p + slope * p) for p in wide), jnp.zeros(()))

    grads = jax.tree.map(lambda p: p + jnp.asarray(slope, p.dtype), params)
    given = {"value": value(params), "grad": grads, "value_fn": value}
    return optax.with_extra_args_support(optimizer).update(grads, state, params, **given)


def _check_protocol(subject: Subject, make: Callable[..., Any], params: PyTree) -> None:
    with asking(subject, "callable", f"with the numbers {subject.numbers} it", "Pass numbers= inside its range"):
        optimizer = make(**subject.numbers)
    if not (callable(getattr(optimizer, "init", None)) and callable(getattr(optimizer, "update", None))):
        raise broken(
            subject, "shaped", f"it makes a {type(optimizer).__name__}; expected init and update. Return an "
            "optax.GradientTransformation",
        )  # fmt: skip
    what = f"for parameters {words(params)}"
    with asking(subject, "callable", f"its init {what}", "Pass params= of the kind that it needs"):
        state = jax.eval_shape(optimizer.init, params)
    with asking(
        subject, "callable", f"its update {what}", "It is given grads, state, params, value, grad and value_fn"
    ):
        updates = jax.eval_shape(lambda s: _update(optimizer, params, s), state)
    if not isinstance(updates, tuple) or len(updates) != 2:
        raise broken(subject, "shaped", f"its update gives a {type(updates).__name__}; expected (updates, state)")


def _check_carried(subject: Subject, make: Callable[..., Any], params: PyTree, dtype: str) -> None:
    traced = {name: jnp.float32(value) for name, value in subject.numbers.items()}
    with asking(subject, "callable", f"with {dtype} parameters it", "Compute in the parameters' dtype, or float32"):
        before = jax.eval_shape(lambda: make(**traced).init(params))
        updates, after = jax.eval_shape(lambda state: _update(make(**traced), params, state), before)
    if kinds(before) != kinds(after):
        raise broken(
            subject, "steady", f"its state is {words(before)} before an update of {dtype} parameters and "
            f"{words(after)} after it, so no scan can carry it. Cast the new state to the old one's dtypes",
        )  # fmt: skip
    if kinds(updates) != kinds(params):
        raise broken(
            subject, "shaped", f"its updates are {words(updates)} for {dtype} parameters; expected their structure, "
            "shapes and dtypes. Cast the update, last of all, to each parameter's dtype",
        )  # fmt: skip
