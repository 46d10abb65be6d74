"""Functions of a matrix's singular values, with derivatives that are finite where singular values repeat or vanish.

Differentiating an SVD divides by differences of singular values. A function `F(X) = U diag(f(s)) V'` needs none of
that: with `E = U' dX V`, split into `E = sym + skew`,

    dF = U (sym * (f[i] - f[j]) / (s[i] - s[j]) + skew * (f[i] + f[j]) / (s[i] + s[j])) V' + outside

where a divided difference at equal singular values is the derivative of `f`, and `outside` is the part of `dX` out of
the span of `U` (of `V`, for a wide matrix) times `f / s`.

References:
    Daleckii and Krein 1965, Integration and differentiation of functions of Hermitian operators (divided differences);
    Candès, Sing-Long and Trzasko 2013, Unbiased risk estimates for singular value thresholding and spectral
    estimators (for singular values).
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Float

from jaxopt_intro.trees import unit_axes
from jaxopt_intro.typing import Array, Scalar


def as_matrix(path: tuple[Any, ...], leaf: Float[Array, "*shape"]) -> Float[Array, "rows columns"]:
    """Returns a kernel as a matrix `[inputs, outputs]`; an embedding as it is, a vector as one column.

    Examples:
        >>> as_matrix((), jnp.zeros((5, 5, 3, 8))).shape
        (75, 8)
    """
    rank = leaf.ndim
    rows = rank if rank < 2 else 1 if unit_axes(path, leaf) == (0,) else rank - 1
    return leaf.reshape(math.prod(leaf.shape[:rows]), math.prod(leaf.shape[rows:]))


@jax.custom_jvp
def nuclear_norm(matrix: Float[Array, "rows columns"]) -> Scalar:
    """The sum of the singular values. Its gradient is `polar(matrix)`: zero at zero, the subgradient of least norm.

    Examples:
        >>> nuclear_norm(jnp.diag(jnp.array([3.0, -4.0]))).round(4).tolist()
        7.0
    """
    return jnp.sum(polar(matrix) * matrix)


@nuclear_norm.defjvp
def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    gradient = polar(primals[0])
    return jnp.sum(gradient * primals[0]), jnp.sum(gradient * tangents[0])


@jax.custom_jvp
def polar(matrix: Float[Array, "rows columns"]) -> Float[Array, "rows columns"]:
    """Replaces every singular value by 1, and those that are zero to rounding by 0.

    Examples:
        >>> polar(jnp.diag(jnp.array([3.0, -4.0, 0.0]))).round(4).tolist()
        [[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    u, s, vt = _svd(matrix)
    return _product(u * (s > 0)[None, :], vt)


@polar.defjvp
def _(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    u, s, vt = _svd(primals[0])
    ones = (s > 0).astype(s.dtype)
    apart = jnp.abs(ones[:, None] - ones[None, :])
    slopes = _ratio(apart, jnp.maximum(s[:, None], s[None, :]), 0.0)
    return _product(u * ones[None, :], vt), _tangent(u, s, vt, tangents[0], ones, slopes, 0.0)


@jax.custom_jvp
def shrink(matrix: Float[Array, "rows columns"], threshold: Scalar) -> Float[Array, "rows columns"]:
    """Takes `threshold` off every singular value, down to 0; a threshold of 0 gives the matrix itself, bit by bit.

    Examples:
        >>> shrink(jnp.diag(jnp.array([3.0, -1.0])), jnp.array(2.0)).round(4).tolist()
        [[1.0, 0.0], [0.0, 0.0]]
    """
    u, s, vt = _svd(matrix)
    return jnp.where(threshold == 0, matrix, _product(u * _shrunk(s, threshold)[None, :], vt))


@shrink.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (matrix, threshold), (change, threshold_change) = primals, tangents
    u, s, vt = _svd(matrix)
    values = _shrunk(s, threshold)
    high, low = jnp.maximum(s[:, None], s[None, :]), jnp.minimum(s[:, None], s[None, :])
    # Closed form: a difference of nearly equal values over that of nearly equal singular values would be noise.
    slopes = jnp.where(low >= threshold, 1.0, _ratio(jnp.maximum(high - threshold, 0.0), high - low, 0.0))
    by_matrix = _tangent(u, s, vt, change, values, slopes, jnp.where(threshold == 0, 1.0, 0.0))
    by_threshold = -_product(u * ((s >= threshold) & (s > 0))[None, :], vt) * threshold_change
    out = jnp.where(threshold == 0, matrix, _product(u * values[None, :], vt))
    return out, by_matrix + by_threshold


def _svd(matrix: Array) -> tuple[Array, Array, Array]:
    """The thin SVD, its singular values that are zero to rounding set to 0."""
    u, s, vt = jnp.linalg.svd(matrix, full_matrices=False)
    number = jnp.finfo(s.dtype)
    rounding = jnp.maximum(max(matrix.shape) * number.eps * s[:1], number.tiny)
    return u, jnp.where(s <= rounding, 0.0, s), vt


def _shrunk(s: Array, threshold: Scalar) -> Array:
    return jnp.where(s < threshold, 0.0, s - threshold)


def _tangent(
    u: Array, s: Array, vt: Array, change: Array, values: Array, slopes: Array, at_zero: Scalar | float
) -> Array:
    inner = _product(_product(u.T, change), vt.T)
    sums = _ratio(values[:, None] + values[None, :], s[:, None] + s[None, :], at_zero)
    turned = slopes * (inner + inner.T) / 2 + sums * (inner - inner.T) / 2
    outside = change - _product(_product(u, inner), vt)
    ratios = _ratio(values, s, at_zero)
    if change.shape[0] >= change.shape[1]:
        outside = _product(outside, _product(vt.T * ratios[None, :], vt))
    else:
        outside = _product(_product(u * ratios[None, :], u.T), outside)
    return _product(_product(u, turned), vt) + outside


def _ratio(numerator: Array, denominator: Array, at_zero: Scalar | float) -> Array:
    zero = denominator == 0
    return jnp.where(zero, at_zero, numerator / jnp.where(zero, 1.0, denominator))


def _product(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision="highest")  # an accelerator's default would round to 10 bits
