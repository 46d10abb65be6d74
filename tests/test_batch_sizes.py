"""The batch size as a number: several microbatches an update, annealed, and what that asks of an experiment."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_intro import (
    Experiment,
    Space,
    choice,
    cli,
    load_model,
    log_uniform,
    losses,
    models,
    optimizers,
    schedules,
    sweep,
)
from jaxopt_intro.experiment import grouping
from jaxopt_intro.experiment.asking import from_mapping, to_mapping
from jaxopt_intro.optimizers import wrappers
from jaxopt_intro.training import make_training
from tests.small import DATA, of

pytestmark = pytest.mark.usefixtures("compiled_once")

COUNT = len(DATA.train[0])  # 30
EXPERIMENT = Experiment(data=DATA, model="linear", optimizer="sgd", epochs=2, batch_size=10, microbatch=5)


def experiment(**changed):
    return Experiment(**{**vars(EXPERIMENT), **changed})


def weights(directory, trial=None):
    return load_model(directory, trial, which="last").params


def test_a_batch_of_microbatches_is_the_batch(tmp_path):
    space = Space(learning_rate=0.1)
    sweep(experiment(), space.grid(), directory=tmp_path / "micro")
    sweep(experiment(microbatch=None), space.grid(), directory=tmp_path / "whole")
    for a, b in zip(*(jax.tree.leaves(weights(tmp_path / name)) for name in ("micro", "whole")), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_batch_sizes_are_lanes_of_one_program(tmp_path):
    space = Space(learning_rate=log_uniform(0.01, 0.1), batch_size=choice([5, 10, 20]))
    found = sweep(experiment(), space.grid(2), directory=tmp_path / "run")
    assert len(of(tmp_path / "run", "plan")) == 1
    assert found.sizes["trial"] == 6
    assert sorted(set(found.batch_size.values.tolist())) == [5, 10, 20]
    one = of(tmp_path / "run", "trial")[0]
    assert one["hparams"]["batch_size"] == 5
    assert one["choices"] == {}
    assert one["compiled"] == {}
    assert np.isfinite(found.score.values).all()
    # Each is what it would be alone.
    for trial in of(tmp_path / "run", "trial")[-2:]:
        numbers = {name: float(value) for name, value in trial["hparams"].items()}
        sweep(experiment(), Space(**numbers).grid(), directory=tmp_path / trial["trial"])
        own, alone = weights(tmp_path / "run", trial["trial"]), weights(tmp_path / trial["trial"])
        assert jax.tree.map(lambda x: x.shape, own) == jax.tree.map(lambda x: x.shape, alone)
        for a, b in zip(jax.tree.leaves(own), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def updates(hparams, steps, microbatch=4, **parts):
    """At which steps a training moves: of a loss whose gradient is the same everywhere."""
    batch = jnp.ones((microbatch, 1)), jnp.zeros((microbatch, 1))
    made = make_training(
        models.linear(outputs=1), lambda outputs, targets: (outputs - targets)[:, 0], optimizers.sgd, example=batch,
        wrap=functools.partial(wrappers.batches, microbatch=microbatch), **parts,
    )  # fmt: skip

    def body(state, _):
        state, info = made.step(state, batch, hparams)
        return state, info.update_norm

    norms = jax.lax.scan(body, made.init(jax.random.key(0), hparams), length=steps)[1]
    return [int(step) for step in np.flatnonzero(np.asarray(norms) > 0)]


@pytest.mark.parametrize(
    ("batch_size", "moved"),
    [(1.0, list(range(8))), (4.0, list(range(8))), (8.0, [1, 3, 5, 7]), (12.0, [2, 5]), (11.9, [2, 5]), (40.0, [])],
)
def test_an_update_comes_with_the_last_of_its_microbatches(batch_size, moved):
    assert updates({"learning_rate": 0.1, "batch_size": batch_size}, 8) == moved


def test_the_remainder_is_carried_over_the_end_of_an_epoch(tmp_path):
    """Of 6 microbatches an epoch, 4 are an update's: of 2 epochs that are 3 updates, and not 2."""

    def optimizer(learning_rate):
        return optimizers.sgd(learning_rate=learning_rate)

    space = Space(learning_rate=1.0, batch_size=20)
    found = sweep(experiment(optimizer=optimizer, loss=lambda o, t: o[:, 0], model="linear", objective="loss",
                             direction="max"), space.grid(), directory=tmp_path / "run")  # fmt: skip
    bias = load_model(tmp_path / "run", which="last", parts={"optimizer": optimizer, "loss": lambda o, t: o[:, 0]})
    counted = -bias.params["dense"]["bias"][0]
    assert counted.item() == 3.0
    assert found.sizes["trial"] == 1


def test_annealing_the_batch_is_a_schedule_of_it():
    """Smith et al. 2018: the batch grows by a factor at given times, where the learning rate would fall by it."""
    hparams = {
        "learning_rate": 0.1,
        "batch_size": 4.0,
        "schedule.batch_size.rate": 2.0,
        "schedule.batch_size.every": 4.0,
    }
    moved = updates(hparams, 12, schedule={"batch_size": schedules.step_decay})
    assert moved == [0, 1, 2, 3, 5, 7, 11]


def test_a_sweep_anneals_the_batch(tmp_path):
    space = Space({"schedule.batch_size.rate": log_uniform(1.0, 4.0)}, learning_rate=0.1, every=6)
    found = sweep(experiment(schedule={"batch_size": "step_decay"}), space.grid(2), directory=tmp_path / "run")
    assert np.isfinite(found.score.values).all()
    assert len(of(tmp_path / "run", "plan")) == 1


def staged(space, **changed):
    return grouping.stage(experiment(**changed), DATA, space.grid())[0]


def test_ids_say_what_is_meant_however_it_is_spelled():
    default = staged(Space(learning_rate=0.1), batch_size=20)[0].id
    assert staged(Space(learning_rate=0.1, batch_size=20))[0].id == default
    assert staged(Space(learning_rate=0.1, batch_size=choice([20])))[0].id == default
    assert staged(Space(learning_rate=0.1))[0].id != default
    assert staged(Space(learning_rate=0.1), batch_size=20, microbatch=10)[0].id != default
    assert staged(Space(learning_rate=0.1), batch_size=20, microbatch=None)[0].id != default


@pytest.mark.parametrize(
    ("changed", "space", "said"),
    [
        ({}, {"batch_size": 12}, "expected a multiple of the microbatch, such as 10"),
        ({"batch_size": 12}, {}, "got batch_size=12 with microbatch=5"),
        ({}, {"batch_size": 65}, "a trial sees 60 examples, in 12 steps of 5"),
        ({"microbatch": 31}, {"batch_size": 31}, "got microbatch=31 and 30 training examples"),
        ({"microbatch": 0}, {}, "got microbatch=0"),
        ({"microbatch": None}, {"batch_size": 20}, "microbatch"),
    ],
)
def test_batches_that_cannot_be_are_refused(changed, space, said):
    with pytest.raises(ValueError, match=said):
        staged(Space(learning_rate=0.1, **space), **changed)


def test_microbatches_may_be_chosen(tmp_path):
    """One value decides how batches are cut and how many make an update."""
    space = Space(learning_rate=0.1, microbatch=choice([2, 5]))
    sweep(experiment(), space.grid(), directory=tmp_path / "both")
    for size, trial in zip((2, 5), of(tmp_path / "both", "trial"), strict=True):
        sweep(experiment(microbatch=size), Space(learning_rate=0.1).grid(), directory=tmp_path / str(size))
        assert of(tmp_path / str(size), "trial")[0]["trial"] == trial["trial"]
        for a, b in zip(
            *(jax.tree.leaves(weights(tmp_path / d, trial["trial"])) for d in ("both", str(size))), strict=True
        ):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("changed", "space", "said"),
    [
        ({"wrap": "sam"}, {"radius": 0.1}, "wrap sam: got a microbatch; expected whole batches"),
        ({"optimizer": "lbfgs"}, {"linesearch": choice(["zoom"])}, "optimizer lbfgs: got a microbatch"),
        ({"optimizer": "adamw"}, {"decay": choice(["normalized"])}, "optimizer adamw: got a microbatch"),
    ],
)
def test_what_needs_whole_batches_is_refused(changed, space, said):
    with pytest.raises(ValueError, match=said):
        staged(Space(learning_rate=0.1, **space), **changed)


def test_an_inner_method_is_told_the_mean_gradient():
    seen = []

    def update(updates, state, params=None, *, grad, **extra):
        seen.append((grad, updates))
        return updates, state

    inner = optax.GradientTransformationExtraArgs(lambda params: (), update)
    made = wrappers.batches(inner, batch_size=4, microbatch=2)
    state = made.init(jnp.zeros(1))
    for g in (jnp.array([1.0]), jnp.array([3.0])):
        _, state = made.update(g, state, jnp.zeros(1), grad=g)
    assert all(a is b for a, b in seen)


def test_a_schedule_of_a_batch_size_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="without a microbatch; expected one"):
        staged(Space(learning_rate=0.1), schedule={"batch_size": "step_decay"}, microbatch=None)


def test_a_batch_may_be_larger_than_the_split(tmp_path):
    space = Space(learning_rate=0.1, batch_size=60)
    assert np.isfinite(sweep(experiment(), space.grid(), directory=tmp_path / "run").score.item())


def test_an_experiment_with_a_microbatch_is_written_and_read():
    assert from_mapping({**to_mapping(EXPERIMENT), "data": "digits"}).microbatch == 5
    assert "microbatch" not in to_mapping(experiment(microbatch=None))


def test_from_the_command_line(tmp_path, capsys):
    asked = ["--microbatch", "64", "--choice", "batch_size", "64", "256", "--constant", "learning_rate", "0.1"]
    run = str(tmp_path / "run")
    assert (
        cli.main(["sweep", "--data", "digits", "--model", "linear", "--epochs", "1", *asked, "--directory", run]) == 0
    )
    assert "batch_size" in capsys.readouterr().out
    assert len(of(run, "plan")) == 1


def test_batch_norm_is_of_microbatches():
    """Its running statistics are the mean of what microbatches say, whatever the batch size."""
    x = jnp.asarray(DATA.train[0][:10]).reshape(2, 5, 2, 2, 1)
    y = jnp.asarray(DATA.train[1][:10]).reshape(2, 5)
    model = models.resnet(outputs=3, channels=(2,), blocks=1)
    made = make_training(
        model, losses.softmax_cross_entropy, optimizers.sgd, example=(x[0], y[0]),
        wrap=functools.partial(wrappers.batches, microbatch=5),
    )  # fmt: skip
    hparams = {"learning_rate": 0.0, "batch_size": 10.0}
    state = jax.jit(made.init)(jax.random.key(0), hparams)
    expected, step = state.model_state, jax.jit(made.step)

    @jax.jit
    def seen(params, model_state, x):
        return model.apply(params, model_state, x, train=True, key=None, hparams={})[1]

    for i in range(2):
        expected = seen(state.params, expected, x[i])
        state, _ = step(state, (x[i], y[i]), hparams)
    for a, b in zip(jax.tree.leaves(state.model_state), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
