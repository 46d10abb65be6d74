"""Reading the chosen element of each window, and its transpose: a pair of JAX primitives, each the other's transpose.

`read` takes from each window the element at a place, `write` puts each value where it was read and adds up. Both are
linear in their first operand, so derivatives of any order and mode stay within the pair. XLA's own transpose of a
maximum is a scatter, some 20 times slower on a CPU inside a loop than what `write` is there: one fused sum.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxopt_intro.typing import Array


class Windows(NamedTuple):
    """The windows of `[examples, *size, channels]`.

    Attributes:
        size: Height and width, or length, of what they are windows of.
        shape: The window's own.
        strides: From one window to the next.
        padding: How many elements before and after, for each axis.
    """

    size: tuple[int, ...]
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]

    @property
    def out(self) -> tuple[int, ...]:
        """How many windows there are along each axis."""
        axes = zip(self.size, self.shape, self.strides, self.padding, strict=True)
        return tuple((n + low + high - k) // s + 1 for n, k, s, (low, high) in axes)

    @property
    def places(self) -> list[tuple[int, ...]]:
        """The places in a window, row by row."""
        return list(itertools.product(*map(range, self.shape)))


def taps(x: Array, windows: Windows, outside: float) -> list[Array]:
    """Returns what is at each place of the windows: an array for each place, `outside` where there is padding."""
    ends = ((0, 0, 0), *((low, high, 0) for low, high in windows.padding), (0, 0, 0))
    x = lax.pad(x, jnp.array(outside, x.dtype), ends)
    taken = []
    for place in windows.places:
        last = [p + (n - 1) * s + 1 for p, n, s in zip(place, windows.out, windows.strides, strict=True)]
        taken.append(lax.slice(x, (0, *place, 0), (x.shape[0], *last, x.shape[-1]), (1, *windows.strides, 1)))
    return taken


def read(x: Array, places: Array, windows: Windows) -> Array:
    """Returns the element of each window at its place: `[examples, *out, channels]`."""
    return _READ.bind(x, places, windows=windows)


def write(values: Array, places: Array, windows: Windows) -> Array:
    """Returns `[examples, *size, channels]` with each window's value added at its place."""
    return _WRITE.bind(values, places, windows=windows)


def _read(x: Array, places: Array, *, windows: Windows) -> Array:
    found = taps(x, windows, 0.0)
    return functools.reduce(jnp.add, (jnp.where(places == i, tap, 0) for i, tap in enumerate(found)))


def _write(values: Array, places: Array, *, windows: Windows) -> Array:
    total = None
    for i, place in enumerate(windows.places):
        axes = zip(place, windows.size, windows.out, windows.strides, windows.padding, strict=True)
        ends = [(p - low, n + low - p - 1 - (o - 1) * s, s - 1) for p, n, o, s, (low, _) in axes]
        own = jnp.where(places == i, values, 0)
        spread = lax.pad(own, jnp.zeros((), values.dtype), ((0, 0, 0), *ends, (0, 0, 0)))
        total = spread if total is None else total + spread
    return total  # type: ignore[return-value]


def _write_once(values: Array, places: Array, *, windows: Windows) -> Array:
    """The same in a loop of one turn, which XLA cannot look into: else it computes the sum for each of its users.

    How many turns there are depends on an array, and a turn changes the places, so XLA can do nothing without the loop.
    """
    start, first = lax.empty((values.shape[0], *windows.size, values.shape[-1]), values.dtype), (0,) * places.ndim
    turns = 1 + (places[first] < 0).astype(jnp.int32)  # no place is below 0

    def turn(_: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        own, _ = carry
        return own.at[first].set(-own[first]), _write(values, own, windows=windows)

    return lax.fori_loop(0, turns, turn, (places, start))[1]


_READ, _WRITE = Primitive("read_windows"), Primitive("write_windows")


def _register(
    primitive: Primitive, other: Primitive, lowered: Callable[..., Array], on_cpu: Callable[..., Array]
) -> None:
    def result(x: Any, places: Any, *, windows: Windows) -> Any:
        axes = windows.out if primitive is _READ else windows.size
        varying = getattr(x, "vma", frozenset()) | getattr(places, "vma", frozenset())
        made = x.update(shape=(x.shape[0], *axes, x.shape[-1]), weak_type=False)
        return made.update(vma=varying) if varying else made

    def tangent(primals: Any, tangents: Any, *, windows: Windows) -> Any:
        x, places = primals
        change = tangents[0]
        made = primitive.bind(x, places, windows=windows)
        if isinstance(change, ad.Zero):
            return made, ad.Zero(jax.typeof(made).to_tangent_aval())
        return made, primitive.bind(change, places, windows=windows)

    def transpose(cotangent: Any, x: Any, places: Array, *, windows: Windows) -> Any:
        del x
        if isinstance(cotangent, ad.Zero):
            return None, None
        return other.bind(cotangent, places, windows=windows), None

    def batch(operands: Any, axes: Any, *, windows: Windows) -> tuple[Array, int]:
        length = next(x.shape[a] for x, a in zip(operands, axes, strict=True) if a is not None)
        moved = [
            jnp.broadcast_to(x, (length, *x.shape)) if a is None else jnp.moveaxis(x, a, 0)
            for x, a in zip(operands, axes, strict=True)
        ]
        made = primitive.bind(*(x.reshape(-1, *x.shape[2:]) for x in moved), windows=windows)
        return made.reshape(length, moved[0].shape[1], *made.shape[1:]), 0

    @functools.cache
    def compiled(windows: Windows) -> Callable[..., Array]:
        return jax.jit(functools.partial(primitive.bind, windows=windows))

    primitive.def_impl(lambda x, places, *, windows: compiled(windows)(x, places))
    primitive.def_abstract_eval(result)
    ad.primitive_jvps[primitive] = tangent
    ad.primitive_transposes[primitive] = transpose
    batching.primitive_batchers[primitive] = batch
    mlir.register_lowering(primitive, mlir.lower_fun(lowered, multiple_results=False))
    mlir.register_lowering(primitive, mlir.lower_fun(on_cpu, multiple_results=False), platform="cpu")


_register(_READ, _WRITE, _read, _read)
_register(_WRITE, _READ, _write, _write_once)
