"""Early stopping as state: two pure functions that work under `scan` and `vmap`, one stop for each lane."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from jaxopt_intro.typing import Array, Number, Scalar


class EarlyStoppingState(NamedTuple):
    """What early stopping remembers.

    Attributes:
        best: The smallest value that counted as an improvement, float32 or the wider default.
        waited: Values since then, int32.
        stopped: Whether the stop has come; it stays.
    """

    best: Array
    waited: Array
    stopped: Array


class EarlyStopping(NamedTuple):
    """Early stopping as a pair of pure functions.

    Attributes:
        init: `() -> state`.
        update: `(state, value) -> (state, stop)`.
    """

    init: Callable[[], EarlyStoppingState]
    update: Callable[[EarlyStoppingState, Scalar], tuple[EarlyStoppingState, Array]]


def early_stopping(*, patience: Number, min_delta: Number = 0.0) -> EarlyStopping:
    """Stops when a validation value has not improved for `patience` values in a row.

        improved = value < best - min_delta
        best     = value if improved else best
        waited   = 0 if improved else waited + 1
        stop     = waited >= patience, from then on

    The value is to be minimized; give an accuracy its minus sign. NaN is no improvement. Keras and PyTorch Lightning
    count alike; flax's `EarlyStopping` waits one value longer.

    Args:
        patience: How many values in a row without improvement stop, at least 1 (0 is like 1). May be traced.
        min_delta: By how much a value must be smaller than the best, at least 0. May be traced.

    Returns:
        The pair. It is no differentiable thing: a stop is a count.

    References:
        Goodfellow, Bengio and Courville 2016, Deep learning, algorithm 7.1; Prechelt 1998, Early stopping - but when?,
        section 2, whose criterion UP_s counts rising strips in a row likewise.

    Examples:
        >>> stopping = early_stopping(patience=2)
        >>> state = stopping.init()
        >>> for value in (3.0, 2.0, 2.5, 2.0):
        ...     state, stop = stopping.update(state, value)
        >>> stop.tolist(), state.best.tolist()
        (True, 2.0)
    """

    def init() -> EarlyStoppingState:
        return EarlyStoppingState(jnp.full((), jnp.inf), jnp.zeros((), jnp.int32), jnp.zeros((), bool))

    def update(state: EarlyStoppingState, value: Scalar | float) -> tuple[EarlyStoppingState, Array]:
        value = jnp.asarray(value, state.best.dtype)
        improved = value < state.best - min_delta
        waited = jnp.where(improved, 0, state.waited + 1)
        stop = state.stopped | (~improved & (waited >= patience))
        return EarlyStoppingState(jnp.where(improved, value, state.best), waited, stop), stop

    return EarlyStopping(init, update)
