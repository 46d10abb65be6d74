"""Contracts 1 to 3: traced against solo, steady, and derivatives against finite differences."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_intro.contracts.subject import Subject, broken, first_line, kinds, short, words
from jaxopt_intro.typing import PyTree

STEP = 1e-6
# A central difference is off by its curvature, STEP ** 2, and by the rounding of two values over 2 * STEP: 1e-10.
DERIVATIVE_TOLERANCE = 1e-6
# A few dozen operations, each right to half a unit in the last place, fused differently under vmap.
VALUE_TOLERANCE = 64 * float(np.finfo(np.float32).eps)


def of_numbers(subject: Subject) -> list[tuple[str, str]]:
    """Contracts 1 to 3 for each number."""
    try:
        subject.run(subject.numbers, jnp.float32)
    except Exception as error:
        raise broken(
            subject, 4, "callable", f"with the Python numbers {subject.numbers} it raised {type(error).__name__}: "
            f"{first_line(error)}. Mend it, or pass numbers= inside its range",
        ) from error  # fmt: skip
    for name in subject.numbers:
        _traceable(subject, name)
    if subject.numbers:
        _traceable_together(subject)
        _steady(subject)
    for name in subject.numbers:
        _differentiable(subject, name)
    return [(what, name) for what in ("traceable", "steady", "differentiable") for name in subject.numbers]


def _traceable(subject: Subject, name: str) -> None:
    values = _near(subject.numbers[name])
    try:
        many = jax.jit(jax.vmap(lambda v: subject.run({**subject.numbers, name: v}, jnp.float32)))(values)
    except Exception as error:
        raise broken(
            subject, 1, "traceable", f"with {name!r} traced it raised {type(error).__name__}: {first_line(error)}. "
            "Use jnp.where in place of a Python branch, and jnp in place of math",
        ) from error  # fmt: skip
    for i in (0, 2):
        alone = jax.jit(lambda i=i: subject.run({**subject.numbers, name: float(values[i])}, jnp.float32))()
        for lane, solo in zip(jax.tree.leaves(many), jax.tree.leaves(alone), strict=True):
            if lane.dtype != solo.dtype or not close(lane[i], solo):
                raise broken(
                    subject, 1, "traceable", f"at {name} = {values[i]:g} a lane gives {lane.dtype} {short(lane[i])} "
                    f"and a call with the Python number {solo.dtype} {short(solo)}; expected the same. Decide "
                    "nothing by the number's Python type or value",
                )  # fmt: skip


def _traceable_together(subject: Subject) -> None:
    numbers = {n: _near(v) for n, v in subject.numbers.items()}
    many = jax.jit(jax.vmap(lambda n: subject.run(n, jnp.float32)))(numbers)
    alone = jax.jit(lambda: subject.run({n: float(v[1]) for n, v in numbers.items()}, jnp.float32))()
    for lane, solo in zip(jax.tree.leaves(many), jax.tree.leaves(alone), strict=True):
        if not close(lane[1], solo):
            raise broken(
                subject, 1, "traceable", f"with all numbers traced a lane gives {short(lane[1])} and a solo call "
                f"{short(solo)}; expected the same. Keep no state between calls",
            )  # fmt: skip


def _steady(subject: Subject) -> None:
    usual = jax.eval_shape(lambda: subject.run(subject.numbers, jnp.float32))
    may_be_zero = [name for name in subject.numbers if name not in subject.positive]
    for name in (*may_be_zero, None):
        zeroed = {n: 0.0 if n in may_be_zero and name in (n, None) else v for n, v in subject.numbers.items()}
        at_zero = jax.eval_shape(lambda z=zeroed: subject.run(z, jnp.float32))
        if (jax.tree.structure(usual), kinds(usual)) != (jax.tree.structure(at_zero), kinds(at_zero)):
            raise broken(
                subject, 2, "steady", f"with {name or 'every number'} = 0 it gives {words(at_zero)} in place of "
                f"{words(usual)}; expected the same structure. Let 0 be a value like any other",
            )  # fmt: skip


def _differentiable(subject: Subject, name: str) -> None:
    with jax.enable_x64(True):
        at = {n: jnp.float64(v) for n, v in subject.numbers.items()}

        def value(number: Any) -> Any:
            return _skewed_sum(subject.run({**at, name: number}, jnp.float64))

        try:
            backward, forward = jax.jit(lambda v: (jax.grad(value)(v), jax.jacfwd(value)(v)))(at[name])
            zero = 0.0 if name in subject.positive else jax.jit(jax.grad(value))(jnp.float64(0))
        except Exception as error:
            raise broken(
                subject, 3, "differentiable", f"by {name!r} it raised {type(error).__name__}: {first_line(error)}. "
                "Use functions that have derivatives in both modes",
            ) from error  # fmt: skip
        for where, slope in ((f"{float(at[name]):g}", backward), (f"{float(at[name]):g}", forward), ("0", zero)):
            if not np.isfinite(slope):
                raise broken(
                    subject, 3, "differentiable", f"its derivative by {name} at {where} is {float(slope)}; expected a "
                    "finite number. Guard roots, logarithms and quotients inside a jnp.where, on both sides of it, or "
                    f"pass positive=[{name!r}] if it is never 0",
                )  # fmt: skip
        difference = (value(at[name] + STEP) - value(at[name] - STEP)) / (2 * STEP)
        off = max(abs(float(backward - difference)), abs(float(forward - difference)))
        if name not in subject.piecewise and off > DERIVATIVE_TOLERANCE * max(1.0, abs(float(difference))):
            raise broken(
                subject, 3, "differentiable", f"its derivative by {name} at {float(at[name]):g} is "
                f"{float(backward):.8g} backward and {float(forward):.8g} forward, but the finite difference is "
                f"{float(difference):.8g}. Mend the formula, or, where the number decides a branch, say 'piecewise' "
                "in its documentation",
            )  # fmt: skip


def _near(value: float) -> np.ndarray:
    """Three values in the range of a number: fractions of one."""
    return np.array([0.5, 0.75, 1.0], np.float32) * np.float32(value)


def _skewed_sum(tree: PyTree) -> Any:
    """A sum in which every element has a weight of its own."""
    leaves = [x.ravel() for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    flat = jnp.concatenate(leaves)
    return jnp.sum(flat * jnp.cos(1.0 + jnp.arange(flat.size)))


def finite(subject: Subject, tree: PyTree, where: str, of: str = "gradients") -> None:
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)):
        raise broken(
            subject, 3, "differentiable", f"its {of} {where} are not finite: {short(jax.tree.leaves(tree)[0])}. Guard "
            "roots, logarithms and quotients inside a jnp.where, on both sides of it",
        )  # fmt: skip


def shapes(subject: Subject) -> Any:
    return jax.eval_shape(lambda: subject.run(subject.numbers, jnp.float32))


def close(a: Any, b: Any, tolerance: float = VALUE_TOLERANCE) -> bool:
    if jnp.issubdtype(jnp.result_type(a), jax.dtypes.prng_key):
        a, b = jax.random.key_data(a), jax.random.key_data(b)
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    scale = np.max(np.abs(b), initial=1.0, where=np.isfinite(b))
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=tolerance, atol=tolerance * scale, equal_nan=True))
