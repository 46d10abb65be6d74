"""`replay`: trains trials of a run again, alone, follows what the journal says was decided of them, and compares."""

from __future__ import annotations

import contextlib
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import xarray

from jaxopt_intro import journal, results
from jaxopt_intro.experiment import comparing, grouping, probing, reopening, running
from jaxopt_intro.experiment.assembling import direction_of
from jaxopt_intro.experiment.comparing import Comparison, Difference
from jaxopt_intro.experiment.lineage import Life, Stage, lives
from jaxopt_intro.experiment.probing import Measured, Probes
from jaxopt_intro.experiment.reopening import Past
from jaxopt_intro.sweeps import executables, tiles
from jaxopt_intro.sweeps.exhaustion import TooWide
from jaxopt_intro.sweeps.job import Group, Job
from jaxopt_intro.sweeps.readying import Ready, make_ready
from jaxopt_intro.sweeps.session import Session
from jaxopt_intro.sweeps.tiles import Start


class Replay(NamedTuple):
    """What a replay found.

    Attributes:
        dataset: As `results.open` gives it, of the trials replayed; with `origin` (trial, epoch), the trial whose curve
            in the journal it is, and `probe_NAME` (trial, seed, epoch, and the probe's own axes).
        agrees: Whether the journal's `train_*` and `valid_*` metrics came out again: every bit of them where width,
            versions and device are the run's, and elsewhere within rounding at the first validation.
        first_difference: The first number that differs by more than that, at whichever validation, or None.
        largest_difference: The number that differs most, or None where every bit is the same.
        words: All of this, to read.
    """

    dataset: xarray.Dataset
    agrees: bool
    first_difference: Difference | None
    largest_difference: Difference | None
    words: str


class Again(NamedTuple):
    """The members of a group that are trained again.

    Attributes:
        group: The group, as it is made now.
        lives: What they went through, those that trained longest first.
        plan: The run's plan for it.
    """

    group: Group
    lives: list[Life]
    plan: Mapping[str, Any]


def replay(
    run: str | os.PathLike[str],
    trial: str | Sequence[str],
    *,
    seed: int | None = None,
    width: int | None = None,
    probes: Mapping[str, Any] | Sequence[str] | None = None,
    every: int = 1,
    directory: str | os.PathLike[str] | None = None,
    parts: Mapping[str, Any] | None = None,
    data: Any = None,
) -> Replay:
    """Trains one or several trials of a run again, without the others, and says whether the journal's numbers come out.

    A trial is trained from its start for as long as the journal has validations of it. Where population based training
    let it copy another, its lineage is trained: from the first ancestor's start with the ancestor's numbers until the
    copy, then with its new ones. The run is only read.

    Args:
        run: The run's directory.
        trial: A trial's id or the beginning of it, or several.
        seed: One of its seeds; None: all of them.
        width: How many train side by side on a device; None: as many as in the run, with which every bit is the same.
            Of another width the first steps alone agree, within rounding.
        probes: What is measured after validations: names in `training.probes.PROBES`, or a mapping from names to these
            or to functions `(state, batch, hparams, *, training, evaluate) -> array`. The batch is the first of the
            run's, always the same.
        every: After every how many validations.
        directory: Where the replay is kept, as a run of its own; None: nowhere.
        parts: Your own functions and classes by name, where they cannot be imported: those of another script.
        data: The run's `Dataset` or arrays, where they were in memory.

    Returns:
        The curves and probes, and how they compare.

    Raises:
        ValueError: There is no such trial or seed, it was never trained, or something asked is impossible.
        MemoryError: So many do not fit side by side.
        FileNotFoundError: The directory is no run.
        jaxopt_intro.journal.Locked: Another process writes the run.

    Examples:
        >>> from jaxopt_intro import Experiment, Space, log_uniform, sweep
        >>> experiment = Experiment(data="digits", model="linear", optimizer="sgd", epochs=2)
        >>> run = tempfile.mkdtemp() + "/run"
        >>> found = sweep(experiment, Space(learning_rate=log_uniform(1e-3, 1e-1)).grid(3), directory=run)
        >>> again = replay(run, found.trial.values[1], probes=["sharpness"])
        >>> again.agrees, again.dataset.probe_sharpness.dims
        (True, ('trial', 'seed', 'epoch'))
    """
    for name, value in {"width": width, "every": every}.items():
        if (value is not None or name == "every") and (not isinstance(value, int) or value < 1):
            raise ValueError(f"replay: got {name}={value!r}; expected a whole number of at least 1.")
    measures = probing.probes_of(probes)
    past = reopening.reopen(run, parts=parts, data=data)
    own = _asked(past, [trial] if isinstance(trial, str) else trial, seed)
    job, again, notes = _job(past, own)
    for one in again if measures else ():
        probing.check(measures, one.group, probing.first_batch(job, one.group))
    with _place(directory) as place, journal.Journal(place) as writer, executables.kept_on_disk():
        session = Session(place, writer, [], lambda record: None, checkpoint_seconds=math.inf)
        _begin(session, past, again)
        measured = [m for one in again for m in _train(job, session, one, width, measures, every)]
        _end(session, past, own, measured)
        records, dataset = journal.read(place), results.open(place)
    dataset = _with_origins(probing.add(dataset, measures, measured), own)
    dataset.attrs["run"] = os.fspath(directory or run)
    exact = not notes and all(width in (None, one.plan["width"]) for one in again)
    examples = len(jax.tree.leaves(job.valid)[0])
    compared = comparing.compare(past.records, records, own, exact=exact, examples=examples)
    words = "\n".join([*_words(past, own, again, width, compared, notes), *probing.words(dataset)])
    return Replay(dataset, compared.agrees, compared.first, compared.largest, words)


def to_json(found: Replay) -> str:
    """Returns a replay as JSON: numbers by trial, seed and epoch; what is no finite number is null.

    Args:
        found: The replay.
    """
    data = found.dataset
    names = [str(n) for n in data.data_vars if str(n).startswith(("train_", "valid_", "probe_"))]
    first, largest = (d and d._asdict() for d in (found.first_difference, found.largest_difference))
    coordinates = {name: data[name].values.tolist() for name in ("trial", "seed", "epoch")}
    values = {name: data[name].values.tolist() for name in [*names, "origin"]}
    whole = {"run": data.attrs["run"], "agrees": found.agrees, "first_difference": first}
    whole |= {"largest_difference": largest, "words": found.words.split("\n"), **coordinates, "values": values}
    return json.dumps(_finite(whole))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(own) for name, own in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(own) for own in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _asked(past: Past, trials: Sequence[str], seed: int | None) -> list[Life]:
    """The lives of the trials, in the order asked."""
    every, found = lives(past.records), []
    for trial in dict.fromkeys(past.id_of(one) for one in trials):
        seeds = past.trials[trial]["seeds"]
        if seed is not None and seed not in seeds:
            raise ValueError(f"replay: got seed={seed} of trial {trial}; expected one of {seeds}.")
        own = [every[trial, number] for number in (seeds if seed is None else [seed])]
        trained = [life for life in own if life.rounds]
        if not trained:
            raise ValueError(
                f"replay: the journal has no validation of trial {trial}; expected one, since there is nothing to "
                "compare with. Take a trial that was trained, or let the sweep go on first."
            )
        found += trained
    if not found:
        raise ValueError("replay: got no trials; expected at least one id.")
    return found


def _job(past: Past, own: Sequence[Life]) -> tuple[Job, list[Again], list[str]]:
    """What is trained again, by program, and what is not as it was in the run."""
    experiment, dataset = past.experiment, past.dataset
    objective, direction = direction_of(experiment, dataset.info)
    now = running.run_record(experiment, dataset, objective, direction)
    notes = comparing.changed(past.started, now)
    plans = {r["group"]: r for r in past.records if r["type"] == "plan"}
    again: dict[str, Again] = {}
    for trial in dict.fromkeys(life.trial for life in own):
        # One by one: changed code may have given two trials one meaning.
        staged, programs = grouping.stage(experiment, dataset, [past.trial(trial)])
        if staged[0].id != trial:
            notes.append(f"trial {trial} would be {staged[0].id}: the code of its parts is another")
        (group,) = grouping.groups(experiment, dataset, staged, programs, 1)
        named = past.trials[trial]["group"]
        mine = [life for life in own if life.trial == trial]
        before = again.get(named, Again(group._replace(members=[]), [], plans[named]))
        members = [*before.group.members, *(life.member(0) for life in mine)]
        longest = sorted([*before.lives, *mine], key=lambda life: -life.rounds)
        again[named] = Again(before.group._replace(members=members), longest, before.plan)
    job = Job(
        [one.group for one in again.values()],
        dataset.train,
        dataset.valid,  # type: ignore[arg-type]
        experiment.data_seed,
        experiment.vary_batches,
        objective,
        direction,
        experiment.keep,
        None,
    )
    return job, list(again.values()), notes


@contextlib.contextmanager
def _place(directory: str | os.PathLike[str] | None) -> Iterator[Path]:
    """Where the replay's journal is written."""
    if directory is None:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
    elif (Path(directory) / "journal.jsonl").exists():
        raise ValueError(
            f"replay: got directory={os.fspath(directory)!r}, where a run is; expected a new one. Give another."
        )
    else:
        yield Path(directory)


def _begin(session: Session, past: Past, again: Sequence[Again]) -> None:
    """Writes what the replay is, and its trials."""
    trials = dict.fromkeys(life.trial for one in again for life in one.lives)
    objective, direction = past.started["objective"]["name"], past.started["objective"]["direction"]
    record = running.run_record(past.experiment, past.dataset, objective.removeprefix("valid_"), direction)
    of = {"run": os.fspath(past.directory), "trials": list(trials)}
    session.emit({**record, "trials": len(trials), "pruner": None, "search": {}, "replay": of})
    for trial in trials:
        seeds = sorted(life.seed for one in again for life in one.lives if life.trial == trial)
        group = next(one.group.id for one in again if any(life.trial == trial for life in one.lives))
        session.emit({**past.trials[trial], "group": group, "seeds": seeds})


def _end(session: Session, past: Past, own: Sequence[Life], measured: Sequence[Measured]) -> None:
    """Writes the probes, and how the members ended in the run."""
    for found in measured:
        session.emit({"type": "probe", "epoch": found.epoch, "members": found.members, "values": found.values})
    pairs = {life.pair for life in own}
    for record in past.records:
        if record["type"] == "end" and (record["trial"], record["seed"]) in pairs:
            session.emit(record)


def _train(
    job: Job, session: Session, again: Again, width: int | None, probes: Probes, every: int
) -> Iterator[Measured]:
    """Trains a group's members tile after tile, by the run's plan."""
    plan = {**again.plan, "width": width or again.plan["width"]}
    session.plans[again.group.id] = plan
    session.emit({**plan, "group": again.group.id})
    tile_count = -(-len(again.lives) // plan["width"])  # as many devices as there are tiles, whoever has more of them
    ready = make_ready(job, session, again.group, [(tile_count, sum(again.group.rounds))])
    measure = probing.program(probes, ready) if probes else None
    by_seed: dict[int | None, list[Life]] = {}
    for life in again.lives:
        by_seed.setdefault(life.seed if job.vary_batches else None, []).append(life)
    for own in by_seed.values():
        for first in range(0, len(own), ready.lanes):
            yield from _train_tile(job, session, ready, own[first : first + ready.lanes], measure, every)


def _train_tile(
    job: Job, session: Session, ready: Ready, own: Sequence[Life], measure: Any, every: int
) -> Iterator[Measured]:
    """Trains members round by round; those that train longest are first, so that the others' lanes become padding."""
    batch = probing.first_batch(job, ready.group)
    lanes = None
    for number in range(own[0].rounds):
        members = [life.member(number) for life in own if life.rounds > number]
        try:
            end = tiles.run_tile(
                job, session, ready, members, Start(lanes, number), number + 1, lambda record, tree: None
            )
        except TooWide as error:
            raise MemoryError(
                f"replay: {ready.lanes} side by side did not fit in memory: {error}. Use a smaller width."
            ) from error
        session.flush()
        lanes = end.lanes
        if measure and (number + 1) % every == 0:
            yield Measured(number + 1, [m.pair for m in members], measure(end, members, batch))
        if end.seen.over:
            break


def _with_origins(dataset: xarray.Dataset, own: Sequence[Life]) -> xarray.Dataset:
    """Adds whose curve in the journal each trial's is, which is the same for all its seeds."""
    longest = {life.trial: life for life in sorted(own, key=lambda life: life.rounds)}
    every, numbers = dataset.trial.values.tolist(), range(dataset.sizes["epoch"])
    rows = [[longest[t].stage(n).trial if n < longest[t].rounds else "" for n in numbers] for t in every]
    return dataset.assign(origin=(("trial", "epoch"), rows))


def _words(
    past: Past,
    own: Sequence[Life],
    again: Sequence[Again],
    width: int | None,
    compared: Comparison,
    notes: Sequence[str],
) -> Iterator[str]:
    widths = sorted({one.plan["width"] for one in again})
    side = f"{width or widths[0]} side by side on a device" + (
        "" if width in (None, *widths) else f", in the run {widths[0]}"
    )
    members = f"{len(own)} member" + "s" * (len(own) > 1)
    yield f"{past.directory}: {members} again from the start, {side}"
    for life in {life.trial: life for life in own}.values():
        if len(life.stages) > 1:
            path = [f"{stage.trial} until validation {last}" for stage, last in _lived(life)]
            yield f"trial {life.trial} comes from {', '.join(path)}"
    ends = {(r["trial"], r["seed"]): r for r in past.records if r["type"] == "end"}
    for life in own:
        end = ends.get(life.pair)
        if end is None:
            yield f"trial {life.trial}, seed {life.seed}: not ended yet, {life.rounds} validations"
        elif end["reason"]:
            yield f"trial {life.trial}, seed {life.seed}: {end['status']} at step {end['step']}: {end['reason']}"
    yield from (f"note: {note}" for note in notes)
    yield from _verdict(compared)


def _lived(life: Life) -> list[tuple[Stage, int]]:
    """The stages and their last validations."""
    lasts = [*(stage.first for stage in life.stages[1:]), life.rounds]
    return list(zip(life.stages, lasts, strict=True))


def _verdict(compared: Comparison) -> Iterator[str]:
    much = f"{compared.numbers} numbers"
    if compared.largest is None:
        yield f"agrees: all {much} are bitwise those of the journal"
        return
    if not compared.tolerance:
        yield f"differs: {compared.first} (the first)"
        yield f"the largest difference: {compared.largest}"
        return
    agrees = "agrees" if compared.agrees else "differs"
    until = "until the last validation" if compared.first is None else "at the first validation"
    within = f"within {compared.tolerance:.1g} {until}, of {much}" if compared.agrees else "at the first validation"
    yield f"{agrees} {within}"
    if compared.first is not None:
        yield f"the first difference above {compared.tolerance:.1g}: {compared.first}"
    yield f"the largest difference: {compared.largest}"
