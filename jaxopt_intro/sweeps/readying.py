"""Makes a group ready to run: its plan, measured or remembered, and its compiled programs."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxopt_intro.data import batching
from jaxopt_intro.sweeps import exhaustion, planning, sharding
from jaxopt_intro.sweeps.job import Group, Job, Lighter
from jaxopt_intro.sweeps.planning import Plan, Programs
from jaxopt_intro.sweeps.population import Lane, make_tile
from jaxopt_intro.sweeps.session import Session
from jaxopt_intro.sweeps.sharding import Devices
from jaxopt_intro.typing import Batch, PyTree, Training


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
        like: The shapes and dtypes of a lane.
        narrower: Makes the same with half the width.
    """

    group: Group
    plan: Plan
    devices: Devices
    compiled: Compiled
    train: Batch
    valid: Batch
    like: PyTree
    narrower: Callable[[], Ready]

    @property
    def lanes(self) -> int:
        """How many members train at once: D tiles of W lanes."""
        return self.devices.count * self.plan.width


Stages = Sequence[tuple[int, int]]


class Placed(NamedTuple):
    """Devices, and the data on them."""

    devices: Devices
    train: Batch
    valid: Batch


def place(job: Job, stages: Stages, before: dict[int, Placed]) -> Placed:
    """Puts the data on as many devices as there are members for, once for each number of them."""
    count = min(len(sharding.available()), max(count for count, _ in stages))
    if count not in before:
        devices = Devices(count)
        before[count] = Placed(devices, *jax.device_put((job.train, job.valid), devices.copies))
    return before[count]


class Ahead:
    """A group whose programs are compiled in a thread while another group runs.

    What will be asked for is a guess: the programs by which widths are measured, and those of the running group's
    width. Nothing is measured meanwhile, so groups with convolutions, whose ways are measured before, are left alone.

    Args:
        job: What is asked.
        session: Remembers the plans.
        group: The group that comes next.
        stages: As `make_ready` takes them.
        plan: That of the running group.
        placed_before: The data on devices, for groups on as many.
    """

    def __init__(
        self,
        job: Job,
        session: Session,
        group: Group,
        stages: Stages,
        plan: Plan,
        placed_before: dict[int, Placed],
    ):
        self.devices, self.train, self.valid = placed = place(job, stages, placed_before)
        self._group, self._stages, self._plan = group, stages, plan
        self.programs = _programs(job, session, group, group.training, group.evaluate, placed, stages)
        # Contexts of JAX are a thread's own: what holds here has to hold there, or other programs are compiled.
        names = ("enable_x64", "default_device", "default_matmul_precision", "numpy_rank_promotion")
        contexts = [(getattr(jax, name), getattr(jax.config, f"jax_{name}")) for name in names]
        self._thread = threading.Thread(target=self._compile, args=(contexts,), daemon=True)
        self._thread.start()

    def _compile(self, contexts: Sequence[tuple[Any, Any]]) -> None:
        with contextlib.ExitStack() as stack, contextlib.suppress(Exception):  # what is wrong is raised when it is run
            for make, value in contexts:
                stack.enter_context(make(value))
            if self.programs.has_convolutions():
                return
            rounds, most = self._group.rounds, max(count for count, _ in self._stages)
            for width in planning.candidates(-(-most // self.devices.count)):
                if width <= self._plan.width:
                    self.programs.segment(width, planning.probe_length(width, rounds[0]))
            self.programs.init(self._plan.width)
            for length in planning.lengths(rounds[0], self._plan.segment):
                self.programs.segment(self._plan.width, length)
            self.programs.validate(self._plan.width)

    def wait(self) -> None:
        """Waits until all is compiled; only this waiting counts as time of compiling."""
        begin = time.perf_counter()
        self._thread.join()
        self.programs.seconds = time.perf_counter() - begin


def spare_cores() -> bool:
    """Whether there are cores that do not train: those beside a GPU or TPU."""
    return jax.default_backend() != "cpu"


def make_ready(
    job: Job,
    session: Session,
    group: Group,
    stages: Stages,
    placed_before: dict[int, Placed] | None = None,
    ahead: Ahead | None = None,
) -> Ready:
    """Chooses how a group is run, and compiles it.

    Args:
        job: What is asked.
        session: Remembers the plans.
        group: The group.
        stages: How many members there will be, and how many steps each trains, between one rung and the next.
        placed_before: The data on devices, for groups on as many.
        ahead: What was compiled of it before.

    Raises:
        MemoryError: Not even one lane fits, in any way.
    """
    if ahead is not None:
        ahead.wait()
    placed = place(job, stages, {} if placed_before is None else placed_before)
    programs, plan = _planned(job, session, group, placed, stages, ahead)
    return _compiled(session, group, programs, plan, placed.devices, placed.train, placed.valid)


def _compiled(
    session: Session,
    group: Group,
    programs: Programs,
    plan: Plan,
    devices: Devices,
    train: Batch,
    valid: Batch,
    counted: float = 0.0,
) -> Ready:
    session.notify(group.title, f"compiling {plan.width * devices.count} side by side")
    lengths = {n for steps in group.rounds for n in planning.lengths(steps, plan.segment)}
    compiled = Compiled(
        programs.init(plan.width),
        {n: programs.segment(plan.width, n) for n in sorted(lengths)},
        programs.validate(plan.width),
    )
    session.compile_seconds += programs.seconds - counted
    counted = programs.seconds

    def narrower() -> Ready:
        width = plan.width // 2
        why = f"{plan.width * devices.count} did not fit in memory when they ran"
        halved = Plan(width, plan.segment, {w: r for w, r in plan.rates.items() if w <= width}, why)
        record = {**session.plans[group.id], "width": width, "why": why}
        session.emit({"type": "plan", "group": group.id, "title": group.title, **record})
        session.plans[group.id] = record
        return _compiled(session, group, programs, halved, devices, train, valid, counted)

    return Ready(group, plan, devices, compiled, train, valid, programs.lane, narrower)


def indices(job: Job, group: Group, number: int, seed: int | None) -> np.ndarray:
    """Returns the rows of every batch of a round.

    Args:
        job: For the data's size and seed.
        group: For its rounds.
        number: Which round, from 0.
        seed: The seed whose own order it is, or None for the order that all share.

    Returns:
        int32 `[steps, batch_size]`.
    """
    count = jax.tree.leaves(job.train)[0].shape[0]
    # A seed's own order is never another data seed's shared one: those lie below 2 ** 31, these above.
    data_seed = job.data_seed if seed is None else ((job.data_seed + 1) << 32) + seed
    first, left, rows = sum(group.rounds[:number]), group.rounds[number], []
    while left:
        epoch, place = divmod(first, count // group.batch_size)
        found = _epoch(count, group.batch_size, data_seed, epoch)[place : place + left]
        rows.append(found)
        first, left = first + len(found), left - len(found)
    return np.concatenate(rows)


@functools.lru_cache(maxsize=4)
def _epoch(count: int, batch_size: int, seed: int, epoch: int) -> np.ndarray:
    return batching.epoch_indices(count, batch_size, seed=seed, epoch=epoch)


def _programs(
    job: Job, session: Session, group: Group, training: Training, evaluate: Any, placed: Placed, stages: Stages
) -> Programs:
    past = session.plans.get(group.id, {})
    tile = functools.partial(
        make_tile, training, evaluate, objective=job.objective, direction=job.direction,
        stopping=group.stopping, average=group.average,
    )  # fmt: skip
    return Programs(
        lambda width: tile(width=width), sorted(group.members[0].hparams), placed.train, placed.valid,
        group.batch_size, placed.devices, member_steps=sum(count * steps for count, steps in stages),
        force=job.convolutions, known={choice["what"]: choice["name"] for choice in past.get("convolutions", ())},
        notify=lambda text: session.notify(group.title, text),
    )  # fmt: skip


def _planned(
    job: Job, session: Session, group: Group, placed: Placed, stages: Stages, ahead: Ahead | None
) -> tuple[Programs, Plan]:
    """The plan, and the programs to carry it out: those of the first training of which one lane fits in memory."""
    past, refused = session.plans.get(group.id, {}), None
    plain = Lighter("", lambda: group.training, group.evaluate, stateless=False)
    for memory, make, evaluate, stateless in (plain, *group.lighter):
        if past.get("memory", "") != memory if past else stateless and _has_state(group):
            continue
        if ahead is not None and not memory:
            programs = ahead.programs
        else:
            programs = _programs(job, session, group, make(), evaluate, placed, stages)
        try:
            return programs, _plan(job, session, group, programs, placed.train, placed.devices, memory, stages)
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
    job: Job,
    session: Session,
    group: Group,
    programs: Programs,
    train: Batch,
    devices: Devices,
    memory: str,
    stages: Stages,
) -> Plan:
    if group.id in session.plans:
        past = session.plans[group.id]
        session.plans[group.id] = {**past, "devices": devices.count}  # which may be others than then
        rates = {int(width): rate for width, rate in past["rates"].items()}
        return Plan(past["width"], past["segment"], rates, past["why"])

    @exhaustion.noticed()
    def probe(width: int, length: int) -> float:
        (lanes, hparams), segment = programs.blank(width), programs.segment(width, length)
        rows, seconds = indices(job, group, 0, None), []
        while len(seconds) < 2 or (len(seconds) < 5 and sum(seconds) < planning.PROBE_SECONDS):
            first = len(seconds) * length % (len(rows) - length + 1)  # other examples, which are in no cache yet
            begin = time.perf_counter()
            lanes, totals = segment(lanes, hparams, train, rows[first : first + length])
            jax.block_until_ready(totals)
            seconds.append(time.perf_counter() - begin)
        return min(seconds)

    begin, compiling = time.perf_counter(), programs.seconds
    plan = planning.choose(
        programs,
        stages=stages,
        round_steps=group.rounds[0],
        probe=probe,
        devices=devices.count,
        width=job.width,
        notify=lambda text: session.notify(group.title, text),
    )
    session.measuring_seconds += time.perf_counter() - begin - (programs.seconds - compiling)
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
