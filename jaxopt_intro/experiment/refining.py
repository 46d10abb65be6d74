"""Where a map looks next: where it is steep, and seeds where the best cannot be told from its rivals. NumPy alone."""

from __future__ import annotations

import numpy as np

from jaxopt_intro.results.maps import shown_range

COARSE = 16  # so many cells across, of which every point is computed
SURE = 2.0  # so many standard errors apart, two settings are told apart
_FIRST_RIVALS = 8  # get a second seed while nothing is known of how seeds differ


def coarse(resolution: int) -> np.ndarray:
    """Returns the points that a map begins with: every corner of 16 x 16 cells.

    Args:
        resolution: The finest cells across, a power of 2.

    Returns:
        `[points, 2]`, row and column.

    Examples:
        >>> coarse(64)[:3].tolist(), len(coarse(64))
        ([[0, 0], [0, 4], [0, 8]], 289)
    """
    places = np.arange(0, resolution + 1, max(1, resolution // COARSE))
    return np.stack(np.meshgrid(places, places, indexing="ij"), -1).reshape(-1, 2)


def steepest(
    values: np.ndarray, diverged: np.ndarray, count: int, *, tolerance: float, known: np.ndarray | None = None
) -> np.ndarray:
    """Returns the points to compute next, of the cells where most of the picture is at stake.

    A cell is a square of known corners. At stake is its area times the spread of its corners, in shares of the range
    that is shown; a cell with trained and diverged corners counts as if it spanned that range. A cell is split by the
    middles of its sides and its own, which comes last, so that a cell that was split in part is open still.

    Args:
        values: `[n + 1, n + 1]` for a power of 2 n: NaN where nothing is known, or it diverged.
        diverged: Of the same shape, where it is known that it diverged.
        count: At most so many points.
        tolerance: A spread of less than this share of the range is not steep.
        known: Of the same shape, where it was computed; None: where there is a value, or it diverged.

    Returns:
        `[points, 2]`, row and column, those of the cell with most at stake first. None where nothing is steep.

    Examples:
        An edge between two halves; 9 x 9 points, of which those of the corners of 4 cells are known:

        >>> values, diverged = np.full((9, 9), np.nan), np.zeros((9, 9), bool)
        >>> values[::4, 0], values[::4, 4], diverged[::4, 8] = 0.5, 0.5, True
        >>> steepest(values, diverged, 5, tolerance=0.02).tolist()
        [[0, 6], [4, 6], [2, 4], [2, 8], [2, 6]]
    """
    known, size = ~np.isnan(values) | diverged if known is None else known, len(values) - 1
    low, high = shown_range(values)
    heights = np.clip(values, low, high) / max(high - low, 1e-30)
    stakes, places = [np.zeros(0)], [np.zeros((0, 3), int)]
    while size >= 2:
        spread = _spread(heights, diverged, known, size)
        middles = known[size // 2 :: size, size // 2 :: size]
        row, column = np.nonzero(~middles & (spread > tolerance))
        stakes.append(spread[row, column] * size**2)
        places.append(np.stack([row * size, column * size, np.full(len(row), size)], 1))
        size //= 2
    stake, place = np.concatenate(stakes), np.concatenate(places)
    points = _splitting(place[np.lexsort((*place.T, -stake))])
    flat = points[:, 0] * len(values) + points[:, 1]
    first = np.sort(np.unique(flat, return_index=True)[1])  # neighbours share the middles of their sides
    points = points[first]
    return points[~known[points[:, 0], points[:, 1]]][:count]


def contested(
    means: np.ndarray, seeds: np.ndarray, deviation: float, count: int, *, sign: float, most: int
) -> np.ndarray:
    """Returns the points that get another seed: the best, and those that cannot be told from it.

    Args:
        means: `[rows, columns]`, the mean over seeds; NaN where nothing is known, or it diverged.
        seeds: Of the same shape, of how many.
        deviation: The standard deviation over seeds, NaN while it is not known: then the 8 best get one.
        count: At most so many points.
        sign: 1 where more is better, -1 where less is.
        most: The most seeds of a point.

    Returns:
        `[points, 2]`, row and column, the one that may be the best first.

    Examples:
        Three points with two seeds each, and a deviation that leaves the second in doubt:

        >>> contested(np.array([[0.9, 0.85, 0.5]]), np.full((1, 3), 2), 0.04, 9, sign=1.0, most=4).tolist()
        [[0, 0], [0, 1]]
    """
    score = np.where(np.isnan(means), -np.inf, sign * means)
    error = np.nan_to_num(deviation) / np.sqrt(np.maximum(seeds, 1))
    leader = np.unravel_index(np.argmax(score - error), score.shape)
    if not np.isfinite(score[leader]):
        return np.zeros((0, 2), int)
    if np.isnan(deviation):
        doubtful = score >= np.sort(score, axis=None)[-min(_FIRST_RIVALS, score.size)]
    else:
        doubtful = score[leader] - score <= SURE * np.hypot(error, error[leader])
    rows, columns = np.nonzero(doubtful & (seeds < most) & np.isfinite(score))
    may_be = (score + SURE * error)[rows, columns]
    order = np.lexsort((columns, rows, -may_be))[:count]
    return np.stack([rows, columns], 1)[order]


def _spread(heights: np.ndarray, diverged: np.ndarray, known: np.ndarray, size: int) -> np.ndarray:
    """The spread of each cell's corners; 1 where trained ones are beside diverged ones, 0 where a corner is unknown."""
    values, over, there = _corners(heights, size), _corners(diverged, size), _corners(known, size)
    inside = np.where(np.isnan(values), -np.inf, values).max(0) - np.where(np.isnan(values), np.inf, values).min(0)
    mixed = over.any(0) & ~over.all(0)
    return np.where(there.all(0), np.where(mixed, 1.0, np.maximum(inside, 0.0)), 0.0)


def _corners(field: np.ndarray, size: int) -> np.ndarray:
    """`[4, cells, cells]`."""
    grid = field[::size, ::size]
    return np.stack([grid[:-1, :-1], grid[:-1, 1:], grid[1:, :-1], grid[1:, 1:]])


def _splitting(cells: np.ndarray) -> np.ndarray:
    """The five points that split each cell `(row, column, size)`, its middle last."""
    half = cells[:, 2] // 2
    offsets = np.array([[0, 1], [2, 1], [1, 0], [1, 2], [1, 1]])
    points = cells[:, None, :2] + offsets[None] * half[:, None, None]
    return points.reshape(-1, 2)
