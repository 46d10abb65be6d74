"""Schedules of any number: which number each multiplies, and by how much at a step."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from jaxopt_intro import routing
from jaxopt_intro.domains import in_range, ranges, ranges_left_out
from jaxopt_intro.routing import Part, Route
from jaxopt_intro.training.parts import several
from jaxopt_intro.typing import Array, Model

RATE = "learning_rate"
Numbers = dict[str, list[dict[str, Any]]]


def schedules_of(schedule: Any) -> dict[str, list[Any]]:
    """Returns the schedules of each number: without a name they are the learning rate's.

    Examples:
        >>> schedules_of("cosine"), schedules_of({"b1": ["linear", "cosine"]}), schedules_of(())
        ({'learning_rate': ['cosine']}, {'b1': ['linear', 'cosine']}, {})
    """
    by_number = schedule if isinstance(schedule, Mapping) else {RATE: schedule}
    return {number: own for number, value in by_number.items() if (own := several(value, schedule_role(number)))}


def plain_schedules(schedule: Any, canonical: Mapping[str, str] | None = None) -> Any:
    """Returns schedules in the one way to write them: a list, where they are the learning rate's alone, or a mapping.

    Args:
        schedule: One or several, or a mapping from names of numbers to them.
        canonical: The one name of each number, as `canonical_numbers` gives it; None leaves them as they are spelled.

    Examples:
        >>> plain_schedules({"learning_rate": "cosine"}), plain_schedules({"b1": "linear"})
        (['cosine'], {'b1': ['linear']})
    """
    by_number = {(canonical or {}).get(number, number): own for number, own in schedules_of(schedule).items()}
    return by_number if set(by_number) - {RATE} else by_number.get(RATE, [])


def schedule_role(number: str) -> str:
    """Returns the role of a number's schedules: their numbers are called by it, as in "schedule.b1.cosine.length".

    Examples:
        >>> schedule_role("learning_rate"), schedule_role("b1")
        ('schedule', 'schedule.b1')
    """
    return "schedule" if number == RATE else f"schedule.{number}"


def scheduled_routes(parts: Sequence[Part], numbers: Sequence[str]) -> dict[str, Route]:
    """Returns the part and argument of each number that has schedules; schedules themselves have none.

    Raises:
        ValueError: No part takes a number, or more than one does, or two names are the same number. The optimizer has
            no learning rate.

    Examples:
        >>> scheduled_routes([Part("optimizer", "sgd", ("learning_rate",))], ["learning_rate"])
        {'learning_rate': Route(index=0, argument='learning_rate')}
    """
    others = [p if p.role.partition(".")[0] != "schedule" else p._replace(hyperparameters=()) for p in parts]
    names = [f"optimizer.{RATE}" if number == RATE else number for number in numbers]
    if RATE in numbers:
        check_learning_rate(next(part for part in parts if part.role == "optimizer"), "schedule")
    try:
        found = routing.route(others, names)
        return {number: found[name] for number, name in zip(numbers, names, strict=True)}
    except ValueError as error:
        raise ValueError(f"schedule: {error}") from None


def name_of_rate(scheduled: Mapping[str, Route], parts: Sequence[Part]) -> str | None:
    """Returns the name under which the optimizer's learning rate has schedules, or None where it has none.

    Examples:
        >>> parts = [Part("optimizer", "sgd", ("learning_rate",))]
        >>> name_of_rate(scheduled_routes(parts, ["sgd.learning_rate"]), parts)
        'sgd.learning_rate'
    """
    return next((name for name, route in scheduled.items() if _is_rate(route, parts)), None)


def canonical_numbers(parts: Sequence[Part], numbers: Sequence[str]) -> dict[str, str]:
    """Returns the one name of each number that has schedules, however it is spelled.

    Examples:
        >>> parts = [Part("optimizer", "adam", ("learning_rate", "b1"))]
        >>> canonical_numbers(parts, ["adam.learning_rate", "b1"])
        {'adam.learning_rate': 'learning_rate', 'b1': 'optimizer.adam.b1'}
    """
    found = scheduled_routes(parts, numbers)
    return {name: RATE if _is_rate(r, parts) else routing.canonical(parts, r) for name, r in found.items()}


def _is_rate(route: Route, parts: Sequence[Part]) -> bool:
    return route.argument == RATE and parts[route.index].role == "optimizer"


def factors_at(
    functions: Mapping[str, Sequence[Any]], numbers: Numbers, step: Array, scheduled: Iterable[str]
) -> dict[str, Any]:
    """Returns the product of each scheduled number's schedules at a step.

    Args:
        functions: The functions of each role.
        numbers: The numbers of each of them.
        step: The step, from 0.
        scheduled: The numbers that have schedules.

    Raises:
        ValueError: A schedule gives no scalar.
    """
    factors = {}
    for number in scheduled:
        role = schedule_role(number)
        total: Any = 1.0
        for make, own in zip(functions[role], numbers[role], strict=True):
            schedule: Any = make(**own)
            factor: Any = schedule(step) if callable(schedule) else schedule
            if not callable(schedule) or factor is None:
                got = f"a {type(factor).__name__}" + (" for one step" if callable(schedule) else "")
                raise ValueError(
                    f"schedule {routing.own_name(make)}: got {got}; expected a function that makes `step -> factor`. "
                    "Return a function of the step that returns a number."
                )
            if jnp.shape(factor) != ():
                raise ValueError(
                    f"schedule {routing.own_name(make)}: got a factor of shape {jnp.shape(factor)} for one step; "
                    "expected a scalar. Give each of its numbers one value."
                )
            total = total * factor
        factors[number] = total
    return factors


def multiplied(
    pairs: Sequence[tuple[str, Any]],
    delivered: Sequence[dict[str, Any]],
    factors: Mapping[str, Any],
    routes: Mapping[str, Route],
) -> list[dict[str, Any]]:
    """Returns the numbers of each function, those with a factor multiplied by it.

    Args:
        pairs: The functions, each with its role.
        delivered: The numbers of each.
        factors: The factor of each scheduled number.
        routes: The function and argument of each.

    Raises:
        ValueError: A scheduled number has no value, or one outside its range before it is multiplied.

    Examples:
        >>> multiplied([("loss", abs)], [{"q": 3.0}], {"q": 0.5}, {"q": Route(0, "q")})
        [{'q': 1.5}]
    """
    _refuse_what_is_left_out(pairs, delivered, {routes[number].argument for number in factors})
    after = [dict(own) for own in delivered]
    for number, factor in factors.items():
        index, argument = routes[number]
        after[index][argument] = value_of(*pairs[index], argument, delivered[index]) * factor
    return after


def _refuse_what_is_left_out(
    pairs: Sequence[tuple[str, Any]], delivered: Sequence[dict[str, Any]], arguments: set[str]
) -> None:
    """Checks all numbers of some names: the functions that take them do not, once one is multiplied."""
    with ranges_left_out(()):
        for (_, function), own in zip(pairs, delivered, strict=True):
            legal = {} if isinstance(function, Model) or not arguments & own.keys() else ranges(function)
            for argument in [n for n in own if n in arguments and n in legal and own[n] is not None]:
                in_range(routing.own_name(function), argument, own[argument], legal[argument])


def value_of(role: str, function: Any, argument: str, given: Mapping[str, Any]) -> Any:
    """Returns a part's number: the given one, or its default.

    Raises:
        ValueError: There is neither, or the default of a model's is known to its constructor alone.

    Examples:
        >>> def huber(predictions, targets, *, delta=1.0): ...
        >>> value_of("loss", huber, "delta", {})
        1.0
    """
    if argument in given:
        return given[argument]
    is_model = isinstance(function, Model)
    default = inspect.Parameter.empty if is_model else routing.parameters(function)[argument].default
    if default is None or default is inspect.Parameter.empty:
        name = function.name if is_model else routing.own_name(function)
        raise ValueError(f"{role} {name}: got no {argument}; expected one in hparams.")
    return default


def check_traceable(pairs: Sequence[tuple[str, Any]], routes: Mapping[str, Route]) -> None:
    """Refuses a schedule of a count that decides shapes: a step's own value is never known when it is compiled.

    Args:
        pairs: The functions, each with its role.
        routes: The function and argument of each number that has schedules.

    Raises:
        ValueError: A number is annotated as `int`, as static counts are.

    Examples:
        >>> from jaxopt_intro.training import workers
        >>> check_traceable([("workers", workers.delayed)], {"longest": Route(0, "longest")})
        Traceback (most recent call last):
        ...
        ValueError: schedule: got a schedule of 'longest', a count of workers delayed that is compiled; ...
    """
    for number, (index, argument) in routes.items():
        role, function = pairs[index]
        if not isinstance(function, Model) and routing.parameters(function)[argument].annotation in ("int", int):
            raise ValueError(
                f"schedule: got a schedule of {number!r}, a count of {role} {routing.own_name(function)} that is "
                "compiled; expected a number that may be traced. Leave its schedule out, and give the count one value."
            )


def check_learning_rate(optimizer: Part, role: str) -> None:
    """Refuses an optimizer without a learning rate.

    Raises:
        ValueError: It has none.
    """
    if RATE not in optimizer.hyperparameters:
        takes = ", ".join(optimizer.hyperparameters) or "no number"
        raise ValueError(
            f"optimizer {optimizer.name}: takes {takes}; expected learning_rate, since the {role} needs it. Give the "
            "function that makes the optimizer an argument of that name."
        )
