"""Schedules: `make(**numbers) -> (step -> factor)`; the factor multiplies a base rate and is 1 at its peak.

`step` counts the updates done, from 0; it may be an integer or float array of any shape, and the factor has that shape.
Every number may be traced: a length, boundary or fraction need not be whole, so nothing is rounded to whole steps.
"""

from jaxopt_intro.schedules.cyclical import triangular, warm_restarts
from jaxopt_intro.schedules.decaying import constant, cosine, exponential, linear, piecewise, polynomial, step_decay
from jaxopt_intro.schedules.rising import (
    inverse_sqrt,
    one_cycle,
    one_cycle_cosine,
    warmup,
    warmup_cosine,
    warmup_linear,
    warmup_polynomial,
    warmup_stable_decay,
    with_warmup,
)

SCHEDULES = {
    "constant": constant,
    "linear": linear,
    "polynomial": polynomial,
    "exponential": exponential,
    "piecewise": piecewise,
    "step_decay": step_decay,
    "cosine": cosine,
    "inverse_sqrt": inverse_sqrt,
    "one_cycle": one_cycle,
    "one_cycle_cosine": one_cycle_cosine,
    "triangular": triangular,
    "warm_restarts": warm_restarts,
    "warmup": warmup,
    "warmup_cosine": warmup_cosine,
    "warmup_linear": warmup_linear,
    "warmup_polynomial": warmup_polynomial,
    "warmup_stable_decay": warmup_stable_decay,
}

__all__ = [
    "SCHEDULES", "constant", "cosine", "exponential", "inverse_sqrt", "linear", "one_cycle", "one_cycle_cosine",
    "piecewise", "polynomial", "step_decay", "triangular", "warm_restarts", "warmup", "warmup_cosine",
    "warmup_linear", "warmup_polynomial", "warmup_stable_decay", "with_warmup",
]  # fmt: skip
