"""A part as a function of its numbers, what was checked of it, and what is broken, in words."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_intro import routing
from jaxopt_intro.typing import PyTree

# Skewed values: symmetric ones hide a reversed sign, equal ones a swapped element.
PARAMS = {"bias": np.array([0.3, -1.1]), "kernel": np.array([[1.7, -0.2], [0.6, 2.3], [-0.9, 0.4]])}


class Broken(ValueError):
    """A part breaks a contract; the message says which, with the numbers, and how to mend it."""


class Checked(NamedTuple):
    """What was checked.

    Attributes:
        part: The part, by role and name.
        contracts: What holds, each with its number, as `("traceable", "margin")`; "" where it is about no number.
    """

    part: str
    contracts: tuple[tuple[str, str], ...]


class Subject(NamedTuple):
    """A part as a function of its numbers: `run(numbers, dtype) -> tree`.

    `positive` are those that are never 0; `invented` are those whose values nobody gave.
    """

    name: str
    run: Callable[..., PyTree]
    numbers: dict[str, float]
    piecewise: frozenset[str] = frozenset()
    positive: frozenset[str] = frozenset()
    invented: tuple[str, ...] = ()


def subject_of(
    role: str,
    function: Callable[..., Any],
    run: Callable[..., Any],
    given: Mapping[str, float] | None,
    *,
    constructs: bool,
    positive: Collection[str],
    guess: float = 0.1,
) -> Subject:
    takes, given = routing.parameters(function), dict(given or {})
    names = routing.numbers(function, constructs=constructs)
    known = {n: takes[n].default for n in names if isinstance(takes[n].default, int | float)}
    values = {n: float(given[n] if n in given else known.get(n) or guess) for n in dict.fromkeys((*given, *names))}
    invented = tuple(n for n in names if n not in given and n not in known)
    title = f"{role} {routing.own_name(function)}"
    return Subject(title, run, values, _piecewise(function), frozenset(positive), invented)


def _piecewise(function: Callable[..., Any]) -> frozenset[str]:
    """The arguments whose documentation calls them piecewise: their derivatives need only be finite."""
    while isinstance(function, functools.partial):
        function = function.func
    found, name, indent = set(), "", 0
    for line in (function.__doc__ or "").split("\n"):
        begin = re.match(r"( +)(\w+): ", line)
        if begin and (not name or len(begin[1]) <= indent):
            name, indent = begin[2], len(begin[1])
        found |= {name} if "piecewise" in line.lower() else set()
    return frozenset(found)


def checked(subject: Subject, numbers: list[tuple[str, str]], *others: str) -> Checked:
    return Checked(subject.name, (*numbers, *((what, "") for what in others)))


def broken(subject: Subject, number: int, contract: str, found: str) -> Broken:
    guessed = {name: subject.numbers[name] for name in subject.invented}
    hint = f" Checked with {guessed}, which have no defaults: pass numbers= if that is out of range." if guessed else ""
    return Broken(f"{subject.name} breaks contract {number} ({contract}): {found}.{hint}")


def cast(tree: PyTree, dtype: Any) -> PyTree:
    return jax.tree.map(
        lambda x: jnp.asarray(x, dtype if jnp.issubdtype(jnp.result_type(x), jnp.floating) else None), tree
    )


def kinds(tree: PyTree) -> list[Any]:
    return [(jnp.shape(x), jnp.result_type(x)) for x in jax.tree.leaves(tree)]


def words(tree: PyTree) -> str:
    each = [f"{dtype}{list(shape)}" for shape, dtype in kinds(tree)]
    return ", ".join(each[:4]) + (", …" if len(each) > 4 else "") if each else "empty"


def short(values: Any) -> str:
    return np.array2string(np.asarray(values, np.float64), precision=6, threshold=6).replace("\n", "")


def first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]
