"""What a user's parts return, refused where a training needs something else, in the part's name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxopt_intro import routing
from jaxopt_intro.typing import PyTree


def described(value: Any) -> str:
    """Returns a value in the words of a message.

    Examples:
        >>> described(None), described(jnp.ones(3))
        ('a NoneType', 'an array of shape (3,), dtype float32')
    """
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"an array of shape {tuple(value.shape)}, dtype {value.dtype}"
    kind = type(value).__name__
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"


def optimizer(role: str, make: Callable[..., Any], made: Any) -> Any:
    """Returns what makes an optimizer has made, and refuses what is none.

    Raises:
        ValueError: It has no `init` and `update`.

    Examples:
        >>> optimizer("optimizer", lambda learning_rate: None, None)
        Traceback (most recent call last):
        ...
        ValueError: optimizer <lambda>: got a NoneType; expected an optimizer with `init` and `update`. Return ...
    """
    if not (callable(getattr(made, "init", None)) and callable(getattr(made, "update", None))):
        raise ValueError(
            f"{role} {routing.own_name(make)}: got {described(made)}; expected an optimizer with `init` and `update`. "
            "Return an optax.GradientTransformation."
        )
    return made


def pair(role: str, name: str, call: str, returned: Any, of: str) -> tuple[Any, Any]:
    """Returns a pair, and refuses what is none.

    Examples:
        >>> pair("model", "mine", "apply", 3.0, "(outputs, model_state)")
        Traceback (most recent call last):
        ...
        ValueError: model mine: its `apply` returned a float; expected a pair, (outputs, model_state). Return both.
    """
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise ValueError(
            f"{role} {name}: its `{call}` returned {described(returned)}; expected a pair, {of}. Return both."
        )
    return returned


def like(what: str, returned: PyTree, expected: PyTree, *, of: str, dtypes: bool = False) -> PyTree:
    """Returns a tree, and refuses one of another form than it should have.

    Args:
        what: What returned it, as the message begins.
        returned: The tree.
        expected: A tree of the form that it should have.
        of: Of what that form is, as the message ends.
        dtypes: Whether dtypes have to be the same too.

    Raises:
        ValueError: Structure, a shape, or a dtype differs.

    Examples:
        >>> like("augmentation crop", jnp.ones((5, 2)), jnp.ones((5, 4)), of="the inputs")
        Traceback (most recent call last):
        ...
        ValueError: augmentation crop: got an array of shape (5, 2), dtype float32; expected shape (5, 4), ...
    """
    if jax.tree.structure(returned) != jax.tree.structure(expected):
        raise ValueError(f"{what}: got {_form(returned)}; expected {_form(expected)}, as {of}. Return the same form.")
    for got, wanted in zip(jax.tree.leaves(returned), jax.tree.leaves(expected), strict=True):
        shape, dtype = jnp.shape(wanted), jnp.result_type(wanted)
        if jnp.shape(got) != shape or (dtypes and jnp.result_type(got) != dtype):
            wanted_dtype = f", dtype {dtype}" if dtypes else ""
            raise ValueError(
                f"{what}: got {described(got)}; expected shape {shape}{wanted_dtype}, that of {of}. Return the same."
            )
    return returned


def _form(tree: PyTree) -> str:
    if tree is None or jax.tree_util.all_leaves([tree]):
        return described(tree)
    return f"a tree {str(jax.tree.structure(tree)).removeprefix('PyTreeDef(').removesuffix(')')}"


def real(what: str, values: Any, *, floats: bool) -> Any:
    """Returns values, and refuses what has no order, or where they are differentiated no derivative.

    Raises:
        ValueError: They are complex, or where `floats` are wanted whole numbers or truth values.

    Examples:
        >>> real("loss mine", jnp.array([1, 2]), floats=True)
        Traceback (most recent call last):
        ...
        ValueError: loss mine: got values of dtype int32; expected floats, since they are differentiated. ...
    """
    dtype = jnp.result_type(values)
    if jnp.issubdtype(dtype, jnp.complexfloating) or (floats and not jnp.issubdtype(dtype, jnp.floating)):
        why = "floats, since they are differentiated" if floats else "real numbers"
        raise ValueError(
            f"{what}: got values of dtype {dtype}; expected {why}. Return what is computed of the outputs without "
            "argmax, comparisons, rounding or complex numbers."
        )
    return values
