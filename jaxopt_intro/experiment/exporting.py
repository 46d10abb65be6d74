"""Kept weights for other programs: as an Orbax checkpoint, and as one file that predicts without this package."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.export
import numpy as np

from jaxopt_intro import journal
from jaxopt_intro.experiment.loading import LoadedModel, example_of, load_model
from jaxopt_intro.results.extras import needs
from jaxopt_intro.typing import PyTree

PLATFORMS = ("cpu", "cuda", "tpu")


def to_orbax(
    run: str | os.PathLike[str],
    path: str | os.PathLike[str],
    trial: str | None = None,
    *,
    seed: int | None = None,
    which: str = "best",
    parts: Mapping[str, Any] | None = None,
) -> None:
    """Writes a trial's kept weights as an Orbax checkpoint.

    It is a tree `{"params": …, "model_state": …}` of plain dicts, the second only of models that have one. Without this
    package: `orbax.checkpoint.StandardCheckpointer().restore(path)`.

    Args:
        run: The run's directory.
        path: The directory to be, which must not exist.
        trial: The trial's id, or None for the best.
        seed: One of its seeds; None takes the first.
        which: "best" or "last": of which epoch.
        parts: Your own functions and classes by name, where they cannot be imported.

    Raises:
        FileExistsError: There is something at `path` already.
        ValueError: There is no such trial, its weights were not kept, or a part was not found.
        FileNotFoundError: `run` is no run.
    """
    path = _new(path)
    loaded = load_model(run, trial, seed=seed, which=which, parts=parts)
    found = {"params": loaded.params, "model_state": loaded.model_state}
    found = {name: jax.tree.map(_plain, tree) for name, tree in found.items() if jax.tree.leaves(tree)}
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path.absolute(), found)


def to_function(
    run: str | os.PathLike[str],
    path: str | os.PathLike[str],
    trial: str | None = None,
    *,
    seed: int | None = None,
    which: str = "best",
    parts: Mapping[str, Any] | None = None,
) -> None:
    """Writes a trial's `predict`, weights and all, as one file that needs JAX alone.

    It takes raw inputs, as the data set holds them, of any batch size, on a CPU, an NVIDIA GPU or a TPU::

        predict = jax.export.deserialize(pathlib.Path(path).read_bytes()).call

    JAX reads such a file for at least six months of its later releases.

    Args:
        run: The run's directory.
        path: The file to be, which must not exist.
        trial: The trial's id, or None for the best.
        seed: One of its seeds; None takes the first.
        which: "best" or "last": of which epoch.
        parts: Your own functions and classes by name, where they cannot be imported.

    Raises:
        FileExistsError: There is something at `path` already.
        ValueError: There is no such trial, its weights were not kept, a part was not found, or the model cannot take
            batches of any size.
        FileNotFoundError: `run` is no run.
        ModuleNotFoundError: flatbuffers is missing; the message says how to install it.
    """
    path = _new(path)
    needs("flatbuffers", "export")
    stored = next(r["data"] for r in reversed(journal.read(run)) if r["type"] == "run")
    loaded = load_model(run, trial, seed=seed, which=which, parts=parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(exported(loaded, example_of(stored)).serialize())


def exported(model: LoadedModel, example: PyTree) -> jax.export.Exported:
    """Returns a model's `predict` as a program for batches of any size on every platform.

    Args:
        model: What `load_model` returned.
        example: Raw inputs, as the data set holds them: their shapes and types.

    Raises:
        ValueError: The model cannot take batches of any size: it computes with the number of examples.
    """
    (batch,) = jax.export.symbolic_shape("batch")
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((batch, *leaf.shape[1:]), leaf.dtype), example)
    try:
        return jax.export.export(jax.jit(model.predict), platforms=PLATFORMS)(shapes)
    except (jax.errors.InconclusiveDimensionOperation, TypeError) as error:
        # What Python and NumPy say of a number that is not known yet.
        if isinstance(error, TypeError) and not any(word in str(error) for word in ("_DimExpr", "'batch'")):
            raise
        first = str(error).splitlines()[0]
        raise ValueError(
            f"to_function: the model computes with the number of examples ({first}); expected one that takes any. Keep "
            "that number out of its shapes, or use its weights: to_orbax."
        ) from None


def _new(path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    if path.exists():
        raise FileExistsError(
            f"got {str(path)!r}, which is there; expected a new path. Remove it, or name another one."
        )
    return path


def _plain(leaf: jax.Array) -> np.ndarray:
    typed = jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if typed else leaf)
