"""Kept weights in other programs: Orbax' own reader, and a process that has JAX and nothing of ours."""

from __future__ import annotations

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from jaxopt_intro import Experiment, Space, Trial, cli, data, load_model, results, sweep
from jaxopt_intro.distributions import choice, log_uniform
from jaxopt_intro.experiment import exporting
from jaxopt_intro.experiment.citing import references

pytestmark = pytest.mark.usefixtures("compiled_once")
DIGITS = data.load("digits")


@pytest.fixture(scope="module")
def run(tmp_path_factory, compiled_once):
    """A real small sweep: two optimizers, two rates, two epochs."""
    experiment = Experiment(data="digits", model="linear", optimizer="sgd", epochs=2, keep=2)
    trials = Space(optimizer=choice(["sgd", "adam"]), learning_rate=log_uniform(1e-2, 1.0)).grid(2)
    directory = tmp_path_factory.mktemp("real") / "run"
    sweep(experiment, trials, directory=directory, width=2)
    return directory


def test_orbax_restores_the_kept_weights(run, tmp_path):
    trial = results.top(results.open(run)).trial[2]
    exporting.to_orbax(run, tmp_path / "weights", trial, which="last")
    with ocp.StandardCheckpointer() as reader:
        found = reader.restore(tmp_path / "weights")
    expected = load_model(run, trial, which="last").params
    jax.tree.map(np.testing.assert_array_equal, found, {"params": expected})
    with pytest.raises(FileExistsError, match="expected a new path"):
        exporting.to_orbax(run, tmp_path / "weights")


READER = """
import sys, jax, numpy as np
sys.modules["jaxopt_intro"] = None  # an import of it would fail
predict = jax.export.deserialize(open(sys.argv[1], "rb").read()).call
inputs = np.load(sys.argv[2])
np.savez(sys.argv[3], one=predict(inputs[:1]), all=predict(inputs))
"""


def test_a_process_without_this_package_predicts_the_same(run, tmp_path, capsys):
    assert cli.main(["export", str(run), "--to", "function"]) == 0
    file = capsys.readouterr().out.strip()
    inputs = DIGITS.test[0][:7]
    np.save(tmp_path / "inputs.npy", inputs)
    words = [sys.executable, "-c", READER, file, str(tmp_path / "inputs.npy"), str(tmp_path / "outputs.npz")]
    subprocess.run(words, check=True, timeout=120)
    found, expected = np.load(tmp_path / "outputs.npz"), load_model(run).predict(inputs)
    np.testing.assert_allclose(found["all"], expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found["one"], expected[:1], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "predict",
    [lambda x: x if x.shape[0] > 3 else 2 * x, lambda x: x.reshape(5, -1), lambda x: x[:, 0] + np.ones(x.shape[0])],
    ids=["a branch", "a shape", "a NumPy array"],
)
def test_a_model_that_computes_with_the_batch_size_is_refused(run, predict):
    model = load_model(run)

    class Own:
        def predict(self, inputs):
            return predict(inputs.reshape(inputs.shape[0], -1).astype(jnp.float32))

    with pytest.raises(ValueError, match="computes with the number of examples"):
        exporting.exported(Own(), DIGITS.test[0][:1])  # type: ignore[arg-type]
    assert exporting.exported(model, DIGITS.test[0][:1]).platforms == ("cpu", "cuda", "tpu")


def test_a_mistake_of_the_models_own_is_not_hidden(run):
    class Own:
        def predict(self, inputs):
            raise TypeError("mine")

    with pytest.raises(TypeError, match="mine"):
        exporting.exported(Own(), DIGITS.test[0][:1])  # type: ignore[arg-type]


def test_everything_that_looks_at_runs_takes_a_real_one(run, tmp_path, capsys):
    dataset = results.open(run)
    assert results.plots.gap(dataset).get_ylabel() == "accuracy"
    assert results.compare(run, "optimizer").label.values.tolist() == ["sgd", "adam"]
    assert cli.main(["status", str(run), "--once"]) == 0
    assert "4 of 4 members ended, 8 of 8 epochs" in capsys.readouterr().out
    assert (dataset.seconds.diff("epoch") >= 0).all()
    assert (dataset.seconds > 0).all()
    for name in ("optuna", "tensorboard", "netcdf", "parquet"):
        getattr(results, f"to_{name}")(dataset, tmp_path / name)
    assert len(results.to_pandas(dataset, "long")) == 8


def test_references_are_of_the_parts_that_are_used():
    experiment = Experiment(
        optimizer="adam", penalty=["l1", lambda params: 0.0], loss="huber", wrap="lookahead",
        schedule={"learning_rate": ["warmup_cosine"]},
    )  # fmt: skip
    found = references(experiment, [])
    assert found["optimizer adam"] == "Kingma and Ba 2015, Adam, algorithm 1"
    assert found["loss huber"].startswith("Huber 1964")
    assert {"penalty l1", "wrap lookahead", "schedule warmup_cosine"} <= set(found)
    assert "\n" not in "".join(found.values())
    sgd = Trial({}, {"optimizer": "sgd"}, {"optimizer": "sgd"})
    assert "optimizer adam" not in references(experiment, [sgd]), "no trial used it"
    assert {"optimizer adam", "optimizer sgd"} <= set(references(experiment, [sgd, Trial({}, {}, {})]))
