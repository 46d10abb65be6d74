"""Original files in a folder: finding them, unpacking them, refusing any that is not the published one."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from jaxopt_intro.data.dataset import DataCorrupt, DataUnavailable, Originals, content_hash
from jaxopt_intro.data.formats import read_archive, read_file
from jaxopt_intro.data.sources import Source


class Found(NamedTuple):
    """Where the original files of a set are: one file each, or one archive of them all."""

    files: dict[str, Path]
    archive: Path | None

    @property
    def place(self) -> Path:
        """The archive, or the folder of the files."""
        return self.archive or next(iter(self.files.values())).parent


def folders(source: Source, data_dir: str | os.PathLike[str] | None) -> list[Path]:
    """Returns the folders to look in: the one that was passed, the environment's, the system package's.

    Args:
        source: The set.
        data_dir: A folder, or an archive; it must exist.

    Returns:
        The places, in order.

    Raises:
        DataUnavailable: `data_dir` or the folder in `JAXOPT_INTRO_DATA` does not exist.

    Examples:
        >>> from jaxopt_intro.data.sources import SOURCES
        >>> [str(folder) for folder in folders(SOURCES["cifar10"], ".")][:1]
        ['.']
    """
    named = {"data_dir": data_dir, "JAXOPT_INTRO_DATA": os.environ.get("JAXOPT_INTRO_DATA")}
    places = []
    for origin, folder in named.items():
        if folder:
            path = Path(folder).expanduser()
            if not path.exists():
                raise DataUnavailable(f"got {origin}={str(folder)!r}, which does not exist; expected a folder.")
            places.append(path)
    return places + [Path(folder) for folder in source.system]


def find(source: Source, folder: Path) -> Found | None:
    """Returns where the originals are in a folder or the sub-folders that they usually lie in, or None.

    Args:
        source: The set.
        folder: A folder, or the archive itself.

    Returns:
        The files, not yet read.

    Examples:
        >>> import tempfile
        >>> from jaxopt_intro.data.sources import SOURCES
        >>> folder = Path(tempfile.mkdtemp())
        >>> find(SOURCES["cifar10"], folder) is None
        True
        >>> _ = (folder / "cifar-10-binary.tar.gz").write_bytes(b"")
        >>> find(SOURCES["cifar10"], folder).archive.name
        'cifar-10-binary.tar.gz'
    """
    if folder.is_file():
        return Found({}, folder) if source.archives and ".t" in folder.name else None
    for place in [*(folder / name for name in source.folders), folder]:
        files = {name: path for name in source.files if (path := _file(place, name)) is not None}
        if len(files) == len(source.files):
            return Found(files, None)
        for name in source.archives:
            if (place / name).is_file():
                return Found({}, place / name)
    return None


def _file(folder: Path, name: str) -> Path | None:
    names = (name, f"{name}.gz", name.replace("-idx", ".idx"), f"{name.replace('-idx', '.idx')}.gz")
    return next((folder / each for each in names if (folder / each).is_file()), None)


def read(source: Source, found: Found) -> Originals:
    """Returns the parsed arrays, after checking every file against the published sha256.

    Args:
        source: The set.
        found: Its files; they are only read.

    Returns:
        The arrays, whose content hash is the published one.

    Raises:
        DataCorrupt: A file is damaged or another one; names it.
    """
    if found.archive:
        contents = read_archive(found.archive, source.files)
    else:
        contents = {name: read_file(path) for name, path in found.files.items()}
    for name, expected in source.files.items():
        got = hashlib.sha256(contents[name]).hexdigest()
        if got != expected:
            where = f"{name} in {found.archive}" if found.archive else str(found.files[name])
            raise DataCorrupt(
                f"{where} is not the published file of {source.info.name}: got sha256 {got[:16]}… of its "
                f"unpacked content, expected {expected[:16]}…. It is damaged, or belongs to another set "
                f"with the same file names. Fetch it again. {source.advice}"
            )
    arrays = source.parse(contents)
    if content_hash(arrays) != source.info.content_hash:
        raise DataCorrupt(f"{found.place}: every file is as published, yet the arrays are not. Report this as a bug.")
    return arrays


def report(source: Source, places: list[Path]) -> str:
    """Returns in words what was found in the places that do not hold the whole set.

    Args:
        source: The set.
        places: The folders that were looked in.

    Returns:
        One clause for each place.

    Examples:
        >>> import tempfile
        >>> from jaxopt_intro.data.sources import SOURCES
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "cifar-10-python.tar.gz").write_bytes(b"")
        >>> report(SOURCES["cifar10"], [folder]).replace(str(folder), "FOLDER")
        'FOLDER (holds cifar-10-python.tar.gz, which is not the version needed)'
    """
    clauses = []
    for folder in places:
        inside = [folder / name for name in source.folders] + [folder]
        unsafe = [name for name in source.unsafe if any((place / name).exists() for place in inside)]
        present = max(({n for n in source.files if _file(place, n)} for place in inside), key=len)
        if unsafe:
            clauses.append(f"{folder} (holds {', '.join(unsafe)}, which is not the version needed)")
        elif present:
            clauses.append(f"{folder} (lacks {', '.join(n for n in source.files if n not in present)})")
        else:
            clauses.append(str(folder))
    return "; ".join(clauses)
