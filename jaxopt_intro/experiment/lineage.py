"""What a member went through, by the journal: how far it trained, and from whom it came where members copy others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxopt_intro.sweeps.job import Member, Pair


class Stage(NamedTuple):
    """A part of a life that was trained with the same numbers.

    Attributes:
        first: How many rounds were behind it when it began.
        trial: Whose curve in the journal it is.
        hparams: The numbers that are lanes.
    """

    first: int
    trial: str
    hparams: Mapping[str, float]


class Life(NamedTuple):
    """What the state that a member has at its last validation went through.

    A copy keeps its own random key, but members of one seed have the same, and copies are made between these alone: so
    a life is one training whose numbers change.

    Attributes:
        trial: The trial.
        seed: The seed.
        rounds: How many validations the journal has of it.
        stages: In order, the first from round 0.
    """

    trial: str
    seed: int
    rounds: int
    stages: tuple[Stage, ...]

    @property
    def pair(self) -> Pair:
        """What the member is called."""
        return self.trial, self.seed

    def stage(self, number: int) -> Stage:
        """Returns the stage that a round, from 0, belongs to."""
        return next(stage for stage in reversed(self.stages) if stage.first <= number)

    def member(self, number: int) -> Member:
        """Returns the member with the numbers of a round, from 0."""
        return Member(self.trial, self.seed, self.stage(number).hparams)


def lives(records: Sequence[Mapping[str, Any]]) -> dict[Pair, Life]:
    """Returns the life of every member of a run.

    Args:
        records: The journal's.

    Examples:
        >>> trials = [{"type": "trial", "trial": t, "hparams": {"l2": v}, "fixed": [], "seeds": [0]}
        ...           for t, v in (("a", 1.0), ("b", 2.0))]
        >>> epochs = [{"type": "epoch", "epoch": n, "members": [["a", 0], ["b", 0]]} for n in (1, 2)]
        >>> copy = {"trial": "a", "action": "copy", "from": "b", "hparams": {"l2": 2.5}}
        >>> rung = {"type": "rung", "number": 3, "verdicts": [copy]}
        >>> life = lives([*trials, epochs[0], rung, epochs[1]])["a", 0]
        >>> life.rounds, [(stage.first, stage.trial, stage.hparams["l2"]) for stage in life.stages]
        (2, [(0, 'b', 2.0), (1, 'a', 2.5)])
    """
    stages: dict[Pair, tuple[Stage, ...]] = {}
    reached: dict[Pair, int] = {}
    known: set[int] = set()
    for record in records:
        if record["type"] == "trial":
            numbers = {n: v for n, v in record["hparams"].items() if n not in record["fixed"]}
            for seed in record["seeds"]:
                stages.setdefault((record["trial"], seed), (Stage(0, record["trial"], numbers),))
        elif record["type"] == "epoch":
            for trial, seed in record["members"]:
                reached[trial, seed] = max(record["epoch"], reached.get((trial, seed), 0))
        elif record["type"] == "rung" and record["number"] not in known:
            # What was said after a checkpoint comes again after a kill, when later epochs are known already.
            known.add(record["number"])
            stages |= _copied(record["verdicts"], stages, reached)
    return {pair: Life(*pair, reached.get(pair, 0), own) for pair, own in stages.items()}


def _copied(
    verdicts: Sequence[Mapping[str, Any]], stages: Mapping[Pair, tuple[Stage, ...]], reached: Mapping[Pair, int]
) -> dict[Pair, tuple[Stage, ...]]:
    """The new stages of those who took over another's state, where that one was."""
    found = {}
    for verdict in (v for v in verdicts if v["action"] == "copy"):
        for trial, seed in (pair for pair in stages if pair[0] == verdict["trial"]):
            source = verdict["from"], seed
            found[trial, seed] = (*stages[source], Stage(reached[source], trial, verdict["hparams"]))
    return found
