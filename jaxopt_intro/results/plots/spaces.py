"""Many settings at once: parallel coordinates, importance, and coefficients along a penalty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from jaxopt_intro.checks import known_name
from jaxopt_intro.results.cells import Axis, axis, short
from jaxopt_intro.results.dataset import settings, varying
from jaxopt_intro.results.drawing import BEST, COLOURS, DASHES, colour_norm, colourbar, colours, new_axes
from jaxopt_intro.results.importance import importance as importance_of
from jaxopt_intro.results.ranking import summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def parallel(dataset: xr.Dataset, names: Sequence[str] | None = None, *, ax: Axes | None = None) -> Axes:
    """Draws every trial as a line over the settings, coloured by its score.

    Args:
        dataset: What `results.open` returned.
        names: The settings, from left to right; by default all that vary.
        ax: Where to draw; a new figure by default.

    Returns:
        The axes: each setting is an upright scale of its own, logarithmic where its values are spread so. The best
        trial is thick with rings, failed ones are grey and dashed; a line has a hole where a trial doesn't have the
        setting.

    Raises:
        ValueError: No setting varies, or no such setting.
    """
    known = settings(dataset)
    names = varying(dataset) if names is None else [known_name(n, known, "hyperparameter or choice") for n in names]
    if not names:
        raise ValueError("parallel: no setting of the run varies; expected at least one. Name the ones to draw.")
    ax = new_axes(ax, width=2.0 + 1.7 * max(2, len(names)))
    scales = [axis(dataset, name) for name in names]
    heights = np.stack([_heights(scale, scale.trials) for scale in scales], 1)
    trials = summary(dataset)
    scores, failed = trials.score.values, trials.status.values == "failed"
    norm, places = colour_norm(scores), np.arange(len(names))
    _draw_lines(ax, heights, scores, failed, norm, dataset)
    first = int(trials["rank"].values.argmin())
    if np.isfinite(scores[first]):
        ring: dict[str, Any] = {"marker": "o", "ms": 7, "mfc": "white", "mew": 2.0}
        ax.plot(places, heights[first], "-", color=BEST, lw=3.0, zorder=4, gid="best", **ring)
    for place, scale in zip(places, scales, strict=True):
        _draw_scale(ax, int(place), scale)
    ax.set(xlim=(-0.15, len(names) - 0.45), ylim=(-0.04, 1.04), yticks=[])
    ax.set_xticks(places, names)
    ax.spines[:].set_visible(False)
    colourbar(ax.figure, [ax], norm, dataset, None)
    words = f"{len(scores)} trials, the best thick" + (f", {failed.sum()} failed dashed" if failed.any() else "")
    ax.set_title(words, fontsize="medium")
    return ax


def _draw_lines(ax: Axes, heights: np.ndarray, scores: np.ndarray, failed: np.ndarray, norm: Any, dataset: Any) -> None:
    """The worst first, so that the good ones lie on top."""
    import matplotlib as mpl

    paint = mpl.colormaps[colours(dataset)]
    for row in np.flatnonzero(failed):
        ax.plot(heights[row], "--", color="0.75", lw=0.7, zorder=1, gid="failed")
    signed = scores if dataset.attrs["direction"] == "max" else -scores
    for row in np.argsort(signed)[: np.isfinite(scores).sum()]:
        ax.plot(heights[row], "-", color=paint(norm(scores[row])), lw=1.0, alpha=0.8, zorder=2, gid="trial")


def _heights(scale: Axis, values: np.ndarray) -> np.ndarray:
    """Where values lie between the ends of their own scale, from 0 to 1."""
    ends = scale.values[[0, -1]]
    if scale.scale in ("log", "symlog"):
        positive = scale.values[scale.values > 0]
        floor = positive[0] / (positive[-1] / positive[0]) ** 0.1  # where a zero is drawn: a tenth below the least
        values, ends = (np.log(np.maximum(v, floor)) for v in (values, ends))
    span = ends[1] - ends[0]
    return (values - ends[0]) / span if span else np.where(np.isnan(values), np.nan, 0.5)


def _draw_scale(ax: Axes, place: int, scale: Axis) -> None:
    ax.axvline(place, color="0.3", lw=0.8, zorder=3)
    few = len(scale.values) <= 8
    rows = np.arange(len(scale.values)) if few else np.linspace(0, len(scale.values) - 1, 5).round().astype(int)
    for row, height in zip(rows, _heights(scale, scale.values[rows]), strict=True):
        label = scale.labels[row] if few else short(float(scale.values[row]), 2)
        box = {"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8}
        ax.text(place + 0.04, height, label, fontsize=7, va="center", bbox=box, zorder=5)


def importance(dataset: xr.Dataset, *, best: float = 0.25, ax: Axes | None = None) -> Axes:
    """Draws how much each setting decides whether a trial is among the best.

    Args:
        dataset: What `results.open` returned.
        best: Which share of the trials is called the best.
        ax: Where to draw; a new figure by default.

    Returns:
        The axes, with the most important setting at the top.

    Raises:
        ValueError: Fewer than 8 trials have a score or failed, or `best` is no share.
    """
    shares = importance_of(dataset, best=best).iloc[::-1]
    ax = new_axes(ax)
    bars = ax.barh(shares.index.to_list(), shares.to_numpy(), color=COLOURS[0])
    ax.bar_label(bars, labels=[f"{share:.0%}" for share in shares], padding=3)
    ax.set(xlabel="share of what decides", xlim=(0, 1.1))
    ax.set_title(f"what decides whether a trial is among the best {best:.0%} (PED-ANOVA)", fontsize="medium")
    return ax


def coefficient_paths(
    strengths: np.ndarray, coefficients: np.ndarray, *, names: Sequence[str] | None = None, ax: Axes | None = None
) -> Axes:
    """Draws a regularization path: each coefficient against the strength of the penalty.

    The journal has no weights, so they are given: of `load_model(run, trial).params` for each trial that was kept.

    Args:
        strengths: `[strengths]`, above 0, in any order.
        coefficients: `[strengths, coefficients]`.
        names: What each coefficient is called; those of up to 12 are in a legend.
        ax: Where to draw; a new figure by default.

    Returns:
        The axes. The upper scale says how many coefficients are not 0.

    Raises:
        ValueError: The shapes don't fit, or a strength is not above 0.

    Examples:
        >>> ax = coefficient_paths(np.array([0.1, 1.0, 10.0]), np.array([[2.0, -1.0], [1.0, 0.0], [0.0, 0.0]]))
        >>> [line.get_ydata().tolist() for line in ax.lines[:2]]
        [[2.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]
        >>> import matplotlib.pyplot as plt
        >>> plt.close(ax.figure)
    """
    strengths, coefficients = np.asarray(strengths, float), np.asarray(coefficients, float)
    if strengths.ndim != 1 or coefficients.ndim != 2 or len(strengths) != len(coefficients) or (strengths <= 0).any():
        raise ValueError(
            f"coefficient_paths: got strengths {strengths.shape} and coefficients {coefficients.shape}; expected a "
            "vector above 0 and a matrix with a row for each strength. Stack the coefficients of one trial after the "
            "other."
        )
    ax, order = new_axes(ax), np.argsort(strengths)
    strengths, coefficients = strengths[order], coefficients[order]
    for number, column in enumerate(coefficients.T):
        look: dict[str, Any] = {
            "color": COLOURS[number % len(COLOURS)],
            "ls": DASHES[number // len(COLOURS) % len(DASHES)],
        }
        ax.plot(strengths, column, lw=1.3, label=names[number] if names else None, **look)
    ax.axhline(0.0, color="0.3", lw=0.8)
    ax.set(xscale="log", xlabel="strength of the penalty", ylabel="coefficient")
    above = ax.secondary_xaxis("top")
    shown = np.linspace(0, len(strengths) - 1, min(7, len(strengths))).round().astype(int)
    above.set_xticks(strengths[shown], [str(n) for n in (coefficients[shown] != 0).sum(1)], minor=False)
    above.set_xticks([], minor=True)
    above.set_xlabel("coefficients that are not 0")
    if names and len(names) <= 12:
        ax.legend(fontsize="small")
    return ax
