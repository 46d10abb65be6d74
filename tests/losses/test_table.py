"""What holds for every row of the table, beside the contracts: bad input and NaN."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_intro import losses
from jaxopt_intro.losses import LOSSES
from tests.contracts.cases import LABELS, SIGNS, predictions_of, targets_of

OF_LABELS = [name for name, loss in LOSSES.items() if targets_of(loss) is LABELS]
OF_SIGNS = [name for name, loss in LOSSES.items() if targets_of(loss) is SIGNS]
OTHERS = [name for name in LOSSES if name not in OF_LABELS]
SCORES = np.array([[3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1]], np.float32)


def test_the_table_holds_every_public_loss_of_two_arrays():
    tables = {"LOSSES", "BATCH_LOSSES", "OUTPUTS_FOR_EACH_TARGET", "reduction"}
    assert set(losses.__all__) - set(LOSSES) - set(losses.BATCH_LOSSES) == {*tables, "triplet"}
    assert all(getattr(losses, name) is loss for name, loss in LOSSES.items())
    assert (len(OF_LABELS), len(OF_SIGNS), len(OTHERS)) == (7, 5, 19)


@pytest.mark.parametrize("label", [-1, 3, 7, -(2**31)])
@pytest.mark.parametrize("name", OF_LABELS)
def test_a_label_that_is_no_class_is_an_error_where_it_is_known(name: str, label: int):
    low, high = min(0, label), max(2, label)
    with pytest.raises(ValueError, match=rf"{name}: got labels from {low} to {high}; expected classes from 0 to 2\."):
        LOSSES[name](jnp.asarray(SCORES), jnp.array([0, label, 2]))


@pytest.mark.parametrize("name", OF_LABELS)
def test_a_label_that_is_no_class_gives_nan_where_it_is_traced(name: str):
    labels = jnp.array([[0, -1, 2], [3, 1, -(2**31)]])
    for call in (jax.jit(LOSSES[name]), jax.vmap(LOSSES[name])):
        nans = [np.isnan(call(jnp.asarray(SCORES), row)).tolist() for row in labels]
        assert nans == [[False, True, False], [True, False, True]]


@pytest.mark.parametrize("name", ["softmax_cross_entropy", "focal"])
def test_a_label_that_is_no_class_gives_nan_also_with_class_weights(name: str):
    weights = jnp.array([1.0, 2.0, 0.0])
    values = jax.jit(LOSSES[name])(jnp.asarray(SCORES), jnp.array([-1, 3, 2]), class_weights=weights)
    assert np.isnan(values).tolist() == [True, True, False]
    assert values[2] == 0


@pytest.mark.parametrize("name", OF_LABELS)
def test_a_single_class_is_no_question(name: str):
    value, gradient = jax.value_and_grad(lambda s: LOSSES[name](s, jnp.array([0]))[0])(jnp.array([[2.5]]))
    assert value == 0
    assert gradient.tolist() == [[0.0]]


@pytest.mark.parametrize("name", ["softmax_cross_entropy", "focal"])
def test_class_weights_of_another_length_are_refused(name: str):
    for weights in (jnp.ones(2), jnp.ones(4), jnp.ones((3, 1)), jnp.ones(())):
        with pytest.raises(ValueError, match=rf"{name}: got class_weights of shape .* shape \(3,\)"):
            LOSSES[name](jnp.asarray(SCORES), jnp.array([0, 1, 2]), class_weights=weights)


@pytest.mark.parametrize("name", OF_LABELS)
def test_one_hot_labels_are_refused(name: str):
    with pytest.raises(ValueError, match=rf"{name}: got logits of shape \(3, 3\) and labels .* expected .*argmax"):
        LOSSES[name](jnp.asarray(SCORES), jnp.eye(3))


@pytest.mark.parametrize("name", OTHERS)
def test_shapes_that_would_broadcast_are_refused(name: str):
    wide = predictions_of(LOSSES[name]).shape[1] // 3
    for predictions, targets in [((5,), (5, 1)), ((5, wide), (5,)), ((1, wide), (5, 1)), ((5, 2 * wide), (5, 1))]:
        with pytest.raises(ValueError, match=rf"{name}: got predictions of shape .* and targets .* expected"):
            LOSSES[name](jnp.zeros(predictions), jnp.ones(targets))


@pytest.mark.parametrize("name", ["kl", "jensen_shannon", "cosine"])
def test_vectors_need_an_axis(name: str):
    with pytest.raises(ValueError, match=rf"{name}: got arrays of shape \(\); expected \[\.\.\., features\]"):
        LOSSES[name](jnp.zeros(()), jnp.ones(()))


@pytest.mark.parametrize("name", OF_SIGNS)
def test_targets_that_are_no_signs_are_an_error_or_nan(name: str):
    scores, targets = jnp.array([0.5, 2.0, -1.0]), jnp.array([1.0, 0.0, -1.0])
    with pytest.raises(ValueError, match=rf"{name}: got the target 0.0; expected -1 or 1\. .* 2 \* targets - 1"):
        LOSSES[name](scores, targets)
    assert np.isnan(jax.jit(LOSSES[name])(scores, targets)).tolist() == [False, True, False]
    integers = LOSSES[name](scores, jnp.array([1, 1, -1], jnp.int8))
    np.testing.assert_array_equal(integers, LOSSES[name](scores, jnp.array([1.0, 1.0, -1.0])))


@pytest.mark.parametrize("name", LOSSES)
def test_nan_in_nan_out(name: str):
    predictions = jnp.asarray(predictions_of(LOSSES[name]), jnp.float32).at[1].set(jnp.nan)
    values = np.asarray(
        jax.jit(LOSSES[name])(
            predictions, jnp.asarray(targets_of(LOSSES[name]), jnp.float32) if name in OTHERS else jnp.asarray(LABELS)
        )
    )
    assert np.all(np.isnan(values[1]))
    assert np.all(np.isfinite(np.delete(values, 1, axis=0)))


@pytest.mark.parametrize("name", LOSSES)
def test_examples_do_not_see_each_other(name: str):
    predictions, targets = jnp.asarray(predictions_of(LOSSES[name])), jnp.asarray(targets_of(LOSSES[name]))
    together = LOSSES[name](predictions, targets)
    deep = LOSSES[name](predictions[:, None], targets[:, None])
    assert deep.shape == (together.shape[0], 1, *together.shape[1:])
    np.testing.assert_allclose(deep[:, 0], together, rtol=16 * np.finfo(np.float32).eps, atol=1e-6)
    np.testing.assert_allclose(LOSSES[name](predictions[2], targets[2]), together[2], rtol=2e-6, atol=1e-6)
