"""Asynchronous successive halving."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxopt_intro.sweeps.pruning.halving import check_rungs, upwards
from jaxopt_intro.sweeps.pruning.pair import News, Pruner, Verdict, asked_as, check_prunes, rank


class AshaState(NamedTuple):
    """What asynchronous halving remembers.

    Attributes:
        places: Where the rungs are.
        reached: The values at each rung.
        promoted: Those who went on from it.
        stopped: Those who were stopped.
        rungs: At which rung each trial is or arrives next, in the order asked.
    """

    places: tuple[float, ...]
    reached: Mapping[int, Mapping[str, float]]
    promoted: Mapping[int, frozenset[str]]
    stopped: frozenset[str]
    rungs: Mapping[str, int]


def asha(
    *,
    eta: float = 3.0,
    first: float = 1.0,
    unit: str = "epochs",
    metric: str | None = None,
    direction: str | None = None,
) -> Pruner:
    """Successive halving that waits for nobody: whoever is among the best `1 / eta` seen so far at a rung goes on.

    A trial that is not may still be, as others arrive. When nobody trains any more, the best goes on from a rung whose
    share is less than one, and the others are stopped; they take nobody's place in later comparisons. Rungs are at
    `first`, and at `first * eta**k` as long as `eta` times as much is no more than all.

    Args:
        eta: Which share goes on from a rung, and by how much longer; above 1.
        first: Where the first rung is.
        unit: What rungs count: "epochs", "steps" or "examples". A rung is at the next validation;
            those that fall on the same one are one.
        metric: The metric that decides, as "accuracy"; None is the sweep's objective.
        direction: "max" or "min"; None is the objective's.

    References:
        Li et al. 2020, A System for Massively Parallel Hyperparameter Tuning, Algorithm 2.

    Examples:
        >>> from jaxopt_intro.sweeps.pruning import Entrant
        >>> pruner = asha(eta=2)
        >>> state, _ = pruner.update(pruner.init([1.0, 2.0, 3.0, 4.0]), News([Entrant(t) for t in "abc"]))
        >>> state, verdicts = pruner.update(state, News(at=1, values={"a": 0.5, "b": 0.75}))
        >>> [(v.trial, v.action, v.to) for v in verdicts]
        [('b', 'go', 2.0)]
    """
    check_rungs("asha", eta, first, unit, direction)
    asked = asked_as("asha", eta=eta, first=first, unit=unit, metric=metric, direction=direction)

    def init(validations: Sequence[float]) -> AshaState:
        places = upwards(first, eta, validations)
        check_prunes(asked, places, validations)
        return AshaState(places, {}, {}, frozenset(), {})

    def update(state: AshaState, news: News) -> tuple[AshaState, list[Verdict]]:
        verdicts = [Verdict(e.trial, "go", state.places[0]) for e in news.entered]
        rungs = {**state.rungs, **{e.trial: 0 for e in news.entered}}
        reached, promoted = {r: dict(own) for r, own in state.reached.items()}, dict(state.promoted)
        for trial, value in news.values.items():
            reached.setdefault(rungs[trial], {})[trial] = value
        stopped = state.stopped
        for rung in sorted(reached if news.idle else {rungs[trial] for trial in news.values}):
            if rung == len(state.places) - 1:
                continue
            own, gone = reached[rung], promoted.get(rung, frozenset())
            living = {trial: value for trial, value in own.items() if trial not in stopped}
            count = max(int(len(own) / eta), 1 if news.idle else 0)
            best = rank(living, list(rungs))[:count]
            new = [trial for trial in best if trial not in gone and math.isfinite(own[trial])]
            promoted[rung] = gone.union(new)
            rungs |= dict.fromkeys(new, rung + 1)
            verdicts += [Verdict(trial, "go", state.places[rung + 1]) for trial in new]
            stay = [trial for trial in living if trial not in promoted[rung]] if news.idle else []
            why = f"never among the best 1/{eta:g} of the {len(own)} that trained for {state.places[rung]:g}"
            verdicts += [Verdict(trial, "stop", reason=why) for trial in stay]
            stopped = stopped.union(stay)
        return AshaState(state.places, reached, promoted, stopped, rungs), verdicts

    def stages(trials: int, validations: Sequence[float]) -> list[tuple[int, float]]:
        found, left, before = [], trials, 0.0
        for at in upwards(first, eta, validations):
            found.append((left, at - before))
            left, before = max(1, int(left / eta)), at
        return found

    return Pruner(init, update, stages, unit, metric, direction, asked)
