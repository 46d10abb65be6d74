"""Learning curves for a page: float32 in base64, as many epochs and metrics as fit."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import xarray as xr

BUDGET = 700_000
"""How many values a page holds: 5.4 characters each in base64, so 3.8 MB."""
LONGEST = 200
"""How many epochs a curve has at most; a screen shows no more."""


def of(dataset: xr.Dataset) -> dict[str, Any]:
    """Gathers the curves: the objective first, of the others as many as fit.

    Args:
        dataset: What `results.open` returned.

    Returns:
        `epochs`, those kept, the first and last always among them; `metrics`, each with `name` and `mean`, and with
        several seeds `low` and `high`, as base64 of little-endian float32 `[trial, epoch]`; `left_out`, their names.
    """
    objective = dataset.attrs["objective"]
    names = [str(name) for name, v in dataset.data_vars.items() if "epoch" in v.dims and name != objective]
    names = [objective, *sorted(names, key=lambda name: (not name.startswith("valid_"), "loss" not in name))]
    trials, seeds, epochs = (dataset.sizes[name] for name in ("trial", "seed", "epoch"))
    bands = 3 if seeds > 1 else 1
    count = min(epochs, LONGEST, max(BUDGET // (trials * bands), 2))
    kept = np.unique(np.linspace(0, max(epochs - 1, 0), count).round().astype(int))
    fit = max(BUDGET // max(trials * bands * len(kept), 1), 1) if len(kept) else 0
    return {
        "epochs": (kept + 1).tolist(),
        "metrics": [_metric(dataset, name, kept) for name in names[:fit]],
        "left_out": names[fit:],
    }


def _metric(dataset: xr.Dataset, name: str, kept: np.ndarray) -> dict[str, Any]:
    values = dataset[name].transpose("trial", "seed", "epoch").values[:, :, kept]
    found = {"name": name, "mean": _packed(mean(values))}
    if values.shape[1] > 1:
        known = np.isfinite(values)
        none = ~known.any(1)
        found["low"] = _packed(np.where(none, np.nan, np.where(known, values, np.inf).min(1)))
        found["high"] = _packed(np.where(none, np.nan, np.where(known, values, -np.inf).max(1)))
    return found


def mean(values: np.ndarray) -> np.ndarray:
    """Returns the mean over the seeds, the second axis, of those that are finite; NaN where none is."""
    known = np.isfinite(values)
    count = known.sum(1)
    total = np.where(known, values, 0.0).sum(1, dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _packed(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode()
