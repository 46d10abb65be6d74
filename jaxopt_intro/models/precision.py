"""Models that compute in fewer bits than their parameters have."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxopt_intro.models.cost import products
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
    narrow = compute_dtype_of(dtype)

    def apply(params: PyTree, model_state: PyTree, inputs: PyTree, **told: Any) -> tuple[PyTree, PyTree]:
        outputs, state = model.apply(_cast(params, narrow), model_state, _cast(inputs, narrow), **told)
        like = jax.tree.map(lambda x: x.dtype, model_state)
        return _cast(outputs, jnp.dtype("float32")), jax.tree.map(lambda x, d: x.astype(d), state, like)

    def bind(params: PyTree, model_state: PyTree, hparams: Hparams, **told: Any) -> Any:
        return model.bind(params, model_state, hparams, **told)  # type: ignore[misc]

    return model._replace(apply=apply, bind=None if model.bind is None else bind)


def compute_dtype_of(dtype: Any) -> Any:
    """Returns the dtype that a name, a scalar type or a dtype stands for.

    Raises:
        ValueError: It is no floating dtype, or one of 64 bits where these are off.

    Examples:
        >>> compute_dtype_of("bfloat16") == compute_dtype_of(jnp.bfloat16)
        True
    """
    try:
        found = jnp.dtype(dtype)
    except TypeError:
        found = None
    if found is None or not jnp.issubdtype(found, jnp.floating):
        raise ValueError(f"compute_dtype: got {dtype!r}; expected a floating dtype, such as 'bfloat16'.")
    if found.itemsize > 4 and not jax.config.jax_enable_x64:  # type: ignore[attr-defined]
        raise ValueError(
            f"compute_dtype: got {dtype!r}, which JAX computes in float32; expected at most 32 bits. Call "
            "jax.config.update('jax_enable_x64', True) before."
        )
    return found


def refuse_wide_products(model: Model, example: PyTree, hparams: Hparams, dtype: Any) -> None:
    """Refuses a model all of whose products and convolutions are wider than the dtype that it is to compute in.

    A layer whose own dtype is written out computes in that one; a model that has some such layers is let be.

    Args:
        model: Of `with_compute_dtype`.
        example: A batch of inputs.
        hparams: The model's hyperparameters.
        dtype: The dtype.

    Raises:
        ValueError: All products are.

    Examples:
        >>> from jaxopt_intro import models
        >>> refuse_wide_products(models.linear(outputs=2), jnp.ones((1, 3)), {}, "bfloat16")
        Traceback (most recent call last):
        ...
        ValueError: compute_dtype: got bfloat16, but all products of model linear are float32; ...
    """

    def outputs(key: Array, x: PyTree) -> PyTree:
        params, state = model.init(key, x, hparams)
        return model.apply(params, state, x, train=True, key=key, hparams=hparams)[0]

    key, narrow = jax.eval_shape(lambda: jax.random.key(0)), compute_dtype_of(dtype)
    found = [jnp.promote_types(*operands) for operands in products(outputs, key, example)]
    wide = [other for other in found if jnp.finfo(other).bits > jnp.finfo(narrow).bits]
    if wide and len(wide) == len(found):
        raise ValueError(
            f"compute_dtype: got {narrow.name}, but all products of model {model.name} are {wide[0].name}; expected "
            "narrow ones. The layers' own dtype is written out: leave it out, or set it to the narrow one."
        )


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
