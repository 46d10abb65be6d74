from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxopt_intro import losses, routing
from tests.reference.losses import REFERENCES

EPS = float(np.finfo(np.float32).eps)
SLIDE = np.array([[3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1]], np.float32)
MULTICLASS = ["weston_watkins", "crammer_singer", "squared_weston_watkins"]
BINARY = ["hinge", "squared_hinge", "smoothed_hinge", "logistic", "perceptron"]
JITTED = {name: jax.jit(losses.LOSSES[name]) for name in MULTICLASS + BINARY}

scores = hnp.arrays(np.float32, (6, 4), elements=st.floats(-20, 20, width=32))
labels = hnp.arrays(np.int32, (6,), elements=st.integers(0, 3))
signs = hnp.arrays(np.float32, (6, 4), elements=st.sampled_from([-1.0, 1.0]))
margins = st.floats(0, 3, width=32)
# Scores of 20 and margins of 3: a gap of at most 43, three of them, squared.
ATOL = {"squared": 8 * EPS * 3 * 43**2, "": 8 * EPS * 3 * 43}


def _atol(name: str) -> float:
    return ATOL["squared" if name.startswith("squared") else ""]


def _numbers(name: str, margin: float) -> dict[str, float]:
    return {"margin": margin} if "margin" in routing.numbers(losses.LOSSES[name], constructs=False) else {}


def test_the_slides_losses():
    np.testing.assert_allclose(losses.weston_watkins(SLIDE, np.arange(3)), [2.9, 0.0, 12.9], atol=1e-5)
    np.testing.assert_allclose(losses.crammer_singer(SLIDE, np.arange(3)), [2.9, 0.0, 6.6], atol=1e-5)
    expected = [2.9**2, 0.0, 6.3**2 + 6.6**2]
    np.testing.assert_allclose(losses.squared_weston_watkins(SLIDE, np.arange(3)), expected, atol=1e-4)


@pytest.mark.parametrize("name", MULTICLASS)
@given(scores, labels, margins)
def test_a_multiclass_loss_is_its_transcription(name: str, s, y, margin):
    expected = REFERENCES[name](s, y, margin=margin)
    np.testing.assert_allclose(JITTED[name](s, y, margin=margin), expected, rtol=0, atol=_atol(name))


@pytest.mark.parametrize("name", BINARY)
@given(scores, signs, margins)
def test_a_binary_loss_is_its_transcription(name: str, s, t, margin):
    numbers = _numbers(name, margin)
    expected = REFERENCES[name](s, t, **numbers)
    np.testing.assert_allclose(JITTED[name](s, t, **numbers), expected, rtol=4 * EPS, atol=_atol(name))


@given(scores, labels, signs)
def test_agreement_with_optax(s, y, t):
    one = jnp.asarray(s), jnp.asarray(y)
    two = jnp.asarray(s), jnp.asarray(t)
    np.testing.assert_allclose(JITTED["crammer_singer"](*one), optax.losses.multiclass_hinge_loss(*one), atol=_atol(""))
    expected = optax.losses.multiclass_perceptron_loss(*one)
    np.testing.assert_allclose(JITTED["crammer_singer"](*one, margin=0.0), expected, atol=_atol(""))
    np.testing.assert_allclose(JITTED["hinge"](*two), optax.losses.hinge_loss(*two), atol=_atol(""))
    np.testing.assert_allclose(JITTED["perceptron"](*two), optax.losses.perceptron_loss(*two), atol=_atol(""))
    expected = optax.losses.sigmoid_binary_cross_entropy(two[0], (two[1] + 1) / 2)
    np.testing.assert_allclose(JITTED["logistic"](*two), expected, rtol=16 * EPS, atol=EPS)


@pytest.mark.parametrize("name", MULTICLASS + BINARY)
@given(st.data())
def test_margin_losses_are_convex_in_the_scores(name: str, data):
    a, b = data.draw(scores), data.draw(scores)
    targets, margin, share = data.draw(labels if name in MULTICLASS else signs), data.draw(margins), np.float32(0.3)
    numbers = _numbers(name, margin)
    left, right, between = (JITTED[name](s, targets, **numbers) for s in (a, b, share * a + (1 - share) * b))
    assert np.all(between <= share * left + (1 - share) * right + 2 * _atol(name))


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_losses_of_zero_scores(classes: int):
    zeros, every = jnp.zeros((classes, classes)), jnp.arange(classes)
    np.testing.assert_array_equal(losses.weston_watkins(zeros, every), classes - 1)
    np.testing.assert_array_equal(losses.weston_watkins(zeros, every, margin=2.5), 2.5 * (classes - 1))
    np.testing.assert_array_equal(losses.squared_weston_watkins(zeros, every, margin=2.0), 4.0 * (classes - 1))
    np.testing.assert_array_equal(losses.crammer_singer(zeros, every, margin=2.5), 2.5)


def test_weights_of_twice_the_size_do_not_matter_once_all_margins_are_met():
    weights = np.array([[2.0, -1.0, 0.5], [-0.5, 3.0, -1.0]], np.float32)
    inputs, y = np.array([[2.0, 0.5], [0.3, 2.0]], np.float32), np.array([0, 1])
    once, twice, half = (inputs @ (f * weights) for f in (1, 2, 0.25))
    for name in MULTICLASS:
        loss = losses.LOSSES[name]
        assert loss(once, y).tolist() == loss(twice, y).tolist() == [0.0, 0.0]
        assert np.any(loss(half, y) > 0)
    assert np.all(losses.softmax_cross_entropy(twice, y) < losses.softmax_cross_entropy(once, y))


@given(scores, labels, margins)
def test_the_multiclass_losses_bound_each_other(s, y, margin):
    all_wrong, strongest = (JITTED[name](s, y, margin=margin) for name in MULTICLASS[:2])
    squares = JITTED["squared_weston_watkins"](s, y, margin=margin)
    slack = _atol("squared")
    assert np.all(strongest <= all_wrong + slack)
    assert np.all(all_wrong <= 3 * strongest + slack)
    assert np.all(np.square(all_wrong) / 3 <= squares + slack)  # Cauchy and Schwarz
    wrong = np.argmax(s, axis=1) != y
    assert np.all(strongest[wrong] >= margin - slack)  # an upper bound of the error rate


@given(hnp.arrays(np.float32, (6, 2), elements=st.floats(-20, 20, width=32)), margins)
def test_two_classes_are_one_score(s, margin):
    expected = JITTED["hinge"](s[:, 1] - s[:, 0], np.ones(6, np.float32), margin=margin)
    for name in MULTICLASS[:2]:
        np.testing.assert_allclose(JITTED[name](s, np.ones(6, np.int32), margin=margin), expected, atol=8 * EPS * 43)


@given(scores, signs, margins, st.floats(0, 2, width=32))
def test_smoothed_hinge_lies_below_the_hinge_by_half_the_smoothing_at_most(s, t, margin, smoothing):
    smoothed, sharp = (
        JITTED["smoothed_hinge"](s, t, margin=margin, smoothing=smoothing),
        JITTED["hinge"](s, t, margin=margin),
    )
    assert np.all(smoothed <= sharp + 16 * EPS * 43)
    assert np.all(smoothed >= sharp - smoothing / 2 - 16 * EPS * 43)
    np.testing.assert_array_equal(JITTED["smoothed_hinge"](s, t, margin=margin, smoothing=0.0), sharp)


def test_smoothed_hinges_derivatives_at_its_pieces():
    missing = jnp.array([-1.0, 0.0, 0.25, 0.5, 2.0])  # smoothing 0.5

    def loss(m, s):
        return losses.smoothed_hinge(1 - m, jnp.ones(()), smoothing=s)

    by_missing, by_smoothing = (jax.vmap(jax.grad(loss, argnums=i), (0, None))(missing, 0.5) for i in (0, 1))
    np.testing.assert_allclose(by_missing, [0.0, 0.0, 0.5, 1.0, 1.0])
    np.testing.assert_allclose(by_smoothing, [0.0, 0.0, -(0.25**2) / (2 * 0.5**2), -0.5, -0.5])
    at_zero = jax.vmap(jax.grad(loss, argnums=1), (0, None))(missing, 0.0)
    np.testing.assert_allclose(at_zero, [0.0, 0.0, -0.5, -0.5, -0.5])


def test_a_perceptron_starts_from_zero():
    gradient = jax.grad(lambda s: jnp.sum(losses.perceptron(s, jnp.array([1, -1]))))(jnp.zeros(2))
    assert gradient.tolist() == [-0.5, 0.5]
