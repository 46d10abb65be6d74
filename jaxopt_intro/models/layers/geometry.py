"""The geometry of a convolution: the shapes of its three arrays, and the axes that each pair of them shares.

A convolution is a trilinear form of images, kernel and outputs. Any two of the three determine the third linearly:

    outputs[n, s, o] = sum over k, c of images[n, strides * s + dilation * k - low, c] * kernel[k, c, o]
    images[n, ., c]  = sum over s, k, o of outputs[n, s, o] * kernel[k, c, o]        the input gradient
    kernel[k, c, o]  = sum over n, s of images[n, ., c] * outputs[n, s, o]           the kernel gradient

Examples are shared by images and outputs, channels by images and kernel, features by kernel and outputs.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax

from jaxopt_intro.typing import Array

OPERANDS = {"outputs": ("images", "kernel"), "images": ("outputs", "kernel"), "kernel": ("images", "outputs")}
"""What is wanted, and the two that determine it, in the order in which the primitives take them."""
WORDS = {"outputs": "convolution", "images": "input gradient", "kernel": "kernel gradient"}


class Geometry(NamedTuple):
    """The shapes of a convolution.

    Attributes:
        examples: How many images, N.
        size: Their height and width, or length.
        channels: C, of all groups together.
        kernel: The kernel's height and width, or length.
        features: O, of all groups together.
        strides: Of the windows, for each spatial axis.
        padding: How many zeros before and after, for each spatial axis; none negative.
        dilation: Of the kernel, for each spatial axis.
        groups: How many groups of channels and features.
        members: The length of a leading axis of members that all three arrays have, or 0 where none has one.
    """

    examples: int
    size: tuple[int, ...]
    channels: int
    kernel: tuple[int, ...]
    features: int
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int = 1
    members: int = 0

    @property
    def out(self) -> tuple[int, ...]:
        """The outputs' height and width, or length."""
        spans = (
            s + low + high - d * (k - 1) - 1
            for s, k, (low, high), d in zip(self.size, self.kernel, self.padding, self.dilation, strict=True)
        )
        return tuple(max(0, span // stride + 1) for span, stride in zip(spans, self.strides, strict=True))

    def shape(self, array: str) -> tuple[int, ...]:
        """Returns the shape of the "images", the "kernel" or the "outputs".

        Examples:
            >>> geometry = Geometry(2, (7,), 3, (3,), 5, (2,), ((1, 1),), (1,))
            >>> [geometry.shape(array) for array in ("images", "kernel", "outputs")]
            [(2, 7, 3), (3, 3, 5), (2, 4, 5)]
        """
        one = {
            "images": (self.examples, *self.size, self.channels),
            "kernel": (*self.kernel, self.channels // self.groups, self.features),
            "outputs": (self.examples, *self.out, self.features),
        }[array]
        return (self.members, *one) if self.members else one

    @property
    def flop(self) -> int:
        """Multiplications and additions of the convolution; those of either gradient are as many."""
        each = math.prod(self.kernel) * self.channels // self.groups * self.features
        return 2 * (self.members or 1) * self.examples * math.prod(self.out) * each

    @property
    def patches(self) -> int:
        """How many numbers the images have once they are written out as patches, the members' together."""
        return (self.members or 1) * self.examples * math.prod(self.out) * math.prod(self.kernel) * self.channels

    def __str__(self) -> str:
        images = "x".join(map(str, (self.examples, *self.size, self.channels)))
        said = [f"{images} * {'x'.join(map(str, (*self.kernel, self.features)))}"]
        said += [f"stride {_each(self.strides)}"] * (max(self.strides) > 1)
        said += ["padding " + _each(tuple(f"{a}+{b}" for a, b in self.padding))] * any(map(any, self.padding))
        said += [f"dilation {_each(self.dilation)}"] * (max(self.dilation) > 1)
        said += [f"{self.groups} groups"] * (self.groups > 1)
        said += [f"{self.members} members"] * bool(self.members)
        return ", ".join(said)


def _each(values: tuple[object, ...]) -> str:
    return str(values[0]) if len(set(values)) == 1 else "x".join(map(str, values))


def fold(x: Array, members: int, array: str, axis: str, geometry: Geometry) -> Array:
    """Folds a leading axis into the examples, the channels or the features of one of the arrays.

    Args:
        x: The array with another axis in front.
        members: The length of that axis.
        array: Which of the three it is.
        axis: "examples", "channels" or "features".
        geometry: Without that axis.

    Returns:
        The array of `folded(geometry, ...)`.

    Examples:
        >>> geometry = Geometry(2, (7,), 3, (3,), 5, (2,), ((1, 1),), (1,))
        >>> fold(jax.numpy.ones((4, 2, 7, 3)), 4, "images", "channels", geometry).shape
        (2, 7, 12)
    """
    at, groups = _place(array, axis, geometry)
    x = jax.numpy.moveaxis(x, 0, at - 1)  # counted from the end, just before the axis
    before, size = x.shape[: at - 1], x.shape[at]
    after = x.shape[at:][1:]
    if groups == 1:
        return x.reshape(*before, members * size, *after)
    x = x.reshape(*before, members, groups, size // groups, *after)
    return x.swapaxes(at - 1, at - 2).reshape(*before, members * size, *after)


def unfold(x: Array, members: int, array: str, axis: str, geometry: Geometry) -> Array:
    """Undoes `fold`: takes the axis out again, in front.

    Examples:
        >>> geometry = Geometry(2, (7,), 3, (3,), 5, (2,), ((1, 1),), (1,))
        >>> unfold(jax.numpy.ones((2, 7, 12)), 4, "images", "channels", geometry).shape
        (4, 2, 7, 3)
    """
    at, groups = _place(array, axis, geometry)
    before, size = x.shape[:at], x.shape[at] // members
    after = x.shape[at:][1:]
    if groups > 1:
        x = x.reshape(*before, groups, members, size // groups, *after).swapaxes(at - 1, at - 2)
    return jax.numpy.moveaxis(x.reshape(*before, members, size, *after), at - 1, 0)


def folded(geometry: Geometry, axis: str, members: int) -> Geometry:
    """Returns the geometry whose examples, channels or features hold the members' too."""
    return geometry._replace(**{axis: getattr(geometry, axis) * members})


def shared_axis(array: str, wanted: str) -> str:
    """Returns the axis that two of the arrays share, besides the spatial ones.

    Examples:
        >>> shared_axis("kernel", "outputs")
        'features'
    """
    pairs = {
        frozenset(("images", "outputs")): "examples",
        frozenset(("images", "kernel")): "channels",
        frozenset(("kernel", "outputs")): "features",
    }
    return pairs[frozenset((array, wanted))]


def _place(array: str, axis: str, geometry: Geometry) -> tuple[int, int]:
    """Where an axis is, counted from the end, and into how many groups it is divided there."""
    if axis == "examples":
        return -(len(geometry.size) + 2), 1
    if array == "kernel":
        return (-2, 1) if axis == "channels" else (-1, geometry.groups)
    return -1, geometry.groups
