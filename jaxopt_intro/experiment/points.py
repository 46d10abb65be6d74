"""Trains points of a map: whole trainings side by side in one compiled program of a fixed width."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_intro.data import Dataset, batching
from jaxopt_intro.experiment.assembling import rounds_of
from jaxopt_intro.experiment.grouping import Program
from jaxopt_intro.models import layers
from jaxopt_intro.results.maps import Lanes
from jaxopt_intro.sweeps import planning, sharding
from jaxopt_intro.sweeps.planning import Programs
from jaxopt_intro.sweeps.population import make_tile
from jaxopt_intro.sweeps.sharding import Devices
from jaxopt_intro.typing import Array, Batch, Hparams, Training

USUAL_WIDTH, SHORT = 32, 200_000  # the width of a map that trains fewer steps than SHORT, which is not worth measuring
RISE = 0.5  # a training whose last losses lie by more than this share above its first one has diverged
LATE = 20  # the last steps, whose mean loss says whether a training trained; at most a quarter of all


class Problem(NamedTuple):
    """What every point of a map trains.

    Attributes:
        training: Of one member, in the map's precision.
        evaluate: `(state, data, hparams) -> metrics` of one member.
        average: As in `Assembly`.
        objective: The metric that decides.
        direction: "max" or "min".
        train: The training split, on every device.
        valid: The validation split, on every device.
        rows: `[steps, batch]`, the rows of every batch, which all points share.
        devices: Those that train a tile each.
        names: Of all numbers, x first, then y.
    """

    training: Training
    evaluate: Callable[..., dict[str, Array]]
    average: Callable[..., Any]
    objective: str
    direction: str
    train: Batch
    valid: Batch
    rows: np.ndarray
    devices: Devices
    names: list[str]


class Points(NamedTuple):
    """Trains points.

    Attributes:
        width: How many side by side on a device.
        lanes: How many at once, on all devices.
        using: `() -> context` in which programs of this width are traced: the ways of its convolutions.
        convolutions: These ways by their words.
        train: `(seeds, hparams) -> {name: values}`, of any number of points.
        compile_seconds: To measure and compile.
    """

    width: int
    lanes: int
    using: Callable[[], Any]
    convolutions: dict[str, str]
    train: Callable[[np.ndarray, Mapping[str, np.ndarray]], dict[str, np.ndarray]]
    compile_seconds: float


def problem(
    program: Program, dataset: Dataset, objective: str, direction: str, names: list[str], precision: str
) -> Problem:
    """Makes what every point trains, and puts its data on the devices.

    Args:
        program: The one that all points share.
        dataset: Its data.
        objective: The metric that decides.
        direction: "max" or "min".
        names: Of all numbers.
        precision: "float32" or "float64", of the parameters and the optimizer's state.
    """
    experiment, assembly = program.experiment, program.assembly
    devices = Devices(len(sharding.available()))
    train, valid = jax.device_put((dataset.train, dataset.valid), devices.copies)
    made = assembly.training if precision == "float32" else _in_float64(assembly.training)
    rows = _rows(experiment, dataset)
    return Problem(made, assembly.evaluate, assembly.average, objective, direction, train, valid, rows, devices, names)


def ready(
    of: Problem,
    count: int,
    width: int | None,
    notify: Callable[[str], None],
    known: Mapping[str, str] | None = None,
) -> Points:
    """Compiles the program that trains points, at a width that is measured unless it is given.

    Args:
        of: What they train.
        count: About how many there will be.
        width: How many side by side on a device.
        notify: Told in words what is going on.
        known: The ways of convolutions that were decided before: others would give other last digits.

    Raises:
        MemoryError: Not even one fits.
    """
    begin = time.perf_counter()
    watched = of.training._replace(step=_watched(of.training.step, len(of.rows)))
    tile = functools.partial(
        make_tile, watched, of.evaluate, objective=of.objective, direction=of.direction, average=of.average
    )
    steps, count = len(of.rows), max(count, of.devices.count)
    programs = Programs(
        lambda width: tile(width=width), of.names, of.train, of.valid, of.rows.shape[1], of.devices,
        member_steps=float(count * steps), known=known, notify=notify,
    )  # fmt: skip
    if width is None and count * steps < SHORT:
        width = USUAL_WIDTH
    elif width is None:
        probe = functools.partial(_probe, programs, of)
        width = planning.choose(
            programs, stages=[(count, steps)], round_steps=steps, probe=probe, devices=of.devices.count, notify=notify
        ).width
    notify(f"compiling {width * of.devices.count} side by side")
    convolutions = programs.convolutions(width)

    def whole(seeds: Array, hparams: Hparams, train: Batch, valid: Batch, rows: Array) -> dict[str, Array]:
        made = tile(width=width)
        lanes, sums = made.segment(made.init(seeds, hparams), hparams, train, rows)
        _, metrics = made.validate(lanes, hparams, valid, train, jnp.int32(1))
        watched = {name: sums[name] for name in ("steps", "loss", "first", "last", "inverse")}
        return {"objective": metrics[of.objective], "valid_loss": metrics["loss"], **watched}

    lanes = width * of.devices.count
    with layers.using(convolutions):
        shapes = jax.ShapeDtypeStruct((lanes,), "uint32"), _numbers(of, np.zeros((len(of.names), lanes)))
        compiled = jax.jit(of.devices.over(whole, copies=3)).lower(*shapes, of.train, of.valid, of.rows).compile()

    def train(seeds: np.ndarray, hparams: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        running = []
        for start in range(0, len(seeds), lanes):  # the last lanes are trained again to fill a tile
            chosen = np.minimum(np.arange(start, start + lanes), len(seeds) - 1)
            numbers = _numbers(of, np.stack([hparams[name][chosen] for name in of.names]))
            running.append(compiled(seeds[chosen].astype(np.uint32), numbers, of.train, of.valid, of.rows))
        found = {name: np.concatenate([np.asarray(one[name]) for one in running]) for name in running[0]}
        return {name: values[: len(seeds)] for name, values in found.items()}

    ways = {choice.what: choice.name for choice in convolutions.choices}
    return Points(width, lanes, lambda: layers.using(convolutions), ways, train, time.perf_counter() - begin)


def lanes_of(points: np.ndarray, seeds: np.ndarray, found: Mapping[str, np.ndarray], steps: int) -> Lanes:
    """Returns what trainings gave as lanes of a map.

    Args:
        points: `[lanes, 2]`, row and column.
        seeds: `[lanes]`.
        found: What `Points.train` gave.
        steps: Of each training.
    """
    done = {name: np.asarray(values, np.float64) for name, values in found.items()}
    first, last = done["first"], done["last"]
    # Clearly above: what hardly trained has losses of other batches at both ends, and has not diverged.
    diverged = (done["steps"] < steps) | ~(last - first < RISE * np.abs(first)) | ~np.isfinite(done["valid_loss"])
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        slowness = np.where(diverged, done["inverse"] * first, done["loss"] / first) / steps
    rows, columns = points.astype(np.int32).T
    slowness = np.clip(np.nan_to_num(slowness, posinf=1e30), 0.0, 1e30)
    return Lanes(rows, columns, seeds.astype(np.int32), done["objective"], done["valid_loss"], slowness, diverged)


def _rows(experiment: Any, dataset: Dataset) -> np.ndarray:
    steps, count = sum(rounds_of(experiment, dataset)), len(jax.tree.leaves(dataset.train)[0])
    epochs = -(-steps // (count // experiment.step_size))
    order = functools.partial(batching.epoch_indices, count, experiment.step_size, seed=experiment.data_seed)
    return np.concatenate([order(epoch=epoch) for epoch in range(epochs)])[:steps]


def _watched(step: Callable[..., Any], steps: int) -> Callable[..., Any]:
    """A step whose info has the loss where it counts in place of the metrics: first, last, and inverse."""
    late = min(LATE, max(1, steps // 4))

    def watched(state: Any, batch: Batch, hparams: Hparams) -> Any:
        after, info = step(state, batch, hparams)
        loss = info.loss
        own = {
            "first": jnp.where(state.step == 0, loss, 0.0),
            "last": jnp.where(state.step >= steps - late, loss, 0.0) / late,
            "inverse": 1.0 / jnp.maximum(loss, 1e-30),
        }
        return after, info._replace(metrics=own)

    return watched


def _in_float64(training: Training) -> Training:
    """A training whose parameters, and whatever else it carries, are float64 from the start: as drawn in float32."""

    def wide(leaf: Any) -> Any:
        return leaf.astype(jnp.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return training._replace(init=lambda key, hparams: jax.tree.map(wide, training.init(key, hparams)))


def _numbers(of: Problem, values: np.ndarray) -> dict[str, Any]:
    """A lane each, in the widest type that JAX computes in now; laid out over the devices."""
    wide = "float64" if jax.config.jax_enable_x64 else "float32"  # type: ignore[attr-defined]
    return jax.device_put({n: row.astype(wide) for n, row in zip(of.names, values, strict=True)}, of.devices.lanes)


def _probe(programs: Programs, of: Problem, width: int, length: int) -> float:
    (lanes, hparams), segment = programs.blank(width), programs.segment(width, length)
    seconds: list[float] = []
    while len(seconds) < 2 or (len(seconds) < 5 and sum(seconds) < planning.PROBE_SECONDS):
        begin = time.perf_counter()
        lanes, sums = segment(lanes, hparams, of.train, of.rows[:length])
        jax.block_until_ready(sums)
        seconds.append(time.perf_counter() - begin)
    return min(seconds)
