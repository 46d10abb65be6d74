"""The numbers behind the pictures of a report, as one value that JSON holds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from jaxopt_intro.results.cells import axis
from jaxopt_intro.results.dataset import judged, settings, varying
from jaxopt_intro.results.ranking import summary
from jaxopt_intro.results.reporting import asked, curves, progress

STATUSES = ("finished", "running", "asked", "pruned", "failed")
Record = dict[str, Any]


def of(dataset: xr.Dataset, records: list[Record], run: Path, *, running: bool) -> dict[str, Any]:
    """Gathers what the page draws.

    Args:
        dataset: What `results.open` returned.
        records: The journal's.
        run: The run's directory.
        running: Whether the sweep goes on.
    """
    attributes = {name: json.loads(dataset.attrs[name]) for name in ("versions", "device", "experiment", "data")}
    started = [r for r in records if r["type"] == "run"][-1]
    receipts = [r for r in records if r["type"] == "receipt"]
    return {
        **attributes,
        "run": str(run),
        "running": running,
        "time": dataset.attrs["time"],
        "objective": dataset.attrs["objective"],
        "direction": dataset.attrs["direction"],
        "seeds": dataset.sizes["seed"],
        "jax": plain(started.get("settings", {})),
        "settings": _settings(dataset, records, asked.ranges(run)),
        "trials": _trials(dataset),
        "statuses": STATUSES,
        "curves": curves.of(dataset),
        "progress": progress.of(dataset, records),
        "endings": _endings(dataset),
        "rungs": [plain(r) for r in judged(records)],
        "receipt": plain(receipts[-1]) if receipts else None,
        "experiment_toml": asked.text(run),
        "toml_head": _head(dataset, records),
    }


def _head(dataset: xr.Dataset, records: list[Record]) -> str:
    head, changed = asked.toml_head(records), dataset.attrs["changed"]
    return f"# {changed}: a sweep of them alone is another trial\n{head}" if head and changed else head


def plain(value: Any) -> Any:
    """Returns a record as JSON holds it: what is not finite becomes its name."""
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {name: plain(own) for name, own in value.items()}
    return [plain(own) for own in value] if isinstance(value, list) else value


def numbers(values: np.ndarray, digits: int = 6) -> list[float | None]:
    """Returns an array in few characters; None where it is not finite."""
    return [float(f"{v:.{digits}g}") if np.isfinite(v) else None for v in values.tolist()]


def _settings(dataset: xr.Dataset, records: list[Record], ranges: dict[str, asked.Range]) -> list[dict[str, Any]]:
    """A column for each setting, those that vary first; with how a trial's value is written in TOML."""
    trials = list({r["trial"]: r for r in records if r["type"] == "trial"}.values())
    vary, columns = set(varying(dataset)), []
    for role, field in (("choice", "choices"), ("hyperparameter", "hparams")):
        raw = dict.fromkeys(name for trial in trials for name in trial.get(field, {}))
        for name, own in zip(settings(dataset, role), raw, strict=True):  # `open` renames those whose name is taken
            column = {"name": name, "key": asked.toml_key(own), "choice": role == "choice", "varies": name in vary}
            column |= _labels(own, trials) if role == "choice" else _numbers(dataset, name, own, ranges)
            columns.append(column)
    return sorted(columns, key=lambda column: not column["varies"])


def _labels(name: str, trials: Sequence[Record]) -> dict[str, Any]:
    texts: dict[str, str] = {}
    for trial in trials:
        if name in trial.get("choices", {}):
            label = str(trial["choices"][name])
            texts.setdefault(label, asked.toml_value(trial.get("values", {}).get(name, label)))
    place = {label: number for number, label in enumerate(texts)}
    values = [place.get(str(trial.get("choices", {}).get(name, ""))) for trial in trials]
    return {"scale": "choice", "labels": list(texts), "toml": list(texts.values()), "values": values}


def _numbers(dataset: xr.Dataset, name: str, own: str, ranges: dict[str, asked.Range]) -> dict[str, Any]:
    values = [None if np.isnan(value) else value for value in dataset[name].values.tolist()]
    log = own in ranges and ranges[own].kind == "log_uniform"
    return {"scale": "log" if log else axis(dataset, name).scale, "values": values}


def _trials(dataset: xr.Dataset) -> dict[str, Any]:
    """A column for each thing that the table says of a trial, in the order asked."""
    trials = summary(dataset)
    tests = {str(name): dataset[name].values for name in dataset.data_vars if str(name).startswith("test_")}
    own = tests.get("test_" + dataset.attrs["objective"].removeprefix("valid_"))
    place = {status: number for number, status in enumerate(STATUSES)}
    columns = {
        "id": trials.trial.values.tolist(),
        "rank": trials["rank"].values.tolist(),
        "score": numbers(trials.score.values, 7),
        "error": numbers(trials.standard_error.values, 3),
        "epoch": trials.best_epoch.values.tolist(),
        "status": [place[status] for status in trials.status.values.tolist()],
    }
    if own is not None:
        counted = np.isfinite(own).sum(1)
        mean = np.where(np.isfinite(own), own, 0.0).sum(1) / np.maximum(counted, 1)
        columns["test"] = numbers(np.where(counted > 0, mean, np.nan))
    return columns


def _endings(dataset: xr.Dataset) -> list[dict[str, Any]]:
    """How many members ended in each way other than at their last step, when, and which trials they belong to."""
    found: dict[tuple[str, str], list[tuple[int, int]]] = {}
    status, reason, step = (dataset[name].values for name in ("status", "reason", "stopped_step"))
    for trial, seed in zip(*np.nonzero((reason != "") | np.isin(status, ("failed", "pruned"))), strict=True):
        found.setdefault((str(status[trial, seed]), str(reason[trial, seed])), []).append((int(trial), int(seed)))
    endings = []
    for (kind, why), places in sorted(found.items(), key=lambda item: -len(item[1])):
        steps = [int(step[place]) for place in places if step[place] >= 0]
        endings.append({
            "status": kind,
            "reason": why or "no reason was recorded",
            "members": len(places),
            "steps": [min(steps), max(steps)] if steps else None,
            "trials": sorted({trial for trial, _ in places}),
        })  # fmt: skip
    return endings
