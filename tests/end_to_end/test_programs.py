"""The four programs of the first README, as a user would write them."""

from __future__ import annotations

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxopt_intro import Experiment, Space, choice, data, load_model, results, sweep
from jaxopt_intro.distributions import integer, log_uniform, uniform
from tests.small import of

pytestmark = pytest.mark.usefixtures("compiled_once")

# -- (a) an own class on own arrays ----------------------------------------------------------------------------


class Net(nnx.Module):
    def __init__(self, *, width: int, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(5, width, rngs=rngs)
        self.output = nnx.Linear(width, 3, rngs=rngs)

    def __call__(self, x):
        return self.output(nnx.relu(self.hidden(x)))


x = np.random.default_rng(0).normal(size=(300, 5))  # float64 and int64, as NumPy has them
y = x[:, :3].argmax(axis=1)


@pytest.fixture(scope="module")
def own_class(tmp_path_factory):
    space = Space(learning_rate=log_uniform(1e-2, 1.0), l2=log_uniform(1e-6, 1e-2), width=integer(2, 8))
    experiment = Experiment(data=(x, y), model=Net, optimizer="momentum", penalty="l2", epochs=3, batch_size=32)
    directory = tmp_path_factory.mktemp("own_class") / "run"
    return sweep(experiment, space.grid(learning_rate=3, l2=2, width=2), replicates=3, directory=directory)


def test_own_class_own_arrays_three_seeds(own_class):
    assert dict(own_class.sizes) == {"trial": 12, "seed": 3, "epoch": 3}
    assert (own_class.status == "finished").all()
    assert len(of(own_class.attrs["run"], "plan")) == 2, "one program for each width"
    grid = results.grid(own_class).score
    assert dict(grid.sizes) == {"learning_rate": 3, "l2": 2, "width": 2, "seed": 3}
    assert len(np.unique(own_class.train_loss.isel(epoch=0).values)) == 36, "every member is another"
    assert float(results.top(own_class, 1).valid_accuracy.iloc[0]) > 0.7, "it learns"


# -- (b) an own optimizer beside others ------------------------------------------------------------------------


def mine(learning_rate, beta=0.9):
    return optax.chain(optax.clip_by_global_norm(1.0), optax.trace(beta), optax.scale_by_learning_rate(learning_rate))


def test_own_optimizer_beside_others_with_a_number_of_its_own(tmp_path):
    space = Space(
        {"mine.beta": uniform(0.5, 0.9)},
        learning_rate=log_uniform(1e-3, 1e-1),
        optimizer=choice(["adam", optax.lion, mine]),
        width=4,
    )
    experiment = Experiment(data=(x, y), model=Net, epochs=2, batch_size=32)
    found = sweep(experiment, space.grid({"learning_rate": 2, "mine.beta": 3}), directory=tmp_path / "run")
    assert found.optimizer.values.tolist() == ["adam"] * 2 + ["lion"] * 2 + ["mine"] * 6
    assert (found.status == "finished").all()
    has_beta = ~np.isnan(found["mine.beta"].values)
    assert has_beta.tolist() == [False] * 4 + [True] * 6
    one_rate = found.isel(trial=slice(4, None)).train_loss.isel(seed=0, epoch=1).values
    assert len(np.unique(one_rate)) == 6, "its number makes a difference"
    assert len(of(tmp_path / "run", "plan")) == 3
    assert not any("mine.beta" in trial["fixed"] for trial in of(tmp_path / "run", "trial")), "and is traced"


# -- (c) an own loss with a swept number -----------------------------------------------------------------------


def generalized_cross_entropy(logits, labels, *, q):
    probability = jnp.take_along_axis(jax.nn.softmax(logits), labels[:, None], axis=1)[:, 0]
    return (1 - probability**q) / q


def test_own_loss_with_a_swept_number_is_decided_by_another_metric(tmp_path):
    space = Space(q=uniform(0.1, 1.0), learning_rate=log_uniform(1e-2, 1.0), width=4)
    asked = {"data": (x, y), "model": Net, "optimizer": "sgd", "loss": generalized_cross_entropy, "batch_size": 32}
    found = sweep(
        Experiment(**asked, objective="accuracy", epochs=2), space.random(6, seed=0), directory=tmp_path / "a"
    )
    assert found.attrs["objective"] == "valid_accuracy"
    assert (found.status == "finished").all()
    assert len(of(tmp_path / "a", "plan")) == 1, "q is traced"
    with pytest.raises(ValueError, match=r"a sweep over q, which changes what the loss measures.*objective='accuracy'"):
        sweep(Experiment(**asked, objective="loss"), space.random(6, seed=0), directory=tmp_path / "b")
    assert not (tmp_path / "b").exists()


# -- (d) results and kept weights ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Raw uint8 images, three seeds, batches of their own for each."""
    space = Space(learning_rate=log_uniform(1e-3, 1.0), l2=log_uniform(1e-6, 1e-2), widths=(16,))
    experiment = Experiment(
        data="digits", model="mlp", optimizer="momentum", penalty="l2", epochs=3, vary_batches=True, keep=2
    )
    directory = tmp_path_factory.mktemp("images") / "run"
    sweep(experiment, space.grid(learning_rate=3, l2=2), replicates=3, directory=directory)
    return directory


def test_a_run_opens_ranks_and_draws(images):
    run = results.open(images)
    assert dict(run.sizes) == {"trial": 6, "seed": 3, "epoch": 3}
    top = results.top(run, 3)
    assert len(top) == 3
    assert top.valid_accuracy.is_monotonic_decreasing
    axes = results.plots.heatmap(run, "learning_rate", "l2")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("learning_rate", "l2")


def test_the_chosen_model_predicts_what_was_journalled(images):
    pixels, labels = data.load("digits").test
    tests = {test["seed"]: test["metrics"] for test in of(images, "test")}
    assert set(tests) == {0, 1, 2}
    best = load_model(images)
    assert isinstance(best.module, nnx.Module)
    for seed, metrics in tests.items():
        model = load_model(images, seed=seed)
        outputs = model.predict(pixels)
        accuracy = (np.asarray(outputs).argmax(axis=1) == labels).mean()
        assert accuracy == pytest.approx(metrics["accuracy"], abs=1e-6)
        loss = optax.softmax_cross_entropy_with_integer_labels(outputs, labels).mean()
        assert float(loss) == pytest.approx(metrics["loss"], rel=1e-4)
    np.testing.assert_array_equal(best.predict(pixels), load_model(images, seed=0).predict(pixels))


def test_the_live_module_computes_the_same_on_prepared_inputs(images):
    pixels = data.load("digits").test[0][:5]
    model = load_model(images)
    np.testing.assert_allclose(model.module(model.assembly.prepare(pixels)), model.predict(pixels), rtol=1e-6)


def test_best_and_last_weights_are_those_of_their_epochs(images):
    run = results.open(images)
    pixels, labels = data.load("digits").valid
    for trial in results.top(run, 2).trial:
        for seed in (0, 1, 2):
            member = run.sel(trial=trial, seed=seed)
            for which, epoch in (("best", int(member.best_epoch)), ("last", 3)):
                outputs = load_model(images, trial, seed=seed, which=which).predict(pixels)
                accuracy = (np.asarray(outputs).argmax(axis=1) == labels).mean()
                assert accuracy == pytest.approx(float(member.valid_accuracy.sel(epoch=epoch)), abs=1e-6)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"trial": "nonsense"}, "unknown trial 'nonsense'"),
        ({"seed": 7}, r"got seed=7 of trial .*; expected one of \[0, 1, 2\]"),
        ({"which": "first"}, "unknown kind of weights 'first'. Known: best, last"),
    ],
)
def test_what_was_not_kept_is_said(images, asked, expected):
    with pytest.raises(ValueError, match=expected):
        load_model(images, **asked)


def test_a_trial_beyond_the_kept_ones_is_said(images):
    worst = results.top(results.open(images), 6).trial.iloc[-1]
    with pytest.raises(ValueError, match=r"were not kept; expected one of .*Raise `keep`"):
        load_model(images, worst)


SCRIPT = """
import sys
import numpy as np
import optax
from flax import nnx
from jaxopt_intro import Experiment, Space, choice, sweep

class Wide(nnx.Module):
    def __init__(self, *, factor=2, rngs):
        self.dense, self.factor = nnx.Linear(4, 3, rngs=rngs), factor

    def __call__(self, x):
        return self.factor * self.dense(x)

def step(learning_rate):
    return optax.sgd(learning_rate)

def cost(outputs, targets, *, scale=1.0):
    return scale * optax.softmax_cross_entropy_with_integer_labels(outputs, targets)

x = np.random.default_rng(0).normal(size=(90, 4)).astype(np.float32)
space = Space(learning_rate=0.1, factor=3.0, scale=0.5, optimizer=choice(["adam", step]))
data = x, x[:, :3].argmax(1)
experiment = Experiment(data=data, model=Wide, loss=cost, objective="accuracy", batch_size=16, epochs=1)
print(sweep(experiment, space.grid(), directory=sys.argv[1], width=1).valid_accuracy.values.ravel().tolist())
"""


def test_functions_of_another_script_are_given_by_name(tmp_path):
    """What was defined in a script that ran as `__main__` cannot be imported here."""
    subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path / "run")], check=True, timeout=300)
    names: dict = {}
    exec(SCRIPT.partition("x = np.random")[0], names)
    parts = {name: names[name] for name in ("Wide", "step", "cost")}
    run = results.open(tmp_path / "run")
    with pytest.raises(ValueError, match=r"'__main__:\w+', which was not found.*parts=\{"):
        load_model(tmp_path / "run")
    inputs = np.random.default_rng(1).normal(size=(4, 4)).astype(np.float32)
    for trial in run.trial.values:
        model = load_model(tmp_path / "run", trial, parts=parts)
        dense = model.params["dense"]
        expected = 3.0 * (inputs @ np.asarray(dense["kernel"]) + np.asarray(dense["bias"]))
        np.testing.assert_allclose(model.predict(inputs), expected, rtol=1e-5, atol=1e-6)
