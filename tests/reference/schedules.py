"""Schedules transcribed in float64, one step at a time, with branches and loops; they share no code with ours."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence


def constant(step: float) -> float:
    """One."""
    return 1.0


def linear(step: float, *, length: float, end: float = 0.0) -> float:
    """A line from 1 at step 0 to `end` at `length`."""
    return end if step >= length else 1.0 + (end - 1.0) * step / length


def polynomial(step: float, *, length: float, exponent: float = 2.0, end: float = 0.0) -> float:
    """Chen et al. 2018, section 4.1, with a floor."""
    left = 0.0 if step >= length else 1.0 - step / length
    return (1.0 - end) * left**exponent + end


def exponential(step: float, *, rate: float, length: float = 1.0, end: float = 0.0) -> float:
    """Geometric decay."""
    return max(math.pow(rate, step / length), end)


def piecewise(step: float, *, boundaries: Sequence[float], factors: Sequence[float]) -> float:
    """MultiStepLR with a factor for each milestone."""
    value = 1.0
    for boundary, factor in zip(boundaries, factors, strict=True):
        if step >= boundary:
            value *= factor
    return value


def step_decay(step: float, *, every: float, rate: float) -> float:
    """StepLR."""
    return rate ** math.floor(step / every)


def cosine(step: float, *, length: float, end: float = 0.0) -> float:
    """Loshchilov and Hutter 2017, equation (5)."""
    return end if step >= length else end + 0.5 * (1.0 - end) * (1.0 + math.cos(math.pi * step / length))


def inverse_sqrt(step: float, *, warmup: float) -> float:
    """Vaswani et al. 2017, equation (3), divided by its own maximum."""
    number = step + 1.0
    return min(number**-0.5, number * warmup**-1.5) / warmup**-0.5


def one_cycle(
    step: float, *, length: float, peak_at: float, back_at: float, start: float, end: float
) -> float:  # fmt: skip
    """Smith and Topin 2018: up, down, annihilation."""
    knots = [(0.0, start), (peak_at * length, 1.0), (back_at * length, start), (length, end)]
    for (left, a), (right, b) in itertools.pairwise(knots):
        if step < right:
            return a + (b - a) * (step - left) / (right - left)
    return end


def one_cycle_cosine(step: float, *, length: float, peak_at: float, start: float, end: float) -> float:
    """PyTorch's OneCycleLR with cosine annealing, two phases, knots not rounded."""
    peak = peak_at * length
    if step >= length:
        return end
    a, b, share = (start, 1.0, step / peak) if step < peak else (1.0, end, (step - peak) / (length - peak))
    return b + (a - b) / 2.0 * (1.0 + math.cos(math.pi * share))


def triangular(
    step: float, *, half_cycle: float, low: float = 0.0, cycle_factor: float = 1.0, step_factor: float = 1.0
) -> float:
    """Smith 2017, listing 1, with the height scaled."""
    cycle = math.floor(1 + step / (2 * half_cycle))
    x = abs(step / half_cycle - 2 * cycle + 1)
    return low + (1.0 - low) * max(0.0, 1 - x) * cycle_factor ** (cycle - 1) * step_factor**step


def warm_restarts(
    step: float, *, first_cycle: float, t_mult: float = 1.0, end: float = 0.0, cycle_factor: float = 1.0
) -> float:
    """Loshchilov and Hutter 2017, equation (5), cycle after cycle."""
    peak, left = 1.0, step
    while left >= first_cycle:
        left, first_cycle, peak = left - first_cycle, first_cycle * t_mult, peak * cycle_factor
    return end + 0.5 * (peak - end) * (1.0 + math.cos(math.pi * left / first_cycle))


def warmup_stable_decay(step: float, *, length: float, warmup: float, decay: float, end: float = 0.0) -> float:
    """Hu et al. 2024, section 4.2, with a linear decay."""
    if step < warmup:
        return step / warmup
    if step <= length - decay:
        return 1.0
    return end if step >= length else 1.0 - (1.0 - end) * (step - (length - decay)) / decay


def warmup(step, *, warmup, start):
    return 1.0 if step >= warmup else start + (1.0 - start) * step / warmup


def warmup_linear(step, *, length, warmup, end, start):
    """Up to the end of the warm-up, then down to the end of all steps."""
    done = min(1.0, (step - warmup) / (length - warmup))
    return start + (1.0 - start) * step / warmup if step < warmup else 1.0 + (end - 1.0) * done


def warmup_polynomial(step, *, length, warmup, exponent, end, start):
    """BERT's optimization.py, with a power."""
    left = max(0.0, length - step) / (length - warmup)
    return start + (1.0 - start) * step / warmup if step < warmup else end + (1.0 - end) * left**exponent


def warmup_cosine(step, *, length, warmup, end, start):
    """Loshchilov and Hutter 2017, equation (5), in the steps after the warm-up."""
    done = min(1.0, (step - warmup) / (length - warmup))
    fall = end + (1.0 - end) * 0.5 * (1.0 + math.cos(math.pi * done))
    return start + (1.0 - start) * step / warmup if step < warmup else fall
