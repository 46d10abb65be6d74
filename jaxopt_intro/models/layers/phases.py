"""A convolution with strides as one without: pixels of equal phase become channels of one pixel.

With stride s, pixel s * u + r becomes channel r of pixel u, and tap s * q + r channel r of tap q. The outputs are the
same, so gradients may be computed without strides, and no product has a factor that is known to be zero.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import lax

from jaxopt_intro.models.layers.geometry import Geometry
from jaxopt_intro.typing import Array


def separable(geometry: Geometry) -> bool:
    """Whether no axis has both strides and dilation, with which phases of pixels and taps do not match."""
    return all(s == 1 or d == 1 for s, d in zip(geometry.strides, geometry.dilation, strict=True))


def undivided(geometry: Geometry) -> Geometry:
    """Returns the geometry with the same outputs and without strides.

    Examples:
        >>> undivided(Geometry(2, (8,), 3, (3,), 5, (2,), ((1, 1),), (1,)))[1:6]
        ((5,), 6, (2,), 5, (1,))
    """
    size, kernel, padding, phases = [], [], [], 1
    for s, k, low_high, stride, out in zip(
        geometry.size, geometry.kernel, geometry.padding, geometry.strides, geometry.out, strict=True
    ):
        taps = -(-k // stride)
        size.append(s if stride == 1 else out + taps - 1)
        kernel.append(taps)
        padding.append(low_high if stride == 1 else (0, 0))
        phases *= min(stride, k) if stride > 1 else 1
    return geometry._replace(
        size=tuple(size), kernel=tuple(kernel), padding=tuple(padding),
        strides=(1,) * len(size), channels=geometry.channels * phases,
    )  # fmt: skip


def images_to_phases(x: Array, geometry: Geometry) -> Array:
    """Returns the images of `undivided(geometry)`."""
    starts = [low for low, _ in geometry.padding]
    ends = [
        (out + -(-k // s) - 1) * s - low - size
        for out, k, s, low, size in zip(
            geometry.out, geometry.kernel, geometry.strides, starts, geometry.size, strict=True
        )
    ]
    return _to_phases(x, geometry, 1, starts, ends)


def images_from_phases(x: Array, geometry: Geometry) -> Array:
    """The transpose of `images_to_phases`."""
    like = jax.ShapeDtypeStruct(geometry.shape("images"), x.dtype)
    return jax.linear_transpose(lambda images: images_to_phases(images, geometry), like)(x)[0]


def kernel_to_phases(kernel: Array, geometry: Geometry) -> Array:
    """Returns the kernel of `undivided(geometry)`."""
    ends = [-k % s for k, s in zip(geometry.kernel, geometry.strides, strict=True)]
    return _to_phases(kernel, geometry._replace(groups=1), 0, [0] * len(ends), ends)


def kernel_from_phases(kernel: Array, geometry: Geometry) -> Array:
    """The transpose of `kernel_to_phases`."""
    like = jax.ShapeDtypeStruct(geometry.shape("kernel"), kernel.dtype)
    return jax.linear_transpose(lambda taps: kernel_to_phases(taps, geometry), like)(kernel)[0]


def _to_phases(x: Array, geometry: Geometry, first: int, starts: list[int], ends: list[int]) -> Array:
    """Splits the spatial axes, the first of which is `first`, and moves the phases to the channels, one axis later."""
    after = first + len(geometry.size)  # images: the channels; a kernel: its channels, then its features
    for i, (stride, k) in enumerate(zip(geometry.strides, geometry.kernel, strict=True)):
        if stride == 1:
            continue
        axis, phases = first + i, min(stride, k)
        config = [(0, 0, 0)] * x.ndim
        config[axis] = (starts[i], ends[i], 0)  # below 0, pixels that no window sees are cut away
        x = lax.pad(x, jnp.zeros((), x.dtype), config)
        x = x.reshape(*x.shape[:axis], -1, stride, *x.shape[axis + 1 :])
        x = lax.slice_in_dim(x, 0, phases, axis=axis + 1)
        channels = x.shape[after + 1] // geometry.groups
        x = jnp.moveaxis(x, axis + 1, after).reshape(
            *x.shape[: axis + 1],
            *x.shape[axis + 2 : after + 1],
            phases,
            geometry.groups,
            channels,
            *x.shape[after + 2 :],
        )
        x = x.swapaxes(after, after + 1)
        x = x.reshape(*x.shape[:after], math.prod(x.shape[after : after + 3]), *x.shape[after + 3 :])
    return x
