"""The best score so far, against seconds and against trials."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from jaxopt_intro.results.ranking import summary

Record = dict[str, Any]


def of(dataset: xr.Dataset, records: list[Record]) -> dict[str, Any]:
    """Gathers how the best score grew: a trial counts once all its seeds have a value, and never if it failed.

    Args:
        dataset: What `results.open` returned.
        records: The journal's.

    Returns:
        `seconds` and `best`, where the best score changed, with the last epoch's time at the end; `ended`, the trials
        by number in the order in which they ended.
    """
    sign = -1.0 if dataset.attrs["direction"] == "min" else 1.0
    objective = dataset.attrs["objective"].removeprefix("metrics.")
    places = {t: i for i, t in enumerate(dataset.trial.values.tolist())}
    columns = {s: j for j, s in enumerate(dataset.seed.values.tolist())}
    failed = (dataset.status.values == "failed").any(1)
    asked = dataset.status.values != ""
    scores = np.where(asked, -np.inf, 0.0)  # of each member; 0 where none was asked, to be left out of the sum
    changes, best, last = [], -np.inf, 0.0
    for time, record in _epochs(records):
        values = record["metrics"].get(objective)
        if values is None:
            continue
        rows = np.array([places[t] for t, _ in record["members"]], int)
        seeds = np.array([columns[s] for _, s in record["members"]], int)
        numbers = sign * np.asarray(values, float)
        np.maximum.at(scores, (rows, seeds), np.where(np.isfinite(numbers), numbers, -np.inf))
        touched = np.unique(rows[~failed[rows]])
        means = scores[touched].sum(1) / asked[touched].sum(1)
        last = time
        if (top := means.max(initial=-np.inf)) > best:
            best = top
            changes.append((time, sign * best))
    if changes:
        changes.append((last, sign * best))
    return {
        "seconds": [round(time, 3) for time, _ in changes],
        "best": [float(f"{value:.7g}") for _, value in changes],
        "ended": _ended(dataset, records, places),
    }


def _ended(dataset: xr.Dataset, records: list[Record], places: dict[str, int]) -> list[int]:
    """The trials that have a score, in the order in which the last seed of each ended."""
    known = np.isfinite(summary(dataset).score.values)
    latest_first = dict.fromkeys(places[r["trial"]] for r in reversed(records) if r["type"] == "end")
    return [trial for trial in reversed(latest_first) if known[trial]]


def _epochs(records: list[Record]) -> list[tuple[float, Record]]:
    """The epochs' records with their time, where each session's goes on from the one before."""
    before = last = 0.0
    found = []
    for record in records:
        if record["type"] == "run":
            before = last
        elif record["type"] == "epoch":
            last = before + record.get("time", 0.0)
            found.append((last, record))
    return found
