"""Runs a job: tile after tile, each of members that are equally far, until every member has ended.

A kill at any moment costs at most the work since the last checkpoint, and changes no bit of any result: the width is
frozen in the journal, a lane depends on nothing but its own numbers, seed and batches, and a pruner's verdicts, which
depend on other trials, are reached again in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxopt_intro.sweeps import checkpoint, field, tiles
from jaxopt_intro.sweeps.exhaustion import TooWide
from jaxopt_intro.sweeps.field import Field, Queue
from jaxopt_intro.sweeps.job import Group, Job, Member, Pair, Source
from jaxopt_intro.sweeps.judging import Judge
from jaxopt_intro.sweeps.keeping import Keeper
from jaxopt_intro.sweeps.planning import Plan
from jaxopt_intro.sweeps.population import Lane
from jaxopt_intro.sweeps.pruning import Verdict
from jaxopt_intro.sweeps.readying import Ahead, Placed, Ready, make_ready, spare_cores
from jaxopt_intro.sweeps.session import Session
from jaxopt_intro.sweeps.tiles import End, Start
from jaxopt_intro.typing import PyTree

UNDECIDED = "nobody said that it goes on"


def run(job: Job, session: Session) -> None:
    """Trains every member that the journal has not seen end.

    Args:
        job: What to train.
        session: The journal, the clock, and what earlier sessions did.

    Raises:
        KeyboardInterrupt: A signal asked to stop; the running tile is checkpointed.
    """
    engine = Engine(job, session)
    engine.go_on()
    while not session.over and engine.advance():
        if session.stopping:
            engine.stop()
    session.flush()
    engine.end_all(session.over or UNDECIDED)
    session.drop_checkpoint(always=job.pruner is not None)


class Engine:
    """What a run needs from one tile to the next.

    Args:
        job: What to train.
        session: The journal, the clock, and what earlier sessions did.
    """

    def __init__(self, job: Job, session: Session):
        self._job, self._session = job, session
        self._field, self._keeper = Field(job), Keeper(session, job)
        self._judge = Judge(job, job.pruner, session, self._field) if job.pruner else None
        self._ready: dict[str, Ready] = {}
        self._ahead: dict[str, Ahead] = {}
        self._placed: dict[int, Placed] = {}
        self._exhausted = job.source is None
        self._told: set[str] = set()
        self._asks = 0
        self._held = False
        self._ended: frozenset[Pair] = frozenset()

    # -- where earlier sessions stopped ----------------------------------------------------------------------------

    def go_on(self) -> None:
        """Takes in the members that are known and what was decided of them, and finishes the tile that was running."""
        session, saved = self._session, self._session.checkpoint
        if self._judge:
            session.go_back()  # of later verdicts all is reached again
        known = session.latest()
        self._ended = known.ended
        self._field.add(self._job.groups, self._ended)
        if source := self._job.source:
            for asked in session.asks:
                self._ask(source, asked["count"], asked["told"], asked["trials"])
        ended = [pair for pair in self._field.members if pair in self._ended]
        session.finished = session.finished_before = len(ended)
        session.done = sum(len(self._field.group_of(trial).rounds) for trial, _ in ended)
        self._count()
        running = self._restored(saved) if saved and self._knows(saved) else []
        if self._judge:
            for record in session.updates:
                self._carry_out(self._judge.again(record), replayed=True)
        self._enter()
        running = [([self._field.members[m.pair] for m in members], start) for members, start in running]  # as copied
        self._field.remove([member for members, _ in running for member in members])
        for i, (members, start) in enumerate(running):
            self._held = i + 1 < len(running)  # a checkpoint of one part would lack the others
            self._run(self._readied(self._field.group_of(members[0].trial)), members, start)

    def _knows(self, saved: dict[str, Any]) -> bool:
        """Whether all members of a checkpoint are asked for again."""
        pairs = [tuple(pair) for own in (saved["members"], *saved["parked"].values()) for pair in own]
        return self._field.members.keys() >= set(pairs)

    def _restored(self, saved: dict[str, Any]) -> list[tuple[list[Member], Start]]:
        """The running tile of a checkpoint, in as many parts as it needs now: there may be fewer devices than then."""
        ready = self._readied(self._field.groups[saved["group"]])
        likes = {name: self._readied(self._field.groups[name.rpartition("-")[0]]).like for name in saved["parked"]}
        like = {
            "lanes": ready.like if saved["members"] else (),
            "totals": {name: np.zeros(0) for name in saved["totals"]},
            "parked": {n: checkpoint.host_like(of_group, len(saved["parked"][n])) for n, of_group in likes.items()},
        }
        # Loaded whole, before a part of it runs: the next checkpoint removes this one.
        stored = checkpoint.load(self._session.directory / saved["path"], like)
        self._field.restore(saved["parked"], stored["parked"])
        self._session.done += sum(int(name.rpartition("-")[2]) * len(own) for name, own in saved["parked"].items())
        self._field.waiting = {}
        for trial, seed, value in saved["waiting"]:
            self._field.waiting.setdefault(trial, {})[trial, seed] = value
        self._field.last = {(trial, seed): value for trial, seed, value in saved["last"]}
        if not saved["members"]:
            return []
        begun = [self._field.members[trial, seed] for trial, seed in saved["members"]]
        parts = []
        for first in range(0, len(begun), ready.lanes):
            rows = np.minimum(first + np.arange(ready.lanes), len(begun) - 1)
            lanes = jax.device_put(jax.tree.map(lambda x, r=rows: x[r], stored["lanes"]), ready.devices.lanes)
            totals = {name: np.asarray(value, np.float64)[rows] for name, value in stored["totals"].items()}
            members = begun[first : first + ready.lanes]
            parts.append((members, Start(lanes, saved["round"], saved["piece"], totals or None)))
            self._session.done += len(members) * saved["round"]
        return parts

    # -- one tile after the other ----------------------------------------------------------------------------------

    def advance(self) -> bool:
        """Runs the next tile, or decides who goes on; returns whether there was anything to do."""
        queue = self._next()
        if queue is None:
            self._session.flush()
            return self._settled() or self._more()  # a searcher learns from a batch that is through
        ready = self._readied(self._field.groups[queue.group])
        members = self._field.take(queue, ready.lanes)
        waiting = self._field.lanes(members, ready.lanes)
        if waiting is None:
            start = Start()
        else:
            lanes = jax.device_put(checkpoint.typed(waiting, ready.like), ready.devices.lanes)
            start = Start(lanes, queue.round)
        self._run(ready, members, start)
        return True

    def _next(self) -> Queue | None:
        """The queue of the next tile.

        Without a pruner the groups come one after the other. With one, full tiles come first, those that are farthest
        before others, then new members, and the tiles that nothing can fill any more last.
        """
        queues = self._field.queues()
        if not self._judge or not queues:
            first = next(iter(queues), None)
            if first is not None and not self._judge and not self._job.source:  # the groups before are through
                self._ready = {name: ready for name, ready in self._ready.items() if name == first.group}
            return first
        for queue in sorted(queues, key=lambda q: -q.round):
            if queue.group in self._ready and queues[queue] >= self._ready[queue.group].lanes:
                return queue
        new = [queue for queue in queues if queue.group not in self._ready]
        if new:
            return new[0]
        return min(queues, key=lambda queue: queue.round)

    def _run(self, ready: Ready, members: Sequence[Member], start: Start) -> None:
        self._prepare_next(ready.plan)
        until = min(self._field.target(m.trial) for m in members)
        if self._judge and len(members) < ready.lanes:  # others may join
            until = self._field.meeting(ready.group, start.round, until)
        try:
            end = tiles.run_tile(self._job, self._session, ready, members, start, until, self._save)
        except TooWide as error:
            if ready.plan.width == 1 or self._job.width is not None:
                raise MemoryError(
                    f"{ready.group.title or 'all trials'}: {ready.lanes} side by side did not fit in memory: {error}. "
                    "Use a smaller width, batch_size or microbatch."
                ) from error
            self._ready[ready.group.id] = ready.narrower()
            for trial in dict.fromkeys(m.trial for m in members):
                self._field.send(trial, self._field.target(trial))
            return
        group = ready.group
        if not self._judge and not self._job.source and (end.round == len(group.rounds) or end.seen.over):
            self._session.later(lambda: self._finish(group, members, end.lanes, end.round))
            return
        self._session.flush()
        self._leave(ready, members, end)

    def _leave(self, ready: Ready, members: Sequence[Member], end: End) -> None:
        """Ends those members of a tile that are through, lets the others wait, and tells the pruner where they are."""
        group, copies = ready.group, self._judge is not None and self._judge.copies
        ended = (end.seen.stopped | end.seen.failed) & (not copies)
        if end.round == len(group.rounds):
            ended = np.ones(len(members), bool)
        lanes = field.to_host(end.lanes)
        there = [i for i, m in enumerate(members) if ended[i] or self._field.target(m.trial) <= end.round]
        values = self._judge.values(end, members, there) if self._judge else {}
        if ended.any():
            through = jax.tree.map(lambda x: x[: len(members)][ended], lanes)
            self._finish(group, [m for m, over in zip(members, ended, strict=True) if over], through, end.round)
        self._field.park(members, lanes, end.round)
        arrived = self._field.arrive(values)
        for trial in dict.fromkeys(m.trial for m in members):  # those who have not arrived go on when a tile is free
            if self._field.target(trial) > end.round:
                self._field.send(trial, self._field.target(trial))
        if self._judge and arrived:
            self._carry_out(self._judge.report(self._judge.amount(group, end.round), arrived))

    def _finish(self, group: Group, members: Sequence[Member], lanes: Lane, number: int, reason: str = "") -> None:
        self._keeper.finish(members, lanes, group.rounds, number, reason)
        self._session.done += len(members) * (len(group.rounds) - number)
        self._field.end(members)
        if not self._judge:
            self._session.drop_checkpoint()

    def end_all(self, reason: str) -> None:
        """Ends the members that are left, as pruned for a reason."""
        for group, number, members in self._field.together(self._field.left()):
            lanes = self._field.lanes(members, len(members))
            self._finish(group, members, lanes, number, reason)

    # -- verdicts and new members ----------------------------------------------------------------------------------

    def _enter(self) -> None:
        """Lets those begin that nobody has sent yet."""
        new = self._field.unsent()
        if self._judge and new:
            self._carry_out(self._judge.enter(new))
        for entrant in () if self._judge else new:
            self._field.send(entrant.trial, len(self._field.group_of(entrant.trial).rounds))

    def _settled(self) -> bool:
        """Whether the pruner, now that nobody trains, lets anybody go on."""
        return self._judge is not None and self._carry_out(self._judge.settle())

    def _carry_out(self, verdicts: Sequence[Verdict], *, replayed: bool = False) -> bool:
        """Does what a pruner said; what was done before a checkpoint is in the lanes that it holds."""
        useful = [verdict for verdict in verdicts if self._field.alive(verdict.trial)]
        for verdict in useful:
            if verdict.action == "copy":
                self._field.copy(verdict.trial, verdict.source, verdict.hparams, lanes=not replayed)
        for verdict in useful:
            if verdict.action in ("go", "copy") and self._judge:
                group = self._field.group_of(verdict.trial)
                # To the next validation at least: at one a trial is judged once, whatever a pruner says.
                further = min(self._field.target(verdict.trial) + 1, len(group.rounds))
                self._field.send(verdict.trial, max(self._judge.rounds(group, verdict.to), further))
        stopped = {v.trial: v.reason for v in useful if v.action == "stop"}
        for reason in dict.fromkeys(stopped.values()) if not replayed else ():
            members = [m for t, why in stopped.items() if why == reason for m in self._field.alive(t)]
            for group, number, own in self._field.together(members):
                self._finish(group, own, self._field.lanes(own, len(own)), number, reason)
        return bool(useful)

    def _more(self) -> bool:
        """Asks for more trials; returns whether there are any."""
        if self._exhausted or self._job.source is None:
            return False
        self._session.flush()
        count = self._job.source.count()  # a resumed search asks again for as many
        ended = dict.fromkeys(trial for trial, _ in self._session.ended if trial not in self._told)
        told = [trial for trial in ended if self._field.knows(trial) and self._field.over(trial)]
        groups = self._ask(self._job.source, count, told) if count else []
        if not groups:
            self._exhausted = True
            return False
        trials = list(dict.fromkeys(m.trial for group in groups for m in group.members))
        asked = {"type": "ask", "number": self._asks - 1, "count": count, "told": told, "trials": trials}
        self._session.emit(asked)
        self._enter()
        return True

    def _ask(self, source: Source, count: int, told: Sequence[str], before: Sequence[str] | None = None) -> list[Group]:
        source.tell(told)
        self._told.update(told)
        groups = source.ask(count, before)
        self._field.add(groups, self._ended)
        self._asks += 1
        self._count()
        return groups

    # -- what tiles need -------------------------------------------------------------------------------------------

    def _readied(self, group: Group) -> Ready:
        if group.id not in self._ready:
            self._session.flush()
            ahead, self._ahead = self._ahead.pop(group.id, None), {}
            self._ready[group.id] = make_ready(
                self._job, self._session, group, self._stages(group), self._placed, ahead
            )
        return self._ready[group.id]

    def _prepare_next(self, plan: Plan) -> None:
        """Compiles the group that comes after those that are ready, beside what runs now."""
        waiting = (self._field.groups[queue.group] for queue in self._field.queues())
        group = next((group for group in waiting if group.id not in self._ready), None)
        if group is not None and not self._ahead and spare_cores():
            self._ahead = {group.id: Ahead(self._job, self._session, group, self._stages(group), plan, self._placed)}

    def _stages(self, group: Group) -> list[tuple[int, int]]:
        """How many members the group will have, and how many steps each trains between one rung and the next."""
        members, steps = len(group.members), sum(group.rounds)
        seeds = max(1, len({m.seed for m in group.members}))
        if self._job.source is not None:
            members = max(members, self._job.source.batch * seeds)
        if self._job.vary_batches:  # tiles are of one seed
            members = -(-members // seeds)
        if self._judge:
            return self._judge.stages(group, members)
        return [(members, steps)]

    def stop(self) -> None:
        """Ends the session between two tiles, after a signal.

        Raises:
            KeyboardInterrupt: Always.
        """
        self._session.flush()
        if self._judge:
            of_nobody = {"type": "checkpoint", "members": [], "round": 0, "piece": 0, "totals": []}
            self._save({**of_nobody, "group": next(iter(self._field.groups))}, {"lanes": (), "totals": {}})
        raise KeyboardInterrupt

    def _save(self, record: dict[str, Any], tree: PyTree) -> None:
        if self._held:
            if self._session.stopping:
                raise KeyboardInterrupt  # the checkpoint that was gone on from holds
            self._session.postpone()
            return
        self._session.flush()
        parked, lanes = self._field.stored(map(tuple, record["members"]))
        waiting = [[*pair, value] for own in self._field.waiting.values() for pair, value in own.items()]
        last = [[*pair, value] for pair, value in self._field.last.items()] if self._judge else []
        record |= {"parked": parked, "waiting": waiting, "last": last, "asks": self._asks}
        record |= {"updates": self._judge.updates if self._judge else 0}
        self._session.save_checkpoint(record, {**tree, "parked": lanes})

    def _count(self) -> None:
        self._session.members = len(self._field.members)
        self._session.total = sum(len(self._field.group_of(trial).rounds) for trial, _ in self._field.members)
