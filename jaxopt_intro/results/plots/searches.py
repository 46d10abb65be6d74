"""How a search went: what k trials would find, and who was pruned when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from jaxopt_intro.results.drawing import BEST, COLOURS, DASHES, MARKERS, log_when_wide, new_axes
from jaxopt_intro.results.ranking import summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def comparison(compared: xr.Dataset, *, ax: Axes | None = None) -> Axes:
    """Draws the expected best score after k trials, a line for each label, with its bootstrap interval.

    Args:
        compared: What `results.compare` returned.
        ax: Where to draw; a new figure by default.

    Returns:
        The axes.
    """
    from matplotlib.ticker import LogLocator, NullLocator

    ax = new_axes(ax)
    for number, label in enumerate(compared.label.values.tolist()):
        one = compared.sel(label=label).dropna("trials", subset=["expected"])
        colour = COLOURS[number % len(COLOURS)]
        style: dict[str, Any] = {"ls": DASHES[number % len(DASHES)], "marker": MARKERS[number % len(MARKERS)], "ms": 5}
        style["markevery"] = (number % 5, max(1, one.sizes["trials"] // 6))  # apart, where lines lie on each other
        failed = f", {one.failed.item()} failed" if one.failed.item() else ""
        ax.plot(
            one.trials, one.expected, color=colour, label=f"{label} ({one['count'].item()} trials{failed})", **style
        )
        ax.fill_between(one.trials, one.low, one.high, color=colour, alpha=0.13)
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_locator(NullLocator())
    log_when_wide(ax, compared.expected.values)
    ax.set(xlabel="trials", ylabel=f"expected best {compared.attrs['objective']}")
    drawn = "as if drawn from the grid" if compared.attrs["search"] == "grid" else "of random search"
    ax.set_title(f"best of k trials, {drawn}; band: 95 % bootstrap", fontsize="medium")
    ax.grid(alpha=0.3)
    ax.legend(fontsize="small", title=None if compared.attrs["by"] == "run" else compared.attrs["by"])
    return ax


def rungs(dataset: xr.Dataset, *, ax: Axes | None = None) -> Axes:
    """Draws what the pruner saw of each trial at each rung, and what it said.

    Args:
        dataset: What `results.open` returned.
        ax: Where to draw; a new figure by default.

    Returns:
        The axes. A cross is where a trial was stopped, a diamond where it took the state of another, from which a
        dotted line leads to it; the best trial of all is drawn thick.

    Raises:
        ValueError: The run has no rung.
    """
    if "rung" not in dataset.dims:
        raise ValueError("rungs: the run has no rung; expected a sweep with a pruner. Draw plots.curves instead.")
    ax = new_axes(ax)
    at, values = dataset["rung"].values, dataset.rung_value.transpose("trial", "rung").values
    verdict, source = (dataset[n].transpose("trial", "rung").values for n in ("verdict", "copied_from"))
    ax.plot(at, values.T, "-", color="0.7", lw=0.9, marker=".", ms=4, zorder=1)
    first = int(summary(dataset)["rank"].values.argmin())
    ax.plot(at, values[first], "-", color=BEST, lw=2.4, marker="o", ms=5, zorder=3, gid="best", label="the best trial")
    for said, marker, colour, label in (("stop", "x", "black", "stopped"), ("copy", "D", COLOURS[0], "copied another")):
        rows, columns = np.nonzero((verdict == said) & np.isfinite(values))
        if len(rows):
            style: dict[str, Any] = {"ls": "", "marker": marker, "color": colour, "ms": 6, "gid": said, "zorder": 4}
            ax.plot(at[columns], values[rows, columns], label=f"{len(rows)} {label}", **style)
    names = dataset.trial.values.tolist()
    for row, column in zip(*np.nonzero((source != "") & np.isfinite(values)), strict=True):
        if source[row, column] in names:
            start = values[names.index(source[row, column]), column]
            place = [at[column]] * 2
            ax.plot(place, [start, values[row, column]], ":", color=COLOURS[0], lw=1.0, zorder=2, gid="from")
    log_when_wide(ax, values)
    ax.set_xscale("log")  # rungs are at equal ratios
    ax.set_xticks(at, [f"{epoch:g}" for epoch in at])
    ax.set_xticks([], minor=True)
    objective = dataset.attrs["objective"]
    ax.set(xlabel="rung: epochs done", ylabel=f"{objective} as the pruner saw it")
    ax.grid(alpha=0.3)
    ax.legend(fontsize="small")
    return ax
