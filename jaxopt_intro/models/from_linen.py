"""Any Flax Linen module as a `Model` pair."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from flax import linen

from jaxopt_intro.models import layers
from jaxopt_intro.typing import Array, Hparams, Model, PyTree

_STREAMS = ("params", "dropout")


def from_linen(
    module: linen.Module | type[linen.Module],
    *,
    conv: Callable[..., Array] | None = layers.conv,
    axis_name: str | None = None,
) -> Model:
    """Makes a `Model` pair of a Linen module.

    The module is cloned inside every traced call with the call's own numbers, so any number that it only computes
    with may be traced. The collection `params` becomes `params`, all others (`batch_stats`, …) become `model_state`.

    Args:
        module: A module, or a module class whose fields all have defaults. Its fields that are numbers are the
            model's hyperparameters. A module whose `__call__` takes `train`, `training` or `deterministic` is told; one
            that takes `rng`, a `key` without a default, or a name that ends in `_rng` gets a key. Inputs may be
            keyword-only. What a call adds to the variables, as `sow` does, is not part of the model's state.
        conv: Put in place of XLA's convolution in every `linen.Conv` that has no other: `layers.conv` computes the
            same, faster inside loops and under `vmap`. None leaves XLA's.
        axis_name: An axis of devices over which the module itself takes means, as with `linen.BatchNorm(axis_name=...)`
            it does; here it has one place, since every member is whole.

    Returns:
        The model.

    Raises:
        ValueError: The class has fields without defaults.

    Examples:
        >>> import jax.numpy as jnp
        >>> model = from_linen(linen.Dense(3))
        >>> params, state = model.init(jax.random.key(0), jnp.ones((4, 2)), {})
        >>> jax.tree.map(jnp.shape, params)
        {'bias': (3,), 'kernel': (2, 3)}
    """
    base = _instance(module)
    hyperparameters = tuple(
        f.name
        for f in dataclasses.fields(base)
        if isinstance(getattr(base, f.name), int | float) and not isinstance(getattr(base, f.name), bool)
    )

    def build(hparams: Hparams) -> linen.Module:
        return base.clone(**{name: hparams[name] for name in hyperparameters if name in hparams})

    def convolve(method: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        layer = context.module
        own = ("conv_general_dilated", "conv_general_dilated_cls")
        if conv is not None and isinstance(layer, linen.Conv) and all(getattr(layer, name) is None for name in own):
            object.__setattr__(layer, "conv_general_dilated", conv)  # a field; modules are frozen once they are made
        return method(*args, **kwargs)

    def init(key: Array, example: PyTree, hparams: Hparams) -> tuple[PyTree, PyTree]:
        made = _call(base, example, train=False, key=key)
        return _split(build(hparams).init(_streams(key), *made.args, **made.kwargs))

    def apply(
        params: PyTree, model_state: PyTree, inputs: PyTree, *, train: bool, key: Array | None, hparams: Hparams
    ) -> tuple[PyTree, PyTree]:
        made, streams = _call(base, inputs, train=train, key=key), None if key is None else _streams(key)

        def run() -> tuple[PyTree, PyTree]:
            variables, asked = {"params": params, **model_state}, list(model_state)
            with linen.intercept_methods(convolve):
                return build(hparams).apply(variables, *made.args, rngs=streams, mutable=asked, **made.kwargs)

        if axis_name is not None:
            run = jax.vmap(run, in_axes=(), out_axes=None, axis_name=axis_name, axis_size=1)
        outputs, changed = run()
        return outputs, {**model_state, **{name: _same(tree, model_state[name]) for name, tree in changed.items()}}

    def bind(params: PyTree, model_state: PyTree, hparams: Hparams, **_: Any) -> linen.Module:
        return build(hparams).bind({"params": params, **model_state})

    return Model(init, apply, hyperparameters, bind, type(base).__name__)


def _instance(module: linen.Module | type[linen.Module]) -> linen.Module:
    if not isinstance(module, type):
        return module
    missing = [
        f.name
        for f in dataclasses.fields(module)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ValueError(
            f"from_linen: got the class {module.__name__}, whose fields {', '.join(missing)} have no default; expected "
            f"a module. Pass from_linen({module.__name__}({missing[0]}=…))."
        )
    return module()


def _streams(key: Array) -> dict[str, Array]:
    return {name: jax.random.fold_in(key, i) for i, name in enumerate(_STREAMS)}


def _call(module: linen.Module, inputs: PyTree, *, train: bool, key: Array | None) -> _Call:
    """The arguments of a module's call: its inputs, and what it asks to be told."""
    _, first, *others = inspect.signature(type(module).__call__).parameters.values()
    own = jax.random.fold_in(jax.random.key(0) if key is None else key, len(_STREAMS))
    told: dict[str, Any] = {"train": train, "training": train, "deterministic": not train}
    by_name = [p for p in others if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    for p in by_name:  # a `key` with a default may be another thing, such as attention's
        if p.name == "rng" or p.name.endswith("_rng") or (p.name == "key" and p.default is p.empty):
            told[p.name] = own
    told = {p.name: told[p.name] for p in by_name if p.name in told}
    return _Call((), {first.name: inputs, **told}) if first.kind is first.KEYWORD_ONLY else _Call((inputs,), told)


class _Call(NamedTuple):
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def _same(after: PyTree, before: PyTree) -> PyTree:
    """The variables after a call; what a call adds to, as `sow` does, stays as it was."""
    return after if jax.tree.structure(after) == jax.tree.structure(before) else before


def _split(variables: Mapping[str, PyTree]) -> tuple[PyTree, PyTree]:
    return variables.get("params", {}), {name: tree for name, tree in variables.items() if name != "params"}
