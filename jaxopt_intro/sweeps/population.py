"""A tile: W lanes trained side by side by one compiled program, each as if it were alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_intro import trees
from jaxopt_intro.regularizers.stopping import EarlyStopping
from jaxopt_intro.training import TrainInfo, TrainState
from jaxopt_intro.typing import Array, Batch, Hparams, PyTree, Scalar, Training

AVERAGE = "average_"


class Best(NamedTuple):
    """A lane's best validation so far, and the weights that had it."""

    score: Array
    epoch: Array
    params: PyTree
    model_state: PyTree


class Lane(NamedTuple):
    """What one lane carries; a tile is the same with a leading axis of length W.

    Attributes:
        state: The training's state. It is of no use any more once the lane has failed or stopped: the lane computes on
            beside its neighbours, since a choice in each step would cost passes over all parameters.
        failed_at: The step, counted from 1, whose loss or update was not finite; 0 while there is none.
        stopped_at: The epoch after which early stopping ended the lane; 0 while it goes on.
        best: The best validation so far.
        last: Where there is early stopping, parameters and model state of the lane's last epoch, and () otherwise: then
            those of the state are.
        waiting: What early stopping remembers.
    """

    state: TrainState
    failed_at: Array
    stopped_at: Array
    best: Best
    last: PyTree
    waiting: PyTree


class Tile(NamedTuple):
    """The compiled functions of a tile of a fixed width.

    Attributes:
        init: `(seeds [W], hparams) -> Lane`.
        segment: `(lanes, hparams, data, indices [steps, batch]) -> (lanes, totals)`: trains; `totals` holds each
            lane's sums over its finite steps, and their number, `steps`.
        validate: `(lanes, hparams, data, train, epoch) -> (lanes, metrics)`: measures, keeps the best, and stops; among
            the metrics are `failed_at` and `stopped_at`, and those of the average of the parameters, where there is
            one, are called `average_accuracy` and the like.
    """

    init: Callable[..., Lane]
    segment: Callable[..., tuple[Lane, dict[str, Array]]]
    validate: Callable[..., tuple[Lane, dict[str, Array]]]


def make_tile(
    training: Training,
    evaluate: Callable[[TrainState, Batch, Hparams], dict[str, Scalar]],
    *,
    width: int,
    objective: str,
    direction: str,
    stopping: Callable[[Hparams], EarlyStopping] | None = None,
    average: Callable[[TrainState, Batch, Hparams], TrainState | None] | None = None,
) -> Tile:
    """Makes the functions of a tile; the caller compiles them.

    All lanes see the same batches, so the gather is outside the `vmap` and the first layer of all members is one
    matrix product. Whatever a lane computes, it computes from its own state, numbers and seed alone.

    Args:
        training: The training of one member.
        evaluate: `(state, data, hparams) -> metrics` of one member.
        width: The number of lanes, W.
        objective: The name among the metrics that decides which epoch is best; of one of the average, such as
            `average_accuracy`, it is the average that is kept.
        direction: "max" or "min".
        stopping: `hparams -> early stopping` of one member; it sees the objective after each validation.
        average: `(state, train, hparams) -> state` with the average of the parameters, or None where there is none.

    Returns:
        The functions.
    """
    sign = 1.0 if direction == "max" else -1.0

    def init_lane(seed: Array, hparams: Hparams) -> Lane:
        state = training.init(jax.random.key(seed), hparams)
        best = Best(jnp.float32(-jnp.inf), jnp.int32(0), state.params, state.model_state)
        last, waiting = ((state.params, state.model_state), stopping(hparams).init()) if stopping else ((), ())
        return Lane(state, jnp.int32(0), jnp.int32(0), best, last, waiting)

    def step_lane(carry: Any, batch: Batch, hparams: Hparams) -> Any:
        state, failed_at, stopped_at, totals = carry
        new, info = training.step(state, batch, hparams)
        alive = (failed_at == 0) & (stopped_at == 0)
        ok = alive & jnp.isfinite(info.loss + info.penalty) & jnp.isfinite(info.update_norm)
        failed_at = jnp.where(alive & ~ok, state.step + 1, failed_at)
        values = {**_flat(info), "steps": jnp.float32(1)}
        totals = {name: totals[name] + jnp.where(ok, value, 0.0) for name, value in values.items()}
        return new, failed_at, stopped_at, totals

    def segment(lanes: Lane, hparams: Hparams, data: Batch, indices: Array) -> tuple[Lane, dict[str, Array]]:
        steps = over_lanes(step_lane, width, (0, None, 0))

        def body(carry: Any, rows: Array) -> tuple[Any, None]:
            batch = jax.tree.map(lambda x: jnp.take(x, rows, axis=0, mode="clip"), data)
            return steps(carry, batch, hparams), None

        batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct((indices.shape[1], *x.shape[1:]), x.dtype), data)
        one = jax.eval_shape(lambda t: trees.member(t, 0), (lanes.state, hparams))
        info = jax.eval_shape(training.step, one[0], batch, one[1])[1]
        sums = {**_flat(info), "steps": jax.ShapeDtypeStruct((), "float32")}
        zeros = {name: jnp.zeros(width, jnp.promote_types(x.dtype, jnp.float32)) for name, x in sums.items()}
        carry = lanes.state, lanes.failed_at, lanes.stopped_at, zeros
        (state, failed_at, _, totals), _ = jax.lax.scan(body, carry, indices)
        return lanes._replace(state=state, failed_at=failed_at), totals

    def validate_lane(lane: Lane, data: Batch, train: Batch, epoch: Array, hparams: Hparams) -> Any:
        metrics, kept = evaluate(lane.state, data, hparams), lane.state
        averaged = average(lane.state, train, hparams) if average else None
        if averaged is not None:
            metrics |= {AVERAGE + name: value for name, value in evaluate(averaged, data, hparams).items()}
            kept = averaged if objective.startswith(AVERAGE) else kept
        score = sign * metrics[objective]
        alive = (lane.failed_at == 0) & (lane.stopped_at == 0)
        here = Best(score, epoch, kept.params, kept.model_state)
        lane = lane._replace(best=trees.where(alive & (score > lane.best.score), here, lane.best))
        if stopping:
            waiting, stop = stopping(hparams).update(lane.waiting, -score)
            stopped_at = jnp.where(alive & stop, epoch, lane.stopped_at)
            last = trees.where(alive, (lane.state.params, lane.state.model_state), lane.last)
            waiting = trees.where(alive, waiting, lane.waiting)
            lane = lane._replace(last=last, waiting=waiting, stopped_at=stopped_at)
        return lane, {**metrics, "failed_at": lane.failed_at, "stopped_at": lane.stopped_at}

    def validate(lanes: Lane, hparams: Hparams, data: Batch, train: Batch, epoch: Array) -> Any:
        return over_lanes(validate_lane, width, (0, None, None, None, 0))(lanes, data, train, epoch, hparams)

    return Tile(over_lanes(init_lane, width, (0, 0)), segment, validate)


def stack_hparams(hparams: Sequence[Hparams]) -> dict[str, np.ndarray]:
    """Returns the members' numbers as one float32 array a name.

    Examples:
        >>> stack_hparams([{"l2": 0.5}, {"l2": 2}])["l2"].tolist()
        [0.5, 2.0]
    """
    return {name: np.array([h[name] for h in hparams], np.float32) for name in hparams[0]}


def _flat(info: TrainInfo) -> dict[str, Array]:
    scalars = {name: getattr(info, name) for name in ("loss", "penalty", "grad_norm", "update_norm")}
    return {**scalars, **info.metrics}


def over_lanes(function: Callable[..., Any], width: int, axes: tuple[int | None, ...]) -> Callable[..., Any]:
    """Returns a function of one member as one of a tile.

    It is `vmap`; one lane runs as the plain function, which compilers know best.

    Args:
        function: Of one member.
        width: The number of lanes.
        axes: For each argument 0 if it has lanes, None if all share it.
    """
    if width > 1:
        return jax.vmap(function, axes)

    def alone(*args: Any) -> Any:
        squeezed = [a if axis is None else trees.member(a, 0) for a, axis in zip(args, axes, strict=True)]
        return jax.tree.map(lambda x: jnp.expand_dims(x, 0), function(*squeezed))

    return alone
