"""Kept weights, back as a live model."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from jaxopt_intro import journal, results, routing, training
from jaxopt_intro.augmentations import AUGMENTATIONS
from jaxopt_intro.checks import known_name
from jaxopt_intro.data import Dataset, Info
from jaxopt_intro.experiment.asking import Experiment, find, from_mapping
from jaxopt_intro.experiment.assembling import Assembly, assemble
from jaxopt_intro.results.dataset import changes_of, directory_of, in_force
from jaxopt_intro.sweeps import checkpoint
from jaxopt_intro.sweeps.space import Trial
from jaxopt_intro.typing import Batch, PyTree


class LoadedModel(NamedTuple):
    """A trial's model with its weights.

    Attributes:
        module: The live Flax module, in evaluation mode; None for a `Model` without one. It takes prepared inputs.
        params: Parameters.
        model_state: The model's other variables.
        hparams: The trial's numbers; where they changed while it trained, those that these weights were reached with.
        assembly: The functions of its program.
    """

    module: Any
    params: PyTree
    model_state: PyTree
    hparams: dict[str, Any]
    assembly: Assembly

    def predict(self, inputs: PyTree) -> PyTree:
        """Returns the model's outputs for raw inputs, as the data set holds them (uint8 images, say)."""
        prepared, model = self.assembly.prepare(jax.tree.map(jnp.asarray, inputs)), self.assembly.model
        numbers = _numbers(self.assembly, self.hparams)
        return model.apply(self.params, self.model_state, prepared, train=False, key=None, hparams=numbers)[0]

    def robustness(
        self, data: Batch, augmentation: str | Callable[..., Any], strengths: Sequence[float], *, seed: int = 0
    ) -> np.ndarray:
        """Returns the accuracy on augmented examples at each strength, as `training.robustness` does.

        Args:
            data: Raw inputs and labels, as the data set holds them.
            augmentation: A name in `jaxopt-intro list augmentations` that leaves the targets alone, or `(inputs,
                strength, *, key) -> inputs`.
            strengths: The strengths.
            seed: Decides the draws, the same at every strength.

        Returns:
            An accuracy for each strength.

        Raises:
            ValueError: The augmentation is unknown, or the strengths are no vector.
        """
        function: Any = augmentation
        if isinstance(augmentation, str):
            function = AUGMENTATIONS[known_name(augmentation, AUGMENTATIONS, "augmentation")]
        model, prepare = self.assembly.model, self.assembly.prepare
        return np.asarray(
            training.robustness(
                model, self.params, self.model_state, jax.tree.map(jnp.asarray, data), function,
                jnp.asarray(strengths, jnp.float32), key=jax.random.key(seed), prepare=prepare,
                hparams=_numbers(self.assembly, self.hparams),
            )
        )  # fmt: skip


def load_model(
    run: str | os.PathLike[str] | xr.Dataset,
    trial: str | None = None,
    *,
    seed: int | None = None,
    which: str = "best",
    parts: Mapping[str, Any] | None = None,
) -> LoadedModel:
    """Loads a trial's kept weights into its model; the data are not needed.

    Args:
        run: The run's directory, or what `results.open` or `sweep` made of it.
        trial: The trial's id, or None for the best.
        seed: One of its seeds; None takes the first.
        which: "best": the weights of its best epoch; "last": of its last.
        parts: Your own functions and classes by name, where they cannot be imported: those of another script.

    Returns:
        The model; call its `predict`.

    Raises:
        ValueError: There is no such trial, its weights were not kept, or a part was not found.
        FileNotFoundError: The directory is no run.
    """
    run = directory_of(run)
    records = journal.read(run)
    trials = {r["trial"]: r for r in records if r["type"] == "trial"}
    chosen = str(results.best(results.open(run)).trial.item()) if trial is None else trial
    record = trials[known_name(chosen, trials, "trial")]
    kept = _kept(records, chosen, seed, which)
    record = {**record, "hparams": _in_force(records, record, kept)}
    asked, stored = next((r["experiment"], r["data"]) for r in reversed(records) if r["type"] == "run")
    assembly, hparams = rebuild(asked, stored, record, parts or {})
    like = jax.eval_shape(lambda: assembly.training.init(jax.random.key(0), hparams))
    weights = checkpoint.load_weights(Path(run) / kept["path"], (like.params, like.model_state))
    params, model_state = jax.tree.map(jnp.asarray, weights)
    return LoadedModel(_module(assembly, stored, params, model_state, hparams), params, model_state, hparams, assembly)


def rebuild(
    asked: Mapping[str, Any], stored: Mapping[str, Any], record: Mapping[str, Any], parts: Mapping[str, Any]
) -> tuple[Assembly, dict[str, Any]]:
    """Puts a stored trial's functions together again.

    Args:
        asked: The experiment, as the journal has it.
        stored: What the journal knows of the data.
        record: The trial's record.
        parts: Functions by name, instead of importing them.

    Returns:
        The functions, and the trial's traced numbers.

    Raises:
        ValueError: A part was not found.
    """
    fields = {name: value for name, value in asked.items() if name not in ("data", "metrics", "objective", "direction")}
    experiment: Experiment = from_mapping(fields, parts)
    choices = {name: find(value, name, parts) for name, value in record["values"].items()}
    trial = Trial(dict(record["hparams"]), choices, dict(record["choices"]))
    one, options = experiment.with_choices(trial)
    fixed = {name: trial.hparams[name] for name in record["fixed"]}
    hparams = {name: np.float32(value) for name, value in trial.hparams.items() if name not in fixed}
    one = dataclasses.replace(
        one, batch_size=1, microbatch=one.microbatch and 1
    )  # of one example, with which nothing is trained
    return assemble(one, _like_data(stored), options, fixed), hparams


def describe_data(dataset: Dataset) -> dict[str, Any]:
    """Returns what the journal keeps of a data set: what is known of it, and the form of one example."""
    info = dataset.info._asdict()
    return {**info, "form": [_form(part) for part in dataset.train], "train": len(jax.tree.leaves(dataset.train)[0])}


def example_of(stored: Mapping[str, Any]) -> PyTree:
    """Returns one example's inputs, of zeros, in the form that the data had.

    Args:
        stored: What the journal knows of the data.

    Examples:
        >>> example_of({"form": [{"shape": [28, 28, 1], "dtype": "uint8"}, {"shape": [], "dtype": "int32"}]}).shape
        (1, 28, 28, 1)
    """
    return _zeros(stored["form"][0])


def _form(tree: PyTree) -> Any:
    if isinstance(tree, Mapping):
        return {"dict": {name: _form(value) for name, value in tree.items()}}
    if isinstance(tree, tuple | list):
        return {type(tree).__name__ if type(tree) in (tuple, list) else "tuple": [_form(value) for value in tree]}
    return {"shape": list(tree.shape[1:]), "dtype": tree.dtype.name}


def _zeros(form: Mapping[str, Any]) -> PyTree:
    if "dict" in form:
        return {name: _zeros(value) for name, value in form["dict"].items()}
    for kind in (tuple, list):
        if kind.__name__ in form:
            return kind(_zeros(value) for value in form[kind.__name__])
    return np.zeros((1, *form["shape"]), jnp.dtype(form["dtype"]))


def _like_data(stored: Mapping[str, Any]) -> Dataset:
    """A data set of one example of zeros, of the stored form."""
    info = Info(**{name: stored[name] for name in Info._fields})
    inputs, targets = map(_zeros, stored["form"])
    return Dataset(info, (inputs, targets), None, None)


def _kept(records: list[dict[str, Any]], trial: str, seed: int | None, which: str) -> dict[str, Any]:
    """The record of the weights that are asked for."""
    known_name(which, ("best", "last"), "kind of weights")
    last = {(r["trial"], r["seed"], r["which"]): r for r in records if r["type"] == "weights"}
    kept = {key: record for key, record in sorted(last.items()) if record["path"]}
    own = {of_seed: record for (t, of_seed, w), record in kept.items() if (t, w) == (trial, which)}
    if own and seed is None:
        return next(iter(own.values()))
    if own and seed not in own:
        raise ValueError(f"load_model: got seed={seed} of trial {trial!r}; expected one of {list(own)}.")
    if own:
        return own[seed]
    have = sorted({t for t, _, own_which in kept if own_which == which})
    raise ValueError(
        f"load_model: the {which} weights of trial {trial!r} were not kept; expected one of "
        f"{', '.join(have) or 'none yet'}. Raise `keep` in the experiment to keep more."
    )


def _in_force(records: list[dict[str, Any]], trial: dict[str, Any], kept: Mapping[str, Any]) -> dict[str, float]:
    """The numbers that kept weights were reached with: in a population they may be others than the trial's first."""
    if kept["which"] == "best":
        return in_force(trial, changes_of(records), kept["epoch"])
    own = (trial["trial"], kept["seed"])
    end = next((r for r in reversed(records) if r["type"] == "end" and (r["trial"], r["seed"]) == own), {})
    return {**trial["hparams"], **end.get("hparams", {})}


def _numbers(assembly: Assembly, hparams: Mapping[str, Any]) -> dict[str, Any]:
    """The model's own numbers of a trial, by their own names."""
    given = routing.deliver(assembly.parts, routing.known_routes(assembly.parts, hparams), hparams)
    return next(own for part, own in zip(assembly.parts, given, strict=True) if part.role == "model")


def _module(assembly: Assembly, stored: Mapping[str, Any], params: PyTree, model_state: PyTree, hparams: Any) -> Any:
    model = assembly.model
    if model.bind is None:
        return None
    given = _numbers(assembly, hparams)
    example = assembly.prepare(jax.tree.map(jnp.asarray, example_of(stored)))
    module = model.bind(params, model_state, given, example=example)
    if hasattr(module, "eval"):
        module.eval()
    return module
