"""All-CNN-C: a network of convolutions alone."""

from __future__ import annotations

import functools
from typing import Any

import jax.numpy as jnp
from flax import nnx

from jaxopt_intro.domains import checked
from jaxopt_intro.models.from_nnx import from_nnx
from jaxopt_intro.models.images import convolution, large_enough, with_channels
from jaxopt_intro.models.layers import Dropout
from jaxopt_intro.typing import Array, Fraction, Model, Number, Size

# Features (0: one for each score), size of the kernel, stride, padding.
LAYERS = (
    (96, 3, 1, "SAME"), (96, 3, 1, "SAME"), (96, 3, 2, "SAME"),
    (192, 3, 1, "SAME"), (192, 3, 1, "SAME"), (192, 3, 2, "SAME"),
    (192, 3, 1, "VALID"), (192, 1, 1, "SAME"), (0, 1, 1, "SAME"),
)  # fmt: skip
DROPPED_AFTER = (2, 5)


class AllCNNC(nnx.Module):
    """Nine convolutions with relu, dropout before and among them, and the mean over all pixels."""

    def __init__(
        self, example: Array, *, outputs: int, input_dropout: Number | None, dropout: Number | None, rngs: nnx.Rngs
    ):
        start: dict[str, Any] = {
            "kernel_init": nnx.initializers.glorot_normal(), "bias_init": nnx.initializers.constant(0.1), "rngs": rngs
        }  # fmt: skip
        images = with_channels(example, model="allcnnc")
        large_enough(images, 9, model="allcnnc")
        made, channels = [], images.shape[-1]
        for features, kernel, stride, padding in LAYERS:
            layer = convolution(channels, features or outputs, kernel, strides=stride, padding=padding, **start)
            made.append(layer)
            channels = features
        self.convolutions = nnx.List(made)
        # Last, since they take keys: the weights start alike with and without noise.
        self.input_dropout = None if input_dropout is None else Dropout(input_dropout, rngs=rngs)
        self.dropout = None if dropout is None else nnx.List(Dropout(dropout, rngs=rngs) for _ in DROPPED_AFTER)

    def __call__(self, x: Array) -> Array:
        x = with_channels(x, model="allcnnc")
        x = x if self.input_dropout is None else self.input_dropout(x)
        for i, layer in enumerate(self.convolutions):
            x = nnx.relu(layer(x))
            if self.dropout is not None and i in DROPPED_AFTER:
                x = self.dropout[DROPPED_AFTER.index(i)](x)
        return jnp.mean(x, axis=(1, 2))


@checked
def allcnnc(*, outputs: Size, input_dropout: Fraction | None = 0.2, dropout: Fraction | None = 0.5) -> Model:
    """All-CNN-C: nine convolutions, two of them with strides in place of pooling, and a mean over all pixels.

    As in the paper, also the last convolution has a relu. Kernels start by Glorot, biases at 0.1, as in DeepOBS; the
    paper does not say.

    Args:
        outputs: How many scores.
        input_dropout: The rate at which numbers of the images are dropped, in `[0, 1]`; None leaves it out of the
            program. A value for it in `hparams` takes its place and may be traced.
        dropout: The rate after each convolution with strides, in `[0, 1]`, likewise.

    Returns:
        The model, of images of at least 9x9 pixels, `[batch, height, width]` or `[batch, height, width, channels]`.
        Its hyperparameters are `input_dropout` and `dropout`.

    Raises:
        ValueError: A rate is outside its range. At `init`: the inputs are no images, or too small.

    References:
        Springenberg et al. 2015, Striving for simplicity: the all convolutional net, table 1 (All-CNN-C) and section
        3.1; Schneider, Balles and Hennig 2019, DeepOBS (cifar100_allcnnc).

    Examples:
        >>> from jaxopt_intro import models
        >>> models.cost(allcnnc(outputs=100), jnp.ones((1, 32, 32, 3))).parameters
        1387108
    """
    build = functools.partial(AllCNNC, outputs=outputs, input_dropout=input_dropout, dropout=dropout)
    return from_nnx(build)._replace(hyperparameters=("input_dropout", "dropout"), name="allcnnc")
