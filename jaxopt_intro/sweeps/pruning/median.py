"""The median rule."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxopt_intro.sweeps.pruning.pair import News, Pruner, Verdict, asked_as, check_unit


class MedianState(NamedTuple):
    """What the median rule remembers: all values of every trial, in order, at 1, 2, … times the interval."""

    length: float
    values: Mapping[str, tuple[float, ...]]


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

    Args:
        warmup: Nobody is stopped before so much training.
        interval: How much training lies between two looks.
        least: Nobody is stopped while fewer others have trained as long.
        unit: What `warmup` and `interval` count: "epochs", "steps" or "examples". A look is at the next validation.
        metric: The metric that decides, as "accuracy"; None is the sweep's objective.
        direction: "max" or "min"; None is the objective's.

    References:
        Golovin et al. 2017, Google Vizier: A Service for Black-Box Optimization, section 3.2.1.

    Examples:
        >>> from jaxopt_intro.sweeps.pruning import Entrant
        >>> pruner = median(least=1)
        >>> state, _ = pruner.update(pruner.init(4), News([Entrant("a"), Entrant("b")]))
        >>> _, verdicts = pruner.update(state, News(at=1, values={"a": 0.5, "b": 0.75}))
        >>> [(v.trial, v.action, v.to) for v in verdicts]
        [('a', 'stop', 0.0), ('b', 'go', 2.0)]
    """
    if warmup < 0 or interval <= 0 or least < 1:
        raise ValueError(
            f"median: got warmup={warmup}, interval={interval}, least={least}; expected a warmup of at least 0, an "
            "interval above 0 and at least 1 other."
        )
    check_unit("median", unit, direction)
    asked = asked_as(
        "median", warmup=warmup, interval=interval, least=least, unit=unit, metric=metric, direction=direction
    )

    def init(length: float) -> MedianState:
        return MedianState(length, {})

    def update(state: MedianState, news: News) -> tuple[MedianState, list[Verdict]]:
        verdicts = [Verdict(e.trial, "go", min(interval, state.length)) for e in news.entered]
        values = {**state.values, **{e.trial: () for e in news.entered}}
        values |= {trial: (*values[trial], value) for trial, value in news.values.items()}
        for trial in news.values:
            looks = len(values[trial])
            averages = {t: np.nanmean(own[:looks]) for t, own in values.items() if _known(own, looks)}
            others = [average for t, average in averages.items() if t != trial]
            best = max((v for v in values[trial] if math.isfinite(v)), default=-math.inf)
            bar = np.median(others) if len(others) >= least and looks * interval >= warmup else -math.inf
            if best < bar:
                why = f"its best after {looks * interval:g} was worse than the median of {len(others)} others"
                verdicts.append(Verdict(trial, "stop", reason=why))
            elif looks * interval < state.length:
                verdicts.append(Verdict(trial, "go", min((looks + 1) * interval, state.length)))
        return MedianState(state.length, values), verdicts

    def stages(trials: int, length: float) -> list[tuple[int, float]]:
        if length <= warmup:
            return [(trials, length)]
        return [(trials, max(warmup, interval)), (math.ceil(trials / 2), length - max(warmup, interval))]

    return Pruner(init, update, stages, unit, metric, direction, asked)


def _known(values: Sequence[float], looks: int) -> bool:
    """Whether a trial has been looked at so often, and was finite at least once."""
    return len(values) >= looks and any(math.isfinite(v) for v in values[:looks])
