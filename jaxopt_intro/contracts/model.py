"""A model: pure functions, and a row of outputs for each example."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_intro.contracts.measuring import called, close, compiled, finite, of_numbers, skewed_sum
from jaxopt_intro.contracts.subject import (
    Checked,
    Subject,
    array_shape,
    asking,
    broken,
    cast,
    checked,
    kinds,
    piecewise_inside,
    short,
    words,
)
from jaxopt_intro.typing import Array, Model, PyTree


def check_model(
    model: Model,
    *,
    example: PyTree,
    numbers: Mapping[str, float] | None = None,
    positive: Collection[str] = (),
    outputs: int | None = None,
) -> Checked:
    """Checks a model: pure functions, one output row for each example, contracts 1 to 3 for each hyperparameter.

    With `train=True`, gradients of the outputs by the parameters are finite, and not all of them are 0. A
    hyperparameter that the documentation of the model's factory calls piecewise needs only a finite derivative.

    Args:
        model: A pair of `init` and `apply`.
        example: A batch of inputs, two examples or more.
        numbers: A value for each hyperparameter, inside its range; None takes 0.1. None in place of a
            value leaves a number out, such as a width: its default is taken, and nothing asked of it.
        positive: Hyperparameters that are more than 0, such as a temperature: nothing is asked of them at 0.
        outputs: How many outputs an example has; None does not look.

    Returns:
        What was checked.

    Raises:
        Broken: The model breaks a contract.

    Examples:
        >>> import numpy as np
        >>> from jaxopt_intro import models
        >>> example = np.ones((4, 5))
        >>> check_model(models.mlp(outputs=2, widths=(3,)), example=example, outputs=2).contracts[0]
        ('traceable', 'dropout')
    """
    if not isinstance(model, Model):
        raise ValueError(
            f"check_model: got {model!r}, which is no Model; expected a pair of init and apply. Call its constructor, "
            "as in models.mlp(outputs=2), or pass models.from_nnx(Net)."
        )
    key = jax.random.key(3)

    def run(given: Mapping[str, Any], dtype: Any) -> Any:
        params, state = cast(model.init(key, example, dict(given)), dtype)
        inputs = cast(example, dtype)
        return model.apply(params, state, inputs, train=True, key=jax.random.key(7), hparams=dict(given))[0]

    given = dict.fromkeys(model.hyperparameters, 0.1) | dict(numbers or {})
    values = {name: value for name, value in given.items() if value is not None}
    invented = tuple(name for name in model.hyperparameters if name not in (numbers or {}))
    title, piecewise = f"model {model.name}", piecewise_inside(model.init)
    subject = Subject(title, run, values, piecewise, frozenset(positive), invented)
    usual, count = called(subject), len(jax.tree.leaves(example)[0])
    params, state = model.init(key, example, values)
    again = model.init(key, example, values)
    if not all(map(close, jax.tree.leaves((params, state)), jax.tree.leaves(again))):
        raise broken(subject, "pure", "two calls of init with one key differ. Take all randomness from the key")

    def outputs_of(inputs: PyTree) -> Any:
        with asking(subject, "callable", "with train=False and no key it", "Draw nothing there"):
            return model.apply(params, state, inputs, train=False, key=None, hparams=values)[0]

    rows, expected = outputs_of(example), f"({count}, {'...' if outputs is None else outputs})"
    shape = array_shape(subject, rows, f"outputs of shape {expected}", "Return one array")
    if shape[:1] != (count,) or (outputs is not None and shape != (count, outputs)):
        raise broken(
            subject, "shaped", f"got outputs of shape {shape} for {count} examples; expected {expected}. Keep the "
            "batch axis first",
        )  # fmt: skip
    one = outputs_of(jax.tree.map(lambda x: x[:1], example))
    if not close(rows[0], one[0], 1e-4):
        raise broken(
            subject, "shaped", f"the first example's outputs are {short(rows[0])} among {count} and {short(one[0])} "
            "alone, with train=False. Use no statistics of the batch there",
        )  # fmt: skip
    with asking(subject, "callable", "with params and inputs traced it", "Compute with jnp, and branch on no values"):
        trained = jax.eval_shape(
            lambda p, s, x, k: model.apply(p, s, x, train=True, key=k, hparams=values)[1], params, state, example, key
        )
    if kinds(state) != kinds(trained):
        raise broken(
            subject, "steady", f"its model_state is {words(state)} before and {words(trained)} after a training call, "
            "so no scan can carry it. Keep its structure, shapes and dtypes",
        )  # fmt: skip
    passed = of_numbers(subject, usual)

    def total(params: PyTree) -> Array:
        wide = cast(params, jnp.float32)
        return skewed_sum(model.apply(wide, state, example, train=True, key=jax.random.key(7), hparams=values)[0])

    gradients = compiled(jax.grad(total, allow_int=True))(params)
    gradients = [g for g in jax.tree.leaves(gradients) if jnp.issubdtype(g.dtype, jnp.floating)]
    finite(subject, gradients, "by the parameters, with train=True,")
    if gradients and not any(np.any(g) for g in gradients):
        raise broken(
            subject, "differentiable", "its gradients by the parameters, with train=True, are all 0, so it cannot "
            "learn. Compute the outputs with params, and stop no gradient",
        )  # fmt: skip
    return checked(subject, passed, "pure", "shaped", "steady", "finite gradients")
