"""Which leaves, and how much: factors, steps of 0 and by element, and what is refused, over all tables of trees."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_intro.regularizers import penalties, projections, proximal
from tests.contracts.cases import STEPS, TREE_CASES, WEIGHTS, Case, cast
from tests.regularizers.cases import PROJECT, PROX, leaves

EPS32 = float(np.finfo(np.float32).eps)
ids = {"ids": lambda case: case.name}


def _skewed_sum(x):
    return jnp.sum(x.ravel() * jnp.cos(1.0 + jnp.arange(x.size)))


@pytest.mark.parametrize("how", ["closed over", "traced"])
@pytest.mark.parametrize("case", PROX + PROJECT, **ids)
def test_a_factor_of_0_leaves_a_leaf_alone(case: Case, how: str):
    tree = {
        "kernel": jnp.asarray(WEIGHTS["kernel"], jnp.float32),
        "other": jnp.array([[jnp.inf, -3.0], [jnp.nan, 0.0], [-1e30, 7.0]]),
        "whole": jnp.array([[0.0, -3.0], [1e-3, 5.0], [2.0, 7.0]]),
    }

    def value(tree, numbers, factors):
        out = case.of(numbers, tree, factors)
        return _skewed_sum(out["kernel"]) + jnp.sum(out["whole"]), out

    both = jax.value_and_grad(value, argnums=(0, 1), has_aux=True)
    factors = {"kernel": 1.0, "other": 0.0, "whole": 0.0}
    numbers = {n: jnp.float32(v) for n, v in case.defaults.items()}
    if how == "traced":
        (_, out), (by_tree, by_numbers) = jax.jit(both)(tree, numbers, jax.tree.map(jnp.float32, factors))
    else:
        (_, out), (by_tree, by_numbers) = jax.jit(lambda t, n: both(t, n, factors))(tree, numbers)
    np.testing.assert_array_equal(out["other"], tree["other"])
    np.testing.assert_array_equal(out["whole"], tree["whole"])
    np.testing.assert_allclose(by_tree["whole"], 1.0, rtol=8 * EPS32)  # left alone in its derivative too
    assert np.all(by_tree["other"] == 0)
    assert all(np.isfinite(d) for d in by_numbers.values())
    assert np.any(out["kernel"] != tree["kernel"])


@pytest.mark.parametrize("case", PROX + PROJECT, **ids)
def test_nan_is_not_hidden(case: Case):
    tree = {"kernel": jnp.array([[jnp.nan, 2.0], [0.5, 1.0], [3.0, 0.1]])}
    assert np.isnan(case.of(case.defaults, tree)["kernel"][0, 0])


@pytest.mark.parametrize("case", TREE_CASES, **ids)
def test_leaves_may_be_empty_or_scalars(case: Case):
    tree = {"empty": jnp.zeros((0, 3)), "kernel": jnp.asarray(WEIGHTS["kernel"], jnp.float32), "scalar": jnp.array(2.0)}
    out = jax.jit(case.of)(case.defaults, tree)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(out))
    if jax.tree.structure(out) == jax.tree.structure(tree):
        assert jax.tree.map(jnp.shape, out) == jax.tree.map(jnp.shape, tree)


@pytest.mark.parametrize("number", ["step", "strength"])
@pytest.mark.parametrize("case", [c for c in PROX if c.defaults], **ids)
def test_a_step_or_strength_of_0_is_the_identity(case: Case, number: str):
    tree = cast(WEIGHTS, jnp.float32) | {"inf": jnp.array([[jnp.inf, 1.0], [2.0, -3.0]])}
    out = jax.jit(case.of)({**case.defaults, number: jnp.float32(0)}, tree)
    jax.tree.map(np.testing.assert_array_equal, out, tree)


@pytest.mark.parametrize("case", [c for c in TREE_CASES if "strength" in c.defaults and c not in PROX], **ids)
def test_a_penalty_of_strength_0_is_0_also_beside_inf(case: Case):
    tree = {"kernel": jnp.array([[jnp.inf, 1.0], [2.0, 1e30]])}
    value, by_tree = jax.value_and_grad(lambda t: case.of({**case.defaults, "strength": jnp.float32(0)}, t))(tree)
    assert value == 0
    assert np.all(by_tree["kernel"] == 0)


@pytest.mark.parametrize("name", ["l1", "l2", "elastic_net", "nonnegative"])
def test_separable_operators_take_a_step_for_each_element(name: str):
    (case,) = [c for c in PROX if c.row == name]
    tree = cast(WEIGHTS, jnp.float32)
    steps = jax.tree.map(lambda x: 0.1 + jnp.arange(x.size, dtype=x.dtype).reshape(x.shape), tree)
    out = case.of({**case.defaults, "step": steps}, tree)
    for j, step in enumerate(np.ravel(steps["kernel"])):
        alone = case.of({**case.defaults, "step": float(step)}, tree["kernel"])
        np.testing.assert_allclose(np.ravel(out["kernel"])[j], np.ravel(alone)[j], rtol=8 * EPS32, atol=8 * EPS32)


@pytest.mark.parametrize("case", PROX + PROJECT, **ids)
def test_a_population_inside_a_scan_is_its_members(case: Case):
    tree, scales = cast(WEIGHTS, jnp.float32), np.float32([0.5, 1.0])
    numbers = {n: jnp.float32(v) * scales for n, v in case.defaults.items()}

    def repeated(run, tree):
        return jax.lax.scan(lambda t, _: (run(jax.tree.map(lambda x: 1.25 * x, t)), None), tree, length=STEPS)[0]

    if numbers:
        many = jax.vmap(lambda n: repeated(functools.partial(case.of, n), tree))(numbers)
        one = repeated(functools.partial(case.of, {n: float(v[1]) for n, v in numbers.items()}), tree)
        for a, b in zip(leaves(many), leaves(one), strict=True):
            np.testing.assert_allclose(a[1], b, rtol=128 * EPS32, atol=128 * EPS32)


KERNEL = {"kernel": jnp.ones((3, 2))}
REFUSED = {
    "a strength for each member": (
        lambda: penalties.l1(KERNEL, strength=jnp.ones(50)), r"l1: got strength of shape \(50,\); expected one number"),
    "a ratio with axes": (
        lambda: penalties.elastic_net(KERNEL, strength=1.0, l1_ratio=jnp.ones(2)), r"got l1_ratio of shape \(2,\)"),
    "a factor that would broadcast": (
        lambda: penalties.l2(KERNEL, strength=1.0, factors={"kernel": jnp.ones(2)}), "l2: got factors kernel of shape"),
    "factors of another tree": (
        lambda: proximal.l1(KERNEL, 0.1, strength=1.0, factors={"bias": 1.0}), "proximal.l1: got factors .*; expected"),
    "axes that are not there": (
        lambda: penalties.group_lasso(KERNEL, strength=1.0, axes=(2,)), r"got axes \(2,\) for an array of shape"),
    "a step that would broadcast": (
        lambda: proximal.l1(KERNEL, {"kernel": jnp.ones(2)}, strength=1.0), r"got a step of shape \(2,\) .*\(3, 2\)"),
    "steps of another tree": (
        lambda: proximal.l1(KERNEL, jnp.ones((3, 2)), strength=1.0), r"proximal.l1: got step of shape \(3, 2\)"),
    "steps by element of one that is not separable": (
        lambda: proximal.nuclear(KERNEL, KERNEL, strength=1.0), "the operator is not separable"),
    "a radius for each unit": (lambda: projections.max_norm(KERNEL, radius=jnp.ones(2)), "max_norm: got radius of"),
    "bounds with axes": (lambda: projections.box(KERNEL, low=-jnp.ones(2), high=1.0), "box: got low of shape"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_it_is_refused(what: str):
    call, message = REFUSED[what]
    with pytest.raises(ValueError, match=message):
        call()
