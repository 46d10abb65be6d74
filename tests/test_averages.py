"""The average of the parameters, measured beside the raw ones, and chosen, kept and tested where it is asked for."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_intro import Experiment, Space, choice, load_model, losses, models, optimizers, sweep, training, uniform
from jaxopt_intro.optimizers import wrappers
from jaxopt_intro.typing import Model
from tests.small import DATA, of

pytestmark = pytest.mark.usefixtures("compiled_once")

EXPERIMENT = Experiment(data=DATA, model="linear", optimizer="sgd", epochs=3, batch_size=10, wrap="ema")
SPACE = Space(learning_rate=0.5, decay=0.9)


def experiment(**changed):
    return Experiment(**{**vars(EXPERIMENT), **changed})


def accuracy(loaded, data):
    return np.mean(np.argmax(np.asarray(loaded.predict(data[0])), -1) == data[1])


def test_the_average_is_measured_beside_the_raw_parameters(tmp_path):
    found = sweep(EXPERIMENT, SPACE.grid(), directory=tmp_path / "run")
    raw, average = found.valid_loss.values.ravel(), found.valid_average_loss.values.ravel()
    assert np.isfinite(average).all()
    assert not np.allclose(raw, average)
    assert "valid_average_accuracy" in found
    assert "test_average_accuracy" not in found
    assert found.test_accuracy.item() == pytest.approx(accuracy(load_model(tmp_path / "run"), DATA.test))


def test_the_average_is_what_is_chosen_kept_and_tested(tmp_path):
    found = sweep(experiment(objective="average_accuracy"), SPACE.grid(), directory=tmp_path / "run")
    assert found.attrs["objective"] == "valid_average_accuracy"
    assert found.attrs["direction"] == "max"
    best, last = load_model(tmp_path / "run"), load_model(tmp_path / "run", which="last")
    assert accuracy(best, DATA.valid) == pytest.approx(found.score.item())
    assert accuracy(best, DATA.test) == pytest.approx(found.test_average_accuracy.item())
    assert not np.allclose(best.params["dense"]["kernel"], last.params["dense"]["kernel"])


def test_it_is_the_average_of_the_path_by_hand():
    batch = tuple(jnp.asarray(x[:10]) for x in DATA.train)
    model = models.linear(outputs=3)
    made = training.make_training(
        model, losses.softmax_cross_entropy, optimizers.sgd, example=batch, wrap=wrappers.swa
    )  # fmt: skip
    hparams = {"learning_rate": 0.5}
    state = made.init(jax.random.key(0), hparams)
    seen = [state.params["dense"]["kernel"]]  # the beginning counts
    for _ in range(4):
        state, _ = made.step(state, batch, hparams)
        seen.append(state.params["dense"]["kernel"])
    averaged = training.averaged(model, state, batch, hparams)
    assert averaged is not None
    np.testing.assert_allclose(averaged.params["dense"]["kernel"], np.mean(seen, 0), rtol=1e-5, atol=1e-6)


def test_without_an_average_nothing_is_measured_more(tmp_path):
    found = sweep(experiment(wrap=()), Space(learning_rate=0.5).grid(), directory=tmp_path / "run")
    assert not [name for name in found.data_vars if "average" in str(name)]


@pytest.mark.parametrize("changed", [{"wrap": ()}, {"workers": "local_sgd"}])
def test_an_average_that_is_not_there_decides_nothing(changed, tmp_path):
    space = (
        Space(learning_rate=0.5)
        if "wrap" in changed
        else Space({"local_sgd.workers": 2}, learning_rate=0.5, decay=0.9, period=2)
    )
    with pytest.raises(ValueError, match="objective 'average_loss': got an optimizer without an average"):
        sweep(experiment(objective="average_loss", **changed), space.grid(), directory=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_of_several_optimizers_each_measures_what_it_has(tmp_path):
    space = Space(learning_rate=0.1, optimizer=choice(["sgd", "schedule_free_sgd"]))
    found = sweep(experiment(wrap=()), space.grid(), directory=tmp_path / "run")
    by_optimizer = dict(
        zip(found.optimizer.values, np.isfinite(found.valid_average_loss.values).all((1, 2)), strict=True)
    )
    assert by_optimizer == {"sgd": False, "schedule_free_sgd": True}


def test_a_swept_loss_decides_nothing_by_its_average_either(tmp_path):
    space = Space({"label_smoothing": uniform(0.0, 0.2)}, learning_rate=0.1, decay=0.9)
    with pytest.raises(ValueError, match="objective 'average_loss': got a sweep over label_smoothing"):
        sweep(experiment(objective="average_loss"), space.grid(2), directory=tmp_path / "run")


def test_a_metric_of_ones_own_does_not_begin_like_one_of_the_average(tmp_path):
    def average_precision(outputs, targets):
        return jnp.ones(len(targets))

    own = experiment(metrics=[average_precision], objective="average_precision", direction="max")
    with pytest.raises(ValueError, match="none that begins with 'average_'"):
        sweep(own, SPACE.grid(), directory=tmp_path / "run")


def test_of_two_averages_the_outermost_is_measured(tmp_path):
    found = sweep(experiment(optimizer="asgd"), SPACE.grid(), directory=tmp_path / "run")
    assert np.isfinite(found.valid_average_loss.values).all()
    inner, outer = jnp.full(2, 1.0), jnp.full(2, 2.0)
    held = wrappers.EmaState(jnp.ones(()), {"w": outer}, wrappers.EmaState(jnp.ones(()), {"w": inner}, ()))
    state = training.TrainState(jnp.int32(0), jax.random.key(0), {"w": jnp.zeros(2)}, {}, held)
    both = training.averaged(models.linear(outputs=2), state, (jnp.ones((2, 2)), jnp.zeros(2)), {})
    assert both is not None
    assert both.params["w"].tolist() == [2.0, 2.0]


def counting(momentum=0.5):
    """A model whose state is the running mean of its inputs times a parameter."""

    def init(key, example, hparams):
        return {"w": jnp.ones(())}, {"mean": jnp.zeros(example.shape[1:])}

    def apply(params, state, inputs, *, train, key, hparams):
        batch = params["w"] * jnp.mean(inputs, 0)
        after = {"mean": momentum * state["mean"] + (1 - momentum) * batch} if train else state
        return inputs * params["w"], after

    return Model(init, apply)


def test_running_statistics_are_those_of_the_average():
    x = jnp.arange(12.0).reshape(6, 2)
    state = training.TrainState(
        jnp.int32(9), jax.random.key(0), {"w": jnp.float32(5.0)}, {"mean": jnp.full(2, 100.0)},
        wrappers.EmaState(jnp.ones(()), {"w": jnp.float32(2.0)}, optax.EmptyState()),
    )  # fmt: skip
    found = training.averaged(counting(), state, (x, jnp.zeros(6)), {}, batch_size=2, prepare=lambda x: x + 1)
    assert found is not None
    assert found.params["w"].item() == 2.0
    mean = jnp.full(2, 100.0)
    for rows in ([0, 3], [1, 4], [2, 5]):  # spread over the split
        mean = 0.5 * mean + 0.5 * 2.0 * jnp.mean(x[jnp.array(rows)] + 1, 0)
    np.testing.assert_allclose(found.model_state["mean"], mean, rtol=1e-6)


def test_a_population_with_batch_norm_measures_its_averages(tmp_path):
    model = models.resnet(outputs=10, channels=(4,))
    found = sweep(
        Experiment(data="digits", model=model, optimizer="momentum", epochs=4, wrap="ema"),
        Space(learning_rate=0.1, decay=0.8).grid(), replicates=2,
        directory=tmp_path / "run",
    )  # fmt: skip
    average, raw = found.valid_average_accuracy.values[..., -1], found.valid_accuracy.values[..., -1]
    assert (average > np.maximum(raw, 0.2) - 0.05).all()
    assert len(of(tmp_path / "run", "plan")) == 1
