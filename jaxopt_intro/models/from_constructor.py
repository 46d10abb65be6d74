"""A function that makes a model as a `Model` pair, its numbers as hyperparameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jaxopt_intro import routing
from jaxopt_intro.typing import Array, Hparams, Model, PyTree


def from_constructor(constructor: Callable[..., Model]) -> Model:
    """Makes a `Model` pair of a function that returns one.

    The function is called inside every traced call with the call's own numbers, so that each of its numbers may be
    traced as far as the model only computes with it.

    Args:
        constructor: `(**numbers) -> Model`, such as `jaxopt_intro.models.mlp` with its `outputs` bound.

    Returns:
        The model; its hyperparameters are the constructor's arguments that are numbers.

    Examples:
        >>> import functools
        >>> from jaxopt_intro import models
        >>> from_constructor(functools.partial(models.mlp, outputs=10)).hyperparameters
        ('dropout', 'gaussian_noise')
    """

    def made_of(hparams: Hparams) -> Model:
        made = constructor(**hparams)
        if not isinstance(made, Model):
            raise ValueError(
                f"model {routing.own_name(constructor)}: got a {type(made).__name__}; expected a Model. "
                "Return Model(init, apply), models.from_linen(module), or take rngs and return an nnx.Module."
            )
        return made

    def init(key: Array, example: PyTree, hparams: Hparams) -> tuple[PyTree, PyTree]:
        return made_of(hparams).init(key, example, {})

    def apply(params: PyTree, model_state: PyTree, inputs: PyTree, *, hparams: Hparams, **told: Any) -> Any:
        return made_of(hparams).apply(params, model_state, inputs, hparams={}, **told)

    def bind(params: PyTree, model_state: PyTree, hparams: Hparams, **told: Any) -> Any:
        made = made_of(hparams)
        return None if made.bind is None else made.bind(params, model_state, {}, **told)

    return Model(init, apply, routing.numbers(constructor, constructs=True), bind, routing.own_name(constructor))
