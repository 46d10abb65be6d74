"""What a sweep found, in sentences."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from jaxopt_intro.results.cells import short
from jaxopt_intro.results.dataset import is_choice, settings, varying
from jaxopt_intro.results.ranking import summary
from jaxopt_intro.results.reporting import asked

EDGE = 0.02
"""How near the end of a range counts as its edge, as a share of the range."""


class Verdict(NamedTuple):
    """What a sweep found.

    Attributes:
        title: The title of the page.
        state: Running, finished or interrupted, with how far.
        kind: "running", "finished" or "interrupted".
        lines: Sentences, each with what it is about: asked, best, test, counts, edge or warning.
    """

    title: str
    state: str
    kind: str
    lines: list[tuple[str, str]]


def of(dataset: xr.Dataset, records: list[dict[str, Any]], run: Path, *, running: bool) -> Verdict:
    """Says what a sweep found.

    Args:
        dataset: What `results.open` returned.
        records: The journal's.
        run: The run's directory, for the ranges asked.
        running: Whether the sweep goes on.
    """
    trials = summary(dataset)
    ranges = asked.ranges(run)
    experiment = json.loads(dataset.attrs["experiment"])
    lines = [("asked", _asked(dataset, experiment, ranges))]
    if np.isfinite(trials.score.values).any():
        first = int(trials["rank"].values.argmin())
        lines.append(("best", _best(dataset, trials, first)))
        lines += [("test", line) for line in _test(dataset, first)]
        lines += [("edge", line) for line in _edges(dataset, trials, first, ranges)]
    elif (trials.status == "failed").all():
        lines.append(("warning", "Every trial failed: no setting has a score. Lower the learning rates."))
    else:
        lines.append(("best", "No trial has a score yet."))
    lines += [("counts", line) for line in _counts(dataset)]
    if json.loads(dataset.attrs["device"]).get("idle_gpu"):
        lines.append(("warning", 'An NVIDIA GPU lay idle: this JAX is for CPUs. pip install "jax[cuda12]"'))
    state, kind = _state(dataset, records, running)
    if kind == "interrupted":
        lines.append(("warning", f"It was interrupted; go on where it stopped: jaxopt-intro sweep {run}"))
    return Verdict(_title(dataset, experiment, run), state, kind, lines)


def duration(seconds: float) -> str:
    """Returns a time as people say it.

    Examples:
        >>> duration(4.31), duration(75), duration(7260)
        ('4.31 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _title(dataset: xr.Dataset, experiment: dict[str, Any], run: Path) -> str:
    data = json.loads(dataset.attrs["data"]).get("name") or experiment.get("data") or "a sweep"
    model = experiment.get("model")
    return f"{model} on {data}" if model and not is_varying(dataset, "model") else f"{data}: {run.resolve().name}"


def is_varying(dataset: xr.Dataset, name: str) -> bool:
    """Says whether a setting is swept."""
    return name in varying(dataset)


def _asked(dataset: xr.Dataset, experiment: dict[str, Any], ranges: dict[str, asked.Range]) -> str:
    over = []
    for name in varying(dataset):
        if is_choice(dataset, name):
            labels = list(dict.fromkeys(label for label in dataset[name].values.tolist() if label))
            shown = ", ".join(labels[:6]) + (f" and {len(labels) - 6} more" if len(labels) > 6 else "")
            over.append(f"{name} ({shown})")
        else:
            values = dataset[name].values
            low, high = (
                (ranges[name].low, ranges[name].high) if name in ranges else (np.nanmin(values), np.nanmax(values))
            )
            over.append(f"{name} ({short(float(low))} to {short(float(high))})")
    seeds, trials = dataset.sizes["seed"], dataset.sizes["trial"]
    what = f"{trials:,} trial{'s' * (trials != 1)}" + (f" with {seeds} seeds each" if seeds > 1 else "")
    words = f"Asked: {what}" + (f", over {'; '.join(over)}" if over else "")
    epochs, steps = experiment.get("epochs"), experiment.get("steps")
    length = f"{steps} steps" if steps else f"{epochs} epoch{'s' * (epochs != 1)}" if epochs else ""
    return words + (f"; {length} each." if length else ".")


def _best(dataset: xr.Dataset, trials: xr.Dataset, first: int) -> str:
    score, error = trials.score.values[first], trials.standard_error.values[first]
    seeds = int(trials.seeds.values[first])
    over = f"standard error over {seeds} seeds" if seeds > 1 else "one seed"
    found = f"Best: {described(dataset, first)}, with {dataset.attrs['objective']} {measured(score, error)} ({over})"
    scores = np.where(np.arange(len(trials.score)) == first, np.nan, trials.score.values)
    near = int((np.abs(scores - score) <= error).sum()) if np.isfinite(error) else 0
    verb = "is" if near == 1 else "are"
    close = f" {near:,} other trial{'s' * (near != 1)} {verb} within one standard error of it." if near else ""
    return f"{found}.{close}"


def described(dataset: xr.Dataset, trial: int) -> str:
    """Returns a trial's settings that vary, in words; its id where none does."""
    parts = []
    for name in varying(dataset):
        value = dataset[name].values[trial]
        if is_choice(dataset, name):
            parts += [f"{name} {value}"] if value else []
        elif not np.isnan(value):
            parts.append(f"{name} {short(float(value), 4)}")
    return ", ".join(parts) or f"trial {dataset.trial.values[trial]}"


def measured(value: float, error: float) -> str:
    """Returns a value with its standard error, to two digits of that.

    Examples:
        >>> measured(0.97916, 0.00123), measured(0.97916, float("nan"))
        ('0.9792 ± 0.0012', '0.97916')
    """
    if not (np.isfinite(error) and error > 0):
        return f"{value:.5g}" + (" ± 0" if error == 0 else "")
    decimals = 1 - int(np.floor(np.log10(error)))
    if not 0 <= decimals <= 6:
        return f"{value:.5g} ± {error:.2g}"
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"


def _test(dataset: xr.Dataset, first: int) -> list[str]:
    names = [str(name) for name in dataset.data_vars if str(name).startswith("test_")]
    if not names:
        return []
    own = "test_" + dataset.attrs["objective"].removeprefix("valid_")
    parts, touched = [], 0
    for name in sorted(names, key=lambda name: name != own):
        values = dataset[name].values
        touched = max(touched, int(np.isfinite(np.delete(values, first, 0)).any(1).sum()))
        seeds = values[first][np.isfinite(values[first])]
        if len(seeds):
            error = seeds.std(ddof=1) / np.sqrt(len(seeds)) if len(seeds) > 1 else np.nan
            parts.append(f"{name.removeprefix('test_')} {measured(seeds.mean(), error)}")
    times = "once" if touched == 1 else f"{touched} times"
    before = f"The test split was touched {times} before, by trials chosen then." if touched else ""
    if not parts:
        return [f"{before} The trial that is the best now has not been measured on it."]
    return [f"Test: {', '.join(parts)}, measured once, on the chosen trial only."] + ([before] if before else [])


def _edges(dataset: xr.Dataset, trials: xr.Dataset, first: int, ranges: dict[str, asked.Range]) -> list[str]:
    """A sentence for each number whose best value lies at an end of what was asked."""
    lines = []
    for name in settings(dataset, "hyperparameter"):
        values = dataset[name].values
        known = np.unique(values[~np.isnan(values)])
        if len(known) < 3 or np.isnan(values[first]):  # of two values, each is an end
            continue
        range_ = ranges.get(name) or asked.Range("uniform", known[0], known[-1])
        places = np.array([asked.place(range_, value) for value in values.tolist()])  # NaN where a trial has no value
        place = places[first]
        if EDGE < place < 1 - EDGE or (place <= EDGE and range_.low == 0):  # below 0 there is nothing to ask for
            continue
        end, way = ("upper", "upwards") if place > 0.5 else ("lower", "downwards")
        lines.append(
            f"At the edge: {name} {short(values[first], 4)} is at the {end} end of the range asked "
            f"({short(range_.low)} to {short(range_.high)}). Widen {name} {way}."
            + _inside(dataset, trials, first, places)
        )
    return lines


def _inside(dataset: xr.Dataset, trials: xr.Dataset, first: int, places: np.ndarray) -> str:
    """What the best away from this edge is, so that a reader sees how much the edge matters."""
    others = np.where(np.abs(places - places[first]) > EDGE, trials.score.values, np.nan)
    if not np.isfinite(others).any():
        return ""
    low = dataset.attrs["direction"] == "min"
    score, error = np.nanmin(others) if low else np.nanmax(others), trials.standard_error.values[first]
    alike = np.isfinite(error) and abs(score - trials.score.values[first]) <= error
    return f" Elsewhere the best is {score:.5g}{', alike within the standard error' if alike else ''}."


def _counts(dataset: xr.Dataset) -> list[str]:
    status, reason = dataset.status.values, dataset.reason.values
    kinds = {
        "failed": status == "failed",
        "pruned": status == "pruned",
        "stopped early": (status == "finished") & (reason != ""),
    }
    total = int((status != "").sum())
    parts = []
    for words, mask in kinds.items():
        if mask.any():
            why, count = Counter(reason[mask].tolist()).most_common(1)[0]
            why = why.removeprefix(f"{words}: ")
            parts.append(
                f"{int(mask.sum()):,} {words}" + (f" ({'most' if count < mask.sum() else 'all'}: {why})" if why else "")
            )
    return [f"Of {_members(dataset, total)}: {'; '.join(parts)}."] if parts else []


def _members(dataset: xr.Dataset, count: int) -> str:
    """Trials; with several seeds trainings, of which a trial has several."""
    return f"{count:,} {'training' if dataset.sizes['seed'] > 1 else 'trial'}{'s' * (count != 1)}"


def _state(dataset: xr.Dataset, records: list[dict[str, Any]], running: bool) -> tuple[str, str]:
    status = dataset.status.values
    total, left = int((status != "").sum()), int(np.isin(status, ("asked", "running")).sum())
    seconds = max((r.get("time", 0.0) for r in records if r["type"] == "epoch"), default=0.0)
    if running:
        return f"Running: {total - left:,} of {_members(dataset, total)} ended, after {duration(seconds)}", "running"
    if left:
        return f"Interrupted: {total - left:,} of {_members(dataset, total)} ended", "interrupted"
    return f"Finished: {_members(dataset, total)}", "finished"
