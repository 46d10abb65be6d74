"""A convolution and its two gradients as JAX primitives: bilinear, closed under transposition, with batching rules.

Each takes two of the three arrays of a `Geometry` and makes the third. The transpose of each in one operand is the
primitive that makes that operand, so derivatives of any order and mode stay within the three. A batch axis of one
operand alone is folded into the axis that it shares with the result; of both it becomes the geometry's axis of
members. So no derivative and no `vmap` ever leaves the three, and each is lowered as its shapes, its device and the
plan say.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxopt_intro.models.layers import lowering
from jaxopt_intro.models.layers.geometry import OPERANDS, WORDS, Geometry, fold, folded, shared_axis, unfold
from jaxopt_intro.typing import Array

PRIMITIVES = {wanted: Primitive(word.replace(" ", "_")) for wanted, word in WORDS.items()}
_PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def bind(wanted: str, first: Array, second: Array, *, geometry: Geometry, dtype: Any, **how: Any) -> Array:
    """Makes the "outputs", the "images" or the "kernel" of the other two.

    Args:
        wanted: Which.
        first: The first of `OPERANDS[wanted]`.
        second: The second.
        geometry: The shapes.
        dtype: Of the result.
        **how: `precision` of the products, and the `plan` that says how they are lowered, or None.
    """
    return PRIMITIVES[wanted].bind(first, second, geometry=geometry, dtype=jnp.dtype(dtype), **how)


def _register(wanted: str) -> None:
    primitive = PRIMITIVES[wanted]
    primitive.def_impl(functools.partial(_run, wanted))
    primitive.def_abstract_eval(functools.partial(_result, wanted))
    ad.defbilinear(primitive, _transpose(wanted, 0), _transpose(wanted, 1))
    batching.primitive_batchers[primitive] = functools.partial(_batch, wanted)
    for platform in (*_PLATFORMS, None):
        lower = mlir.lower_fun(functools.partial(lowering.lowered, wanted, platform), multiple_results=False)
        mlir.register_lowering(primitive, lower, platform=platform)


def _run(wanted: str, *operands: Array, **params: Any) -> Array:
    return _compiled(wanted, tuple(params.items()))(*operands)


@functools.cache
def _compiled(wanted: str, params: tuple[tuple[str, Any], ...]) -> Callable[..., Array]:
    return jax.jit(functools.partial(PRIMITIVES[wanted].bind, **dict(params)))


def _result(wanted: str, *operands: Any, geometry: Geometry, dtype: Any, **_: Any) -> Any:
    expected = [geometry.shape(array) for array in OPERANDS[wanted]]
    if [operand.shape for operand in operands] != expected:
        got = " and ".join(str(operand.shape) for operand in operands)
        raise TypeError(f"{WORDS[wanted]}: got arrays of shape {got}; expected {expected[0]} and {expected[1]}.")
    first = operands[0].update(shape=geometry.shape(wanted), dtype=dtype, weak_type=False)
    varying = frozenset().union(*(getattr(operand, "vma", frozenset()) for operand in operands))
    return first.update(vma=varying) if varying else first  # along which axes of a mesh the result varies


def _transpose(wanted: str, place: int) -> Callable[..., Array]:
    """The rule for the operand at a place: the primitive that makes it."""
    own, other = OPERANDS[wanted][place], OPERANDS[wanted][1 - place]

    def rule(cotangent: Array, *operands: Any, dtype: Any, **params: Any) -> Array:
        del dtype
        known = {wanted: cotangent, other: operands[1 - place]}
        return bind(own, *(known[array] for array in OPERANDS[own]), dtype=operands[place].aval.dtype, **params)

    return rule


def _batch(wanted: str, operands: Any, axes: Any, *, geometry: Geometry, **params: Any) -> tuple[Array, int]:
    places = [place for place in (0, 1) if axes[place] is not None]
    length = operands[places[0]].shape[axes[places[0]]]
    if length == 0:
        return jnp.zeros((0, *geometry.shape(wanted)), params["dtype"]), 0
    moved = [x if axis is None else jnp.moveaxis(x, axis, 0) for x, axis in zip(operands, axes, strict=True)]
    if len(places) == 1:
        (place,) = places
        array = OPERANDS[wanted][place]
        axis = shared_axis(array, wanted)
        moved[place] = fold(moved[place], length, array, axis, geometry)
        made = bind(wanted, *moved, geometry=folded(geometry, axis, length), **params)
        return unfold(made, length, wanted, axis, geometry), 0
    inner = geometry.members or 1
    joined = geometry._replace(members=length * inner)
    merged = (x.reshape(joined.shape(array)) for x, array in zip(moved, OPERANDS[wanted], strict=True))
    made = bind(wanted, *merged, geometry=joined, **params)
    return made.reshape(length, *geometry.shape(wanted)), 0


for _wanted in PRIMITIVES:
    _register(_wanted)
