"""Names to data sets: from the package, the cache, original files or the publisher, and never other data."""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path
from typing import NamedTuple

from jaxopt_intro.checks import known_name
from jaxopt_intro.data import cache, download, embedded, originals, tfds_sets
from jaxopt_intro.data.dataset import (
    Dataset,
    DataUnavailable,
    Info,
    Originals,
    assemble,
    split_rows,
)
from jaxopt_intro.data.embedded import EMBEDDED
from jaxopt_intro.data.sources import SOURCES, Source
from jaxopt_intro.places import cache_folder

PathLike = str | os.PathLike[str]


class Prepared(NamedTuple):
    """A set that is ready to load: what is known of it, and where it lies."""

    info: Info
    path: Path


class Entry(NamedTuple):
    """One line of the catalogue: shape of one image, sizes, classes, where the set would be loaded from."""

    name: str
    shape: tuple[int, int, int]
    train: int
    test: int
    classes: int
    where: str


def load(
    name: str,
    *,
    valid: float | int | None = 0.1,
    seed: int = 0,
    data_dir: PathLike | None = None,
    download: bool = True,
) -> Dataset:
    """Loads a data set by name.

    `digits` and `fashion_mnist_small` come with the package. `fashion_mnist` and `cifar10` are read from the
    cache, else from original files (in `data_dir`, in the folder `JAXOPT_INTRO_DATA`, or where a system
    package put them), else downloaded; their arrays are checked against the published content each time.
    `tfds:NAME` is any other image classification set that tensorflow-datasets has prepared. No other data
    ever takes the place of what was asked.

    Args:
        name: The set.
        valid: What to set apart of the training part: a fraction in [0, 1), a count, or None.
        seed: Decides which examples are set apart.
        data_dir: A folder with original files, or tensorflow-datasets' folder for `tfds:` names.
        download: Whether a set that is not on this machine may be fetched.

    Returns:
        uint8 images `[N, H, W, C]` and int32 labels `[N]`, each part in the order of the original files.

    Raises:
        ValueError: There is no such set, or `valid` or `seed` is out of range.
        DataUnavailable: The set is neither here nor reachable; says which file to put where.
        DataCorrupt: A file is damaged or another one; names it.

    Examples:
        >>> dataset = load("digits", valid=0.1)
        >>> dataset.train[0].shape, dataset.valid[0].shape, dataset.test[0].shape
        ((1293, 8, 8, 1), (144, 8, 8, 1), (360, 8, 8, 1))
        >>> dataset.train[1][:5].tolist(), dataset.info.num_classes
        ([0, 1, 3, 5, 6], 10)
    """
    _known(name)
    if name.startswith(tfds_sets.PREFIX):
        info, arrays, _ = tfds_sets.read(name, data_dir, fetch=download)
    elif name in EMBEDDED:
        info, arrays = EMBEDDED[name].info, embedded.read(name)
    else:
        split_rows(SOURCES[name].train, valid, seed)  # Refuses what is out of range before anything is fetched.
        arrays, origin = _obtain(SOURCES[name], data_dir, fetch=download)
        info = SOURCES[name].info._replace(source=origin)
    return assemble(info, arrays, valid=valid, seed=seed)


def prepare(name: str, *, source: PathLike | None = None, data_dir: PathLike | None = None) -> Prepared:
    """Makes a set ready, so that `load` needs no network.

    Args:
        name: The set.
        source: A folder with its original files, or the archive of them; nothing else is then looked at.
        data_dir: As for `load`.

    Returns:
        What is known of the set, and where it lies now.

    Raises:
        ValueError: There is no such set.
        DataUnavailable: `source` does not hold it, or without `source` it is neither here nor reachable.
        DataCorrupt: A file is damaged or another one; names it.
        OSError: The cache cannot be written.

    Examples:
        >>> prepare("digits").path.name
        'digits.npz'
    """
    _known(name)
    if source is not None and name not in SOURCES:
        raise ValueError(f"got source={str(source)!r} for {name}; expected none, since it is not made from originals.")
    if name.startswith(tfds_sets.PREFIX):
        info, _, path = tfds_sets.read(name, data_dir, fetch=True)
        return Prepared(info, path)
    if name in EMBEDDED:
        embedded.read(name)
        return Prepared(EMBEDDED[name].info, embedded.path(name))
    wanted = SOURCES[name]
    if source is None:
        _, origin = _obtain(wanted, data_dir, fetch=True, must_keep=True)
    else:
        found = originals.find(wanted, Path(source).expanduser())
        if found is None:
            looked = originals.report(wanted, [Path(source)])
            raise DataUnavailable(f"{name} is not in {looked}. {_advice(wanted)}")
        cache.write(name, originals.read(wanted, found))
        origin = f"original files in {found.place}"
    return Prepared(wanted.info._replace(source=origin), cache.path(name))


def catalogue(*, data_dir: PathLike | None = None) -> list[Entry]:
    """Lists the sets that can be loaded by name, besides `tfds:NAME`, and where each would come from.

    Args:
        data_dir: As for `load`.

    Returns:
        One entry for each set; looks at names of files only.

    Examples:
        >>> [(entry.name, entry.train, entry.where) for entry in catalogue() if entry.where == "embedded"]
        [('digits', 1437, 'embedded'), ('fashion_mnist_small', 5000, 'embedded')]
    """
    entries = [
        Entry(name, one.shape, one.train, one.test, one.info.num_classes or 0, "embedded")
        for name, one in EMBEDDED.items()
    ]
    for name, one in SOURCES.items():
        places = [originals.find(one, folder) for folder in originals.folders(one, data_dir)]
        found = next((each for each in places if each), None)
        if cache.path(name).is_file():
            where = f"cached in {cache.path(name)}"
        else:
            where = f"local originals at {found.place}" if found else f"download ({one.megabytes} MB)"
        entries.append(Entry(name, one.shape, one.train, one.test, one.info.num_classes or 0, where))
    return entries


def _known(name: str) -> None:
    if not str(name).startswith(tfds_sets.PREFIX):
        known_name(name, [*EMBEDDED, *SOURCES, f"{tfds_sets.PREFIX}NAME"], "data set")


def _obtain(
    source: Source, data_dir: PathLike | None, *, fetch: bool, must_keep: bool = False
) -> tuple[Originals, str]:
    """Returns the arrays and where they came from, and sees to it that they are cached."""
    name = source.info.name
    places = originals.folders(source, data_dir)
    arrays = cache.read(name, source.info.content_hash)
    if arrays is not None:
        return arrays, f"the cache, {cache.path(name)}"
    found = next((each for folder in places if (each := originals.find(source, folder))), None)
    if found:
        arrays, origin = originals.read(source, found), f"original files in {found.place}"
    else:
        looked = f"Looked in {originals.report(source, [cache_folder(), *places])}. {_advice(source)}"
        if not fetch:
            raise DataUnavailable(f"{name} is not on this machine, and downloads are off. {looked}")
        try:
            arrays, origin = _download(source), "downloaded through tensorflow-datasets"
        except DataUnavailable as error:
            raise DataUnavailable(f"{name} is not on this machine, and {error}. {looked}") from error
    try:
        cache.write(name, arrays)
    except OSError as error:
        if must_keep:
            raise
        warnings.warn(
            f"{name} was read, but could not be kept in the cache ({error}); the next load will take as "
            "long. Set JAXOPT_INTRO_CACHE to a folder that can be written.",
            stacklevel=3,
        )
    return arrays, origin


def _download(source: Source) -> Originals:
    """Returns the arrays of a set after fetching its originals into a folder that is then removed."""
    with tempfile.TemporaryDirectory(prefix="jaxopt-intro-", ignore_cleanup_errors=True) as folder:
        download.fetch(source.info.name, Path(folder))
        found = originals.find(source, Path(folder))
        if found is None:
            raise DataUnavailable(f"tensorflow-datasets no longer registers the files {', '.join(source.files)}")
        return originals.read(source, found)


def _advice(source: Source) -> str:
    files = " or ".join([*source.archives[:1], ", ".join(source.files)])
    name = source.info.name
    return (
        f"Put {files} (also gzipped) into a folder and run `jaxopt-intro data prepare {name} --source "
        "FOLDER`, or pass the folder as data_dir (--data-dir), or name it in JAXOPT_INTRO_DATA. "
        f"{source.advice} Without any files: {' and '.join(EMBEDDED)} come with the package."
    )
