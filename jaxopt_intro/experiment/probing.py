"""Probes of a tile: names to functions, functions to one program, its values into a dataset."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray

from jaxopt_intro.checks import known_name
from jaxopt_intro.experiment import grouping
from jaxopt_intro.sweeps.job import Group, Job, Member
from jaxopt_intro.sweeps.population import over_lanes, stack_hparams
from jaxopt_intro.sweeps.readying import Ready, indices
from jaxopt_intro.sweeps.tiles import End, padded
from jaxopt_intro.training import TrainState
from jaxopt_intro.training.probes import PROBES
from jaxopt_intro.typing import Batch, Hparams

Probes = Mapping[str, Callable[..., Any]]


class Measured(NamedTuple):
    """What was measured after a validation.

    Attributes:
        epoch: The validation, from 1.
        members: Trials and seeds.
        values: For each probe, a row for each member.
    """

    epoch: int
    members: list[tuple[str, int]]
    values: dict[str, np.ndarray]


def probes_of(asked: Mapping[str, Any] | Sequence[str] | None) -> dict[str, Callable[..., Any]]:
    """Returns the probes that names stand for, or that are given by name.

    Raises:
        ValueError: A name is unknown, or a probe is no function.

    Examples:
        >>> list(probes_of(["sharpness"])), list(probes_of({"mine": max}))
        (['sharpness'], ['mine'])
    """
    if isinstance(asked, str):
        asked = [asked]
    named = asked if isinstance(asked, Mapping) else {name: name for name in asked or ()}
    found = {n: PROBES[known_name(p, PROBES, "probe")] if isinstance(p, str) else p for n, p in named.items()}
    for name, probe in found.items():
        if not callable(probe):
            raise ValueError(
                f"probes: got {name}={probe!r}; expected a name of {', '.join(PROBES)} or a function (state, batch, "
                "hparams, *, training, evaluate) -> array."
            )
    return found


def check(probes: Probes, group: Group, batch: Batch) -> None:
    """Traces the probes, before anything is compiled.

    Args:
        probes: The probes.
        group: Whose training they measure.
        batch: The batch that they will be given.

    Raises:
        ValueError: One raises, or returns what is no array of numbers.
    """
    member = group.members[0]
    for name, probe in probes.items():
        with grouping.tracing(f"probe {name}"):
            hparams = {n: np.float32(v) for n, v in member.hparams.items()}
            state = jax.eval_shape(lambda h: group.training.init(jax.random.key(0), h), hparams)
            form = jax.eval_shape(_of_member({name: probe}, group), state, hparams, batch)[name]
        if not hasattr(form, "shape") or not jax.numpy.issubdtype(form.dtype, np.number):
            raise ValueError(f"probe {name}: got {form}; expected a number or an array of numbers. Return one array.")


def program(probes: Probes, ready: Ready) -> Callable[[End, Sequence[Member], Batch], dict[str, np.ndarray]]:
    """Returns a function that measures all probes of a tile in one compiled program; what has ended is NaN."""
    one = over_lanes(_of_member(probes, ready.group), ready.plan.width, (0, 0, None))
    compiled = jax.jit(ready.devices.over(one, copies=1))

    def measure(end: End, members: Sequence[Member], batch: Batch) -> dict[str, np.ndarray]:
        hparams = stack_hparams([m.hparams for m in padded(members, ready.lanes)])
        found = compiled(end.lanes.state, jax.device_put(hparams, ready.devices.lanes), batch)
        over = end.seen.failed | end.seen.stopped
        return {name: _without(np.asarray(value)[: len(members)], over) for name, value in found.items()}

    return measure


def first_batch(job: Job, group: Group) -> Batch:
    """Returns the batch that probes are given: the first one of the order that all seeds share."""
    rows = indices(job, group, 0, None)[0]
    return jax.tree.map(lambda x: x[rows], job.train)


def add(dataset: xarray.Dataset, probes: Probes, measured: Sequence[Measured]) -> xarray.Dataset:
    """Returns a dataset with what was measured, as `probe_NAME`; NaN where nothing was."""
    places = {name: {v: i for i, v in enumerate(dataset[name].values.tolist())} for name in ("trial", "seed", "epoch")}
    shape = tuple(dataset.sizes[name] for name in places)
    for name in probes:
        own = [m for m in measured if name in m.values]
        axes = own[0].values[name].shape[1:] if own else ()
        values = np.full((*shape, *axes), np.nan, np.float32)
        for record in own:
            epoch = places["epoch"][record.epoch]
            for (trial, seed), value in zip(record.members, record.values[name], strict=True):
                values[places["trial"][trial], places["seed"][seed], epoch] = value
        dims = (*places, *(f"probe_{name}_axis{i}" for i in range(len(axes))))
        dataset = dataset.assign({f"probe_{name}": (dims, values)})
    return dataset


def words(dataset: xarray.Dataset) -> Iterator[str]:
    """Yields a line for each probe and member: the first and the last that was measured, where it is one number.

    Examples:
        >>> values = ("trial", "seed", "epoch"), [[[np.nan, 2.0, 0.5]]]
        >>> list(words(xarray.Dataset({"probe_mine": values}, {"trial": ["a"], "seed": [0], "epoch": [1, 2, 3]})))
        ['mine of trial a, seed 0: 2 at validation 2, 0.5 at validation 3']
    """
    scalars = {str(n): v for n, v in dataset.data_vars.items() if str(n).startswith("probe_") and v.ndim == 3}
    for name, values in scalars.items():
        for trial, seed in itertools.product(dataset.trial.values.tolist(), dataset.seed.values.tolist()):
            known = values.sel(trial=trial, seed=seed).dropna("epoch")
            ends = sorted({0, known.size - 1}) if known.size else []
            said = [f"{known[i].item():.4g} at validation {known.epoch[i].item()}" for i in ends]
            yield f"{name.removeprefix('probe_')} of trial {trial}, seed {seed}: {', '.join(said) or 'no number'}"


def _of_member(probes: Probes, group: Group) -> Callable[[TrainState, Hparams, Batch], dict[str, Any]]:
    def measure(state: TrainState, hparams: Hparams, batch: Batch) -> dict[str, Any]:
        functions = {"training": group.training, "evaluate": group.evaluate}
        return {name: probe(state, batch, hparams, **functions) for name, probe in probes.items()}

    return measure


def _without(values: np.ndarray, over: np.ndarray) -> np.ndarray:
    """Values as float32, those of members that have ended NaN."""
    return np.where(over.reshape(-1, *[1] * (values.ndim - 1)), np.float32(np.nan), values.astype(np.float32))
