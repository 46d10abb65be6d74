from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxopt_intro import losses
from jaxopt_intro.losses import LOSSES, reduction
from tests.contracts.cases import LABELS, targets_of
from tests.reference import losses as reference

SLIDE = np.array([[3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1]], np.float32)
CLASSES = np.array([0, 1, 2], np.int32)
EPS = float(np.finfo(np.float32).eps)
OF_LABELS = [name for name, loss in LOSSES.items() if targets_of(loss) is LABELS]

scores = hnp.arrays(np.float32, (6, 4), elements=st.floats(-30, 30, width=32))
labels = hnp.arrays(np.int32, (6,), elements=st.integers(0, 3))
shares = st.floats(0, 1, width=32)


def test_the_slides_hinge_losses():
    values = losses.weston_watkins(jnp.asarray(SLIDE), jnp.asarray(CLASSES))
    np.testing.assert_allclose(values, [2.9, 0.0, 12.9], atol=1e-5)
    assert round(float(reduction.mean(values)), 2) == 5.27


def test_the_slides_softmax_losses():
    cat = losses.softmax_cross_entropy(jnp.asarray(SLIDE), jnp.asarray(CLASSES))[0]
    assert round(float(cat), 2) == 2.04  # the slide's 0.89 is the base-10 logarithm
    assert round(float(cat) / np.log(10), 2) == 0.89
    each = [losses.softmax_cross_entropy(jnp.asarray(SLIDE[:1]), jnp.array([c])) for c in range(3)]
    assert [round(float(jnp.exp(-loss[0])), 2) for loss in each] == [0.13, 0.87, 0.0]


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_losses_of_zero_scores(classes: int):
    zeros, every = jnp.zeros((classes, classes)), jnp.arange(classes)
    np.testing.assert_allclose(losses.weston_watkins(zeros, every), classes - 1, rtol=EPS)
    np.testing.assert_allclose(losses.softmax_cross_entropy(zeros, every), np.log(classes), rtol=2 * EPS)
    smoothed = losses.softmax_cross_entropy(zeros, every, label_smoothing=0.3)
    np.testing.assert_allclose(smoothed, np.log(classes), rtol=2 * EPS)


_smoothed = jax.jit(lambda s, y, a, w: losses.softmax_cross_entropy(s, y, label_smoothing=a, class_weights=w))
_hinge = jax.jit(lambda s, y, m: losses.weston_watkins(s, y, margin=m))


@given(scores, labels, shares, hnp.arrays(np.float32, (4,), elements=st.floats(0, 5, width=32)))
def test_softmax_cross_entropy_is_its_transcription(s, y, smoothing, weights):
    expected = reference.softmax_cross_entropy(s, y, label_smoothing=smoothing, class_weights=weights)
    scale = 60 * 5  # the widest gap of scores, times the largest weight
    np.testing.assert_allclose(_smoothed(s, y, np.float32(smoothing), weights), expected, rtol=0, atol=8 * EPS * scale)


@given(scores, labels, st.floats(0, 5, width=32))
def test_weston_watkins_is_its_transcription(s, y, margin):
    expected = reference.weston_watkins(s, y, margin=margin)
    np.testing.assert_allclose(_hinge(s, y, np.float32(margin)), expected, rtol=0, atol=8 * EPS * 200)


@given(scores, labels)
def test_softmax_cross_entropy_agrees_with_optax(s, y):
    ours = losses.softmax_cross_entropy(jnp.asarray(s), jnp.asarray(y))
    optaxs = optax.softmax_cross_entropy_with_integer_labels(jnp.asarray(s), jnp.asarray(y))
    np.testing.assert_allclose(ours, optaxs, rtol=0, atol=4 * EPS * 60)


@pytest.mark.parametrize("shift", [-1e6, -1e4, 1e4, 1e6])
def test_softmax_cross_entropy_does_not_depend_on_a_shift(shift: float):
    logits, y = jnp.array([[1.0, 0.0, -2.0]]), jnp.array([0])  # whole numbers: the shifted ones are exact
    for smoothing in (0.0, 0.25):
        here = losses.softmax_cross_entropy(logits, y, label_smoothing=smoothing)
        there = losses.softmax_cross_entropy(logits + shift, y, label_smoothing=smoothing)
        np.testing.assert_allclose(there, here, rtol=4 * EPS)


@pytest.mark.parametrize("name", OF_LABELS)
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, np.uint32])
def test_any_integer_type_of_labels(name: str, dtype):
    wide = jnp.asarray(np.random.default_rng(0).normal(size=(3, 300)), jnp.float32)  # more classes than uint8 can count
    y = np.array([0, 5, 120])
    np.testing.assert_array_equal(LOSSES[name](wide, jnp.asarray(y, dtype)), LOSSES[name](wide, jnp.asarray(y)))


@pytest.mark.parametrize("name", OF_LABELS)
def test_shapes_that_do_not_match_are_refused(name: str):
    loss = LOSSES[name]
    for bad in (jnp.zeros((3, 3)), jnp.zeros((3, 1), int), jnp.zeros(2, int), jnp.zeros(3), jnp.zeros((), int)):
        with pytest.raises(ValueError, match=rf"{name}: got logits of shape \(3, 3\) and labels .* expected .*argmax"):
            loss(jnp.asarray(SLIDE), bad)
    with pytest.raises(ValueError, match=r"expected logits \[\.\.\., classes\]"):
        loss(jnp.zeros(()), jnp.zeros((), int))


@pytest.mark.parametrize("name", OF_LABELS)
def test_any_number_of_batch_axes(name: str):
    loss = LOSSES[name]
    flat = loss(jnp.asarray(SLIDE), jnp.asarray(CLASSES))
    deep = loss(jnp.asarray(SLIDE)[:, None], jnp.asarray(CLASSES)[:, None])
    np.testing.assert_allclose(deep, flat[:, None], rtol=EPS)
    np.testing.assert_allclose(loss(jnp.asarray(SLIDE)[0], jnp.asarray(CLASSES)[0]), flat[0], rtol=4 * EPS)
    assert loss(jnp.zeros((0, 3)), jnp.zeros(0, int)).shape == (0,)


def test_per_example_averages_all_but_the_first_axis():
    values = jnp.arange(12.0).reshape(2, 3, 2)
    np.testing.assert_array_equal(reduction.per_example(values), [2.5, 8.5])


def test_mean_and_sum():
    values = jnp.array([[1.0, 3.0], [10.0, 20.0], [5.0, 5.0]])
    assert float(reduction.sum(values)) == 22.0
    assert float(reduction.mean(values)) == pytest.approx(22 / 3, rel=EPS)
    weights = jnp.array([2.0, 1.0, 0.0])
    assert float(reduction.sum(values, weights=weights)) == 19.0
    assert float(reduction.mean(values, weights=weights)) == pytest.approx(19 / 3, rel=EPS)
    assert float(reduction.mean(values, weights=jnp.zeros(3))) == 0.0


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_an_example_of_weight_zero_does_not_count(poison: float):
    values, weights = jnp.array([1.0, poison, 4.0]), jnp.array([1.0, 0.0, 3.0])
    assert float(reduction.mean(values, weights=weights)) == 3.25
    gradient = jax.grad(lambda v: reduction.mean(v, weights=weights))(values)
    np.testing.assert_array_equal(gradient, [0.25, 0.0, 0.75])
