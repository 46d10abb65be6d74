"""Pruners: who goes on, who stops, who takes over whose state."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

from jaxopt_intro.checks import known_name
from jaxopt_intro.sweeps.pruning.asha import asha
from jaxopt_intro.sweeps.pruning.halving import hyperband, successive_halving
from jaxopt_intro.sweeps.pruning.median import median
from jaxopt_intro.sweeps.pruning.pair import UNITS, Entrant, News, Pruner, Verdict
from jaxopt_intro.sweeps.pruning.population import pbt

__all__ = [
    "PRUNERS", "UNITS", "Entrant", "News", "Pruner", "Verdict", "asha", "hyperband", "median", "pbt", "pruner_of",
    "successive_halving",
]  # fmt: skip

PRUNERS: dict[str, Callable[..., Pruner]] = {
    "median": median,
    "successive_halving": successive_halving,
    "hyperband": hyperband,
    "asha": asha,
    "pbt": pbt,
}


def pruner_of(asked: Mapping[str, Any]) -> Pruner:
    """Makes a pruner of plain values, as experiment files have them.

    Raises:
        ValueError: The name is unknown, or an argument.

    Examples:
        >>> pruner_of({"name": "asha", "eta": 4}).asked
        {'name': 'asha', 'eta': 4, 'first': 1.0, 'unit': 'epochs'}
    """
    make = PRUNERS[known_name(asked.get("name", ""), PRUNERS, "pruner")]
    takes = inspect.signature(make).parameters
    given = {known_name(n, takes, f"argument of {asked['name']}"): v for n, v in asked.items() if n != "name"}
    for name, value in given.items():
        default = takes[name].default
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if (isinstance(default, int | float) and not number) or (isinstance(default, int) and value != int(value)):
            raise ValueError(f"pruner {asked['name']}: got {name}={value!r}; expected a number, such as {default}.")
        if not isinstance(default, int | float) and not isinstance(value, str | None):
            raise ValueError(f"pruner {asked['name']}: got {name}={value!r}; expected a word.")
    given |= {n: int(v) for n, v in given.items() if isinstance(takes[n].default, int)}
    return make(**given)
