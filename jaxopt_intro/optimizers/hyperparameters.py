"""The numbers of all methods: where each is legal, and where to look for a good one."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from jaxopt_intro.distributions import Distribution, log_uniform, uniform


class Hyperparameter(NamedTuple):
    """One number.

    Attributes:
        low: The least legal value.
        high: Above all legal values: itself not one of them.
        search: Where to look for a good value, and on which scale.
    """

    low: float
    high: float
    search: Distribution


HYPERPARAMETERS = {
    "b1": Hyperparameter(0.0, 1.0, uniform(0.8, 0.99)),
    "b2": Hyperparameter(0.0, 1.0, uniform(0.9, 0.999)),
    "eps": Hyperparameter(0.0, math.inf, log_uniform(1e-10, 1e-2)),
    "initial_accumulator": Hyperparameter(0.0, math.inf, log_uniform(1e-4, 1.0)),
    "learning_rate": Hyperparameter(0.0, math.inf, log_uniform(1e-4, 1.0)),
    "momentum": Hyperparameter(0.0, 1.0, uniform(0.5, 0.99)),
    "momentum_decay": Hyperparameter(0.0, math.inf, log_uniform(1e-3, 1e-1)),
    "rho": Hyperparameter(0.0, 1.0, uniform(0.8, 0.99)),
    "weight_decay": Hyperparameter(0.0, math.inf, log_uniform(1e-6, 1e-2)),
}


def in_domain(method: str, **numbers: Any) -> None:
    """Refuses a Python number that is not legal. An array is not looked at: it may be traced.

    Args:
        method: The method that asks, for the message.
        **numbers: Its numbers, by their names in `HYPERPARAMETERS`.

    Raises:
        ValueError: One is a Python or NumPy number outside its domain, or NaN.

    Examples:
        >>> in_domain("adam", learning_rate=0.1, b1=0.9)
        >>> in_domain("adam", learning_rate=0.1, b1=1.0)
        Traceback (most recent call last):
        ...
        ValueError: adam: got b1=1.0; expected a number in [0, 1). Take one such as 0.9.
    """
    for name, number in numbers.items():
        low, high, search = HYPERPARAMETERS[name]
        if isinstance(number, int | float | np.number) and not low <= number < high:
            near = search.high if search.kind == "log_uniform" else round((search.low + search.high) / 2, 1)
            raise ValueError(
                f"{method}: got {name}={number}; expected a number in [{low:g}, {high:g}). Take one such as {near:g}."
            )


def one_of(method: str, options: tuple[str, ...], **choice: str) -> None:
    """Refuses a word that is not one of the options.

    Raises:
        ValueError: It is none of them.

    Examples:
        >>> one_of("adamw", ("decoupled", "coupled"), decay="l2")
        Traceback (most recent call last):
        ...
        ValueError: adamw: got decay='l2'; expected one of 'decoupled', 'coupled'. Pass one of these words.
    """
    for name, word in choice.items():
        if word not in options:
            raise ValueError(
                f"{method}: got {name}={word!r}; expected one of {', '.join(map(repr, options))}. "
                "Pass one of these words."
            )
