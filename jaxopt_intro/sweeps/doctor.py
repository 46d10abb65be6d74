"""The staging doctor: finds out which numbers can be traced, instead of asking."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax


def stage(
    shapes: Callable[[Mapping[str, Any], Mapping[str, Any]], Any],
    hparams: Mapping[str, Any],
    *,
    library: Sequence[str] = (),
) -> dict[str, str]:
    """Finds the numbers that change the program's shapes or branches, and says why.

    Args:
        shapes: `(traced, fixed) -> None`: builds and traces the program with some numbers traced and others fixed;
            run under `jax.eval_shape`, so that nothing is computed.
        hparams: A value for every number.
        library: Parts of file names to leave out when looking for the line to blame.

    Returns:
        The numbers that must be compiled, each with the reason; all others can be traced, together.

    Raises:
        Exception: Whatever the program raises with every number fixed: then it is wrong, not staged wrongly.

    Examples:
        >>> def shapes(traced, fixed):
        ...     numbers = {**traced, **fixed}
        ...     return jax.numpy.zeros(int(numbers["width"])) * numbers["rate"]
        >>> list(stage(shapes, {"width": 3, "rate": 0.5}))
        ['width']
    """
    jax.eval_shape(lambda: shapes({}, hparams))
    if _refusal(shapes, hparams, list(hparams), library) is None:
        return {}
    reasons = {name: _refusal(shapes, hparams, [name], library) for name in hparams}
    compiled = {name: reason for name, reason in reasons.items() if reason is not None}
    together = _refusal(shapes, hparams, [n for n in hparams if n not in compiled], library)
    if together is not None:  # each alone traces, all of them do not: then none is
        return {name: compiled.get(name) or together for name in hparams}
    return compiled


def _refusal(
    shapes: Callable[..., Any], hparams: Mapping[str, Any], names: list[str], library: Sequence[str]
) -> str | None:
    fixed = {name: value for name, value in hparams.items() if name not in names}
    traced = {name: jax.ShapeDtypeStruct((), "float32") for name in names}
    try:
        jax.eval_shape(lambda t: shapes(t, fixed), traced)
    except Exception as error:  # whatever a user's code raises on a traced number is the finding
        return _reason(error, library)
    return None


def _reason(error: Exception, library: Sequence[str]) -> str:
    """One line: what the program did with the number, and where."""
    what = "a branch" if isinstance(error, jax.errors.TracerBoolConversionError) else "a shape or a Python number"
    return f"{what}{place(error, library)}"


def place(error: BaseException, library: Sequence[str] = ()) -> str:
    """Returns where in the user's code an error was raised, as " at file:line: code"; "" where none of it took part."""
    hidden = ("/jax/", "/jaxlib/", "/flax/", "/optax/", "/numpy/", "functools.py", *library)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not any(part in f.filename for part in hidden)]
    if not frames:
        return ""
    last = frames[-1]
    return f" at {last.filename.rpartition('/')[2]}:{last.lineno}: {last.line}"
