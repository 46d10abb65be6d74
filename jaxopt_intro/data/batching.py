"""Which examples a step sees: batch indices that are the same on every machine, for ever.

Every order here is the stable sort of raw 64-bit outputs of Philox-4x64-10 (Salmon et al. 2011, "Parallel
random numbers: as easy as 1, 2, 3"), a published counter-based function. NumPy promises that a bit
generator's raw stream never changes, which it doesn't promise of `Generator.permutation`. So a stored `(seed,
epoch)` always means the same batches.
"""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np

SPLITS = 1
EPOCHS = 2


def permutation(n: int, *, seed: int, stream: int, epoch: int = 0) -> np.ndarray:
    """Returns the order of `n` examples that belongs to a seed, a stream and an epoch.

        bits = Philox4x64-10(key=(seed, epoch), counter=(1, 2, …; 0, 0, stream))
        permutation = stable argsort of the first n outputs

    Args:
        n: Number of examples, below 2**31.
        seed: At least 0 and below 2**64.
        stream: What the order is for, so that two uses of one seed never share numbers: `SPLITS` or `EPOCHS`.
        epoch: At least 0.

    Returns:
        A permutation of `range(n)`, int32 `[n]`.

    Raises:
        ValueError: A number is outside its range.

    Examples:
        >>> permutation(8, seed=0, stream=EPOCHS).tolist()
        [6, 7, 5, 1, 4, 3, 0, 2]
    """
    n = _whole(n, "n", most=2**31 - 1)
    key = np.array([_whole(seed, "seed"), _whole(epoch, "epoch")], np.uint64)
    counter = np.array([0, 0, 0, stream], np.uint64)
    bits = np.random.Philox(key=key, counter=counter).random_raw(n)
    return np.argsort(bits, kind="stable").astype(np.int32)


def epoch_indices(n: int, batch_size: int, *, seed: int, epoch: int) -> np.ndarray:
    """Returns the rows of every batch of one epoch.

    An epoch has `n // batch_size` steps. The examples beyond the last full batch are left out of that epoch;
    each epoch has an order of its own, so they are other examples each time.

    Args:
        n: Number of training examples.
        batch_size: Examples in a batch, at most `n`.
        seed: The batches' own seed, shared by the trials of a sweep.
        epoch: Which epoch, from 0.

    Returns:
        Row numbers, int32 `[n // batch_size, batch_size]`, no row twice.

    Raises:
        ValueError: `batch_size` is larger than `n`, or a number is outside its range.

    Examples:
        >>> epoch_indices(7, 3, seed=0, epoch=0).tolist()
        [[6, 5, 1], [4, 3, 0]]
        >>> epoch_indices(7, 3, seed=0, epoch=1).tolist()
        [[3, 4, 6], [2, 0, 5]]
    """
    n, batch_size = _whole(n, "n"), _whole(batch_size, "batch_size", least=1)
    if batch_size > n:
        raise ValueError(
            f"epoch_indices: got batch_size {batch_size} for {n} training examples; expected at most {n}, "
            "since an epoch holds full batches only. Lower batch_size, or leave more examples for training."
        )
    steps = n // batch_size
    order = permutation(n, seed=seed, stream=EPOCHS, epoch=epoch)
    return order[: steps * batch_size].reshape(steps, batch_size)


def evaluation_batches(n: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns batches that hold every example exactly once, in order.

    The rows are spread evenly over as few batches as `batch_size` allows, so there is less padding than there
    are batches. Padding repeats row 0 with weight 0.

    Args:
        n: Number of examples, at least 1.
        batch_size: Most examples in a batch.

    Returns:
        Row numbers (int32) and weights (float32), both `[batches, batch]` with `batch <= batch_size`.

    Raises:
        ValueError: A number is below 1.

    Examples:
        >>> rows, weights = evaluation_batches(5, 4)
        >>> rows.tolist()
        [[0, 1, 2], [3, 4, 0]]
        >>> weights.tolist()
        [[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]]
    """
    n, batch_size = _whole(n, "n", least=1, most=2**31 - 1), _whole(batch_size, "batch_size", least=1)
    batches = -(-n // batch_size)
    batch = -(-n // batches)
    rows, weights = np.zeros(batches * batch, np.int32), np.zeros(batches * batch, np.float32)
    rows[:n], weights[:n] = np.arange(n), 1.0
    return rows.reshape(batches, batch), weights.reshape(batches, batch)


def _whole(value: Any, name: str, *, least: int = 0, most: int = 2**64 - 1) -> int:
    if not isinstance(value, Integral) or isinstance(value, bool) or not least <= int(value) <= most:
        raise ValueError(f"got {name}={value!r}; expected a whole number from {least} to {most}.")
    return int(value)
