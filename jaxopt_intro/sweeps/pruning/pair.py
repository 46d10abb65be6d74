"""What a pruner is: a pair of pure functions on the host, which says who goes on.

A pruner sees trials, never lanes: the engine gives it the mean over a trial's seeds, and more is always better. What
a trial has trained is counted in the pruner's own unit: epochs, steps or examples. Trials stop at rungs, where they
wait for a verdict; their weights and optimizer states wait with them, so whoever goes on is not trained again.
"""

from __future__ import annotations

import bisect
import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from jaxopt_intro.checks import known_name
from jaxopt_intro.distributions import Distribution

UNITS = ("epochs", "steps", "examples")


class Entrant(NamedTuple):
    """A trial that has been asked for.

    Attributes:
        trial: Its id.
        group: The group's id: only trials of one group can take over each other's state.
        hparams: Its numbers that are lanes, not compiled.
        numbers: Where numbers come from, those of which it is known.
    """

    trial: str
    group: str = ""
    hparams: Mapping[str, float] = {}
    numbers: Mapping[str, Distribution] = {}


class News(NamedTuple):
    """What a pruner is told.

    Attributes:
        entered: Trials that are new, in the order asked.
        at: How much the reported trials have trained.
        values: What they have reached by then, more is better; NaN where a seed has failed.
        idle: Whether nobody trains, and nobody will before a verdict.
        ended: Those of the reported trials that train no more, whatever is said: they are through, have failed, or were
            stopped early.
    """

    entered: Sequence[Entrant] = ()
    at: float = 0.0
    values: Mapping[str, float] = {}
    idle: bool = False
    ended: Sequence[str] = ()


class Verdict(NamedTuple):
    """What becomes of a trial that waits.

    Attributes:
        trial: Its id.
        action: "go" on, "stop", or "copy" another's state and go on from there.
        to: Until how much training it goes on.
        reason: Why it is stopped, in words.
        source: Whose state it copies.
        hparams: The numbers with which it goes on from a copy.
    """

    trial: str
    action: str
    to: float = 0.0
    reason: str = ""
    source: str = ""
    hparams: Mapping[str, float] = {}


class Pruner(NamedTuple):
    """Says which trials go on.

    Attributes:
        init: `validations -> state`: after how much training trials are validated, in the pruner's unit, ascending; the
            last is the end. There alone a trial can be judged, so rungs are among them. Raises a ValueError if none
            is before the end.
        update: `(state, News) -> (state, verdicts)`. A trial without a verdict waits. Without a verdict, idle news
            change no state.
        stages: `(trials, validations) -> [(how many trials, how much each trains), ...]` between rungs, as expected:
            with it the planner judges how well tiles of a width will be filled.
        unit: "epochs", "steps" or "examples".
        metric: What the values are; None is the sweep's objective.
        direction: "max" or "min" of the metric; None asks the objective's.
        asked: `name` and numbers as plain values, for experiment files.
        copies: Whether trials may copy each other.
    """

    init: Callable[[Sequence[float]], Any]
    update: Callable[[Any, News], tuple[Any, list[Verdict]]]
    stages: Callable[[int, Sequence[float]], list[tuple[int, float]]]
    unit: str
    metric: str | None
    direction: str | None
    asked: Mapping[str, Any]
    copies: bool = False


def rank(values: Mapping[str, float], order: Sequence[str]) -> list[str]:
    """The trials, the best first; where values are equal those asked first, and last what is not finite."""
    places = {trial: i for i, trial in enumerate(order)}
    signed = {t: -v if math.isfinite(v) else math.inf for t, v in values.items()}
    return sorted(values, key=lambda trial: (signed[trial], places[trial]))


def at_validations(wished: Iterable[float], validations: Sequence[float]) -> tuple[float, ...]:
    """Where rungs are: each at the next validation, those that fall on the same one are one, and the last is the end.

    Examples:
        >>> at_validations([1.0, 3.0, 9.0, 27.0, 81.0], [40.0, 80.0, 120.0, 160.0])
        (40.0, 120.0, 160.0)
    """
    places = (bisect.bisect_left(validations, at * (1 - 1e-9)) for at in wished)
    return tuple(sorted({validations[place] for place in places if place < len(validations)} | {validations[-1]}))


def at_intervals(interval: float, validations: Sequence[float]) -> tuple[float, ...]:
    """The validations at which, or since the one before, a multiple of an interval has been passed; and the end.

    Examples:
        >>> at_intervals(1.5, [1.0, 2.0, 3.0, 4.0]), at_intervals(0.25, [1.0, 2.0])
        ((2.0, 3.0, 4.0), (1.0, 2.0))
    """
    passed = [math.floor(at / interval * (1 + 1e-9)) for at in validations]
    found = [at for at, before, now in zip(validations, [0, *passed[:-1]], passed, strict=True) if now > before]
    return tuple(dict.fromkeys([*found, validations[-1]]))


def check_prunes(asked: Mapping[str, Any], places: Iterable[float], validations: Sequence[float]) -> None:
    """Refuses rungs, or looks, none of which is before the end: nobody would be pruned."""
    if any(at < validations[-1] for at in places):
        return
    numbers = {n: v for n, v in asked.items() if n in ("eta", "first", "warmup", "interval")}
    got = ", ".join(f"{n}={v:g}" for n, v in numbers.items())
    shown = [f"{at:g}" for at in validations]
    after = ", ".join(shown if len(shown) < 4 else [*shown[:2], "…", shown[-1]])
    raise ValueError(
        f"pruner {asked['name']}: got {got} and validations after {after} {asked['unit']}; expected one before the "
        f"last at which it judges, or it would prune nobody. Use a smaller {' or '.join(numbers)}, train for longer, "
        "or validate more often."
    )


def scattered(trial: str) -> int:
    """A number that neighbours in a grid do not share."""
    return int.from_bytes(hashlib.sha256(trial.encode()).digest()[:8], "little")


def asked_as(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, **{n: v for n, v in arguments.items() if v is not None}}


def check_finite(name: str, **numbers: float) -> None:
    """Refuses numbers that are not finite."""
    for argument, value in numbers.items():
        if not math.isfinite(value):
            raise ValueError(f"{name}: got {argument}={value}; expected a finite number.")


def check_unit(name: str, unit: str, direction: str | None) -> None:
    known_name(unit, UNITS, f"unit of {name}")
    if direction not in (None, "max", "min"):
        raise ValueError(f"{name}: got direction={direction!r}; expected 'max', 'min' or None.")
