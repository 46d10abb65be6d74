"""The ways to compute a convolution and its gradients: ordinary JAX code for one member.

XLA's own gradients are among them, the slowest on a CPU inside a loop; the others turn a gradient into a forward
convolution or into matrix products. Each is `(first, second, geometry, precision, dtype) -> array`, of the two arrays
that `OPERANDS` names.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxopt_intro.models.layers.geometry import OPERANDS, Geometry
from jaxopt_intro.models.layers.phases import (
    images_from_phases,
    images_to_phases,
    kernel_from_phases,
    kernel_to_phases,
    undivided,
)
from jaxopt_intro.typing import Array


def xla(x: Array, kernel: Array, geometry: Geometry, precision: Any, dtype: Any) -> Array:
    """XLA's convolution."""
    spatial = "HWD"[: len(geometry.size)]
    return lax.conv_general_dilated(
        x, kernel, geometry.strides, geometry.padding, rhs_dilation=geometry.dilation,
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"), feature_group_count=geometry.groups,
        precision=precision, preferred_element_type=dtype,
    )  # fmt: skip


def xla_row(x: Array, kernel: Array, geometry: Geometry, precision: Any, dtype: Any) -> Array:
    """XLA's convolution with an output row more, which is cut away.

    On a CPU that is computed by another library than outputs of the usual paddings are, a faster one at some shapes.
    """
    (low, high), *others = geometry.padding
    more = geometry._replace(padding=((low, high + geometry.strides[0]), *others))
    y = lax.optimization_barrier(xla(x, kernel, more, precision, dtype))
    return lax.slice_in_dim(y, 0, geometry.out[0], axis=1)


def xla_wide(x: Array, kernel: Array, geometry: Geometry, precision: Any, dtype: Any, *, pixels: int) -> Array:
    """XLA's convolution with several neighbouring outputs as features of one: for kernels with few features.

    Some products are with zeros, but a core's registers are filled.
    """
    nothing = [(0, 0)] * (kernel.ndim - 3)
    shifted = [jnp.pad(kernel, (*nothing, (i, pixels - 1 - i), (0, 0), (0, 0))) for i in range(pixels)]
    wide = geometry._replace(
        kernel=(*geometry.kernel[:-1], geometry.kernel[-1] + pixels - 1),
        strides=(*geometry.strides[:-1], pixels), features=geometry.features * pixels,
    )  # fmt: skip
    y = xla(x, jnp.concatenate(shifted, axis=-1), wide, precision, dtype)
    return y.reshape(geometry.shape("outputs"))


def xla_gradient(wanted: str, first: Array, second: Array, geometry: Geometry, precision: Any, dtype: Any) -> Array:
    """XLA's own gradient: the transpose of its convolution."""
    given = dict(zip(OPERANDS[wanted], (first, second), strict=True))
    cotangent, like = given.pop("outputs"), jax.ShapeDtypeStruct(geometry.shape(wanted), first.dtype)

    def linear(unknown: Array) -> Array:
        arrays = {**given, wanted: unknown}
        return xla(arrays["images"], arrays["kernel"], geometry, precision, cotangent.dtype)

    return jax.linear_transpose(linear, like)(cotangent)[0]


def im2col(x: Array, kernel: Array, geometry: Geometry, precision: Any, dtype: Any) -> Array:
    """Patches of the images, then one matrix product."""
    y = _product(_patches(x, geometry), kernel.reshape(-1, *kernel.shape[-2:]), geometry, precision, dtype)
    return y.reshape(geometry.shape("outputs"))


def rows(x: Array, kernel: Array, geometry: Geometry, precision: Any, dtype: Any) -> Array:
    """Patches along all axes but the first, then a matrix product for each row of the kernel."""
    wide, total = jnp.promote_types(dtype, jnp.float32), 0.0
    for row, patches in enumerate(_patches_by_row(x, geometry)):
        own = kernel[row].reshape(-1, *kernel.shape[-2:])
        total = total + _product(patches, own, geometry, precision, wide)
    return jnp.asarray(total).reshape(geometry.shape("outputs"))


def images_by(forward: Callable[..., Array]) -> Callable[..., Array]:
    """The input gradient as a forward convolution of the outputs with the flipped kernel."""

    def make(y: Array, kernel: Array, geometry: Geometry, precision: Any, dtype: Any) -> Array:
        plain, groups = undivided(geometry), geometry.groups
        kernel = kernel_to_phases(kernel, geometry)
        taps, (channels, features) = kernel.shape[:-2], kernel.shape[-2:]
        turned = jnp.flip(kernel, range(len(taps))).reshape(*taps, channels, groups, features // groups)
        turned = jnp.moveaxis(turned, (-1, -3), (-3, -1)).reshape(*taps, features // groups, groups * channels)
        turned = lax.optimization_barrier(turned)  # else XLA undoes the flip: its gradient is the slow one
        reach = [d * (k - 1) for d, k in zip(plain.dilation, taps, strict=True)]
        ends = [  # so that there is a result for each pixel; below 0, outputs that saw padding alone are cut away
            (r - low, size - out + low)
            for r, (low, _), size, out in zip(reach, plain.padding, plain.size, plain.out, strict=True)
        ]
        cut = [(min(a, 0), min(b, 0), 0) for a, b in ends]
        y = lax.pad(y, jnp.zeros((), y.dtype), [(0, 0, 0), *cut, (0, 0, 0)]) if any(map(any, cut)) else y
        flipped = plain._replace(
            size=y.shape[1:-1], channels=features, kernel=taps, features=groups * channels,
            padding=tuple((max(a, 0), max(b, 0)) for a, b in ends),
        )  # fmt: skip
        return images_from_phases(forward(y, turned, flipped, precision, dtype), geometry)

    return make


def kernel_by_im2col(x: Array, y: Array, geometry: Geometry, precision: Any, dtype: Any) -> Array:
    """Patches of the images, transposed, times the outputs."""
    return _outer(_patches(x, geometry), y, geometry, precision, dtype).reshape(geometry.shape("kernel"))


def kernel_by_rows(x: Array, y: Array, geometry: Geometry, precision: Any, dtype: Any) -> Array:
    """The same for each row of the kernel, of patches along all axes but the first."""
    rows = [_outer(patches, y, geometry, precision, dtype) for patches in _patches_by_row(x, geometry)]
    return jnp.stack(rows).reshape(geometry.shape("kernel"))


def kernel_by_forward(
    x: Array, y: Array, geometry: Geometry, precision: Any, dtype: Any, *, chunk: int | None = None
) -> Array:
    """A forward convolution whose examples are the channels and whose channels are the examples, a chunk at a time."""
    plain, chunk, wide = undivided(geometry), chunk or geometry.examples, jnp.promote_types(dtype, jnp.float32)
    turned = plain._replace(
        examples=plain.channels, channels=chunk, kernel=plain.out, strides=plain.dilation, dilation=plain.strides
    )

    def made(images: Array, outputs: Array) -> Array:
        images, outputs = jnp.moveaxis(images, (0, -1), (-1, 0)), jnp.moveaxis(outputs, 0, -2)
        return xla(images, outputs, turned, precision, wide)

    def add(total: Array, part: tuple[Array, Array]) -> tuple[Array, None]:
        return total + made(*part), None

    x = images_to_phases(x, geometry)
    if chunk == geometry.examples:
        total = made(x, y)
    else:
        parts = x.reshape(-1, chunk, *x.shape[1:]), y.reshape(-1, chunk, *y.shape[1:])
        total, _ = lax.scan(add, jnp.zeros((plain.channels, *plain.kernel, plain.features), wide), parts)
    return kernel_from_phases(jnp.moveaxis(total, 0, -2), geometry)


def kernel_by_chunks(x: Array, y: Array, geometry: Geometry, precision: Any, dtype: Any, *, chunk: int) -> Array:
    """Outputs, transposed, times patches, a chunk of examples at a time."""
    wide, few = jnp.promote_types(dtype, jnp.float32), geometry._replace(examples=chunk)

    def add(total: Array, part: tuple[Array, Array]) -> tuple[Array, None]:
        patches = _patches(part[0], few)
        patches = lax.optimization_barrier(patches.reshape(len(patches), -1))
        return total + _contract(part[1].reshape(len(patches), -1), patches, precision, wide), None

    rows = math.prod(geometry.kernel) * geometry.channels
    parts = x.reshape(-1, chunk, *x.shape[1:]), y.reshape(-1, chunk, *y.shape[1:])
    total, _ = lax.scan(add, jnp.zeros((geometry.features, rows), wide), parts)
    return total.T.reshape(geometry.shape("kernel"))


def _patches(x: Array, geometry: Geometry) -> Array:
    """What each window sees: `[windows, taps, channels]`."""
    return _windows(_padded(x, geometry), geometry, itertools.product(*map(range, geometry.kernel)), geometry.out)


def _patches_by_row(x: Array, geometry: Geometry) -> Iterator[Array]:
    """The same for one row of the kernel after another; they are slices of one array."""
    (stride, *_), (dilation, *_), (out, *_) = geometry.strides, geometry.dilation, geometry.out
    taps = [(slice(None), *tap) for tap in itertools.product(*map(range, geometry.kernel[1:]))]
    x = _padded(x, geometry)
    wide = _windows(x, geometry, taps, (x.shape[1], *geometry.out[1:]))
    wide = wide.reshape(geometry.examples, x.shape[1], -1, *wide.shape[-2:])
    for row in range(geometry.kernel[0]):
        start = row * dilation
        own = lax.slice_in_dim(wide, start, start + (out - 1) * stride + 1, stride, axis=1)
        yield own.reshape(-1, *own.shape[-2:])


def _padded(x: Array, geometry: Geometry) -> Array:
    return jnp.pad(x, ((0, 0), *geometry.padding, (0, 0)))


def _windows(x: Array, geometry: Geometry, taps: Iterable[tuple[Any, ...]], out: tuple[int, ...]) -> Array:
    """The pixels under each tap, side by side; a tap that is a slice takes a whole axis."""

    def pixels(tap: Any, size: int, stride: int, dilation: int) -> slice:
        if isinstance(tap, slice):
            return tap
        return slice(tap * dilation, tap * dilation + (size - 1) * stride + 1, stride)

    steps = list(zip(out, geometry.strides, geometry.dilation, strict=True))
    seen = [x[(slice(None), *(pixels(t, *step) for t, step in zip(tap, steps, strict=True)))] for tap in taps]
    joined = jnp.concatenate(seen, axis=-1)
    return joined.reshape(-1, len(seen), geometry.channels)


def _product(patches: Array, kernel: Array, geometry: Geometry, precision: Any, dtype: Any) -> Array:
    """`[windows, taps, channels] x [taps, channels / groups, features] -> [windows, features]`."""
    windows, taps, channels = patches.shape
    groups, features = geometry.groups, kernel.shape[-1]
    if groups == 1:
        a, b = patches.reshape(windows, taps * channels), kernel.reshape(taps * channels, features)
        return jnp.matmul(a, b, precision=precision, preferred_element_type=dtype)
    a, b = patches.reshape(windows, taps, groups, -1), kernel.reshape(taps, -1, groups, features // groups)
    y = jnp.einsum("wtgc,tcgf->wgf", a, b, precision=precision, preferred_element_type=dtype)
    return y.reshape(windows, features)


def _outer(patches: Array, y: Array, geometry: Geometry, precision: Any, dtype: Any) -> Array:
    """`[windows, taps, channels] x [..., features] -> [taps, channels / groups, features]`."""
    windows, taps, channels = patches.shape
    groups, features = geometry.groups, geometry.features
    if groups == 1:
        a, b = patches.reshape(windows, taps * channels), y.reshape(windows, features)
        return _contract(a, b, precision, dtype).reshape(taps, channels, features)
    a, b = patches.reshape(windows, taps, groups, -1), y.reshape(windows, groups, -1)
    made = jnp.einsum("wtgc,wgf->tcgf", a, b, precision=precision, preferred_element_type=dtype)
    return made.reshape(taps, channels // groups, features)


def _contract(a: Array, b: Array, precision: Any, dtype: Any) -> Array:
    """`a.T @ b`."""
    return lax.dot_general(a, b, (((0,), (0,)), ((), ())), precision=precision, preferred_element_type=dtype)
