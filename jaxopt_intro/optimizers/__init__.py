"""Optimizers in optax's protocol: every number may be traced, moments are at least float32."""

from collections.abc import Callable
from typing import NamedTuple

import optax

from jaxopt_intro.optimizers.adam import adam, adam_metric, scale_by_adam
from jaxopt_intro.optimizers.momentum import momentum, scale_by_momentum
from jaxopt_intro.optimizers.proximal import projected, proximal
from jaxopt_intro.optimizers.sgd import descend, sgd


class Method(NamedTuple):
    """One row of the table of methods.

    Attributes:
        make: `(*, learning_rate, ...) -> optax.GradientTransformation`.
        reference: Paper and equation.
    """

    make: Callable[..., optax.GradientTransformation]
    reference: str


METHODS = {
    "sgd": Method(sgd, "Robbins and Monro 1951, A stochastic approximation method, equation (6)"),
    "momentum": Method(momentum, "Polyak 1964, Some methods of speeding up the convergence, equation (9)"),
    "adam": Method(adam, "Kingma and Ba 2015, Adam, algorithm 1"),
}

__all__ = [
    "METHODS", "Method", "adam", "adam_metric", "descend", "momentum", "projected", "proximal", "scale_by_adam",
    "scale_by_momentum", "sgd",
]  # fmt: skip
