"""Penalties beyond the contracts over their table: traced factors of 0, groups, repeated singular values."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_intro import trees
from jaxopt_intro.regularizers import PENALTIES, gradient_penalty, group_lasso, nuclear
from tests.reference import regularizers as reference
from tests.regularizers.cases import PARAMS, leaves, params

EPS32, EPS64 = float(np.finfo(np.float32).eps), float(np.finfo(np.float64).eps)


@pytest.mark.parametrize("how", ["closed over", "traced"])
@pytest.mark.parametrize("name", PENALTIES)
def test_a_factor_of_0_leaves_inf_alone(name: str, how: str):
    penalty, factors = PENALTIES[name], {"kernel": 0.5, "other": 0.0}
    tree = {"kernel": params()["kernel"], "other": jnp.array([[jnp.inf, 1.0], [-jnp.inf, jnp.nan], [1e30, 0.0]])}

    def value(tree, factors, strength):
        return penalty(tree, strength=strength, factors=factors)

    if how == "traced":
        both = jax.jit(jax.value_and_grad(value, argnums=(0, 1, 2)))
        found, (by_tree, by_factors, by_strength) = both(tree, jax.tree.map(jnp.float32, factors), jnp.float32(0.3))
        assert np.isfinite(by_factors["other"])
    else:
        both = jax.jit(jax.value_and_grad(lambda t, s: value(t, factors, s), argnums=(0, 1)))
        found, (by_tree, by_strength) = both(tree, jnp.float32(0.3))
    expected = 0.5 * reference.PENALTIES[name]([PARAMS["kernel"]], strength=float(np.float32(0.3)))
    np.testing.assert_allclose(found, expected, rtol=64 * EPS32)
    np.testing.assert_allclose(by_strength, expected / 0.3, rtol=64 * EPS32)
    assert np.all(by_tree["other"] == 0)
    assert np.all(np.isfinite(by_tree["kernel"]))


@pytest.mark.parametrize("name", PENALTIES)
def test_the_derivative_by_a_factor_at_0_is_the_leaf_s_penalty(name: str):
    tree = {"kernel": params()["kernel"]}
    by_factor = jax.grad(lambda f: PENALTIES[name](tree, strength=0.3, factors={"kernel": f}))(jnp.float32(0))
    np.testing.assert_allclose(by_factor, PENALTIES[name](tree, strength=0.3), rtol=64 * EPS32)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", PENALTIES)
def test_gradients_and_curvatures_are_finite_differences(name: str):
    tree, h = params(jnp.float64), 1e-6
    way = jax.tree.map(lambda x: jnp.cos(2.0 * jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape), tree)
    ahead, behind = (jax.tree.map(lambda x, w, s=s: x + s * h * w, tree, way) for s in (1, -1))
    slope = jax.jit(lambda t: jax.jvp(lambda u: PENALTIES[name](u, strength=0.3), (t,), (way,))[1])
    value = jax.jit(lambda t: PENALTIES[name](t, strength=0.3))
    np.testing.assert_allclose(slope(tree), (value(ahead) - value(behind)) / (2 * h), rtol=1e-7)
    curvature = jax.grad(slope)(tree)
    found = sum(jnp.vdot(c, w) for c, w in zip(jax.tree.leaves(curvature), jax.tree.leaves(way), strict=True))
    np.testing.assert_allclose(found, (slope(ahead) - slope(behind)) / (2 * h), rtol=1e-7, atol=1e-7)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("shape", [(3, 3), (5, 3), (3, 5)], ids=str)
def test_the_nuclear_norm_has_two_derivatives_where_singular_values_repeat(shape):
    h, eye = 1e-6, 2.0 * jnp.eye(*shape)
    way = jnp.asarray(np.sin(1.0 + np.arange(eye.size) ** 1.3).reshape(shape))
    slope = jax.grad(lambda x: nuclear(x, strength=0.7))
    np.testing.assert_allclose(slope(eye), 0.7 * jnp.eye(*shape), atol=1e-14)
    curvature = jax.jvp(slope, (eye,), (way,))[1]
    np.testing.assert_allclose(curvature, (slope(eye + h * way) - slope(eye - h * way)) / (2 * h), atol=1e-8)
    for matrix in (jnp.zeros(shape), jnp.eye(*shape).at[1, 1].set(0.0), jnp.ones(shape)):
        assert np.all(np.isfinite(slope(matrix)))
        assert np.all(np.isfinite(jax.jvp(slope, (matrix,), (way,))[1]))
    # The subgradient of least norm: nothing pushes a direction that is zero.
    assert slope(jnp.eye(*shape).at[1, 1].set(0.0))[1, 1] == 0
    np.testing.assert_allclose(jnp.linalg.norm(slope(jnp.ones(shape))), 0.7, rtol=64 * EPS64)


def test_groups_are_units_or_rows():
    kernel, conv = PARAMS["kernel"], PARAMS["conv"]["kernel"]
    rows = sum(np.sqrt(2) * np.linalg.norm(row) for row in kernel)
    np.testing.assert_allclose(group_lasso(jnp.float32(kernel), strength=1.0, axes=(-1,)), rows, rtol=64 * EPS32)
    channels = sum(np.sqrt(12) * np.linalg.norm(conv[:, :, i]) for i in range(2))
    found = group_lasso(jnp.float32(conv), strength=1.0, axes=(0, 1, -1))
    np.testing.assert_allclose(found, channels, rtol=64 * EPS32)
    table = {"embed": {"embedding": jnp.float32(kernel)}}
    np.testing.assert_allclose(group_lasso(table, strength=1.0), rows, rtol=64 * EPS32)


@pytest.mark.parametrize("name", PENALTIES)
def test_kernels_alone_count_in_a_training(name: str):
    tree = params()
    of_kernels = PENALTIES[name](tree, strength=0.3, factors=trees.kernels(tree))
    expected = reference.PENALTIES[name](leaves({**PARAMS, "bias": np.zeros(2)}), strength=0.3)
    np.testing.assert_allclose(of_kernels, expected, rtol=64 * EPS32)


@pytest.mark.usefixtures("x64")
def test_the_gradient_penalty_is_its_formula():
    weights = jnp.array([[1.3, -0.2], [0.4, 0.9], [-1.1, 0.3]])
    inputs = jnp.asarray(np.sin(1.0 + np.arange(12.0)).reshape(4, 3))
    score = lambda x: jnp.sum(jnp.tanh(x @ weights), axis=-1)  # noqa: E731
    norms, h = [], 1e-6
    for x in np.asarray(inputs):
        slopes = [(score(x + h * e) - score(x - h * e)) / (2 * h) for e in np.eye(3)]
        norms.append(np.linalg.norm(slopes))
    for target in (0.0, 1.0):
        found = jax.jit(lambda t: gradient_penalty(score, inputs, strength=0.3, target=t))(target)
        np.testing.assert_allclose(found, 0.3 * np.mean((np.array(norms) - target) ** 2), rtol=1e-8)


def test_the_gradient_penalty_trains_flat_functions_and_refuses_batches_of_scores():
    inputs = jnp.ones((4, 3))
    for target in (0.0, 1.0):
        slope = jax.grad(lambda w: gradient_penalty(lambda x: x @ w, inputs, strength=0.3, target=target))  # noqa: B023
        assert np.all(slope(jnp.zeros(3)) == 0)
    with pytest.raises(ValueError, match=r"got values of shape \(4, 2\).*expected \(4,\)"):
        gradient_penalty(lambda x: x[:, :2], inputs, strength=1.0)
