"""What the plots show, as numbers: one value for each trial, and the best of them at each point of two settings."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr

from jaxopt_intro.checks import known_name
from jaxopt_intro.results.dataset import is_choice, settings
from jaxopt_intro.results.ranking import summary, trial_values


class Axis(NamedTuple):
    """One setting as an axis.

    Attributes:
        name: The setting.
        values: Its distinct values, ascending; for a choice 0, 1, 2, …
        labels: How each value reads.
        scale: "linear", "log", "symlog" (log-spaced with a zero) or "choice".
        trials: The value of each trial; NaN where the trial doesn't have the setting.
    """

    name: str
    values: np.ndarray
    labels: tuple[str, ...]
    scale: str
    trials: np.ndarray


class Cells(NamedTuple):
    """The best trial at each point of two settings.

    Attributes:
        x: The horizontal axis.
        y: The vertical axis.
        points: `[points, 2]`, the places in the plane that were asked.
        values: `[points]`, the best trial's value there; NaN where no trial has one.
        failed: `[points]`, whether every trial there has failed.
        best: Which point is the best; -1 when none has a value.
        full: Whether the points fill most of a table, so that they are drawn as one.
    """

    x: Axis
    y: Axis
    points: np.ndarray
    values: np.ndarray
    failed: np.ndarray
    best: int
    full: bool


def axis(dataset: xr.Dataset, name: str) -> Axis:
    """Returns a setting as an axis.

    Args:
        dataset: What `results.open` returned.
        name: A hyperparameter or choice.

    Raises:
        ValueError: No such setting.
    """
    found = dataset[known_name(name, settings(dataset), "hyperparameter or choice")].values
    if is_choice(dataset, name):
        labels = tuple(dict.fromkeys(found[found != ""].tolist()))
        places = {label: float(i) for i, label in enumerate(labels)}
        trials = np.array([places.get(label, np.nan) for label in found.tolist()])
        return Axis(name, np.arange(len(labels), dtype=float), labels, "choice", trials)
    values = np.unique(found[~np.isnan(found)])
    return Axis(name, values, _labels(values), _scale(values), found)


def cells(dataset: xr.Dataset, x: str, y: str, *, metric: str | None = None, among: np.ndarray | None = None) -> Cells:
    """Returns the best trial at each point of two settings: by the objective, whatever metric is shown.

    Args:
        dataset: What `results.open` returned.
        x: The horizontal setting.
        y: The vertical setting.
        metric: What to show; the objective by default.
        among: `[trials]`, which of them count; all by default. The axes are those of all.

    Raises:
        ValueError: No such setting or metric, or the two settings are one.
    """
    if x == y:
        raise ValueError(f"got {x!r} as x and as y; expected two different settings. Name another one.")
    across, up = axis(dataset, x), axis(dataset, y)
    trials = summary(dataset)
    places = np.stack([across.trials, up.trials], 1)
    if among is not None:
        places[~among] = np.nan
    points, chosen = best_at(trials, places)
    best = int(np.argmin(trials["rank"].values[chosen])) if len(chosen) else -1
    if best >= 0 and np.isnan(trials.score.values[chosen[best]]):
        best = -1
    table = len(across.values) * len(up.values)
    values, failed = trial_values(dataset, metric)[chosen], trials.status.values[chosen] == "failed"
    return Cells(across, up, points, values, failed, best, len(points) > table / 2)


def best_at(trials: xr.Dataset, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the distinct places and, for each, which trial is the best there.

    Args:
        trials: What `summary` returned. Its ranks put failed trials last, so the best of a place has failed only if
            all have.
        places: `[trials, settings]`; a trial with a NaN has no place.

    Returns:
        `[places, settings]`, ascending, and the number of a trial for each.
    """
    order = np.argsort(trials["rank"].values)
    order = order[~np.isnan(places[order]).any(1)]
    points, first = np.unique(places[order], axis=0, return_index=True)
    return points, order[first]


def short(value: float, digits: int = 3) -> str:
    """Returns a number as it reads on an axis.

    Examples:
        >>> short(0.000373, 2), short(1e-06), short(0.072), short(128.0)
        ('3.7e-4', '1e-6', '0.072', '128')
    """
    if value == round(value) and abs(value) < 1e5:
        return str(round(value))
    if 1e-2 <= abs(value) < 1e5:
        return f"{value:.{digits}g}"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{int(exponent)}"


def _labels(values: np.ndarray) -> tuple[str, ...]:
    """The shortest labels that tell the values apart and are right to 2 %."""
    for digits in (2, 3, 4, 5):
        labels = tuple(short(value, digits) for value in values.tolist())
        right = np.abs(np.array(labels, float) - values) <= 0.02 * np.abs(values)
        if len(set(labels)) == len(values) and right.all():
            return labels
    return tuple(repr(value) for value in values.tolist())


def _scale(values: np.ndarray) -> str:
    positive = values[values > 0]
    if len(positive) < len(values) - (0.0 in values) or len(positive) < 2 or positive[-1] < 4 * positive[0]:
        return "linear"
    if _unevenness(np.log(positive)) > _unevenness(values):
        return "linear"
    return "log" if len(positive) == len(values) else "symlog"


def _unevenness(values: np.ndarray) -> float:
    gaps = np.diff(values)
    return float(gaps.std() / gaps.mean())
