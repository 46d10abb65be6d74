"""Any Flax NNX module as a `Model` pair."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from jaxopt_intro import routing
from jaxopt_intro.models import layers
from jaxopt_intro.models.precision import narrow_dtype
from jaxopt_intro.typing import Array, Hparams, Model, PyTree


def from_nnx(factory: Callable[..., nnx.Module], *, conv: Callable[..., Array] | None = layers.conv) -> Model:
    """Makes a `Model` pair of a factory of NNX modules.

    The module is built anew inside every traced call, with the call's own numbers and keys, and its variables are
    replaced by the given ones. So any number that the module only computes with may be traced, without declaring it,
    and random streams need no state. `nnx.Param` variables become `params`, all others but random streams
    (`nnx.BatchStat`, …) become `model_state`; both are plain nested dicts with string keys.

    Args:
        factory: An `nnx.Module` class, or any function that returns a module. Called with `rngs=nnx.Rngs(...)`, with
            `example=` (a batch of inputs) if it takes one, and with those hyperparameters that are asked for. Its
            arguments that are numbers are the model's hyperparameters. A module whose `__call__` takes `train` is told,
            one that takes `rngs` gets them. Variables that a call makes anew, such as a loss that it stores, are not
            part of the model's state.
        conv: Put in place of XLA's convolution in every `nnx.Conv` that has no other: `layers.conv` computes the same,
            faster inside loops and under `vmap`. None leaves XLA's.

    Returns:
        The model.

    Raises:
        ValueError: At `init`: the module holds a plain array where a variable is needed. At `apply`: it makes
            parameters.

    Examples:
        >>> import jax.numpy as jnp
        >>> class Net(nnx.Module):
        ...     def __init__(self, *, slope=0.1, rngs):
        ...         self.dense, self.slope = nnx.Linear(2, 3, rngs=rngs), slope
        ...     def __call__(self, x):
        ...         return nnx.leaky_relu(self.dense(x), self.slope)
        >>> model = from_nnx(Net)
        >>> model.hyperparameters
        ('slope',)
        >>> params, state = model.init(jax.random.key(0), jnp.ones((4, 2)), {})
        >>> jax.tree.map(jnp.shape, params)
        {'dense': {'bias': (3,), 'kernel': (2, 3)}}
        >>> outputs, _ = model.apply(params, state, jnp.ones((4, 2)), train=False, key=None, hparams={"slope": 0.0})
        >>> outputs.shape
        (4, 3)
    """
    hyperparameters = routing.numbers(factory, constructs=True)
    wants_example = "example" in routing.parameters(factory)

    def build(key: Array, example: PyTree, hparams: Hparams) -> nnx.Module:
        given = {name: hparams[name] for name in hyperparameters if name in hparams}
        if wants_example:
            given["example"] = example
        module = factory(rngs=nnx.Rngs(key), **given)
        if not isinstance(module, nnx.Module):
            raise ValueError(
                f"model {routing.own_name(factory)}: got a {type(module).__name__}; expected an nnx.Module, "
                "since it takes rngs. Return one; a function that returns a Model(init, apply) takes no rngs."
            )
        return module

    def init(key: Array, example: PyTree, hparams: Hparams) -> tuple[PyTree, PyTree]:
        module = build(key, example, hparams)
        _refuse_plain_arrays(module)
        return _variables(module)

    def bind(
        params: PyTree, model_state: PyTree, hparams: Hparams, *, example: PyTree, key: Array | None = None
    ) -> Any:
        module = build(jax.random.key(0) if key is None else key, example, hparams)
        _, found, _ = nnx.split(module, _kept, ...)
        nnx.update(module, _merged(found, params, model_state))
        return module

    def apply(
        params: PyTree, model_state: PyTree, inputs: PyTree, *, train: bool, key: Array | None, hparams: Hparams
    ) -> tuple[PyTree, PyTree]:
        module = bind(params, model_state, hparams, example=inputs, key=key)
        _compute_as(module, conv, narrow_dtype(params))
        module.train() if train else module.eval()
        answers = {"train": train, "rngs": nnx.Rngs(jax.random.key(0) if key is None else key)}
        takes = inspect.signature(type(module).__call__).parameters
        outputs = module(inputs, **{name: answer for name, answer in answers.items() if name in takes})
        made, after = _variables(module)
        if jax.tree.structure(made) != jax.tree.structure(params):
            raise ValueError(
                f"model {type(module).__name__}: its call made parameters; expected all of them to be made by the "
                "factory, since what a call makes is drawn anew in every call. Make them in __init__."
            )
        return outputs, _known(after, model_state)

    return Model(init, apply, hyperparameters, bind, routing.own_name(factory))


def _compute_as(module: nnx.Module, conv: Callable[..., Array] | None, dtype: Any) -> None:
    """Sets how layers convolve, and, with narrow parameters, the dtype of those whose other variables are wider."""
    for _, layer in nnx.iter_modules(module):
        if conv is not None and getattr(layer, "conv_general_dilated", None) is jax.lax.conv_general_dilated:
            layer.conv_general_dilated = conv  # type: ignore[attr-defined]
        if dtype is not None and getattr(layer, "dtype", 0) is None:
            layer.dtype = dtype  # type: ignore[attr-defined]


def _kept(path: Any, value: Any) -> bool:
    """Whether a leaf is a variable that is kept between calls; numbers and random streams are set at each call."""
    del path
    return isinstance(value, nnx.Variable) and not isinstance(value, nnx.RngState)


def _refuse_plain_arrays(module: nnx.Module) -> None:
    """Refuses arrays that no variable holds: they would be drawn anew in every call."""
    *_, rest = nnx.split(module, _kept, nnx.RngState, ...)
    for path, leaf in nnx.to_flat_state(rest):
        if getattr(leaf, "ndim", 0) > 0:
            name = "/".join(map(str, path))
            raise ValueError(
                f"model {type(module).__name__}: got a plain array of shape {leaf.shape} as {name}; expected an "
                "nnx.Variable, since the module is built anew in every call. Wrap it: nnx.Variable(array)."
            )


def _variables(module: nnx.Module) -> tuple[PyTree, PyTree]:
    _, params, rest, _ = nnx.split(module, nnx.Param, _kept, ...)
    return _plain(params), _plain(rest)


def _plain(state: nnx.State) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, variable in nnx.to_flat_state(state):
        place = tree
        for part in path[:-1]:
            place = place.setdefault(str(part), {})
        place[str(path[-1])] = variable[...]
    return tree


def _known(after: PyTree, before: PyTree) -> PyTree:
    """Of variables those that were there before."""
    if not isinstance(before, dict):
        return after
    return {name: _known(after[name], value) for name, value in before.items()}


def _merged(found: nnx.State, params: PyTree, model_state: PyTree) -> nnx.State:
    """The module's own state with the values of `params` and `model_state` in it."""
    pairs = []
    for path, variable in nnx.to_flat_state(found):
        value = params if isinstance(variable, nnx.Param) else model_state
        for part in path:
            value = value[str(part)]
        pairs.append((path, variable.replace(value)))
    return nnx.from_flat_state(pairs)
