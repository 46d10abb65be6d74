"""Contracts 1 to 3: traced against solo, steady, and derivatives against finite differences.

Compiling is what takes time, so all numbers of a part share two programs, its values in float32 and its derivatives in
float64, and each is run once, so it is compiled with fewer of XLA's passes. What it is compared with is not compiled.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np

from jaxopt_intro.contracts.subject import STEP, Subject, asking, broken, kinds, needs_whole_numbers, short, words
from jaxopt_intro.typing import PyTree

# A difference of four values is off by (step / distance to a pole) ** 4, at most 1e-7, and by their rounding over the
# step, 1e-8 where that is least.
DERIVATIVE_TOLERANCE = 1e-6
# The same of a function that rounds to float32: step ** 4, and 1e-7 over the step.
COARSE_STEP, COARSE_TOLERANCE = 1e-2, 1e-3
# A few dozen operations, each right to half a unit in the last place, fused differently under vmap.
VALUE_TOLERANCE = 64 * float(np.finfo(np.float32).eps)
# Not xla_backend_optimization_level 0 as well: together they compiled wrong gradients of adamax (jax 0.10.2, CPU).
_FEWER_PASSES = {"xla_llvm_disable_expensive_passes": True, "xla_cpu_use_fusion_emitters": False}


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function under jit, compiled in half the time: for a program that runs a few times only."""
    return jax.jit(function, compiler_options=_known_options())


@functools.cache
def _known_options() -> dict[str, Any]:
    """The options, if the backend knows them all; they belong to XLA and may change with its version."""
    try:
        jax.jit(lambda: 0, compiler_options=_FEWER_PASSES)()
    except jax.errors.JaxRuntimeError:
        return {}
    return _FEWER_PASSES


def called(subject: Subject) -> PyTree:
    """What a part gives for its numbers as Python numbers: the question that comes before all others."""
    with asking(subject, "callable", f"with the Python numbers {subject.numbers} it", "Pass numbers= inside its range"):
        try:
            # As float32 holds them: of a decay of 0.9999, the distance to 1 is another number there.
            return subject.run({n: float(np.float32(v)) for n, v in subject.numbers.items()}, jnp.float32)
        except Exception:
            needs_whole_numbers(subject, subject.numbers)
            raise


def of_numbers(subject: Subject, usual: PyTree) -> list[tuple[str, str]]:
    """Contracts 1 to 3 for each number; `usual` is what `called` gave."""
    if not subject.numbers:
        return []
    _traceable(subject, usual)
    _steady(subject, usual)
    _differentiable(subject)
    return [(what, name) for what in ("traceable", "steady", "differentiable") for name in subject.numbers]


def _traceable(subject: Subject, usual: PyTree) -> None:
    """Each number alone and all together as lanes of one program, against calls with Python numbers."""
    values = {n: np.array([0.5, 0.75, 1.0], np.float32) * np.float32(v) for n, v in subject.numbers.items()}

    def alone(name: str) -> Any:
        return lambda v: subject.run({**subject.numbers, name: v}, jnp.float32)

    def all_lanes(values: dict[str, Any]) -> Any:
        lanes = {name: jax.vmap(alone(name))(v) for name, v in values.items()}
        if len(lanes) == 1:
            return lanes, *lanes.values()
        return lanes, jax.vmap(lambda v: subject.run(v, jnp.float32))(values)

    try:
        lanes, together = compiled(all_lanes)(values)
    except Exception:
        for name, v in values.items():
            with asking(subject, "traceable", f"with {name!r} traced it", _MEND_BRANCH):
                try:
                    jax.eval_shape(jax.vmap(alone(name)), v)
                except Exception:
                    needs_whole_numbers(subject, [name])
                    raise
        with asking(subject, "traceable", "with all numbers traced it", _MEND_BRANCH):
            compiled(all_lanes)(values)
        raise
    for name, v in values.items():
        half = subject._replace(numbers={**subject.numbers, name: float(v[0])})
        for i, at, solo in ((0, half, called(half)), (2, subject, usual)):
            _same(at, lanes[name], i, solo, f"at {name} = {v[i]:g}")
    middle = subject._replace(numbers={name: float(v[1]) for name, v in values.items()})
    _same(middle, together, 1, called(middle), "with all numbers traced")


_MEND_BRANCH = "Use jnp.where in place of a Python branch, and jnp in place of math"


def _same(subject: Subject, lanes: PyTree, i: int, solo: PyTree, where: str) -> None:
    told = "expected the same. Decide nothing by the number's Python type or value, and keep no state between calls"
    if jax.tree.structure(lanes) != jax.tree.structure(solo):
        lane = jax.tree.map(lambda x: x[i], lanes)
        raise broken(subject, "traceable", f"{where} a lane gives {words(lane)} and a solo call {words(solo)}; {told}")
    tolerance = _rounding(subject)
    for lane, one in zip(jax.tree.leaves(lanes), jax.tree.leaves(solo), strict=True):
        if lane.dtype != jnp.result_type(one) or not close(lane[i], one, tolerance):
            raise broken(
                subject, "traceable", f"{where} a lane gives {lane.dtype} {short(lane[i])} and a call with the Python "
                f"number {jnp.result_type(one)} {short(one)}; {told}",
            )  # fmt: skip


def _rounding(subject: Subject) -> float:
    """How much two programs may differ: `1 - decay ** step` keeps only the digits that a decay near 1 leaves it."""
    left = min((1 - v for v in subject.numbers.values() if 0.9 < v < 1), default=1.0)
    return VALUE_TOLERANCE + 4 * float(np.finfo(np.float32).eps) / left


def _steady(subject: Subject, usual: PyTree) -> None:
    may_be_zero = [name for name in subject.numbers if name not in subject.positive]
    for zeros in [[name] for name in may_be_zero] + ([may_be_zero] if len(may_be_zero) > 1 else []):
        which = zeros[0] if len(zeros) == 1 else "every number"
        with asking(
            subject, "steady", f"with {which} = 0 it",
            f"Let 0 be a value like any other, or pass positive={zeros} if it is never 0",
        ):  # fmt: skip
            at_zero = jax.eval_shape(
                lambda z=zeros: subject.run({**subject.numbers, **dict.fromkeys(z, 0.0)}, jnp.float32)
            )
        if kinds(usual) != kinds(at_zero):
            raise broken(
                subject, "steady", f"with {which} = 0 it gives {words(at_zero)} in place of {words(usual)}; expected "
                "the same structure. Let 0 be a value like any other",
            )  # fmt: skip


def _differentiable(subject: Subject) -> None:
    """Both modes at the numbers, backward at each one's zero, and finite differences: rows of one program."""
    names = list(subject.numbers)

    def value(given: dict[str, Any]) -> Any:
        return skewed_sum(subject.run(given, jnp.float64))

    def ask(rows: dict[str, Any], at: dict[str, Any]) -> Any:
        return jax.vmap(jax.value_and_grad(value))(rows), jax.jacfwd(value)(at)

    with jax.enable_x64(True):
        at = {n: jnp.float64(v) for n, v in subject.numbers.items()}
        rows = {n: jnp.array(column) for n, column in zip(names, zip(*_rows(subject), strict=True), strict=True)}
        try:
            (values, backward), forward = compiled(ask)(rows, at)
        except Exception:
            for name in names:
                with asking(subject, "differentiable", f"by {name!r} it", _MEND_MODES):
                    jax.eval_shape(
                        lambda v, n=name: [f(lambda v: value({**at, n: v}))(v) for f in (jax.grad, jax.jacfwd)],
                        at[name],
                    )
            with asking(subject, "differentiable", "by all numbers at once it", _MEND_MODES):
                compiled(ask)(rows, at)
            raise
        values, backward, forward = jax.tree.map(np.asarray, (values, backward, forward))
    for i, name in enumerate(names):
        for where, slope in ((f"{subject.numbers[name]:g}", backward[name][0]), ("0", backward[name][1 + i])):
            _finite_slope(subject, name, where, slope)
    for i, name in enumerate(names):
        _finite_slope(subject, name, f"{subject.numbers[name]:g}", forward[name])
        around = values[1 + len(names) + 4 * i : 5 + len(names) + 4 * i]
        _agree(subject, name, backward[name][0], forward[name], difference(around, subject.step(name)))


SIDES = (1, -1, 2, -2)


def difference(around: Any, step: float) -> Any:
    """The derivative from values at `SIDES` times a step, right to the fourth order (Richardson)."""
    above, below, far_above, far_below = around
    return (4 * (above - below) / (2 * step) - (far_above - far_below) / (4 * step)) / 3


_MEND_MODES = "Use functions that have derivatives in both modes"


def _rows(subject: Subject) -> Iterator[list[float]]:
    """The numbers themselves; each at 0 in its turn, if it may be; each one and two steps above and below."""
    numbers = subject.numbers
    yield [*numbers.values()]
    for name in numbers:
        yield [v if n != name or n in subject.positive else 0.0 for n, v in numbers.items()]
    for name in numbers:
        for side in SIDES:
            yield [v + side * subject.step(name) * (n == name) for n, v in numbers.items()]


def _finite_slope(subject: Subject, name: str, where: str, slope: Any) -> None:
    if not np.isfinite(slope):
        raise broken(
            subject, "differentiable", f"its derivative by {name} at {where} is {float(slope)}; expected a finite "
            "number. Guard roots, logarithms and quotients inside a jnp.where, on both sides of it, or pass "
            f"positive=[{name!r}] if it is never 0",
        )  # fmt: skip


def _agree(subject: Subject, name: str, backward: Any, forward: Any, difference: Any) -> None:
    off = max(abs(float(backward - difference)), abs(float(forward - difference)))
    # A difference that is not a number is off as well.
    if name not in subject.piecewise and not off <= DERIVATIVE_TOLERANCE * max(1.0, abs(float(difference))):
        raise broken(
            subject, "differentiable", f"its derivative by {name} at {subject.numbers[name]:g} is "
            f"{float(backward):.8g} backward and {float(forward):.8g} forward, but the finite difference is "
            f"{float(difference):.8g}. Mend the formula, or, where the number decides a branch, say 'piecewise' "
            "in its documentation",
        )  # fmt: skip


GROUPS = 12


def gradient_of(subject: Subject, value: Callable[[PyTree], Any], tree: PyTree, by: str) -> tuple[Any, PyTree]:
    """The value and gradient in float64 at a tree of floats; the gradient agrees with finite differences.

    Elements are moved one by one, or in 12 groups where there are more. A group that is at a kink is left out: there
    the second difference of twice the step is not four times as large. A function that rounds to float32 inside is
    asked with a step that it can see.
    """

    def ask(flat: Any, moved: Any) -> Any:
        at, gradient = jax.value_and_grad(lambda x: value(unravel(x)))(flat)
        return at, gradient, jax.lax.map(lambda x: value(unravel(x)), moved)

    with jax.enable_x64(True):
        flat, unravel = jax.flatten_util.ravel_pytree(jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), tree))
        mend = f"Let its gradient by {by} be computed in reverse mode, in float64 too"
        with asking(subject, "differentiable", f"its gradient by {by}", mend):
            asked, start, place = compiled(ask), np.asarray(flat), np.arange(flat.size)
            ways = np.cos(0.3 * place) * (place % GROUPS == np.arange(min(GROUPS, flat.size))[:, None])
            for step in (STEP, COARSE_STEP):
                moved = [start * (1 + 1e-9), *(start + side * step * way for side in SIDES for way in ways)]
                at, gradient, (beside, *around) = jax.tree.map(np.asarray, asked(flat, np.stack(moved)))
                if at != beside:
                    break
            tolerance = DERIVATIVE_TOLERANCE if step == STEP else COARSE_TOLERANCE
        gradients = jax.tree.map(np.asarray, unravel(jnp.asarray(gradient)))
    finite(subject, gradients, f"by {by}")
    around, slopes = np.reshape(around, (len(SIDES), -1)), ways @ gradient
    above, below, far_above, far_below = around
    near, far = above - 2 * at + below, far_above - 2 * at + far_below
    scale = np.maximum(1.0, np.abs(slopes))
    kink = np.abs(far - 4 * near) > 10 * tolerance * step * scale
    expected = difference(around, step)
    off = ~kink & ~(np.abs(slopes - expected) <= tolerance * np.maximum(scale, np.abs(expected)))
    if np.any(off):
        raise broken(
            subject, "differentiable", f"its gradient by {by} is {short(slopes[off])} where finite differences are "
            f"{short(expected[off])}. Stop no gradient, and mend the rule that you gave it",
        )  # fmt: skip
    return at, gradients


def skewed_sum(tree: PyTree) -> Any:
    """A sum in which every element has a weight of its own."""
    leaves = [x.ravel() for x in map(jnp.asarray, jax.tree.leaves(tree)) if jnp.issubdtype(x.dtype, jnp.floating)]
    flat = jnp.concatenate([*leaves, jnp.zeros(1)])
    return jnp.sum(flat * jnp.cos(1.0 + jnp.arange(flat.size)))


def finite(subject: Subject, tree: PyTree, where: str, of: str = "gradients") -> None:
    """Refuses a tree with a number in it that is not finite."""
    for leaf in jax.tree.leaves(tree):
        if not np.isfinite(leaf).all():
            raise broken(
                subject, "differentiable", f"its {of} {where} are not finite: {short(leaf)}. Guard roots, logarithms "
                "and quotients inside a jnp.where, on both sides of it",
            )  # fmt: skip


def close(a: Any, b: Any, tolerance: float = VALUE_TOLERANCE) -> bool:
    """Whether two arrays are equal up to rounding; keys are compared by their data."""
    if jnp.issubdtype(jnp.result_type(a), jax.dtypes.prng_key):
        a, b = jax.random.key_data(a), jax.random.key_data(b)
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    scale = np.max(np.abs(b), initial=1.0, where=np.isfinite(b))
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=tolerance, atol=tolerance * scale, equal_nan=True))
