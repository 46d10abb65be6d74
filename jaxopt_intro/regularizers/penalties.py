"""Penalties on parameters: `(params, *, strength, factors=None) -> scalar`.

`factors` is a tree like `params` that says how much each leaf counts; without it all leaves count fully. In a
training, penalties get `trees.kernels(params)`: biases and norm scales are left alone. A leaf of factor 0 adds exactly
nothing, whatever it holds, also where the factor is traced; so does a strength of 0 to all leaves. A penalty is linear
in its strength; its derivative by a parameter is piecewise for all but `l2`, and taken as 0 at a kink. All raise
ValueError where a number has axes, or `factors` another structure than `params`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxopt_intro.checks import axes_of
from jaxopt_intro.domains import checked
from jaxopt_intro.regularizers import spectral
from jaxopt_intro.regularizers.leaves import factors_like, left_out
from jaxopt_intro.trees import at_least_float32, norm_and_direction, unit_axes
from jaxopt_intro.typing import Array, Fraction, Nonnegative, Number, PyTree, Scalar


@checked
def l1(params: PyTree, *, strength: Nonnegative, factors: PyTree | None = None) -> Scalar:
    """The sum of absolute values: `strength * sum(factors * abs(params))`.

    Its derivative at 0 is taken as 0. Exact zeros come from a proximal step, not from this penalty's gradient.

    Args:
        params: Parameters.
        strength: How much the penalty counts, at least 0. May be traced.
        factors: How much each leaf counts; leaves with the Python number 0 are not looked at. May be traced.

    Returns:
        The penalty, in float32 or wider.

    References:
        Tibshirani 1996, Regression shrinkage and selection via the lasso, equation (1).

    Examples:
        >>> l1({"kernel": jnp.array([[1.0, -2.0]])}, strength=0.5).tolist()
        1.5
    """
    return _weighted_sum(lambda path, p: _absolute(p), params, strength, factors, "l1")


@checked
def l2(params: PyTree, *, strength: Nonnegative, factors: PyTree | None = None) -> Scalar:
    """Half the sum of squares: `strength * 0.5 * sum(factors * params ** 2)`.

    Its gradient is `strength * params`, as with an optimizer's coupled weight decay. CS231n writes the penalty
    without the half: its strength is half of this one.

    Args:
        params: Parameters.
        strength: How much the penalty counts, at least 0. May be traced.
        factors: How much each leaf counts; leaves with the Python number 0 are not looked at. May be traced.

    Returns:
        The penalty, in float32 or wider.

    References:
        Hoerl and Kennard 1970, Ridge regression, equation (2.4).

    Examples:
        >>> l2({"kernel": jnp.array([[1.0, -2.0]])}, strength=0.5).tolist()
        1.25
    """
    return _weighted_sum(lambda path, p: 0.5 * _square(p), params, strength, factors, "l2")


@checked
def elastic_net(
    params: PyTree, *, strength: Nonnegative, l1_ratio: Fraction = 0.5, factors: PyTree | None = None
) -> Scalar:
    """The elastic net, a mixture of `l1` and `l2`.

        penalty = strength * sum(factors * (l1_ratio * abs(params) + (1 - l1_ratio) * 0.5 * params ** 2))

    The convention is that of glmnet and scikit-learn, whose `alpha` is `strength`. Zou and Hastie write two strengths,
    `lambda_1` for the absolute values and `lambda_2` for the squares without the half.

    Args:
        params: Parameters.
        strength: How much the penalty counts, at least 0. May be traced.
        l1_ratio: The share of the absolute values, in `[0, 1]`. May be traced.
        factors: How much each leaf counts; leaves with the Python number 0 are not looked at. May be traced.

    Returns:
        The penalty, in float32 or wider.

    References:
        Friedman, Hastie and Tibshirani 2010, Regularization paths for generalized linear models, section 2;
        Zou and Hastie 2005, Regularization and variable selection via the elastic net, section 2.1.

    Examples:
        >>> elastic_net({"kernel": jnp.array([[1.0, -2.0]])}, strength=0.5, l1_ratio=0.25).tolist()
        1.3125
    """

    def mixed(path: tuple[Any, ...], p: Array) -> Array:
        return l1_ratio * jnp.sum(_absolute(p)) + (1 - l1_ratio) * 0.5 * _square(p)

    return _weighted_sum(mixed, params, strength, factors, "elastic_net")


@checked
def group_lasso(
    params: PyTree, *, strength: Nonnegative, axes: Sequence[int] | None = None, factors: PyTree | None = None
) -> Scalar:
    """The sum of the norms of groups, which makes whole groups zero.

        penalty = strength * sum over groups of sqrt(size of the group) * norm(group)

    A group is what one unit receives: a column of a dense kernel, a filter of a convolution, a row of an embedding
    (`trees.unit_axes`), each element of a vector. So it prunes units. For input features, groups are the rows of
    `[in, out]`: `axes=(-1,)`. The root makes groups of different sizes comparable; jaxopt's `prox_group_lasso` and
    scikit-learn's `MultiTaskLasso` leave it out. The derivative at a group that is zero is taken as 0.

    Args:
        params: Parameters.
        strength: How much the penalty counts, at least 0. May be traced.
        axes: The axes of every leaf over which a group runs; None for those of one unit. Static.
        factors: How much each leaf counts; leaves with the Python number 0 are not looked at. May be traced.

    Returns:
        The penalty, in float32 or wider.

    References:
        Yuan and Lin 2006, Model selection and estimation in regression with grouped variables, section 2, with
        its choice of kernels `K_j = p_j I`; Alvarez and Salzmann 2016, Learning the number of neurons in deep networks
        (a group per unit).

    Examples:
        >>> kernel = jnp.array([[3.0, 0.0], [4.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
        >>> group_lasso({"kernel": kernel}, strength=0.5).tolist()
        5.0
    """

    def of_groups(path: tuple[Any, ...], p: Array) -> Array:
        over = unit_axes(path, p) if axes is None else axes_of("group_lasso", axes, p.shape)
        return math.sqrt(math.prod(p.shape[axis] for axis in over)) * norm_and_direction(p, over)[0]

    return _weighted_sum(of_groups, params, strength, factors, "group_lasso")


@checked
def nuclear(params: PyTree, *, strength: Nonnegative, factors: PyTree | None = None) -> Scalar:
    """The sum of singular values, which makes kernels of low rank: `strength * sum(factors * nuclear norm)`.

    A kernel is the matrix `[inputs, outputs]`, a convolution's `[window and inputs, outputs]`; a vector is one column.
    The first two derivatives are finite at zero and at repeated singular values; a singular value of zero is a kink.
    Each call is an SVD of each kernel.

    Args:
        params: Parameters.
        strength: How much the penalty counts, at least 0. May be traced.
        factors: How much each leaf counts; leaves with the Python number 0 are not looked at. May be traced.

    Returns:
        The penalty, in float32 or wider.

    References:
        Fazel, Hindi and Boyd 2001, A rank minimization heuristic with application to minimum order system
        approximation.

    Examples:
        >>> nuclear({"kernel": jnp.diag(jnp.array([3.0, -4.0]))}, strength=0.5).round(4).tolist()
        3.5
    """

    def norm(path: tuple[Any, ...], p: Array) -> Scalar:
        return spectral.nuclear_norm(spectral.as_matrix(path, p))

    return _weighted_sum(norm, params, strength, factors, "nuclear")


@checked
def gradient_penalty(
    function: Callable[[Any], Array],
    inputs: Float[Array, "batch *shape"],
    *,
    strength: Nonnegative,
    target: Nonnegative = 0.0,
) -> Scalar:
    """Penalizes how fast a function changes with its inputs; unlike the others, of a function and not of parameters.

        penalty = strength * mean over examples of (norm(d function / d input) - target) ** 2

    Target 0 is double backpropagation (and the penalty R1, whose gamma is twice the strength); target 1 at inputs
    between real and generated ones is WGAN-GP. The norm's derivative at a gradient of zero is taken as 0.

    Args:
        function: `inputs -> [batch]`: a loss or a score of each example by itself (batch statistics would mix them).
        inputs: A batch of inputs.
        strength: How much the penalty counts, at least 0. May be traced.
        target: The norm that costs nothing, at least 0. May be traced.

    Returns:
        The penalty, in float32 or wider.

    Raises:
        ValueError: The function does not return one value for each example, or the inputs are no array of floats.

    References:
        Drucker and LeCun 1992, Improving generalization performance using double backpropagation;
        Gulrajani et al. 2017, Improved training of Wasserstein GANs, equation (3).

    Examples:
        >>> score = lambda x: 3.0 * x[:, 0] - 4.0 * x[:, 1]
        >>> gradient_penalty(score, jnp.ones((5, 2)), strength=0.5, target=1.0).tolist()
        8.0
    """
    dtype: Any = getattr(inputs, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        got = f"a {type(inputs).__name__}" if dtype is None else f"inputs of dtype {dtype}"
        raise ValueError(
            f"gradient_penalty: got {got}; expected one array of floats, since it differentiates by them. Cast them, "
            "or penalize the parameters."
        )
    values, pull = jax.vjp(function, inputs)
    if jnp.shape(values) != inputs.shape[:1]:
        raise ValueError(
            f"gradient_penalty: got values of shape {jnp.shape(values)} for inputs of shape {inputs.shape}; expected "
            f"{inputs.shape[:1]}, one for each example. Sum or pick the outputs of each example."
        )
    (gradients,) = pull(jnp.ones_like(values))
    norms, _ = norm_and_direction(gradients, range(1, inputs.ndim))
    return strength * jnp.mean(jnp.square(norms - target))


def _absolute(p: Array) -> Array:
    # Not jnp.abs: JAX gives it the derivative 1 at 0, which pushes every zero weight away from zero.
    return p * jnp.sign(p)


def _square(p: Array) -> Array:
    # Summed as it is, and scaled afterwards: that is one pass on a CPU, and a product in between several times slower.
    return jnp.sum(jnp.square(p))


def _weighted_sum(
    function: Callable[[tuple[Any, ...], Array], Array],
    params: PyTree,
    strength: Number,
    factors: PyTree | None,
    name: str,
) -> Scalar:
    """Returns `strength * sum of factor * sum(function(path, leaf))`, in float32 or wider."""

    def term(path: tuple[Any, ...], leaf: Array, factor: Number) -> Scalar:
        if left_out(leaf, factor):
            return jnp.zeros(())
        x, weight = at_least_float32(leaf), strength * factor
        # Not `where(off, 0, ...)`: the derivative by a weight at 0 is the function's value where that is finite.
        off = weight == 0
        value = jnp.sum(function(path, jnp.where(off & ~jnp.isfinite(x), 0.0, x)))
        return weight * jnp.where(off & ~jnp.isfinite(value), 0.0, value)

    terms = jax.tree.map_with_path(term, params, factors_like(params, factors, name))
    return sum(jax.tree.leaves(terms), start=jnp.zeros(()))
