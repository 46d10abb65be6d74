"""Population based training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxopt_intro.distributions import Distribution, exact, float32
from jaxopt_intro.sweeps.pruning.pair import (
    Entrant,
    News,
    Pruner,
    Verdict,
    asked_as,
    at_intervals,
    check_finite,
    check_prunes,
    check_unit,
    rank,
    scattered,
)


class PopulationState(NamedTuple):
    """What population based training remembers.

    Attributes:
        looks: After how much training it looks.
        members: Who trains with which numbers.
        ranges: The lowest and the highest value of each number that the population began with.
        waiting: Who waits with which value.
        passed: How many looks are over.
    """

    looks: tuple[float, ...]
    members: Mapping[str, Entrant]
    ranges: Mapping[str, tuple[float, float]]
    waiting: Mapping[str, float]
    passed: int


def pbt(
    *,
    interval: float = 1.0,
    share: float = 0.25,
    factor: float = 1.2,
    seed: int = 0,
    unit: str = "epochs",
    metric: str | None = None,
    direction: str | None = None,
) -> Pruner:
    """Population based training: the worst go on from the best ones' weights, with their numbers a little changed.

    After every interval, within each program, the worst `share` of the trials take over parameters, optimizer state and
    numbers of one of the best `share`, drawn evenly. Each number is then multiplied or divided by `factor` (in the
    paper multiplied by 0.8 or 1.2), rounded to a value that its distribution has, by a step at least, and kept within
    the values that the population began with. A whole number of no distribution, as of a choice, stays. A trial that
    has failed is replaced like the worst. A trial's score is that of its own curve.

    Args:
        interval: How much training lies between two looks.
        share: Which share of a program's trials is replaced, at most one half.
        factor: By how much a number is changed, above 1.
        seed: Decides who is copied and how numbers change.
        unit: What the interval counts: "epochs", "steps" or "examples". A look is at the next validation;
            those that fall on the same one are one.
        metric: The metric that decides, as "accuracy"; None is the sweep's objective.
        direction: "max" or "min"; None is the objective's.

    References:
        Jaderberg et al. 2017, Population Based Training of Neural Networks, section 4.1.1.

    Examples:
        >>> pruner = pbt(share=0.5)
        >>> entrants = [Entrant("a", hparams={"learning_rate": 0.1}), Entrant("b", hparams={"learning_rate": 0.5})]
        >>> state, _ = pruner.update(pruner.init([1.0, 2.0, 3.0, 4.0]), News(entrants))
        >>> state, _ = pruner.update(state, News(at=1, values={"a": 0.5, "b": 0.75}))
        >>> [(v.trial, v.action, v.source, v.to) for v in pruner.update(state, News(idle=True))[1]]
        [('a', 'copy', 'b', 2.0), ('b', 'go', '', 2.0)]
    """
    check_finite("pbt", interval=interval, share=share, factor=factor, seed=seed)
    if not isinstance(seed, int) or seed < 0:
        raise ValueError(f"pbt: got seed={seed!r}; expected a whole number of at least 0.")
    if interval <= 0 or not 0 < share <= 0.5 or factor <= 1:
        raise ValueError(
            f"pbt: got interval={interval}, share={share}, factor={factor}; expected an interval above 0, a share "
            "above 0 and at most 0.5, and a factor above 1."
        )
    check_unit("pbt", unit, direction)
    asked = asked_as(
        "pbt", interval=interval, share=share, factor=factor, seed=seed, unit=unit, metric=metric, direction=direction
    )

    def init(validations: Sequence[float]) -> PopulationState:
        looks = at_intervals(interval, validations)
        check_prunes(asked, looks, validations)
        return PopulationState(looks, {}, {}, {}, 0)

    def update(state: PopulationState, news: News) -> tuple[PopulationState, list[Verdict]]:
        members = {**state.members, **{e.trial: e for e in news.entered}}
        ranges = dict(state.ranges)
        for name, value in (item for e in news.entered for item in e.hparams.items()):
            low, high = ranges.get(name, (value, value))
            ranges[name] = (min(low, value), max(high, value))
        verdicts = [Verdict(e.trial, "go", state.looks[0]) for e in news.entered]
        waiting, passed = {**state.waiting, **news.values}, state.passed
        if news.idle and waiting and passed + 1 < len(state.looks):
            passed += 1
            copies = _copies(members, waiting, ranges, share, factor, (seed, passed))
            to = state.looks[passed]
            verdicts += [copies[t]._replace(to=to) if t in copies else Verdict(t, "go", to) for t in waiting]
            members |= {t: members[t]._replace(hparams=copy.hparams) for t, copy in copies.items()}
            waiting = {}
        return PopulationState(state.looks, members, ranges, waiting, passed), verdicts

    def stages(trials: int, validations: Sequence[float]) -> list[tuple[int, float]]:
        return [(trials, validations[-1])]

    return Pruner(init, update, stages, unit, metric, direction, asked, copies=True)


def _copies(
    members: Mapping[str, Entrant],
    waiting: Mapping[str, float],
    ranges: Mapping[str, tuple[float, float]],
    share: float,
    factor: float,
    seeds: tuple[int, ...],
) -> dict[str, Verdict]:
    """Who takes over whose state, and with which numbers: within each group, the worst from the best."""
    found = {}
    for group in dict.fromkeys(members[trial].group for trial in waiting):
        own = {t: v for t, v in waiting.items() if members[t].group == group}
        ranked = rank(own, list(members))
        count = int(share * len(ranked)) or (len(ranked) > 1 and not math.isfinite(own[ranked[-1]]))
        best = [t for t in ranked[:count] if math.isfinite(own[t])]
        for trial in ranked[len(ranked) - count :] if best else ():
            draw = np.random.default_rng([*seeds, scattered(trial)])
            source = best[draw.integers(len(best))]
            changed = {}
            for name, value in members[source].hparams.items():
                moved = value * (factor if draw.integers(2) else 1 / factor)
                moved = _legal(value, moved, members[source].numbers.get(name))
                changed[name] = min(max(moved, ranges[name][0]), ranges[name][1])
            found[trial] = Verdict(trial, "copy", source=source, hparams=changed)
    return found


def _legal(value: float, moved: float, distribution: Distribution | None) -> float:
    """Where a number moves to: of those with steps to the nearest one, or if that is where it was, one step on."""
    if distribution is None:
        return value if isinstance(value, int) else float32(moved)  # of a batch, not every size is whole microbatches
    if distribution.kind not in ("integer", "quantized"):
        return float32(moved)
    step = distribution.arguments[2] if distribution.kind == "quantized" else 1
    found = exact(distribution, moved)
    return found if found != value else exact(distribution, value + math.copysign(step, moved - value))
