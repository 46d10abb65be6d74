"""The dense cache: each set that was read from originals once, as one file that loads fast and is checked.

It lies in `$JAXOPT_INTRO_CACHE`, or in `jaxopt-intro` below `$XDG_CACHE_HOME` or `~/.cache`. Files appear
complete or not at all (written aside, then renamed), so processes may share it.
"""

from __future__ import annotations

import os
import uuid
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np

from jaxopt_intro.data.dataset import DataCorrupt, Originals, content_hash
from jaxopt_intro.places import cache_folder


def path(name: str) -> Path:
    """Returns the file that holds a set, which need not exist.

    Args:
        name: The set.

    Returns:
        The file.

    Examples:
        >>> path("cifar10").name
        'cifar10.npz'
    """
    return cache_folder() / f"{name}.npz"


def read_npz(file: Path, expected: str) -> Originals:
    """Returns the four arrays of a file, checked against a content hash.

    Args:
        file: What `write` wrote.
        expected: The content hash.

    Returns:
        The arrays.

    Raises:
        DataCorrupt: The file is damaged or holds other data; names it.
    """
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            originals = Originals(*(arrays[field] for field in Originals._fields))
    except (ValueError, KeyError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataCorrupt(f"{file} is damaged ({type(error).__name__}: {error}).") from error
    if (got := content_hash(originals)) != expected:
        raise DataCorrupt(f"{file} is damaged: got content hash {got[:16]}…, expected {expected[:16]}….")
    return originals


def read(name: str, expected: str) -> Originals | None:
    """Returns a cached set, or None if there is none; a damaged file is removed with a warning that names it.

    Args:
        name: The set.
        expected: Its content hash.

    Returns:
        The arrays.

    Examples:
        >>> read("never_cached", "") is None
        True
    """
    file = path(name)
    if not file.is_file():
        return None
    try:
        return read_npz(file, expected)
    except DataCorrupt as error:
        file.unlink(missing_ok=True)
        warnings.warn(f"{error} It was removed from the cache; reading {name} anew.", stacklevel=2)
        return None


def write(name: str, originals: Originals) -> Path:
    """Stores a set.

    Args:
        name: The set.
        originals: The arrays.

    Returns:
        The file.

    Raises:
        OSError: The cache cannot be written.

    Examples:
        >>> import tempfile
        >>> from unittest import mock
        >>> images, labels = np.zeros((2, 1, 1, 1), np.uint8), np.zeros(2, np.uint8)
        >>> originals = Originals(images, labels, images, labels)
        >>> with (
        ...     tempfile.TemporaryDirectory() as place,
        ...     mock.patch.dict(os.environ, JAXOPT_INTRO_CACHE=place),
        ... ):
        ...     _ = write("tiny", originals)
        ...     read("tiny", content_hash(originals)).train_x.shape
        (2, 1, 1, 1)
    """
    file = path(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.parent / f".{name}.{uuid.uuid4().hex}.tmp"
    try:
        with aside.open("xb") as stream:
            np.savez(stream, allow_pickle=False, **originals._asdict())
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(aside, file)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    return file
