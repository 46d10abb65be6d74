"""Hypergradients are finite differences of whole trainings, in both modes; tuning follows them and survives chaos."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_intro import losses, make_training, models, optimizers, regularizers, schedules
from jaxopt_intro.training import TrainState, hypergradient, tune
from jaxopt_intro.typing import Training

rng = np.random.default_rng(5)
X = rng.normal(size=(40, 4))
Y = (X @ rng.normal(size=(4, 3)) + rng.normal(size=(40, 3))).argmax(1)
NUMBERS = {
    "sgd": {"learning_rate": 0.3, "l2": 0.02},
    "momentum": {"learning_rate": 0.1, "momentum": 0.7, "l2": 0.02},
    "adam": {"learning_rate": 0.05, "b1": 0.8, "b2": 0.9, "eps": 0.01, "l2": 0.02},
}


def problem(optimizer="sgd", steps=7, dtype=jnp.float64, **parts):
    """A training of that many steps of 8 examples, how it starts, its batches, and the loss on the last 16."""
    x, y = jnp.asarray(X, dtype), jnp.asarray(Y)
    made = make_training(
        models.linear(outputs=3), losses.softmax_cross_entropy, optimizers.METHODS[optimizer].make,
        example=(x[:8], y[:8]), penalty=regularizers.l2, **parts,
    )  # fmt: skip
    rows = jnp.asarray(np.random.default_rng(1).integers(0, 24, (steps, 8)))

    zeros = {"dense": {"kernel": jnp.zeros((4, 3), dtype), "bias": jnp.zeros(3, dtype)}}

    def start(hparams):
        return TrainState(
            jnp.zeros((), jnp.int32),
            jax.random.key(0),
            zeros,
            {},
            optimizers.METHODS[optimizer]
            .make(**{name: v for name, v in hparams.items() if name not in ("l2", "length")})
            .init(zeros),
        )

    def validation(state, hparams):
        dense = state.params["dense"]
        return jnp.mean(losses.softmax_cross_entropy(x[24:] @ dense["kernel"] + dense["bias"][None], y[24:]))

    return made, start, (x[rows], y[rows]), validation


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("optimizer", NUMBERS)
def test_both_modes_are_finite_differences_of_the_whole_training(optimizer):
    whole, numbers = problem(optimizer), {name: jnp.float64(v) for name, v in NUMBERS[optimizer].items()}
    forward = jax.jit(functools.partial(hypergradient, *whole, mode="forward"))
    (value, ahead), (again, back) = (
        forward(numbers),
        jax.jit(functools.partial(hypergradient, *whole, mode="reverse"))(numbers),
    )
    np.testing.assert_allclose(again, value, rtol=1e-12)
    for name, at in numbers.items():
        up, down = (forward({**numbers, name: at + step})[0] for step in (1e-6, -1e-6))
        np.testing.assert_allclose(ahead[name], (up - down) / 2e-6, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(back[name], ahead[name], rtol=1e-10, atol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("steps", [1, 5])
def test_any_number_of_steps_is_cut_into_pieces_without_losing_one(steps):
    whole, numbers = problem(steps=steps), NUMBERS["sgd"]
    (value, ahead), (again, back) = (hypergradient(*whole, numbers, mode=mode) for mode in ("forward", "reverse"))
    np.testing.assert_allclose([again, *back.values()], [value, *ahead.values()], rtol=1e-10)


def test_a_schedules_length_has_a_hypergradient_and_lanes_are_solo_calls():
    whole = problem(dtype=jnp.float32, schedule=schedules.cosine)
    one = functools.partial(hypergradient, *whole)
    lanes = {"learning_rate": jnp.array([0.1, 0.5]), "l2": jnp.array([0.01, 0.1]), "length": jnp.array([9.5, 12.5])}
    values, gradients = jax.jit(jax.vmap(one))(lanes)
    for lane in range(2):
        value, gradient = one({name: v[lane] for name, v in lanes.items()})
        np.testing.assert_allclose(values[lane], value, rtol=1e-5)
        for name in lanes:
            assert gradient[name] != 0
            np.testing.assert_allclose(gradients[name][lane], gradient[name], rtol=1e-4, atol=1e-6)


def test_a_state_may_be_given_as_it_is():
    made, start, batches, validation = problem(dtype=jnp.float32)
    numbers = NUMBERS["sgd"]
    given = hypergradient(made, start(numbers), batches, validation, numbers)
    np.testing.assert_allclose(given[0], hypergradient(made, start, batches, validation, numbers)[0])


def test_wrong_modes_and_no_batches_are_refused():
    made, start, batches, validation = problem(dtype=jnp.float32)
    with pytest.raises(ValueError, match="hypergradient: got mode='backward'; expected 'forward', 'reverse'"):
        hypergradient(made, start, batches, validation, NUMBERS["sgd"], mode="backward")
    none = jax.tree.map(lambda x: x[:0], batches)
    with pytest.raises(ValueError, match="got no batches"):
        hypergradient(made, start, none, validation, NUMBERS["sgd"])


@pytest.fixture(scope="module")
def grid():
    """The best validation of 8 x 8 trainings."""
    made, start, batches, validation = problem(steps=30, dtype=jnp.float32)
    rates, strengths = np.meshgrid(np.geomspace(1e-3, 30, 8), np.geomspace(1e-4, 1, 8))

    def trained(rate, strength):
        numbers = {"learning_rate": rate, "l2": strength}
        state = jax.lax.scan(lambda s, b: (made.step(s, b, numbers)[0], None), start(numbers), batches)[0]
        return validation(state, numbers)

    return float(np.nanmin(jax.jit(jax.vmap(trained))(rates.ravel(), strengths.ravel())))


def test_tuning_reaches_what_a_grid_finds_from_every_start_also_a_chaotic_one(grid):
    starts = {"learning_rate": jnp.array([3e-3, 0.1, 100.0]), "l2": jnp.array([1e-3, 1e-3, 1e-2])}
    found = jax.jit(jax.vmap(lambda h: tune(*problem(steps=30, dtype=jnp.float32), h, iterations=16)))(starts)
    assert found.values.shape == (3, 16)
    assert np.all(found.value < found.values[:, 0])
    np.testing.assert_array_less(found.value, grid + 0.02)
    np.testing.assert_array_equal(found.value, found.values.min(axis=1))
    for name, way in found.path.items():
        np.testing.assert_allclose(way[:, 0], starts[name], rtol=1e-5)
        np.testing.assert_array_equal(found.hparams[name], way[jnp.arange(3), found.values.argmin(axis=1)])


def test_where_nothing_is_finite_the_learning_rate_goes_down_and_the_others_stay():
    def step(state, batch, hparams):
        return jnp.where(hparams["learning_rate"] > 1.0, jnp.nan, state - hparams["learning_rate"] * state), None

    wild = Training(lambda key, hparams: jnp.array(1.0), step)
    start = {"learning_rate": 20.0, "l2": 0.5}
    found = tune(wild, jnp.array(1.0), jnp.zeros(2), lambda s, h: s**2 + 0 * h["l2"], start, iterations=12)
    finite = np.isfinite(found.values)
    assert not finite[0]
    assert finite.any()
    first = int(finite.argmax())
    assert np.all(np.diff(found.path["learning_rate"][: first + 1]) < 0)
    np.testing.assert_allclose(found.path["l2"][: first + 1], 0.5, rtol=1e-5)
    assert found.value < 1


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_what_has_no_logarithm_is_refused(value):
    with pytest.raises(ValueError, match=f"tune: got l2={value}; expected a number above 0"):
        tune(*problem(dtype=jnp.float32), {"learning_rate": 0.1, "l2": value})
    with pytest.raises(ValueError, match="got iterations=0"):
        tune(*problem(dtype=jnp.float32), {"learning_rate": 0.1}, iterations=0)
