"""Two ways to compute the same gradient in less memory, for what one member alone has too little of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxopt_intro.typing import Array, Batch, PyTree

_PRODUCTS = ("dot_general", "conv_general_dilated", "convolution", "input_gradient", "kernel_gradient")


def recomputing(objective: Callable[..., Any]) -> Callable[..., Any]:
    """Returns an objective of which only matrix products and convolutions are kept for the gradient.

    All that lies between them is computed again: the same gradient, for a few passes over the activations more.

    Args:
        objective: A function of which gradients are taken.

    References:
        Chen et al. 2016, Training deep nets with sublinear memory cost, section 4.

    Examples:
        >>> jax.grad(recomputing(lambda x: jnp.sin(jnp.sin(x))))(0.0).tolist()
        1.0
    """
    return jax.checkpoint(objective, policy=lambda primitive, *_, **__: primitive.name in _PRODUCTS)  # type: ignore


def in_pieces(objective: Callable[..., Any], pieces: int) -> Callable[..., Any]:
    """Returns an objective that is computed of equal pieces of the batch, one after the other, and is their mean.

    Nothing of a piece is kept for the gradient but its examples. It is the same objective where that is a mean over
    examples; random draws, as of dropout, are others.

    Args:
        objective: `(params, model_state, batch, key, ...) -> (value, others)`, whose model state is empty.
        pieces: How many.

    Raises:
        ValueError: At a call: the batch has no such pieces, or there is a model state, which is of the whole batch.

    Examples:
        >>> mean = in_pieces(lambda w, state, batch, key: (w * jnp.mean(batch), state), 2)
        >>> value, grad = jax.value_and_grad(mean, has_aux=True)(2.0, {}, jnp.arange(4.0), jax.random.key(0))
        >>> value[0].tolist(), grad.tolist()
        (3.0, 1.5)
    """

    def whole(params: PyTree, model_state: PyTree, batch: Batch, key: Array, *rest: Any) -> Any:
        count = len(jax.tree.leaves(batch)[0])
        if count % pieces or jax.tree.leaves(model_state):
            raise ValueError(
                f"in_pieces: got a batch of {count}, {pieces} pieces and a model state of "
                f"{len(jax.tree.leaves(model_state))} arrays; expected equal pieces, and a model without a state."
            )

        def of_piece(batch: Batch, number: Array) -> Any:
            return objective(params, model_state, batch, jax.random.fold_in(key, number), *rest)

        def body(sums: Any, piece: Any) -> Any:
            return jax.tree.map(jnp.add, sums, of_piece(*piece)), None

        split = jax.tree.map(lambda x: x.reshape(pieces, -1, *x.shape[1:]), batch), jnp.arange(pieces)
        shapes = jax.eval_shape(of_piece, *jax.tree.map(lambda x: x[0], split))
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        sums, _ = jax.lax.scan(jax.checkpoint(body), zeros, split)
        return jax.tree.map(lambda x: x / pieces, sums)

    return whole
