"""The staging doctor: finds out which numbers can be traced, instead of asking, and says what refuses the others."""

from __future__ import annotations

import linecache
import os
import sysconfig
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import optax
from flax import linen, nnx

import jaxopt_intro
from jaxopt_intro.models.layers.planning import equations

_OURS = str(Path(jaxopt_intro.__file__).parent) + os.sep
_CHECKING = tuple(f"{_OURS}{name}.py" for name in ("domains", "checks", "routing"))  # which refuse, on others' behalf
_STANDARD, _INSTALLED = sysconfig.get_path("stdlib"), ("/site-packages/", "/dist-packages/")
# What traces in place of a layer or schedule that does not.
_WOULD_TRACE: dict[Any, str] = {
    nnx.Dropout: "models.layers.Dropout",
    linen.Dropout: "regularizers.stochastic.dropout(x, rate, key=self.make_rng('dropout'))",
    "cosine_decay_schedule": "schedules.cosine",
    "exponential_decay": "schedules.exponential",
    "linear_schedule": "schedules.linear",
    "polynomial_schedule": "schedules.polynomial",
    "linear_onecycle_schedule": "schedules.one_cycle",
    "cosine_onecycle_schedule": "schedules.one_cycle_cosine",
    "warmup_constant_schedule": "schedules.warmup",
    "warmup_cosine_decay_schedule": "schedules.warmup_cosine",
}
_Shapes = Callable[[Mapping[str, Any], Mapping[str, Any]], Any]


class _Frame(NamedTuple):
    """A call on the way to an error: the frame itself, and how it reads."""

    frame: Any
    summary: traceback.FrameSummary


def stage(shapes: _Shapes, hparams: Mapping[str, Any]) -> dict[str, str]:
    """Finds the numbers that cannot be traced, and says what the program does with each, and where.

    All are tried together; where that fails each half of them, and so on: a program is traced a few times for each
    number that is refused, not once for every number.

    Args:
        shapes: `(traced, fixed) -> None`: builds and traces the program with some numbers traced and others fixed;
            run under `jax.eval_shape`, so that nothing is computed.
        hparams: A value for every number.

    Returns:
        The numbers that must be compiled, each with the reason; all others can be traced, together.

    Raises:
        Exception: Whatever the program raises with every number fixed: then it is wrong, not staged wrongly.

    Examples:
        >>> def shapes(traced, fixed):
        ...     numbers = {**traced, **fixed}
        ...     return jax.numpy.zeros(int(numbers["width"])) * numbers["rate"]
        >>> stage(shapes, {"width": 3, "rate": 0.5})
        {'width': 'a shape at <doctest ...>:3: return jax.numpy.zeros(int(numbers["width"])) * numbers["rate"]'}
    """
    jax.eval_shape(lambda: shapes({}, hparams))
    refused = _refused(shapes, hparams, list(hparams))
    rest = [name for name in hparams if name not in refused]
    error = _error(shapes, hparams, rest) if refused else None
    if error is not None:  # what is left still does not trace together: then none of it is traced
        refused |= dict.fromkeys(rest, _reason(error, lambda: False))
    return {name: refused[name] for name in hparams if name in refused}


def place(error: BaseException) -> str:
    """Returns where in the user's code an error was raised, as " at file:line: code"; "" where none of it took part.

    The user's code is what is neither ours, nor installed, nor Python's own; where there is none, what is installed is
    asked, but for JAX and its like.
    """
    return _words(_blamed(_frames(error))) if function(error) else ""


def advice(error: BaseException) -> str:
    """Returns what an error of JAX means for a user's part, however it is staged; "" for other errors.

    Examples:
        >>> try:
        ...     jax.eval_shape(lambda x: x if x > 0 else -x, 1.0)
        ... except jax.errors.TracerBoolConversionError as error:
        ...     print(advice(error))
        got a branch on an array that is traced; expected jax.numpy alone, since it is compiled. Use jnp.where ...
    """
    what = next((what for e in _chain(error) if (what := _what(e))), "")
    if not what or what == _SHAPE:
        return ""
    return (
        f"got {what} {'on' if what == _BRANCH else 'of'} an array that is traced; expected jax.numpy alone, since it "
        "is compiled. Use jnp.where for branches, jnp.log for np.log."
    )


def function(error: BaseException) -> str:
    """Returns the name of the user's function in which an error was raised; "" where none of it took part.

    Examples:
        >>> def mine():
        ...     raise KeyError("here")
        >>> try:
        ...     mine()
        ... except KeyError as error:
        ...     print(function(error), place(error))
        mine  at <doctest ...>:2: raise KeyError("here")
    """
    blamed = _blamed(_frames(error))
    if blamed is None or _rank(blamed) < _INSTALLED_RANK:
        return ""
    return blamed.frame.f_code.co_qualname.rpartition("<locals>.")[2]


def _refused(shapes: _Shapes, hparams: Mapping[str, Any], names: list[str]) -> dict[str, str]:
    error = _error(shapes, hparams, names)
    if error is None:
        return {}
    if len(names) == 1:
        return {names[0]: _reason(error, lambda: _reshapes(shapes, hparams, names[0]))}
    half = len(names) // 2
    found = _refused(shapes, hparams, names[:half]) | _refused(shapes, hparams, names[half:])
    # Where each half traces alone, but not both together, nobody knows which to blame.
    return found or dict.fromkeys(names, _reason(error, lambda: False))


def _error(shapes: _Shapes, hparams: Mapping[str, Any], names: Sequence[str]) -> Exception | None:
    """What tracing some numbers raises: whatever a user's code raises on a traced number is the finding."""
    fixed = {name: value for name, value in hparams.items() if name not in names}
    traced = {name: jax.ShapeDtypeStruct((), "float32") for name in names}
    try:
        jax.eval_shape(lambda t: shapes(t, fixed), traced)
    except Exception as error:
        return error
    return None


def _reason(error: BaseException, reshapes: Callable[[], bool]) -> str:
    """One line: what the program did with the number, where, and what would trace in its place."""
    known = [(e, what) for e in _chain(error) if (what := _what(e))]
    error, what = known[-1] if known else (error, "")  # the first that was raised, whatever was made of it
    frames = _frames(error)
    blamed = _blamed(frames)
    code = "" if blamed is None else _code(blamed.summary)
    if not what:
        said = " ".join(str(error).split())
        return f"refused ({type(error).__name__}: {said[:120]}{'…' if said[120:] else ''}){_words(blamed)}"
    if what == _NUMBER and code.startswith("range("):
        what += " (how often a loop runs)"
    elif what == _NUMBER and code.endswith("]"):
        what += " (a place in a list)"
    elif what == _NUMBER and reshapes():
        what = _SHAPE
    called, alternative = _inside(frames, blamed)
    hint = f"; {alternative} would trace" if alternative else ""
    return f"{what}{called and f' in {called}'}{_words(blamed)}{hint}"


_INSTALLED_RANK = 2
_BRANCH, _SHAPE, _NUMBER = "a branch", "a shape", "a Python number"


def _what(error: BaseException) -> str:
    """What a program has done with a traced number to raise an error of JAX; "" for other errors."""
    said = str(error)
    if isinstance(error, jax.errors.TracerBoolConversionError):
        return _BRANCH
    if isinstance(error, jax.errors.TracerArrayConversionError):
        return f"{_NUMBER} (a NumPy call)"
    if isinstance(error, jax.errors.ConcretizationTypeError | jax.errors.TracerIntegerConversionError):
        return _NUMBER
    if not isinstance(error, TypeError | ValueError):
        return ""
    if said.startswith("Shapes must be 1D sequences") or "expected a sequence of integers" in said:
        return _SHAPE
    if said.startswith(("unhashable type", "Non-hashable static arguments")) and "Tracer" in said:
        return f"{_NUMBER} (a key of a dictionary, or an argument that jit has static)"
    if said.startswith("unsupported format string") and "Tracer" in said:
        return f"{_NUMBER} (a text)"
    # How a traced float refuses to be an index; and how our own parts refuse to have a size traced.
    whole = said.startswith("Only integer scalar arrays") or "it is compiled in, so it is not traced" in said
    return _NUMBER if whole else ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, and those that it was raised in answer to."""
    seen: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in seen:
        seen.append(following)
        yield following
        following = following.__cause__ or following.__context__


def _reshapes(shapes: _Shapes, hparams: Mapping[str, Any], name: str) -> bool:
    """Whether the program with another value of a number computes the same, in arrays of other shapes."""
    try:
        before, after = (_outline(shapes, {**hparams, name: hparams[name] + more}) for more in (0, 1))
    except Exception:  # another value may well be one that the program does not take
        return False
    return before != after and before.total() == after.total()


def _outline(shapes: _Shapes, numbers: Mapping[str, Any]) -> Counter[tuple[int, ...]]:
    program = jax.make_jaxpr(lambda: shapes({}, numbers))()
    return Counter(getattr(v.aval, "shape", ()) for e in equations(program) for v in e.outvars)


def _frames(error: BaseException) -> list[_Frame]:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return [_Frame(*pair) for pair in zip(frames, traceback.extract_tb(error.__traceback__), strict=True)]


def _blamed(frames: Sequence[_Frame]) -> _Frame | None:
    """The innermost call of the user's code; where there is none, of what is installed, and then of ours."""
    ranks = [_rank(f) for f in frames]
    best = max(ranks, default=0)
    return next((f for f, rank in zip(frames[::-1], ranks[::-1], strict=True) if rank == best), None) if best else None


def _rank(frame: _Frame) -> int:
    file, module = frame.summary.filename, str(frame.frame.f_globals.get("__name__", "")).partition(".")[0]
    if module in ("jax", "jaxlib", "flax", "optax", "numpy") or file.startswith(_CHECKING):
        return 0
    if file.startswith(_OURS):
        return 1
    if any(folder in file for folder in _INSTALLED):
        return _INSTALLED_RANK
    return 0 if file.startswith((_STANDARD, "<frozen")) else 3


def _words(frame: _Frame | None) -> str:
    if frame is None:
        return ""
    path, line, code = Path(frame.summary.filename), frame.summary.lineno, frame.summary.line
    cell = path.parent.name.startswith("ipykernel_")  # a notebook's cell, whose file is named by a hash
    where = f"in a cell, line {line}" if cell else f"at {path.name}:{line}"
    return f" {where}" + (f": {code}" if code else "")


def _code(summary: traceback.FrameSummary) -> str:
    """The expression that was computed; the whole line where it goes on over several."""
    text, first, last = linecache.getline(summary.filename, summary.lineno or 0), summary.colno, summary.end_colno
    if first is None or last is None or summary.end_lineno != summary.lineno:
        return summary.line or ""
    return text.encode()[first:last].decode(errors="replace")


def _inside(frames: Sequence[_Frame], blamed: _Frame | None) -> tuple[str, str]:
    """Which layer of flax, or function of optax, the user's line called, as it reads; and what would trace instead."""
    after = frames[frames.index(blamed) + 1 :] if blamed is not None else frames
    for frame, _ in after:
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        layer, function = type(frame.f_locals.get("self")), frame.f_code.co_qualname.partition(".")[0]
        if package == "flax" and issubclass(layer, nnx.Module | linen.Module) and layer.__module__.startswith("flax"):
            return f"flax's {layer.__name__}", _WOULD_TRACE.get(layer, "")
        if package == "optax" and hasattr(optax, function):
            return f"optax's {function}", _WOULD_TRACE.get(function, "")
    return "", ""
