from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxopt_intro import losses
from tests.reference import loss_formulas as formulas
from tests.reference.losses import REFERENCES

EPS = float(np.finfo(np.float32).eps)
# Scores are at most 16 apart, so how far a class is behind is off by a few 16 * EPS; powers up to 5 enlarge that.
RTOL = 6 * 4 * 16 * EPS

scores = hnp.arrays(np.float32, (6, 4), elements=st.floats(-8, 8, width=32))
labels = hnp.arrays(np.int32, (6,), elements=st.integers(0, 3))
shares = hnp.arrays(np.float32, (6, 4), elements=st.floats(0, 1, width=32))
bits = hnp.arrays(np.float32, (6, 4), elements=st.sampled_from([0.0, 1.0]))

_cross_entropy = jax.jit(losses.softmax_cross_entropy)
_focal = jax.jit(losses.focal)
_poly = jax.jit(losses.poly)
_generalized = jax.jit(losses.generalized_cross_entropy)
_sigmoid = jax.jit(losses.sigmoid_cross_entropy)
_binary_focal = jax.jit(losses.binary_focal)


@given(scores, labels, st.floats(0, 5, width=32), hnp.arrays(np.float32, (4,), elements=st.floats(0, 5, width=32)))
def test_focal_is_its_transcription(s, y, gamma, weights):
    expected = REFERENCES["focal"](s, y, gamma=gamma, class_weights=weights)
    np.testing.assert_allclose(_focal(s, y, gamma=gamma, class_weights=weights), expected, rtol=RTOL, atol=1e-30)


@given(scores, labels, st.floats(-1, 5, width=32))
def test_poly_is_its_transcription(s, y, epsilon):
    expected = REFERENCES["poly"](s, y, epsilon=epsilon)
    # With epsilon near -1 the first term is taken away: what remains is smaller than what was subtracted.
    scale = REFERENCES["poly"](s, y, epsilon=1.0)
    assert np.all(np.abs(_poly(s, y, epsilon=epsilon) - expected) <= RTOL * scale)


@given(scores, labels, st.floats(0, 1, width=32))
def test_generalized_cross_entropy_is_its_transcription(s, y, q):
    expected = REFERENCES["generalized_cross_entropy"](s, y, q=max(q, 1e-6))  # the quotient's own rounding: 1e-10
    np.testing.assert_allclose(_generalized(s, y, q=q), expected, rtol=RTOL, atol=1e-30)


@given(scores, shares, st.floats(0, 1, width=32), st.floats(0, 9, width=32))
def test_sigmoid_cross_entropy_is_its_transcription(s, t, smoothing, weight):
    expected = REFERENCES["sigmoid_cross_entropy"](s, t, label_smoothing=smoothing, positive_weight=weight)
    ours = _sigmoid(s, t, label_smoothing=smoothing, positive_weight=weight)
    np.testing.assert_allclose(ours, expected, rtol=16 * EPS, atol=16 * EPS)


@given(scores, shares, st.floats(0, 5, width=32), st.floats(0, 1, width=32))
def test_binary_focal_is_its_transcription(s, t, gamma, alpha):
    expected = REFERENCES["binary_focal"](s, t, gamma=gamma, alpha=alpha)
    np.testing.assert_allclose(_binary_focal(s, t, gamma=gamma, alpha=alpha), expected, rtol=RTOL, atol=1e-6)


@given(scores, labels, bits, st.floats(0, 5, width=32))
def test_agreement_with_optax(s, y, t, number):
    one_hot = np.eye(4, dtype=np.float32)[y]
    poly = optax.losses.poly_loss_cross_entropy(jnp.asarray(s), jnp.asarray(one_hot), epsilon=number)
    np.testing.assert_allclose(_poly(s, y, epsilon=number), poly, rtol=RTOL, atol=RTOL)
    sigmoid = optax.losses.sigmoid_binary_cross_entropy(jnp.asarray(s), jnp.asarray(t))
    np.testing.assert_allclose(_sigmoid(s, t), sigmoid, rtol=RTOL, atol=EPS)
    for alpha in (None, 0.25):
        focal = optax.losses.sigmoid_focal_loss(jnp.asarray(s), jnp.asarray(t), gamma=number, alpha=alpha)
        np.testing.assert_allclose(_binary_focal(s, t, gamma=number, alpha=alpha), focal, rtol=RTOL, atol=EPS)


@given(scores, labels)
def test_at_zero_they_are_cross_entropy(s, y):
    expected = _cross_entropy(s, y)
    for loss, number in ((_focal, "gamma"), (_poly, "epsilon"), (_generalized, "q")):
        np.testing.assert_allclose(loss(s, y, **{number: 0.0}), expected, rtol=4 * EPS, atol=32 * EPS)


@given(scores, labels, st.floats(0, 1, width=32))
def test_label_smoothing_mixes_the_losses_of_all_labels(s, y, smoothing):
    every = jnp.stack([_cross_entropy(s, jnp.full_like(y, c)) for c in range(4)])
    expected = (1 - smoothing) * _cross_entropy(s, y) + smoothing * jnp.mean(every, axis=0)
    np.testing.assert_allclose(_cross_entropy(s, y, label_smoothing=smoothing), expected, rtol=0, atol=16 * 16 * EPS)
    t = np.eye(4, dtype=np.float32)[y]
    both = (1 - smoothing / 2) * _sigmoid(s, t) + smoothing / 2 * _sigmoid(s, 1 - t)
    np.testing.assert_allclose(_sigmoid(s, t, label_smoothing=smoothing), both, rtol=0, atol=16 * 8 * EPS)


@given(scores, bits, st.floats(0, 5, width=32))
def test_two_classes_are_one_logit(s, t, gamma):
    pairs = np.stack([np.zeros_like(s), s], axis=-1)
    softmax = _focal(pairs, t.astype(np.int32), gamma=gamma)
    np.testing.assert_allclose(_binary_focal(s, t, gamma=gamma), softmax, rtol=RTOL, atol=1e-30)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_losses_of_zero_scores(classes: int):
    zeros, every, p = jnp.zeros((classes, classes)), jnp.arange(classes), 1 / classes
    np.testing.assert_allclose(losses.softmax_cross_entropy(zeros, every), math.log(classes), rtol=4 * EPS)
    expected = (1 - p) ** 1.5 * math.log(classes)
    np.testing.assert_allclose(losses.focal(zeros, every, gamma=1.5), expected, rtol=16 * EPS)
    expected = math.log(classes) + 0.7 * (1 - p)
    np.testing.assert_allclose(losses.poly(zeros, every, epsilon=0.7), expected, rtol=16 * EPS)
    expected = (1 - p**0.4) / 0.4
    np.testing.assert_allclose(losses.generalized_cross_entropy(zeros, every, q=0.4), expected, rtol=16 * EPS)


@pytest.mark.parametrize("lead", [20.0, 60.0])
def test_the_losses_of_a_sure_answer_do_not_cancel(lead: float):
    logits, label, odds = jnp.array([[lead, 0.0, 0.0]]), jnp.array([0]), 2 * math.exp(-lead)  # (1 - p) / p
    surprise, rest = math.log1p(odds), odds / (1 + odds)
    for ours, expected in [
        (losses.poly(logits, label, epsilon=2.0), surprise + 2 * rest),
        (losses.focal(logits, label, gamma=0.25), surprise * rest**0.25),
        (losses.generalized_cross_entropy(logits, label, q=0.7), -math.expm1(-0.7 * surprise) / 0.7),
    ]:
        assert ours[0] == pytest.approx(expected, rel=4 * lead * EPS)
        assert ours[0] > 0


@pytest.mark.usefixtures("x64")
def test_generalized_cross_entropy_has_its_limits_derivatives_at_zero():
    logits, label = jnp.array([[1.0, 2.5, -0.3]]), jnp.array([0])
    u = -math.log(formulas.probability(np.array([1.0, 2.5, -0.3]), 0))

    def loss(q):
        return losses.generalized_cross_entropy(logits, label, q=q)[0]

    # (1 - exp(-q u)) / q = u - q u^2 / 2 + q^2 u^3 / 6 - ...
    got = [f(0.0) for f in (loss, jax.grad(loss), jax.grad(jax.grad(loss)), jax.jacfwd(jax.grad(jax.grad(loss))))]
    np.testing.assert_allclose(got, [u, -(u**2) / 2, u**3 / 3, -(u**4) / 4], rtol=1e-14)
    by_logits = jax.jit(jax.grad(lambda s, q: losses.generalized_cross_entropy(s, label, q=q)[0]))
    expected = jax.grad(lambda s: losses.softmax_cross_entropy(s, label)[0])(logits)
    np.testing.assert_allclose(by_logits(logits, 0.0), expected, rtol=1e-14)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("x", [1e-9, 1e-3, 0.49, 0.51, 3.0, 40.0])
def test_generalized_cross_entropys_derivatives_do_not_cancel(x: float):
    logits, label = jnp.array([[1.0, 2.5, -0.3]]), jnp.array([0])
    u = -math.log(formulas.probability(np.array([1.0, 2.5, -0.3]), 0))
    gradient = jax.jit(jax.grad(lambda q: losses.generalized_cross_entropy(logits, label, q=q)[0]))(x / u)
    series = sum((-x) ** k * (k + 1) / math.factorial(k + 2) for k in range(18))
    expected = -(u**2) * (series if x < 0.6 else (1 - (1 + x) * math.exp(-x)) / x**2)
    np.testing.assert_allclose(gradient, expected, rtol=1e-13)


def test_generalized_cross_entropys_gradient_is_right_where_the_answer_is_wrong():
    logits, label = jnp.array([[0.0, 20.0]]), jnp.array([0])
    gradient = jax.grad(lambda s: losses.generalized_cross_entropy(s, label, q=0.7)[0])(logits)
    p = 1 / (1 + math.exp(20))
    np.testing.assert_allclose(gradient[0, 0], -(p**0.7) * (1 - p), rtol=4 * 20 * EPS)


def test_generalized_cross_entropy_over_a_population():
    logits, label = jnp.array([[1.0, 2.5, -0.3]]), jnp.array([0])
    q = jnp.array([0.0, 1e-30, 1e-8, 1e-3, 0.3, 1.0])
    values = jax.jit(jax.vmap(lambda q: losses.generalized_cross_entropy(logits, label, q=q)[0]))(q)
    assert np.all(np.diff(values) <= 0)
    assert values[0] == values[2] == pytest.approx(float(losses.softmax_cross_entropy(logits, label)[0]), rel=4 * EPS)
    assert values[-1] == pytest.approx(1 - formulas.probability(np.array([1.0, 2.5, -0.3]), 0), rel=4 * EPS)


@given(scores, shares)
def test_sigmoid_cross_entropy_is_symmetric_and_least_at_the_target(s, t):
    np.testing.assert_allclose(_sigmoid(s, t), _sigmoid(-s, 1 - t), rtol=8 * EPS, atol=8 * EPS)
    least = jax.scipy.special.entr(t) + jax.scipy.special.entr(1 - t)
    assert np.all(_sigmoid(s, t) >= least - 8 * 8 * EPS)
    inside = np.clip(t, 0.01, 0.99)
    at = np.log(inside) - np.log1p(-inside)
    least = jax.scipy.special.entr(inside) + jax.scipy.special.entr(1 - inside)
    np.testing.assert_allclose(_sigmoid(at, inside), least, rtol=16 * EPS)


def test_positive_weight_counts_only_the_ones():
    logits, targets = jnp.array([0.3, -1.2, 2.0]), jnp.array([1.0, 0.0, 1.0])
    one, three = (losses.sigmoid_cross_entropy(logits, targets, positive_weight=w) for w in (1.0, 3.0))
    np.testing.assert_allclose(three / one, [3.0, 1.0, 3.0], rtol=4 * EPS)


def test_a_class_of_minus_infinity_is_left_out():
    logits, label = jnp.array([[1.0, 2.5, -0.3]]), jnp.array([0])
    masked = logits.at[0, 1].set(-jnp.inf)
    for loss in (losses.softmax_cross_entropy, losses.focal, losses.poly, losses.generalized_cross_entropy):
        value, gradient = jax.jit(jax.value_and_grad(lambda s, loss=loss: loss(s, label)[0]))(masked)
        np.testing.assert_allclose(value, loss(logits[:, ::2], label)[0], rtol=4 * EPS)
        assert gradient[0, 1] == 0
        assert np.all(np.isfinite(gradient))
    by_smoothing = jax.grad(lambda a: losses.softmax_cross_entropy(masked, label, label_smoothing=a)[0])
    assert np.isfinite(by_smoothing(0.0))


def test_focal_turns_from_the_easy_to_the_hard():
    logits, easy, hard = jnp.array([[3.0, 0.0, -1.0]]), jnp.array([0]), jnp.array([2])
    shares = [losses.focal(logits, easy, gamma=g)[0] / losses.focal(logits, hard, gamma=g)[0] for g in (0.0, 1.0, 4.0)]
    assert shares[0] > 10 * shares[1] > 100 * shares[2] > 0


@pytest.mark.parametrize("extreme", [0.0, 1e4, -1e4])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_losses_are_finite_at_extremes(extreme: float, gamma: float):
    logits, y = extreme * jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([0, 0])
    t = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    values = (
        jax.value_and_grad(lambda s, g: jnp.sum(losses.focal(s, y, gamma=g)), argnums=(0, 1))(logits, gamma),
        jax.value_and_grad(lambda s, g: jnp.sum(losses.binary_focal(s, t, gamma=g)), argnums=(0, 1))(logits, gamma),
    )
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(values))
