"""`conv`: a drop-in for `jax.lax.conv_general_dilated`, and for Flax's layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxopt_intro.models.layers.geometry import Geometry
from jaxopt_intro.models.layers.in_force import current
from jaxopt_intro.models.layers.primitives import bind
from jaxopt_intro.typing import Array


def conv(
    lhs: Array,
    rhs: Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
    **options: Any,
) -> Array:
    """`jax.lax.conv_general_dilated`, with its arguments and values, and faster gradients and populations.

    Flax's layers take it without a change of the model: `nnx.Conv(..., conv_general_dilated=layers.conv)`, and so
    `flax.linen.Conv`; `models.from_nnx` and `models.from_linen` put it there. Derivatives of every order and mode,
    `vmap` of the images, the kernels or both, and loops, all stay within three primitives that are lowered as the plan
    says that is in force (`plan`), or as is usual for the device.

    What is outside of the fast set is XLA's own: more than two spatial axes, `lhs_dilation`, `batch_group_count`,
    negative padding, integers and complex numbers.

    Args:
        lhs: Images.
        rhs: A kernel.
        window_strides: A stride for each spatial axis.
        padding: "SAME", "SAME_LOWER", "VALID", or zeros before and after for each spatial axis.
        lhs_dilation: Dilation of the images.
        rhs_dilation: Dilation of the kernel.
        dimension_numbers: The axes of images, kernel and outputs, such as `("NHWC", "HWIO", "NHWC")`.
        feature_group_count: How many groups of channels.
        batch_group_count: How many groups of examples.
        precision: Of matrix products.
        preferred_element_type: The dtype of the outputs, if not that of the images.
        **options: Those that later releases of JAX know; given one, the convolution is XLA's own.

    Returns:
        The outputs.

    Raises:
        TypeError: The shapes do not fit; the message is JAX's.

    References:
        Chellapilla et al. 2006, High performance convolutional neural networks for document processing (im2col).

    Examples:
        >>> image, kernel = jnp.arange(4.0).reshape(1, 4, 1), jnp.array([1.0, 10.0]).reshape(2, 1, 1)
        >>> conv(image, kernel, (1,), "VALID", dimension_numbers=("NWC", "WIO", "NWC")).ravel().tolist()
        [10.0, 21.0, 32.0]
    """
    asked = {
        "lhs_dilation": lhs_dilation, "rhs_dilation": rhs_dilation, "dimension_numbers": dimension_numbers,
        "feature_group_count": feature_group_count, "batch_group_count": batch_group_count, "precision": precision,
        "preferred_element_type": preferred_element_type, **options,
    }  # fmt: skip
    like = jax.eval_shape(lambda a, b: lax.conv_general_dilated(a, b, window_strides, padding, **asked), lhs, rhs)
    spatial = lhs.ndim - 2
    plain = all(value is None for value in options.values()) and batch_group_count == 1 and spatial in (1, 2)
    if not plain or set(lhs_dilation or (1,)) != {1} or not jnp.issubdtype(lhs.dtype, jnp.floating):
        return lax.conv_general_dilated(lhs, rhs, window_strides, padding, **asked)
    images, kernel, outputs = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    x = lhs.transpose(images[0], *images[2:], images[1])
    w = rhs.transpose(*kernel[2:], kernel[1], kernel[0])
    dilation = tuple(rhs_dilation) if rhs_dilation is not None else (1,) * spatial
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, w.shape, strict=False)]
    pads = lax.padtype_to_pads(x.shape[1:-1], reach, window_strides, padding) if isinstance(padding, str) else padding
    geometry = Geometry(
        x.shape[0], x.shape[1:-1], x.shape[-1], w.shape[:-2], w.shape[-1], tuple(window_strides),
        tuple((int(low), int(high)) for low, high in pads), dilation, feature_group_count,
    )  # fmt: skip
    if min(map(min, geometry.padding)) < 0:
        return lax.conv_general_dilated(lhs, rhs, window_strides, padding, **asked)
    y = bind("outputs", x, w, geometry=geometry, dtype=like.dtype, precision=precision, plan=current())
    places = (outputs[0], *outputs[2:], outputs[1])  # of examples, space and features in what was asked for
    return y.transpose([places.index(axis) for axis in range(y.ndim)])
