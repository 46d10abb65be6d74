"""The median rule."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxopt_intro.sweeps.pruning.pair import (
    News,
    Pruner,
    Verdict,
    asked_as,
    at_intervals,
    check_finite,
    check_prunes,
    check_unit,
)


class MedianState(NamedTuple):
    """What the median rule remembers: where it looks, and of every trial its best, and its averages until each look."""

    looks: tuple[float, ...]
    bests: Mapping[str, float]
    averages: Mapping[str, tuple[float, ...]]


def median(
    *,
    warmup: float = 1.0,
    interval: float = 1.0,
    least: int = 5,
    unit: str = "epochs",
    metric: str | None = None,
    direction: str | None = None,
) -> Pruner:
    """Stops a trial whose best value is worse than the median of the others' averages over as much training.

    The others are all that have trained as long, also those that were stopped since; in the paper, those that are
    through.

    Args:
        warmup: Nobody is stopped before so much training.
        interval: How much training lies between two looks.
        least: Nobody is stopped while fewer others have trained as long.
        unit: What `warmup` and `interval` count: "epochs", "steps" or "examples". A look is at the next validation;
            those that fall on the same one are one.
        metric: The metric that decides, as "accuracy"; None is the sweep's objective.
        direction: "max" or "min"; None is the objective's.

    References:
        Golovin et al. 2017, Google Vizier: A Service for Black-Box Optimization, section 3.2.1.

    Examples:
        >>> from jaxopt_intro.sweeps.pruning import Entrant
        >>> pruner = median(least=1)
        >>> state, _ = pruner.update(pruner.init([1.0, 2.0, 3.0, 4.0]), News([Entrant("a"), Entrant("b")]))
        >>> _, verdicts = pruner.update(state, News(at=1, values={"a": 0.5, "b": 0.75}))
        >>> [(v.trial, v.action, v.to) for v in verdicts]
        [('a', 'stop', 0.0), ('b', 'go', 2.0)]
    """
    check_finite("median", warmup=warmup, interval=interval, least=least)
    if warmup < 0 or interval <= 0 or least < 1:
        raise ValueError(
            f"median: got warmup={warmup}, interval={interval}, least={least}; expected a warmup of at least 0, an "
            "interval above 0 and at least 1 other."
        )
    check_unit("median", unit, direction)
    asked = asked_as(
        "median", warmup=warmup, interval=interval, least=least, unit=unit, metric=metric, direction=direction
    )

    def init(validations: Sequence[float]) -> MedianState:
        looks = at_intervals(interval, validations)
        check_prunes(asked, (at for at in looks if at >= warmup), validations)
        return MedianState(looks, {}, {})

    def update(state: MedianState, news: News) -> tuple[MedianState, list[Verdict]]:
        verdicts = [Verdict(e.trial, "go", state.looks[0]) for e in news.entered]
        bests = {**state.bests, **{e.trial: -math.inf for e in news.entered}}
        averages = {**state.averages, **{e.trial: () for e in news.entered}}
        for trial, value in news.values.items():
            own, known = averages[trial], math.isfinite(value)
            before = own[-1] if own else math.nan
            mean = before + (value - before) / (len(own) + 1) if known and math.isfinite(before) else value
            averages[trial] = (*own, mean if known else before)
            bests[trial] = max(bests[trial], value) if known else bests[trial]
        for looks in sorted({len(averages[trial]) for trial in news.values}):
            at = state.looks[looks - 1]
            reached = {t: own[looks - 1] for t, own in averages.items() if len(own) >= looks}
            ordered = np.sort([v for v in reached.values() if math.isfinite(v)])
            for trial in (t for t in news.values if len(averages[t]) == looks):
                others = ordered
                if math.isfinite(reached[trial]):
                    others = np.delete(ordered, np.searchsorted(ordered, reached[trial]))
                bar = np.median(others) if len(others) >= least and at >= warmup else -math.inf
                if bests[trial] < bar:
                    why = f"its best after {at:g} was worse than the median of {len(others)} others"
                    verdicts.append(Verdict(trial, "stop", reason=why))
                elif at < state.looks[-1]:
                    verdicts.append(Verdict(trial, "go", state.looks[looks]))
        return MedianState(state.looks, bests, averages), verdicts

    def stages(trials: int, validations: Sequence[float]) -> list[tuple[int, float]]:
        looks = at_intervals(interval, validations)
        first = next((at for at in looks if at >= warmup), looks[-1])
        return [(trials, first), (math.ceil(trials / 2), looks[-1] - first)]

    return Pruner(init, update, stages, unit, metric, direction, asked)
