"""The state of a training as it would be at the average of its parameters, to measure beside the raw one."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxopt_intro import routing
from jaxopt_intro.optimizers.averaged import averaged_params, averaging_states
from jaxopt_intro.training.making import TrainState
from jaxopt_intro.training.parts import parts_of
from jaxopt_intro.typing import Array, Batch, Hparams, Model, PyTree

STATISTICS_BATCHES = 200


def averaged(
    model: Model,
    state: TrainState,
    train: Batch,
    hparams: Hparams,
    *,
    prepare: Callable[[PyTree], PyTree] | None = None,
    batch_size: int = 128,
) -> TrainState | None:
    """Returns a training's state with the average of the parameters that its optimizer keeps, or None.

    Running statistics, as of batch normalization, belong to the raw parameters; those of the average are computed anew:
    the model runs over the training split once, or over 200 batches of it, as in training but without augmentation,
    and starts from the raw ones. How much is left of these then is the statistics' own momentum to the number of
    batches.

    Args:
        model: The model.
        state: The state; its optimizer's holds an average where it is `asgd` or a `schedule_free` method, or wrapped
            in `ema` or `swa`.
        train: The training split.
        hparams: The hyperparameters of the training.
        prepare: As in `make_training`.
        batch_size: Examples in a batch of those that statistics are computed of.

    Returns:
        The state, or None where the optimizer keeps no average. Of several of the same parameters it is the outermost.

    References:
        Izmailov et al. 2018, Averaging weights leads to wider optima and better generalization, section 3.2.

    Examples:
        >>> import optax
        >>> from jaxopt_intro import losses, make_training, models
        >>> from jaxopt_intro.optimizers import wrappers
        >>> batch, model = (jnp.ones((4, 2)), jnp.array([0, 1, 0, 1])), models.linear(outputs=2)
        >>> made = make_training(
        ...     model, losses.softmax_cross_entropy, optax.sgd, example=batch, wrap=wrappers.swa)
        >>> state = made.init(jax.random.key(0), {"learning_rate": 0.1})
        >>> jax.tree.map(jnp.shape, averaged(model, state, batch, {}).params)
        {'dense': {'bias': (2,), 'kernel': (2, 2)}}
    """
    if not averaging_states(state.opt_state):
        return None
    params, model_state = averaged_params(state.opt_state, state.params, outermost=True), state.model_state
    if not jax.tree.leaves(model_state):
        return state._replace(params=params)
    parts = parts_of([("model", model)])
    (numbers,) = routing.deliver(parts, routing.known_routes(parts, hparams), hparams)
    count = len(jax.tree.leaves(train)[0])
    size = min(batch_size, count)
    batches = count // size
    # Every so-many-th row, so that a split sorted by class has all classes in each batch.
    rows = jnp.arange(batches * size).reshape(size, batches).T[:STATISTICS_BATCHES]

    def over(model_state: PyTree, rows: Array) -> tuple[PyTree, None]:
        inputs = jax.tree.map(lambda x: jnp.take(x, rows, axis=0, mode="clip"), train[0])
        inputs, key = (prepare or (lambda x: x))(inputs), jax.random.fold_in(state.key, rows[0])
        _, after = model.apply(params, model_state, inputs, train=True, key=key, hparams=numbers)
        return jax.tree.map(lambda new, old: new.astype(old.dtype), after, model_state), None

    model_state, _ = jax.lax.scan(over, model_state, rows)
    return state._replace(params=params, model_state=model_state)
