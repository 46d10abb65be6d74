"""Memory that runs out while a program runs, though it was said to need less."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import jax


class TooWide(Exception):
    """Lanes side by side ran out of memory, though their programs said that they need less."""


@contextlib.contextmanager
def noticed() -> Iterator[None]:
    """Turns what JAX raises where a device's memory is exhausted into `TooWide`; other errors stay what they are.

    Raises:
        TooWide: What was done within ran out of memory.

    Examples:
        >>> try:
        ...     with noticed():
        ...         raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes.")
        ... except TooWide as error:
        ...     print(error)
        RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise TooWide(str(error)) from error
