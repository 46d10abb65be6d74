"""Writes the data sets that come with the package, and prints their content hashes.

    pip install numpy scikit-learn
    PYTHONPATH=. python tests/data/make_embedded.py FOLDER_WITH_FASHION_MNIST_ORIGINALS jaxopt_intro/data

The originals are checked by sha256 before anything is cut from them; the digits come from scikit-learn's copy
of the UCI optical digits.
"""

import sys
from pathlib import Path

import numpy as np

from jaxopt_intro.data import originals
from jaxopt_intro.data.dataset import Originals, content_hash
from jaxopt_intro.data.sources import SOURCES


def fashion_mnist_small(folder: Path) -> Originals:
    """Returns the first 5,000 training and the first 1,000 test examples."""
    source = SOURCES["fashion_mnist"]
    found = originals.find(source, folder)
    if found is None:
        raise SystemExit(f"{folder} does not hold the originals of Fashion-MNIST")
    full = originals.read(source, found)
    return Originals(full.train_x[:5000], full.train_y[:5000], full.test_x[:1000], full.test_y[:1000])


def digits() -> Originals:
    """Returns scikit-learn's digits in their order: the first 1,437 to train, the last 360 to test."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    x, y = loaded.images[..., None].astype(np.uint8), loaded.target.astype(np.uint8)
    return Originals(x[:1437], y[:1437], x[1437:], y[1437:])


if __name__ == "__main__":
    sets = {"fashion_mnist_small": fashion_mnist_small(Path(sys.argv[1])), "digits": digits()}
    for name, arrays in sets.items():
        np.savez_compressed(Path(sys.argv[2]) / f"{name}.npz", allow_pickle=False, **arrays._asdict())
        scaled = arrays.train_x / arrays.train_x.max()
        print(name, content_hash(arrays), f"mean {scaled.mean():.4f} std {scaled.std():.4f}")
