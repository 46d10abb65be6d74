"""A residual network for small images, with batch normalization and stochastic depth."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx

from jaxopt_intro.domains import checked
from jaxopt_intro.models.from_nnx import from_nnx
from jaxopt_intro.models.images import convolution, with_channels
from jaxopt_intro.models.layers import BatchNorm, StochasticDepth
from jaxopt_intro.models.mlp import KERNEL_INIT
from jaxopt_intro.typing import Array, Decay, Fraction, Model, Number, Size


class Block(nnx.Module):
    """`relu(shortcut(x) + drop(norm(conv(relu(norm(conv(x)))))))`."""

    def __init__(
        self, channels: int, features: int, stride: int, *, momentum: Number, depth: Number | None, rngs: nnx.Rngs
    ):
        three = functools.partial(convolution, kernel=3, use_bias=False, kernel_init=KERNEL_INIT, rngs=rngs)
        self.first, self.second = three(channels, features, strides=stride), three(features, features)
        self.norms = nnx.List(BatchNorm(features, momentum=momentum) for _ in range(2))
        self.stride, self.more = stride, features - channels
        self.depth = None if depth is None else StochasticDepth(depth, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        branch = self.norms[1](self.second(nnx.relu(self.norms[0](self.first(x)))))
        branch = branch if self.depth is None else self.depth(branch)
        shortcut = x[:, :: self.stride, :: self.stride]
        return nnx.relu(jnp.pad(shortcut, ((0, 0), (0, 0), (0, 0), (0, self.more))) + branch)


class ResNet(nnx.Module):
    """A convolution, stages of blocks, each at half the resolution of the one before, a mean and a dense layer."""

    def __init__(
        self,
        example: Array,
        *,
        outputs: int,
        channels: Sequence[int],
        blocks: int,
        momentum: Number,
        stochastic_depth: Number | None = None,
        rngs: nnx.Rngs,
    ):
        inputs = with_channels(example, model="resnet").shape[-1]
        self.first = convolution(inputs, channels[0], 3, use_bias=False, kernel_init=KERNEL_INIT, rngs=rngs)
        self.norm = BatchNorm(channels[0], momentum=momentum)
        self.output = nnx.Linear(channels[-1], outputs, rngs=rngs)
        made, before, total = [], channels[0], len(channels) * blocks
        for stage, features in enumerate(channels):
            for block in range(blocks):
                share = (len(made) + 1) / total  # the linear rule
                depth = None if stochastic_depth is None else stochastic_depth * share
                stride = 2 if stage and not block else 1
                made.append(Block(before, features, stride, momentum=momentum, depth=depth, rngs=rngs))
                before = features
        self.blocks = nnx.List(made)

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.norm(self.first(with_channels(x, model="resnet"))))
        for block in self.blocks:
            x = block(x)
        return self.output(jnp.mean(x, axis=(1, 2)))


@checked
def resnet(
    *,
    outputs: Size,
    channels: Sequence[int] | int = (16, 32, 64),
    blocks: Size = 1,
    momentum: Decay = 0.9,
    stochastic_depth: Fraction | None = None,
) -> Model:
    """A residual network for small images: with `blocks=3` it is the paper's ResNet-20, with 1 its ResNet-8.

    A 3x3 convolution, then for each of `channels` a stage of blocks of two 3x3 convolutions, batch normalized; the
    first block of each later stage halves the resolution, its shortcut takes every other pixel and adds channels of
    zeros. Kernels start by He.

    Args:
        outputs: How many scores.
        channels: Of each stage, not falling. Static.
        blocks: In each stage. Static.
        momentum: How much of batch normalization's running mean and variance stays in a step, in `[0, 1)`. May be
            traced, and differentiated: it changes the evaluation, not the training.
        stochastic_depth: The rate at which an example skips the last block, in `[0, 1]`; from the first block on it
            rises linearly to that. None leaves it out of the program; a value in `hparams` may be traced.

    Returns:
        The model, of images `[batch, height, width]` or `[batch, height, width, channels]`. Its hyperparameters are
        `momentum` and `stochastic_depth`; its state, the running statistics, is each member's own.

    Raises:
        ValueError: A number is outside its range, or channels fall. At `init`: the inputs are no images.

    References:
        He et al. 2016, Deep residual learning for image recognition, section 4.2 (shortcuts of option A); Ioffe and
        Szegedy 2015, Batch normalization, algorithms 1 and 2; Huang et al. 2016, Deep networks with stochastic depth,
        equation (4) (the linear rule).

    Examples:
        >>> from jaxopt_intro import models
        >>> models.cost(resnet(outputs=10, blocks=3), jnp.ones((1, 32, 32, 3))).parameters
        269722
    """
    each = (channels,) if isinstance(channels, int) else tuple(channels)
    if list(each) != sorted(each):
        raise ValueError(
            f"resnet: got channels={each}; expected numbers that do not fall, since a shortcut can add channels of "
            "zeros, and cannot take any away. Sort them."
        )
    build = functools.partial(
        ResNet, outputs=outputs, channels=each, blocks=blocks, momentum=momentum, stochastic_depth=stochastic_depth
    )
    return from_nnx(build)._replace(hyperparameters=("momentum", "stochastic_depth"), name="resnet")
