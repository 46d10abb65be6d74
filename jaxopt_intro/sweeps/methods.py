"""Spaces of the numbers of optimizers: where each method's own table entry says to look."""

from __future__ import annotations

from typing import Any

from jaxopt_intro import distributions
from jaxopt_intro.checks import known_name, one_of
from jaxopt_intro.optimizers import METHODS
from jaxopt_intro.sweeps.space import Space


def space_of_methods(*names: str, numbers: str = "learning_rate") -> Space:
    """Returns the space of one or several optimizers, over the ranges of their own table entries.

    Args:
        *names: Names in `jaxopt-intro list optimizers`.
        numbers: "learning_rate" alone, or "all" that a method takes.

    Returns:
        A choice `optimizer`, and the numbers: by their own names for one method, and by `"adam.learning_rate"` and the
        like for several, where each exists only under its method.

    Raises:
        ValueError: No name, or an unknown one, or one twice; or `numbers` is another word.

    Examples:
        >>> space_of_methods("adam")
        Space(learning_rate=log_uniform(1e-05, 0.1), optimizer=choice([adam]))
        >>> [trial.hparams for trial in space_of_methods("adam", "sgd").grid(1)]
        [{'adam.learning_rate': 0.001}, {'sgd.learning_rate': 0.031622775}]
    """
    one_of("space_of_methods", ("learning_rate", "all"), numbers=numbers)
    if not names:
        raise ValueError('space_of_methods: got no optimizer; expected some, such as space_of_methods("adam", "sgd").')
    entries: dict[str, Any] = {}
    for name in names:
        search = METHODS[known_name(name, METHODS, "optimizer")].search
        for number in search if numbers == "all" else ["learning_rate"]:
            entries[f"{name}.{number}" if len(names) > 1 else number] = search[number]
    return Space({**entries, "optimizer": distributions.choice(names)})
