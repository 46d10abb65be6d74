"""The linear classifier: `f(x) = x @ kernel + bias`."""

from __future__ import annotations

import functools

from flax import nnx

from jaxopt_intro.models.from_nnx import from_nnx
from jaxopt_intro.typing import Array, Model


class Linear(nnx.Module):
    """One dense layer on flattened inputs, its kernel starting at zero."""

    def __init__(self, example: Array, *, outputs: int, rngs: nnx.Rngs):
        zeros = nnx.initializers.zeros_init()
        self.dense = nnx.Linear(example[0].size, outputs, kernel_init=zeros, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.dense(x.reshape(x.shape[0], -1))


def linear(*, outputs: int) -> Model:
    """A linear model on flattened inputs; with cross entropy it is softmax regression.

    Kernel and bias start at zero, so a seed changes nothing but the batches' order, and that only with
    `Experiment(vary_batches=True)`.

    Args:
        outputs: How many scores.

    Returns:
        The model.

    Examples:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> params, _ = linear(outputs=3).init(jax.random.key(0), jnp.ones((1, 2, 2)), {})
        >>> params["dense"]["kernel"].shape
        (4, 3)
    """
    return from_nnx(functools.partial(Linear, outputs=outputs))._replace(hyperparameters=(), name="linear")
