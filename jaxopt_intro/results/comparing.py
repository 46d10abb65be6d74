"""What a search would find with a budget: the expected best validation after k trials."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from jaxopt_intro.checks import known_name
from jaxopt_intro.results.dataset import grid, open, settings, varying
from jaxopt_intro.results.ranking import summary

RESAMPLES, CONFIDENCE, POINTS = 1000, 0.95, 100

Run = str | os.PathLike[str] | xr.Dataset


def compare(runs: Run | Sequence[Run], by: str | None = None) -> xr.Dataset:
    """Returns the expected best score after k random trials, for each label of a choice or for each run.

    The best of k trials depends on k, so one best score per method says how many trials each was given more than how
    good it is. With `F` the share of the n trials that score at most v, and k draws from them with replacement::

        expected(k) = sum over the scores v of v * (F(v)^k - F(just below v)^k)

    A trial with a failed seed counts as one with the lowest score of all that are compared. Trials that were pruned, or
    still run, count with their best epoch so far; those without any are left out. The interval holds 95 % of 1,000
    bootstrap resamples of the trials. At k near n it is too narrow and the expectation too pessimistic (Tang et al.
    2020, Showing your work doesn't always work): what lies beyond the best trial is not in the data.

    Args:
        runs: A run, or several: directories, or what `open` returned. They must have the same data and objective.
        by: A choice, or a hyperparameter of few values, whose labels are compared; or a field that is the same for all
            trials of a run and differs between runs, such as "optimizer". None compares runs.

    Returns:
        A Dataset over `label` and `trials` (k): `expected`, `low` and `high`, NaN beyond a label's own trials. Over
        `label`: `count`, how many trials have a score or failed, `failed`, how many failed, and `best`, the best
        score. Attributes: `objective`, `direction`, `by`, and `search`, "grid" where every run is a full one: its
        trials are no random draws, so read the expectation as one over points that are drawn from that grid.

    Raises:
        ValueError: No run, runs that cannot be compared, or no such choice.
        FileNotFoundError: A directory is no run.

    References:
        Dodge, Gururangan, Card, Schwartz and Smith 2019, Show your work: improved reporting of experimental results.

    Examples:
        >>> expected_best(np.array([0.0, 1.0]), np.array([1, 2])).tolist()
        [0.5, 0.75]
    """
    opened = _opened(runs)
    _comparable(opened)
    sign = -1.0 if opened[0].attrs["direction"] == "min" else 1.0
    parts = _parts(opened, by)
    known = [scores[np.isfinite(scores)] for scores, _ in parts.values()]
    if not sum(map(len, known)):
        raise ValueError("compare: no trial has a score; expected at least one. Wait until an epoch is done.")
    worst = min((sign * scores).min() for scores in known if len(scores))
    values = {
        label: np.concatenate([sign * scores[np.isfinite(scores)], np.full(int(failed.sum()), worst)])
        for label, (scores, failed) in parts.items()
    }
    values = {label: scores for label, scores in values.items() if len(scores)}
    budgets = np.unique(np.geomspace(1, max(map(len, values.values())), POINTS).round().astype(int))
    bands = np.stack([_bands(scores, budgets) for scores in values.values()]) * sign
    if sign < 0:
        bands = bands[:, [0, 2, 1]]  # what was low is high now
    along = {name: ("label", [function(label) for label in values]) for name, function in {
        "count": lambda label: len(values[label]),
        "failed": lambda label: int(parts[label][1].sum()),
        "best": lambda label: sign * values[label].max(),
    }.items()}  # fmt: skip
    curves = {name: (("label", "trials"), bands[:, i]) for i, name in enumerate(("expected", "low", "high"))}
    attributes = {name: opened[0].attrs[name] for name in ("objective", "direction")}
    attributes |= {"by": by or "run", "search": "grid" if all(map(_is_grid, opened)) else "random"}
    return xr.Dataset({**curves, **along}, {"label": list(values), "trials": budgets}, attributes)


def expected_best(scores: np.ndarray, budgets: np.ndarray) -> np.ndarray:
    """Returns the expected maximum of k draws with replacement, for each k.

    Args:
        scores: `[..., n]`, finite.
        budgets: `[budgets]`, whole numbers of at least 1.

    Returns:
        `[..., budgets]`.

    Examples:
        >>> expected_best(np.array([3.0, 1.0, 2.0]), np.array([1, 100])).round(6).tolist()
        [2.0, 3.0]
    """
    share = np.arange(scores.shape[-1] + 1) / scores.shape[-1]
    return np.sort(scores, -1) @ np.diff(share[:, None] ** budgets, axis=0)


def _bands(scores: np.ndarray, budgets: np.ndarray) -> np.ndarray:
    """Expectation, low and high end; NaN for more draws than there are scores."""
    resampled = np.random.default_rng(0).choice(scores, (RESAMPLES, len(scores)))
    tails = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    low, high = np.quantile(expected_best(resampled, budgets), tails, axis=0)
    return np.where(budgets <= len(scores), np.stack([expected_best(scores, budgets), low, high]), np.nan)


def _opened(runs: Run | Sequence[Run]) -> list[xr.Dataset]:
    several: Sequence[Any] = [runs] if isinstance(runs, str | os.PathLike | xr.Dataset) else list(runs)
    if not several:
        raise ValueError("compare: got no run; expected at least one. Give a directory, or what results.open returned.")
    return [run if isinstance(run, xr.Dataset) else open(run) for run in several]


def _comparable(opened: list[xr.Dataset]) -> None:
    first = opened[0]
    for other in opened[1:]:
        for what in ("objective", "direction"):
            if other.attrs[what] != first.attrs[what]:
                raise ValueError(
                    f"compare: got runs of {what} {first.attrs[what]!r} and {other.attrs[what]!r}; expected the same "
                    "for all. Compare runs that were asked for the same."
                )
        data = [json.loads(run.attrs["data"]) for run in (first, other)]
        if data[0].get("fingerprint") != data[1].get("fingerprint"):
            names = " and ".join(str(d.get("name", "unknown")) for d in data)
            raise ValueError(
                f"compare: got runs of different data ({names}); expected the same for all, since their scores mean "
                "different things otherwise. Compare runs of one data set and split."
            )


def _parts(opened: list[xr.Dataset], by: str | None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Of each label the scores, and which trials failed; what several runs have of one label counts together."""
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for run, name in zip(opened, _names(opened), strict=True):
        trials = summary(run)
        scores, failed = trials.score.values, trials.status.values == "failed"
        labels = np.full(len(scores), name) if by is None else _labels(run, by)
        for label in dict.fromkeys(labels.tolist()):
            if label:  # "" is of trials that don't have the choice
                found.setdefault(label, []).append((scores[labels == label], failed[labels == label]))
    return {
        label: (np.concatenate([s for s, _ in parts]), np.concatenate([f for _, f in parts]))
        for label, parts in found.items()
    }


def _names(opened: list[xr.Dataset]) -> list[str]:
    """The last part of each run's directory, or all of it where that tells no two apart."""
    names = [Path(run.attrs["run"]).name for run in opened]
    if len(set(names)) == len(names):
        return names
    names = [str(Path(run.attrs["run"])) for run in opened]
    if len(set(names)) < len(names):
        raise ValueError("compare: got one run twice; expected different ones. Name each run once.")
    return names


def _labels(run: xr.Dataset, by: str) -> np.ndarray:
    if by in settings(run):
        values = run[by].values
        words = ["" if v != v else f"{v:g}" for v in values.tolist()] if values.dtype.kind == "f" else values.tolist()
        return np.array(words)
    fields = {name: v for name, v in json.loads(run.attrs["experiment"]).items() if v not in (None, [], {})}
    value = fields[known_name(by, {*fields, *varying(run)}, "choice")]
    return np.full(run.sizes["trial"], value if isinstance(value, str) else json.dumps(value))


def _is_grid(run: xr.Dataset) -> bool:
    try:
        grid(run)
    except ValueError:
        return False
    return True
