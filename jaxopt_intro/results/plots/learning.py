"""How learning went: training beside validation, and the best so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from jaxopt_intro.checks import known_name
from jaxopt_intro.results.drawing import COLOURS, MARKERS, log_when_wide, new_axes
from jaxopt_intro.results.plots.runs import describe, ranked
from jaxopt_intro.results.ranking import summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def gap(dataset: xr.Dataset, *, metric: str | None = None, top: int = 3, ax: Axes | None = None) -> Axes:
    """Draws training (dashed) and validation (solid) of the best trials over the epochs, the gap between them shaded.

    Args:
        dataset: What `results.open` returned.
        metric: What is drawn of both, such as "loss"; by default the objective, where training has it, else "loss".
        top: How many trials at most; those without a score are left out.
        ax: Where to draw; a new figure by default.

    Returns:
        The axes. Training is the mean over the steps of an epoch, so it lags half an epoch behind validation, and it
        holds what is for training only, such as dropout.

    Raises:
        ValueError: No such metric of both.
    """
    both = [n.removeprefix("valid_") for n in map(str, dataset.data_vars) if n.startswith("valid_")]
    both = [name for name in both if f"train_{name}" in dataset]
    objective = dataset.attrs["objective"].removeprefix("valid_")
    name = known_name(metric or (objective if objective in both else "loss"), both, "metric of training and validation")
    ax = new_axes(ax, width=9.0)
    table = ranked(dataset, top)
    for number, (rank, row) in enumerate(table.iterrows()):
        one = dataset.sel(trial=row["trial"])
        train, valid = (one[f"{split}_{name}"].mean("seed") for split in ("train", "valid"))
        look: dict[str, Any] = {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}
        ax.plot(one.epoch, valid, ls="-", ms=4, label=f"{rank}: {describe(dataset, row)}", **look)
        ax.plot(one.epoch, train, ls="--", ms=4, mfc="none", **look)
        ax.fill_between(one.epoch, train, valid, color=look["color"], alpha=0.12)
    names = [f"{split}_{name}" for split in ("train", "valid")]
    shown = dataset[names].sel(trial=table["trial"].to_list())
    log_when_wide(ax, np.concatenate([shown[n].values.ravel() for n in names]))
    ax.locator_params(axis="x", integer=True)
    ax.set(xlabel="epoch", ylabel=name)
    words = "solid: validation, dashed: training" if len(table) else "no trial has a score"
    ax.set_title(words + (", means over seeds" if dataset.sizes["seed"] > 1 else ""), fontsize="medium")
    ax.grid(alpha=0.3)
    if len(table):
        ax.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0)
    return ax


def best_so_far(dataset: xr.Dataset, *, against: str = "trials", ax: Axes | None = None) -> Axes:
    """Draws the best score so far, against the trials in the order asked or against the seconds of work.

    Args:
        dataset: What `results.open` returned.
        against: "trials": a dot is a trial's score; "seconds": a dot is an epoch of a trial. Trials that failed don't
            count. Trials train side by side, so many share a second.
        ax: Where to draw; a new figure by default.

    Returns:
        The axes.

    Raises:
        ValueError: `against` is neither.
    """
    at, values = _moments(dataset, known_name(against, ("trials", "seconds"), "axis"))
    ax = new_axes(ax)
    running = (np.minimum if dataset.attrs["direction"] == "min" else np.maximum).accumulate(values)
    ax.plot(at, values, ".", color="0.6", ms=4, gid="each", label="a trial" if against == "trials" else "an epoch")
    end = [dataset.sizes["trial"]] if against == "trials" and len(at) else []  # the line goes on to the last trial
    best = [*running.tolist(), *running[-1:].tolist() * len(end)]
    ax.step([*at.tolist(), *end], best, where="post", color=COLOURS[0], lw=2.0, gid="best", label="the best so far")
    log_when_wide(ax, values)
    objective = dataset.attrs["objective"]
    ax.set(xlabel="trials, in the order asked" if against == "trials" else "seconds of work", ylabel=objective)
    ax.grid(alpha=0.3)
    if len(at):
        ax.legend(fontsize="small")
    return ax


def _moments(dataset: xr.Dataset, against: str) -> tuple[np.ndarray, np.ndarray]:
    """Values, and when each was known, in that order."""
    trials = summary(dataset)
    if against == "trials":
        at, values = trials.position.values + 1.0, trials.score.values
    else:
        curve = dataset[dataset.attrs["objective"]].transpose("trial", "seed", "epoch").values.astype(float)
        clock = dataset.seconds.transpose("trial", "seed", "epoch").values
        asked = (dataset.status.transpose("trial", "seed").values != "")[..., None]
        # A trial's value of an epoch is known when all its seeds have done it.
        known = (np.isfinite(curve) & np.isfinite(clock)) | ~asked
        whole = known.all(1) & np.isfinite(trials.score.values)[:, None]
        count = np.maximum(asked.sum(1), 1)
        values = (np.where(known & asked, curve, 0.0).sum(1) / count)[whole]
        at = np.where(known & asked, clock, 0.0).max(1)[whole]
    order = np.argsort(at, kind="stable")
    at, values = at[order], values[order]
    return at[np.isfinite(values)], values[np.isfinite(values)]
