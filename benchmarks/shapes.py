"""The convolutions that are measured: those of the networks 2c2d and 3c3d and of a small ResNet."""

from __future__ import annotations

from jaxopt_intro.models.layers.geometry import Geometry


def _of(examples: int, size: int, channels: int, kernel: int, features: int, *, stride: int = 1, same: bool = True):
    out = -(-size // stride)
    total = max(0, (out - 1) * stride + kernel - size) if same else 0
    pads = (total // 2, total - total // 2)
    return Geometry(
        examples, (size, size), channels, (kernel, kernel), features, (stride, stride), (pads, pads), (1, 1)
    )  # fmt: skip


def shapes(examples: int = 64) -> dict[str, Geometry]:
    """Returns the geometries by name; those that end with "first" have images that all members share."""
    return {
        "2c2d first": _of(examples, 28, 1, 5, 32),
        "2c2d second": _of(examples, 14, 32, 5, 64),
        "3c3d first": _of(examples, 32, 3, 5, 64, same=False),
        "3c3d second": _of(examples, 14, 64, 3, 96, same=False),
        "3c3d third": _of(examples, 6, 96, 3, 128),
        "resnet 32x32x16": _of(examples, 32, 16, 3, 16),
        "resnet 32x32x16 stride 2": _of(examples, 32, 16, 3, 32, stride=2),
        "resnet 8x8x64": _of(examples, 8, 64, 3, 64),
    }
