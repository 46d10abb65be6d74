"""Skewed parameters, and every row of the tables with numbers inside its range."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_intro.regularizers import PROJECTIONS, PROXIMALS

# Skewed values: no two singular values, columns or signs alike; some small enough to become 0.
PARAMS = {
    "bias": np.array([0.3, -1.1]),
    "conv": {"kernel": np.sin(1.3 * np.arange(1.0, 25.0) ** 1.5).reshape(2, 2, 2, 3)},
    "kernel": np.array([[1.7, -0.2], [0.6, 0.3], [-0.9, 0.04]]),
}
NUMBERS = {
    "strength": 0.3, "l1_ratio": 0.3, "radius": 0.85, "low": -0.4, "high": 0.75, "step": 0.8
}  # fmt: skip
TAKES = {
    "proximal-elastic_net": ("step", "strength", "l1_ratio"),
    "proximal-group_lasso": ("step", "strength"),
    "proximal-l1": ("step", "strength"),
    "proximal-l2": ("step", "strength"),
    "proximal-nonnegative": (),
    "proximal-nuclear": ("step", "strength"),
    "projections-box": ("low", "high"),
    "projections-l1_ball": ("radius",),
    "projections-l2_ball": ("radius",),
    "projections-linf_ball": ("radius",),
    "projections-max_norm": ("radius",),
    "projections-nonnegative": (),
    "projections-simplex": ("radius",),
    "projections-unit_norm": (),
}


class Case(NamedTuple):
    """A row of a table as `run(numbers, tree, factors)`."""

    name: str
    row: str
    run: Callable[..., Any]
    numbers: dict[str, float]


def _case(kind: str, name: str, function: Callable[..., Any]) -> Case:
    def run(numbers: dict[str, Any], tree: Any, factors: Any = None) -> Any:
        numbers = dict(numbers)
        step = (numbers.pop("step", NUMBERS["step"]),) if kind == "proximal" else ()
        return function(tree, *step, factors=factors, **numbers)

    full = f"{kind}-{name}"
    return Case(full, name, run, {n: NUMBERS[n] for n in TAKES[full]})


PROX = [_case("proximal", name, function) for name, function in PROXIMALS.items()]
PROJECT = [_case("projections", name, function) for name, function in PROJECTIONS.items()]
CASES = PROX + PROJECT
NUMBERED = [(case, number) for case in CASES for number in case.numbers]
NUMBERED_IDS = [f"{case.name}-{number}" for case, number in NUMBERED]


def params(dtype: Any = jnp.float32) -> Any:
    """Returns the parameters in a dtype."""
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), PARAMS)


def small(dtype: Any = jnp.float32) -> Any:
    """Returns a vector and a matrix of them: a leaf less to compile."""
    return {"bias": jnp.asarray(PARAMS["bias"], dtype), "kernel": jnp.asarray(PARAMS["kernel"], dtype)}


def leaves(tree: Any) -> list[np.ndarray]:
    """Returns the leaves as NumPy arrays in float64."""
    return [np.asarray(x, np.float64) for x in jax.tree.leaves(tree)]
