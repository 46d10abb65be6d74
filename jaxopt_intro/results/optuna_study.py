"""A run as an Optuna study: for optuna-dashboard, `optuna.visualization`, and a search that goes on from it."""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from jaxopt_intro.results.cells import axis
from jaxopt_intro.results.dataset import is_choice, varying
from jaxopt_intro.results.extras import needs
from jaxopt_intro.results.ranking import summary

if TYPE_CHECKING:
    import optuna

STATES = {"finished": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}


def study_of(dataset: xr.Dataset, *, storage: Any = None, name: str | None = None) -> optuna.Study:
    """Returns a run's trials that have ended as an Optuna study.

    Every trial is one of the study: the mean over its seeds, its epochs as intermediate values, the settings that vary
    as parameters. A number's distribution reaches from its least to its largest value, in the logarithm where the
    values are spread so. User attributes are its id, `standard_error`, `seeds`, `best_epoch`, the reason it ended, and
    what the test measured.

    Args:
        dataset: What `results.open` returned.
        storage: An Optuna storage or its URL; None keeps the study in memory.
        name: The study's name; that of the run's directory by default.

    Raises:
        ModuleNotFoundError: Optuna is missing; the message says how to install it.
        ValueError: No trial has ended.
    """
    optuna = needs("optuna", "optuna")
    trials = _trials(optuna, dataset)
    if not trials:
        raise ValueError("to_optuna: no trial of the run has ended; expected at least one. Wait until one has.")
    direction = "minimize" if dataset.attrs["direction"] == "min" else "maximize"
    name = name or Path(dataset.attrs["run"]).name or "run"
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # else it logs the study's creation to the terminal
    try:
        study = optuna.create_study(study_name=name, storage=storage, direction=direction)
    finally:
        optuna.logging.set_verbosity(level)
    for key in ("run", "objective"):
        study.set_user_attr(key, dataset.attrs[key])
    study.set_user_attr("data", json.loads(dataset.attrs["data"]).get("name", ""))
    study.add_trials(trials)
    return study


def to_optuna(dataset: xr.Dataset, path: str | os.PathLike[str]) -> None:
    """Writes a run as an Optuna study in an SQLite file; `optuna-dashboard sqlite:///PATH` shows it.

    Args:
        dataset: What `results.open` returned; trials that have not ended are left out.
        path: The file, which must not exist: a study is not written twice.

    Raises:
        ModuleNotFoundError: Optuna is missing; the message says how to install it.
        FileExistsError: There is a file already.
        ValueError: No trial has ended.
    """
    optuna, path = needs("optuna", "optuna"), Path(path).absolute()
    if path.exists():
        raise FileExistsError(
            f"got {str(path)!r}, which is there; expected a new file. Remove it, or name another one."
        )
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    try:
        study_of(dataset, storage=storage)
    except BaseException:
        _close(storage)
        path.unlink(missing_ok=True)
        raise
    _close(storage)


def _close(storage: Any) -> None:
    storage.remove_session()
    storage.engine.dispose()  # else the file stays open until the garbage collector comes


def _trials(optuna: Any, dataset: xr.Dataset) -> list[optuna.trial.FrozenTrial]:
    names, trials = varying(dataset), summary(dataset)
    distributions = {name: _distribution(optuna, dataset, name) for name in names}
    values = {name: dataset[name].values.tolist() for name in names}
    curves = _means(dataset[dataset.attrs["objective"]].transpose("trial", "seed", "epoch").values)
    clock = dataset.seconds.transpose("trial", "seed", "epoch").values.reshape(len(curves), -1)
    tests = [
        str(name) for name, v in dataset.data_vars.items() if str(name).startswith("test_") and "epoch" not in v.dims
    ]
    found = []
    for i, status in enumerate(trials.status.values.tolist()):
        if status not in STATES:
            continue
        params = {n: values[n][i] for n in names if values[n][i] != "" and values[n][i] == values[n][i]}
        attributes = {
            "trial": trials.trial.values[i].item(),
            **{name: trials[name].values[i].item() for name in ("standard_error", "seeds", "best_epoch")},
            "reason": "; ".join(dict.fromkeys(r for r in dataset.reason.values[i].tolist() if r)),
            **{name: float(v) for name in tests if np.isfinite(v := _means(dataset[name].values[i]))},
        }
        trial = optuna.trial.create_trial(
            state=optuna.trial.TrialState[STATES[status]],
            value=float(trials.score.values[i])
            if status == "finished" and np.isfinite(trials.score.values[i])
            else None,
            params=params,
            distributions={name: distributions[name] for name in params},
            user_attrs={name: v for name, v in attributes.items() if v == v and v != ""},
            intermediate_values={e: float(v) for e, v in enumerate(curves[i], 1) if np.isfinite(v)},
        )
        trial.datetime_start, trial.datetime_complete = _times(dataset, clock[i])
        found.append(trial)
    return found


def _distribution(optuna: Any, dataset: xr.Dataset, name: str) -> Any:
    found = axis(dataset, name)
    if is_choice(dataset, name):
        return optuna.distributions.CategoricalDistribution(found.labels)
    low, high = found.values[[0, -1]].tolist()
    return optuna.distributions.FloatDistribution(low, high, log=found.scale == "log")


def _means(values: np.ndarray) -> np.ndarray:
    """The means over the seeds that have a value."""
    along = 0 if values.ndim == 1 else 1
    known = np.isfinite(values)
    total, count = np.where(known, values, 0.0).sum(along), known.sum(along)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _times(dataset: xr.Dataset, clock: np.ndarray) -> tuple[datetime.datetime, datetime.datetime]:
    """When a trial's first and last epochs were known."""
    began = datetime.datetime.fromtimestamp(start_of(dataset))
    known = clock[np.isfinite(clock)].tolist() or [0.0]
    return tuple(began + datetime.timedelta(seconds=at) for at in (min(known), max(known)))  # type: ignore[return-value]


def start_of(dataset: xr.Dataset) -> float:
    """Returns when the run's first session began, in seconds since 1970; 0 where it isn't known.

    Args:
        dataset: What `results.open` returned.

    Examples:
        >>> start_of(xr.Dataset(attrs={"began": "1970-01-02T00:00:00+00:00"}))
        86400.0
    """
    said = dataset.attrs.get("began", "")
    return datetime.datetime.fromisoformat(said).timestamp() if said else 0.0
