"""The convolutional networks 2c2d and 3c3d of DeepOBS, a benchmark of optimizers."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
from flax import nnx

from jaxopt_intro.models.from_nnx import from_nnx
from jaxopt_intro.models.images import convolution, large_enough, with_channels
from jaxopt_intro.models.layers import max_pool
from jaxopt_intro.typing import Array, Model, Size


class ConvDense(nnx.Module):
    """Convolutions, each followed by pooling and relu, then dense layers with relu between them."""

    def __init__(
        self,
        example: Array,
        *,
        name: str,
        outputs: int,
        least: int,
        convolutions: Sequence[tuple[int, int, str]],
        pool: int,
        widths: Sequence[int],
        initializers: tuple[Any, Any, float],
        rngs: nnx.Rngs,
    ):
        for_kernels, for_dense, bias = initializers
        start: Any = nnx.initializers.constant(bias)
        images, pool_of = with_channels(example, model=name), functools.partial(_pooled, pool=pool)
        large_enough(images, least, model=name)
        made, shapes = [], jax.eval_shape(lambda: images[:1])
        for features, kernel, padding in convolutions:
            layer = convolution(
                shapes.shape[-1], features, kernel, padding=padding, kernel_init=for_kernels, bias_init=start, rngs=rngs
            )
            made.append(layer)
            shrinks = kernel - 1 if padding == "VALID" else 0
            height, width = (size - shrinks for size in shapes.shape[1:3])
            shapes = jax.eval_shape(pool_of, jax.ShapeDtypeStruct((1, height, width, features), shapes.dtype))
        self.convolutions, self.pool, self.name = nnx.List(made), pool, name
        sizes = (math.prod(shapes.shape), *widths, outputs)
        self.dense = nnx.List(
            nnx.Linear(i, o, kernel_init=for_dense, bias_init=start, rngs=rngs) for i, o in itertools.pairwise(sizes)
        )

    def __call__(self, x: Array) -> Array:
        x = with_channels(x, model=self.name)
        for layer in self.convolutions:
            x = nnx.relu(_pooled(layer(x), pool=self.pool))  # the same as pooling afterwards, of a quarter of the work
        x = x.reshape(x.shape[0], -1)
        for layer in self.dense[:-1]:
            x = nnx.relu(layer(x))
        return self.dense[-1](x)


def _pooled(x: Array, *, pool: int) -> Array:
    return max_pool(x, (pool, pool), (2, 2), "SAME")


def cnn_2c2d(*, outputs: Size) -> Model:
    """Two convolutions and two dense layers: DeepOBS' network for Fashion-MNIST.

    5x5x32 and 5x5x64 convolutions, each with relu and 2x2 maximum pooling, then dense layers of 1024 and `outputs`.
    Kernels start from a normal distribution of deviation 0.05, cut off at two deviations, biases at 0.05.

    Args:
        outputs: How many scores.

    Returns:
        The model, of images `[batch, height, width]` or `[batch, height, width, channels]`. It has no hyperparameters.

    Raises:
        ValueError: At `init`: the inputs are no images.

    References:
        Schneider, Balles and Hennig 2019, DeepOBS: a deep learning optimizer benchmark suite, table 1 (fmnist_2c2d);
        layers and initialization as in its code.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxopt_intro import models
        >>> models.cost(cnn_2c2d(outputs=10), jnp.ones((1, 28, 28))).parameters
        3274634
    """
    normal = nnx.initializers.truncated_normal(0.05)
    build = functools.partial(
        ConvDense,
        name="2c2d",
        outputs=outputs,
        least=1,
        convolutions=((32, 5, "SAME"), (64, 5, "SAME")),
        pool=2,
        widths=(1024,),
        initializers=(normal, normal, 0.05),
    )
    return from_nnx(build)._replace(hyperparameters=(), name="2c2d")


def cnn_3c3d(*, outputs: Size) -> Model:
    """Three convolutions and three dense layers: DeepOBS' network for CIFAR-10.

    Convolutions 5x5x64 and 3x3x96 without padding and 3x3x128 with, each with relu and 3x3 maximum pooling of stride 2,
    then dense layers of 512, 256 and `outputs`. Kernels start by Glorot, of convolutions normal and of dense layers
    uniform, biases at 0. DeepOBS trains it with an l2 penalty of 0.002 on kernels.

    Args:
        outputs: How many scores.

    Returns:
        The model, of images of at least 9x9 pixels, `[batch, height, width]` or `[batch, height, width, channels]`. It
        has no hyperparameters.

    Raises:
        ValueError: At `init`: the inputs are no images, or too small.

    References:
        Schneider, Balles and Hennig 2019, DeepOBS: a deep learning optimizer benchmark suite, table 1 (cifar10_3c3d);
        layers and initialization as in its code.

    Examples:
        >>> import jax.numpy as jnp
        >>> from jaxopt_intro import models
        >>> models.cost(cnn_3c3d(outputs=10), jnp.ones((1, 32, 32, 3))).parameters
        895210
    """
    build = functools.partial(
        ConvDense,
        name="3c3d",
        outputs=outputs,
        least=9,
        convolutions=((64, 5, "VALID"), (96, 3, "VALID"), (128, 3, "SAME")),
        pool=3,
        widths=(512, 256),
        initializers=(nnx.initializers.glorot_normal(), nnx.initializers.glorot_uniform(), 0.0),
    )
    return from_nnx(build)._replace(hyperparameters=(), name="3c3d")
