"""How the plots are drawn: cells, lines, scales and colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from jaxopt_intro.results.cells import Axis, Cells, best_at

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize

# Okabe and Ito (2008), "Color universal design", without the yellow that vanishes on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "D", "^", "v", "<", ">")
BEST = "#D55E00"
LUMINANCE = (0.299, 0.587, 0.114)


def new_axes(ax: Axes | None, width: float = 6.4) -> Axes:
    """Returns `ax`, or the axes of a new figure of that width in inches."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(width, 4.8), layout="constrained")[1]


def draw_cells(ax: Axes, found: Cells, norm: Normalize, colours: str) -> None:
    """Draws a table of cells where the points fill one, else the points."""
    scale_axis(ax.xaxis, found.x)
    scale_axis(ax.yaxis, found.y)
    if found.full:
        _draw_table(ax, found, norm, colours)
    else:
        _draw_points(ax, found, norm, colours)


def _draw_points(ax: Axes, found: Cells, norm: Normalize, colours: str) -> None:
    style: dict[str, Any] = {"s": 45, "edgecolors": "black", "linewidths": 0.5, "zorder": 2}
    known = np.isfinite(found.values)
    ax.scatter(*found.points[known].T, c=found.values[known], norm=norm, cmap=colours, **style)
    ax.scatter(*found.points[~known & ~found.failed].T, c="white", **style)
    ax.scatter(*found.points[found.failed].T, c="0.35", marker="x", s=35, zorder=1, gid="failed")
    if found.best >= 0:
        ring: dict[str, Any] = {"s": 200, "facecolors": "none", "edgecolors": BEST, "linewidths": 2.5, "zorder": 3}
        ax.scatter(*found.points[found.best], gid="best", **ring)


def _draw_table(ax: Axes, found: Cells, norm: Normalize, colours: str) -> None:
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    across, up = _edges(ax.xaxis, found.x), _edges(ax.yaxis, found.y)
    columns = np.searchsorted(found.x.values, found.points[:, 0])
    rows = np.searchsorted(found.y.values, found.points[:, 1])
    table = np.full((len(found.y.values), len(found.x.values)), np.nan)
    table[rows, columns] = found.values
    mesh = ax.pcolormesh(across, up, table, norm=norm, cmap=colours, edgecolors="white", linewidth=0.5)

    def box(point: int, **style: Any) -> None:
        left, right = across[columns[point] :][:2].tolist()
        low, high = up[rows[point] :][:2].tolist()
        ax.add_patch(Rectangle((left, low), right - left, high - low, **style))

    for point in np.flatnonzero(found.failed).tolist():
        box(point, facecolor="0.92", edgecolor="0.45", hatch="////", linewidth=0.5, gid="failed")
    if found.best >= 0:
        halo = [withStroke(linewidth=5, foreground="white")]
        box(found.best, fill=False, edgecolor=BEST, lw=2.5, path_effects=halo, zorder=3, clip_on=False, gid="best")
    if len(found.x.values) <= 10 and len(found.y.values) <= 16:
        for value, place, colour in zip(found.values, found.points, mesh.to_rgba(found.values), strict=True):
            if np.isfinite(value):
                ink = "black" if np.dot(colour[:3], LUMINANCE) > 0.5 else "white"
                ax.text(place[0], place[1], written(value), ha="center", va="center", fontsize=7, color=ink, zorder=4)


def draw_line(ax: Axes, across: Axis, trials: xr.Dataset, label: str | None, number: int) -> None:
    """Draws the best score at each value of a setting, with error bars, and crosses where all trials failed.

    Args:
        ax: Where to draw.
        across: The setting; its `trials` belong to `trials`.
        trials: What `summary` returned, or a part of it.
        label: How the line is called in the legend.
        number: Which line it is: decides colour, dashes and marker.
    """
    values, chosen = best_at(trials, across.trials[:, None])
    at, scores = values[:, 0], trials.score.values[chosen]
    known, failed = np.isfinite(scores), trials.status.values[chosen] == "failed"
    errors = trials.standard_error.values[chosen][known]
    bars = np.nan_to_num(errors) if np.isfinite(errors).any() else None
    look: dict[str, Any] = {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "ls": "" if across.scale == "choice" else DASHES[number % len(DASHES)],
    }
    ax.errorbar(at[known], scores[known], bars, label=label, ms=5, capsize=3, **look)
    foot = np.full(failed.sum(), 0.03 * (number + 1))
    ax.plot(at[failed], foot, "x", color=look["color"], transform=ax.get_xaxis_transform(), gid="failed")


def scale_axis(side: Any, setting: Axis) -> None:
    """Sets the scale, the ticks and the name of the x or y axis."""
    from matplotlib.ticker import NullFormatter, NullLocator

    scale = getattr(side.axes, f"set_{side.axis_name}scale")
    if setting.scale == "symlog":
        scale("symlog", linthresh=setting.values[setting.values > 0].min())
    else:
        scale("log" if setting.scale == "log" else "linear")
    if len(setting.values) <= 12:
        side.set_ticks(setting.values, labels=setting.labels)
        side.set_minor_locator(NullLocator())
    else:
        side.set_minor_formatter(NullFormatter())
    if side.axis_name == "x" and sum(map(len, setting.labels)) > 40 and len(setting.values) <= 12:
        side.set_tick_params(rotation=40)
    if setting.scale == "choice":
        getattr(side.axes, f"set_{side.axis_name}lim")(-0.5, len(setting.values) - 0.5)
    side.set_label_text(setting.name)


def _edges(side: Any, setting: Axis) -> np.ndarray:
    """The borders of the cells: midway between the values on the axis' own scale."""
    transform = side.get_transform()
    at = transform.transform(setting.values)
    if len(at) == 1:
        return transform.inverted().transform(np.array([at[0] - 0.5, at[0] + 0.5]))
    middle = (at[1:] + at[:-1]) / 2
    borders = [2 * at[0] - middle[0], *middle, 2 * at[-1] - middle[-1]]
    return transform.inverted().transform(np.array(borders))


def colour_norm(values: np.ndarray) -> Normalize:
    """Returns the colour scale of the finite values: logarithmic when they span more than a factor of 100."""
    from matplotlib.colors import LogNorm, Normalize

    known = values[np.isfinite(values)]
    if not len(known):
        return Normalize(0.0, 1.0)
    return (LogNorm if _wide(known) else Normalize)(known.min(), known.max())


def _wide(values: np.ndarray) -> bool:
    known = values[np.isfinite(values)]
    return bool(len(known) and known.min() > 0 and known.max() > 100 * known.min())


def log_when_wide(ax: Axes, values: np.ndarray) -> None:
    """Makes the vertical axis logarithmic when the values span more than a factor of 100."""
    if _wide(values):
        ax.set_yscale("log")


def colours(dataset: xr.Dataset) -> str:
    """Returns the colour map in which the best is bright."""
    return "viridis_r" if dataset.attrs["direction"] == "min" else "viridis"


def colourbar(figure: Any, drawn: list[Axes], norm: Normalize, dataset: xr.Dataset, metric: str | None) -> None:
    """Draws the colour scale that `drawn` share, with the metric's name."""
    from matplotlib.cm import ScalarMappable

    label = metric or dataset.attrs["objective"]
    figure.colorbar(ScalarMappable(norm, colours(dataset)), ax=drawn, label=label)


def written(value: float) -> str:
    """Returns a value as it is written into a cell: 0.857, 2.31e+05."""
    return f"{value:.3f}" if 0.01 <= abs(value) < 10 else f"{value:.3g}"
