"""What a sweep would be, before anything is trained: what is traced, which programs there are, about how long."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from jaxopt_intro.experiment import checking, grouping
from jaxopt_intro.experiment.asking import Experiment
from jaxopt_intro.experiment.assembling import direction_of
from jaxopt_intro.experiment.estimating import Estimate, bytes_of, estimate
from jaxopt_intro.experiment.grouping import Staged
from jaxopt_intro.sweeps import sharding
from jaxopt_intro.sweeps.pruning import Pruner
from jaxopt_intro.sweeps.searchers import Searcher
from jaxopt_intro.sweeps.space import Space, Trial

_UNITS = {"kB": 1e3, "MB": 1e6, "GB": 1e9}


class Number(NamedTuple):
    """How a number of the space is staged.

    Attributes:
        name: As it was asked for.
        canonical: Its full name: the part's role, its name, and the argument; one for each part that a choice gives it.
        traced: Whether it is a lane axis; otherwise each of its values is compiled.
        reason: Why it is compiled, and the line of code; "" where it is traced.
        low: The least value asked.
        high: The greatest.
        values: How many values were asked; None where a space does not say.
    """

    name: str
    canonical: tuple[str, ...]
    traced: bool
    reason: str
    low: float
    high: float
    values: int | None


class Program(NamedTuple):
    """One compiled program of a sweep.

    Attributes:
        title: Its choices and compiled numbers in words.
        trials: How many share it; None where a space does not say.
        members: Trials times seeds; None where a space does not say.
        estimate: About what it takes; of a space, for one trial of each combination of choices.
    """

    title: str
    trials: int | None
    members: int | None
    estimate: Estimate


class Description(NamedTuple):
    """What a sweep would be. It prints as text, and shows as tables in a notebook.

    Attributes:
        numbers: The numbers.
        programs: The programs, in the order in which they would run.
        device: What would compute, as it reads in a sentence.
        measured: Whether widths are measured, since none was asked for.
        data_bytes: What training and validation split take on a device.
    """

    numbers: list[Number]
    programs: list[Program]
    device: str
    measured: bool
    data_bytes: int

    def __str__(self) -> str:
        return "\n".join(_lines(self))

    def _repr_html_(self) -> str:
        return "".join(_tables(self))


def describe(
    experiment: Experiment,
    trials: Sequence[Trial] | Space | Searcher,
    replicates: int = 1,
    *,
    width: int | None = None,
    pruner: Pruner | None = None,
) -> Description:
    """Says what a sweep would be, and trains nothing.

    What is wrong with a sweep is raised here as `sweep` would raise it: both ask the same questions first.

    Args:
        experiment: What all trials have in common.
        trials: From `Space.grid` or `Space.random`; or a `Space`, or a `Searcher` in one, of which one trial at the
            lower ends and one at the upper ends of its numbers is staged for each combination of choices.
        replicates: How many seeds each trial would be trained with.
        pruner: Who would say which go on; the seconds are those of all trials without it.
        width: How many trials would run side by side on a device; None means measured.

    Returns:
        The description. Its seconds are estimates: `estimating.estimate` says how they are made, and how far off.

    Raises:
        ValueError: Something asked is impossible.
        MemoryError: The asked width does not fit in memory.

    Examples:
        >>> from jaxopt_intro import Space, log_uniform
        >>> experiment = Experiment(data="digits", model="linear", optimizer="sgd", epochs=2)
        >>> found = describe(experiment, Space(learning_rate=log_uniform(1e-3, 1e-1)).grid(3))
        >>> [(n.canonical, n.traced, n.values) for n in found.numbers], [p.trials for p in found.programs]
        ([(('optimizer.sgd.learning_rate',), True, 3)], [3])
    """
    space = trials.space if isinstance(trials, Searcher) else trials
    known = not isinstance(space, Space)
    every = space.ends() if isinstance(space, Space) else space
    asked = checking.checked(every, replicates, {"width": width})  # as `sweep` asks, in its order
    dataset = experiment.load_data()
    objective, direction = direction_of(experiment, dataset.info)
    pruner = checking.decided(pruner, experiment, dataset)
    staged, programs = grouping.stage(experiment, dataset, asked)
    groups = grouping.groups(experiment, dataset, staged, programs, replicates)
    checking.judged(objective, pruner, dataset, programs, groups, asked)
    checking.roomy(width, groups)
    checking.check_rungs(pruner, groups, dataset)
    numbers = _numbers(staged, known=known)
    if not known:
        staged = list({tuple(s.trial.labels.items()): s for s in reversed(staged)}.values())[::-1]
        groups = grouping.groups(experiment, dataset, staged, programs, replicates)
    devices, found = sharding.available(), []
    for group in groups:
        about = estimate(group, dataset, objective, direction, width=width, devices=len(devices))
        if known:
            found.append(Program(group.title, len({m.trial for m in group.members}), len(group.members), about))
        else:
            (labels,) = (s.trial.labels for s in staged if s.group == group.id)
            title = ", ".join(f"{name} {label}" for name, label in labels.items())
            found.append(Program(title, None, None, about))
    kind = devices[0].device_kind
    kind = f"each of {len(devices)} devices ({kind})" if len(devices) > 1 else f"the device ({kind})"
    return Description(numbers, found, kind, width is None, bytes_of((dataset.train, dataset.valid)))


def _numbers(staged: Sequence[Staged], *, known: bool) -> list[Number]:
    """One row for each number, and each way in which it is staged."""
    rows: dict[tuple[str, str], tuple[dict[str, None], set[float]]] = {}
    for one in staged:
        for name, value in one.trial.hparams.items():
            canonical, values = rows.setdefault((name, one.compiled.get(name, "")), ({}, set()))
            canonical[one.canonical[name]] = None
            values.add(value)
    return [
        Number(name, tuple(canonical), not reason, reason, min(values), max(values), len(values) if known else None)
        for (name, reason), (canonical, values) in rows.items()
    ]


def _lines(description: Description) -> Iterator[str]:
    yield "numbers:" if description.numbers else "numbers: none"
    rows = [_cells(number) for number in description.numbers]
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        *first, reason = (f"{cell:<{w}}" for cell, w in zip(row, wide, strict=True))
        yield "  " + "  ".join(first).rstrip()
        if reason.strip():
            yield f"      {reason.strip()}"
    yield "programs:"
    for program in description.programs:
        yield f"  {program.title or 'all trials'}: {'; '.join(filter(None, _words(program, description.measured)))}"
    yield _total(description)


def _tables(description: Description) -> Iterator[str]:
    def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
        cells = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
        head = "".join(f"<th>{name}</th>" for name in heads)
        return f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"

    yield table(("number", "staged", "asked", "part and name", "why"), [_cells(n) for n in description.numbers])
    rows = [(p.title or "all trials", *_words(p, description.measured)) for p in description.programs]
    yield table(("program", "trials", "tiles", "time", "memory"), rows)
    yield f"<p>{html.escape(_total(description))}</p>"


def _cells(number: Number) -> tuple[str, str, str, str, str]:
    staged = "traced" if number.traced else "compiled"
    ends = f"{number.low:g}" if number.low == number.high else f"{number.low:g} to {number.high:g}"
    asked = ends if number.values is None or number.low == number.high else f"{number.values} values, {ends}"
    return number.name, staged, asked, ", ".join(number.canonical), number.reason


def _words(program: Program, measured: bool) -> tuple[str, str, str, str]:
    """Of a program: its trials, tiles, time and memory."""
    about = program.estimate
    memory = f"a lane keeps {_bytes(about.lane_bytes)}"
    compiling = f"compiles in about {_seconds(about.compile_seconds)}"
    if program.trials is None or program.members is None:
        return "", "", compiling, memory
    trials = _counted(program.trials, "trial")
    trials += "" if program.members == program.trials else f", {_counted(program.members, 'member')}"
    tiles = f"{_counted(about.tiles, 'tile')} of {'about ' if measured else ''}{_counted(about.width, 'lane')}"
    return trials, tiles, f"{compiling}, runs in about {_seconds(about.run_seconds)}", memory


def _total(description: Description) -> str:
    programs = description.programs
    compiling = _seconds(sum(p.estimate.compile_seconds for p in programs))
    data = f"The data take {_bytes(description.data_bytes)} on {description.device}."
    trials, members = [p.trials for p in programs], [p.members for p in programs]
    if None in trials or None in members:
        each = " for each value of a compiled number" if any(not n.traced for n in description.numbers) else ""
        return f"In all {_counted(len(programs), 'program')}{each}, about {compiling} to compile. {data}"
    counts = f"{_counted(sum(filter(None, trials)), 'trial')}, {_counted(sum(filter(None, members)), 'member')}"
    running_for = _seconds(sum(p.estimate.run_seconds for p in programs))
    return (
        f"In all {counts}, {_counted(len(programs), 'program')}: about {compiling} to compile, {running_for} to run. "
        f"{data}"
    )


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def _seconds(value: float) -> str:
    """A time in one or two digits.

    Examples:
        >>> [_seconds(s) for s in (0.123, 4.56, 12.3, 150.0, 5400.0)]
        ['0.12 s', '4.6 s', '12 s', '2.5 min', '1.5 h']
    """
    unit, seconds = next(((u, s) for u, s in (("h", 3600.0), ("min", 60.0)) if value >= 1.5 * s), ("s", 1.0))
    return f"{float(f'{max(value, 0.01) / seconds:.2g}'):g} {unit}"


def _bytes(count: int) -> str:
    """A size in one or two digits.

    Examples:
        >>> [_bytes(b) for b in (900, 5221, 39295640)]
        ['0.9 kB', '5.2 kB', '39 MB']
    """
    unit = next((u for u in ("kB", "MB", "GB") if count < 1000 * _UNITS[u]), "GB")
    return f"{float(f'{count / _UNITS[unit]:.2g}'):g} {unit}"
