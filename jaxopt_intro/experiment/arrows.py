"""Arrows of a map: hypergradients of the validation loss, and which of them are to be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_intro.experiment.grouping import tracing
from jaxopt_intro.experiment.points import Points, Problem
from jaxopt_intro.experiment.refining import COARSE
from jaxopt_intro.results.maps import Fields, lattice
from jaxopt_intro.sweeps.population import over_lanes
from jaxopt_intro.training import hypergradient
from jaxopt_intro.typing import Array, Batch, Hparams, Training

LIMIT = 10.0
"""The largest slope that is believed: of the loss by a logarithm, or by a linear number over its largest size."""
_ASIDE = 0.1  # a direction with less than this share across an axis is along the other one


def arrows(of: Problem, points: Points, asked: Mapping[str, Any], found: Fields, seed: int) -> dict[str, np.ndarray]:
    """Computes hypergradients at every second inner point of the coarse lattice, and judges them.

    Args:
        of: What every point trains.
        points: For the width.
        asked: Of the map: `x`, `y`, `resolution`, `precision`, `constants`.
        found: What the map knows, at least of the coarse lattice.
        seed: Of the trainings that are differentiated.

    Returns:
        For each arrow `x`, `y`, where it is; `right`, `up`, minus the loss's derivative by the share of the axis; and
        `refused`, a reason or "".

    Raises:
        ValueError: The training cannot be differentiated forward.
    """
    stride = max(1, asked["resolution"] // COARSE)
    inner = np.arange(stride, asked["resolution"], 2 * stride)
    rows, columns = (g.ravel() for g in np.meshgrid(inner, inner, indexing="ij"))
    x, y = (lattice(asked[side], asked["resolution"], asked["precision"]) for side in ("x", "y"))
    hparams = {asked["x"]["name"]: x[columns], asked["y"]["name"]: y[rows]}
    slopes = _slopes(of, points, hparams, asked["constants"], seed)
    right, up, steep = [], [], []
    for side, slope, here in (("x", slopes[0], x[columns]), ("y", slopes[1], y[rows])):
        low, high, log = asked[side]["low"], asked[side]["high"], asked[side]["scale"] == "log"
        across = here * np.log1p((high - low) / low) if log else high - low
        (right if side == "x" else up).append(-slope * across)
        steep.append(np.abs(slope * (here if log else max(abs(low), abs(high)))))
    refused = judged(found.loss, rows, columns, right[0], up[0], np.maximum(*steep), stride)
    return {"x": x[columns], "y": y[rows], "right": right[0], "up": up[0], "refused": refused}


def judged(
    loss: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    right: np.ndarray,
    up: np.ndarray,
    steep: np.ndarray,
    stride: int,
) -> np.ndarray:
    """Returns why each arrow is not to be trusted, or "".

    One that is to be trusted starts where the training did not diverge, is finite, no steeper than `LIMIT`, and leads
    downhill on the map too: the differences to the neighbours on its side, weighted by its direction, are below 0.

    Args:
        loss: `[n + 1, n + 1]`, NaN where it diverged.
        rows: Where the arrows are.
        columns: Where the arrows are.
        right: Minus the derivative across.
        up: Minus the derivative upwards.
        steep: The larger of the two slopes, by a logarithm.
        stride: How far away the neighbours are.

    Examples:
        A loss that falls to the right, and three arrows from the middle: along, against, and too steep.

        >>> loss, at = np.array([[3.0, 2.0, 1.0]] * 3), np.ones(3, int)
        >>> judged(loss, at, at, np.array([1.0, -1.0, 1.0]), np.zeros(3), np.array([1.0, 1.0, 99.0]), 1).tolist()
        ['', 'not downhill on the map', 'steeper than 10']
    """
    here, size = loss[rows, columns], np.hypot(right, up)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = (np.nan_to_num(part / size, posinf=0.0, neginf=0.0) for part in (right, up))
        across, above = (np.where(np.abs(share) < _ASIDE, 0.0, share) for share in shares)
    beside = loss[rows, columns + stride * np.sign(across).astype(int)] - here
    over = loss[rows + stride * np.sign(above).astype(int), columns] - here
    change = np.abs(across) * np.where(across == 0, 0.0, beside) + np.abs(above) * np.where(above == 0, 0.0, over)
    downhill, calm = change < 0, steep <= LIMIT
    reasons = [np.isnan(here), ~np.isfinite(size), ~calm, ~downhill]
    words = ["diverged", "not finite", f"steeper than {LIMIT:g}", "not downhill on the map"]
    return np.select(reasons, words, "")


def differentiable(of: Problem, points: Points, asked: Mapping[str, Any]) -> None:
    """Traces what arrows need, before any point is trained.

    Args:
        of: What every point trains.
        points: For the width.
        asked: Of the map: `x`, `y` and `constants`.

    Raises:
        ValueError: The training cannot be differentiated forward.
    """
    names = [asked["x"]["name"], asked["y"]["name"]]
    seeds, numbers = _lanes(of, points, {name: np.ones(1) for name in names}, np.zeros(points.lanes, int), 0)
    try:
        with tracing("the arrows"), points.using():
            jax.eval_shape(_program(of, points, names, asked["constants"]), seeds, numbers, of.train, of.valid, of.rows)
    except ValueError as error:
        raise ValueError(f"{error} Without arrows it can be mapped: arrows=False (--no-arrows).") from error


def _slopes(
    of: Problem, points: Points, hparams: Mapping[str, np.ndarray], constants: Mapping[str, float], seed: int
) -> np.ndarray:
    """`[2, arrows]`, the derivatives of the validation loss by x and y."""
    count, found = len(next(iter(hparams.values()))), []
    with tracing("the arrows"), points.using():
        program = jax.jit(_program(of, points, list(hparams), constants))
        for first in range(0, count, points.lanes):
            chosen = np.minimum(np.arange(first, first + points.lanes), count - 1)
            found.append(program(*_lanes(of, points, hparams, chosen, seed), of.train, of.valid, of.rows))
    return np.concatenate([np.asarray(slopes, np.float64) for slopes in found])[:count].T


def _lanes(of: Problem, points: Points, hparams: Mapping[str, np.ndarray], chosen: np.ndarray, seed: int) -> Any:
    """Seeds and numbers of a tile on each device."""
    numbers = {name: values[chosen].astype(_wide()) for name, values in hparams.items()}
    return jax.device_put((np.full(points.lanes, seed, np.uint32), numbers), of.devices.lanes)


def _wide() -> str:
    return "float64" if jax.config.jax_enable_x64 else "float32"  # type: ignore[attr-defined]


def _program(of: Problem, points: Points, names: Sequence[str], constants: Mapping[str, float]) -> Any:
    """`(seeds, numbers, train, valid, rows) -> [lanes, 2]`, over all devices."""

    def one(seed: Array, numbers: Hparams, train: Batch, valid: Batch, rows: Array) -> Array:
        rest = {name: jnp.asarray(value, _wide()) for name, value in constants.items()}

        def step(state: Any, chosen: Array, own: Hparams) -> Any:
            batch = jax.tree.map(lambda x: jnp.take(x, chosen, axis=0, mode="clip"), train)
            return of.training.step(state, batch, {**rest, **own})

        def start(own: Hparams) -> Any:
            return of.training.init(jax.random.key(seed), {**rest, **own})

        def loss(state: Any, own: Hparams) -> Array:
            return of.evaluate(state, valid, {**rest, **own})["loss"]

        _, slopes = hypergradient(Training(start, step), start, rows, loss, numbers, mode="forward")
        return jnp.stack([slopes[name] for name in names])

    def tile(seeds: Array, numbers: Hparams, train: Batch, valid: Batch, rows: Array) -> Array:
        return over_lanes(one, points.width, (0, 0, None, None, None))(seeds, numbers, train, valid, rows)

    return of.devices.over(tile, copies=3)
