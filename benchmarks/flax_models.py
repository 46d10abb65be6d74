"""The measured models as one writes them with Flax alone: its convolutions, its pooling, its batch normalization."""

from __future__ import annotations

import itertools

import jax.numpy as jnp
from flax import nnx


class MLP(nnx.Module):
    """784-256-10."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.hidden, self.output = nnx.Linear(784, 256, rngs=rngs), nnx.Linear(256, 10, rngs=rngs)

    def __call__(self, x):
        return self.output(nnx.relu(self.hidden(x.reshape(x.shape[0], -1))))


class Net2c2d(nnx.Module):
    """DeepOBS' 2c2d."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.first, self.second = nnx.Conv(1, 32, (5, 5), rngs=rngs), nnx.Conv(32, 64, (5, 5), rngs=rngs)
        self.hidden, self.output = nnx.Linear(3136, 1024, rngs=rngs), nnx.Linear(1024, 10, rngs=rngs)

    def __call__(self, x):
        for layer in (self.first, self.second):
            x = nnx.max_pool(nnx.relu(layer(x)), (2, 2), (2, 2), "SAME")
        return self.output(nnx.relu(self.hidden(x.reshape(x.shape[0], -1))))


class Net3c3d(nnx.Module):
    """DeepOBS' 3c3d."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.convolutions = nnx.List(
            [
                nnx.Conv(3, 64, (5, 5), padding="VALID", rngs=rngs),
                nnx.Conv(64, 96, (3, 3), padding="VALID", rngs=rngs),
                nnx.Conv(96, 128, (3, 3), rngs=rngs),
            ]
        )
        self.dense = nnx.List(nnx.Linear(i, o, rngs=rngs) for i, o in itertools.pairwise((1152, 512, 256, 10)))

    def __call__(self, x):
        for layer in self.convolutions:
            x = nnx.max_pool(nnx.relu(layer(x)), (3, 3), (2, 2), "SAME")
        x = x.reshape(x.shape[0], -1)
        for layer in self.dense[:-1]:
            x = nnx.relu(layer(x))
        return self.dense[-1](x)


class Block(nnx.Module):
    def __init__(self, channels: int, features: int, stride: int, *, rngs: nnx.Rngs):
        self.first = nnx.Conv(channels, features, (3, 3), strides=stride, use_bias=False, rngs=rngs)
        self.second = nnx.Conv(features, features, (3, 3), use_bias=False, rngs=rngs)
        self.norms = nnx.List(nnx.BatchNorm(features, momentum=0.9, rngs=rngs) for _ in range(2))
        self.stride, self.more = stride, features - channels

    def __call__(self, x):
        branch = self.norms[1](self.second(nnx.relu(self.norms[0](self.first(x)))))
        shortcut = jnp.pad(x[:, :: self.stride, :: self.stride], ((0, 0), (0, 0), (0, 0), (0, self.more)))
        return nnx.relu(shortcut + branch)


class ResNet8(nnx.Module):
    """He et al.'s ResNet for small images, with one block in each stage."""

    def __init__(self, *, rngs: nnx.Rngs):
        self.first, self.norm = (
            nnx.Conv(3, 16, (3, 3), use_bias=False, rngs=rngs),
            nnx.BatchNorm(16, momentum=0.9, rngs=rngs),
        )
        self.blocks = nnx.List([
            Block(16, 16, 1, rngs=rngs), Block(16, 32, 2, rngs=rngs), Block(32, 64, 2, rngs=rngs)
        ])  # fmt: skip
        self.output = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.norm(self.first(x)))
        for block in self.blocks:
            x = block(x)
        return self.output(x.mean((1, 2)))


MODELS = {"mlp": MLP, "2c2d": Net2c2d, "3c3d": Net3c3d, "resnet": ResNet8}
