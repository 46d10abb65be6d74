"""Which number goes to which part: the one rule by which flat `hparams` reach functions.

A part is a function. The numbers in its signature are its hyperparameters: for a function of arrays (a loss, a
penalty) the keyword-only ones; for a constructor (of an optimizer, of a model) all. A name asks for a number:

* `"momentum"`: the number of that name, if exactly one part takes it;
* `"mine.beta"`: the number `beta` of the part called `mine`; a part is called by its own name, by its role
  (`"loss.q"`), or by both (`"penalty.l1.strength"`, beside a proximal step of the same name);
* `"l2"`: the only number of the part called `l2`, or its `strength`, where it has others (`"elastic_net"`).
"""

from __future__ import annotations

import difflib
import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from jaxopt_intro import domains

# Arguments that the trainer gives: they are neither numbers nor options.
_GIVEN = {"rngs", "example", "outputs", "classes", "self", "key", "schedule_factor"}
# What annotations call a number: Python's words, those of `jaxopt_intro.typing`, and optax's.
_NUMBERS = (
    "float", "int", "Number", "AnyNumber", "Nonnegative", "Positive", "Fraction", "Decay", "AtLeastOne", "Numeric",
    "ScalarOrSchedule",
)  # fmt: skip


class Part(NamedTuple):
    """One part of a training, as the router sees it.

    Attributes:
        role: Where it stands: "model", "loss", "optimizer", "penalty", ….
        name: What it is called: its name in a table, or the function's own.
        hyperparameters: The numbers that it takes.
    """

    role: str
    name: str
    hyperparameters: tuple[str, ...]


class Route(NamedTuple):
    """Where a number goes: the part at `index`, as its argument `argument`."""

    index: int
    argument: str


def parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Returns the parameters of a function, a class (those of its `__init__`), or a `functools.partial` of one.

    Examples:
        >>> list(parameters(functools.partial(Part, "loss")))
        ['name', 'hyperparameters']
    """
    partial = function if isinstance(function, functools.partial) else functools.partial(function)
    while isinstance(partial.func, functools.partial):  # one that has been given a name is not merged by Python
        inner = partial.func
        partial = functools.partial(inner.func, *inner.args, *partial.args, **{**inner.keywords, **partial.keywords})
    # A metaclass may hide the arguments of a class (flax's does), so its __init__ is asked, unless it is a tuple's.
    if isinstance(partial.func, type) and not issubclass(partial.func, tuple):
        partial = functools.partial(partial.func.__init__, None, *partial.args, **partial.keywords)
    return inspect.signature(partial).parameters


def numbers(function: Callable[..., Any], *, constructs: bool) -> tuple[str, ...]:
    """Returns the arguments of a part that are numbers: its hyperparameters.

    Args:
        function: The part.
        constructs: Whether it makes an optimizer or a model: then all its arguments count. Of a function of arrays
            only the keyword-only ones do.

    Returns:
        The names of the arguments whose default is a number or missing, in order. One that is annotated as `Size` is
        an option, as a word is.

    Examples:
        >>> def huber(predictions, targets, *, delta=1.0, reduce=False): ...
        >>> numbers(huber, constructs=False)
        ('delta',)
        >>> def lion(learning_rate, b1=0.9, b2=0.99, mask=None): ...
        >>> numbers(lion, constructs=True)
        ('learning_rate', 'b1', 'b2')
    """
    found, whole = options(function, constructs=constructs), domains.sizes(function)
    return tuple(name for name in found if name not in whole and _is_number(parameters(function)[name]))


def options(function: Callable[..., Any], *, constructs: bool) -> tuple[str, ...]:
    """Returns every argument of a part that a choice may set by keyword.

    Examples:
        >>> def mlp(*, outputs, activation="relu", dropout=None): ...
        >>> options(mlp, constructs=True)
        ('activation', 'dropout')
    """
    kinds = {inspect.Parameter.KEYWORD_ONLY}
    if constructs:
        kinds.add(inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(n for n, p in parameters(function).items() if p.kind in kinds and n not in _GIVEN)


def qualified_name(function: Any) -> str:
    """Returns the name under which a callable can be found again: `package.module:function`.

    Args:
        function: A function, class, or a `functools.partial` of one.

    Returns:
        Module and qualified name; a partial adds the keywords that it sets.

    Raises:
        ValueError: The callable has no name of its own.

    Examples:
        >>> qualified_name(functools.partial(difflib.get_close_matches, n=3))
        'difflib:get_close_matches(n=3)'
    """
    if isinstance(function, functools.partial):
        given = [repr(a) for a in function.args] + [f"{k}={_value_name(v)}" for k, v in function.keywords.items()]
        return qualified_name(function.func) + (f"({', '.join(given)})" if given else "")
    if not hasattr(function, "__qualname__"):
        raise ValueError(
            f"got {function!r}, which has no name of its own; expected a function, a class or a functools.partial "
            "of one. Wrap it in a function."
        )
    return f"{function.__module__}:{function.__qualname__}"


def own_name(function: Any) -> str:
    """Returns what a callable is called: the last word of its name.

    Examples:
        >>> own_name(functools.partial(difflib.get_close_matches, n=3))
        'get_close_matches'
    """
    while isinstance(function, functools.partial) and "__name__" not in vars(function):
        function = function.func
    return getattr(function, "__name__", type(function).__name__)


def named(function: Callable[..., Any], name: str, /, **options: Any) -> Callable[..., Any]:
    """Returns the same function under another name, with some options set.

    Examples:
        >>> own_name(named(difflib.get_close_matches, "near", n=3))
        'near'
    """
    partial = functools.partial(function, **options)
    partial.__name__, partial.__doc__ = name, function.__doc__  # type: ignore[attr-defined]
    return partial


def route(parts: Iterable[Part], names: Iterable[str], *, what: str = "number") -> dict[str, Route]:
    """Finds the part and argument that each name stands for.

    Args:
        parts: The parts of one training.
        names: The numbers that were asked for.
        what: What is asked for, in messages: "number" or "option".

    Returns:
        For each name the part's index and the argument.

    Raises:
        ValueError: No part takes a name, more than one does, or two names mean the same number. The message lists
            the candidates.

    Examples:
        >>> parts = [Part("optimizer", "adam", ("learning_rate", "b1")), Part("penalty", "l2", ("strength",))]
        >>> route(parts, ["learning_rate", "l2"])
        {'learning_rate': Route(index=0, argument='learning_rate'), 'l2': Route(index=1, argument='strength')}
        >>> route(parts, ["learning_rat"])
        Traceback (most recent call last):
        ...
        ValueError: no part takes the number 'learning_rat'. Did you mean 'learning_rate'? ...
    """
    parts = list(parts)
    routes: dict[str, Route] = {}
    owner: dict[Route, str] = {}
    for name in names:
        found = _candidates(parts, name)
        if len(found) != 1:
            raise ValueError(_not_one(parts, name, found, what))
        if found[0] in owner:
            raise ValueError(
                f"{owner[found[0]]!r} and {name!r} are the same {what}, {_spell(parts, found[0])}; expected it once. "
                "Remove one."
            )
        routes[name] = found[0]
        owner[found[0]] = name
    return routes


def canonical(parts: Sequence[Part], route: Route) -> str:
    """Returns the one name of a number, however it was asked for: role, part and argument.

    Examples:
        >>> canonical([Part("penalty", "l2", ("strength",))], Route(0, "strength"))
        'penalty.l2.strength'
    """
    part = parts[route.index]
    return f"{part.role}.{part.name}.{route.argument}"


def known_routes(parts: Iterable[Part], names: Iterable[str]) -> dict[str, Route]:
    """Finds the parts of those names that are for one of these parts, and leaves the others alone.

    Examples:
        >>> known_routes([Part("model", "mlp", ("dropout",))], ["learning_rate", "dropout"])
        {'dropout': Route(index=0, argument='dropout')}
    """
    parts = list(parts)
    found = {name: _candidates(parts, name) for name in names}
    return {name: candidates[0] for name, candidates in found.items() if len(candidates) == 1}


def deliver(parts: Iterable[Part], routes: Mapping[str, Route], values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the keyword arguments for each part.

    Examples:
        >>> parts = [Part("loss", "hinge", ("margin",)), Part("penalty", "l2", ("strength",))]
        >>> deliver(parts, {"l2": Route(1, "strength")}, {"l2": 0.1})
        [{}, {'strength': 0.1}]
    """
    given: list[dict[str, Any]] = [{} for _ in parts]
    for name, (index, argument) in routes.items():
        given[index][argument] = values[name]
    return given


def _candidates(parts: list[Part], name: str) -> list[Route]:
    bare = [Route(i, name) for i, p in enumerate(parts) if name in p.hyperparameters]
    if bare:
        return bare
    called = [(i, _main(p)) for i, p in enumerate(parts) if p.name == name]
    if main := [Route(i, argument) for i, argument in called if argument]:
        return main
    owner, dot, argument = name.rpartition(".")
    if not dot:
        return []
    return [Route(i, argument) for i, p in enumerate(parts) if owner in _owners(p) and argument in p.hyperparameters]


def _main(part: Part) -> str | None:
    """The number that a part's bare name stands for."""
    if len(part.hyperparameters) == 1:
        return part.hyperparameters[0]
    return "strength" if "strength" in part.hyperparameters else None


def _owners(part: Part) -> tuple[str, str, str]:
    return part.name, part.role, f"{part.role}.{part.name}"


def _not_one(parts: list[Part], name: str, found: list[Route], what: str) -> str:
    if found:
        return (
            f"the {what} {name!r} is taken by more than one part: write one of "
            f"{', '.join(_spell(parts, r) for r in found)}."
        )
    takes = "; ".join(f"{p.role} {p.name} takes {', '.join(p.hyperparameters)}" for p in parts if p.hyperparameters)
    bare = [h for p in parts for h in p.hyperparameters]
    qualified = [f"{p.name}.{h}" for p in parts for h in p.hyperparameters] if "." in name else []
    known = sorted({*bare, *qualified})
    # As near as `beta1` and `b1` are, where nothing is nearer.
    near = difflib.get_close_matches(name, known, n=2) or difflib.get_close_matches(name, known, n=1, cutoff=0.55)
    meant = f"Did you mean {' or '.join(repr(n) for n in near)}? " if near else ""
    return f"no part takes the {what} {name!r}. {meant}{takes or 'No part takes any'}."


def _spell(parts: list[Part], r: Route) -> str:
    """The shortest name that means this number alone."""
    names = [f"{owner}.{r.argument}" for owner in _owners(parts[r.index])]
    return next((name for name in names if _candidates(parts, name) == [r]), names[-1])


def _is_number(parameter: inspect.Parameter) -> bool:
    if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
        return False
    default = parameter.default
    if default is parameter.empty:
        return parameter.annotation in (parameter.empty, int, float) or _names_a_number(parameter.annotation)
    if default is None:
        return _names_a_number(parameter.annotation)
    return isinstance(default, int | float) and not isinstance(default, bool)


def _names_a_number(annotation: Any) -> bool:
    """Whether a number is one of the annotation's alternatives; `Sequence[int]` or a function of ints is none."""
    text = annotation if isinstance(annotation, str) else str(annotation)
    text, found = re.sub(r"\b(Optional|Union|Annotated)\[", "(", text), 1
    while found:
        text, found = re.subn(r"\[[^\[\]]*\]", "", text)
    return re.search(rf"\b({'|'.join(_NUMBERS)})\b", text) is not None


def _value_name(value: Any) -> str:
    return qualified_name(value) if callable(value) else repr(value)
