"""A small convolutional network."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

from flax import nnx

from jaxopt_intro.checks import known_name
from jaxopt_intro.domains import checked
from jaxopt_intro.models.from_nnx import from_nnx
from jaxopt_intro.models.images import convolution, with_channels
from jaxopt_intro.models.layers import Dropout, SpatialDropout, max_pool
from jaxopt_intro.models.mlp import ACTIVATIONS, KERNEL_INIT
from jaxopt_intro.typing import Array, Fraction, Model, Number


class ConvNet(nnx.Module):
    """3x3 convolutions, each followed by 2x2 pooling, and a dense layer."""

    def __init__(
        self,
        example: Array,
        *,
        outputs: int,
        channels: Sequence[int],
        activation: str,
        spatial_dropout: Number | None = None,
        dropout: Number | None = None,
        rngs: nnx.Rngs,
    ):
        image = with_channels(example, model="convnet")[0]
        sizes = (image.shape[-1], *channels)
        self.convolutions = nnx.List(
            convolution(i, o, 3, kernel_init=KERNEL_INIT, rngs=rngs) for i, o in itertools.pairwise(sizes)
        )
        height, width = (functools.reduce(lambda size, _: -(-size // 2), channels, side) for side in image.shape[:2])
        self.output = nnx.Linear(height * width * sizes[-1], outputs, rngs=rngs)
        # Last, since they take keys: the weights start alike with and without noise.
        self.spatial = None if spatial_dropout is None else nnx.List(
            SpatialDropout(spatial_dropout, rngs=rngs) for _ in channels
        )  # fmt: skip
        self.dropout = None if dropout is None else Dropout(dropout, rngs=rngs)
        self.activation = ACTIVATIONS[known_name(activation, ACTIVATIONS, "activation")]

    def __call__(self, x: Array) -> Array:
        x = with_channels(x, model="convnet")
        for i, layer in enumerate(self.convolutions):
            x = self.activation(layer(x))
            x = x if self.spatial is None else self.spatial[i](x)
            x = max_pool(x, (2, 2), (2, 2), "SAME")
        x = x.reshape(x.shape[0], -1)
        return self.output(x if self.dropout is None else self.dropout(x))


@checked
def convnet(
    *,
    outputs: int,
    channels: Sequence[int] | int = (16, 32),
    activation: str = "relu",
    spatial_dropout: Fraction | None = None,
    dropout: Fraction | None = None,
) -> Model:
    """A small convolutional network: 3x3 convolutions, each followed by 2x2 maximum pooling, then a dense layer.

    Args:
        outputs: How many scores.
        channels: How many each convolution makes, or those of one. Static.
        activation: One of `elu`, `gelu`, `relu`, `silu`, `tanh`.
        spatial_dropout: The rate at which whole channels are dropped after each convolution, in `[0, 1]`; None leaves
            it out of the program. A value for it in `hparams` takes its place and may be traced.
        dropout: The rate before the dense layer, in `[0, 1]`, likewise.

    Returns:
        The model, of images `[batch, height, width]` or `[batch, height, width, channels]`. Its hyperparameters are
        `spatial_dropout` and `dropout`.

    Raises:
        ValueError: The activation is unknown, or a rate outside its range. At `init`: the inputs are no images.

    References:
        LeCun et al. 1998, Gradient-based learning applied to document recognition; Tompson et al. 2015, Efficient
        object localization using convolutional networks (spatial dropout).

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> model = convnet(outputs=3, channels=(4, 8))
        >>> params, _ = model.init(jax.random.key(0), jnp.ones((1, 7, 7)), {})
        >>> params["convolutions"]["1"]["kernel"].shape, params["output"]["kernel"].shape
        ((3, 3, 4, 8), (32, 3))
    """
    known_name(activation, ACTIVATIONS, "activation")
    build = functools.partial(
        ConvNet,
        outputs=outputs,
        channels=(channels,) if isinstance(channels, int) else tuple(channels),
        activation=activation,
        spatial_dropout=spatial_dropout,
        dropout=dropout,
    )
    return from_nnx(build)._replace(hyperparameters=("spatial_dropout", "dropout"), name="convnet")
