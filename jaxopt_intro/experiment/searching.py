"""Between the engine and a searcher: trials become members of groups, and ends become values."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
        self._replicates, self._left = replicates, most
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

        def ask(count: int) -> list[Group]:
            groups, new = self.ask(count)
            write(new, groups)
            return groups

        def tell(trials: Sequence[str]) -> None:
            self._searcher.tell([self._told(trial, session, sign) for trial in trials])

        return Source(ask, tell, batch)

    def ask(self, count: int) -> tuple[list[Group], list[Staged]]:
        """Asks for more trials and stages them."""
        count = count if self._left is None else min(count, self._left)
        trials = list(self._searcher.ask(count)) if count else []
        if not trials:
            return [], []
        if self._left is not None:
            self._left -= len(trials)
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
