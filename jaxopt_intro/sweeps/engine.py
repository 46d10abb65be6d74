"""Runs a job: groups one after another, tile by tile, the host one round behind the device.

A kill at any moment costs at most the work since the last checkpoint, and changes no bit of any result: the width is
frozen in the journal, and a lane depends on nothing but its own numbers, seed and batches.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxopt_intro.data import batching
from jaxopt_intro.regularizers.stopping import EarlyStopping
from jaxopt_intro.sweeps import checkpoint, planning, sharding
from jaxopt_intro.sweeps.keeping import Keeper
from jaxopt_intro.sweeps.planning import Plan, Programs
from jaxopt_intro.sweeps.population import Lane, make_tile, stack_hparams
from jaxopt_intro.sweeps.session import Session
from jaxopt_intro.sweeps.sharding import Devices
from jaxopt_intro.typing import Array, Batch, Training


class Member(NamedTuple):
    """A trial with one of its seeds: what a lane trains."""

    trial: str
    seed: int
    hparams: Mapping[str, float]


class Lighter(NamedTuple):
    """A way to train the same in less memory, for what does not fit.

    Attributes:
        words: How, for the plan and the receipt.
        make: Makes the training.
        evaluate: Its evaluation, of fewer examples at a time.
        stateless: Whether it is for models without a state alone: batch statistics are of whole batches.
    """

    words: str
    make: Callable[[], Training]
    evaluate: Callable[..., dict[str, Array]]
    stateless: bool


class Group(NamedTuple):
    """The members that share one program.

    Attributes:
        id: A hash of the choices.
        title: The choices in words.
        training: The training of one member.
        evaluate: `(state, data, hparams) -> metrics` of one member.
        stopping: `hparams -> early stopping` of one member, or None.
        average: `(state, train, hparams) -> state` at the average of its parameters, or None where there is none.
        lighter: Ways to train in less memory, tried in order where one lane does not fit.
        members: Trials crossed with seeds, in the order asked.
        batch_size: Examples in a batch.
        rounds: Steps from one validation to the next: an epoch's, or what is left of one at the end.
    """

    id: str
    title: str
    training: Training
    evaluate: Callable[..., dict[str, Array]]
    stopping: Callable[..., EarlyStopping] | None
    average: Callable[..., Any] | None
    lighter: Sequence[Lighter]
    members: list[Member]
    batch_size: int
    rounds: list[int]


class Job(NamedTuple):
    """Everything that the engine needs.

    Attributes:
        groups: The groups.
        train: The training split.
        valid: The validation split.
        data_seed: Decides the batches' order.
        vary_batches: Whether every seed has an order of its own.
        objective: The metric that decides, as the evaluation names it.
        direction: "max" or "min".
        keep: How many trials' weights are kept.
        width: The width of a device's tile, or None to measure.
        convolutions: The way of every "outputs", "images" or "kernel" of a convolution that can have it, or None.
    """

    groups: list[Group]
    train: Batch
    valid: Batch
    data_seed: int
    vary_batches: bool
    objective: str
    direction: str
    keep: int
    width: int | None
    convolutions: Mapping[str, str] | None = None


class Compiled(NamedTuple):
    """The compiled functions of the chosen width; `segment` by its number of steps."""

    init: Callable[..., Lane]
    segment: dict[int, Callable[..., Any]]
    validate: Callable[..., Any]


class Ready(NamedTuple):
    """A group that can be run.

    Attributes:
        group: The group.
        plan: Its plan.
        devices: Those that train a tile each.
        compiled: Its programs.
        train: The training split, on every device.
        valid: The validation split, on every device.
    """

    group: Group
    plan: Plan
    devices: Devices
    compiled: Compiled
    train: Batch
    valid: Batch

    @property
    def lanes(self) -> int:
        """How many members train at once: D tiles of W lanes."""
        return self.devices.count * self.plan.width


class Start(NamedTuple):
    """Where tiles begin: at their very start, or where a checkpoint was taken."""

    lanes: Lane
    round: int = 0
    piece: int = 0
    totals: dict[str, np.ndarray] | None = None


def run(job: Job, session: Session) -> None:
    """Trains every member that the journal has not seen end.

    Args:
        job: What to train.
        session: The journal, the clock, and what earlier sessions did.

    Raises:
        KeyboardInterrupt: A signal asked to stop; the running tile is checkpointed.
    """
    keeper = Keeper(session, job)
    session.total = sum(len(group.members) * len(group.rounds) for group in job.groups)
    ended = [(m, group) for group in job.groups for m in group.members if (m.trial, m.seed) in session.ended]
    session.done = sum(len(group.rounds) for _, group in ended)
    session.members, session.finished = sum(len(group.members) for group in job.groups), len(ended)
    session.finished_before = len(ended)
    for group in sorted(job.groups, key=lambda g: not _is_of(session.checkpoint, g)):  # the interrupted one first
        if any((m.trial, m.seed) not in session.ended for m in group.members):
            _run_group(job, session, keeper, group)
            session.flush()


def _run_group(job: Job, session: Session, keeper: Keeper, group: Group) -> None:
    devices = Devices(min(len(sharding.available()), len(group.members)))
    train, valid = jax.device_put((job.train, job.valid), devices.copies)
    programs, plan = _planned(job, session, group, train, valid, devices)
    session.notify(group.title, f"compiling {plan.width * devices.count} side by side")
    compiled = Compiled(
        programs.init(plan.width),
        {n: programs.segment(plan.width, n) for r in group.rounds for n in planning.lengths(r, plan.segment)},
        programs.validate(plan.width),
    )
    session.compile_seconds += programs.seconds
    ready = Ready(group, plan, devices, compiled, train, valid)
    saved = session.checkpoint if _is_of(session.checkpoint, group) else None
    begun: list[Member] = []
    if saved is not None:
        begun = _members_of(saved, group)
        for members, start in _go_on(session, ready, saved, begun):
            _run_tiles(job, session, keeper, ready, members, start)
    pending = [m for m in group.members if m not in begun and (m.trial, m.seed) not in session.ended]
    for members in _tiles(job, pending, ready.lanes):
        _run_tiles(job, session, keeper, ready, members, Start(_fresh(ready, members)))


def _is_of(saved: dict[str, Any] | None, group: Group) -> bool:
    """Whether a checkpoint is of a tile of this group whose members are all asked for again."""
    asked = {(m.trial, m.seed) for m in group.members}
    return saved is not None and saved["group"] == group.id and asked.issuperset(map(tuple, saved["members"]))


def _members_of(saved: dict[str, Any], group: Group) -> list[Member]:
    """The members of a checkpoint's tiles, in their order."""
    by_name = {(m.trial, m.seed): m for m in group.members}
    return [by_name[trial, seed] for trial, seed in saved["members"]]


def _planned(
    job: Job, session: Session, group: Group, train: Batch, valid: Batch, devices: Devices
) -> tuple[Programs, Plan]:
    """The plan, and the programs to carry it out: those of the first training of which one lane fits in memory."""
    past, refused = session.plans.get(group.id, {}), None
    plain = Lighter("", lambda: group.training, group.evaluate, stateless=False)
    for memory, make, evaluate, stateless in (plain, *group.lighter):
        if past.get("memory", "") != memory if past else stateless and _has_state(group):
            continue
        tile = functools.partial(
            make_tile, make(), evaluate, objective=job.objective, direction=job.direction,
            stopping=group.stopping, average=group.average,
        )  # fmt: skip
        numbers = sorted(group.members[0].hparams)
        programs = Programs(
            lambda width, tile=tile: tile(width=width), numbers, train, valid, group.batch_size, devices,
            member_steps=len(group.members) * sum(group.rounds), force=job.convolutions,
            known={choice["what"]: choice["name"] for choice in past.get("convolutions", ())},
            notify=lambda text: session.notify(group.title, text),
        )  # fmt: skip
        try:
            return programs, _plan(job, session, group, programs, train, devices, memory)
        except MemoryError as error:
            if job.width is not None and job.width > 1:  # which the user can mend
                raise
            refused = refused or error
            session.notify(group.title, "one does not fit in memory: trying in less")
    raise refused or MemoryError(f"{group.title}: no training of this run's plan: {past.get('memory')!r}")


def _has_state(group: Group) -> bool:
    numbers = {name: np.float32(value) for name, value in group.members[0].hparams.items()}
    state = jax.eval_shape(lambda: group.training.init(jax.random.key(0), numbers))
    return bool(jax.tree.leaves(state.model_state))


def _plan(
    job: Job, session: Session, group: Group, programs: Programs, train: Batch, devices: Devices, memory: str
) -> Plan:
    if group.id in session.plans:
        past = session.plans[group.id]
        session.plans[group.id] = {**past, "devices": devices.count}  # which may be others than then
        rates = {int(width): rate for width, rate in past["rates"].items()}
        return Plan(past["width"], past["segment"], rates, past["why"])

    def probe(width: int, length: int) -> float:
        (lanes, hparams), segment = programs.blank(width), programs.segment(width, length)
        indices = _indices(job, group, train, 0, None)[:length]
        seconds: list[float] = []
        while len(seconds) < 2 or (len(seconds) < 5 and sum(seconds) < planning.PROBE_SECONDS):
            begin = time.perf_counter()
            lanes, totals = segment(lanes, hparams, train, indices)
            jax.block_until_ready(totals)
            seconds.append(time.perf_counter() - begin)
        return min(seconds)

    plan = planning.choose(
        programs,
        members=len(group.members),
        steps=sum(group.rounds),
        round_steps=group.rounds[0],
        probe=probe,
        devices=devices.count,
        width=job.width,
        notify=lambda text: session.notify(group.title, text),
    )
    rates, convolutions = {str(w): rate for w, rate in plan.rates.items()}, programs.convolutions(plan.width)
    record = {
        "width": plan.width, "devices": devices.count, "segment": plan.segment, "rates": rates, "why": plan.why,
        "memory": memory,
        "convolutions": [choice._asdict() for choice in convolutions.choices],
        "other_convolutions": list(convolutions.others),
    }  # fmt: skip
    session.emit({"type": "plan", "group": group.id, "title": group.title, **record})
    session.plans[group.id] = record
    return plan


def _tiles(job: Job, members: Sequence[Member], lanes: int) -> Iterator[list[Member]]:
    """As many members as there are lanes at a time; of one seed each if batches vary."""
    seeds = sorted({m.seed for m in members})
    queues = [[m for m in members if m.seed == seed] for seed in seeds] if job.vary_batches else [members]
    for queue in queues:
        for first in range(0, len(queue), lanes):
            yield list(queue[first : first + lanes])


def _fresh(ready: Ready, members: Sequence[Member]) -> Lane:
    padded = _padded(members, ready.lanes)
    seeds = np.array([m.seed for m in padded], np.uint32)
    return ready.compiled.init(seeds, stack_hparams([m.hparams for m in padded]))


def _go_on(
    session: Session, ready: Ready, saved: dict[str, Any], begun: list[Member]
) -> Iterator[tuple[list[Member], Start]]:
    """Where a checkpoint was taken, in as many parts as its lanes need: there may be fewer devices now than then."""
    like = {"lanes": _fresh(ready, begun[:1]), "totals": _zeros(saved)}
    # Loaded whole, before a part of it runs: the next checkpoint removes this one.
    stored = checkpoint.load(session.directory / saved["path"], like)
    for first in range(0, len(begun), ready.lanes):
        rows = np.minimum(first + np.arange(ready.lanes), len(begun) - 1)
        lanes = jax.device_put(jax.tree.map(lambda x, r=rows: x[r], stored["lanes"]), ready.devices.lanes)
        totals = {name: np.asarray(value, np.float64)[rows] for name, value in stored["totals"].items()}
        yield begun[first : first + ready.lanes], Start(lanes, saved["round"], saved["piece"], totals or None)


def _run_tiles(job: Job, session: Session, keeper: Keeper, ready: Ready, members: list[Member], start: Start) -> None:
    group, compiled, train = ready.group, ready.compiled, ready.train
    hparams = stack_hparams([m.hparams for m in _padded(members, ready.lanes)])
    hparams = jax.device_put(hparams, ready.devices.lanes)
    seed = members[0].seed if job.vary_batches else None
    lanes, first_piece, totals = start.lanes, start.piece, start.totals
    alive = _Alive()
    session.done += len(members) * start.round
    if totals:
        session.useful_steps -= int(totals["steps"][: len(members)].sum())  # counted by the session that did them
    for number in range(start.round, len(group.rounds)):
        indices, offset = _indices(job, group, train, number, seed), 0
        pieces = planning.lengths(group.rounds[number], ready.plan.segment)
        sums = [totals] if totals else []
        for piece, length in enumerate(pieces):
            if piece >= first_piece:
                jax.block_until_ready(sums[-2:-1])  # one segment runs and one waits: the clock is looked at in time
                lanes, new = compiled.segment[length](lanes, hparams, train, indices[offset : offset + length])
                sums.append(new)
                session.lane_steps += ready.lanes * length
                if session.checkpoint_due() and (piece + 1 < len(pieces) or number + 1 < len(group.rounds)):
                    _save(session, group, members, lanes, number, piece + 1, sums)
            offset += length
        lanes, metrics = compiled.validate(lanes, hparams, ready.valid, train, np.int32(number + 1))
        session.later(_recording(job, session, group, members, number, sums, metrics, alive))
        first_piece, totals = 0, None
        if not alive.any:
            session.done += len(members) * (len(group.rounds) - number - 1)
            break
    session.later(lambda: keeper.finish(members, lanes, group.rounds))


class _Alive:
    """Whether any lane still trains, as far as the host knows."""

    any = True


def _recording(
    job: Job,
    session: Session,
    group: Group,
    members: list[Member],
    number: int,
    sums: list[Any],
    metrics: dict[str, Array],
    alive: _Alive,
) -> Callable[[], None]:
    """What the host does with a round, once the device is busy with the next one."""

    def record() -> None:
        totals = _add(sums)
        values = {name: np.asarray(value)[: len(members)] for name, value in metrics.items()}
        failed, stopped_at = values.pop("failed_at") > 0, values.pop("stopped_at")
        over = failed | ((stopped_at > 0) & (stopped_at <= number))
        steps = totals.pop("steps")[: len(members)]
        with np.errstate(invalid="ignore", divide="ignore"):
            shown = {f"train_{name}": (total[: len(members)] / steps) for name, total in totals.items()}
        shown |= {f"valid_{name}": np.where(over, np.nan, value) for name, value in values.items()}
        alive.any = not (failed | (stopped_at > 0)).all()
        session.useful_steps += int(steps.sum())
        session.useful_examples += int(steps.sum()) * group.batch_size
        session.done += len(members)
        session.emit(
            {
                "type": "epoch",
                "group": group.id,
                "epoch": number + 1,
                "members": [[m.trial, m.seed] for m in members],
                "metrics": {name: np.asarray(value, np.float32) for name, value in shown.items()},
                "time": round(session.elapsed(), 3),
            }
        )

    return record


def _save(
    session: Session, group: Group, members: list[Member], lanes: Lane, number: int, piece: int, sums: list[Any]
) -> None:
    totals = _add(sums)
    record = {
        "type": "checkpoint",
        "group": group.id,
        "members": [[m.trial, m.seed] for m in members],
        "round": number,
        "piece": piece,
        "totals": list(totals),
    }
    session.save_checkpoint(record, {"lanes": lanes, "totals": totals})


def _zeros(record: dict[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.zeros(0) for name in record["totals"]}


def _add(sums: list[Any]) -> dict[str, np.ndarray]:
    """The sums over the segments of a round, in float64 on the host."""
    # One by one: np.sum may pair the terms, and then a sum that a checkpoint cut in two has other last bits.
    return {name: functools.reduce(np.add, [np.asarray(s[name], np.float64) for s in sums]) for name in sums[0]}


def _indices(job: Job, group: Group, train: Batch, number: int, seed: int | None) -> np.ndarray:
    count = jax.tree.leaves(train)[0].shape[0]
    # A seed's own order is never another data seed's shared one: those lie below 2 ** 31, these above.
    data_seed = job.data_seed if seed is None else ((job.data_seed + 1) << 32) + seed
    rows = batching.epoch_indices(count, group.batch_size, seed=data_seed, epoch=number)
    return rows[: group.rounds[number]]


def _padded(members: Sequence[Member], lanes: int) -> list[Member]:
    return [*members, *[members[-1]] * (lanes - len(members))]
