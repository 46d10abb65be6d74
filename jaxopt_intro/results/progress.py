"""How far a run is: folded from its journal record by record, so that a live view reads each record once."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

Member = tuple[str, int]


class Progress(NamedTuple):
    """What the records so far say.

    Attributes:
        objective: What decides.
        direction: "max" or "min".
        epochs: How many each member was asked for; None where the run, or its validations, count steps.
        trials: The settings of every trial, as they read.
        done: The epochs that every asked member has done.
        best: The best value of every member that has one.
        ended: Status of the members that have ended.
        seconds: How long the run has been worked on, all sessions together.
        session: How much of `seconds` and of `share` lay before the last session.
        receipt: Whether a session came to its end, and nothing was left to do since.
    """

    objective: str = "objective"
    direction: str = "max"
    epochs: int | None = None
    trials: Mapping[str, str] = {}
    done: Mapping[Member, int] = {}
    best: Mapping[Member, float] = {}
    ended: Mapping[Member, str] = {}
    seconds: float = 0.0
    session: tuple[float, float] = (0.0, 0.0)
    receipt: bool = False

    @property
    def finished(self) -> bool:
        """Whether every asked member has ended, and the session too."""
        return self.receipt and bool(self.done) and not self.done.keys() - self.ended.keys()

    @property
    def share(self) -> float:
        """How much of what was asked is done, from 0 to 1; a member that ended early is done."""
        if not self.done:
            return 0.0
        running = sum(min(n / self.epochs, 1.0) for m, n in self.done.items() if m not in self.ended and self.epochs)
        return (len(self.ended) + running) / len(self.done)

    @property
    def remaining(self) -> float | None:
        """The seconds that remain at the pace of this session; None where there is none yet."""
        seconds, share = self.seconds - self.session[0], self.share - self.session[1]
        return seconds * (1 - self.share) / share if seconds > 0 and share > 0 else None

    @property
    def leader(self) -> tuple[str, float] | None:
        """The trial of the best member that has not failed, and its value."""
        sign = -1.0 if self.direction == "min" else 1.0
        known = {member: value for member, value in self.best.items() if self.ended.get(member) != "failed"}
        first = max(known, key=lambda member: sign * known[member], default=None)
        return None if first is None else (first[0], known[first])


def advance(progress: Progress, records: Iterable[Mapping[str, Any]]) -> Progress:
    """Returns the progress after some more records.

    Args:
        progress: The progress so far; `Progress()` before the first record.
        records: Records of the journal, in their order. Types that are not known are passed over.

    Examples:
        >>> run = {"type": "run", "objective": {"name": "accuracy", "direction": "max"}, "experiment": {"epochs": 2}}
        >>> trial = {"type": "trial", "trial": "a", "hparams": {"learning_rate": 0.1}, "seeds": [0]}
        >>> epoch = {"type": "epoch", "epoch": 1, "members": [["a", 0]], "metrics": {"accuracy": [0.5]}, "time": 3.0}
        >>> found = advance(advance(Progress(), [run, trial]), [epoch])
        >>> found.share, found.remaining, found.leader
        (0.5, 3.0, ('a', 0.5))
    """
    trials, done, best, ended = dict(progress.trials), dict(progress.done), dict(progress.best), dict(progress.ended)
    now = progress._replace(trials=trials, done=done, best=best, ended=ended)  # the dicts are filled below
    better = min if now.direction == "min" else max
    for record in records:
        kind = record["type"]
        if kind == "run":
            through = now.receipt and bool(done) and not done.keys() - ended.keys()  # asked again, nothing was left
            now = _begun(now, record)._replace(receipt=through)
            better = min if now.direction == "min" else max
        elif kind == "trial":
            trials[record["trial"]] = _words(record)
            done.update({(record["trial"], seed): done.get((record["trial"], seed), 0) for seed in record["seeds"]})
        elif kind == "epoch":
            values = record["metrics"].get(now.objective, [math.nan] * len(record["members"]))
            for (trial, seed), value in zip(record["members"], values, strict=True):
                done[trial, seed] = max(done.get((trial, seed), 0), record["epoch"])
                if math.isfinite(value):
                    best[trial, seed] = better(best.get((trial, seed), value), value)
            now = now._replace(seconds=now.session[0] + record.get("time", 0.0))
        elif kind == "end":
            ended[record["trial"], record["seed"]] = record["status"]
        elif kind == "receipt":
            now = now._replace(receipt=True, seconds=now.session[0] + record.get("seconds", 0.0))
    return now


def _begun(progress: Progress, record: Mapping[str, Any]) -> Progress:
    asked, objective = record.get("experiment", {}), record.get("objective", {})
    return progress._replace(
        objective=objective.get("name", "objective"),
        direction=objective.get("direction", "max"),
        epochs=None if asked.get("steps") or asked.get("validate_every") else asked.get("epochs"),
        session=(progress.seconds, progress.share),
        receipt=False,
    )


def lines(progress: Progress) -> list[str]:
    """Returns what a person wants to know: how far, the best, how long still.

    Args:
        progress: What `advance` returned.

    Examples:
        >>> lines(Progress(done={("a", 0): 1, ("b", 0): 2}, epochs=2, ended={("b", 0): "finished"}, seconds=90))
        ['1 of 2 members ended, 3 of 4 epochs', '1 min 30 s so far, about 30 s to go']
    """
    counts = Counter(progress.ended.values())
    words = f"{len(progress.ended)} of {len(progress.done)} members ended"
    early = ", ".join(f"{counts[status]} {status}" for status in ("failed", "pruned") if counts[status])
    words += f" ({early})" if early else ""
    if progress.epochs:
        words += f", {sum(progress.done.values())} of {len(progress.done) * progress.epochs} epochs"
    found = [words]
    if progress.leader is not None:
        trial, value = progress.leader
        found.append(f"best {progress.objective} of a member {value:.4f}: {progress.trials.get(trial) or trial}")
    clock = f"{duration(progress.seconds)} so far"
    if not progress.finished and progress.remaining is not None:
        clock += f", about {duration(progress.remaining)} to go"
    return [*found, "finished after " + duration(progress.seconds) if progress.finished else clock]


def as_mapping(progress: Progress) -> dict[str, Any]:
    """Returns the same for a script, as what JSON can hold.

    Args:
        progress: What `advance` returned.

    Examples:
        >>> as_mapping(Progress(done={("a", 0): 1}, epochs=2))["share"]
        0.5
    """
    trial, value = progress.leader or (None, None)
    return {
        "finished": progress.finished,
        "share": progress.share,
        "members": len(progress.done),
        "ended": dict(Counter(progress.ended.values())),
        "epochs_done": sum(progress.done.values()),
        "epochs_asked": progress.epochs and progress.epochs * len(progress.done),
        "objective": progress.objective,
        "best": value,
        "best_trial": trial,
        "seconds": progress.seconds,
        "remaining_seconds": 0.0 if progress.finished else progress.remaining,
    }


def duration(seconds: float) -> str:
    """Returns a time as it reads.

    Args:
        seconds: How long.

    Examples:
        >>> duration(7.4), duration(90), duration(7300)
        ('7 s', '1 min 30 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _words(record: Mapping[str, Any]) -> str:
    """A trial's choices, then its numbers."""
    numbers = [f"{name} {value:.3g}" for name, value in record.get("hparams", {}).items()]
    return ", ".join([*map(str, record.get("choices", {}).values()), *numbers])
