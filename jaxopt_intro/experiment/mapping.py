"""`landscape`: a map of the objective over two numbers, which looks where it is steep or uncertain."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray

from jaxopt_intro import journal
from jaxopt_intro.data import Dataset
from jaxopt_intro.experiment import files, grouping, refining
from jaxopt_intro.experiment.arrows import arrows as arrows_of
from jaxopt_intro.experiment.arrows import differentiable
from jaxopt_intro.experiment.asking import Experiment, to_mapping
from jaxopt_intro.experiment.assembling import direction_of, rounds_of
from jaxopt_intro.experiment.checking import comparable
from jaxopt_intro.experiment.grouping import Program, Staged
from jaxopt_intro.experiment.points import Points, Problem, lanes_of, problem, ready
from jaxopt_intro.experiment.running import new_directory
from jaxopt_intro.optimizers import METHODS
from jaxopt_intro.results import maps
from jaxopt_intro.results.maps import Lanes
from jaxopt_intro.sweeps import executables
from jaxopt_intro.sweeps.space import Space

ROUNDS = 24  # about how often a map looks at what it knows
STEEP = 0.02  # corners that differ by less than this share of the range are alike
PRECISIONS = ("float32", "float64")
Listener = Callable[[dict[str, Any]], None]


class Asked(NamedTuple):
    """A map that can be computed.

    Attributes:
        experiment: What every point trains.
        dataset: Its data.
        program: The one that all points share.
        record: What was asked, as `map.json` has it, but for the width and the size of a round.
    """

    experiment: Experiment
    dataset: Dataset
    program: Program
    record: dict[str, Any]


def landscape(
    experiment: Experiment,
    space: Space,
    directory: str | os.PathLike[str] | None = None,
    *,
    resolution: int = 64,
    points: int | None = None,
    replicates: int = 1,
    arrows: bool = True,
    precision: str = "float32",
    width: int | None = None,
    listener: Listener | None = None,
) -> xarray.Dataset:
    """Maps the objective over two numbers, finely where it is steep; an existing map goes on where it stopped.

    A map begins with 17 x 17 points. Then, round after round, it halves the cells where most of the picture is at
    stake (`experiment.refining.steepest`), and gives another seed to points that cannot be told from the best, until
    its budget is spent or nothing is steep. Every point is a whole training, many of them side by side in one compiled
    program; what a point gives does not depend on which others were computed, nor on the number of devices.

    Arrows point downhill: they are hypergradients of the validation loss, and each says whether it is to be trusted.

    Args:
        experiment: What all points have in common.
        space: Two numbers with a range, `uniform` or `log_uniform`: the first is x, the second y; others are constants.
        directory: Where the map is kept; None makes a directory under `runs/`. The one of a map that was begun goes on.
        resolution: The finest cells across: a power of 2, at least 2. There is one point more on each side.
        points: At most so many trainings; None: a quarter of all points.
        replicates: The most seeds of a point.
        arrows: Whether to compute arrows.
        precision: "float32", or "float64" for windows so narrow that neighbours are the same float32 number.
        width: How many points run side by side on a device; None: 32 for a map of seconds, for a longer one measured.
            Equal widths give equal bits.
        listener: Called with `{"type": "map", "done", "total", "text"}` as it goes on.

    Returns:
        The map, as `results.open_map(directory)` gives it; `results.plots.landscape` draws it.

    Raises:
        ValueError: Something asked is impossible; nothing has run yet.
        jaxopt_intro.journal.Locked: Another process writes this map.

    References:
        Sohl-Dickstein 2024, The boundary of neural network trainability is fractal (arXiv 2402.06184).

    Examples:
        >>> import tempfile
        >>> from jaxopt_intro import Experiment, Space, log_uniform
        >>> experiment = Experiment(data="digits", model="linear", optimizer="sgd", penalty="l2", epochs=1)
        >>> space = Space(learning_rate=log_uniform(1e-3, 1e3), l2=log_uniform(1e-4, 1.0))
        >>> found = landscape(experiment, space, tempfile.mkdtemp(), resolution=4, arrows=False, width=25)
        >>> found.objective.dims, found.attrs["trainings"]
        (('l2', 'learning_rate'), 25)
    """
    with jax.enable_x64(precision == "float64"), executables.kept_on_disk():
        asked = _asked(experiment, space, resolution, replicates, arrows, precision)
        budget = _budget(points, resolution)
        directory = Path(directory) if directory is not None else new_directory(asked.dataset, "-map")
        listener = listener or (lambda record: None)
        with journal.writing(directory):
            _same_map(directory, asked.record)
            if not (directory / maps.ASKED).exists():  # first, so that what is begun can go on, and is no other map's
                maps.write_asked(directory, {**asked.record, "budget": budget})
            files.write(directory / files.NAME, experiment, space.asked())
            listener({"type": "directory", "path": str(directory)})
            _compute(directory, asked, budget, width, listener)
    return maps.open_map(directory)


def zoomed(found: xarray.Dataset, space: Space, factor: float, at: str | tuple[float, float] = "best") -> Space:
    """Returns the space of a narrower window of a map.

    Args:
        found: The map.
        space: Its space.
        factor: How many times narrower, above 1.
        at: The middle: "best", "edge" (where most of the border between trained and diverged is), or a point `(x, y)`.

    Raises:
        ValueError: As `results.maps.window`.
    """
    ends = maps.window(found, factor, at)
    numbers = {name: d._replace(arguments=ends[name]) if name in ends else d for name, d in space.numbers.items()}
    return Space({**numbers, **space.choices})


def _compute(directory: Path, asked: Asked, budget: int, width: int | None, listener: Listener) -> None:
    lanes, record = maps.read_lanes(directory), asked.record
    before = maps.read_asked(directory) if (directory / maps.ASKED).exists() else {}
    if width is not None and before.get("width", width) != width:
        raise ValueError(
            f"got width={width}, but this map's is {before['width']} and frozen; expected the same, so that results "
            "stay bitwise equal. Leave width out."
        )
    drawn = not record["arrows"] or (directory / maps.ARROWS).exists()
    if "round" in before and drawn and not len(next_round(lanes, before, budget)[0]):
        return

    def notify(text: str) -> None:
        listener({"type": "map", "done": len(lanes.row), "total": budget, "text": text})

    names = [record["x"]["name"], record["y"]["name"], *record["constants"]]
    of = problem(
        asked.program, asked.dataset, *direction_of(asked.experiment, asked.dataset.info), names, record["precision"]
    )
    found = ready(of, budget, before.get("width", width), notify, before.get("convolutions"))
    if not drawn:
        differentiable(of, found, record)
    size = found.lanes * max(1, -(-budget // (ROUNDS * found.lanes)))
    settled = {"width": found.width, "round": before.get("round", size), "convolutions": found.convolutions}
    record = {**record, **settled, "budget": budget}
    maps.write_asked(directory, record)
    while len((chosen := next_round(lanes, record, budget))[0]):
        notify("computing points")
        own = lanes_of(*chosen, _train(of, found, record, *chosen), len(of.rows))
        lanes = Lanes(*(np.concatenate(pair) for pair in zip(lanes, own, strict=True)))
        maps.write_lanes(directory, lanes)
    if not drawn:
        notify("computing arrows")
        fields = maps.fields(lanes, record["resolution"])
        maps.write_arrows(directory, arrows_of(of, found, record, fields, record["seed"]))
    notify("done")


def next_round(lanes: Lanes, record: Mapping[str, Any], budget: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the points to train next, and their seeds; a function of what is known alone.

    Up to half of a round are further seeds, more only where nothing is steep.

    Args:
        lanes: The trainings so far.
        record: What was asked: `resolution`, `replicates`, `direction`, `seed`, and the size of a `round`.
        budget: At most so many trainings in all.

    Examples:
        >>> record = {"resolution": 2, "replicates": 1, "direction": "max", "seed": 0, "round": 9}
        >>> points, seeds = next_round(maps.no_lanes(), record, budget=9)
        >>> points.shape, seeds.tolist()
        ((9, 2), [0, 0, 0, 0, 0, 0, 0, 0, 0])
    """
    first, left = refining.coarse(record["resolution"]), budget - len(lanes.row)
    if not len(lanes.row):
        return first, np.full(len(first), record["seed"])
    found, size = maps.fields(lanes, record["resolution"]), min(record["round"], left)
    if size <= 0:
        return first[:0], np.zeros(0, int)
    steep = refining.steepest(found.mean, found.diverged > 0, size, tolerance=STEEP, known=found.seeds > 0)
    several = found.seeds > 1
    deviation = float(np.sqrt(np.nanmean(np.square(found.deviation[several])))) if _known(found.deviation) else np.nan
    sign = 1.0 if record["direction"] == "max" else -1.0
    again = refining.contested(found.mean, found.seeds, deviation, size, sign=sign, most=record["replicates"])
    again = again[: max(size // 2, size - len(steep))]
    points = np.concatenate([again, steep[: size - len(again)]])
    return points, record["seed"] + found.seeds[points[:, 0], points[:, 1]]


def _known(values: np.ndarray) -> bool:
    return bool(np.isfinite(values).any())


def _train(
    of: Problem, found: Points, record: Mapping[str, Any], points: np.ndarray, seeds: np.ndarray
) -> dict[str, np.ndarray]:
    value = functools.partial(maps.lattice, resolution=record["resolution"], precision=record["precision"])
    hparams = {
        record["x"]["name"]: value(record["x"])[points[:, 1]],
        record["y"]["name"]: value(record["y"])[points[:, 0]],
    }
    return found.train(seeds, {**{n: np.full(len(seeds), v) for n, v in record["constants"].items()}, **hparams})


# -- what is asked ---------------------------------------------------------------------------------------------


def _asked(
    experiment: Experiment, space: Space, resolution: int, replicates: int, arrows: bool, precision: str
) -> Asked:
    _check(experiment, resolution, replicates, precision)
    x, y = _axes(space)
    for axis in (x, y):
        _tell_apart(axis, resolution, precision)
    dataset = experiment.load_data()
    objective, direction = direction_of(experiment, dataset.info)
    trials = space.ends()
    staged, programs = grouping.stage(experiment, dataset, trials)
    _traced(staged, programs, x, y)
    comparable(objective, programs, trials)
    if arrows:
        _differentiable(experiment, staged[0], x, y)
    traced = {n: v for n, v in staged[0].trial.hparams.items() if n not in staged[0].fixed}  # a batch size may be one
    constants = {n: float(v) for n, v in traced.items() if n not in (x["name"], y["name"])}
    record = {
        "x": x, "y": y, "constants": constants, "choices": trials[0].labels, "resolution": resolution,
        "replicates": replicates, "arrows": arrows, "precision": precision, "seed": experiment.seed,
        "objective": f"valid_{objective}", "direction": direction, "steps": sum(rounds_of(experiment, dataset)),
        "experiment": to_mapping(experiment), "data": dataset.info.fingerprint, "program": staged[0].group,
    }  # fmt: skip
    return Asked(experiment, dataset, programs[staged[0].group], record)


def _check(experiment: Experiment, resolution: int, replicates: int, precision: str) -> None:
    whole = isinstance(resolution, int) and not isinstance(resolution, bool)
    if not whole or resolution < 2 or resolution & (resolution - 1):
        raise ValueError(f"map: got resolution={resolution!r}; expected a power of 2, such as 64.")
    if not isinstance(replicates, int) or isinstance(replicates, bool) or replicates < 1:
        raise ValueError(f"map: got replicates={replicates!r}; expected a whole number of at least 1.")
    if precision not in PRECISIONS:
        raise ValueError(f"map: got precision={precision!r}; expected 'float32' or 'float64'.")
    if experiment.stopping is not None:
        raise ValueError(
            f"map: got stopping={experiment.stopping!r}; expected none, since a map shows where trainings end. Leave "
            "it out."
        )
    if experiment.vary_batches:
        raise ValueError("map: got vary_batches; expected one order for all points, which share batches. Leave it out.")
    if precision == "float64" and experiment.compute_dtype is not None:
        raise ValueError(
            f"map: got precision='float64' with compute_dtype={experiment.compute_dtype!r}; expected one of them. "
            "Leave compute_dtype out."
        )


def _budget(points: int | None, resolution: int) -> int:
    first, every = len(refining.coarse(resolution)), (resolution + 1) ** 2
    if points is None:
        return max(first, every // 4)
    if not isinstance(points, int) or isinstance(points, bool) or points < first:
        raise ValueError(
            f"map: got points={points!r}; expected a whole number of at least {first}, the points that a map begins "
            "with."
        )
    return points


def _axes(space: Space) -> tuple[dict[str, Any], dict[str, Any]]:
    """The two numbers with a range, as `map.json` has them."""
    if not isinstance(space, Space):
        raise ValueError(f"map: got a {type(space).__name__}; expected a Space of two numbers with a range.")
    ranged = {name: d for name, d in space.numbers.items() if d.low != d.high}
    if len(ranged) != 2:
        got = ", ".join(ranged) or "none"
        raise ValueError(
            f"map: got {len(ranged)} numbers with a range ({got}); expected two, x and y, such as "
            "Space(learning_rate=log_uniform(1e-3, 10.0), l2=log_uniform(1e-6, 1.0)). Make others constants."
        )
    for name, choice in space.choices.items():
        if len(choice.labels) > 1:
            raise ValueError(f"map: got a choice of {len(choice.labels)} for {name}; expected one option. Choose one.")
    found = []
    for name, d in ranged.items():
        if d.kind not in ("uniform", "log_uniform"):
            raise ValueError(f"map: got {name} as {d.kind}; expected uniform or log_uniform, a range without steps.")
        scale = "log" if d.kind == "log_uniform" else "linear"
        found.append({"name": name, "low": float(d.low), "high": float(d.high), "scale": scale})
    return found[0], found[1]


def _tell_apart(axis: Mapping[str, Any], resolution: int, precision: str) -> None:
    """Refuses a window in which neighbours are the same number."""
    different = len(np.unique(maps.lattice(axis, resolution, precision)))
    if different <= resolution:
        mend = "precision='float64' (--float64)" if precision == "float32" else "a wider window, or a lower resolution"
        raise ValueError(
            f"map: got {axis['name']} from {axis['low']!r} to {axis['high']!r}, where {resolution + 1} points are only "
            f"{different} different {precision} numbers; expected that they differ. Use {mend}."
        )


def _traced(staged: list[Staged], programs: Mapping[str, Program], x: Mapping[str, Any], y: Mapping[str, Any]) -> None:
    compiled = staged[0].compiled
    for axis in (x, y):
        name = axis["name"]
        if name in compiled:
            raise ValueError(
                f"map: got {name}, which has to be compiled into the program ({compiled[name]}); expected a number "
                "that can be traced. Map another one, and this one by a sweep."
            )
        if staged[0].canonical[name] == "wrap.batches.batch_size":
            raise ValueError("map: got batch_size, which has steps; expected a number without. Sweep it instead.")
    if len(programs) > 1:  # the ends of a constant are one
        raise ValueError(f"map: got {len(programs)} programs; expected one. Choose one option of each choice.")


def _differentiable(experiment: Experiment, staged: Staged, x: Mapping[str, Any], y: Mapping[str, Any]) -> None:
    method = METHODS.get(experiment.optimizer) if isinstance(experiment.optimizer, str) else None
    if method is not None and "forward" not in method.modes:
        raise ValueError(
            f"map: got the optimizer {experiment.optimizer}, which cannot be differentiated forward; expected one that "
            "can, or no arrows. Pass arrows=False (--no-arrows)."
        )
    for axis in (x, y):
        if staged.canonical[axis["name"]].startswith("loss."):
            raise ValueError(
                f"map: got {axis['name']}, a number of the loss, whose values cannot be compared, so that arrows have "
                "no meaning; expected no arrows. Pass arrows=False (--no-arrows)."
            )


def _same_map(directory: Path, record: Mapping[str, Any]) -> None:
    """Refuses to mix two maps in one directory."""
    if (directory / "journal.jsonl").exists():
        raise ValueError(f"got {str(directory)!r}, which holds a sweep; expected a map's. Give another directory.")
    if not (directory / maps.ASKED).exists():
        if (directory / files.NAME).exists():
            raise ValueError(f"got {str(directory)!r}, which holds an experiment and no map. Give another directory.")
        return
    before, now = (_flat(own) for own in (maps.read_asked(directory), json.loads(json.dumps(record))))
    for name in now:
        if before.get(name) != now[name]:
            raise ValueError(
                f"the map {str(directory)!r} was asked with {name}={before.get(name)!r}; got {now[name]!r}; expected "
                "the same, since a directory holds one map. Give another directory."
            )


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """What makes a map what it is: the experiment's fields first, which say most of what differs."""
    fields = {name: value for name, value in record["experiment"].items() if name not in ("data_dir", "keep")}
    return {**fields, **{name: value for name, value in record.items() if name not in ("experiment", "arrows")}}
