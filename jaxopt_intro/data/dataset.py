"""What a data set is: its arrays, what is known of them, and how the training part is divided."""

from __future__ import annotations

import hashlib
import json
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np

from jaxopt_intro.data import batching

Tree = Any
Part = tuple[Tree, Tree]
"""Inputs and targets, equally long: each an array, or dicts, tuples and lists of arrays."""


class DataUnavailable(FileNotFoundError):
    """The data set is not on this machine and could not be fetched; says which file to put where."""


class DataCorrupt(ValueError):
    """A file is damaged, or is not the published one; names it."""


class Info(NamedTuple):
    """What is known of a data set besides its arrays.

    Attributes:
        name: The name it was loaded by.
        num_classes: Number of classes, or None for regression.
        class_names: One name for each class, or ().
        mean: Per channel or feature, after division by `scale`; None leaves the inputs as they are.
        std: As `mean`.
        scale: What inputs are divided by before anything else: 255 for images, 1 where they are used as they
            are.
        content_hash: sha256 of the arrays before any division into parts.
        fingerprint: sha256 of everything that decides what a trial trains on: content, division,
            normalization.
        source: Where the arrays came from, in words.
        citation: Whom to cite.
        licence: On what terms the data may be used.
    """

    name: str
    num_classes: int | None
    class_names: tuple[str, ...]
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    scale: float
    content_hash: str
    fingerprint: str = ""
    source: str = ""
    citation: str = ""
    licence: str = ""


class Dataset(NamedTuple):
    """A data set in parts; each part is `(inputs, targets)`, or None where there is none.

    Inputs are stored as they came (images as uint8 `[N, H, W, C]`): `info` says how a compiled step scales
    and normalizes them.
    """

    info: Info
    train: Part
    valid: Part | None
    test: Part | None


class Originals(NamedTuple):
    """A published data set, parsed: uint8 images `[N, H, W, C]` and integer labels `[N]`, in file order."""

    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray | None
    test_y: np.ndarray | None


def content_hash(originals: Originals) -> str:
    """Returns the sha256 of the bytes of all four arrays, in their order.

    Args:
        originals: The parsed arrays; labels as uint8.

    Returns:
        64 hexadecimal digits.

    Examples:
        >>> images, labels = np.zeros((2, 1, 1, 1), np.uint8), np.zeros(2, np.uint8)
        >>> content_hash(Originals(images, labels, None, None))[:16]
        'df3f619804a92fdb'
    """
    digest = hashlib.sha256()
    for array in originals:
        if array is not None:
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def fingerprint(content: str, *, held_out: int, seed: int, normalization: Any) -> str:
    """Returns the sha256 that says exactly what a trial trains on.

    Args:
        content: The content hash.
        held_out: Number of training examples that the seeded division sets apart for validation.
        seed: The division's seed; without a division it changes nothing.
        normalization: What is done to the inputs, as anything that JSON holds.

    Returns:
        64 hexadecimal digits.

    Examples:
        >>> one = fingerprint("a", held_out=0, seed=0, normalization=None)
        >>> one == fingerprint("a", held_out=0, seed=1, normalization=None)
        True
        >>> one == fingerprint("a", held_out=5, seed=0, normalization=None)
        False
    """
    split = [held_out, int(seed)] if held_out else None
    asked = {"rule": 1, "content": content, "split": split, "normalization": normalization}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def split_rows(n: int, valid: float | int | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Divides `n` training examples into those that train and those that validate.

    Both keep the original order; which example goes where depends on `n`, the number set apart and the seed
    only, on every machine and with every NumPy version.

    Args:
        n: Number of examples.
        valid: A fraction in [0, 1), rounded to at least one example, or a count; 0 or None for no division.
        seed: At least 0.

    Returns:
        The rows that train and the rows that validate, ascending.

    Raises:
        ValueError: Nothing would be left to train on, or `valid` is neither a fraction nor a count.

    Examples:
        >>> [rows.tolist() for rows in split_rows(10, 0.2, seed=0)]
        [[0, 1, 2, 3, 4, 5, 6, 9], [7, 8]]
        >>> [rows.tolist() for rows in split_rows(3, None, seed=0)]
        [[0, 1, 2], []]
    """
    order = batching.permutation(n, seed=seed, stream=batching.SPLITS)
    held_out = held_out_count(n, valid)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def held_out_count(n: int, valid: Any) -> int:
    """Returns how many of `n` examples `valid` sets apart.

    Args:
        n: Number of examples.
        valid: A fraction in [0, 1), a count, or None.

    Returns:
        A number from 0 to n - 1.

    Raises:
        ValueError: Nothing would be left to train on, or `valid` is neither a fraction nor a count.

    Examples:
        >>> [held_out_count(60_000, valid) for valid in (0.1, 5_000, 0, None)]
        [6000, 5000, 0, 0]
    """
    if valid is None:
        return 0
    if isinstance(valid, Integral) and not isinstance(valid, bool):
        held_out = int(valid)
    elif isinstance(valid, Real) and not isinstance(valid, bool) and 0 <= float(valid) < 1:
        held_out = max(1, round(float(valid) * n)) if valid else 0
    else:
        raise ValueError(
            f"got valid={valid!r}; expected a fraction from 0 to below 1, a whole number of examples, or None."
        )
    if not 0 <= held_out < n:
        raise ValueError(
            f"got valid={valid!r}, which sets {held_out} of {n} training examples apart; expected 0 to "
            f"{n - 1}. Give a smaller fraction or count."
        )
    return held_out


def assemble(info: Info, originals: Originals, *, valid: float | int | None, seed: int) -> Dataset:
    """Makes the data set of parsed arrays: labels as int32, training part divided, fingerprint added.

    Args:
        info: What is known, with the content hash.
        originals: The arrays.
        valid: As for `split_rows`.
        seed: As for `split_rows`.

    Returns:
        The data set.

    Examples:
        >>> images, labels = np.zeros((4, 8, 8, 1), np.uint8), np.arange(4, dtype=np.uint8)
        >>> info = Info("four", 4, (), None, None, 255.0, content_hash="…")
        >>> dataset = assemble(info, Originals(images, labels, None, None), valid=0.25, seed=0)
        >>> dataset.train[1].tolist(), dataset.valid[1].tolist(), dataset.test
        ([0, 1, 3], [2], None)
    """
    x, y, test_x, test_y = originals
    train_rows, valid_rows = split_rows(len(x), valid, seed)
    labels = y.astype(np.int32)
    normalization = [info.scale, info.mean, info.std]
    return Dataset(
        info=info._replace(
            fingerprint=fingerprint(info.content_hash, held_out=len(valid_rows), seed=seed, normalization=normalization)
        ),
        train=(x[train_rows], labels[train_rows]) if len(valid_rows) else (x, labels),
        valid=(x[valid_rows], labels[valid_rows]) if len(valid_rows) else None,
        test=None if test_x is None or test_y is None else (test_x, test_y.astype(np.int32)),
    )
