"""Image classification sets that tensorflow-datasets has prepared, read without TensorFlow as `tfds:NAME`.

Reading needs files in the array_record format; preparing them needs TensorFlow (`pip install
'jaxopt_intro[tfds]'`). Preparing shuffles, so the order is that of the prepared files, which is the same
wherever they are prepared.
"""

from __future__ import annotations

import difflib
import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np

from jaxopt_intro.data import download
from jaxopt_intro.data.dataset import DataUnavailable, Info, Originals, content_hash

PREFIX = "tfds:"
CHUNK = 1024


def read(name: str, data_dir: str | os.PathLike[str] | None = None, *, fetch: bool) -> tuple[Info, Originals, Path]:
    """Returns a set that tensorflow-datasets knows by name; prepares it first if that is asked and possible.

    The splits `train` and `test` are read; a set without `test` has no test part.

    Args:
        name: `tfds:NAME`, `tfds:NAME/CONFIG` or `tfds:NAME/CONFIG:VERSION`.
        data_dir: tensorflow-datasets' data folder; its own default if None.
        fetch: Whether a set that is not prepared may be downloaded and prepared.

    Returns:
        What is known, the arrays, and their folder.

    Raises:
        ValueError: There is no such set, or it is not a set of equally large images with one label each.
        DataUnavailable: The set is not prepared, and cannot be now.
    """
    builder = _prepared(name, data_dir) or _prepare(name, data_dir, fetch=fetch)
    if builder.info.file_format.value != "array_record":
        raise DataUnavailable(
            f"{name} in {builder.data_dir} is prepared in the format {builder.info.file_format.value}; "
            f"expected array_record, the only one that is read without TensorFlow. Prepare it into another "
            f"folder. {_advice(name, 'FOLDER')}"
        )
    image, label = _features(name, builder.info)
    splits = builder.info.splits
    if "train" not in splits:
        raise ValueError(f"{name} has the splits {', '.join(splits)}; expected one called train.")
    train_x, train_y = _arrays(name, builder, "train", image, label)
    test_x, test_y = _arrays(name, builder, "test", image, label) if "test" in splits else (None, None)
    originals = Originals(train_x, train_y, test_x, test_y)
    classes = builder.info.features[label]
    info = Info(
        name=name,
        num_classes=classes.num_classes,
        class_names=tuple(classes.names or ()),
        mean=None,
        std=None,
        scale=255.0,
        content_hash=content_hash(originals),
        source=f"tensorflow-datasets' {builder.info.full_name} in {builder.data_dir}",
        citation=builder.info.citation or "",
        licence="see the data set's own page",
    )
    return info, originals, Path(builder.data_dir)


def _prepared(name: str, data_dir: Any) -> Any:
    """Returns the builder of a set that is on this machine, or None. Never asks the network."""
    from tensorflow_datasets.core import read_only_builder, registered

    folder = None if data_dir is None else os.fspath(Path(data_dir).expanduser())
    try:
        return read_only_builder.builder_from_files(name.removeprefix(PREFIX), data_dir=folder)
    except registered.DatasetNotFoundError:
        return None


def _prepare(name: str, data_dir: Any, *, fetch: bool) -> Any:
    """Downloads and prepares a set."""
    import tensorflow_datasets as tfds

    bare = name.removeprefix(PREFIX)
    base = bare.split("/")[0].split(":")[0]
    known = tfds.list_builders(with_community_datasets=False)
    if base not in known:
        near = [f"{PREFIX}{each}" for each in difflib.get_close_matches(base, known)]
        hint = f"Did you mean {' or '.join(near)}? " if near else ""
        raise ValueError(
            f"unknown data set {name!r}: {hint}Expected a name of tensorflow-datasets, or a set that is "
            f"prepared in {data_dir or 'its data folder'}."
        )
    if not fetch or importlib.util.find_spec("tensorflow") is None:
        raise DataUnavailable(f"{name} is not prepared in {data_dir or 'its data folder'}. {_advice(name, data_dir)}")
    for url in list(download.addresses(base))[:1]:
        try:
            download.probe(url)
        except DataUnavailable as error:
            place = data_dir or "its data folder"
            raise DataUnavailable(
                f"{name} is not prepared in {place}, and {error}. {_advice(name, data_dir)}"
            ) from error
    builder = tfds.builder(bare, data_dir=data_dir, file_format="array_record", try_gcs=False)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    return builder


def _advice(name: str, data_dir: Any) -> str:
    option = f" --data-dir {data_dir}" if data_dir else ""
    return (
        "Preparing needs TensorFlow once, here or on another machine: pip install 'jaxopt_intro[tfds]', then "
        f"jaxopt-intro data prepare {name}{option}."
    )


def _features(name: str, info: Any) -> tuple[str, str]:
    """Returns the names of the image and the label."""
    import tensorflow_datasets as tfds

    kinds = {"image": tfds.features.Image, "label": tfds.features.ClassLabel}
    chosen = {}
    for role, kind in kinds.items():
        named = [key for key, feature in info.features.items() if isinstance(feature, kind)]
        preferred = [key for key in named if key in (info.supervised_keys or ())]
        options = preferred or named
        if len(options) != 1:
            raise ValueError(
                f"{name} has the features {', '.join(info.features)}, of which {len(options)} can be the "
                f"{role}; expected one image and one class label. Load it yourself and use data.from_arrays."
            )
        chosen[role] = options[0]
    return chosen["image"], chosen["label"]


def _arrays(name: str, builder: Any, split: str, image: str, label: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns all images and labels of a split."""
    source = builder.as_data_source(split)
    images, labels = np.zeros(0, np.uint8), np.zeros(len(source), np.int32)
    for start in range(0, len(source), CHUNK):
        rows = range(start, min(start + CHUNK, len(source)))
        for row, example in zip(rows, source.__getitems__(list(rows)), strict=True):
            picture = np.asarray(example[image])
            if row == 0:
                images = np.empty((len(source), *picture.shape), picture.dtype)
            if picture.shape != images.shape[1:] or picture.dtype != np.uint8:
                raise ValueError(
                    f"{name}: got a {picture.dtype} image of shape {picture.shape} at {split}[{row}] after "
                    f"shape {images.shape[1:]}; expected uint8 images of one size. Resize them yourself and "
                    "use data.from_arrays."
                )
            images[row], labels[row] = picture, example[label]
    return images, labels
