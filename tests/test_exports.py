"""Exports are opened by the tools that they are for, and hold equal numbers."""

from __future__ import annotations

import datetime

import numpy as np
import pytest

from jaxopt_intro import results
from jaxopt_intro.journal import Journal
from tests.journals import RATES, diverges, grid_trials, run_record, trial, write

optuna = pytest.importorskip("optuna")
accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
BEGAN = datetime.datetime.fromisoformat("2025-11-22T15:00:00+00:00")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Two seeds, failures, a pruned trial, one that still runs, a conditional number, a tested trial."""
    directory = tmp_path_factory.mktemp("run")
    trials = grid_trials(rates=RATES[1::3], seeds=(0, 1))
    write(directory, trials, fails=diverges)
    with Journal(directory) as journal:
        extra = [
            trial({"learning_rate": 0.1, "l2": 0.0, "b1": 0.9}, {"optimizer": "adam"}, name="pruned"),
            trial({"learning_rate": 0.2, "l2": 0.0, "b1": 0.8}, {"optimizer": "adam"}, name="running"),
        ]
        for record in extra:
            journal.append(record)
            metrics = {"valid_accuracy": [0.125], "train_loss": [0.5]}
            members = [[record["trial"], 0]]
            journal.append({"type": "epoch", "epoch": 1, "members": members, "metrics": metrics, "time": 9.0})
        journal.append({"type": "end", "trial": "pruned", "seed": 0, "status": "pruned", "reason": "rung 1", "step": 7,
                        "epoch": 1})  # fmt: skip
        best = results.best(results.open(directory)).trial.item()
        for seed in (0, 1):
            metrics = {"accuracy": 0.75 + 0.125 * seed}
            journal.append({"type": "test", "trial": best, "seed": seed, "epoch": 5, "metrics": metrics})
    return results.open(directory)


# -- Optuna ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study(dataset, tmp_path_factory):
    path = tmp_path_factory.mktemp("optuna") / "study.db"
    results.to_optuna(dataset, path)
    (name,) = optuna.get_all_study_names(f"sqlite:///{path}")
    return optuna.load_study(study_name=name, storage=f"sqlite:///{path}")


def test_optuna_finds_the_same_best(study, dataset):
    best = results.best(dataset)
    assert study.best_value == results.summary(dataset).score.max().item()
    assert study.best_params == {n: best[n].item() for n in ("optimizer", "learning_rate", "l2")}
    assert study.best_trial.user_attrs["trial"] == best.trial.item()
    assert study.best_trial.user_attrs["test_accuracy"] == 0.8125
    assert study.user_attrs["objective"] == "valid_accuracy"


def test_optuna_has_every_trial_that_has_ended_and_its_epochs(study, dataset):
    trials = results.summary(dataset)
    ended = trials.trial.values[np.isin(trials.status, ["finished", "pruned", "failed"])]
    assert [t.user_attrs["trial"] for t in study.trials] == ended.tolist()
    assert "running" not in ended
    means = dataset.valid_accuracy.mean("seed")
    for one in study.trials:
        known = means.sel(trial=one.user_attrs["trial"]).dropna("epoch")
        assert list(one.intermediate_values) == known.epoch.values.tolist()
        np.testing.assert_allclose(list(one.intermediate_values.values()), known, rtol=1e-6)
    states = {t.user_attrs["trial"]: t.state.name for t in study.trials}
    assert states["pruned"] == "PRUNED"
    failed = trials.trial.values[trials.status.values == "failed"].tolist()
    assert [name for name, state in states.items() if state == "FAIL"] == failed


def test_optuna_has_distributions_conditions_reasons_and_times(study):
    one = next(t for t in study.trials if t.user_attrs["trial"] == "pruned")
    assert one.params == {"optimizer": "adam", "learning_rate": 0.1, "l2": 0.0, "b1": 0.9}
    assert one.user_attrs["reason"] == "rung 1"
    assert one.distributions["optimizer"].choices == ("momentum", "adam")
    other = study.trials[0]
    assert "b1" not in other.params, "momentum has no b1"
    assert other.distributions["learning_rate"].log
    assert not one.distributions["l2"].log, "0 has no logarithm"
    assert other.datetime_complete - other.datetime_start == datetime.timedelta(seconds=6.0)
    assert other.datetime_start.timestamp() == BEGAN.timestamp() + 1.5


def test_optunas_own_pictures_open_the_study(study):
    pytest.importorskip("plotly")
    figure = optuna.visualization.plot_optimization_history(study)
    assert max(figure.data[0].y) == study.best_value
    assert optuna.visualization.plot_parallel_coordinate(study, params=["learning_rate", "l2"]).data


def test_an_optuna_study_is_not_written_twice_nor_half(dataset, tmp_path):
    path = tmp_path / "study.db"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="expected a new file"):
        results.to_optuna(dataset, path)
    assert path.read_text() == "mine"
    with pytest.raises(ValueError, match="no trial of the run has ended"):
        results.to_optuna(dataset.sel(trial=["running"]), tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()


def test_optuna_minimizes_a_loss(tmp_path):
    record = run_record("min", "train_loss")
    dataset = results.open(write(tmp_path / "run", grid_trials(rates=RATES[1::3]), run=record))
    from jaxopt_intro.results.optuna_study import study_of

    study = study_of(dataset)
    assert study.direction == optuna.study.StudyDirection.MINIMIZE
    assert study.best_value == results.summary(dataset).score.min().item()


# -- TensorBoard -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def logs(dataset, tmp_path_factory):
    path = tmp_path_factory.mktemp("tensorboard") / "logs"
    results.to_tensorboard(dataset, path)
    return path


def loaded(path):
    found = accumulator.EventAccumulator(str(path))
    found.Reload()
    return found


def test_tensorboard_reads_every_curve(logs, dataset):
    members = [path for path in logs.iterdir() if path.is_dir()]
    assert len(members) == int((dataset.status != "").sum())
    for path in members[::5]:
        name, _, seed = path.name.rpartition("-")
        one, found = dataset.sel(trial=name, seed=int(seed)), loaded(path)
        known = one.valid_accuracy.dropna("epoch")
        events = found.Scalars("valid_accuracy")
        assert [e.step for e in events] == known.epoch.values.tolist()
        assert [np.float32(e.value) for e in events] == known.values.tolist()
        assert events[0].wall_time == BEGAN.timestamp() + known.seconds.values[0]
        if np.isfinite(one.score):
            (score,) = found.Scalars("score")
            assert (score.step, np.float32(score.value)) == (one.best_epoch.item(), one.score.item())
    best = results.best(dataset).trial.item()
    assert [loaded(logs / f"{best}-{seed}").Scalars("test_accuracy")[0].value for seed in (0, 1)] == [0.75, 0.875]


def test_tensorboard_reads_the_hyperparameters(logs, dataset):
    from tensorboard.plugins.hparams import api_pb2, metadata

    content = loaded(logs).PluginTagToContent("hparams")[metadata.EXPERIMENT_TAG]
    experiment = metadata.parse_experiment_plugin_data(content)
    assert [info.name for info in experiment.hparam_infos] == ["optimizer", "learning_rate", "l2", "b1"]
    assert [m.name.tag for m in experiment.metric_infos] == ["score", "valid_accuracy", "test_accuracy"]
    own = loaded(logs / "pruned-0").PluginTagToContent("hparams")
    start = metadata.parse_session_start_info_plugin_data(own[metadata.SESSION_START_INFO_TAG])
    assert start.hparams["learning_rate"].number_value == 0.1
    assert start.hparams["optimizer"].string_value == "adam"
    assert start.group_name == "pruned"
    assert metadata.SESSION_END_INFO_TAG not in loaded(logs / "running-0").PluginTagToContent("hparams")
    failed = dataset.trial.values[(dataset.status == "failed").any("seed")][0]
    end = loaded(logs / f"{failed}-0").PluginTagToContent("hparams")[metadata.SESSION_END_INFO_TAG]
    assert metadata.parse_session_end_info_plugin_data(end).status == api_pb2.STATUS_FAILURE


def test_tensorboard_is_not_written_over_other_files(logs, dataset):
    with pytest.raises(FileExistsError, match="is not empty; expected a new folder"):
        results.to_tensorboard(dataset, logs)
