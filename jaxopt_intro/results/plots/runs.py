"""A whole run: its score over what varies, and the learning curves of the best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from jaxopt_intro.checks import known_name
from jaxopt_intro.results.cells import axis, cells, short, trial_values
from jaxopt_intro.results.dataset import grid_axes, is_choice, varying
from jaxopt_intro.results.drawing import (
    COLOURS,
    DASHES,
    colour_norm,
    colourbar,
    colours,
    draw_cells,
    draw_line,
    log_when_wide,
    new_axes,
    scale_axis,
    written,
)  # fmt: skip
from jaxopt_intro.results.ranking import summary, top

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def heatmap(dataset: xr.Dataset, x: str, y: str, *, metric: str | None = None, ax: Axes | None = None) -> Axes:
    """Draws a metric over two settings: as a table of cells, or as points where they form none.

    Args:
        dataset: What `results.open` returned.
        x: The horizontal hyperparameter or choice.
        y: The vertical one.
        metric: What the colour shows; the objective by default. Another metric is that of the trial which the
            objective chooses, at its best epoch.
        ax: Where to draw; a new figure by default.

    Returns:
        The axes. The best point is framed, failed ones are hatched (crosses among points), those without a value yet
        are white.

    Raises:
        ValueError: No such setting or metric.
    """
    found = cells(dataset, x, y, metric=metric)
    ax = new_axes(ax)
    norm = colour_norm(found.values)
    draw_cells(ax, found, norm, colours(dataset))
    colourbar(ax.figure, [ax], norm, dataset, metric)
    shown = metric or dataset.attrs["objective"]
    ax.set_title("\n".join(filter(None, [shown, _over(dataset, [x, y], metric)])), fontsize="medium")
    return ax


def sensitivity(dataset: xr.Dataset, x: str, *, by: str | None = None, ax: Axes | None = None) -> Axes:
    """Draws the score against one setting, the best over everything else, a line for each label of a choice.

    Args:
        dataset: What `results.open` returned.
        x: The hyperparameter or choice along the axis.
        by: A choice that gets a line for each label.
        ax: Where to draw; a new figure by default.

    Returns:
        The axes. Bars are the standard error over seeds; crosses at the foot are values where every trial failed.

    Raises:
        ValueError: No such setting.
    """
    ax = new_axes(ax)
    across = axis(dataset, x)
    scale_axis(ax.xaxis, across)
    trials = summary(dataset)
    labels = axis(dataset, by).labels if by else (None,)
    for row, label in enumerate(labels):
        mask = np.ones(trials.sizes["trial"], bool) if label is None else dataset[by].values == label
        draw_line(ax, across._replace(trials=across.trials[mask]), trials.isel(trial=mask), label, row)
    log_when_wide(ax, trial_values(dataset, None))
    ax.set_ylabel(dataset.attrs["objective"])
    crosses = "× at the foot: failed" if (trials.status == "failed").any() else ""
    over = _over(dataset, [x, by] if by else [x])
    ax.set_title(", ".join(filter(None, [over, crosses])), fontsize="medium")
    ax.margins(y=0.12)
    ax.grid(alpha=0.3)
    if by and ax.get_legend_handles_labels()[0]:
        ax.legend(title=by, fontsize="small")
    return ax


def curves(dataset: xr.Dataset, *, metric: str | None = None, top: int = 10, ax: Axes | None = None) -> Axes:
    """Draws the learning curves of the best trials: the mean over seeds, and a band from the lowest to the highest.

    Args:
        dataset: What `results.open` returned.
        metric: What to draw; the objective by default.
        top: How many trials at most; those without a score are left out.
        ax: Where to draw; a new figure by default.

    Returns:
        The axes. The legend names each trial by its rank and the settings that vary.

    Raises:
        ValueError: No such metric.
    """
    ax = new_axes(ax, width=9.0)
    names = [str(name) for name, v in dataset.data_vars.items() if "epoch" in v.dims]
    name = known_name(metric or dataset.attrs["objective"], names, "metric")
    table = ranked(dataset, top)
    for number, (rank, row) in enumerate(table.iterrows()):
        curve = dataset[name].sel(trial=row["trial"]).transpose("seed", "epoch").dropna("epoch", how="all")
        colour, width = COLOURS[number % len(COLOURS)], 2.2 if number == 0 else 1.3
        style: dict[str, Any] = {"ls": DASHES[number // len(COLOURS) % len(DASHES)], "lw": width, "ms": 3}
        style["marker"] = "o" if dataset.sizes["epoch"] <= 30 else ""
        ax.plot(curve.epoch, curve.mean("seed"), color=colour, label=f"{rank}: {describe(dataset, row)}", **style)
        if dataset.sizes["seed"] > 1:
            ax.fill_between(curve.epoch, curve.min("seed"), curve.max("seed"), color=colour, alpha=0.15)
    log_when_wide(ax, dataset[name].sel(trial=table["trial"].to_list()).values)
    ax.locator_params(axis="x", integer=True)
    ax.set(xlabel="epoch", ylabel=name)
    band = " (band: lowest to highest seed)" if dataset.sizes["seed"] > 1 else ""
    ax.set_title(f"the {len(table)} best trials{band}" if len(table) else "no trial has a score", fontsize="medium")
    ax.grid(alpha=0.3)
    if len(table):
        ax.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0)
    return ax


def overview(dataset: xr.Dataset) -> Figure:
    """Draws a run on one page: the score over what varies, and the learning curves of the best.

    Args:
        dataset: What `results.open` returned.

    Returns:
        A figure that no window holds: save it with `figure.savefig`. Two numbers that vary make a heat map for each
        label of the first choice, with one colour scale; one makes a sensitivity curve with a line for each label.
    """
    from matplotlib.figure import Figure

    names = grid_axes(dataset)
    choices = [name for name in names if is_choice(dataset, name)]
    numbers = [name for name in names if not is_choice(dataset, name)]
    common = [name for name in numbers if not dataset[name].isnull().any()]
    figure = Figure(layout="constrained")
    if len(common) >= 2:
        last, note = _overview_maps(figure, dataset, common[:2], choices[:1])
    else:
        last, note = _overview_lines(figure, dataset, [*common, *choices] or numbers), ""
    curves(dataset, top=7, ax=last)
    figure.suptitle("\n".join(filter(None, [_headline(dataset), note])), fontweight="bold")
    return figure


def _overview_lines(figure: Figure, dataset: xr.Dataset, names: list[str]) -> Axes:
    """Draws the score against the first setting, above the axes that it returns; without a setting, nothing."""
    figure.set_size_inches(9, 7.5 if names else 4)
    if not names:
        return figure.add_subplot()
    upper, lower = figure.subfigures(2, 1, squeeze=False)[:, 0]
    sensitivity(dataset, names[0], by=names[1] if names[1:] else None, ax=upper.add_subplot())
    return lower.add_subplot()


def _overview_maps(figure: Figure, dataset: xr.Dataset, numbers: list[str], choice: list[str]) -> tuple[Axes, str]:
    """Draws a heat map for each label, above the axes that it returns with what a cell stands for."""
    x, y = sorted(numbers, key=lambda name: -len(axis(dataset, name).values))
    parts, total = _parts(dataset, choice)
    columns = min(len(parts), 3)
    rows = -(-len(parts) // columns)
    figure.set_size_inches(max(9.0, 4.4 * columns + 1), 3.4 * rows + 3.8)
    upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=[3.4 * rows, 3.4])[:, 0]
    found = {label: cells(dataset, x, y, among=among) for label, among in parts.items()}
    norm = colour_norm(np.concatenate([part.values for part in found.values()]))
    drawn = []
    for number, (label, part) in enumerate(found.items()):
        first = drawn[0] if drawn else None
        ax = upper.add_subplot(rows, columns, number + 1, sharex=first, sharey=first)
        draw_cells(ax, part, norm, colours(dataset))
        best = f"best {written(part.values[part.best])}" if part.best >= 0 else "no score"
        ax.set_title(f"{label}: {best}" if label else "", fontsize="medium")
        if number % columns:
            ax.set_ylabel("")
            ax.tick_params(labelleft=False)
        drawn.append(ax)
    colourbar(upper, drawn, norm, dataset, None)
    kept = f"the {len(parts)} best of {total} values of {choice[0]}" if total > len(parts) else ""
    return lower.add_subplot(), ", ".join(filter(None, [_over(dataset, [x, y, *choice]), kept]))


def _parts(dataset: xr.Dataset, choice: list[str], limit: int = 6) -> tuple[dict[str, np.ndarray], int]:
    """Which trials have each label of a choice, the best labels only when there are many, and how many there are."""
    if not choice:
        return {"": np.ones(dataset.sizes["trial"], bool)}, 1
    labels = axis(dataset, choice[0]).labels
    ranks = summary(dataset)["rank"].values
    having = {label: dataset[choice[0]].values == label for label in labels}
    kept = sorted(labels, key=lambda label: ranks[having[label]].min())[:limit]
    return {label: having[label] for label in labels if label in kept}, len(labels)


# -- words -----------------------------------------------------------------------------------------------------


def _over(dataset: xr.Dataset, shown: list[str], metric: str | None = None) -> str:
    """What a value stands for: the mean over which seeds, the best over which settings."""
    objective = dataset.attrs["objective"]
    extreme = "lowest" if dataset.attrs["direction"] == "min" else "highest"
    seeds, others = dataset.sizes["seed"], [name for name in varying(dataset) if name not in shown]
    names = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
    words = [f"mean over {seeds} seeds"] if seeds > 1 else []
    if metric not in (None, objective):
        words.append(f"at the {extreme} {objective}{' over ' if names else ''}{names}")
    elif names:
        words.append(f"{extreme} over {names}")
    return ", ".join(words)


def ranked(dataset: xr.Dataset, k: int) -> Any:
    """Returns the rows of `results.top` that have a score."""
    table = top(dataset, k)
    return table[np.isfinite(table[dataset.attrs["objective"]])]


def describe(dataset: xr.Dataset, row: Any) -> str:
    """Returns what varies of a row of `results.top`, as a legend says it."""
    parts = []
    for name in varying(dataset):
        value = row[name]
        if is_choice(dataset, name):
            parts += [value] if value else []
        elif not np.isnan(value):
            parts.append(f"{name} {short(value)}")
    return ", ".join(parts) or str(row["trial"])


def _headline(dataset: xr.Dataset) -> str:
    status = summary(dataset).status.values
    count = {name: int((status == name).sum()) for name in ("failed", "pruned", "running", "asked")}
    words = [f"{len(status)} trials"] + [f"{n} {name}" for name, n in count.items() if n]
    table = ranked(dataset, 1)
    if len(table):
        words.append(f"best {dataset.attrs['objective']} {written(table[dataset.attrs['objective']].iloc[0])}")
    return ", ".join(words)
