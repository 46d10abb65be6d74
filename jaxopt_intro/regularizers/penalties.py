"""Penalties on parameters: `(params, *, strength, factors=None) -> scalar`.

`factors` is a tree like `params` that says how much each leaf counts; without it all leaves count fully. In a
training, penalties get `trees.kernels(params)`: biases and norm scales are left alone.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxopt_intro.trees import at_least_float32
from jaxopt_intro.typing import Array, Number, PyTree, Scalar


def l1(params: PyTree, *, strength: Number, factors: PyTree | None = None) -> Scalar:
    """The sum of absolute values: `strength * sum(factors * abs(params))`.

    Its derivative at 0 is taken as 0. Exact zeros come from a proximal step, not from this penalty's gradient.

    Args:
        params: Parameters.
        strength: How much the penalty counts, at least 0. May be traced.
        factors: How much each leaf counts; leaves with the Python number 0 are not looked at.

    Returns:
        The penalty, in float32 or wider.

    References:
        Tibshirani 1996, Regression shrinkage and selection via the lasso, equation (1).

    Examples:
        >>> l1({"kernel": jnp.array([[1.0, -2.0]])}, strength=0.5).tolist()
        1.5
    """
    # Not jnp.abs: JAX gives it the derivative 1 at 0, which pushes every zero weight away from zero.
    return strength * _weighted_sum(lambda p: p * jnp.sign(p), params, factors)


def l2(params: PyTree, *, strength: Number, factors: PyTree | None = None) -> Scalar:
    """Half the sum of squares: `strength * 0.5 * sum(factors * params ** 2)`.

    Its gradient is `strength * params`, as with an optimizer's coupled weight decay. CS231n writes the penalty
    without the half: its strength is half of this one.

    Args:
        params: Parameters.
        strength: How much the penalty counts, at least 0. May be traced.
        factors: How much each leaf counts; leaves with the Python number 0 are not looked at.

    Returns:
        The penalty, in float32 or wider.

    References:
        Hoerl and Kennard 1970, Ridge regression, equation (2.4).

    Examples:
        >>> l2({"kernel": jnp.array([[1.0, -2.0]])}, strength=0.5).tolist()
        1.25
    """
    return 0.5 * strength * _weighted_sum(jnp.square, params, factors)


def _weighted_sum(function: Callable[[Array], Array], params: PyTree, factors: PyTree | None) -> Scalar:
    if factors is None:
        factors = jax.tree.map(lambda _: 1.0, params)
    terms = jax.tree.map(lambda p, f: _term(function, p, f), params, factors)
    return sum(jax.tree.leaves(terms), start=jnp.zeros(()))


def _term(function: Callable[[Array], Array], leaf: Array, factor: Number) -> Scalar:
    if isinstance(factor, int | float) and not factor:  # static: which leaves count is structure, not a number
        return jnp.zeros(())
    return jnp.sum(jnp.where(factor == 0, 0.0, factor * function(at_least_float32(leaf))))
