"""Proximal operators: `(tree, step, *, strength, ..., factors=None) -> tree`.

    prox(x) = argmin over z of penalty(z) + 0.5 * norm(z - x) ** 2 / step

with the penalty of the same name, strength and factors in `penalties`. A step of 0 is the identity. A leaf of factor 0
is left as it is, whatever it holds. The separable ones (`l1`, `l2`, `elastic_net`, `nonnegative`) also take a tree of
steps like `tree`, one for each coordinate: the operator in a diagonal metric.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxopt_intro.regularizers import projections, spectral
from jaxopt_intro.trees import at_least_float32, norm_and_direction, unit_axes
from jaxopt_intro.typing import Array, Number, PyTree


def l1(tree: PyTree, step: Number | PyTree, *, strength: Number, factors: PyTree | None = None) -> PyTree:
    """Soft thresholding: moves every element by `step * strength` toward 0, and to exactly 0 if that is nearer.

        prox = sign(tree) * max(abs(tree) - step * strength * factors, 0)

    Args:
        tree: Parameters after a gradient step.
        step: The length of that step, at least 0; a number, or one for each element. May be traced.
        strength: The strength of the penalty `l1`, at least 0. May be traced.
        factors: How much each leaf counts; 0 leaves it alone. May be traced.

    Returns:
        The parameters after the proximal step, in their dtypes.

    References:
        Donoho and Johnstone 1994, Ideal spatial adaptation by wavelet shrinkage (soft thresholding);
        Beck and Teboulle 2009, A fast iterative shrinkage-thresholding algorithm, equation (1.5).

    Examples:
        >>> l1(jnp.array([1.0, -0.25, -3.0]), 1.0, strength=0.5).tolist()
        [0.5, 0.0, -2.5]
    """
    return _each(lambda path, x, t: _soft(x, t * strength), tree, step, factors)


def l2(tree: PyTree, step: Number | PyTree, *, strength: Number, factors: PyTree | None = None) -> PyTree:
    """Shrinks toward 0, an implicit weight decay: `tree / (1 + step * strength * factors)`.

    Args:
        tree: Parameters after a gradient step.
        step: The length of that step, at least 0; a number, or one for each element. May be traced.
        strength: The strength of the penalty `l2`, at least 0. May be traced.
        factors: How much each leaf counts; 0 leaves it alone. May be traced.

    Returns:
        The parameters after the proximal step, in their dtypes.

    References:
        Parikh and Boyd 2014, Proximal algorithms, section 6.1.1 (quadratic functions).

    Examples:
        >>> l2(jnp.array([1.0, -3.0]), 2.0, strength=0.5).tolist()
        [0.5, -1.5]
    """
    return _each(lambda path, x, t: x / (1 + t * strength), tree, step, factors)


def elastic_net(
    tree: PyTree,
    step: Number | PyTree,
    *,
    strength: Number,
    l1_ratio: Number = 0.5,
    factors: PyTree | None = None,
) -> PyTree:
    """Soft thresholding, then shrinking: the operator of the elastic net in scikit-learn's convention.

        t = step * strength * factors
        prox = soft(tree, t * l1_ratio) / (1 + t * (1 - l1_ratio))

    Args:
        tree: Parameters after a gradient step.
        step: The length of that step, at least 0; a number, or one for each element. May be traced.
        strength: The strength of the penalty `elastic_net`, at least 0. May be traced.
        l1_ratio: The share of the absolute values, in `[0, 1]`. May be traced.
        factors: How much each leaf counts; 0 leaves it alone. May be traced.

    Returns:
        The parameters after the proximal step, in their dtypes.

    References:
        Parikh and Boyd 2014, Proximal algorithms, section 6.5.3 (elastic net).

    Examples:
        >>> elastic_net(jnp.array([2.0, -0.25]), 1.0, strength=2.0, l1_ratio=0.5).tolist()
        [0.5, 0.0]
    """

    def prox(path: tuple[Any, ...], x: Array, t: Array) -> Array:
        return _soft(x, t * strength * l1_ratio) / (1 + t * strength * (1 - l1_ratio))

    return _each(prox, tree, step, factors)


def group_lasso(
    tree: PyTree,
    step: Number,
    *,
    strength: Number,
    axes: Sequence[int] | None = None,
    factors: PyTree | None = None,
) -> PyTree:
    """Block soft thresholding: shortens each group, and makes it exactly 0 if it is short.

        t = step * strength * factors * sqrt(size of the group)
        prox = group * max(1 - t / norm(group), 0)

    Args:
        tree: Parameters after a gradient step.
        step: The length of that step, at least 0; one number. May be traced.
        strength: The strength of the penalty `group_lasso`, at least 0. May be traced.
        axes: The axes of every leaf over which a group runs; None for those of one unit. Static.
        factors: How much each leaf counts; 0 leaves it alone. May be traced.

    Returns:
        The parameters after the proximal step, in their dtypes.

    References:
        Yuan and Lin 2006, Model selection and estimation in regression with grouped variables, equation (2.4).

    Examples:
        >>> kernel = jnp.array([[3.0, 0.1], [4.0, 0.1], [0.0, 0.0], [0.0, 0.0]])
        >>> group_lasso({"kernel": kernel}, 1.0, strength=1.25)["kernel"].tolist()
        [[1.5, 0.0], [2.0, 0.0], [0.0, 0.0], [0.0, 0.0]]
    """

    def prox(path: tuple[Any, ...], x: Array, t: Array) -> Array:
        over = unit_axes(path, x) if axes is None else axes
        norm, direction = norm_and_direction(x, over)
        t = t * strength * math.sqrt(math.prod(x.shape[axis] for axis in over))
        return jnp.where(norm < t, 0.0, x - t * direction)

    return _each(prox, tree, step, factors)


def nuclear(tree: PyTree, step: Number, *, strength: Number, factors: PyTree | None = None) -> PyTree:
    """Singular value thresholding: soft thresholding of each kernel's singular values, which lowers its rank.

        prox = U max(s - step * strength * factors, 0) V'

    Kernels are matrices as in the penalty `nuclear`. The derivative is finite at zero and repeated singular values.

    Args:
        tree: Parameters after a gradient step.
        step: The length of that step, at least 0; one number. May be traced.
        strength: The strength of the penalty `nuclear`, at least 0. May be traced.
        factors: How much each leaf counts; 0 leaves it alone. May be traced.

    Returns:
        The parameters after the proximal step, in their dtypes.

    References:
        Cai, Candès and Shen 2010, A singular value thresholding algorithm for matrix completion, equation (2.2) and
        theorem 2.1.

    Examples:
        >>> nuclear(jnp.diag(jnp.array([3.0, -1.0])), 1.0, strength=2.0).round(4).tolist()
        [[1.0, 0.0], [0.0, 0.0]]
    """

    def prox(path: tuple[Any, ...], x: Array, t: Array) -> Array:
        threshold = jnp.asarray(t * strength, x.dtype)
        return spectral.shrink(spectral.as_matrix(path, x), threshold).reshape(x.shape)

    return _each(prox, tree, step, factors)


def nonnegative(tree: PyTree, step: Number | PyTree = 1.0, *, factors: PyTree | None = None) -> PyTree:
    """Replaces negative elements by 0: the operator of "not below 0", for which no step matters.

    Args:
        tree: Parameters after a gradient step.
        step: Has no effect; here so that all operators are called alike.
        factors: 0 leaves a leaf alone. May be traced.

    Returns:
        The parameters after the proximal step, in their dtypes.

    References:
        Parikh and Boyd 2014, Proximal algorithms, section 6.2 (projections are proximal operators of indicators).

    Examples:
        >>> nonnegative(jnp.array([1.0, -2.0])).tolist()
        [1.0, 0.0]
    """
    return projections.nonnegative(tree, factors=factors)


def _soft(x: Array, threshold: Array | Number) -> Array:
    # Not `abs(x) > threshold`, which would turn NaN into 0, nor `<=`: at threshold 0 the derivative is 1, also at 0.
    return jnp.where(jnp.abs(x) < threshold, 0.0, x - jnp.sign(x) * threshold)


def _each(
    prox: Callable[[tuple[Any, ...], Array, Any], Array], tree: PyTree, step: Number | PyTree, factors: PyTree | None
) -> PyTree:
    """Calls `prox(path, leaf, step * factor)` for each leaf in float32 or wider; factor 0 leaves inf and NaN alone."""
    if factors is None:
        factors = jax.tree.map(lambda _: 1.0, tree)
    if jax.tree.structure(step) != jax.tree.structure(tree):
        step = jax.tree.map(lambda _: step, tree)

    def moved(path: tuple[Any, ...], leaf: Array, step: Number, factor: Number) -> Array:
        if isinstance(factor, int | float) and not factor:
            return leaf
        x = at_least_float32(leaf)
        alone = (factor == 0) & ~jnp.isfinite(x)
        out = prox(path, jnp.where(alone, 0.0, x), step * factor)
        return jnp.where(alone, x, out).astype(jnp.result_type(leaf))

    return jax.tree.map_with_path(moved, tree, step, factors)
