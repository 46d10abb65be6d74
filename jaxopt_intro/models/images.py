"""What models of images share: the axis of channels, and convolutions that stay fast inside a sweep."""

from __future__ import annotations

from typing import Any

from flax import nnx

from jaxopt_intro.models.layers import conv
from jaxopt_intro.typing import Array


def with_channels(images: Array, *, model: str) -> Array:
    """Returns images `[batch, height, width, channels]`; grey ones may come without channels.

    Args:
        images: The images.
        model: Who asks, for the message.

    Raises:
        ValueError: They have another number of axes.
    """
    if images.ndim not in (3, 4):
        raise ValueError(
            f"{model}: got inputs of shape {images.shape}; expected images [batch, height, width] or [batch, height, "
            "width, channels]. Use the model mlp for vectors."
        )
    return images[..., None] if images.ndim == 3 else images


def convolution(inputs: int, features: int, kernel: int, **options: Any) -> nnx.Conv:
    """Returns an `nnx.Conv` with a square kernel that is computed by `layers.conv`."""
    return nnx.Conv(inputs, features, (kernel, kernel), conv_general_dilated=conv, **options)


def large_enough(images: Array, least: int, *, model: str) -> None:
    """Refuses images of which convolutions without padding would leave nothing.

    Args:
        images: `[batch, height, width, channels]`.
        least: The fewest pixels of height and width.
        model: Who asks, for the message.

    Raises:
        ValueError: They are smaller.
    """
    if min(images.shape[1:3]) < least:
        size = "x".join(map(str, images.shape[1:3]))
        raise ValueError(
            f"{model}: got images of {size} pixels; expected at least {least}x{least}, since its convolutions without "
            "padding shrink them. Use the model convnet."
        )
