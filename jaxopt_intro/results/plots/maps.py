"""A map of the objective over two numbers, with arrows that point downhill."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from jaxopt_intro.checks import known_name
from jaxopt_intro.results.cells import short
from jaxopt_intro.results.drawing import BEST, colours, new_axes, written
from jaxopt_intro.results.maps import best, filled, shown_range

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = ("objective", "slowness")
_WIDE = 2.0  # an axis whose ends are at least this factor apart is drawn logarithmic: a narrower one has no ticks so


def landscape(dataset: xr.Dataset, *, of: str = "objective", ax: Axes | None = None) -> Axes:
    """Draws a map: the objective in colour, what diverged hatched, the best ringed, and arrows that lead downhill.

    Between computed points it shows the mean of those around. Arrows are of the validation loss; those that are not to
    be trusted are left out, and the title says how many. Their length grows with the root of the slope.

    Args:
        dataset: What `results.open_map` returned.
        of: "objective", or "slowness": how long each point took to train, in colour, or to diverge, in grey. That
            shows most of the edge of trainability.
        ax: Where to draw; a new figure by default.

    Returns:
        The axes.

    Raises:
        ValueError: There is no such thing to show, or nothing was computed.

    References:
        Sohl-Dickstein 2024, The boundary of neural network trainability is fractal (the colours of "slowness").
    """
    known_name(of, SHOWN, "thing to show on a map")
    if not dataset.attrs["trainings"]:
        raise ValueError(f"landscape: the map {dataset.attrs['map']!r} has no point yet; expected some. Go on with it.")
    ax = new_axes(ax, width=6.0)
    objective, share, slowness = filled(dataset)
    diverged = (share >= 0.5) | (np.isnan(objective) & (share > 0))  # of few seeds: then there is no mean
    across, up = _side(ax, dataset, "x"), _side(ax, dataset, "y")
    trained = np.where(diverged, np.nan, objective if of == "objective" else slowness)
    _paint(ax, dataset, across, up, trained, diverged, None if of == "objective" else slowness)
    ax.set(xlabel=dataset.attrs["x"], ylabel=dataset.attrs["y"])
    ax.set_box_aspect(1)
    arrows = _draw_arrows(ax, dataset, across, up) if of == "objective" else ""
    point = best(dataset)
    if point is not None and of == "objective":
        place = [point[dataset.attrs[side]].item() for side in ("x", "y")]
        ring: dict[str, Any] = {"s": 130, "facecolors": "none", "linewidths": 2.5, "zorder": 5, "clip_on": False}
        ax.scatter(*place, edgecolors="white", **{**ring, "linewidths": 5.0})
        ax.scatter(*place, edgecolors=BEST, gid="best", **ring)
    ax.set_title("\n".join(filter(None, [_words(dataset, point), arrows])), fontsize="medium")
    return ax


class _Side(NamedTuple):
    """An axis as it is drawn: its values, the borders of its cells, and whether it is logarithmic."""

    values: np.ndarray
    borders: np.ndarray
    log: bool

    def share(self, values: np.ndarray) -> np.ndarray:
        """Where values lie on it, from 0 to 1."""
        at, ends = (np.log(v) if self.log else v for v in (values, self.borders[[0, -1]]))
        return (at - ends[0]) / (ends[1] - ends[0])


def _side(ax: Axes, dataset: xr.Dataset, side: str) -> _Side:
    """Scales an axis."""
    values = dataset[dataset.attrs[side]].values
    log = dataset.attrs[f"{side}_scale"] == "log" and bool(values[-1] >= _WIDE * values[0])
    if log:
        getattr(ax, f"set_{side}scale")("log")
    elif side == "x":
        ax.tick_params(axis="x", rotation=30)
    at = np.log(values) if log else values
    middles = (at[1:] + at[:-1]) / 2
    borders = np.array([2 * at[0] - middles[0], *middles, 2 * at[-1] - middles[-1]])
    return _Side(values, np.exp(borders) if log else borders, log)


def _paint(
    ax: Axes,
    dataset: xr.Dataset,
    across: _Side,
    up: _Side,
    trained: np.ndarray,
    diverged: np.ndarray,
    slowness: np.ndarray | None,
) -> None:
    from matplotlib.colors import LogNorm, Normalize

    low, high = shown_range(trained)
    wide = slowness is not None and 0 < 10 * low < high  # where losses rose on the way, by whatever factor
    borders, mesh = (across.borders, up.borders), {"shading": "flat", "rasterized": True}
    paint = colours(dataset) if slowness is None else "viridis_r"
    drawn = ax.pcolormesh(
        *borders, trained, cmap=paint, norm=(LogNorm if wide else Normalize)(low, high), gid="trained", **mesh
    )
    label = dataset.attrs["objective"] if slowness is None else "mean training loss over the first"
    ax.figure.colorbar(drawn, ax=ax, label=label, extend="both", shrink=0.85)  # type: ignore[union-attr]
    if not diverged.any():
        return
    grey = np.where(diverged, 0.35 if slowness is None else slowness, np.nan)
    norm = Normalize(0.0, 1.0) if slowness is None else Normalize(0.0, float(np.nanpercentile(grey, 98)) or 1.0)
    ax.pcolormesh(*borders, grey, cmap="Greys", norm=norm, gid="diverged", **mesh)
    if slowness is None and not diverged.all():
        ax.contourf(
            across.values, up.values, diverged.astype(float), levels=[0.5, 1.5], colors="none", hatches=["////"]
        )


def _draw_arrows(ax: Axes, dataset: xr.Dataset, across: _Side, up: _Side) -> str:
    """Draws the arrows that are to be trusted; says how many are not, and why."""
    if "arrow" not in dataset.dims:
        return ""
    reasons = dataset.arrow_refused.values
    kept = reasons == ""
    if kept.any():
        places = across.share(dataset.arrow_x.values[kept]), up.share(dataset.arrow_y.values[kept])
        ways = np.stack([dataset.arrow_right.values[kept], dataset.arrow_up.values[kept]])
        slopes = np.hypot(*ways)
        spacing = 1.0 / np.sqrt(len(reasons))
        usual = np.percentile(slopes, 90)
        lengths = 0.8 * spacing * np.sqrt(np.minimum(slopes / usual, 1.0))
        ways = ways / slopes * lengths
        style: dict[str, Any] = {"color": "black", "edgecolor": "white", "linewidth": 0.6, "width": 0.009}
        ax.quiver(
            *places, *ways, transform=ax.transAxes, angles="uv", scale=1.0, scale_units="width", zorder=4,
            gid="arrows", **style,
        )  # fmt: skip
    names, counts = np.unique(reasons[~kept], return_counts=True)
    why = ", ".join(f"{count} {name}" for name, count in zip(names.tolist(), counts.tolist(), strict=True))
    return f"{kept.sum()} of {len(kept)} arrows, downhill in loss" + (f"; left out:\n{why}" if why else "")


def _words(dataset: xr.Dataset, point: xr.Dataset | None) -> str:
    computed, every = int((dataset.seeds > 0).sum()), dataset.seeds.size
    words = [f"{computed:,} of {every:,} points computed"]
    if dataset.attrs["trainings"] > computed:
        words[0] += f", {dataset.attrs['trainings']:,} trainings"
    if point is not None:
        at = ", ".join(f"{name} {short(point[name].item())}" for name in (dataset.attrs["x"], dataset.attrs["y"]))
        words.append(f"best {dataset.attrs['objective']} {written(point.objective.item())} at {at}")
    constants = json.loads(dataset.attrs["constants"])
    words += [", ".join(f"{name} {short(value)}" for name, value in constants.items())] if constants else []
    return "\n".join(words)
