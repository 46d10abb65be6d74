"""The published file formats of the image sets, parsed without running anything they contain."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxopt_intro.data.dataset import DataCorrupt, Originals


def read_file(path: Path) -> bytes:
    """Returns the bytes of a file, unpacked if its name ends in `.gz`.

    Args:
        path: The file.

    Returns:
        Its content.

    Raises:
        DataCorrupt: The compressed file is damaged or cut off.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "labels.gz"
        >>> _ = path.write_bytes(gzip.compress(b"abc"))
        >>> read_file(path)
        b'abc'
    """
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataCorrupt(f"{path} is damaged ({error}); expected a gzip file. Fetch it again.") from error


def read_archive(path: Path, names: Mapping[str, str]) -> dict[str, bytes]:
    """Returns the named members of a tar archive, whatever folder they have in it; writes nothing to disk.

    Args:
        path: A `.tar`, `.tar.gz` or `.tgz` file.
        names: The file names to read; others are passed over.

    Returns:
        Content by file name.

    Raises:
        DataCorrupt: The archive is damaged, cut off, or lacks a name.

    Examples:
        >>> import io, tempfile
        >>> path = Path(tempfile.mkdtemp()) / "set.tar.gz"
        >>> with tarfile.open(path, "w:gz") as archive:
        ...     member = tarfile.TarInfo("folder/a.bin")
        ...     member.size = 3
        ...     archive.addfile(member, io.BytesIO(b"abc"))
        >>> read_archive(path, {"a.bin": ""})
        {'a.bin': b'abc'}
    """
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:*") as archive:
            for member in archive:
                name = member.name.rsplit("/", 1)[-1]
                stream = archive.extractfile(member) if name in names and member.isfile() else None
                if stream is not None:
                    contents[name] = stream.read()
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataCorrupt(f"{path} is damaged ({error}); expected a tar archive. Fetch it again.") from error
    missing = sorted(set(names) - set(contents))
    if missing:
        raise DataCorrupt(f"{path} lacks {', '.join(missing)}; expected the published archive. Fetch it again.")
    return contents


def parse_idx(content: bytes) -> np.ndarray:
    """Returns the uint8 array of an IDX file, the format of MNIST and its successors.

    Two zero bytes, 8 for uint8, the number of axes, each length as a big-endian 32-bit number, then the
    values (LeCun, Cortes, Burges: "The MNIST database").

    Args:
        content: The whole file, unpacked.

    Returns:
        The array.

    Raises:
        DataCorrupt: The header is another one, or the length disagrees with it.

    Examples:
        >>> parse_idx(bytes([0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 3, 7, 8, 9])).tolist()
        [[7, 8, 9]]
    """
    axes = content[3] if len(content) > 3 else 0
    start = 4 + 4 * axes
    if content[:3] != b"\0\0\x08" or len(content) < start:
        raise DataCorrupt(f"got {content[:4]!r} as the first bytes; expected an IDX file of uint8 values.")
    shape = tuple(np.frombuffer(content, ">u4", axes, offset=4).tolist())
    expected = int(np.prod(shape, dtype=object))
    if len(content) - start != expected:
        raise DataCorrupt(f"got {len(content) - start} values; expected {expected} for an IDX file of shape {shape}.")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def parse_cifar10(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Returns the images and labels of one file of CIFAR-10's binary version.

    Each record is one byte of label and 3,072 of image: the red, green and blue planes of 32 x 32, row by row
    (Krizhevsky 2009, "Learning multiple layers of features from tiny images").

    Args:
        content: The whole file.

    Returns:
        uint8 images `[N, 32, 32, 3]` and uint8 labels `[N]`.

    Raises:
        DataCorrupt: The length is no multiple of a record.

    Examples:
        >>> images, labels = parse_cifar10(bytes([7]) + bytes(range(256)) * 12)
        >>> labels.tolist(), images[0, 0, :2].tolist(), images[0, 1, 0].tolist()
        ([7], [[0, 0, 0], [1, 1, 1]], [32, 32, 32])
    """
    if not content or len(content) % 3073:
        raise DataCorrupt(f"got {len(content)} bytes; expected a multiple of 3073, CIFAR-10's binary record.")
    records = np.frombuffer(content, np.uint8).reshape(-1, 3073)
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), records[:, 0].copy()


def parse_fashion_mnist_files(files: Mapping[str, bytes]) -> Originals:
    """Returns the arrays of the four IDX files of Fashion-MNIST.

    Args:
        files: Content by published name, unpacked.

    Returns:
        Images `[N, 28, 28, 1]` and labels.

    Raises:
        DataCorrupt: A file is damaged.

    Examples:
        >>> image = bytes([0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 5])
        >>> label = bytes([0, 0, 8, 1, 0, 0, 0, 1, 9])
        >>> names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
        >>> files = {f"{name}-ubyte": image if "images" in name else label for name in names}
        >>> parse_fashion_mnist_files(files).train_x.shape
        (1, 1, 1, 1)
    """
    return Originals(
        train_x=parse_idx(files["train-images-idx3-ubyte"])[..., None],
        train_y=parse_idx(files["train-labels-idx1-ubyte"]),
        test_x=parse_idx(files["t10k-images-idx3-ubyte"])[..., None],
        test_y=parse_idx(files["t10k-labels-idx1-ubyte"]),
    )


def parse_cifar10_files(files: Mapping[str, bytes]) -> Originals:
    """Returns the arrays of the six files of CIFAR-10's binary version.

    Args:
        files: Content by published name.

    Returns:
        Images `[N, 32, 32, 3]` and labels, the five training files one after the other.

    Raises:
        DataCorrupt: A file is damaged.

    Examples:
        >>> names = [f"data_batch_{i}.bin" for i in (1, 2, 3, 4, 5)] + ["test_batch.bin"]
        >>> files = {name: bytes([i]) + bytes(3072) for i, name in enumerate(names)}
        >>> parse_cifar10_files(files).train_y.tolist()
        [0, 1, 2, 3, 4]
    """
    train = [parse_cifar10(files[f"data_batch_{i}.bin"]) for i in (1, 2, 3, 4, 5)]
    test_x, test_y = parse_cifar10(files["test_batch.bin"])
    return Originals(np.concatenate([x for x, _ in train]), np.concatenate([y for _, y in train]), test_x, test_y)
