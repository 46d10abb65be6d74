"""Whatever stands for a model, as a function that makes one."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from flax import linen, nnx

from jaxopt_intro import routing
from jaxopt_intro.checks import known_name
from jaxopt_intro.data import Dataset
from jaxopt_intro.losses import OUTPUTS_FOR_EACH_TARGET
from jaxopt_intro.models import MODELS, from_linen, from_nnx
from jaxopt_intro.typing import Model


def model_constructor(value: Any, dataset: Dataset, each: int) -> Callable[..., Model]:
    """Returns a function `(**arguments) -> Model`, whatever stands for the model, with a signature for the router.

    Args:
        value: What stands for it: a name, a Flax module or its class, a function that makes one, or a `Model`.
        dataset: The data, which say how many outputs there are.
        each: How many outputs belong to each target.

    Raises:
        ValueError: Nothing of that kind stands for a model, or the data do not say how many outputs it has.
    """
    if isinstance(value, str):
        value = MODELS[known_name(value, MODELS, "model")]
    if isinstance(value, Model):
        model, names = value, value.hyperparameters
        return _signed(lambda **arguments: _preset(model, arguments), "model", dict.fromkeys(names, 0.0))
    if isinstance(value, linen.Module) or (isinstance(value, type) and issubclass(value, linen.Module)):
        module = value() if isinstance(value, type) else value
        fields = {
            f.name: getattr(module, f.name) for f in dataclasses.fields(module) if f.name not in ("parent", "name")
        }
        return _signed(lambda **arguments: from_linen(module.clone(**arguments)), type(module).__name__, fields)
    if isinstance(value, nnx.Module) or not callable(value):
        raise ValueError(
            f"model: got a {type(value).__name__}; expected one of {', '.join(MODELS)}, a Flax module class, a "
            "function that makes a module or a Model, or a Model. Every trial starts with weights of its own: pass an "
            "NNX class, or a function of rngs that makes the module."
        )
    return _of_factory(value, dataset, each)


def _of_factory(factory: Callable[..., Any], dataset: Dataset, each: int) -> Callable[..., Model]:
    takes, name = routing.parameters(factory), routing.own_name(factory)
    if "outputs" in takes and takes["outputs"].default is inspect.Parameter.empty:
        factory = routing.named(factory, name, outputs=each * _outputs(name, dataset))
    if "rngs" not in takes:
        return factory

    def make(**arguments: Any) -> Model:
        return from_nnx(functools.partial(factory, **arguments))

    kept = [p for p in routing.parameters(factory).values() if p.name not in ("rngs", "example")]
    make.__name__, make.__signature__ = name, inspect.Signature(kept)  # type: ignore[attr-defined]
    make.__wrapped__ = factory  # whose annotations say the ranges  # type: ignore[attr-defined]
    return make


def _outputs(model: str, dataset: Dataset) -> int:
    """One for each class, or for each column of the targets."""
    if dataset.info.num_classes is not None:
        return dataset.info.num_classes
    shape = getattr(dataset.train[1], "shape", None)
    if shape is None or len(shape) != 2:
        got = f"shape {shape}" if shape else f"a {type(dataset.train[1]).__name__}"
        raise ValueError(
            f"model {model}: got targets of {got}; expected classes or columns to count as outputs. Pass targets "
            "[N, 1] for one number each, targets.reshape(-1, 1), or functools.partial(model, outputs=...)."
        )
    return shape[1]


def _signed(function: Callable[..., Any], name: str, defaults: Mapping[str, Any]) -> Callable[..., Any]:
    """Gives a function of keywords the name and signature that the router reads."""
    kind = inspect.Parameter.KEYWORD_ONLY
    function.__name__ = name
    function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(n, kind, default=d) for n, d in defaults.items()]
    )
    return function


def _preset(model: Model, numbers: Mapping[str, Any]) -> Model:
    """A model that already has some of its hyperparameters."""

    def init(key: Any, example: Any, hparams: Mapping[str, Any]) -> Any:
        return model.init(key, example, {**numbers, **hparams})

    def apply(params: Any, model_state: Any, inputs: Any, *, hparams: Mapping[str, Any], **told: Any) -> Any:
        return model.apply(params, model_state, inputs, hparams={**numbers, **hparams}, **told)

    return model._replace(init=init, apply=apply)


def outputs_for_each_target(loss: Callable[..., Any]) -> int:
    """Returns how many outputs of a model a loss reads for each target."""
    while isinstance(loss, functools.partial):
        loss = loss.func
    return OUTPUTS_FOR_EACH_TARGET.get(loss, 1)
