"""Whom to cite for what a sweep is made of."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jaxopt_intro.augmentations import AUGMENTATIONS
from jaxopt_intro.experiment.asking import PART_FIELDS, Experiment
from jaxopt_intro.experiment.assembling import TABLES
from jaxopt_intro.models import MODELS
from jaxopt_intro.optimizers import METHODS
from jaxopt_intro.schedules import SCHEDULES
from jaxopt_intro.sweeps.space import Trial

_TABLES: dict[str, Mapping[str, Any]] = {
    **TABLES, "schedule": SCHEDULES, "augment": AUGMENTATIONS, "model": MODELS,
}  # fmt: skip


def references(experiment: Experiment, trials: Sequence[Trial]) -> dict[str, str]:
    """Returns the papers behind the named parts of a sweep, by role and name.

    Args:
        experiment: What all trials have in common.
        trials: The trials, whose choices may name other parts.

    Returns:
        `{"optimizer adam": "Kingma and Ba 2015, …"}`, as the tables and the documentation of the parts say it; parts
        without a paper, and your own functions, are left out.

    Examples:
        >>> references(Experiment(optimizer="sgd", penalty=("l1",)), [])["penalty l1"]
        'Tibshirani 1996, Regression shrinkage and selection via the lasso, equation (1).'
        >>> references(Experiment(), [Trial({}, {"optimizer": "sgd"}, {"optimizer": "sgd"})])["optimizer sgd"]
        'Robbins and Monro 1951, A stochastic approximation method, equation (6)'
    """
    found = {}
    for role in PART_FIELDS:
        chosen = [trial.choices[role] for trial in trials if role in trial.choices]
        for name in dict.fromkeys(
            _names(chosen if len(chosen) == len(trials) > 0 else [getattr(experiment, role), *chosen])
        ):
            paper = _paper(role, name)
            if paper:
                found[f"{role} {name}"] = paper
    return found


def _names(value: Any) -> Iterable[str]:
    """The names in one part, several, or a mapping from numbers to such."""
    if isinstance(value, str):
        yield value.partition("(")[0]
    elif isinstance(value, Mapping):
        yield from _names(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _names(item)


def _paper(role: str, name: str) -> str:
    if role == "optimizer" and name in METHODS:
        return METHODS[name].reference
    part = _TABLES.get(role, {}).get(name)
    _, _, after = inspect.cleandoc(part.__doc__ or "").partition("\nReferences:\n") if callable(part) else ("", "", "")
    return " ".join(after.partition("\n\n")[0].split())
