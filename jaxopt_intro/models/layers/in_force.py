"""The plan that is in force where a convolution is traced, or else where it is lowered."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any


@dataclasses.dataclass(frozen=True)
class InForce:
    """A plan as a parameter of a primitive: short where a program is printed."""

    plan: Any

    def __repr__(self) -> str:
        return repr(self.plan)


_CURRENT: ContextVar[InForce | None] = ContextVar("_CURRENT", default=None)


def current() -> InForce | None:
    """Returns the plan in force, if any."""
    return _CURRENT.get()


@contextlib.contextmanager
def using(plan: Any) -> Iterator[None]:
    """Puts a plan in force for all that is traced, or for the first time lowered, within.

    What was traced with a plan keeps it, and what was compiled before stays as it is: JAX remembers both.

    Args:
        plan: A `Plan`, or None for none.

    Examples:
        >>> from jaxopt_intro.models.layers import Plan
        >>> with using(Plan()):
        ...     current()
        Plan(0 choices)
    """
    token = _CURRENT.set(None if plan is None else InForce(plan))
    try:
        yield
    finally:
        _CURRENT.reset(token)
