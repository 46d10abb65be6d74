"""The same gradient in less memory, and a sweep that takes it where one lane does not fit."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_intro import (
    Experiment,
    Space,
    load_model,
    losses,
    models,
    optimizers,
    regularizers,
    sweep,
    terminal,
    training,
)
from jaxopt_intro.contracts.measuring import compiled
from jaxopt_intro.experiment.assembling import RECOMPUTED, assemble
from jaxopt_intro.sweeps import planning
from tests.small import DATA, of

pytestmark = pytest.mark.usefixtures("compiled_once")

X, Y = jnp.asarray(DATA.train[0]), jnp.asarray(DATA.train[1])
SAVING = [{"recompute": True}, {"pieces": 2}, {"pieces": 5}, {"pieces": 30}]


def steps(model, saving, *, optimizer=optimizers.sgd, count=3, numbers=None, **parts):
    made = training.make_training(model, losses.softmax_cross_entropy, optimizer, example=(X, Y), **saving, **parts)
    hparams = {"learning_rate": 0.1, **(numbers or {})}
    state, step = made.init(jax.random.key(0), hparams), compiled(made.step)
    for _ in range(count):
        state, info = step(state, (X, Y), hparams)
    return state, info


def assert_same(a, b):
    for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("saving", SAVING)
def test_the_gradient_is_the_same(saving):
    parts = {"penalty": regularizers.l2, "metrics": {"accuracy": lambda o, t: (o.argmax(-1) == t).astype(jnp.float32)}}
    model = models.mlp(outputs=3, widths=8)
    expected, got = (steps(model, own, numbers={"l2": 0.1}, **parts) for own in ({}, saving))
    assert_same((expected[0].params, expected[1]), (got[0].params, got[1]))


@pytest.mark.parametrize("saving", SAVING)
def test_a_line_search_sees_the_same_loss(saving):
    model = models.mlp(outputs=3, widths=8)
    expected, got = (steps(model, own, optimizer=optimizers.lbfgs) for own in ({}, saving))
    np.testing.assert_allclose(expected[1].loss, got[1].loss, rtol=1e-3)


def test_recomputing_is_for_batch_norm_too_and_pieces_are_not():
    model, images = models.resnet(outputs=3, channels=(2,)), (X.reshape(-1, 2, 2, 1), Y)

    def gradients(**saving):
        made = training.make_training(model, losses.softmax_cross_entropy, optimizers.sgd, example=images, **saving)

        @compiled
        def first(key):
            return made.step(made.init(key, {"learning_rate": 0.1}), images, {"learning_rate": 0.1})[0]

        return first(jax.random.key(0))

    assert_same(gradients().params, gradients(recompute=True).params)
    assert_same(gradients().model_state, gradients(recompute=True).model_state)
    with pytest.raises(ValueError, match="a model without a state"):
        gradients(pieces=2)


def test_a_batch_in_unequal_pieces_is_refused():
    with pytest.raises(ValueError, match="got a batch of 30, 4 pieces"):
        steps(models.linear(outputs=3), {"pieces": 4})


def test_losses_of_whole_batches_are_not_cut():
    def lighter(**changed):
        experiment = Experiment(**{"data": DATA, "model": "linear", "optimizer": "sgd", "batch_size": 12, **changed})
        return [way.words for way in assemble(experiment, DATA).lighter]

    assert [words.split(" ")[2] for words in lighter()[1:]] == ["2", "4", "12"]
    assert lighter()[0] == RECOMPUTED
    assert lighter(loss="batch_hard_triplet", objective="loss") == [RECOMPUTED]


EXPERIMENT = Experiment(
    data="digits", model="mlp", optimizer="sgd", epochs=1, batch_size=1024, augment=(), metrics=(), objective="loss"
)
SPACE = Space(learning_rate=0.1).grid()


def test_what_does_not_fit_is_computed_in_less(tmp_path, monkeypatch, capsys):
    needs, fits = [], planning._fits

    def measured(compiled):
        need = compiled.memory_analysis()
        needs.append(need.argument_size_in_bytes + need.temp_size_in_bytes + need.output_size_in_bytes)
        return fits(compiled)

    monkeypatch.setattr(planning, "_fits", measured)
    sweep(EXPERIMENT, SPACE, directory=tmp_path / "plain")
    limit = int(0.99 * needs[0] / planning.HEADROOM)
    monkeypatch.setattr(planning, "memory_limit", lambda: limit)
    sweep(EXPERIMENT, SPACE, directory=tmp_path / "light")
    (plan,) = of(tmp_path / "light", "plan")
    assert plan["memory"]
    assert needs[-1] < needs[0]
    assert of(tmp_path / "plain", "plan")[0]["memory"] == ""
    assert_same(load_model(tmp_path / "plain").params, load_model(tmp_path / "light").params)
    terminal.Terminal().receipt(of(tmp_path / "light", "receipt")[0], {})
    assert f"one did not fit in memory: {plan['memory']}" in " ".join(capsys.readouterr().out.split())
    # A run that goes on computes as it did, also where there is more memory now.
    monkeypatch.undo()
    more = [*SPACE, *Space(learning_rate=0.2).grid()]
    sweep(EXPERIMENT, more, directory=tmp_path / "light")
    assert of(tmp_path / "light", "receipt")[-1]["groups"][0]["memory"] == plan["memory"]
    assert len(of(tmp_path / "light", "plan")) == 1


def test_the_shares_of_workers_are_not_cut():
    experiment = Experiment(data=DATA, model="linear", optimizer="sgd", batch_size=12, workers="local_sgd")
    numbers = {"period": 2.0, "workers": 4}
    assert [way.words for way in assemble(experiment, DATA, {}, numbers).lighter] == [RECOMPUTED]


def test_a_width_that_does_not_fit_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "memory_limit", lambda: 1000)
    with pytest.raises(MemoryError, match="Use a smaller width"):
        sweep(EXPERIMENT, SPACE, directory=tmp_path / "run", width=2)


def test_batch_statistics_are_not_cut(tmp_path, monkeypatch):
    experiment = Experiment(data="digits", model=models.resnet(outputs=10, channels=(2,)), optimizer="sgd", steps=1)
    monkeypatch.setattr(planning, "memory_limit", lambda: 1000)
    with pytest.raises(MemoryError, match="Use a smaller batch_size"):
        sweep(experiment, SPACE, directory=tmp_path)


def test_what_fits_in_no_way_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "memory_limit", lambda: 1000)
    with pytest.raises(MemoryError, match="Use a smaller batch_size"):
        sweep(Experiment(data=DATA, model="linear", optimizer="sgd", epochs=1, batch_size=2), SPACE, directory=tmp_path)
