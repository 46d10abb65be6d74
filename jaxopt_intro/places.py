"""Where files are kept between runs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Returns the folder of what can be made anew: `$JAXOPT_INTRO_CACHE`, or `jaxopt-intro` in the user's caches.

    Returns:
        The folder, which need not exist.

    Examples:
        >>> from unittest import mock
        >>> with mock.patch.dict(os.environ, JAXOPT_INTRO_CACHE="/scratch/cache"):
        ...     cache_folder().as_posix()
        '/scratch/cache'
    """
    if chosen := os.environ.get("JAXOPT_INTRO_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxopt-intro"
