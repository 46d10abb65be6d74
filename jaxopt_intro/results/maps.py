"""A map on disk: what was asked, every training, the arrows; and the same as an xarray Dataset.

A map is a directory::

    experiment.toml    the experiment and its space, to read and to run again
    map.json           the two numbers, the resolution, and what else was asked
    lanes.npz          every training, in the order computed: the arrays of `Lanes`
    arrows.npz         where arrows were computed, which way is downhill, and which are to be trusted
    map.png            the picture

Files are replaced whole, so a map that was killed has those of its last round.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

ASKED, LANES, ARROWS = "map.json", "lanes.npz", "arrows.npz"
FORMAT = 1


class Lanes(NamedTuple):
    """The trainings of a map, in the order computed; arrays of one length.

    Attributes:
        row: The point's row, from the lowest value of y.
        column: Its column, from the lowest value of x.
        seed: The seed.
        objective: The metric that decides, on the validation split at the end.
        loss: The loss there.
        slowness: 0 is at once: of a training the mean of its losses over the first one's, above 1 where they rose on
            the way; of one that diverged the mean of the inverse. They are the intensities of Sohl-Dickstein 2024.
        diverged: Whether a step was not finite, or the training loss of the last steps is clearly above its first.
    """

    row: np.ndarray
    column: np.ndarray
    seed: np.ndarray
    objective: np.ndarray
    loss: np.ndarray
    slowness: np.ndarray
    diverged: np.ndarray


class Fields(NamedTuple):
    """What is known at each point of the lattice, `[rows, columns]`.

    Attributes:
        seeds: How many trainings there were.
        mean: The mean of the objective; NaN without a training, and where one diverged.
        deviation: The standard deviation over seeds; NaN for fewer than two.
        loss: The mean of the loss, as the mean.
        slowness: The mean of the slowness; NaN without a training.
        diverged: The share of the seeds that diverged; NaN without a training.
    """

    seeds: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    loss: np.ndarray
    slowness: np.ndarray
    diverged: np.ndarray


def no_lanes() -> Lanes:
    """Returns the trainings of a map that has none yet."""
    numbers, places = np.zeros(0), np.zeros(0, np.int32)
    return Lanes(places, places, places, numbers, numbers, numbers, np.zeros(0, bool))


def fields(lanes: Lanes, resolution: int) -> Fields:
    """Returns the means over seeds at each point.

    Args:
        lanes: The trainings.
        resolution: The cells across; there is one point more.

    Examples:
        >>> one, zero = np.ones(2), np.zeros(2, int)
        >>> found = fields(Lanes(zero, zero, np.arange(2), np.array([0.5, 0.75]), one, one, zero > 0), 1)
        >>> found.mean.tolist(), found.seeds.tolist()
        ([[0.625, nan], [nan, nan]], [[2, 0], [0, 0]])
    """
    side = resolution + 1
    place = lanes.row.astype(int) * side + lanes.column

    def sums(values: np.ndarray) -> np.ndarray:
        return np.bincount(place, values, side * side).reshape(side, side)

    seeds = sums(np.ones(len(place))).astype(int)
    with np.errstate(invalid="ignore", divide="ignore"):
        diverged, slowness = sums(lanes.diverged) / seeds, sums(lanes.slowness) / seeds
        objective, loss = (np.where(lanes.diverged, np.nan, values) for values in (lanes.objective, lanes.loss))
        mean, mean_loss = sums(objective) / seeds, sums(loss) / seeds
        squares = sums(np.square(objective - mean.ravel()[place]))
        deviation = np.sqrt(squares / np.where(seeds > 1, seeds - 1, np.nan))
    return Fields(seeds, mean, deviation, mean_loss, slowness, diverged)


def open_map(directory: str | os.PathLike[str]) -> xr.Dataset:
    """Opens a map as a Dataset, also while it grows.

    Args:
        directory: The map's directory.

    Returns:
        A Dataset over the two numbers, y first; `attrs` say which they are, and what was asked. `objective` is the mean
        over `seeds`, with its `standard_error` (NaN for one seed); `diverged` is the share of seeds that did,
        `slowness` how long a training took to train or to diverge. All are NaN at points that were not computed, and
        the objective also where a seed diverged. Along `arrow` there are `arrow_x`, `arrow_y` (where),
        `arrow_right`, `arrow_up` (the way downhill, in shares of the picture) and `arrow_refused`: why it is not to be
        trusted, or "".

    Raises:
        FileNotFoundError: The directory holds no map.
        ValueError: Another version wrote it.
    """
    directory = Path(directory)
    asked, lanes = read_asked(directory), read_lanes(directory)
    x, y = asked["x"], asked["y"]
    found, dims = fields(lanes, asked["resolution"]), (y["name"], x["name"])
    with np.errstate(invalid="ignore", divide="ignore"):
        error = found.deviation / np.sqrt(found.seeds)
    dataset = xr.Dataset(
        {
            "objective": (dims, found.mean),
            "standard_error": (dims, error),
            "seeds": (dims, found.seeds),
            "diverged": (dims, found.diverged),
            "slowness": (dims, found.slowness),
            "loss": (dims, found.loss),
        },
        {axis["name"]: lattice(axis, asked["resolution"], asked["precision"]) for axis in (y, x)},
        {
            "x": x["name"], "y": y["name"], "x_scale": x["scale"], "y_scale": y["scale"],
            "objective": asked["objective"], "direction": asked["direction"], "precision": asked["precision"],
            "constants": json.dumps(asked["constants"]), "trainings": len(lanes.row), "map": str(directory),
        },
    )  # fmt: skip
    return dataset.assign({f"arrow_{name}": ("arrow", values) for name, values in read_arrows(directory).items()})


def lattice(axis: Mapping[str, Any], resolution: int, precision: str = "float64") -> np.ndarray:
    """Returns the values of an axis: evenly placed, in the logarithm where the scale is "log".

    Args:
        axis: `low`, `high` and `scale`.
        resolution: The cells across; there is one value more.
        precision: In what trainings compute: float64 numbers that it can hold are returned.

    Examples:
        >>> lattice({"low": 1e-4, "high": 1.0, "scale": "log"}, 4).round(6).tolist()
        [0.0001, 0.001, 0.01, 0.1, 1.0]
    """
    low, high, places = axis["low"], axis["high"], np.linspace(0.0, 1.0, resolution + 1)
    if axis["scale"] == "log":
        values = low * np.exp(places * np.log1p((high - low) / low))  # right to the last digits of a narrow range
    else:
        values = low + places * (high - low)
    values[0], values[-1] = low, high
    return values.astype(precision).astype(np.float64)


def shown_range(values: np.ndarray) -> tuple[float, float]:
    """Returns the ends of the colour scale: all but 2 % of the known values at either side.

    Examples:
        >>> shown_range(np.array([0.0, np.nan, 1.0])), shown_range(np.array([np.nan]))
        ((0.02, 0.98), (0.0, 1.0))
    """
    known = values[np.isfinite(values)]
    low, high = np.percentile(known, [2, 98]).tolist() if len(known) else (0.0, 1.0)
    return low, high


def filled(dataset: xr.Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns objective, share of diverged seeds, and slowness at every point, also where nothing was computed.

    There they are the mean of what is around: of the two ends of a side for its middle, of the four corners of a cell
    for its own, from the coarse cells to the fine ones. Points that diverged have no objective and count for none.

    Args:
        dataset: What `open_map` returned.
    """
    return (
        fill(dataset.objective.values, dataset.seeds.values > 0),
        fill(dataset.diverged.values, dataset.seeds.values > 0),
        fill(dataset.slowness.values, dataset.seeds.values > 0),
    )


def fill(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Returns a field with the mean of what is around wherever nothing is known.

    Args:
        values: `[n + 1, n + 1]` for a power of 2 n.
        known: Where they are known, NaN included.

    Examples:
        >>> corners = np.array([[0.0, np.nan, 2.0], [np.nan] * 3, [4.0, np.nan, np.nan]])
        >>> fill(corners, np.array([[True, False, True], [False] * 3, [True, False, True]])).tolist()
        [[0.0, 1.0, 2.0], [2.0, 2.0, 2.0], [4.0, 4.0, nan]]
    """
    found, size = values.copy(), len(values) - 1
    while size >= 2:
        half, grid = size // 2, found[::size, ::size]
        ends, middles = slice(0, None, size), slice(half, None, size)
        between = (
            ((ends, middles), _mean(grid[:, :-1], grid[:, 1:])),
            ((middles, ends), _mean(grid[:-1], grid[1:])),
            ((middles, middles), _mean(grid[:-1, :-1], grid[:-1, 1:], grid[1:, :-1], grid[1:, 1:])),
        )
        for place, mean in between:
            found[place] = np.where(known[place], found[place], mean)
        size = half
    return found


def _mean(*around: np.ndarray) -> np.ndarray:
    values = np.stack(around)
    there = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(there, values, 0.0).sum(0) / np.where(there.any(0), there.sum(0), np.nan)


def best(dataset: xr.Dataset) -> xr.Dataset | None:
    """Returns the point with the best objective, of those with several seeds by what is sure of it; None without one.

    Its mean less the standard error decides, with the deviation over seeds of the whole map, so that one lucky seed
    does not win over many good ones.

    Args:
        dataset: What `open_map` returned.
    """
    sign = 1.0 if dataset.attrs["direction"] == "max" else -1.0
    seeds = np.maximum(dataset.seeds.values, 1)
    squares = np.square(dataset.standard_error.values) * seeds
    deviation = np.sqrt(np.nanmean(squares)) if np.isfinite(squares).any() else 0.0
    score = sign * dataset.objective.values - deviation / np.sqrt(seeds)
    if np.isnan(score).all():
        return None
    row, column = np.unravel_index(np.nanargmax(score), score.shape)
    return dataset.isel({dataset.attrs["y"]: row, dataset.attrs["x"]: column})


def window(
    dataset: xr.Dataset, factor: float, at: str | tuple[float, float] = "best"
) -> dict[str, tuple[float, float]]:
    """Returns the ends of both numbers in a narrower window of a map, to map it again.

    Args:
        dataset: What `open_map` returned.
        factor: How many times narrower, above 1.
        at: The middle: "best"; "edge", where most of the border between trained and diverged is in the window; or a
            point `(x, y)`.

    Returns:
        Low and high by name. A window that would stick out is moved inside.

    Raises:
        ValueError: The factor is not above 1, the point is outside of the map, or there is no such point.
    """
    if not factor > 1:
        raise ValueError(f"zoom: got a factor of {factor:g}; expected one above 1, such as 8.")
    names, middle = (dataset.attrs["x"], dataset.attrs["y"]), _middle(dataset, factor, at)
    ends = {}
    for name, side, share in zip(names, ("x", "y"), middle, strict=True):
        values, log = dataset[name].values, dataset.attrs[f"{side}_scale"] == "log"
        start = min(max(share - 0.5 / factor, 0.0), 1.0 - 1.0 / factor)
        low, high = values[0], values[-1]

        def value(share: float, low: float = low, high: float = high, log: bool = log) -> float:
            return float(low * np.exp(share * np.log1p((high - low) / low)) if log else low + share * (high - low))

        ends[name] = (value(start), value(start + 1.0 / factor))
    return ends


def _middle(dataset: xr.Dataset, factor: float, at: str | tuple[float, float]) -> tuple[float, float]:
    """Where the window's middle lies, in shares of the axes."""
    side = dataset.sizes[dataset.attrs["x"]] - 1
    names = (dataset.attrs["x"], dataset.attrs["y"])
    if at == "best":
        point = best(dataset)
        if point is None:
            raise ValueError("zoom: got at='best', but nothing trained; expected a map with a trained point.")
        at = tuple(point[name].item() for name in names)  # type: ignore[assignment]
    elif at == "edge":
        if factor > side:
            raise ValueError(
                f"zoom: got at='edge' with a factor of {factor:g}; expected at most {side}, since between its finest "
                "cells a map does not know where the edge is. Zoom twice."
            )
        over = filled(dataset)[1] >= 0.5
        corners = np.stack([over[:-1, :-1], over[:-1, 1:], over[1:, :-1], over[1:, 1:]])
        border = corners.any(0) & ~corners.all(0)
        if not border.any():
            raise ValueError(
                "zoom: got at='edge', but the map has none; expected trained points beside diverged ones. Map a wider "
                "range."
            )
        width = max(1, round(side / factor))
        sums = np.pad(border.astype(int), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
        inside = sums[width:, width:] - sums[width:, :-width] - sums[:-width, width:] + sums[:-width, :-width]
        row, column = np.unravel_index(np.argmax(inside), inside.shape)
        return float(column + width / 2) / side, float(row + width / 2) / side
    elif isinstance(at, str):
        raise ValueError(f"zoom: got at={at!r}; expected 'best', 'edge' or a point (x, y).")
    shares = []
    for name, axis, value in zip(names, ("x", "y"), at, strict=True):
        low, high = dataset[name].values[[0, -1]]
        if not low <= value <= high:
            raise ValueError(
                f"zoom: got {name}={value:g}; expected a point of the map, from {low:g} to {high:g}. Zoom into a map "
                "that has it."
            )
        log = dataset.attrs[f"{axis}_scale"] == "log"
        shares.append(float(np.log(value / low) / np.log(high / low) if log else (value - low) / (high - low)))
    return shares[0], shares[1]


# -- files -----------------------------------------------------------------------------------------------------


def read_asked(directory: Path) -> dict[str, Any]:
    """Reads what was asked of a map.

    Raises:
        FileNotFoundError: The directory holds no map.
        ValueError: Another version wrote it.
    """
    try:
        asked = json.loads((directory / ASKED).read_text())
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(
            f"got {str(directory)!r}, which holds no map; expected a directory with {ASKED}. Make one with "
            "jaxopt-intro map."
        ) from None
    if asked.get("format") != FORMAT:
        raise ValueError(
            f"{directory / ASKED} has format {asked.get('format')!r}; expected {FORMAT}. It was written by another "
            "version: upgrade with pip install --upgrade jaxopt_intro."
        )
    return asked


def write_asked(directory: Path, asked: Mapping[str, Any]) -> None:
    """Writes what was asked of a map."""
    unfinished = directory / f"{ASKED}.tmp"
    unfinished.write_text(json.dumps({"format": FORMAT, **asked}, indent=2) + "\n")
    unfinished.replace(directory / ASKED)


def read_lanes(directory: Path) -> Lanes:
    """Reads the trainings of a map; a new one has none."""
    path = directory / LANES
    if not path.exists():
        return no_lanes()
    with np.load(path, allow_pickle=False) as stored:
        return Lanes(*(stored[name] for name in Lanes._fields))


def write_lanes(directory: Path, lanes: Lanes) -> None:
    """Writes the trainings of a map."""
    _write(directory / LANES, lanes._asdict())


def read_arrows(directory: Path) -> dict[str, np.ndarray]:
    """Reads the arrows of a map; without any there are none."""
    path = directory / ARROWS
    if not path.exists():
        return {}
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def write_arrows(directory: Path, arrows: Mapping[str, np.ndarray]) -> None:
    """Writes the arrows of a map."""
    _write(directory / ARROWS, arrows)


def _write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    unfinished = path.with_suffix(".tmp")
    with unfinished.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
