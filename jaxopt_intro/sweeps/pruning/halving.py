"""Successive halving, alone and in the brackets of Hyperband."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from jaxopt_intro.sweeps.pruning.pair import (
    Entrant,
    News,
    Pruner,
    Verdict,
    asked_as,
    at_validations,
    check_finite,
    check_prunes,
    check_unit,
    rank,
    scattered,
)


class Bracket(NamedTuple):
    """One successive halving.

    Attributes:
        rung: Where its trials wait next.
        entered: How many trials it has had.
        coming: How many come to the rung, of those who have not ended.
        waiting: The values of those that are there.
    """

    rung: float
    entered: int
    coming: int
    waiting: Mapping[str, float]


class HalvingState(NamedTuple):
    """What successive halving remembers: where rungs are, its brackets, each trial's bracket, and who has ended."""

    rungs: tuple[float, ...]
    brackets: tuple[Bracket, ...]
    members: Mapping[str, int]
    ended: frozenset[str]


def successive_halving(
    *,
    eta: float = 3.0,
    first: float = 1.0,
    unit: str = "epochs",
    metric: str | None = None,
    direction: str | None = None,
) -> Pruner:
    """Of all trials that reach a rung, the best `1 / eta` go on for `eta` times as long; the others stop.

    Rungs are at `first`, and at `first * eta**k` as long as `eta` times as much is no more than all. A rung waits for
    all its trials. At least one goes on, if any has a finite value.

    Args:
        eta: By how much trials become fewer, and longer, from rung to rung; above 1.
        first: Where the first rung is.
        unit: What rungs count: "epochs", "steps" or "examples". A rung is at the next validation;
            those that fall on the same one are one.
        metric: The metric that decides, as "accuracy"; None is the sweep's objective.
        direction: "max" or "min"; None is the objective's.

    References:
        Jamieson and Talwalkar 2016, Non-stochastic Best Arm Identification and Hyperparameter Optimization, Figure 3.

    Examples:
        >>> pruner = successive_halving(eta=2)
        >>> state, verdicts = pruner.update(pruner.init([1.0, 2.0, 3.0, 4.0]), News([Entrant("a"), Entrant("b")]))
        >>> [(v.trial, v.action, v.to) for v in verdicts]
        [('a', 'go', 1.0), ('b', 'go', 1.0)]
        >>> _, verdicts = pruner.update(state, News(at=1, values={"a": 0.5, "b": 0.75}))
        >>> [(v.trial, v.action, v.to) for v in verdicts]
        [('b', 'go', 2.0), ('a', 'stop', 0.0)]
    """
    check_rungs("successive_halving", eta, first, unit, direction)
    asked = asked_as("successive_halving", eta=eta, first=first, unit=unit, metric=metric, direction=direction)
    return _halving(lambda validations: upwards(first, eta, validations), False, eta, unit, metric, direction, asked)


def hyperband(
    *,
    eta: float = 3.0,
    first: float = 1.0,
    unit: str = "epochs",
    metric: str | None = None,
    direction: str | None = None,
) -> Pruner:
    """Successive halving in brackets that begin later and later, against trials that are slow to show what they are.

    Rungs are at `length / eta**k`, none below `first`. The trials are dealt to the brackets in the paper's proportions,
    by their ids, so that neighbours in a grid are not dealt alike. Rungs of different brackets decide at the same time,
    and those who go on share tiles.

    Args:
        eta: By how much trials become fewer, and longer, from rung to rung; above 1.
        first: The least that a trial trains.
        unit: What rungs count: "epochs", "steps" or "examples". A rung is at the next validation;
            those that fall on the same one are one.
        metric: The metric that decides, as "accuracy"; None is the sweep's objective.
        direction: "max" or "min"; None is the objective's.

    References:
        Li et al. 2018, Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization, Algorithm 1.

    Examples:
        >>> pruner = hyperband(eta=3)
        >>> state, verdicts = pruner.update(pruner.init(range(1, 10)), News([Entrant(str(i)) for i in range(17)]))
        >>> sorted(v.to for v in verdicts)
        [1, 1, 1, 1, 1, 1, 1, 1, 1, 3, 3, 3, 3, 3, 9, 9, 9]
    """
    check_rungs("hyperband", eta, first, unit, direction)
    asked = asked_as("hyperband", eta=eta, first=first, unit=unit, metric=metric, direction=direction)

    def rungs(validations: Sequence[float]) -> tuple[float, ...]:
        length = validations[-1]
        deepest = max(0, math.floor(math.log(max(length / first, 1.0)) / math.log(eta) + 1e-9))
        return at_validations((length / eta**left for left in range(deepest + 1)), validations)

    return _halving(rungs, True, eta, unit, metric, direction, asked)


def upwards(first: float, eta: float, validations: Sequence[float]) -> tuple[float, ...]:
    """Where rungs are: `first`, `first * eta**k` as long as `eta` times as much is no more than all, and the end.

    Examples:
        >>> upwards(1.0, 3.0, range(1, 12)), upwards(1.0, 3.0, [40.0, 80.0, 120.0, 160.0, 200.0, 240.0])
        ((1, 3, 11), (40.0, 240.0))
    """
    count = math.floor(math.log(validations[-1] / first) / math.log(eta) + 1e-9)
    return at_validations((first * eta**rung for rung in range(max(count, 1))), validations)


def _halving(
    rungs: Callable[[Sequence[float]], tuple[float, ...]],
    everywhere: bool,
    eta: float,
    unit: str,
    metric: str | None,
    direction: str | None,
    asked: Mapping[str, Any],
) -> Pruner:
    """Successive halving from the first rung on; or from everywhere, in brackets in the proportions of Hyperband."""

    def starts(found: tuple[float, ...]) -> tuple[float, ...]:
        return found if everywhere else found[:1]

    def shares(brackets: int) -> list[float]:
        sizes = [math.ceil(brackets / (left + 1) * eta**left) for left in reversed(range(brackets))]
        return [size / sum(sizes) for size in sizes]

    def init(validations: Sequence[float]) -> HalvingState:
        found = rungs(validations)
        check_prunes(asked, found, validations)
        return HalvingState(found, tuple(Bracket(at, 0, 0, {}) for at in starts(found)), {}, frozenset())

    def enter(state: HalvingState, entered: Sequence[Entrant]) -> tuple[HalvingState, list[Verdict]]:
        own, brackets, dealt = shares(len(state.brackets)), list(state.brackets), {}
        for i, start in enumerate(starts(state.rungs) if entered else ()):
            if not brackets[i].coming:  # whoever was there before is through
                brackets[i] = brackets[i]._replace(rung=start)
        for trial in sorted((e.trial for e in entered), key=scattered):
            all_of_them = sum(b.entered for b in brackets) + 1
            chosen = max(range(len(brackets)), key=lambda i: own[i] * all_of_them - brackets[i].entered)
            own_bracket = brackets[chosen]
            brackets[chosen] = own_bracket._replace(entered=own_bracket.entered + 1, coming=own_bracket.coming + 1)
            dealt[trial] = chosen
        members = {**state.members, **{e.trial: dealt[e.trial] for e in entered}}  # in the order asked
        go = [Verdict(e.trial, "go", brackets[members[e.trial]].rung) for e in entered]
        return state._replace(brackets=tuple(brackets), members=members), go

    def update(state: HalvingState, news: News) -> tuple[HalvingState, list[Verdict]]:
        state, verdicts = enter(state, news.entered)
        brackets, end, ended = list(state.brackets), state.rungs[-1], state.ended.union(news.ended)
        for i, own in enumerate(brackets):
            there = {trial: value for trial, value in news.values.items() if state.members[trial] == i}
            if there and own.rung < end:  # nothing is decided at the end
                brackets[i] = own._replace(waiting={**own.waiting, **there})
        for i, own in enumerate(brackets):
            if own.waiting and (len(own.waiting) == own.coming or news.idle):
                following = next(at for at in state.rungs if at > own.rung)
                halved = _halved(own.waiting, own.rung, following, eta, list(state.members))
                going = [v.trial for v in halved if v.action == "go" and v.trial not in ended and following < end]
                verdicts += halved
                brackets[i] = own._replace(rung=following, coming=len(going), waiting={})
        return state._replace(brackets=tuple(brackets), ended=ended), verdicts

    def stages(trials: int, validations: Sequence[float]) -> list[tuple[int, float]]:
        found: dict[tuple[float, float], int] = {}
        every = rungs(validations)
        for share, start in zip(shares(len(starts(every))), starts(every), strict=True):
            left, before = round(share * trials), 0.0
            for at in (at for at in every if at >= start and left):
                found[before, at] = found.get((before, at), 0) + left
                left, before = max(1, int(left / eta)), at
        return [(count, end - begin) for (begin, end), count in found.items()]

    return Pruner(init, update, stages, unit, metric, direction, asked)


def _halved(
    waiting: Mapping[str, float], at: float, following: float, eta: float, order: Sequence[str]
) -> list[Verdict]:
    """The best go on, those asked first where values are equal; what is not finite never does."""
    ranked = rank(waiting, order)
    count = max(1, int(len(waiting) / eta))
    chosen = [trial for trial in ranked[:count] if math.isfinite(waiting[trial])]
    go = [Verdict(trial, "go", following) for trial in chosen]
    why = f"not among the best {len(chosen)} of {len(waiting)} after {at:g}"
    return go + [Verdict(trial, "stop", reason=why) for trial in waiting if trial not in set(chosen)]


def check_rungs(name: str, eta: float, first: float, unit: str, direction: str | None) -> None:
    check_finite(name, eta=eta, first=first)
    if not eta > 1 or not first > 0:
        raise ValueError(f"{name}: got eta={eta}, first={first}; expected eta above 1 and a first rung above 0.")
    check_unit(name, unit, direction)
