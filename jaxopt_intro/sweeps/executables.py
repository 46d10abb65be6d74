"""Compiled programs kept on disk between processes, by JAX's persistent compilation cache."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

from jaxopt_intro.models.layers.remembered import processor
from jaxopt_intro.places import cache_folder

MOST_BYTES, LEAST_SECONDS = 2 * 2**30, 0.2


@contextlib.contextmanager
def kept_on_disk() -> Iterator[None]:
    """Keeps the programs that are compiled inside in the user's cache folder, and takes them from there.

    The folder is the user's alone, since what is in it is run as it is, and this kind of processor's, for whose
    instructions it was made. Where JAX has been told a cache, or not to keep any, that holds; where the folder cannot
    be made, programs are compiled as ever.

    Examples:
        >>> with kept_on_disk():
        ...     jax.jit(lambda x: x + 1)(1.0).item()
        2.0
    """
    set_before = jax.config.jax_compilation_cache_dir is not None  # type: ignore[attr-defined]
    folder = cache_folder() / "programs" / hashlib.sha256(processor().encode()).hexdigest()[:12]
    if set_before or not jax.config.jax_enable_compilation_cache or not _private(folder):  # type: ignore[attr-defined]
        yield
        return
    wanted = {
        "jax_compilation_cache_dir": str(folder),
        "jax_compilation_cache_max_size": MOST_BYTES,
        "jax_persistent_cache_min_compile_time_secs": LEAST_SECONDS,
    }
    before = {name: getattr(jax.config, name) for name in wanted}
    _configure(wanted)
    try:
        yield
    finally:
        _configure(before)


def _configure(settings: dict[str, object]) -> None:
    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # JAX looks at its settings at the first compilation only


def _private(folder: Path) -> bool:
    """Makes a folder that only this user may read and write; whether that is what it is."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        return os.access(folder, os.W_OK) and (not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid())
    except OSError:
        return False
