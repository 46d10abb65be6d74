"""Larger parameters than those of the contracts' cases, and those cases by table."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tests.contracts.cases import NUMBERS, TREE_CASES, WEIGHTS, cast

PARAMS = {**WEIGHTS, "conv": {"kernel": np.sin(1.3 * np.arange(1.0, 25.0) ** 1.5).reshape(2, 2, 2, 3)}}
PROX, PROJECT = ([c for c in TREE_CASES if c.name.startswith(table)] for table in ("proximal", "projection"))
__all__ = ["NUMBERS", "PARAMS", "PROJECT", "PROX", "leaves", "params"]


def params(dtype: Any = jnp.float32) -> Any:
    """Returns the parameters in a dtype."""
    return cast(PARAMS, dtype)


def leaves(tree: Any) -> list[np.ndarray]:
    """Returns the leaves as NumPy arrays in float64."""
    return [np.asarray(x, np.float64) for x in jax.tree.leaves(tree)]
