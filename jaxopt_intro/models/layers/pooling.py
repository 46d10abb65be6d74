"""Pooling whose gradients stay fast inside loops: XLA's scatter into windows is some 20 times slower there on a CPU."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxopt_intro.models.layers.windows import Windows, read, taps
from jaxopt_intro.typing import Array


def max_pool(
    inputs: Array,
    window_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: str | Sequence[tuple[int, int]] = "VALID",
) -> Array:
    """The largest element of each window: a drop-in for `flax.nnx.max_pool` and `flax.linen.max_pool`.

    The gradient goes to the first of equal elements, row by row, as in XLA. NaN is larger than anything.

    Args:
        inputs: `[..., *space, channels]`; the axes of `window_shape` are the last ones before the channels.
        window_shape: The window's height and width, or length. Static.
        strides: From one window to the next; None means 1. Static.
        padding: "VALID", "SAME", or how many elements before and after for each axis; they never win. Static.

    Returns:
        `[..., *out, channels]`.

    Raises:
        ValueError: The window has more axes than there are, or none.

    Examples:
        >>> max_pool(jnp.array([1.0, 3.0, 2.0, 0.0]).reshape(1, 4, 1), (2,), (2,)).ravel().tolist()
        [3.0, 2.0]
        >>> jax.grad(lambda x: max_pool(x.reshape(1, 3, 1), (3,)).sum())(jnp.ones(3)).tolist()
        [1.0, 0.0, 0.0]
    """
    windows = _windows("max_pool", inputs, window_shape, strides, padding)
    y = _largest(inputs.reshape(-1, *windows.size, inputs.shape[-1]), windows)
    return y.reshape(*inputs.shape[: -1 - len(windows.size)], *y.shape[1:])


def avg_pool(
    inputs: Array,
    window_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: str | Sequence[tuple[int, int]] = "VALID",
    count_include_pad: bool = True,
) -> Array:
    """The mean of each window: a drop-in for `flax.nnx.avg_pool` and `flax.linen.avg_pool`.

    Args:
        inputs: `[..., *space, channels]`; the axes of `window_shape` are the last ones before the channels.
        window_shape: The window's height and width, or length. Static.
        strides: From one window to the next; None means 1. Static.
        padding: "VALID", "SAME", or how many zeros before and after for each axis. Static.
        count_include_pad: Whether padding counts as elements. Static.

    Returns:
        `[..., *out, channels]`.

    Raises:
        ValueError: The window has more axes than there are, or none.

    Examples:
        >>> avg_pool(jnp.array([1.0, 3.0, 2.0, 0.0]).reshape(1, 4, 1), (2,), (2,)).ravel().tolist()
        [2.0, 1.0]
    """
    windows = _windows("avg_pool", inputs, window_shape, strides, padding)
    x = inputs.reshape(-1, *windows.size, inputs.shape[-1])
    count = math.prod(windows.shape) if count_include_pad else _sum(jnp.ones_like(x[:1, ..., :1]), windows)
    y = _sum(x, windows) / count
    return y.reshape(*inputs.shape[: -1 - len(windows.size)], *y.shape[1:])


def _windows(function: str, x: Array, window: Any, strides: Any, padding: Any) -> Windows:
    window = tuple(window)
    if not window or len(window) > x.ndim - 1:
        raise ValueError(
            f"{function}: got a window of shape {window} for inputs of shape {x.shape}; expected one axis for each "
            "spatial axis of [..., *space, channels]. Give (2, 2) for images [batch, height, width, channels]."
        )
    size, strides = x.shape[-1 - len(window) : -1], tuple(strides or (1,) * len(window))
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(size, window, strides, padding)
    return Windows(size, window, strides, tuple((int(low), int(high)) for low, high in padding))


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _largest(x: Array, windows: Windows) -> Array:
    return _largest_and_place(x, windows)[0]


@_largest.defjvp
def _largest_jvp(windows: Windows, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    largest, places = _largest_and_place(lax.stop_gradient(primals[0]), windows)
    del largest
    places = lax.optimization_barrier(places)  # kept, a byte each, and not computed again
    return _largest(primals[0], windows), read(tangents[0], places, windows)


def _largest_and_place(x: Array, windows: Windows) -> tuple[Array, Array]:
    first, *others = taps(x, windows, -jnp.inf)
    places = jnp.zeros(first.shape, jnp.int8 if len(others) < 128 else jnp.int32)
    for i, other in enumerate(others, 1):
        larger = (other > first) | jnp.isnan(other)
        first, places = jnp.where(larger, other, first), jnp.where(larger, i, places).astype(places.dtype)
    return first, places


def _sum(x: Array, windows: Windows) -> Array:
    """The sum of each window, along one axis after another."""
    for axis, (k, s, pads) in enumerate(zip(windows.shape, windows.strides, windows.padding, strict=True)):
        alone: list[Any] = [(1, 1, (0, 0))] * len(windows.shape)
        alone[axis] = (k, s, pads)
        x = functools.reduce(jnp.add, taps(x, Windows(x.shape[1:-1], *zip(*alone, strict=True)), 0.0))
    return x
