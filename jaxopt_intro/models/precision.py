"""Models that compute in fewer bits than their parameters have."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxopt_intro.typing import Array, Hparams, Model, PyTree


def with_compute_dtype(model: Model, dtype: Any) -> Model:
    """Returns a model that computes in another dtype; parameters, gradients and outputs stay float32.

    Parameters and inputs are cast where the model is applied, so the optimizer updates float32 masters. A norm's
    statistics are computed and kept in float32. Integer inputs, such as tokens, are left alone.

    Args:
        model: The model.
        dtype: Such as "bfloat16".

    Returns:
        The model.

    Raises:
        ValueError: It is no floating dtype, or one of 64 bits where these are off.

    References:
        Micikevicius et al. 2018, Mixed precision training, section 3.1 (master parameters).

    Examples:
        >>> from jaxopt_intro import models
        >>> narrow = with_compute_dtype(models.linear(outputs=2), "bfloat16")
        >>> params, state = narrow.init(jax.random.key(0), jnp.ones((1, 3)), {})
        >>> params["dense"]["kernel"].dtype.name
        'float32'
    """
    try:
        narrow = jnp.dtype(dtype)
    except TypeError:
        narrow = None
    if narrow is None or not jnp.issubdtype(narrow, jnp.floating):
        raise ValueError(f"compute_dtype: got {dtype!r}; expected a floating dtype, such as 'bfloat16'.")
    if narrow.itemsize > 4 and not jax.config.jax_enable_x64:  # type: ignore[attr-defined]
        raise ValueError(
            f"compute_dtype: got {dtype!r}, which JAX computes in float32; expected at most 32 bits. Call "
            "jax.config.update('jax_enable_x64', True) before."
        )

    def apply(params: PyTree, model_state: PyTree, inputs: PyTree, **told: Any) -> tuple[PyTree, PyTree]:
        outputs, state = model.apply(_cast(params, narrow), model_state, _cast(inputs, narrow), **told)
        like = jax.tree.map(lambda x: x.dtype, model_state)
        return _cast(outputs, jnp.dtype("float32")), jax.tree.map(lambda x, d: x.astype(d), state, like)

    def bind(params: PyTree, model_state: PyTree, hparams: Hparams, **told: Any) -> Any:
        return model.bind(params, model_state, hparams, **told)  # type: ignore[misc]

    return model._replace(apply=apply, bind=None if model.bind is None else bind)


def narrow_dtype(params: PyTree) -> Any:
    """Returns the dtype of all parameters, where it has fewer bits than float32, or None.

    Examples:
        >>> narrow_dtype({"w": jnp.ones(2, "bfloat16")})
        dtype(bfloat16)
    """
    found = {x.dtype for x in jax.tree.leaves(params) if jnp.issubdtype(x.dtype, jnp.floating)}
    return found.pop() if len(found) == 1 and all(jnp.finfo(d).bits < 32 for d in found) else None


def _cast(tree: PyTree, dtype: Any) -> PyTree:
    def cast(x: Array) -> Array:
        return x.astype(dtype) if jnp.issubdtype(jnp.result_type(x), jnp.floating) else x

    return jax.tree.map(cast, tree)
