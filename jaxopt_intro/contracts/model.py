"""A model: pure functions, and a row of outputs for each example."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from jaxopt_intro.contracts.measuring import close, of_numbers
from jaxopt_intro.contracts.subject import (
    Checked,
    Subject,
    broken,
    cast,
    checked,
    kinds,
    short,
    words,
)
from jaxopt_intro.typing import Model, PyTree


def check_model(
    model: Model, *, example: PyTree, numbers: Mapping[str, float] | None = None, outputs: int | None = None
) -> Checked:
    """Checks a model: pure functions, one output row for each example, contracts 1 to 3 for each hyperparameter.

    Args:
        model: A pair of `init` and `apply`.
        example: A batch of inputs, two examples or more.
        numbers: A value for each hyperparameter, inside its range; None takes 0.1.
        outputs: How many outputs an example has; None does not look.

    Returns:
        What was checked.

    Raises:
        Broken: The model breaks a contract.

    Examples:
        >>> from jaxopt_intro import models
        >>> check_model(models.mlp(outputs=2, widths=(3,)), example=jnp.ones((4, 5)), outputs=2).contracts[0]
        ('traceable', 'dropout')
    """
    key = jax.random.key(3)

    def run(given: Mapping[str, Any], dtype: Any) -> Any:
        params, state = cast(model.init(key, example, dict(given)), dtype)
        inputs = cast(example, dtype)
        return model.apply(params, state, inputs, train=True, key=jax.random.key(7), hparams=dict(given))[0]

    values = dict.fromkeys(model.hyperparameters, 0.1) | dict(numbers or {})
    subject = Subject(f"model {model.name}", run, values)
    params, state = jax.jit(lambda: model.init(key, example, values))()
    again = jax.jit(lambda: model.init(key, example, values))()  # another function: traced and compiled anew
    if not all(map(close, jax.tree.leaves((params, state)), jax.tree.leaves(again))):
        raise broken(subject, 4, "pure", "two calls of init with one key differ. Take all randomness from the key")
    count = len(jax.tree.leaves(example)[0])
    rows, _ = model.apply(params, state, example, train=False, key=None, hparams=values)
    if rows.shape[:1] != (count,) or (outputs is not None and rows.shape != (count, outputs)):
        raise broken(
            subject, 4, "shaped", f"got outputs of shape {rows.shape} for {count} examples; expected "
            f"({count}, {'...' if outputs is None else outputs}). Keep the batch axis first",
        )  # fmt: skip
    one, _ = model.apply(params, state, jax.tree.map(lambda x: x[:1], example), train=False, key=None, hparams=values)
    if not close(rows[0], one[0], 1e-4):
        raise broken(
            subject, 4, "shaped", f"the first example's outputs are {short(rows[0])} among {count} and "
            f"{short(one[0])} alone, with train=False. Use no statistics of the batch there",
        )  # fmt: skip
    trained = jax.eval_shape(lambda: model.apply(params, state, example, train=True, key=key, hparams=values)[1])
    if (jax.tree.structure(state), kinds(state)) != (jax.tree.structure(trained), kinds(trained)):
        raise broken(
            subject, 2, "steady", f"its model_state is {words(state)} before and {words(trained)} after a training "
            "call, so no scan can carry it. Keep its structure, shapes and dtypes",
        )  # fmt: skip
    return checked(subject, of_numbers(subject), "pure", "shaped", "steady")
