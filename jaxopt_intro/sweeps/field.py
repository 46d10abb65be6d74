"""Who is where: which members train next, who waits for a verdict, with which weights, and who has ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxopt_intro.sweeps import checkpoint
from jaxopt_intro.sweeps.job import Group, Job, Member, Pair
from jaxopt_intro.sweeps.pruning import Entrant
from jaxopt_intro.typing import PyTree


class Parked(NamedTuple):
    """Where a member's lane waits: a row of arrays on the host, with so many rounds behind it."""

    round: int
    lanes: PyTree
    row: int


class Queue(NamedTuple):
    """Members that can train side by side: of one group, equally far, and of one seed if batches vary."""

    group: str
    round: int
    seed: int | None


class Field:
    """The members of a run.

    Args:
        job: What is asked.

    Attributes:
        groups: The groups by their ids, in the order asked.
        members: Every member, with the numbers that it trains with now.
        waiting: The values of those that have reached their target, by trial: one for each seed.
        last: The last value of every member.
    """

    def __init__(self, job: Job):
        self._vary, self._numbers = job.vary_batches, job.numbers
        self.groups: dict[str, Group] = {}
        self.members: dict[Pair, Member] = {}
        self.waiting: dict[str, dict[Pair, float]] = {}
        self._group: dict[str, str] = {}
        self._pairs: dict[str, list[Pair]] = {}
        self._entrants: dict[str, Entrant] = {}
        self.last: dict[Pair, float] = {}
        self._target: dict[str, int] = {}
        self._parked: dict[Pair, Parked] = {}
        self._queues: dict[Queue, dict[Pair, None]] = {}
        self._ended: set[Pair] = set()

    def add(self, groups: Iterable[Group], ended: Iterable[Pair] = ()) -> None:
        """Takes new members in; those that have ended before are known, and train no more."""
        over = set(ended)
        for group in groups:
            self.groups.setdefault(group.id, group)
            for member in group.members:
                if member.pair in self.members:
                    continue
                self.members[member.pair] = member
                self._group[member.trial] = group.id
                self._pairs.setdefault(member.trial, []).append(member.pair)
                self._entrants[member.trial] = Entrant(member.trial, group.id, dict(member.hparams), self._numbers)
                if member.pair in over:
                    self._ended.add(member.pair)

    def group_of(self, trial: str) -> Group:
        """Returns the group of a trial."""
        return self.groups[self._group[trial]]

    def send(self, trial: str, until: int) -> None:
        """Lets a trial train until it has so many rounds behind it."""
        self._target[trial] = until
        for pair in self._pairs[trial]:
            if pair not in self._ended and self.round_of(pair) < until:
                self._queues.setdefault(self._queue(pair), {})[pair] = None

    def unsent(self) -> list[Entrant]:
        """Returns the trials that nobody has sent yet and that have not ended, in the order asked."""
        return [self.entrant(trial) for trial in self._pairs if trial not in self._target and self.alive(trial)]

    def entrant(self, trial: str) -> Entrant:
        """Returns a trial as a pruner sees it, with the numbers that it began with."""
        return self._entrants[trial]

    def target(self, trial: str) -> int:
        """Returns how many rounds a trial may have behind it."""
        return self._target.get(trial, 0)

    def round_of(self, pair: Pair) -> int:
        """Returns how many rounds a member that does not train now has behind it."""
        return self._parked[pair].round if pair in self._parked else 0

    def queues(self) -> dict[Queue, int]:
        """Returns how many members could train in each queue, in the order in which the queues came up."""
        return {queue: len(members) for queue, members in self._queues.items() if members}

    def take(self, queue: Queue, count: int) -> list[Member]:
        """Takes members out of a queue, those that stop first before the others."""
        members = self._queues[queue]
        order = list(members)
        if len({self._target[pair[0]] for pair in order}) > 1:
            order.sort(key=lambda pair: self._target[pair[0]])
        for pair in order[:count]:
            del members[pair]
        return [self.members[pair] for pair in order[:count]]

    def meeting(self, group: Group, number: int, until: int) -> int:
        """Returns the next round, at the latest `until`, at which others of a group wait, or will be when they stop."""
        own = (pair for trial, pairs in self._pairs.items() if self._group[trial] == group.id for pair in pairs)
        alive = [pair for pair in own if pair not in self._ended]
        rounds = {n for pair in alive for n in (self.round_of(pair), self.target(pair[0])) if number < n < until}
        return min(rounds, default=until)

    def remove(self, members: Sequence[Member]) -> None:
        """Takes members that train already out of their queues."""
        for member in members:
            for queue in self._queues.values():
                queue.pop(member.pair, None)

    def lanes(self, members: Sequence[Member], lanes: int) -> PyTree:
        """Returns the waiting lanes of members as host arrays, filled up to so many; None where they have not begun."""
        places = [self._parked.get(m.pair) for m in members]
        if places[0] is None:
            return None
        return _rows([place for place in places if place], lanes)

    def park(self, members: Sequence[Member], lanes: PyTree, round: int) -> None:
        """Keeps the lanes of members, which are the first rows of host arrays; each by itself, as others may end."""
        for row, member in enumerate(members):
            if member.pair not in self._ended:
                own = jax.tree.map(lambda x, row=row: x[row : row + 1].copy(), lanes)
                self._parked[member.pair] = Parked(round, own, 0)

    def arrive(self, values: Mapping[Pair, float]) -> dict[str, float]:
        """Takes the values of members at their target; returns those of the trials whose seeds are all there.

        Of several seeds it is their mean, not a number where one has failed.
        """
        complete = {}
        for pair, value in values.items():
            self.last[pair] = value
            self.waiting.setdefault(pair[0], {})[pair] = value
        for trial in dict.fromkeys(trial for trial, _ in values):
            own = self.waiting[trial]
            over = {pair: self.last[pair] for pair in self._pairs[trial] if pair in self._ended and pair in self.last}
            if len(own | over) == len(self._pairs[trial]):
                complete[trial] = float(np.mean(list((over | own).values())))
                del self.waiting[trial]
        return complete

    def copy(self, trial: str, source: str, hparams: Mapping[str, float], *, lanes: bool = True) -> None:
        """Lets a trial go on from another's weights and optimizer state, with other numbers and its own noise.

        Args:
            trial: The trial.
            source: Whose lane it takes over.
            hparams: The numbers.
            lanes: Whether the lane is to be copied: one from a checkpoint is a copy already.
        """
        for pair in self._pairs[trial]:
            self.members[pair] = self.members[pair]._replace(hparams=dict(hparams))
        for pair in self._pairs[trial] if lanes else ():
            theirs, own = self._parked[source, pair[1]], self._parked[pair]
            row, mine = (jax.tree.map(lambda x, p=p: np.array(x[p.row : p.row + 1]), p.lanes) for p in (theirs, own))
            # A trial's score is that of its own curve, so its best weights stay its own.
            row = row._replace(state=row.state._replace(key=mine.state.key), best=mine.best)
            self._parked[pair] = Parked(theirs.round, row, 0)

    def end(self, members: Iterable[Member]) -> None:
        """Ends members: their lanes are no longer kept."""
        for member in members:
            self._ended.add(member.pair)
            self._parked.pop(member.pair, None)
            for queue in [q for q, own in self._queues.items() if member.pair in own]:
                del self._queues[queue][member.pair]

    def knows(self, trial: str) -> bool:
        """Whether a trial has been asked for."""
        return trial in self._pairs

    def alive(self, trial: str) -> list[Member]:
        """Returns the members of a trial that have not ended."""
        return [self.members[pair] for pair in self._pairs[trial] if pair not in self._ended]

    def left(self) -> list[Member]:
        """Returns the members that have not ended, in the order asked."""
        return [member for pair, member in self.members.items() if pair not in self._ended]

    def over(self, trial: str) -> bool:
        """Whether all seeds of a trial have ended."""
        return all(pair in self._ended for pair in self._pairs[trial])

    def together(self, members: Iterable[Member]) -> Iterator[tuple[Group, int, list[Member]]]:
        """Sorts members by their group and by how many rounds they have behind them."""
        found: dict[tuple[str, int], list[Member]] = {}
        for member in members:
            found.setdefault((self._group[member.trial], self.round_of(member.pair)), []).append(member)
        for (group, number), own in found.items():
            yield self.groups[group], number, own

    def stored(self, running: Iterable[Pair]) -> tuple[dict[str, Any], PyTree]:
        """Returns who waits and does not train, as a record has it, and their lanes, as a checkpoint has them."""
        record: dict[str, Any] = {}
        tree: dict[str, Any] = {}
        waiting = self._parked.keys() - set(running)
        for group, number, members in self.together(self.members[pair] for pair in self._parked if pair in waiting):
            name = f"{group.id}-{number}"
            record[name] = [[m.trial, m.seed] for m in members]
            tree[name] = _rows([self._parked[m.pair] for m in members], len(members))
        return record, tree

    def restore(self, record: Mapping[str, Any], tree: Mapping[str, PyTree]) -> None:
        """Takes back what `stored` gave."""
        for name, pairs in record.items():
            members = [self.members[trial, seed] for trial, seed in pairs]
            self.park(members, tree[name], int(name.rpartition("-")[2]))

    def _queue(self, pair: Pair) -> Queue:
        return Queue(self._group[pair[0]], self.round_of(pair), pair[1] if self._vary else None)


def to_host(lanes: PyTree) -> PyTree:
    """Returns lanes as host arrays, random keys as their data."""
    return jax.tree.map(np.asarray, checkpoint.untyped(lanes))


def _rows(places: Sequence[Parked], count: int) -> PyTree:
    """The rows of waiting lanes as one tree, the last one repeated."""
    first = places[0]
    whole = all(p.lanes is first.lanes and p.row == i for i, p in enumerate(places))
    if whole and count == len(jax.tree.leaves(first.lanes)[0]):
        return first.lanes
    blocks: dict[int, tuple[PyTree, list[int], list[int]]] = {}
    for place, parked in enumerate([*places, *[places[-1]] * (count - len(places))]):
        _, to, rows = blocks.setdefault(id(parked.lanes), (parked.lanes, [], []))
        to.append(place)
        rows.append(parked.row)

    def gathered(*leaves: np.ndarray) -> np.ndarray:
        found = np.empty((count, *leaves[0].shape[1:]), leaves[0].dtype)
        for leaf, (_, to, rows) in zip(leaves, blocks.values(), strict=True):
            found[to] = leaf[rows]
        return found

    return jax.tree.map(gathered, *(block for block, _, _ in blocks.values()))
