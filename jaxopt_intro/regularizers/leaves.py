"""What penalties, proximal operators and projections share: factors, and which leaves are left out."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jaxopt_intro.checks import scalars
from jaxopt_intro.trees import path_name
from jaxopt_intro.typing import Array, Number, PyTree


def factors_like(tree: PyTree, factors: PyTree | None, function: str) -> PyTree:
    """Returns the factors, 1 for each leaf where they are None.

    Raises:
        ValueError: They have another structure than the tree, or one of them has axes.

    Examples:
        >>> factors_like({"kernel": jnp.zeros((2, 3))}, None, "l1")
        {'kernel': 1.0}
    """
    if factors is None:
        return jax.tree.map(lambda _: 1.0, tree)
    if jax.tree.structure(factors) != jax.tree.structure(tree):
        raise ValueError(
            f"{function}: got factors {jax.tree.structure(factors)}; expected {jax.tree.structure(tree)}, one number "
            "for each leaf. Start from trees.kernels(params)."
        )
    for path, factor in jax.tree.leaves_with_path(factors):
        scalars(function, **{f"factors {path_name(path)}": factor})
    return factors


def left_out(leaf: Array, factor: Number) -> bool:
    """Whether a leaf is not looked at: its factor is the Python number 0, which is structure, or it is empty.

    Examples:
        >>> left_out(jnp.ones(2), 0.0), left_out(jnp.ones(2), jnp.array(0.0)), left_out(jnp.ones((0, 2)), 1.0)
        (True, False, True)
    """
    return jnp.size(leaf) == 0 or (isinstance(factor, int | float) and not factor)
