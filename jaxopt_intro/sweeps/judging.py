"""Between the engine and a pruner: members become trials, rounds become epochs, steps or examples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxopt_intro.sweeps.field import Field
from jaxopt_intro.sweeps.job import Group, Job, Member, Pair
from jaxopt_intro.sweeps.pruning import Entrant, News, Pruner, Verdict
from jaxopt_intro.sweeps.session import Session
from jaxopt_intro.sweeps.tiles import End


class Judge:
    """A job's pruner, what it remembers, and the journal of what it was told and said.

    Args:
        job: What is asked.
        pruner: Its pruner.
        session: The journal.
        field: The members.

    Attributes:
        updates: How often the pruner has said something.
        copies: Whether it lets trials copy each other.
    """

    def __init__(self, job: Job, pruner: Pruner, session: Session, field: Field):
        self._session, self._field, self._pruner, self._likely = session, field, pruner, job.likely
        self._examples = jax.tree.leaves(job.train)[0].shape[0]
        self._state: Any = None
        self._objective = pruner.metric in (None, job.objective)
        self._metric = pruner.metric or job.objective
        self._sign = 1.0 if (pruner.direction or job.direction) == "max" else -1.0
        self.updates, self.copies = 0, pruner.copies

    def enter(self, entrants: Sequence[Entrant]) -> list[Verdict]:
        """Tells the pruner of new trials."""
        return self._update(News(entered=entrants))

    def report(self, at: float, values: Mapping[str, float]) -> list[Verdict]:
        """Tells the pruner what trials have reached."""
        return self._update(News(at=at, values=values, ended=[trial for trial in values if self._field.over(trial)]))

    def settle(self) -> list[Verdict]:
        """Tells the pruner that nobody trains any more; nothing happened if it says nothing."""
        news = News(idle=True)
        state, verdicts = self._pruner.update(self._started(), news)
        return self._record(news, state, verdicts) if verdicts else []

    def again(self, record: Mapping[str, Any]) -> list[Verdict]:
        """Tells the pruner what an earlier session told it."""
        entered = [self._field.entrant(trial) for trial in record["entered"]]
        news = News(entered, record["rung"], record["values"], record["idle"], record.get("ended", ()))
        self._state, verdicts = self._pruner.update(self._started(), news)
        self.updates += 1
        return verdicts

    def values(self, end: End, members: Sequence[Member], which: Sequence[int]) -> dict[Pair, float]:
        """Returns what members have reached, more is better: of one that was stopped early its best."""
        found = self._sign * np.asarray(end.seen.metrics[self._metric], np.float64)
        if self._objective:
            best = np.asarray(end.lanes.best.score, np.float64)[: len(members)]  # has its sign already
            found = np.where(end.seen.stopped, best, found)
        found = np.where(end.seen.failed, np.nan, found)
        return {members[i].pair: float(found[i]) for i in which}

    def rounds(self, group: Group, amount: float) -> int:
        """Returns after how many rounds a member of a group has trained at least so much."""
        ends = np.cumsum(group.rounds)
        return min(int(np.searchsorted(ends, amount * self._steps(group) - 1e-6)) + 1, len(ends))

    def amount(self, group: Group, rounds: int) -> float:
        """Returns how much a member of a group has trained after so many rounds."""
        return sum(group.rounds[:rounds]) / self._steps(group)

    def stages(self, group: Group, members: int) -> list[tuple[int, int]]:
        """Returns how many members are expected between one rung and the next, and for how many steps."""
        expected = self._pruner.stages(members, validations([group], self._examples, self._pruner.unit))
        return [(n, max(1, round(much * self._steps(group)))) for n, much in expected if much]

    def _steps(self, group: Group) -> float:
        return _steps(group, self._examples, self._pruner.unit)

    def _started(self) -> Any:
        if self._state is None:
            groups = self._likely or self._field.groups.values()
            self._state = self._pruner.init(validations(groups, self._examples, self._pruner.unit))
        return self._state

    def _update(self, news: News) -> list[Verdict]:
        state, verdicts = self._pruner.update(self._started(), news)
        return self._record(news, state, verdicts)

    def _record(self, news: News, state: Any, verdicts: list[Verdict]) -> list[Verdict]:
        self._state, number = state, self.updates
        self.updates += 1
        entered = [entrant.trial for entrant in news.entered]
        self._session.emit({
            "type": "rung",
            "number": number,
            "rung": news.at,
            "idle": news.idle,
            "ended": list(news.ended),
            "entered": entered,
            "values": news.values,
            "verdicts": [_plain(v) for v in verdicts if v.trial not in set(entered)],
            "time": round(self._session.elapsed(), 3),
        })  # fmt: skip
        return verdicts


def validations(groups: Iterable[Group], examples: int, unit: str) -> list[float]:
    """Returns after how much training members can be judged: each amount is at a validation of its own in every group.

    Args:
        groups: The groups.
        examples: How many the training split has.
        unit: What training is counted in: "epochs", "steps" or "examples".

    Examples:
        >>> group = Group("", "", None, None, None, None, (), [], 8, [4, 4, 2])
        >>> validations([group], 32, "epochs"), validations([group, group._replace(rounds=[5, 5])], 32, "steps")
        ([1.0, 2.0, 2.5], [5.0, 10.0])
    """
    every = [np.cumsum(g.rounds) / _steps(g, examples, unit) for g in groups]
    found, places = [], [0] * len(every)
    while any(place < len(own) for place, own in zip(places, every, strict=True)):
        found.append(max(float(own[place]) for place, own in zip(places, every, strict=True) if place < len(own)))
        places = [int(np.searchsorted(own, found[-1] * (1 - 1e-9))) + 1 for own in every]
    return found


def _steps(group: Group, examples: int, unit: str) -> float:
    """How many steps one of a pruner's units is."""
    return {"epochs": examples // group.batch_size, "steps": 1.0, "examples": 1 / group.batch_size}[unit]


def _plain(verdict: Verdict) -> dict[str, Any]:
    named = verdict._asdict()
    named["from"] = named.pop("source")
    return {name: value for name, value in named.items() if value not in ("", 0.0, {})}
