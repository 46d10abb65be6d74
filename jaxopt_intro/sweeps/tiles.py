"""Runs a tile from one round to another, the host one round behind the device."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxopt_intro.sweeps import exhaustion, planning
from jaxopt_intro.sweeps.job import Group, Job, Member
from jaxopt_intro.sweeps.population import Lane, stack_hparams
from jaxopt_intro.sweeps.readying import Ready, indices
from jaxopt_intro.sweeps.session import Session
from jaxopt_intro.typing import Array, PyTree


class Start(NamedTuple):
    """Where tiles begin: at their very start, or where they were left.

    Attributes:
        lanes: Their lanes; None at the very start.
        round: How many rounds they have behind them.
        piece: How many segments of the next one.
        totals: What these segments have summed up.
    """

    lanes: Lane | None = None
    round: int = 0
    piece: int = 0
    totals: dict[str, np.ndarray] | None = None


class Seen:
    """What the host knows of a tile, a round behind the device.

    Attributes:
        metrics: Those of the last round, one number for each member.
        failed: Which members have failed.
        stopped: Which were stopped early.
    """

    def __init__(self, count: int):
        self.metrics: dict[str, np.ndarray] = {}
        self.failed = self.stopped = np.zeros(count, bool)

    @property
    def over(self) -> bool:
        """Whether nobody trains any more."""
        return bool((self.failed | self.stopped).all())


class End(NamedTuple):
    """Where a tile was left.

    Attributes:
        lanes: Its lanes.
        round: How many rounds they have behind them.
        seen: What the host knows, up to the last round once the session's work is flushed.
    """

    lanes: Lane
    round: int
    seen: Seen


def run_tile(
    job: Job,
    session: Session,
    ready: Ready,
    members: Sequence[Member],
    start: Start,
    until: int,
    save: Callable[[dict[str, Any], PyTree], None],
) -> End:
    """Trains members side by side, and measures them after every round.

    Args:
        job: What is asked.
        session: The journal and the clock.
        ready: Their group's programs.
        members: At most as many as there are lanes, of one seed if batches vary.
        start: Where they begin.
        until: How many rounds they then have behind them, unless none of them trains so long.
        save: Called with a record and arrays when it is time for a checkpoint.

    Raises:
        TooWide: The first call of a program ran out of memory.
        KeyboardInterrupt: A signal asked to stop; there is a checkpoint.
    """
    group, compiled = ready.group, ready.compiled
    hparams = stack_hparams([m.hparams for m in padded(members, ready.lanes)])
    hparams = jax.device_put(hparams, ready.devices.lanes)
    seed = members[0].seed if job.vary_batches else None
    first_piece, totals, seen = start.piece, start.totals, Seen(len(members))
    lanes = _fresh(session, ready, members) if start.lanes is None else start.lanes
    if totals:
        session.steps_of[group.id] -= int(totals["steps"][: len(members)].sum())  # counted by the session that did them
    number = start.round
    while number < until:
        rows, offset = indices(job, group, number, seed), 0
        pieces = planning.lengths(group.rounds[number], ready.plan.segment)
        sums = [totals] if totals else []
        for piece, length in enumerate(pieces):
            if piece >= first_piece:
                with session.computing():
                    jax.block_until_ready(sums[-2:-1])  # one runs and one waits: the clock is looked at in time
                run = functools.partial(compiled.segment[length], lanes, hparams, ready.train)
                lanes, new = _guarded(session, ready, "segment", run, rows[offset : offset + length])
                sums.append(new)
                session.lane_steps += ready.lanes * length
                if session.checkpoint_due() and (piece + 1 < len(pieces) or number + 1 < len(group.rounds)):
                    save(*_saved(group, members, lanes, number, piece + 1, sums))
            offset += length
        validate = functools.partial(compiled.validate, lanes, hparams, ready.valid, ready.train)
        lanes, metrics = _guarded(session, ready, "validate", validate, np.int32(number + 1))
        session.later(_recording(session, group, members, number, sums, metrics, seen))
        number, first_piece, totals = number + 1, 0, None
        if seen.over or session.over:
            break
    return End(lanes, number, seen)


def _fresh(session: Session, ready: Ready, members: Sequence[Member]) -> Lane:
    """The lanes of members that have not begun, filled up to a tile a device."""
    filled = padded(members, ready.lanes)
    init = functools.partial(ready.compiled.init, np.array([m.seed for m in filled], np.uint32))
    return _guarded(session, ready, "init", init, stack_hparams([m.hparams for m in filled]))


def _guarded(session: Session, ready: Ready, what: str, run: Callable[[Any], Any], given: Any) -> Any:
    """The first call of each of a group's programs waits, so that what does not fit in memory is known."""
    key = ready.group.id, ready.lanes, what
    with session.computing():
        if key in session.proven:
            return run(given)
        with exhaustion.noticed():
            found = jax.block_until_ready(run(given))
    session.proven.add(key)
    return found


def _recording(
    session: Session,
    group: Group,
    members: Sequence[Member],
    number: int,
    sums: list[Any],
    metrics: Mapping[str, Array],
    seen: Seen,
) -> Callable[[], None]:
    """What the host does with a round, once the device is busy with the next one."""

    def record() -> None:
        with session.computing():
            jax.block_until_ready((sums, metrics))
        totals = _add(sums)
        values = {name: np.asarray(value)[: len(members)] for name, value in metrics.items()}
        failed, stopped_at = values.pop("failed_at") > 0, values.pop("stopped_at")
        over = failed | ((stopped_at > 0) & (stopped_at <= number))
        steps = totals.pop("steps")[: len(members)]
        with np.errstate(invalid="ignore", divide="ignore"):
            shown = {f"train_{name}": (total[: len(members)] / steps) for name, total in totals.items()}
        shown |= {f"valid_{name}": np.where(over, np.nan, value) for name, value in values.items()}
        seen.metrics, seen.failed, seen.stopped = values, failed, stopped_at > 0
        session.failing.update(m.pair for m, bad in zip(members, failed, strict=True) if bad)
        session.steps_of[group.id] += int(steps.sum())
        session.useful_examples += int(steps.sum()) * group.batch_size
        session.done += len(members)
        session.emit(
            {
                "type": "epoch",
                "group": group.id,
                "epoch": number + 1,
                "step": sum(group.rounds[: number + 1]),
                "members": [[m.trial, m.seed] for m in members],
                "metrics": {name: np.asarray(value, np.float32) for name, value in shown.items()},
                "time": round(session.elapsed(), 3),
            }
        )

    return record


def _saved(
    group: Group, members: Sequence[Member], lanes: Lane, number: int, piece: int, sums: list[Any]
) -> tuple[dict[str, Any], PyTree]:
    totals = _add(sums)
    record = {
        "type": "checkpoint",
        "group": group.id,
        "members": [[m.trial, m.seed] for m in members],
        "round": number,
        "piece": piece,
        "totals": list(totals),
    }
    return record, {"lanes": lanes, "totals": totals}


def _add(sums: list[Any]) -> dict[str, np.ndarray]:
    """The sums over the segments of a round, in float64 on the host."""
    # One by one: np.sum may pair the terms, and then a sum that a checkpoint cut in two has other last bits.
    return {name: functools.reduce(np.add, [np.asarray(s[name], np.float64) for s in sums]) for name in sums[0]}


def padded(members: Sequence[Member], lanes: int) -> list[Member]:
    """Returns members filled up to a tile a device, with the last one again."""
    return [*members, *[members[-1]] * (lanes - len(members))]
