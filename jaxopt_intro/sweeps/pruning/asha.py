"""Asynchronous successive halving."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxopt_intro.sweeps.pruning.halving import check_rungs, upwards
from jaxopt_intro.sweeps.pruning.pair import News, Pruner, Verdict, asked_as, check_prunes


class AshaState(NamedTuple):
    """What asynchronous halving remembers.

    Attributes:
        places: Where the rungs are.
        reached: The values at each rung.
        promoted: Those who went on from it.
        rungs: At which rung each trial is or arrives next, in the order asked.
    """

    places: tuple[float, ...]
    reached: Mapping[int, Mapping[str, float]]
    promoted: Mapping[int, frozenset[str]]
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

    A trial that is not may still be, as others arrive; what waits when nobody trains any more is stopped. Rungs are
    at `first`, and at `first * eta**k` as long as `eta` times as much is no more than all.

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
        return AshaState(places, {}, {}, {})

    def update(state: AshaState, news: News) -> tuple[AshaState, list[Verdict]]:
        verdicts = [Verdict(e.trial, "go", state.places[0]) for e in news.entered]
        rungs = {**state.rungs, **{e.trial: 0 for e in news.entered}}
        reached, promoted = {r: dict(own) for r, own in state.reached.items()}, dict(state.promoted)
        for trial, value in news.values.items():
            reached.setdefault(rungs[trial], {})[trial] = value
        for rung in sorted({rungs[trial] for trial in news.values}):
            if rung == len(state.places) - 1:
                continue
            best = _best(reached[rung], rungs, int(len(reached[rung]) / eta))
            gone = promoted.get(rung, frozenset())
            new = [t for t in best if t not in gone and math.isfinite(reached[rung][t])]
            promoted[rung] = gone.union(new)
            rungs |= dict.fromkeys(new, rung + 1)
            verdicts += [Verdict(trial, "go", state.places[rung + 1]) for trial in new]
        if news.idle:
            for rung, own in reached.items():
                why = f"never among the best 1/{eta:g} of the {len(own)} that trained for {state.places[rung]:g}"
                stay = [trial for trial in own if trial not in promoted.get(rung, ())]
                verdicts += [Verdict(trial, "stop", reason=why) for trial in stay]
        return AshaState(state.places, reached, promoted, rungs), verdicts

    def stages(trials: int, validations: Sequence[float]) -> list[tuple[int, float]]:
        found, left, before = [], trials, 0.0
        for at in upwards(first, eta, validations):
            if left:
                found.append((left, at - before))
            left, before = int(left / eta), at
        return found

    return Pruner(init, update, stages, unit, metric, direction, asked)


def _best(values: Mapping[str, float], order: Mapping[str, int], count: int) -> list[str]:
    """The best trials, those asked first where values are equal."""
    trials = list(values)
    signed = np.array([-value if math.isfinite(value) else math.inf for value in values.values()])
    places = {trial: i for i, trial in enumerate(order)}
    chosen = np.lexsort((np.array([places[trial] for trial in trials]), signed))[:count]
    return [trials[i] for i in chosen]
