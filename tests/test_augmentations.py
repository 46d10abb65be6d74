"""Augmentations: nothing at strength 0, each image alone, the geometry of SciPy, the statistics of their docstrings."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, stats

from jaxopt_intro import augmentations, data, losses, metrics, models, optimizers, training
from jaxopt_intro.augmentations import AUGMENTATIONS, viewpoint
from jaxopt_intro.augmentations.per_image import smooth_noise

OF_BATCHES = {"mixup", "label_noise"}
EACH = pytest.mark.parametrize("name", [name for name in AUGMENTATIONS if name not in OF_BATCHES])
EPS = np.finfo(np.float32).eps
KEY = jax.random.key(7)
MANY = 2000  # images in a statistic; five standard errors are the tolerance everywhere
# An error of a few EPS in a place within 9 pixels, times a slope of at most 4 between two pixels.
TOLERANCE = 512 * EPS


@functools.cache
def images():
    """Skewed: no symmetry, an average away from 0, other channels than rows, a negative zero."""
    values = np.random.default_rng(3).gamma(2.0, 0.5, (5, 9, 8, 3)).astype(np.float32)
    values[0, 0, 0, 0] = -0.0
    return jnp.asarray(values)


@functools.cache
def compiled(name):
    return jax.jit(lambda x, strength, key: AUGMENTATIONS[name](x, strength, key=key))


@EACH
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_strength_zero_is_the_identity_bit_by_bit(name, dtype):
    x = images().astype(dtype)
    same = compiled(name)(x, jnp.float32(0), KEY)
    assert same.dtype == x.dtype
    assert np.asarray(same).tobytes() == np.asarray(x).tobytes()
    other = compiled(name)(x, jnp.float32(0.7), KEY)
    assert other.dtype == x.dtype
    assert other.shape == x.shape
    assert np.all(np.isfinite(other.astype(jnp.float32)))
    assert np.any(other != x)


@EACH
def test_an_image_does_not_see_its_neighbours(name):
    x = images()
    all_five = compiled(name)(x, 0.7, KEY)
    others = compiled(name)(x.at[jnp.array([0, 2, 3, 4])].set(x[jnp.array([4, 0, 2, 3])] * 9), 0.7, KEY)
    np.testing.assert_array_equal(others[1], all_five[1])
    np.testing.assert_allclose(compiled(name)(x[:2], 0.7, KEY)[1], all_five[1], rtol=TOLERANCE, atol=TOLERANCE)


@EACH
def test_draws_are_the_keys_and_differ_between_images_and_keys(name):
    x = jnp.broadcast_to(images()[:1], (40, 9, 8, 3))
    first = compiled(name)(x, 0.7, KEY)
    np.testing.assert_array_equal(first, compiled(name)(x, 0.7, KEY))
    assert len(np.unique(np.asarray(first).reshape(40, -1), axis=0)) == (2 if name == "flip" else 40)
    assert np.any(first != compiled(name)(x, 0.7, jax.random.key(8)))


@EACH
def test_derivatives_are_pathwise(name, x64):
    x = images()[:2].astype(jnp.float64)

    @jax.jit
    def value(strength):
        return AUGMENTATIONS[name](x, strength, key=KEY)

    value_and_slope = jax.jit(lambda s: jax.jvp(value, (s,), (jnp.ones_like(s),)))
    for strength in (0.137, 0.713):
        _, slope = value_and_slope(jnp.float64(strength))
        difference = (value(strength + 1e-7) - value(strength - 1e-7)) / 2e-7
        np.testing.assert_allclose(slope, difference, rtol=1e-6, atol=1e-6)
        assert np.any(slope != 0) or name == "flip"
    at_zero, slope = value_and_slope(jnp.float64(0))
    np.testing.assert_array_equal(at_zero, x)
    assert np.all(np.isfinite(slope))
    assert np.any(slope != 0) or name in ("flip", "occlude")  # a square's area has derivative 0 at side 0


@EACH
@pytest.mark.parametrize("strength", [0.0, 1.0, 1e3])
def test_gradients_are_finite_at_extremes(name, strength):
    def total(strength, x):
        return jnp.sum(jnp.sin(AUGMENTATIONS[name](x, strength, key=KEY)))

    flat = jnp.ones((2, 9, 8, 3))  # no contrast, no border, no largest distance
    gradient = jax.jit(jax.grad(total, (0, 1)))
    for x in (images()[:2], flat):
        assert all(np.all(np.isfinite(g)) for g in gradient(jnp.float32(strength), x))


@pytest.mark.parametrize("bad", [jnp.zeros((9, 8, 3)), jnp.zeros((2, 9, 8, 3), jnp.uint8)])
def test_what_is_no_batch_of_float_images_is_refused(bad):
    with pytest.raises(ValueError, match=r"expected floats \[batch, height, width, channels\]"):
        augmentations.rotate(bad, 0.1, key=KEY)


# Geometry: the deterministic warps under the draws.


@pytest.mark.parametrize(("down", "right"), [(0.0, 0.0), (2.0, -3.0), (0.3, 1.75), (-20.0, 0.5)])
def test_shifted_is_scipys(down, right):
    x = images()[1]
    want = ndimage.shift(np.float64(x), (down, right, 0), order=1, mode="nearest")
    np.testing.assert_allclose(viewpoint.shifted(x, down, right), want, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("degrees", [0.0, 90.0, -37.0, 160.0])
def test_rotated_is_scipys(degrees):
    x = images()[1]
    want = ndimage.rotate(np.float64(x), degrees, axes=(1, 0), reshape=False, order=1, mode="nearest")
    np.testing.assert_allclose(viewpoint.rotated(x, np.deg2rad(degrees)), want, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("number", [0.6, 1.0, 1.7])
@pytest.mark.parametrize("which", ["zoomed", "sheared"])
def test_zoomed_and_sheared_are_scipys(which, number):
    x = images()[1]
    matrix = np.eye(2) / number if which == "zoomed" else np.array([[1.0, 0.0], [-number, 1.0]])
    middle = (np.array(x.shape[:2]) - 1) / 2
    want = np.stack(
        [
            ndimage.affine_transform(
                np.float64(x[..., c]), matrix, offset=middle - matrix @ middle, order=1, mode="nearest"
            )
            for c in range(3)
        ],
        axis=-1,
    )
    np.testing.assert_allclose(getattr(viewpoint, which)(x, number), want, rtol=TOLERANCE, atol=TOLERANCE)


# Statistics. An image of places shows where each of its pixels came from.


@functools.cache
def places(size=21):
    at = np.arange(size) - (size - 1) / 2
    return np.stack(np.meshgrid(at, at, indexing="ij"), -1).astype(np.float32)


def sources(name, strength, count=MANY):
    """Where the pixel 3 below and 2 right of the middle came from, for many images."""
    x = jnp.broadcast_to(places(), (count, 21, 21, 2))
    return np.float64(AUGMENTATIONS[name](x, strength, key=KEY)[:, 13, 12])


def assert_uniform(draws, largest):
    """Between -largest and largest, tested by Kolmogorov and Smirnov at the probability of five standard errors."""
    assert np.all(np.abs(draws) <= largest * (1 + 64 * EPS) + 64 * EPS)
    assert stats.kstest(draws, stats.uniform(-largest, 2 * largest).cdf).pvalue > 6e-7


def test_shifts_are_uniform_shares_of_the_sides():
    moved = np.array([3.0, 2.0]) - sources("shift", 0.2)
    for axis in (0, 1):
        assert_uniform(moved[:, axis], 0.2 * 21)
    assert abs(np.corrcoef(moved.T)[0, 1]) < 5 / np.sqrt(MANY)


def test_angles_zooms_and_slopes_are_uniform():
    y, x = sources("rotate", 0.8).T
    assert_uniform(np.arctan2(y, x) - np.arctan2(3, 2), 0.8)
    y, x = sources("zoom", 0.5).T
    assert_uniform(np.log(3 / y), np.log(1.5))
    np.testing.assert_allclose(y / x, 1.5, rtol=1e-4)
    y, x = sources("shear", 0.5).T
    assert_uniform((2 - x) / 3, 0.5)
    np.testing.assert_allclose(y, 3, rtol=1e-5)


def test_deformations_have_their_size_and_are_smooth():
    moved = sources("deform", 0.03) - np.array([3.0, 2.0])
    for axis in (0, 1):
        assert stats.kstest(moved[:, axis], stats.norm(0, 0.03 * 21).cdf).pvalue > 6e-7
    field = np.float64(jax.vmap(lambda k: smooth_noise(k, 12, 9, 1, smoothness=0.25))(jax.random.split(KEY, MANY)))
    variance = np.mean(field**2, axis=0)
    assert np.all(np.abs(variance - 1) < 5 * np.sqrt(2 / MANY))  # at the edges too
    # Two points d apart share exp(-d**2 / (4 sigma**2)) of a field smoothed by a Gaussian, away from the edges.
    shared = np.mean(field[:, 5, 4] * field[:, 6, 4])
    assert abs(shared - np.exp(-1 / (4 * 3.0**2))) < 5 * np.sqrt(2 / MANY)


def plain(value=0.0):
    return jnp.full((MANY, 6, 5, 1), value)


def test_brightness_and_lighting_are_uniform():
    lighter = np.float64(augmentations.brightness(plain(2.0), 0.7, key=KEY) - 2)
    np.testing.assert_array_equal(lighter.min((1, 2, 3)), lighter.max((1, 2, 3)))
    assert_uniform(lighter[:, 0, 0, 0], 0.7)
    lit = np.float64(augmentations.lighting(plain(), 0.7, key=KEY))[..., 0]
    assert_uniform((lit[:, -1].mean(1)), 0.7)
    assert_uniform((lit[:, :, -1].mean(1)), 0.7)
    assert np.abs(lit.mean((1, 2))).max() < 64 * EPS


def test_contrast_keeps_the_mean_and_draws_a_uniform_power():
    x = jnp.broadcast_to(images()[1:2], (MANY, 9, 8, 3))
    out = np.float64(augmentations.contrast(x, 0.5, key=KEY)).reshape(MANY, -1)
    np.testing.assert_allclose(out.mean(1), np.float64(x[0]).mean(), rtol=1e-5)
    assert_uniform(np.log(out.std(1) / np.float64(x[0]).std()), np.log(1.5))


def test_noise_is_normal_and_flips_are_as_frequent_as_asked():
    grains = np.float64(augmentations.noise(plain(), 0.3, key=KEY)).ravel()
    assert stats.kstest(grains, stats.norm(0, 0.3).cdf).pvalue > 6e-7
    x = jnp.broadcast_to(images()[1:2], (MANY, 9, 8, 3))
    out = augmentations.flip(x, 0.3, key=KEY)
    flipped = np.all(out == x[:, :, ::-1], axis=(1, 2, 3))
    assert np.all(flipped | np.all(out == x, axis=(1, 2, 3)))
    assert abs(flipped.mean() - 0.3) < 5 * np.sqrt(0.21 / MANY)
    np.testing.assert_array_equal(augmentations.flip(x, 1.0, key=KEY), x[:, :, ::-1])


def test_occlusion_covers_a_square_with_the_mean():
    colours = images()[1:2]
    out = np.float64(augmentations.occlude(jnp.broadcast_to(colours, (MANY, 9, 8, 3)), 0.5, key=KEY))
    mean = np.float64(colours[0]).mean((0, 1))
    # Of a colour far from the mean, the share that is covered can be read off each pixel.
    share = (out - np.float64(colours)) / (mean - np.float64(colours))
    share = share[..., np.abs(np.float64(colours[0]) - mean).min((0, 1)).argmax()]
    assert share.min() > -1e-3
    assert share.max() < 1 + 1e-3
    # A side of s, its middle uniform, covers s - s**2 / 4 of a side of 1 in the mean, each axis for itself.
    area = share.mean((1, 2))
    assert abs(area.mean() - (0.5 - 0.25 / 4) ** 2) < 5 * area.std() / np.sqrt(MANY)
    inside = area > 0.2499
    assert np.any(inside)  # the whole square, a quarter of the image
    assert np.all(area < 0.25 + 1e-4)


def test_clutter_leaves_the_object_and_fills_the_background():
    x = np.zeros((MANY, 9, 9, 1), np.float32)
    x[:, 4, 3:6] = 2.0
    out = np.float64(augmentations.clutter(jnp.asarray(x), 1.0, key=KEY))[..., 0]
    np.testing.assert_array_equal(out[:, 4, 3:6], 2.0)
    assert out.min() >= 0
    assert out.max() <= 2
    assert_uniform(out[:, 1, 2] - 1, 1.0)
    half = np.float64(augmentations.clutter(jnp.asarray(x), 0.5, key=KEY))[..., 0]
    np.testing.assert_allclose(half[:, 1, 2], 0.5 * out[:, 1, 2], rtol=1e-5)


# Batches.


def test_mixup_mixes_pairs_by_a_beta():
    x = jnp.asarray(np.random.default_rng(1).gamma(2.0, 1.0, (MANY, 3)), jnp.float32)
    targets = {"label": jnp.arange(MANY), "row": x[:, 0]}
    for strength in (0.2, 1.0, 4.0):
        mixed, (own, other, weight) = jax.jit(augmentations.mixup)(x, targets, strength, key=KEY)
        np.testing.assert_array_equal(own["label"], targets["label"])
        assert sorted(other["label"].tolist()) == list(range(MANY))
        np.testing.assert_array_equal(other["row"], x[other["label"], 0])
        w = np.float64(weight)[:, None]
        want = w * np.float64(x) + (1 - w) * np.float64(x)[other["label"]]
        np.testing.assert_allclose(mixed, want, rtol=8 * EPS)
        assert weight.min() >= 0.5
        draws = np.minimum(weight, 1 - weight)  # whichever of the two it is, it lies below a half
        folded = lambda v, a=strength: 2 * stats.beta(a, a).cdf(v)  # noqa: E731
        assert stats.kstest(np.float64(draws), folded).pvalue > 6e-7


def test_mixup_of_strength_zero_is_the_identity():
    x = images()
    mixed, (own, _, weight) = jax.jit(augmentations.mixup)(x, jnp.arange(5), jnp.float32(0), key=KEY)
    assert np.asarray(mixed).tobytes() == np.asarray(x).tobytes()
    assert weight.tolist() == [1] * 5
    assert own.tolist() == [0, 1, 2, 3, 4]
    half = augmentations.mixup(x.astype(jnp.bfloat16), jnp.arange(5), 0.5, key=KEY)[0]
    assert half.dtype == jnp.bfloat16


def test_mixups_derivative_is_finite_and_right_in_the_mean():
    x = jnp.ones((MANY, 1))

    def product(strength):
        weight = augmentations.mixup(x, x, strength, key=KEY)[1][2]
        return weight * (1 - weight)

    slope = np.float64(jax.jit(jax.jacfwd(product))(1.5))
    # The mean of w (1 - w) is a / (2 (2 a + 1)).
    assert abs(slope.mean() - 1 / (2 * (2 * 1.5 + 1) ** 2)) < 5 * slope.std() / np.sqrt(MANY)
    gradient = jax.jit(jax.grad(lambda s, v: jnp.sum(augmentations.mixup(v, x, s, key=KEY)[0] ** 2), (0, 1)))
    for strength in (0.0, 1e-8, 1e-3, 1e3):
        assert all(np.all(np.isfinite(g)) for g in gradient(strength, x))


def label_noise(labels, *arguments, **named):
    return augmentations.label_noise(None, labels, *arguments, **named)[1]


def test_mixing_twice_mixes_the_loss_twice():
    x, logits = images(), jnp.asarray(np.random.default_rng(0).normal(size=(5, 4)), jnp.float32)
    labels = jnp.array([3, 1, 0, 2, 1])
    once = augmentations.mixup(x, labels, 1.0, key=KEY)
    _, targets = augmentations.mixup(*once, 0.6, key=jax.random.key(1))

    def soft(t):  # the one-hot targets that the mixtures stand for
        if not isinstance(t, augmentations.Mixed):
            return np.eye(4)[t]
        w = np.float64(t.weight)[:, None]
        return w * soft(t.own) + (1 - w) * soft(t.other)

    want = -np.sum(soft(targets) * np.float64(jax.nn.log_softmax(logits)), axis=1)
    got = augmentations.of_mixed(functools.partial(losses.softmax_cross_entropy, logits), targets)
    np.testing.assert_allclose(got, want, rtol=16 * EPS)
    assert len(np.unique(soft(targets)[0])) > 2


def test_labels_are_made_noisy_before_they_are_mixed():
    x, mixed = augmentations.mixup(images(), jnp.arange(5), 1.0, key=KEY)
    with pytest.raises(ValueError, match=r"got targets of Mixed; expected integer labels\. Put it before mixup"):
        augmentations.label_noise(x, mixed, 0.1, key=KEY, classes=5)


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
def test_label_noise_draws_another_class_at_its_rate(dtype):
    labels = jnp.full(MANY, 3, dtype)
    noisy = jax.jit(label_noise)(labels, 0.4, key=KEY, classes=5)
    assert noisy.dtype == labels.dtype
    wrong = np.asarray(noisy != 3)
    assert abs(wrong.mean() - 0.4) < 5 * np.sqrt(0.24 / MANY)
    found = np.bincount(np.asarray(noisy)[wrong], minlength=5)
    assert found[3] == 0
    assert stats.chisquare(found[[0, 1, 2, 4]]).pvalue > 6e-7


def test_label_noise_is_off_at_zero_total_at_one_and_leaves_what_is_no_class():
    labels = jnp.array([0, 254, 7, 100], jnp.uint8)
    np.testing.assert_array_equal(label_noise(labels, 0.0, key=KEY, classes=255), labels)
    every = jax.vmap(lambda s: label_noise(labels, s, key=KEY, classes=255))(jnp.array([0.0, 1.0]))
    np.testing.assert_array_equal(every[0], labels)
    assert np.all(every[1] != labels)
    strange = jnp.array([[-1, 5], [9, 0]])
    noisy = label_noise(strange, 1.0, key=KEY, classes=5)
    assert noisy[0].tolist() == [-1, 5]
    assert noisy[1, 0] == 9
    assert 0 < noisy[1, 1] < 5


# In a training, and afterwards.


@functools.cache
def trained():
    """Three members of a softmax regression on the digits, each with its own strength of augmentation."""
    digits = data.load("digits")
    x, y = jnp.asarray(digits.train[0], jnp.float32), jnp.asarray(digits.train[1])
    x = x.reshape(-1, 8, 8, 1) / 16
    model = models.linear(outputs=10)
    make = training.make_training(
        model, losses.softmax_cross_entropy, optimizers.sgd, example=(x, y), augment=augmentations.noise
    )
    hparams = {"learning_rate": jnp.full(3, 0.5), "noise.strength": jnp.array([0.0, 0.3, 3.0])}
    state = jax.vmap(make.init)(jax.random.split(KEY, 3), hparams)

    @jax.jit
    def run(state):
        body = lambda s, _: jax.vmap(make.step, (0, None, 0))(s, (x[:500], y[:500]), hparams)  # noqa: E731
        return jax.lax.scan(body, state, None, length=60)

    state, info = run(state)
    return model, state, (x[500:703], y[500:703]), info


def test_a_training_routes_the_strength():
    _, _, _, info = trained()
    assert info.loss.shape == (60, 3)
    assert info.loss[-1, 0] < info.loss[-1, 1] < info.loss[-1, 2]


def test_robustness_counts_every_example_once_whatever_the_batches():
    model, state, held_out, _ = trained()
    params = jax.tree.map(lambda p: p[0], state.params)
    strengths = jnp.array([0.0, 0.2, 0.8, 5.0])

    def curve(batch_size):
        run = functools.partial(training.robustness, augmentation=augmentations.noise, key=KEY, batch_size=batch_size)
        return run(model, params, {}, held_out, strengths=strengths)

    curves = curve(64)
    np.testing.assert_allclose(curve(203), curves, rtol=4 * EPS)
    plain = training.evaluate(
        model, state._replace(params=params), held_out, {}, metrics={"accuracy": metrics.accuracy}
    )
    np.testing.assert_allclose(curves[0], plain["accuracy"], rtol=4 * EPS)
    assert curves[0] > 0.5  # chance is 0.1
    assert np.all(np.diff(curves) < 0)
    right = 0
    score = jax.jit(lambda x: model.apply(params, {}, x, train=False, key=None, hparams={})[0])
    for row in range(203):  # one example after the other, by hand
        noisy = compiled("noise")(held_out[0][row][None], 0.8, jax.random.fold_in(KEY, row))
        right += int(score(noisy).argmax() == held_out[1][row])
    np.testing.assert_allclose(curves[2], right / 203, rtol=4 * EPS)


def test_robustness_serves_members_and_says_what_is_wrong():
    model, state, held_out, _ = trained()
    strengths = jnp.array([0.0, 1.0])

    def curve(params):
        return training.robustness(
            model, params, {}, held_out, augmentations.shift, strengths, key=KEY, prepare=lambda x: x + 1
        )

    members = jax.jit(jax.vmap(curve))(state.params)
    assert members.shape == (3, 2)
    np.testing.assert_allclose(members[1], curve(jax.tree.map(lambda p: p[1], state.params)), rtol=4 * EPS)
    with pytest.raises(ValueError, match=r"got strengths of shape \(\); expected a vector"):
        training.robustness(model, state.params, {}, held_out, augmentations.shift, 0.1, key=KEY)
