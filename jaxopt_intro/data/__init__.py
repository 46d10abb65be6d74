"""Data sets as NumPy arrays: published ones by name, or your own arrays. Nothing here imports jax.

Examples:
    >>> from jaxopt_intro import data
    >>> dataset = data.load("fashion_mnist_small", valid=0.1)
    >>> dataset.train[0].shape, dataset.info.class_names[:2]
    ((4500, 28, 28, 1), ('T-shirt/top', 'Trouser'))
"""

from jaxopt_intro.data import batching
from jaxopt_intro.data.arrays import from_arrays
from jaxopt_intro.data.dataset import DataCorrupt, Dataset, DataUnavailable, Info
from jaxopt_intro.data.loading import Entry, Prepared, catalogue, load, prepare

__all__ = [
    "DataCorrupt",
    "DataUnavailable",
    "Dataset",
    "Entry",
    "Info",
    "Prepared",
    "batching",
    "catalogue",
    "from_arrays",
    "load",
    "prepare",
]
