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
from scipy.spatial import distance

from jaxopt_intro import losses, models, training
from tests.reference import loss_formulas as formulas

EPS = float(np.finfo(np.float32).eps)
GROUPS = np.array([0, 7, 0, -3, 7, 7], np.int32)

vectors = hnp.arrays(np.float32, (6, 3), elements=st.floats(-4, 4, width=32).filter(lambda x: x == 0 or abs(x) > 1e-3))
_cosine, _triplet, _nt_xent = jax.jit(losses.cosine), jax.jit(losses.triplet), jax.jit(losses.nt_xent)
EMBEDDINGS = np.array([[1.0, 0.2], [-0.5, 2.0], [0.9, -0.4], [0.3, 0.3], [-2.0, 0.1], [0.7, 1.5]])


@given(vectors, vectors)
def test_cosine_is_scipys_and_optaxs(p, t):
    zero = np.all(p == 0, axis=1) | np.all(t == 0, axis=1)
    expected = [1.0 if z else distance.cosine(a, b) for z, a, b in zip(zero, np.float64(p), np.float64(t), strict=True)]
    np.testing.assert_allclose(_cosine(p, t), expected, atol=16 * EPS)
    ours = optax.losses.cosine_distance(jnp.asarray(p), jnp.asarray(t), epsilon=1e-6)
    np.testing.assert_allclose(_cosine(p, t)[~zero], ours[~zero], atol=16 * EPS)


@pytest.mark.parametrize("scale", [1e-35, 1e-20, 1e20, 1e35])
def test_cosine_does_not_see_lengths(scale: float):
    p, t = jnp.array([[1.0, 2.0, -2.0]]), jnp.array([[0.5, -3.0, 1.0]])
    np.testing.assert_allclose(losses.cosine(scale * p, t), losses.cosine(p, t), rtol=8 * EPS)
    np.testing.assert_allclose(losses.cosine(p, t / scale), losses.cosine(p, t), rtol=8 * EPS)
    gradient = jax.grad(lambda p: losses.cosine(p, t)[0])(scale * p)
    np.testing.assert_allclose(jnp.sum(scale * p * gradient), 0.0, atol=8 * EPS)  # no pull along the vector


def test_cosine_of_zero_vectors():
    p, t = jnp.array([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]]), jnp.array([[3.0, 4.0], [0.0, 0.0], [0.0, 0.0]])
    assert losses.cosine(p, t).tolist() == [1.0, 1.0, 1.0]
    gradients = jax.grad(lambda p, t: jnp.sum(losses.cosine(p, t)), argnums=(0, 1))(p, t)
    assert all(np.all(np.isfinite(g)) for g in gradients)


@given(vectors, vectors, vectors, st.floats(0, 3, width=32), st.floats(1, 4, width=32))
def test_triplet_is_its_transcription(a, p, n, margin, degree):
    rows = zip(np.float64(a), np.float64(p), np.float64(n), strict=True)
    expected = [formulas.triplet(*row, margin=margin, degree=degree) for row in rows]
    np.testing.assert_allclose(_triplet(a, p, n, margin=margin, degree=degree), expected, atol=64 * EPS * 24)


def test_triplet_takes_absolute_values_where_optax_does_not():
    a, p, n = jnp.zeros((1, 2)), jnp.array([[-2.0, 1.0]]), jnp.array([[0.5, -0.5]])
    assert losses.triplet(a, p, n, degree=1.0).tolist() == [3.0]  # 3 - 1 + 1
    assert optax.losses.triplet_margin_loss(a, p, n, norm_degree=1).tolist() != [3.0]
    expected = optax.losses.triplet_margin_loss(a, p, n, eps=0.0)
    np.testing.assert_allclose(losses.triplet(a, p, n), expected, rtol=4 * EPS)


def test_triplet_is_zero_once_the_margin_is_met():
    a, p, n = jnp.zeros((3, 2)), jnp.array([[0.0, 1.0]] * 3), jnp.array([[2.5, 0.0], [2.0, 0.0], [1.5, 0.0]])
    assert losses.triplet(a, p, n).tolist() == [0.0, 0.0, 0.5]


@pytest.mark.parametrize("degree", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1.0, 1e30])
def test_triplets_gradients_are_finite_at_coincident_and_huge_points(degree: float, scale: float):
    a, p, n = jnp.zeros((1, 3)), scale * jnp.array([[0.0, 2.0, -1.0]]), jnp.zeros((1, 3))
    value, gradients = jax.value_and_grad(lambda *x: losses.triplet(*x[:3], degree=x[3])[0], argnums=(0, 1, 2, 3))(
        a, p, n, degree
    )
    np.testing.assert_allclose(value, scale * (1 + 2**degree) ** (1 / degree) + 1, rtol=8 * EPS)
    assert all(np.all(np.isfinite(g)) for g in gradients)
    np.testing.assert_array_equal(gradients[2], 0.0)  # the negative is where the anchor is


def test_nt_xent_is_its_transcription():
    for temperature in (0.1, 0.5, 3.0):
        ours = _nt_xent(EMBEDDINGS.astype(np.float32), GROUPS, temperature=temperature)
        expected = formulas.nt_xent(EMBEDDINGS, GROUPS, temperature=temperature)
        np.testing.assert_allclose(ours, expected, rtol=0, atol=32 * EPS * 2 / temperature)
        assert ours[3] == 0  # alone in its group
        assert np.all(np.delete(ours, 3) > 0)


def test_nt_xent_of_pairs_is_optaxs():
    x, pairs = jnp.asarray(EMBEDDINGS, jnp.float32), jnp.array([0, 1, 2, 0, 1, 2])
    ours, theirs = jnp.mean(_nt_xent(x, pairs, temperature=0.3)), optax.losses.ntxent(x, pairs, temperature=0.3)
    np.testing.assert_allclose(ours, theirs, rtol=16 * EPS)


@given(vectors, st.permutations(range(6)), st.floats(0.0625, 2, width=32))
def test_nt_xent_follows_the_order_of_its_examples(x, order, temperature):
    order = np.array(order)
    moved = _nt_xent(x[order], GROUPS[order], temperature=temperature)
    expected = _nt_xent(x, GROUPS, temperature=temperature)
    np.testing.assert_allclose(moved, expected[order], rtol=0, atol=32 * EPS * 2 / temperature)
    longer = _nt_xent(x * np.float32([[1], [2], [4], [0.5], [8], [1]]), GROUPS, temperature=temperature)
    np.testing.assert_allclose(longer, expected, rtol=0, atol=32 * EPS * 2 / temperature)


def test_nt_xent_has_its_limits():
    x = jnp.asarray(EMBEDDINGS, jnp.float32)
    hot = np.delete(_nt_xent(x, GROUPS, temperature=1e6), 3)
    np.testing.assert_allclose(hot, math.log(5), rtol=1e-5)  # all others are equally likely
    corners = jnp.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
    np.testing.assert_allclose(_nt_xent(corners, jnp.array([0, 0, 1, 1]), temperature=0.02), 0.0, atol=EPS)
    assert _nt_xent(jnp.ones((1, 2)), jnp.array([5])).tolist() == [0.0]


def test_nt_xents_gradients_are_finite_at_zero_vectors():
    x = jnp.asarray(EMBEDDINGS, jnp.float32).at[1].set(0.0).at[2].set(0.0)
    gradients = jax.grad(lambda x, t: jnp.sum(losses.nt_xent(x, GROUPS, temperature=t)), argnums=(0, 1))(x, 0.1)
    assert all(np.all(np.isfinite(g)) for g in gradients)


def test_batch_hard_is_a_loop_over_all_triplets():
    x = EMBEDDINGS.astype(np.float32)
    apart = np.linalg.norm(EMBEDDINGS[:, None] - EMBEDDINGS[None], axis=-1)
    expected = []
    for i in range(6):
        near = [apart[i, j] for j in range(6) if GROUPS[j] == GROUPS[i] and j != i]
        far = [apart[i, j] for j in range(6) if GROUPS[j] != GROUPS[i]]
        expected.append(max(0.0, max(near) - min(far) + 1.5) if near and far else 0.0)
    ours = losses.batch_hard_triplet(jnp.asarray(x), GROUPS, margin=1.5)
    np.testing.assert_allclose(ours, expected, rtol=64 * EPS, atol=64 * EPS)
    assert ours[3] == 0  # alone in its group
    assert len(set(ours.tolist())) > 3
    assert losses.batch_hard_triplet(jnp.asarray(x), jnp.zeros(6, int)).tolist() == [0.0] * 6  # no negatives


def test_batch_hards_gradients_are_finite_at_coincident_points():
    x = jnp.asarray(EMBEDDINGS, jnp.float32)
    for same in (x.at[1].set(x[0]), jnp.zeros_like(x)):
        assert np.all(np.isfinite(jax.grad(lambda x: jnp.sum(losses.batch_hard_triplet(x, GROUPS)))(same)))


@pytest.mark.parametrize("name", losses.BATCH_LOSSES)
def test_examples_that_are_not_present_are_nobodys_neighbours(name: str):
    loss, x = losses.BATCH_LOSSES[name], jnp.asarray(EMBEDDINGS, jnp.float32)
    padded, groups = jnp.concatenate([x, 9 * x[-1:], 9 * x[:1]]), jnp.concatenate([GROUPS, GROUPS[-1:], GROUPS[:1]])
    present = jnp.arange(8) < 6
    np.testing.assert_allclose(loss(padded, groups, present=present)[:6], loss(x, GROUPS), rtol=16 * EPS, atol=EPS)
    assert not np.allclose(loss(padded, groups)[:6], loss(x, GROUPS))
    for value in (jnp.nan, jnp.inf, 1e30):
        wild = padded.at[6:].set(value)
        np.testing.assert_array_equal(
            loss(wild, groups, present=present)[:6], loss(padded, groups, present=present)[:6]
        )
        gradient = jax.grad(lambda x: jnp.sum(loss(x, groups, present=present)[:6]))(wild)
        assert np.all(np.isfinite(gradient))
    for wrong in (jnp.ones(1, bool), jnp.ones((8, 1), bool), jnp.ones(8)):
        with pytest.raises(ValueError, match=f"{name}: got present of shape"):
            loss(padded, groups, present=wrong)
    assert loss(jnp.zeros((0, 2)), jnp.zeros(0, int)).shape == (0,)


@pytest.mark.parametrize("name", losses.BATCH_LOSSES)
def test_an_evaluation_tells_which_examples_fill_up_a_batch(name: str):
    loss, x = losses.BATCH_LOSSES[name], jnp.asarray(np.random.default_rng(3).normal(size=(11, 4)), jnp.float32)
    labels, model = jnp.arange(11) % 3, models.linear(outputs=2)
    state = training.TrainState(
        jnp.zeros(()), jax.random.key(0), {"dense": {"kernel": x[:4, :2], "bias": x[4, :2]}}, {}, ()
    )
    found = training.evaluate(model, state, (x, labels), {}, metrics={}, loss=loss, batch_size=4)["loss"]
    scores = x @ x[:4, :2] + x[None, 4, :2]
    batches = [slice(0, 4), slice(4, 8), slice(8, 11)]  # the last one is filled up
    expected = sum(float(jnp.sum(loss(scores[b], labels[b]))) for b in batches) / 11
    np.testing.assert_allclose(found, expected, rtol=64 * EPS)


RUNS = {
    "triplet-margin": lambda v, x: losses.triplet(x[:2], x[2:4], x[4:], margin=v),
    "triplet-degree": lambda v, x: losses.triplet(x[:2], x[2:4], x[4:], degree=v),
    "nt_xent-temperature": lambda v, x: losses.nt_xent(x, GROUPS, temperature=v),
    "batch_hard_triplet-margin": lambda v, x: losses.batch_hard_triplet(x, GROUPS, margin=v),
}


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_a_population_of_numbers_is_the_solo_calls(run):
    x, numbers = jnp.asarray(EMBEDDINGS, jnp.float32), jnp.array([1.0, 1.7, 3.0])
    population = jax.jit(jax.vmap(run, (0, None)))(numbers, x)
    for i, v in enumerate(numbers.tolist()):
        np.testing.assert_allclose(population[i], run(v, x), rtol=64 * EPS, atol=64 * EPS)
    half = run(1.7, x.astype(jnp.bfloat16))
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, population[1], atol=0.05)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_derivatives_are_finite_differences(run):
    x = jnp.asarray(EMBEDDINGS)
    value = jax.jit(lambda v: jnp.sum(run(v, x) * jnp.cos(jnp.arange(run(v, x).size))))
    difference = (value(1.7 + 1e-6) - value(1.7 - 1e-6)) / 2e-6
    assert abs(difference) > 1e-3
    for derivative in (jax.grad(value)(1.7), jax.jacfwd(value)(1.7)):
        np.testing.assert_allclose(derivative, difference, rtol=1e-7)


def test_wrong_shapes_are_refused():
    a = jnp.zeros((4, 2))
    for bad in (jnp.zeros((4, 1)), jnp.zeros((1, 2)), jnp.zeros(2)):
        with pytest.raises(ValueError, match=r"triplet: got .* expected equal shapes"):
            losses.triplet(a, bad, a)
        with pytest.raises(ValueError, match=r"triplet: got .* expected equal shapes"):
            losses.triplet(a, a, bad)
    with pytest.raises(ValueError, match=r"triplet: got arrays of shape \(\)"):
        losses.triplet(a[0, 0], a[0, 0], a[0, 0])
    for embeddings, groups in [
        (a, jnp.zeros(4)),
        (a, jnp.zeros((4, 1), int)),
        (a[None], jnp.zeros(1, int)),
        (a, GROUPS),
    ]:
        for name, loss in losses.BATCH_LOSSES.items():
            with pytest.raises(ValueError, match=rf"{name}: got .* expected \[batch, features\] and integers"):
                loss(embeddings, groups)


def test_batch_hard_chooses_right_among_huge_and_tiny_distances_and_passes_nan_on():
    labels = jnp.array([0, 0, 0, 1, 1])
    close = jnp.array([[100.0], [100.01], [100.015], [-100.0], [-100.02]])
    ours = losses.batch_hard_triplet(close, labels, margin=200.0)
    far = jnp.abs(close[:3] - close[None, :3, 0]).max(axis=1)
    near = (close[:3] + 100.0)[:, 0]
    np.testing.assert_allclose(ours[:3], far - near + 200.0, atol=4e-5)
    huge = losses.batch_hard_triplet(1e20 * jnp.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.5]]), jnp.array([0, 0, 1]))
    np.testing.assert_allclose(huge[:2], (2 - np.sqrt(1.25)) * 1e20, rtol=1e-6)
    assert np.all(np.isnan(losses.batch_hard_triplet(close.at[1].set(jnp.nan), labels)))
