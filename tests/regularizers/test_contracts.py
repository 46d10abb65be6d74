"""Contracts 1 to 3 over the tables of proximal operators and projections."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_intro import regularizers, routing
from tests.regularizers.cases import CASES, NUMBERED, NUMBERED_IDS, PROJECT, PROX, TAKES, Case, leaves, small

EPS32 = float(np.finfo(np.float32).eps)
STEP = 1e-6
ids = {"ids": lambda case: case.name}


def _skewed_sum(tree):
    flat = jnp.concatenate([x.ravel() for x in jax.tree.leaves(tree)])
    return jnp.sum(flat * jnp.cos(1.0 + jnp.arange(flat.size)))


def test_every_row_has_a_case_with_all_its_numbers():
    tables = {"proximal": regularizers.PROXIMALS, "projections": regularizers.PROJECTIONS}
    for kind, table in tables.items():
        for name, function in table.items():
            takes = TAKES[f"{kind}-{name}"]
            assert routing.numbers(function, constructs=False) == tuple(n for n in takes if n != "step")
            assert function.__name__ == name
            assert "References:" in function.__doc__


@pytest.mark.parametrize("case", [c for c in CASES if c.numbers], **ids)
def test_all_numbers_together_may_be_traced(case: Case):
    tree, scales = small(), np.float32([0.5, 0.75, 1.0])
    population = jax.jit(jax.vmap(case.run, (0, None)))({n: v * scales for n, v in case.numbers.items()}, tree)
    solo = jax.jit(lambda t: case.run({n: v * 0.75 for n, v in case.numbers.items()}, t))(tree)
    for many, one in zip(leaves(population), leaves(solo), strict=True):
        np.testing.assert_allclose(many[1], one, rtol=64 * EPS32, atol=64 * EPS32)


@pytest.mark.parametrize(("case", "number"), NUMBERED, ids=NUMBERED_IDS)
def test_a_number_alone_may_be_traced_and_0_is_a_value_like_any_other(case: Case, number: str):
    run = jax.jit(lambda v, t: case.run({**case.numbers, number: v}, t))
    for value in (0.0, case.numbers[number]):
        traced = run(jnp.float32(value), small())
        closed = jax.jit(lambda t, v=value: case.run({**case.numbers, number: v}, t))(small())
        for a, b in zip(leaves(traced), leaves(closed), strict=True):
            np.testing.assert_allclose(a, b, rtol=64 * EPS32, atol=64 * EPS32)
            assert np.all(np.isfinite(a))
    assert run._cache_size() == 1


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("case", "number"), NUMBERED, ids=NUMBERED_IDS)
def test_a_derivative_by_a_number_is_the_finite_difference(case: Case, number: str):
    tree = small(jnp.float64)
    value = jax.jit(lambda v: _skewed_sum(case.run({**case.numbers, number: v}, tree)))
    at = jnp.float64(case.numbers[number])
    difference = (value(at + STEP) - value(at - STEP)) / (2 * STEP)
    np.testing.assert_allclose(jax.grad(value)(at), difference, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(jax.jvp(value, (at,), (jnp.ones_like(at),))[1], difference, rtol=1e-7, atol=1e-7)
    assert abs(difference) > 1e-3, "the number has no effect"


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", CASES, **ids)
def test_a_derivative_by_the_parameters_is_the_finite_difference(case: Case):
    tree = small(jnp.float64)
    value = jax.jit(lambda t: _skewed_sum(case.run(case.numbers, t)))
    way = jax.tree.map(lambda x: jnp.cos(2.0 * jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape), tree)
    ahead, behind = (jax.tree.map(lambda x, w, s=s: x + s * STEP * w, tree, way) for s in (1, -1))
    difference = (value(ahead) - value(behind)) / (2 * STEP)
    gradient = jax.grad(value)(tree)
    reverse = sum(jnp.vdot(g, w) for g, w in zip(jax.tree.leaves(gradient), jax.tree.leaves(way), strict=True))
    np.testing.assert_allclose(reverse, difference, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(jax.jvp(value, (tree,), (way,))[1], difference, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("case", CASES, **ids)
def test_derivatives_are_finite_at_zeros_ties_and_extremes(case: Case):
    derivative = jax.jit(jax.grad(lambda n, t: _skewed_sum(case.run(n, t)), argnums=(0, 1)))
    zeros = jax.tree.map(jnp.zeros_like, small())
    trees = (
        zeros,
        jax.tree.map(jnp.ones_like, zeros),
        *(jax.tree.map(lambda x, s=s: s * x, small()) for s in (1e30, 1e-30)),
    )
    for tree in trees:
        for scale in (1.0, 0.0):
            found = derivative({n: jnp.float32(scale * v) for n, v in case.numbers.items()}, tree)
            assert all(np.all(np.isfinite(d)) for d in jax.tree.leaves(found)), (scale, found)


@pytest.mark.parametrize("case", CASES, **ids)
def test_dtypes_are_kept_and_half_precision_is_computed_in_float32(case: Case):
    numbers = {n: jnp.float32(v) for n, v in case.numbers.items()}
    rounded = jax.tree.map(lambda x: x.astype(jnp.bfloat16), small())
    run = jax.jit(case.run)
    half, single = run(numbers, rounded), run(numbers, jax.tree.map(lambda x: x.astype(jnp.float32), rounded))
    for h, s in zip(jax.tree.leaves(half), jax.tree.leaves(single), strict=True):
        assert h.dtype == jnp.bfloat16
        np.testing.assert_array_equal(np.float32(h), np.float32(s.astype(jnp.bfloat16)))
    with jax.enable_x64(True):
        assert all(x.dtype == jnp.float64 for x in jax.tree.leaves(run(case.numbers, small(jnp.float64))))


@pytest.mark.parametrize("how", ["closed over", "traced"])
@pytest.mark.parametrize("case", CASES, **ids)
def test_a_factor_of_0_leaves_a_leaf_alone(case: Case, how: str):
    tree = {"kernel": small()["kernel"], "other": jnp.array([[jnp.inf, -3.0], [jnp.nan, 0.0], [-1e30, 7.0]])}
    tree["whole"] = jnp.array([[0.0, -3.0], [1e-3, 5.0], [2.0, 7.0]])

    def value(tree, numbers, factors):
        out = case.run(numbers, tree, factors)
        return _skewed_sum({"kernel": out["kernel"]}) + jnp.sum(out["whole"]), out

    both = jax.value_and_grad(value, argnums=(0, 1), has_aux=True)
    factors = {"kernel": 1.0, "other": 0.0, "whole": 0.0}
    numbers = {n: jnp.float32(v) for n, v in case.numbers.items()}
    run = jax.jit(both) if how == "traced" else lambda t, n, f: jax.jit(lambda t, n: both(t, n, f))(t, n)
    (_, out), (by_tree, by_numbers) = run(
        tree, numbers, jax.tree.map(jnp.float32, factors) if how == "traced" else factors
    )
    np.testing.assert_array_equal(out["other"], tree["other"])
    np.testing.assert_array_equal(out["whole"], tree["whole"])
    np.testing.assert_allclose(by_tree["whole"], 1.0, rtol=8 * EPS32)  # left alone in its derivative too
    assert np.all(by_tree["other"] == 0)
    assert all(np.isfinite(d) for d in by_numbers.values())
    assert np.any(out["kernel"] != tree["kernel"])


@pytest.mark.parametrize("case", CASES, **ids)
def test_nan_is_not_hidden(case: Case):
    tree = {"kernel": jnp.array([[jnp.nan, 2.0], [0.5, 1.0], [3.0, 0.1]])}
    assert np.isnan(case.run(case.numbers, tree)["kernel"][0, 0])


@pytest.mark.parametrize("case", PROX, **ids)
def test_a_step_of_0_is_the_identity(case: Case):
    if "step" in case.numbers:
        out = jax.jit(case.run)({**case.numbers, "step": jnp.float32(0)}, small())
        for a, b in zip(leaves(out), leaves(small()), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("case", [c for c in PROX if c.row in ("l1", "l2", "elastic_net", "nonnegative")], **ids)
def test_separable_operators_take_a_step_for_each_element(case: Case):
    tree = small()
    steps = jax.tree.map(lambda x: 0.1 + jnp.arange(x.size, dtype=x.dtype).reshape(x.shape), tree)
    out = case.run({**case.numbers, "step": steps}, tree)
    one = {n: v for n, v in case.numbers.items() if n != "step"}
    for j, step in enumerate(np.ravel(steps["kernel"])):
        alone = case.run({**one, "step": float(step)}, tree["kernel"])
        np.testing.assert_allclose(np.ravel(out["kernel"])[j], np.ravel(alone)[j], rtol=8 * EPS32, atol=8 * EPS32)


def test_the_table_of_cases_is_not_empty():
    assert (len(PROX), len(PROJECT), len(NUMBERED)) == (6, 8, 18)
