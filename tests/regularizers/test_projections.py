"""Projections by the theory: feasible, idempotent, nearest; by the papers; and on the right axes of each kernel."""

from __future__ import annotations

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxopt_intro import trees
from jaxopt_intro.regularizers import projections
from tests.contracts.cases import Case
from tests.reference import regularizers as reference
from tests.regularizers.cases import NUMBERS, PARAMS, PROJECT, leaves, params

EPS32, EPS64 = float(np.finfo(np.float32).eps), float(np.finfo(np.float64).eps)
CONVEX = [case for case in PROJECT if case.row != "unit_norm"]
SHAPE = (3, 2)
ids = {"ids": lambda case: case.name}
seeds, sizes = st.integers(0, 10**6), st.sampled_from([1e-3, 1.0, 1e4])


def _violation(name: str, x: np.ndarray) -> float:
    """By how much a matrix misses its set, relative to the set's size."""
    radius = NUMBERS["radius"]
    norms = np.linalg.norm(x, axis=0)
    return {
        "box": max(0.0, NUMBERS["low"] - x.min(), x.max() - NUMBERS["high"]),
        "l1_ball": np.abs(x).sum() / radius - 1,
        "l2_ball": np.linalg.norm(x) / radius - 1,
        "linf_ball": np.abs(x).max() / radius - 1,
        "max_norm": norms.max() / radius - 1,
        "nonnegative": max(0.0, -x.min()),
        "simplex": max(abs(x.sum() / radius - 1), -x.min()),
        "unit_norm": np.abs(norms - 1).max(),
    }[name]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", PROJECT, **ids)
def test_it_is_its_formula(case: Case):
    for scale in (0.01, 0.3, 1.0, 100.0):
        tree = jax.tree.map(lambda x, s=scale: s * x, params(jnp.float64))
        for leaf, ours in zip(leaves(tree), leaves(case.of(case.defaults, tree)), strict=True):
            expected = reference.PROJECTIONS[case.row](leaf, **case.defaults)
            np.testing.assert_allclose(ours, expected, rtol=64 * EPS64, atol=64 * EPS64)


@pytest.mark.parametrize("case", PROJECT, **ids)
def test_it_is_feasible_and_idempotent(case: Case):
    run = jax.jit(functools.partial(case.of, case.defaults))

    @hypothesis.given(seeds, sizes)
    def check(seed, size):
        x = (size * np.random.default_rng(seed).standard_t(2, size=SHAPE)).astype(np.float32)
        once = run(jnp.asarray(x))
        assert _violation(case.row, np.float64(once)) <= 8 * EPS32
        np.testing.assert_allclose(run(once), once, rtol=16 * EPS32, atol=16 * EPS32)

    check()


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", CONVEX, **ids)
def test_it_is_the_nearest_point(case: Case):
    # A point p of a convex set is nearest to x exactly where <x - p, z - p> <= 0 for all z of the set.
    run = jax.jit(functools.partial(case.of, case.defaults))

    @hypothesis.given(seeds, st.sampled_from([0.3, 3.0]), st.sampled_from([1e-4, 1.0]))
    @hypothesis.settings(max_examples=30)
    def check(seed, size, apart):
        random = np.random.default_rng(seed)
        x = size * random.standard_t(3, size=SHAPE)
        p = np.asarray(run(jnp.asarray(x)))
        z = reference.PROJECTIONS[case.row](p + apart * random.normal(size=SHAPE), **case.defaults)
        assert np.sum((x - p) * (z - p)) <= 64 * EPS64 * max(1.0, np.abs(x).max())

    check()


@pytest.mark.parametrize("case", CONVEX, **ids)
def test_points_of_the_set_are_left_alone(case: Case):
    inside = jnp.array([[0.25, 0.0], [0.25, 0.125], [0.125, 0.05]], jnp.float32)
    if case.row == "simplex":
        inside = inside * jnp.float32(NUMBERS["radius"]) / jnp.sum(inside)
        np.testing.assert_allclose(case.of(case.defaults, inside), inside, rtol=16 * EPS32, atol=4 * EPS32)
    else:
        np.testing.assert_array_equal(case.of(case.defaults, inside), inside)


def test_max_norm_knows_its_units():
    ones = {
        "attention": {
            "query": {"kernel": jnp.ones((4, 2, 3)), "bias": jnp.ones((2, 3))},
            "out": {"kernel": jnp.ones((2, 3, 5))},
        },
        "conv": {"kernel": jnp.ones((3, 3, 2, 8)), "bias": jnp.ones(8)},
        "dense": {"kernel": jnp.ones((16, 5)), "bias": jnp.ones(5)},
        "embed": {"embedding": jnp.ones((7, 9))},
        "norm": {"scale": jnp.ones(5), "bias": jnp.ones(5)},
    }
    skewed = jax.tree.map(lambda x: x * (1.0 + jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape), ones)
    out = trees.named_leaves(jax.jit(projections.max_norm)(skewed, radius=jnp.float32(0.5)))
    norms = {
        "attention/query/kernel": np.linalg.norm(out["attention/query/kernel"], axis=0),
        "attention/out/kernel": np.linalg.norm(np.reshape(out["attention/out/kernel"], (6, 5)), axis=0),
        "conv/kernel": np.linalg.norm(np.reshape(out["conv/kernel"], (18, 8)), axis=0),
        "dense/kernel": np.linalg.norm(out["dense/kernel"], axis=0),
        "embed/embedding": np.linalg.norm(out["embed/embedding"], axis=1),
    }
    for name, leaf in trees.named_leaves(skewed).items():
        if name in norms:
            np.testing.assert_allclose(norms[name], 0.5, rtol=8 * EPS32, err_msg=name)
            shrunk = leaf / out[name]  # along a unit all weights shrink by one factor, which no other unit shares
            assert len(np.unique(np.round(shrunk, 3))) == norms[name].size, name
        else:
            np.testing.assert_array_equal(out[name], leaf)


def test_an_infinite_radius_is_no_bound_and_has_derivatives():
    x = jnp.array([[0.5, 0.0], [-2.0, 0.0]])
    for name in ("l1_ball", "l2_ball", "linf_ball", "max_norm"):
        both = jax.value_and_grad(
            lambda r, t, n=name: jnp.sum(getattr(projections, n)({"w": t}, radius=r)["w"]), (0, 1)
        )
        value, (by_radius, by_x) = both(jnp.float32(jnp.inf), x)
        assert (value, by_radius) == (-1.5, 0)
        assert np.all(by_x == 1)


def test_names_are_those_of_flax():
    model = nnx.Dict(
        conv=nnx.Conv(2, 8, (3, 3), rngs=nnx.Rngs(0)),
        dense=nnx.Linear(16, 5, rngs=nnx.Rngs(0)),
        embed=nnx.Embed(7, 9, rngs=nnx.Rngs(0)),
        attention=nnx.MultiHeadAttention(2, 4, 6, decode=False, rngs=nnx.Rngs(0)),
    )
    found = {
        trees.path_name(path): trees.unit_axes(path, leaf)
        for path, leaf in jax.tree.leaves_with_path(nnx.to_pure_dict(nnx.state(model, nnx.Param)))
    }
    assert found["conv/kernel"] == (0, 1, 2)
    assert found["dense/kernel"] == (0,)
    assert found["embed/embedding"] == (1,)
    assert found["attention/query/kernel"] == (0,)
    assert found["attention/out/kernel"] == (0, 1)


@hypothesis.given(
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=5, max_size=5), st.sampled_from([0.0, 1e-3, 1.0, 50.0])
)
def test_the_simplex_is_that_of_duchi(values, radius):
    x = np.array([*values, values[0], values[1] + 1e3], np.float32)  # a tie, and an offset
    out = np.float64(_simplex(jnp.asarray(x), jnp.float32(radius)))
    radius = float(np.float32(radius))
    assert abs(out.sum() - radius) <= 8 * EPS32 * radius
    assert out.min() >= 0
    np.testing.assert_allclose(out, reference.simplex(np.float64(x), radius=radius), atol=16 * EPS32 * radius + 1e-44)


_simplex = jax.jit(lambda x, radius: projections.simplex(x, radius=radius))


def test_large_vectors_keep_their_sum():
    x = np.random.default_rng(0).normal(size=20_000).astype(np.float32)
    for offset in (0.0, 1e4):
        for radius in (1e-3, 1.0, 1e3):
            out = np.float64(_simplex(jnp.asarray(x + np.float32(offset)), radius))
            assert abs(out.sum() / radius - 1) <= 64 * EPS32
            ball = np.float64(projections.l1_ball(jnp.asarray(x), radius=radius))
            assert np.abs(ball).sum() / radius - 1 <= 64 * EPS32


def test_sets_agree_with_optax_on_one_vector():
    x = jnp.asarray(np.ravel(PARAMS["kernel"]), jnp.float32)
    optax_sets = optax.projections
    for ours, theirs in (
        (projections.simplex(x, radius=0.9), optax_sets.projection_simplex(x, 0.9)),
        (projections.l1_ball(x, radius=0.9), optax_sets.projection_l1_ball(x, 0.9)),
        (projections.l2_ball(x, radius=0.9), optax_sets.projection_l2_ball(x, 0.9)),
        (projections.linf_ball(x, radius=0.9), optax_sets.projection_linf_ball(x, 0.9)),
        (projections.box(x, low=-0.4, high=0.7), optax_sets.projection_box(x, -0.4, 0.7)),
    ):
        np.testing.assert_allclose(ours, theirs, rtol=16 * EPS32, atol=4 * EPS32)


def test_rows_by_vmap():
    rows = jnp.asarray(PARAMS["kernel"], jnp.float32)
    out = jax.vmap(functools.partial(projections.simplex, radius=1.0))(rows)
    np.testing.assert_allclose(out.sum(1), 1.0, rtol=4 * EPS32)
    assert abs(projections.simplex(rows, radius=1.0).sum() - 1.0) <= 8 * EPS32
