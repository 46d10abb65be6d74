"""Between the engine and a searcher: trials become members of groups, and ends become values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxopt_intro.data import Dataset
from jaxopt_intro.experiment import grouping
from jaxopt_intro.experiment.asking import Experiment
from jaxopt_intro.experiment.grouping import Program, Staged
from jaxopt_intro.sweeps.job import Group, Source
from jaxopt_intro.sweeps.searchers import Searcher, Told
from jaxopt_intro.sweeps.session import Session
from jaxopt_intro.sweeps.space import Trial

BATCHES, FEWEST, MOST = 10, 8, 512


class Asked:
    """All that a searcher was asked for.

    Args:
        searcher: Where the trials come from.
        experiment: What all trials have in common.
        dataset: Its data.
        replicates: How many seeds each trial has.
        most: At most so many trials are asked for, or None.

    Attributes:
        staged: The trials so far.
        programs: Their programs.
        groups: Their groups.
    """

    def __init__(
        self,
        searcher: Searcher,
        experiment: Experiment,
        dataset: Dataset,
        replicates: int,
        most: int | None,
    ):
        self._searcher, self._experiment, self._dataset = searcher, experiment, dataset
        self._replicates, self._most, self._count = replicates, most, 0
        self._known = grouping.Known({}, {})
        self._trials: dict[str, Trial] = {}
        self.staged: list[Staged] = []
        self.programs: dict[str, Program] = {}
        self.groups: dict[str, Group] = {}

    def source(self, session: Session, sign: float, write: Callable[[Sequence[Staged], list[Group]], None]) -> Source:
        """Returns what the engine asks and tells.

        Args:
            session: Knows how members ended.
            sign: 1 if more is better, -1 if less is.
            write: Writes new trials into the journal.
        """
        trials = self._searcher.asked.get("search", {}).get("trials", BATCHES * MOST)
        batch = min(max(-(-trials // BATCHES), FEWEST), MOST, trials)

        def ask(count: int, before: Sequence[str] | None) -> list[Group]:
            groups, new = self.ask(count)
            if before is not None:
                _check_again(before, {m.trial for group in groups for m in group.members})
            write(new, groups)
            return groups

        def tell(trials: Sequence[str]) -> None:
            self._searcher.tell([self._told(trial, session, sign) for trial in trials])

        def count() -> int:
            return batch if self._most is None else min(batch, max(0, self._most - self._count))

        return Source(ask, tell, batch, count)

    def ask(self, count: int) -> tuple[list[Group], list[Staged]]:
        """Asks for more trials and stages them."""
        trials = list(self._searcher.ask(count))
        if not trials:
            return [], []
        self._count += len(trials)
        found, programs = grouping.stage(self._experiment, self._dataset, trials, self._known)
        new = [s for s in found if s.id not in self._trials]
        self._trials |= {s.id: s.trial for s in new}
        self.staged += new
        self.programs |= programs
        groups = grouping.groups(self._experiment, self._dataset, found, programs, self._replicates)
        for group in groups:
            before = self.groups.get(group.id)
            members = {m.pair: m for m in [*(before.members if before else ()), *group.members]}
            self.groups[group.id] = group._replace(members=list(members.values()))
        return groups, new

    def _told(self, trial: str, session: Session, sign: float) -> Told:
        """How a trial ended: failed if one of its seeds has, pruned if one was; its score is the mean over them."""
        ends = [session.ended[trial, seed] for seed in session.seeds[trial]]
        scores = [end["score"] for end in ends]
        status = next((s for s in ("failed", "pruned") if any(end["status"] == s for end in ends)), "finished")
        known = status != "failed" and all(score is not None for score in scores)
        # A score that was read from the journal is the shortest text of its float32, another float64.
        value = sign * float(np.mean([np.float64(np.float32(score)) for score in scores])) if known else None
        return Told(self._trials[trial], status if known or status != "finished" else "failed", value)


def left_out(searcher: Searcher, most: int | None) -> int:
    """Returns how many of the trials of a searcher's own budget a limit leaves out; 0 where it has no budget."""
    budget = searcher.asked.get("search", {}).get("trials", 0)
    return 0 if most is None else max(0, budget - most)


def check_limit(most: int | None, asks: Sequence[Mapping[str, Any]]) -> None:
    """Refuses to want fewer trials than a searcher was asked for before: a resumed search asks again for all of them.

    Raises:
        ValueError: They are fewer.
    """
    known = sum(len(ask["trials"]) for ask in asks)
    if most is not None and most < known:
        raise ValueError(
            f"got max_trials={most} for a search that has been asked for {known} trials already; expected at least "
            f"{known}, since it learns from all of them. Leave max_trials out, or give another directory."
        )


def _check_again(before: Sequence[str], now: set[str]) -> None:
    """Refuses to go on with a searcher that gives other trials for the same ask: all it learnt was of the journal's."""
    missing = next((trial for trial in before if trial not in now), None)
    if missing is not None or len(before) < len(now):
        raise ValueError(
            f"the run's searcher was asked again for what the journal has, and got {len(now)} trials, "
            f"{f'not {missing}' if missing else 'more than then'}; expected the same {len(before)}. Another version of "
            "jaxopt_intro or Optuna may search otherwise: use those that began the run, or give another directory."
        )
