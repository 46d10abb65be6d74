from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_intro.metrics import METRICS, accuracy, squared_error


def test_accuracy_by_hand():
    scores = jnp.array([[3.0, 1.0, 2.0], [0.0, 0.0, 9.0], [1.0, 5.0, 2.0], [1.0, 2.0, 0.0]])
    assert accuracy(scores, jnp.array([0, 2, 0, 1])).tolist() == [1.0, 1.0, 0.0, 1.0]
    assert accuracy(scores, jnp.array([0, 2, 0, 1], jnp.uint8)).dtype == jnp.float32


@pytest.mark.parametrize("where", [0, 1, 2])
def test_a_nan_among_the_scores_is_wrong(where: int):
    scores = jnp.array([[3.0, 1.0, 2.0]]).at[0, where].set(jnp.nan)
    assert [accuracy(scores, jnp.array([c])).tolist() for c in range(3)] == [[0.0]] * 3


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, np.uint32])
def test_any_integer_type_of_labels(dtype):
    scores = jnp.asarray(np.random.default_rng(0).permutation(300), jnp.float32)[None]
    best = int(jnp.argmax(scores))
    for label in (0, 5, best % 256, 44, 120):
        label = min(label, np.iinfo(dtype).max)
        assert accuracy(scores, jnp.array([label], dtype)).tolist() == [float(label == best)]


def test_of_equal_scores_the_first_wins():
    tied = jnp.array([[1.0, 3.0, 3.0]])
    assert [accuracy(tied, jnp.array([c])).tolist() for c in range(3)] == [[0.0], [1.0], [0.0]]


def test_a_label_that_is_no_class_is_wrong():
    assert jax.jit(accuracy)(jnp.eye(2), jnp.array([-1, 2])).tolist() == [0.0, 0.0]


def test_infinite_scores_are_scores():
    assert accuracy(jnp.array([[-jnp.inf, 0.0], [jnp.inf, 0.0]]), jnp.array([1, 0])).tolist() == [1.0, 1.0]


def test_squared_error_is_averaged_over_an_examples_outputs():
    predictions, targets = jnp.array([[1.0, 3.0], [0.0, 0.0]]), jnp.array([[0.0, 0.0], [4.0, 0.0]])
    np.testing.assert_array_equal(squared_error(predictions, targets), [5.0, 8.0])


def test_shapes_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match=r"squared_error: got predictions of shape \(5,\) .*\(5, 1\); .*Reshape"):
        squared_error(jnp.zeros(5), jnp.zeros((5, 1)))
    with pytest.raises(ValueError, match="accuracy: got logits"):
        accuracy(jnp.zeros((5, 2)), jnp.zeros((5, 2)))


def test_the_table():
    assert all(metric.direction in ("min", "max") and callable(metric.function) for metric in METRICS.values())
    assert METRICS["accuracy"].direction == "max"
    assert METRICS["squared_error"].direction == "min"
