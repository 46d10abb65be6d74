"""What a row of the table of methods says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import optax

from jaxopt_intro import routing
from jaxopt_intro.distributions import Distribution
from jaxopt_intro.domains import Interval, ranges
from jaxopt_intro.optimizers.hyperparameters import SEARCH


class Method(NamedTuple):
    """One row of the table of methods.

    Attributes:
        make: `(*, learning_rate, ...) -> optax.GradientTransformationExtraArgs`.
        learning_rates: Where to look for a good rate, and on which scale.
        reference: Paper and equation.
        metric: `(state, **arguments of make) -> scalar, or tree like params`, positive: what the method divides its
            learning rate by. Under a constant gradient the update tends to `-learning_rate / metric * gradient`, so it
            is the metric of a proximal step. None where there is no such thing, as for the sign of a gradient.
        piecewise: The numbers whose derivatives are pathwise: they decide a maximum, a sign or a branch.
        counts: The numbers that have no derivative.
        modes: In which modes an update may be differentiated by its numbers.
        needs: What an update needs beside gradients and state, by keyword: `params`, `value`, ….
        length: `(state, **arguments of make) -> scalar`: how far a constant gradient of 1 moves in the step that led to
            `state`, where that is not `learning_rate / metric` at once, since the rate is inside a velocity.
        searches: Where to look for numbers whose good values are others than those of most methods, in `SEARCH`.
        waits: How many first updates are 0, since the method only learns from their gradients.
    """

    make: Callable[..., optax.GradientTransformationExtraArgs]
    learning_rates: Distribution
    reference: str
    metric: Callable[..., Any] | None
    piecewise: tuple[str, ...] = ()
    counts: tuple[str, ...] = ()
    modes: tuple[str, ...] = ("forward", "reverse")
    needs: tuple[str, ...] = ()
    length: Callable[..., Any] | None = None
    searches: Mapping[str, Distribution] = MappingProxyType({})
    waits: int = 0

    @property
    def numbers(self) -> tuple[str, ...]:
        """The names of its numbers, in the order of its signature.

        Examples:
            >>> from jaxopt_intro.optimizers import METHODS
            >>> METHODS["adam"].numbers
            ('learning_rate', 'b1', 'b2', 'eps')
        """
        return routing.numbers(self.make, constructs=True)

    @property
    def defaults(self) -> dict[str, float]:
        """The defaults of those numbers that have one.

        Examples:
            >>> from jaxopt_intro.optimizers import METHODS
            >>> METHODS["adam"].defaults
            {'b1': 0.9, 'b2': 0.999, 'eps': 1e-08}
        """
        takes = routing.parameters(self.make)
        return {n: takes[n].default for n in self.numbers if takes[n].default is not takes[n].empty}

    @property
    def domain(self) -> dict[str, Interval]:
        """Where each number is legal.

        Examples:
            >>> from jaxopt_intro.optimizers import METHODS
            >>> {name: str(interval) for name, interval in METHODS["momentum"].domain.items()}
            {'learning_rate': 'of at least 0', 'momentum': 'in [0, 1)'}
        """
        legal = ranges(self.make)
        return {n: legal[n] for n in self.numbers}

    @property
    def search(self) -> dict[str, Distribution]:
        """Where to look for a good value of each number, and on which scale.

        Examples:
            >>> from jaxopt_intro.optimizers import METHODS
            >>> METHODS["sgd"].search
            {'learning_rate': Distribution(kind='log_uniform', arguments=(0.001, 1.0))}
        """
        return {n: {**SEARCH, "learning_rate": self.learning_rates, **self.searches}[n] for n in self.numbers}

    @property
    def kinds(self) -> dict[str, str]:
        """What each number is to a derivative: "smooth", "piecewise" or "count".

        Examples:
            >>> from jaxopt_intro.optimizers import METHODS
            >>> METHODS["adamax"].kinds
            {'learning_rate': 'smooth', 'b1': 'smooth', 'b2': 'piecewise', 'eps': 'smooth'}
        """
        kinds = {**dict.fromkeys(self.piecewise, "piecewise"), **dict.fromkeys(self.counts, "count")}
        return {n: kinds.get(n, "smooth") for n in self.numbers}
