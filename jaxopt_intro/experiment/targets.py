"""Whether a loss takes a data set's targets."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxopt_intro.data import Dataset
from jaxopt_intro.experiment.assembling import Assembly
from jaxopt_intro.losses import LOSSES
from jaxopt_intro.sweeps import doctor
from jaxopt_intro.training import returned
from jaxopt_intro.typing import Array, PyTree


def check_targets(assembly: Assembly, dataset: Dataset) -> None:
    """Refuses targets that the loss does not take, by their shapes and their values.

    A step is traced, so there the values are not known: a label that is no class would only make the loss NaN.

    Args:
        assembly: The functions, with all numbers compiled.
        dataset: Its data.

    Raises:
        ValueError: Says what the loss says, and which losses take these targets.
    """

    def outputs_of(inputs: PyTree) -> PyTree:
        prepared = assembly.prepare(inputs)
        name, key = assembly.model.name, jax.random.key(0)
        made = assembly.model.init(key, prepared, {})
        params, model_state = returned.pair("model", name, "init", made, "(params, model_state)")
        answer = assembly.model.apply(params, model_state, prepared, train=False, key=None, hparams={})
        outputs, _ = returned.pair("model", name, "apply", answer, "(outputs, model_state)")
        if not jax.tree.leaves(outputs):
            raise ValueError(
                f"model {name}: got {returned.described(outputs)} as its outputs; expected arrays. Return what it "
                "computes of a batch."
            )
        return outputs

    for inputs, targets in filter(None, (dataset.train, dataset.valid, dataset.test)):
        outputs, targets = jax.eval_shape(outputs_of, inputs), jax.tree.map(jnp.asarray, targets)
        try:
            _try_loss(assembly.loss, outputs, targets)
        except ValueError as error:
            if doctor.function(error):  # what a user's loss refuses is not about targets
                raise
            fitting = [name for name, loss in LOSSES.items() if _fits(loss, outputs, targets)]
            others = f" These losses would take both: {', '.join(fitting)}." if fitting else ""
            raise ValueError(f"{error}{others}") from error


def _try_loss(loss: Callable[..., Array], outputs: PyTree, targets: PyTree) -> None:
    # The targets are closed over, not arguments: their values stay known, and yet nothing is computed.
    jax.eval_shape(lambda outputs: (loss(outputs, targets), None)[1], outputs)  # what it returns, a step checks


def _fits(loss: Callable[..., Array], outputs: PyTree, targets: PyTree) -> bool:
    try:
        _try_loss(loss, outputs, targets)
    except (ValueError, TypeError, AttributeError):  # outputs or targets may be trees
        return False
    return True
