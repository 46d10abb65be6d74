"""Data sets made of your own arrays: checked, hashed and divided like published ones, else left alone."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxopt_intro.data.dataset import Dataset, Info, Part, Tree, fingerprint, split_rows

Normalize = bool | tuple[Any, Any] | None


def from_arrays(
    train: Part,
    valid: float | int | Part | None = 0.1,
    test: Part | None = None,
    *,
    seed: int = 0,
    normalize: Normalize = None,
    name: str = "arrays",
) -> Dataset:
    """Makes a data set of arrays.

    Inputs and targets are arrays, or dicts, tuples and lists of arrays, all with the examples along the first
    axis. float64 becomes float32 and 64-bit integers int32; nothing else is changed. One array of integer
    targets `[N]` means classes; float targets mean regression. uint8 inputs `[N, H, W, C]` are images, which
    a compiled step divides by 255.

    Args:
        train: Inputs and targets.
        valid: A fraction or count of `train` to set apart, or inputs and targets, or None.
        test: Inputs and targets, or None.
        seed: Decides which examples are set apart.
        normalize: None or False uses the inputs as they are. True takes mean and standard deviation over all
            axes but the last from what is left to train on; `(mean, std)` gives them (of images: after
            division by 255). They are recorded in `info`; a compiled step applies them.
        name: What the data set is called in results.

    Returns:
        The data set. Arrays that need no change are shared with the caller, so don't write to them
        afterwards.

    Raises:
        ValueError: Something cannot be trained on: got, expected and how to fix it.

    Examples:
        >>> x = np.arange(20.0).reshape(10, 2)
        >>> dataset = from_arrays((x, np.arange(10) % 3), valid=2, normalize=True)
        >>> dataset.info.num_classes, dataset.train[0].dtype.name, dataset.valid[0].shape
        (3, 'float32', (2, 2))
        >>> np.round(dataset.info.mean, 2).tolist()
        [7.5, 8.5]
    """
    parts = {"train": _part(train, "train")}
    explicit = isinstance(valid, (tuple, list))
    if explicit:
        parts["valid"] = _part(valid, "valid")
    if test is not None:
        parts["test"] = _part(test, "test")
    for other in parts:
        _same_form(parts["train"], parts[other], other)
    num_classes, content = _num_classes(parts), _hash(parts)

    x, y = parts["train"]
    train_rows, valid_rows = split_rows(_length(parts["train"]), None if explicit else valid, seed)
    if len(valid_rows):
        parts["train"] = (_take(x, train_rows), _take(y, train_rows))
        parts["valid"] = (_take(x, valid_rows), _take(y, valid_rows))

    scale = 255.0 if _is_image(x) else 1.0
    mean, std = _normalization(parts["train"][0], normalize, scale)
    # By the request and not by its result: the last bit of a mean may differ between machines.
    normalization = [scale, "train" if normalize is True else [mean, std]]
    info = Info(
        name=name,
        num_classes=num_classes,
        class_names=(),
        mean=mean,
        std=std,
        scale=scale,
        content_hash=content,
        fingerprint=fingerprint(content, held_out=len(valid_rows), seed=seed, normalization=normalization),
        source="arrays in memory",
    )
    return Dataset(info, parts["train"], parts.get("valid"), parts.get("test"))


def _part(pair: Any, name: str) -> Part:
    """Checks and converts one part."""
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise ValueError(f"{name}: got {type(pair).__name__}; expected a pair (inputs, targets).")
    x = _map(_input, pair[0], f"{name} inputs")
    y = _map(_target, pair[1], f"{name} targets")
    found = _leaves(x, f"{name} inputs") + _leaves(y, f"{name} targets")
    for tree, role in ((x, "inputs"), (y, "targets")):
        if not _leaves(tree, ""):
            raise ValueError(f"{name} {role}: got {tree!r}, which holds no array; expected at least one.")
    if len({len(leaf) for _, leaf in found}) > 1:
        lengths = ", ".join(f"{path} {len(leaf)}" for path, leaf in found)
        raise ValueError(
            f"{name}: got different numbers of examples ({lengths}); expected one length along the first "
            "axis. A list or tuple stands for several inputs: for one array of rows use np.stack."
        )
    return x, y


def _input(path: str, leaf: Any) -> np.ndarray:
    """Checks one array and narrows 64-bit numbers."""
    array = np.asarray(leaf)
    kind = array.dtype.kind
    if array.ndim == 0:
        raise ValueError(
            f"{path}: got one {type(leaf).__name__}; expected an array with the examples along its first "
            "axis. Turn a list of numbers into one with np.asarray."
        )
    if kind not in "biuf" and array.dtype.name != "bfloat16":
        raise ValueError(
            f"{path}: got an array of {array.dtype}; expected bool, integers or floats. Encode text and "
            "categories as integers, and make rows of different lengths equally long."
        )
    if array.size == 0:
        raise ValueError(f"{path}: got an empty array of shape {array.shape}; expected at least one example.")
    if kind not in "biu":
        _finite(path, array, array)
    if kind == "f" and array.dtype.itemsize > 4:
        with np.errstate(over="ignore"):
            narrow = array.astype(np.float32)
        _finite(path, narrow, array, " once it is float32")
        return narrow
    if kind in "iu" and array.dtype.itemsize * 8 > (32 if kind == "i" else 16):
        least, most = int(array.min()), int(array.max())
        if least < -(2**31) or most >= 2**31:
            raise ValueError(
                f"{path}: got {array.dtype} from {least} to {most}; expected numbers that fit into int32. "
                "Use smaller numbers, or floats."
            )
        return array.astype(np.int32)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _target(path: str, leaf: Any) -> np.ndarray:
    """As `_input`; one-dimensional integers become int32, the dtype of labels."""
    array = _input(path, leaf)
    return array.astype(np.int32, copy=False) if array.ndim == 1 and array.dtype.kind in "biu" else array


def _finite(path: str, array: np.ndarray, original: np.ndarray, when: str = "") -> None:
    bad = ~np.isfinite(array)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ValueError(
            f"{path}: got {original[where]} at {list(where)}{when}, and {int(bad.sum())} such values in "
            "all; expected finite numbers. Remove those examples or fill them in."
        )


def _num_classes(parts: Mapping[str, Part]) -> int | None:
    """Returns the number of classes, or None for regression."""
    targets = parts["train"][1]
    if not isinstance(targets, np.ndarray) or targets.dtype.kind not in "iu":
        return None
    if targets.ndim == 2 and targets.shape[1] == 1:
        raise ValueError(
            f"train targets: got integers of shape {targets.shape}; expected labels of shape "
            f"({len(targets)},). Pass y[:, 0], or floats for regression."
        )
    if targets.ndim != 1:
        return None
    for name, (_, labels) in parts.items():
        if labels.min() < 0:
            row = int(np.argmax(labels < 0))
            raise ValueError(
                f"{name} targets: got label {labels[row]} at [{row}]; expected classes from 0. For "
                "regression pass floats."
            )
    return int(max(labels.max() for _, labels in parts.values())) + 1


def _same_form(expected: Part, got: Part, name: str) -> None:
    """Refuses a part whose arrays differ from those of the training part in anything but length."""
    forms = []
    for x, y in (expected, got):
        found = _leaves(x, "inputs") + _leaves(y, "targets")
        forms.append([f"{path} {leaf.dtype}{list(leaf.shape[1:])}" for path, leaf in found])
    if forms[0] != forms[1]:
        raise ValueError(
            f"{name}: got {', '.join(forms[1])} for one example; expected {', '.join(forms[0])} as in the "
            "training part."
        )


def _normalization(x: Tree, normalize: Any, scale: float) -> tuple[Any, Any]:
    """Returns mean and standard deviation as tuples of floats, or None twice."""
    if normalize is None or normalize is False:
        return None, None
    if not isinstance(x, np.ndarray) or (scale == 1.0 and x.dtype.kind in "biu"):
        form = f"integers ({x.dtype})" if isinstance(x, np.ndarray) else f"a {type(x).__name__} of arrays"
        raise ValueError(
            f"got normalize={normalize!r} for inputs that are {form}; expected one array of floats or of "
            "uint8 images [N, H, W, C]. Convert or normalize the inputs yourself, and leave normalize out."
        )
    if normalize is True:
        return _statistics(x, scale)
    if not isinstance(normalize, (tuple, list)) or len(normalize) != 2:
        raise ValueError(f"got normalize={normalize!r}; expected None, False, True or a pair (mean, std).")
    mean, std = (tuple(np.asarray(value, np.float64).ravel().tolist()) for value in normalize)
    size = x.shape[-1] if x.ndim > 1 else 1
    if not len(mean) == len(std) in {1, size} or not all(map(math.isfinite, mean + std)) or min(std) <= 0:
        raise ValueError(
            f"got mean of length {len(mean)} and std of length {len(std)}, smallest std "
            f"{min(std, default=None)}; expected 1 or {size} finite numbers each, every std above 0."
        )
    if scale > 1 and max(mean + std) > 1:
        raise ValueError(
            f"got normalize=({mean}, {std}) for uint8 images; expected numbers from 0 to 1, since images "
            "are divided by 255 first. Divide both by 255."
        )
    return mean, std


def _statistics(x: np.ndarray, scale: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns mean and standard deviation over all axes but the last; 1 where the deviation is 0."""
    if scale > 1:
        # From a histogram: exact, and without a float copy of the images.
        counts = np.stack([np.bincount(channel.ravel(), minlength=256) for channel in np.moveaxis(x, -1, 0)])
        values, total = np.arange(256) / scale, counts.sum(1)
        mean = counts @ values / total
        std = np.sqrt((counts * (values - mean[:, None]) ** 2).sum(1) / total)
    else:
        axes = tuple(range(x.ndim - 1)) if x.ndim > 1 else 0
        mean, std = x.mean(axes, dtype=np.float64), x.std(axes, dtype=np.float64)
    std = np.where(std == 0, 1.0, std)
    return tuple(np.ravel(mean).tolist()), tuple(np.ravel(std).tolist())


def _is_image(x: Tree) -> bool:
    return isinstance(x, np.ndarray) and x.dtype == np.uint8 and x.ndim == 4


def _length(part: Part) -> int:
    return len(_leaves(part[0], "")[0][1])


def _take(tree: Tree, rows: np.ndarray) -> Tree:
    return _map(lambda _, leaf: leaf[rows], tree, "")


def _hash(parts: Mapping[str, Part]) -> str:
    """Returns the sha256 of all arrays with their places, dtypes and shapes."""
    digest = hashlib.sha256()
    for name, (x, y) in parts.items():
        for path, leaf in _leaves(x, f"{name} inputs") + _leaves(y, f"{name} targets"):
            digest.update(f"{path}|{leaf.dtype.name}|{leaf.shape}|".encode())
            digest.update(np.ascontiguousarray(leaf).view(np.uint8).data)
    return digest.hexdigest()


def _map(function: Callable[[str, Any], Any], tree: Tree, path: str) -> Tree:
    """Applies `function(path, leaf)` to every leaf of dicts, tuples and lists."""
    if isinstance(tree, Mapping):
        return {key: _map(function, tree[key], f"{path}[{key!r}]") for key in sorted(tree, key=str)}
    if isinstance(tree, (tuple, list)):
        children = [_map(function, child, f"{path}[{place}]") for place, child in enumerate(tree)]
        return type(tree)(*children) if hasattr(tree, "_fields") else type(tree)(children)
    return function(path, tree)


def _leaves(tree: Tree, path: str) -> list[tuple[str, np.ndarray]]:
    found: list[tuple[str, np.ndarray]] = []
    _map(lambda where, leaf: found.append((where, leaf)), tree, path)
    return found
