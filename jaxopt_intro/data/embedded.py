"""The sets that come with the package: nothing to download, nothing to set up.

`fashion_mnist_small` is the first 5,000 training and the first 1,000 test images of Fashion-MNIST. `digits`
are the 1,797 images of 8 x 8 of the UCI optical digits as scikit-learn ships them, in that order: the first
1,437 train, the last 360 test. A digit's pixel counts dots, 0 to 16, and is stored as it is: its scale is 16,
not 255. `tests/data/make_embedded.py` writes both files.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from jaxopt_intro.data import cache
from jaxopt_intro.data.dataset import DataCorrupt, Info, Originals
from jaxopt_intro.data.sources import FASHION_CITATION, FASHION_CLASSES


class Embedded(NamedTuple):
    """A set inside the package: what is known of it, the shape of one image, and the sizes of its parts."""

    info: Info
    shape: tuple[int, int, int]
    train: int
    test: int


EMBEDDED: dict[str, Embedded] = {
    "digits": Embedded(
        info=Info(
            name="digits",
            num_classes=10,
            class_names=("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"),
            mean=(0.3054,),
            std=(0.3755,),
            scale=16.0,
            content_hash="adbedc90ca53bba766d95f51152881946c85767fcaa14d6722d36d9dd86d8e3d",
            source="comes with the package",
            citation="Alpaydin, Kaynak (1998). Optical recognition of handwritten digits. UCI Machine "
            "Learning Repository. doi:10.24432/C50P49",
            licence="CC BY 4.0",
        ),
        shape=(8, 8, 1),
        train=1_437,
        test=360,
    ),
    "fashion_mnist_small": Embedded(
        info=Info(
            name="fashion_mnist_small",
            num_classes=10,
            class_names=FASHION_CLASSES,
            mean=(0.2860,),
            std=(0.3530,),
            scale=255.0,
            content_hash="688a1802a15f200658237f87f95e707a571bd096662fb58c7bef800738be80b0",
            source="comes with the package",
            citation=FASHION_CITATION,
            licence="MIT, Zalando SE",
        ),
        shape=(28, 28, 1),
        train=5_000,
        test=1_000,
    ),
}


def path(name: str) -> Path:
    """Returns the file of a set in the package.

    Args:
        name: A name in `EMBEDDED`.

    Returns:
        The file; `NAME.LICENSE.txt` lies beside it.

    Examples:
        >>> path("digits").name
        'digits.npz'
    """
    return Path(__file__).with_name(f"{name}.npz")


def read(name: str) -> Originals:
    """Returns the arrays of a set, checked.

    Args:
        name: A name in `EMBEDDED`.

    Returns:
        uint8 images and labels.

    Raises:
        DataCorrupt: The installed file is damaged.

    Examples:
        >>> read("digits").train_x.shape
        (1437, 8, 8, 1)
    """
    try:
        return cache.read_npz(path(name), EMBEDDED[name].info.content_hash)
    except DataCorrupt as error:
        raise DataCorrupt(f"{error} It is part of the package: install the package again.") from error
