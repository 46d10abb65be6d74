"""Which trials are best: the mean over their seeds, with its standard error.

A trial's score is the mean of its members' scores, each at its own best epoch. A trial with a failed seed has no score:
it is ranked last, whatever its other seeds reached, because a setting that sometimes diverges isn't the best. A
trial that is still running, or that was pruned, is ranked by its best epochs so far. Equal scores are ranked in the
order asked.
"""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import xarray as xr

from jaxopt_intro.checks import known_name
from jaxopt_intro.results.dataset import settings, varying


def summary(dataset: xr.Dataset) -> xr.Dataset:
    """Sums up every trial over its seeds.

    Args:
        dataset: What `open` returned.

    Returns:
        A Dataset over `trial` in the order asked, with the trials' coordinates and: `score`, the mean, NaN without
        one; `standard_error`, NaN for one seed; `seeds`, how many have a score; `best_epoch`, their lower median, 0
        without one; `status`; and `rank` from 1. Two attributes say over what a mean is: `seeds`, how many there are,
        and `batch_order`, "shared" by them or "varied" with them.
    """
    score = dataset.score.transpose("trial", "seed").values.astype(float)
    status = dataset.status.transpose("trial", "seed").values
    epochs = dataset.best_epoch.transpose("trial", "seed").values
    known = np.isfinite(score)
    failed = (status == "failed").any(1)
    seeds = known.sum(1)
    counted = np.maximum(seeds, 1)
    mean = np.where(known, score, 0.0).sum(1) / counted
    spread = (np.where(known, score - mean[:, None], 0.0) ** 2).sum(1)
    error = np.sqrt(spread / np.maximum(counted - 1, 1) / counted)
    mean = np.where((seeds > 0) & ~failed, mean, np.nan)
    columns = {
        "score": mean,
        "standard_error": np.where((seeds > 1) & ~failed, error, np.nan),
        "seeds": seeds,
        "best_epoch": [_lower_median(row[row > 0]) for row in epochs],
        "status": [_trial_status(row[row != ""]) for row in status],
        "rank": _ranks(mean, failed, dataset.position.values, dataset.attrs["direction"]),
    }
    along = {name: c for name, c in dataset.coords.items() if c.dims == ("trial",)}
    varied = json.loads(dataset.attrs.get("experiment", "{}")).get("vary_batches", False)
    said = {"seeds": str(dataset.sizes["seed"]), "batch_order": "varied" if varied else "shared"}
    data = {name: ("trial", values) for name, values in columns.items()}
    return xr.Dataset(data, along, {**dataset.attrs, **said})


def trial_values(dataset: xr.Dataset, metric: str | None) -> np.ndarray:
    """Returns a metric's mean over the seeds for each trial, at each member's best epoch of the objective.

    Args:
        dataset: What `results.open` returned.
        metric: A metric, or a value of members such as "test_accuracy"; None for the objective.

    Returns:
        One value for each trial; NaN where a seed has failed or none has a value.

    Raises:
        ValueError: No such metric.
    """
    trials = summary(dataset)
    if metric is None or metric == dataset.attrs["objective"]:
        return trials.score.values
    names = {
        str(n): v for n, v in dataset.data_vars.items() if v.dtype.kind == "f" and "seed" in v.dims and n != "score"
    }
    values = names[known_name(metric, names, "metric")]
    known = dataset.best_epoch > 0
    if "epoch" in values.dims:
        if not dataset.sizes["epoch"]:
            return np.full(dataset.sizes["trial"], np.nan)
        values = values.isel(epoch=(dataset.best_epoch - 1).clip(0)).where(known)
    mean = values.astype(float).mean("seed").values
    return np.where(np.isnan(trials.score.values), np.nan, mean)


def top(dataset: xr.Dataset, k: int = 10) -> pd.DataFrame:
    """Returns the `k` best trials as a table.

    Args:
        dataset: What `open` returned.
        k: How many at most.

    Returns:
        A DataFrame indexed by `rank`: `trial`, the settings that vary (choices first), the objective under its own
        name (of averaged parameters: beside the same metric of the last ones), `standard_error` where a trial has
        several seeds, `seeds` with a score, `best_epoch` and `status`.

    Raises:
        ValueError: `k < 1`.
    """
    if k < 1:
        raise ValueError(f"top: got k={k}; expected at least 1.")
    trials = summary(dataset)
    columns = {"trial": trials.trial.values}
    columns |= {name: trials[name].values for name in varying(dataset) or settings(dataset)}
    objective = dataset.attrs["objective"]
    columns[objective] = trials.score.values
    if (plain := objective.replace("average_", "", 1)) != objective and plain in dataset:
        columns[plain] = trial_values(dataset, plain)
    if dataset.sizes["seed"] > 1:
        columns["standard_error"] = trials.standard_error.values
    columns |= {name: trials[name].values for name in ("seeds", "best_epoch", "status")}
    table = pd.DataFrame(columns, index=pd.Index(trials["rank"].values, name="rank"))
    return table.sort_index().head(k)


def best(dataset: xr.Dataset) -> xr.Dataset:
    """Returns the best trial: the dataset at that trial, with the dimensions seed and epoch.

    Args:
        dataset: What `open` returned.

    Returns:
        The part of the dataset that belongs to the trial ranked first; its id is `.trial.item()`.

    Raises:
        ValueError: No trial has a score.
    """
    trials = summary(dataset)
    first = int(trials["rank"].values.argmin())
    if np.isnan(trials.score.values[first]):
        names, counts = np.unique(trials.status.values, return_counts=True)
        states = ", ".join(f"{count} {name}" for name, count in zip(names, counts, strict=True))
        raise ValueError(
            f"best: none of {trials.sizes['trial']} trials has a score ({states}); expected at least one. "
            "See dataset.reason for failures, or wait until an epoch is done."
        )
    return dataset.isel(trial=first)


def _lower_median(epochs: np.ndarray) -> int:
    return int(np.sort(epochs)[(len(epochs) - 1) // 2]) if len(epochs) else 0


def _trial_status(members: np.ndarray) -> str:
    """One word for all seeds: failed if any is, finished only if all are."""
    for status in ("failed", "running"):
        if status in members:
            return status
    if "asked" in members:
        return "asked" if (members == "asked").all() else "running"
    return "pruned" if "pruned" in members else "finished"


def _ranks(score: np.ndarray, failed: np.ndarray, position: np.ndarray, direction: str) -> np.ndarray:
    signed = np.where(np.isnan(score), np.inf, score if direction == "min" else -score)
    order = np.lexsort((position, signed, failed))
    ranks = np.empty(len(order), int)
    ranks[order] = np.arange(1, len(order) + 1)
    return ranks
