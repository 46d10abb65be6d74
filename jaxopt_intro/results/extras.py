"""Packages that only some exports need."""

from __future__ import annotations

import importlib
from typing import Any


def needs(name: str, extra: str) -> Any:
    """Imports a package, or says how to install it.

    Args:
        name: The module.
        extra: The extra of `jaxopt_intro` that has it.

    Returns:
        The module.

    Raises:
        ModuleNotFoundError: It isn't there.

    Examples:
        >>> needs("json", "export").__name__
        'json'
        >>> needs("no_such_module", "export")
        Traceback (most recent call last):
        ...
        ModuleNotFoundError: no_such_module is not installed; ... Run: pip install "jaxopt_intro[export]"
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0]:
            raise
        package = name.partition(".")[0]
        raise ModuleNotFoundError(
            f'{package} is not installed; this export needs it. Run: pip install "jaxopt_intro[{extra}]"', name=package
        ) from None
