from __future__ import annotations

import functools
import math

import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxopt_intro import distributions
from jaxopt_intro.distributions import choice, integer, log_uniform, normal, points, quantile, quantized, uniform

EPS = float(np.finfo(np.float32).eps)
places = st.floats(0, 1, exclude_max=True)


@given(places, st.floats(-1e6, 1e6, width=32), st.floats(0, 1e6, width=32))
def test_quantiles_of_uniform(place, low, width):
    (value,) = quantile(uniform(low, low + width), np.array([place]))
    assert value == pytest.approx(low + place * width, rel=EPS, abs=EPS * (abs(low) + width))


@given(places, st.floats(1e-12, 1e6), st.floats(1, 1e6))
def test_quantiles_of_log_uniform(place, low, ratio):
    (value,) = quantile(log_uniform(low, low * ratio), np.array([place]))
    assert value == pytest.approx(low * ratio**place, rel=2 * EPS)


@given(places, st.integers(-50, 50), st.integers(0, 20))
def test_quantiles_of_integer(place, low, width):
    (value,) = quantile(integer(low, low + width), np.array([place]))
    assert type(value) is int
    assert low <= value <= low + width
    assert value == low + math.floor(place * (width + 1))


def test_integers_are_equally_likely():
    count = 6_000
    drawn = quantile(integer(3, 8), (np.arange(count) + 0.5) / count)
    assert np.bincount(drawn, minlength=9).tolist() == [0, 0, 0, *[1000] * 6]


@given(st.floats(0, 1, exclude_max=True))
def test_values_are_exact_in_float32_and_inside(place):
    for distribution in (uniform(0.1, 0.7), log_uniform(1e-5, 0.3)):
        (value,) = quantile(distribution, np.array([place]))
        assert np.float32(value) == np.float32(distributions.float32(value))
        assert distributions.float32(value) == value
        assert np.float32(distribution.low) <= np.float32(value) <= np.float32(distribution.high)


def test_points():
    assert points(log_uniform(1e-4, 1.0), 5) == [0.0001, 0.001, 0.01, 0.1, 1.0]
    assert points(uniform(-1.0, 1.0), 5) == [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert points(log_uniform(1e-4, 1.0), 1) == [0.01]
    assert points(integer(1, 3), 7) == [1, 2, 3]
    assert points(integer(8, 8), 1) == [8]
    with pytest.raises(ValueError, match="got 0 points; expected at least 1"):
        points(uniform(0.0, 1.0), 0)


@pytest.mark.parametrize("make", [uniform, log_uniform, integer])
def test_ends_that_are_no_range_are_refused(make):
    for low, high in ((2, 1), (1, math.inf), (1, math.nan)):
        with pytest.raises(ValueError, match=rf"{make.__name__}: got .*expected"):
            make(low, high)


def test_log_uniform_says_how_to_switch_off():
    for low in (0, -1.0):
        with pytest.raises(ValueError, match=r"log_uniform: got low=.*above 0.*choice\(\[0\.0"):
            log_uniform(low, 1.0)


def test_integer_refuses_fractions():
    with pytest.raises(ValueError, match=r"integer: got low=0\.5.*Use uniform"):
        integer(0.5, 3)


def test_a_choice_labels_and_identifies_its_options():
    made = choice(["adam", optax.lion, functools.partial(optax.sgd, nesterov=True), None, 3, [64, 32], True])
    assert made.labels == ("adam", "lion", "sgd", "None", "3", "(64, 32)", "True")
    assert made.identities[0] == "adam"
    assert made.identities[1].endswith(":lion")
    assert made.identities[2].endswith(":sgd(nesterov=True)")
    assert made.options[5] == (64, 32)


def test_a_mapping_labels_what_has_no_name_of_its_own():
    made = choice({"plain": optax.sgd, "nesterov": functools.partial(optax.sgd, nesterov=True), "none": None})
    assert made.labels == ("plain", "nesterov", "none")
    assert made.identities[0] != made.identities[1]
    assert choice({"mine": lambda: optax.sgd(0.1)}).labels == ("mine",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "got no options"),
        ("adam", r"got the string 'adam'; expected a list. Write choice\(\['adam'\]\)"),
        (["a", "a", "b"], "options of which a stand for more than one"),
        ([optax.sgd, functools.partial(optax.sgd, nesterov=True)], "sgd stand for more than one.*Give labels"),
        ([1, "1"], "1 stand for more than one"),
        ([lambda x: x], "got a lambda, which has no name"),
    ],
    ids=["none", "string", "twice", "same name", "same text", "lambda"],
)
def test_choices_that_cannot_be_told_apart_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        choice(options)


def test_plain_values_fit_into_json():
    assert distributions.plain([optax.sgd, (1, 2.5), None, "x", True]) == [
        distributions.identity(optax.sgd), [1, 2.5], None, "x", True,
    ]  # fmt: skip


@given(places, st.floats(-100, 100, width=32), st.integers(1, 40), st.sampled_from([0.1, 0.25, 1e-3, 3.0]))
def test_quantiles_of_quantized_are_whole_steps_and_equally_likely(place, low, steps, step):
    made = quantized(low, low + steps * step, step)
    (value,) = quantile(made, np.array([place]))
    assert value == distributions.float32(float(f"{low + math.floor(place * (steps + 1)) * step:.12g}"))
    drawn = quantile(made, (np.arange(10 * (steps + 1)) + 0.5) / (10 * (steps + 1)))
    assert set(np.unique(drawn, return_counts=True)[1]) == {10}


@given(places, st.floats(-50, 50), st.floats(1e-3, 50))
def test_quantiles_of_normal(place, mean, std):
    (value,) = quantile(normal(mean, std), np.array([place]))
    below = 0.5 * (1 + math.erf((value - mean) / std / math.sqrt(2)))
    assert below == pytest.approx(place, abs=1e-3 + 2 * EPS * (abs(mean) + std) / std) or place in (0, 1)
    assert math.isfinite(value)


def test_points_of_quantized_and_normal():
    assert points(quantized(0.0, 0.3, 0.1), 4) == [0.0, 0.1, 0.2, 0.3]
    assert points(quantized(1.0, 2.9, 0.5), 9) == [1.0, 1.5, 2.0, 2.5]
    assert points(quantized(8, 62, 8), 2) == [8.0, 56.0]
    assert points(normal(3.0, 2.0), 1) == [3.0]
    drawn = points(normal(3.0, 2.0), 5)
    assert drawn == sorted(drawn)
    np.testing.assert_allclose(np.array(drawn) - 3.0, 3.0 - np.array(drawn[::-1]), rtol=1e-5)


def test_a_normal_distribution_is_seen_between_its_outer_thousandths():
    low, high = normal(1.0, 2.0).low, normal(1.0, 2.0).high
    assert (low, high) == (pytest.approx(1 - 2 * 3.0902, abs=1e-3), pytest.approx(1 + 2 * 3.0902, abs=1e-3))


@given(st.floats(-1e3, 1e3), st.sampled_from([
    uniform(0.1, 0.7), log_uniform(1e-5, 0.3), integer(-3, 5), quantized(0.1, 0.95, 0.1), quantized(-3, 9, 2),
]))  # fmt: skip
def test_exact_gives_what_a_distribution_has_and_changes_nothing_twice(value, distribution):
    found = distributions.exact(distribution, value)
    assert distributions.exact(distribution, found) == found
    assert np.float32(distribution.low) <= np.float32(found) <= np.float32(distribution.last)
    if distribution.kind == "quantized":
        assert found in points(distribution, 1000)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: quantized(0, 1, 0), "quantized: got low=0, high=1, step=0; expected a step above 0"),
        (lambda: quantized(0, 1e308, 1e-308), "expected at most 2 [*][*] 53 steps"),
        (lambda: quantized(-1e308, 1e308, 1.0), "expected at most 2 [*][*] 53 steps"),
        (lambda: quantized(0, 1, 2), "step=2; expected a step above 0, of at most high - low"),
        (lambda: quantized(0, 1, math.nan), "step=nan; expected a step above 0"),
        (lambda: quantized(2, 1, 0.1), "quantized: got low=2, high=1; expected finite numbers with low <= high"),
        (lambda: normal(0, 0), "normal: got mean=0, std=0; expected finite numbers, std above 0"),
        (lambda: normal(math.inf, 1), "normal: got mean=inf"),
        (lambda: normal(0, math.nan), "std=nan"),
    ],
)
def test_ranges_that_are_impossible_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_functions_in_a_tuple_have_names_that_no_process_changes():
    made = choice([("adam", optax.lion), (optax.lion,)])
    assert made.labels == ("('adam', lion)", "(lion,)")
    assert all(":lion" in found and "0x" not in found for found in made.identities)
