"""Proximal operators by the theory: minimizers, nonexpansive, gradients of Moreau envelopes, and by the papers."""

from __future__ import annotations

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_intro.regularizers import PENALTIES, proximal, spectral
from tests.contracts.cases import Case
from tests.reference import regularizers as reference
from tests.regularizers.cases import NUMBERS, PARAMS, PROX, leaves, params

EPS32, EPS64 = float(np.finfo(np.float32).eps), float(np.finfo(np.float64).eps)
KERNEL = np.asarray(PARAMS["kernel"])
ids = {"ids": lambda case: case.name}


def _penalty(case: Case, tree) -> float:
    if case.row == "nonnegative":
        return 0.0 if all(np.all(x >= 0) for x in leaves(tree)) else np.inf
    numbers = {n: v for n, v in case.defaults.items() if n != "step"}
    return float(PENALTIES[case.row](tree, **numbers))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", PROX, **ids)
def test_it_is_its_formula(case: Case):
    numbers = {n: v for n, v in case.defaults.items() if n != "step"}
    for step in (0.1, 1.0, 3.0, 50.0):
        given = {"step": step} if "step" in case.defaults else {}
        out = case.of({**numbers, **given}, params(jnp.float64))
        for leaf, ours in zip(leaves(PARAMS), leaves(out), strict=True):
            expected = reference.PROXIMAL[case.row](leaf, *given.values(), **numbers)
            np.testing.assert_allclose(ours, expected, rtol=64 * EPS64, atol=64 * EPS64)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", PROX, **ids)
def test_it_is_the_minimizer(case: Case):
    # The objective is strongly convex: from its minimizer it grows at least by norm(z - prox) ** 2 / (2 step).
    tree, random = params(jnp.float64), np.random.default_rng(3)
    at = case.of(case.defaults, tree)

    def objective(z):
        squares = sum(np.sum((a - b) ** 2) for a, b in zip(leaves(z), leaves(tree), strict=True))
        return _penalty(case, z) + 0.5 * squares / NUMBERS["step"]

    least = objective(at)
    for size in (1e-4, 1e-2, 1.0):
        for _ in range(8):
            change = jax.tree.map(lambda x, size=size: size * random.normal(size=x.shape), at)
            if case.row == "nonnegative":
                change = jax.tree.map(lambda c, a: np.maximum(c, -np.asarray(a)), change, at)
            grown = objective(jax.tree.map(jnp.add, at, change)) - least
            bound = 0.5 * sum(np.sum(c**2) for c in leaves(change)) / NUMBERS["step"]
            assert grown >= bound - 64 * EPS64 * abs(least)


@pytest.mark.parametrize("case", PROX, **ids)
def test_it_is_firmly_nonexpansive(case: Case):
    run = jax.jit(functools.partial(case.of, case.defaults))

    @hypothesis.given(st.integers(0, 10**6), st.sampled_from([0.1, 1.0, 30.0]), st.sampled_from([1e-3, 1.0]))
    @hypothesis.settings(max_examples=20)
    def check(seed, size, apart):
        random = np.random.default_rng(seed)
        x = (size * random.standard_t(2, size=KERNEL.shape)).astype(np.float32)
        y = (x + apart * size * random.normal(size=KERNEL.shape)).astype(np.float32)
        moved = np.float64(run(jnp.asarray(x))) - np.float64(run(jnp.asarray(y)))
        was = np.float64(x) - np.float64(y)
        rounding = 32 * EPS32 * np.abs(x).max() * np.linalg.norm(was)
        assert np.sum(moved**2) <= np.sum(moved * was) + rounding

    check()


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", PROX, **ids)
def test_its_step_is_the_gradient_of_the_moreau_envelope(case: Case):
    step, h = NUMBERS["step"], 1e-6
    way = np.cos(2.0 * np.arange(KERNEL.size)).reshape(KERNEL.shape)

    def envelope(x):
        z = case.of(case.defaults, jnp.asarray(x))
        return _penalty(case, z) + 0.5 * np.sum((np.asarray(z) - x) ** 2) / step

    difference = (envelope(KERNEL + h * way) - envelope(KERNEL - h * way)) / (2 * h)
    gradient = (KERNEL - np.asarray(case.of(case.defaults, jnp.asarray(KERNEL)))) / step
    np.testing.assert_allclose(np.sum(gradient * way), difference, rtol=1e-7, atol=1e-8)


def test_sparse_ones_give_exact_zeros():
    tree = params()
    assert np.sum(np.asarray(proximal.l1(tree, 1.0, strength=0.5)["kernel"]) == 0) == 3
    assert np.sum(np.asarray(proximal.elastic_net(tree, 1.0, strength=1.0, l1_ratio=0.5)["kernel"]) == 0) == 3
    pruned = proximal.group_lasso(tree, 1.0, strength=0.3)["kernel"]
    assert np.all(pruned[:, 1] == 0)
    assert np.all(pruned[:, 0] != 0)
    rows = proximal.group_lasso({"kernel": tree["kernel"]}, 1.0, strength=0.5, axes=(-1,))["kernel"]
    assert np.all(rows[1] == 0)
    assert np.all(rows[0] != 0)
    assert np.all(proximal.nuclear(tree, 100.0, strength=1.0)["kernel"] == 0)
    assert np.linalg.matrix_rank(proximal.nuclear(tree, 1.0, strength=0.5)["kernel"]) == 1


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (3, 5)], ids=str)
@pytest.mark.parametrize("threshold", [0.3, 1.7], ids=str)
def test_the_matrix_operator_differentiates_where_singular_values_repeat(shape, threshold):
    rows, columns = shape
    way = jnp.asarray(np.sin(1.0 + np.arange(rows * columns) ** 1.3).reshape(shape))
    u = np.linalg.qr(np.cos(np.arange(rows**2) ** 1.2).reshape(rows, rows))[0]
    vt = np.linalg.qr(np.sin(np.arange(columns**2) ** 1.1).reshape(columns, columns))[0]
    middle = np.zeros(shape)
    for k, s in enumerate([2.5, 2.5, 1.0, 0.0][: min(shape)]):
        middle[k, k] = s  # repeated, on either side of the threshold, and zero

    def shrink(x):
        return spectral.shrink(x, jnp.float64(threshold))

    h = 1e-6
    for matrix in (jnp.eye(*shape), 3.0 * jnp.eye(*shape), jnp.zeros(shape), jnp.asarray(u @ middle @ vt)):
        difference = (shrink(matrix + h * way) - shrink(matrix - h * way)) / (2 * h)
        _, forward = jax.jvp(shrink, (matrix,), (way,))
        np.testing.assert_allclose(forward, difference, atol=1e-7)
        # Reverse mode is the transpose of forward mode.
        other = jnp.cos(jnp.arange(matrix.size, dtype=float)).reshape(shape)
        reverse = jax.vjp(shrink, matrix)[1](other)[0]
        np.testing.assert_allclose(jnp.vdot(reverse, way), jnp.vdot(other, forward), rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("x64")
def test_at_threshold_0_the_matrix_operator_is_the_identity_with_derivative_1():
    way = jnp.asarray(np.cos(np.arange(12.0)).reshape(4, 3))
    for matrix in (jnp.zeros((4, 3)), jnp.eye(4, 3), jnp.asarray(np.arange(12.0).reshape(4, 3))):
        out, forward = jax.jvp(lambda x: spectral.shrink(x, jnp.float64(0)), (matrix,), (way,))
        np.testing.assert_array_equal(out, matrix)
        np.testing.assert_allclose(forward, way, atol=1e-14)


def test_jax_s_own_svd_is_no_substitute():
    # What `spectral` is for; if this ever fails, its custom derivative can go.
    def naive(x):
        u, s, vt = jnp.linalg.svd(x, full_matrices=False)
        return jnp.sum(((u * jnp.maximum(s - 0.3, 0.0)[None, :]) @ vt) * jnp.arange(9.0).reshape(3, 3))

    assert not np.all(np.isfinite(jax.grad(naive)(jnp.eye(3))))
    assert np.all(np.isfinite(jax.grad(lambda x: jnp.sum(spectral.shrink(x, jnp.float32(0.3))))(jnp.eye(3))))
