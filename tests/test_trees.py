from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_intro import trees

TREE = {"a": {"0": jnp.ones(2), "1": jnp.zeros((2, 3))}, "b": [jnp.array(4.0), jnp.array(5.0)]}


def test_named_leaves_and_back():
    leaves = trees.named_leaves(TREE)
    assert list(leaves) == ["a/0", "a/1", "b/0", "b/1"]
    back = trees.from_named_leaves(jax.eval_shape(lambda: TREE), dict(reversed(leaves.items())))
    jax.tree.map(np.testing.assert_array_equal, back, TREE)


def test_leaves_of_another_tree_are_refused():
    with pytest.raises(ValueError, match=r"missing \['b/1'\], unknown \['c'\]"):
        trees.from_named_leaves(TREE, {"a/0": 0, "a/1": 0, "b/0": 0, "c": 0})


def test_kernels_are_the_matrices_that_are_not_called_bias_or_scale():
    shapes = {"kernel": (2, 3), "bias": (3,), "scale": (3,), "embedding": (5, 2), "conv": {"kernel": (3, 3, 1, 4)}}
    per_head = {"attention": {"bias": (4, 2), "scale": (4, 2), "kernel": (2, 4, 2)}}
    params = jax.tree.map(jnp.zeros, {**shapes, **per_head}, is_leaf=lambda x: isinstance(x, tuple))
    named = trees.named_leaves(trees.kernels(params))
    assert {n for n, f in named.items() if f} == {"kernel", "embedding", "conv/kernel", "attention/kernel"}
    assert set(named.values()) == {0.0, 1.0}


def test_norm():
    assert float(trees.norm({"a": jnp.array([3.0]), "b": jnp.array([[4.0], [12.0]])})) == 13.0
    assert float(trees.norm({})) == 0.0
    assert trees.norm({"a": jnp.full(300, 1.0, jnp.bfloat16)}).dtype == jnp.float32
    assert float(trees.norm({"a": jnp.full(1024, 1.0, jnp.bfloat16)})) == 32.0  # bfloat16 cannot count beyond 256
    assert float(trees.norm({"a": jnp.array([300.0], jnp.float16)})) == 300.0  # its square overflows float16
    assert np.isnan(trees.norm({"a": jnp.array([jnp.nan, 1.0])}))
    assert np.isinf(trees.norm({"a": jnp.array([jnp.inf, 1.0])}))


def test_the_gradient_of_norm():
    gradient = jax.grad(trees.norm)
    np.testing.assert_array_equal(gradient(jnp.zeros(3)), np.zeros(3))
    np.testing.assert_allclose(gradient(jnp.array([3.0, 4.0])), [0.6, 0.8], rtol=1e-6)


def test_norm_keeps_float64(x64: None):
    assert trees.norm({"a": jnp.array([1.0, 1e-9])}).dtype == jnp.float64
    mixed = {"a": jnp.ones(1, jnp.float32), "b": jnp.array([1e-5])}
    np.testing.assert_allclose(trees.norm(mixed), np.sqrt(1 + 1e-10), rtol=1e-15)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32], ids=lambda d: d.__name__)
def test_at_least_float32(dtype):
    assert trees.at_least_float32(jnp.ones(2, dtype)).dtype == jnp.float32
    zeros = trees.zeros_at_least_float32({"w": jnp.ones((2, 3), dtype)})["w"]
    assert (zeros.dtype, zeros.shape) == (jnp.float32, (2, 3))


def test_at_least_float32_leaves_float64_alone(x64: None):
    assert trees.at_least_float32(jnp.ones(2)).dtype == jnp.float64
    assert trees.zeros_at_least_float32(jnp.ones(2)).dtype == jnp.float64


def test_member():
    population = {"w": jnp.arange(6.0).reshape(3, 2), "b": jnp.arange(3)}
    one = trees.member(population, 2)
    assert (one["w"].tolist(), one["b"].tolist()) == ([4.0, 5.0], 2)


def test_where_takes_a_whole_tree():
    first, second = {"w": jnp.array([1.0, jnp.nan])}, {"w": jnp.array([3.0, 4.0])}
    assert trees.where(jnp.array(False), first, second)["w"].tolist() == [3.0, 4.0]
    assert jax.jit(trees.where)(jnp.array(True), second, first)["w"].tolist() == [3.0, 4.0]
