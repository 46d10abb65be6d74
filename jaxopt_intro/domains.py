"""The legal values of numbers: an annotation says them, `checked` holds a function to them where values are known."""

from __future__ import annotations

import contextlib
import difflib
import functools
import inspect
import math
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar

import numpy as np

from jaxopt_intro.checks import known_values, scalars

Function = TypeVar("Function", bound=Callable[..., Any])
Mark = TypeVar("Mark")

_FREE: ContextVar[frozenset[str]] = ContextVar("_FREE", default=frozenset())


class Interval(NamedTuple):
    """The legal values of a number, both ends included unless they are open.

    Attributes:
        low: The least.
        high: The largest.
        low_open: Whether `low` itself is not legal.
        high_open: Whether `high` itself is not legal.
    """

    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False

    def holds(self, value: Any) -> bool:
        """Returns whether a value, or each of several, is legal; NaN never is.

        Examples:
            >>> Interval(0, 1, high_open=True).holds(1.0), Interval(0).holds(0.0)
            (False, True)
        """
        if type(value) is float or type(value) is int:
            above = value > self.low or (value == self.low and not self.low_open)
            return above and (value < self.high or (value == self.high and not self.high_open))
        above = np.greater(value, self.low) if self.low_open else np.greater_equal(value, self.low)
        below = np.less(value, self.high) if self.high_open else np.less_equal(value, self.high)
        return bool(np.all(above & below))

    def __str__(self) -> str:
        if self.low == -math.inf and self.high == math.inf:
            return "of any size"
        if self.high == math.inf:
            return f"above {self.low:g}" if self.low_open else f"of at least {self.low:g}"
        return f"in {'(' if self.low_open else '['}{self.low:g}, {self.high:g}{')' if self.high_open else ']'}"


class Whole(NamedTuple):
    """Marks a whole number that is an option, compiled: no hyperparameter.

    Attributes:
        low: The least.
    """

    low: int = 1


def sizes(function: Callable[..., Any]) -> dict[str, Whole]:
    """Returns the arguments that are annotated as whole numbers, `typing.Size`.

    Args:
        function: A function, class, or a `functools.partial` of one.

    Returns:
        The least value of each.

    Examples:
        >>> from jaxopt_intro.optimizers import lbfgs
        >>> sizes(lbfgs)
        {'memory': Whole(low=1)}
    """
    return _marked(function, Whole)


def ranges(function: Callable[..., Any]) -> dict[str, Interval]:
    """Returns the range of each argument that is annotated as a number, such as `typing.Fraction`.

    Args:
        function: A function, class, or a `functools.partial` of one.

    Returns:
        The interval of each; without ends for one that may be any number.

    Examples:
        >>> from jaxopt_intro.losses import huber
        >>> {name: str(interval) for name, interval in ranges(huber).items()}
        {'delta': 'of at least 0'}
    """
    return _marked(function, Interval)


def _marked(function: Callable[..., Any], kind: type[Mark]) -> dict[str, Mark]:
    found = {name: _mark(hint, kind) for name, hint in _annotations(function).items() if name != "return"}
    return {name: mark for name, mark in found.items() if mark is not None}


def _annotations(function: Any) -> dict[str, Any]:
    """The annotations of what a callable calls, those evaluated that are text; one that cannot be read is left out."""
    while isinstance(function, functools.partial) or hasattr(function, "__wrapped__"):
        function = function.func if isinstance(function, functools.partial) else function.__wrapped__
    is_class = isinstance(function, type)
    target = function.__init__ if is_class and not issubclass(function, tuple) else function
    module = sys.modules.get(target.__module__ or "") if is_class else None  # a class of a script's may have none
    names = vars(module) if module else getattr(target, "__globals__", {})
    read = {}
    for name, hint in getattr(target, "__annotations__", {}).items():
        text = getattr(hint, "__forward_arg__", hint)
        try:
            read[name] = eval(text, dict(names)) if isinstance(text, str) else text
        except Exception:  # a user's annotation may be anything, and say nothing
            continue
    return read


def _mark(hint: Any, kind: type[Mark]) -> Mark | None:
    """The mark of a kind that an annotation holds, itself or as one of its alternatives; None for one without."""
    if typing.get_origin(hint) is typing.Annotated:
        return next((m for m in hint.__metadata__ if isinstance(m, kind)), None)
    if typing.get_origin(hint) not in (typing.Union, types.UnionType) or typing.Any in typing.get_args(hint):
        return None
    return next((found for found in (_mark(h, kind) for h in typing.get_args(hint)) if found is not None), None)


def checked(function: Function) -> Function:
    """Makes a function refuse numbers that have axes, or that lie outside the range of their annotation.

    Axes would broadcast. A range is checked where the value is known: not while it is traced. What is annotated as
    `Size` has to be a whole number.

    Args:
        function: A function whose numbers are annotated as in `jaxopt_intro.typing`.

    Returns:
        The same function, refusing.

    Examples:
        >>> from jaxopt_intro.regularizers import l1
        >>> l1(np.ones(2), strength=-0.5)
        Traceback (most recent call last):
        ...
        ValueError: l1: got strength=-0.5; expected a number of at least 0. ...
        >>> l1(np.ones(2), strength=np.zeros(50))
        Traceback (most recent call last):
        ...
        ValueError: l1: got strength of shape (50,); expected one number. For several at once, use jax.vmap.
        >>> l1(np.ones(2), strenght=0.5)
        Traceback (most recent call last):
        ...
        TypeError: l1: got strenght; expected params, strength, factors. Did you mean 'strength'?
    """
    signature, known = inspect.signature(function), functools.cache(functools.partial(ranges, function))
    wholes = functools.cache(functools.partial(sizes, function))

    @functools.wraps(function)
    def refusing(*args: Any, **kwargs: Any) -> Any:
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(_misfit(function.__name__, signature, args, kwargs) or str(error)) from None
        asked = {name: interval for name, interval in known().items() if given.get(name) is not None}
        scalars(function.__name__, **{name: given[name] for name in asked})
        for name, interval in asked.items():
            in_range(function.__name__, name, given[name], interval)
        for name, size in wholes().items():
            if given.get(name) is not None:
                _whole(function.__name__, name, given[name], size)
        return function(*args, **kwargs)

    return typing.cast(Function, refusing)


def _whole(function: str, name: str, value: Any, size: Whole) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < size.low:
        raise ValueError(
            f"{function}: got {name}={value!r}; expected a whole number of at least {size.low}. Pass an int: "
            "it is compiled in, so it is not traced."
        )


def _misfit(function: str, signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """What is wrong with a call, and what the function takes; empty where only Python can tell."""
    takes = {name: p for name, p in signature.parameters.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    names = [name for name in takes if name != "self"]
    expected = f"expected {', '.join(names) or 'nothing'}"
    by_position = [name for name, p in takes.items() if p.kind is not p.KEYWORD_ONLY]
    if unknown := [name for name in kwargs if name not in takes]:
        near = difflib.get_close_matches(unknown[0], names, n=1, cutoff=0.5)
        fix = f"Did you mean {near[0]!r}?" if near else "Pass one of these."
        return f"{function}: got {', '.join(unknown)}; {expected}. {fix}"
    if len(args) > len(by_position):
        most, by_keyword = len(by_position) or "none", ", ".join(name for name in names if name not in by_position)
        return f"{function}: got {len(args)} by position; expected {most}. Pass {by_keyword or 'fewer'} by keyword."
    if twice := [name for name in by_position[: len(args)] if name in kwargs]:
        return f"{function}: got {', '.join(twice)} twice; {expected}. Pass it by position or by keyword."
    needed = [name for name, p in takes.items() if p.default is p.empty]
    if missing := [name for name in needed if name not in kwargs and name not in by_position[: len(args)]]:
        return f"{function}: got no {' and no '.join(missing)}; {expected}. Pass {'them' if missing[1:] else 'it'}."
    return ""


@contextlib.contextmanager
def ranges_left_out(names: Iterable[str]) -> Iterator[None]:
    """Leaves out the ranges of numbers of some names, and of no others, as long as it lasts.

    It is for numbers that a schedule has multiplied: compiled, their values are not known and never refused, and so
    it is where they are known.

    Args:
        names: Names of arguments.

    Examples:
        >>> with ranges_left_out(["b1"]):
        ...     in_range("adam", "b1", 1.5, Interval(0, 1))
    """
    before = _FREE.set(frozenset(names))
    try:
        yield
    finally:
        _FREE.reset(before)


def in_range(function: str, name: str, value: Any, interval: Interval) -> None:
    """Refuses a number outside its range, where its value is known: not while it is traced.

    Args:
        function: The function that asks, for the message.
        name: The number's name.
        value: A Python number, or an array.
        interval: Its range.

    Raises:
        ValueError: It is outside, or no number.

    Examples:
        >>> in_range("adam", "b1", 0.9, Interval(0, 1, high_open=True))
        >>> in_range("adam", "b1", 1.0, Interval(0, 1, high_open=True))
        Traceback (most recent call last):
        ...
        ValueError: adam: got b1=1.0; expected a number in [0, 1). Change it, or the ends of the space that it is from.
    """
    number = known_values(value)
    if number is None or name in _FREE.get():
        return
    known = number.dtype.kind in "biuf" or number.dtype.name.startswith(("bfloat", "float8", "int4", "uint4"))
    if number.ndim or not known:
        raise ValueError(f"{function}: got {name}={value!r}; expected a number {interval}. Pass one number.")
    if not interval.holds(number):
        raise ValueError(
            f"{function}: got {name}={value}; expected a number {interval}. Change it, or the ends of the space that "
            "it is from."
        )
