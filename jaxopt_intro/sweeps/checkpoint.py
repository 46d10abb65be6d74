"""What survives a kill: the running tile as an Orbax checkpoint, kept weights as plain npz files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import jax
import numpy as np

from jaxopt_intro import trees
from jaxopt_intro.typing import PyTree


def save(directory: Path, tree: PyTree) -> None:
    """Saves a tree atomically: under its final name there is all of it or nothing.

    Args:
        directory: A directory that does not exist yet.
        tree: Arrays; typed random keys are stored as their data.
    """
    import orbax.checkpoint as ocp

    leaves = {name: np.asarray(leaf) for name, leaf in trees.named_leaves(untyped(tree)).items()}
    stored = {quote(name, safe=""): leaf for name, leaf in leaves.items() if leaf.size}  # Orbax refuses empty ones
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(directory.absolute(), stored)


def load(directory: Path, like: PyTree) -> PyTree:
    """Loads a tree that `save` wrote.

    Args:
        directory: The checkpoint.
        like: A tree of the same structure, of arrays or their shapes; it says which leaves are random keys and which
            NumPy arrays, and which have no elements.

    Returns:
        The tree: NumPy arrays where `like` has them, so that float64 stays, all others on the default device.
    """
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        stored = checkpointer.restore(directory.absolute())
    empty = {n: np.zeros(leaf.shape, leaf.dtype) for n, leaf in trees.named_leaves(like).items() if not leaf.size}
    leaves = empty | {unquote(name): leaf for name, leaf in stored.items()}
    loaded = trees.from_named_leaves(like, leaves)
    return typed(jax.tree.map(np.asarray, loaded), like)


def untyped(tree: PyTree) -> PyTree:
    """Returns a tree whose random keys are their data, so that NumPy can hold it."""
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if _is_key(leaf) else leaf, tree)


def typed(tree: PyTree, like: PyTree) -> PyTree:
    """Returns host arrays as device arrays, with random keys where `like` has them; NumPy arrays where it has those."""
    return jax.tree.map(_typed, tree, like)


def host_like(like: PyTree, count: int) -> PyTree:
    """Returns a tree of NumPy arrays that says to `load` that all leaves are to stay on the host.

    Args:
        like: The shapes of lanes, with a leading axis.
        count: How many lanes are stored.
    """
    return jax.tree.map(lambda x: np.zeros(1, bool) if x.size else np.zeros((count, *x.shape[1:]), x.dtype), like)


def save_weights(path: Path, params: PyTree, model_state: PyTree) -> None:
    """Saves one member's weights atomically as an npz file without pickles.

    Args:
        path: The file to be.
        params: Parameters.
        model_state: The model's other variables.
    """
    leaves = trees.named_leaves({"params": params, "model_state": model_state})
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    with unfinished.open("wb") as file:
        np.savez(file, **{_stored_name(n, leaf): _stored(leaf) for n, leaf in leaves.items()})  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def load_weights(path: Path, like: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
    """Loads the weights that `save_weights` wrote.

    Args:
        path: The file.
        like: Trees of the structure of `params` and `model_state`.

    Returns:
        `params` and `model_state`.

    Raises:
        ValueError: The file holds another structure.
    """
    with np.load(path, allow_pickle=False) as stored:
        leaves = dict(_restored(name, stored[name]) for name in stored.files)
    loaded = trees.from_named_leaves({"params": like[0], "model_state": like[1]}, leaves)
    return loaded["params"], loaded["model_state"]


def remove(path: Path) -> None:
    """Removes a file or directory, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _typed(leaf: np.ndarray, like: Any) -> Any:
    if isinstance(like, np.ndarray):
        return leaf
    array = jax.numpy.asarray(leaf)
    return jax.random.wrap_key_data(array) if _is_key(like) else array


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)


# npz knows NumPy's own dtypes only: others (bfloat16) are stored as bytes of the same width, their name after a #.


def _stored_name(name: str, leaf: Any) -> str:
    dtype = np.asarray(leaf).dtype
    return name if dtype.isbuiltin == 1 else f"{name}#{dtype.name}"


def _stored(leaf: Any) -> np.ndarray:
    array = np.asarray(leaf)
    return array if array.dtype.isbuiltin == 1 else array.view(f"u{array.dtype.itemsize}")


def _restored(stored_name: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    name, _, dtype = stored_name.partition("#")
    return name, array.view(jax.numpy.dtype(dtype)) if dtype else array
