"""Training as two pure functions, and evaluation that counts every example exactly once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from jaxopt_intro import domains, optimizers, routing, trees
from jaxopt_intro.augmentations import of_mixed
from jaxopt_intro.losses import reduction
from jaxopt_intro.optimizers.wrappers import length_factors
from jaxopt_intro.training import returned, scheduling
from jaxopt_intro.training.parts import check_functions, check_names, parts_of, several, takes_targets
from jaxopt_intro.training.saving import in_pieces, recomputing
from jaxopt_intro.typing import Array, Batch, Hparams, Model, PyTree, Scalar, Training

Schedule: TypeAlias = Callable[..., Any] | Sequence[Callable[..., Any]]


class TrainState(NamedTuple):
    """What a training carries from step to step.

    Attributes:
        step: Steps done, int32.
        key: The member's own key; a step's noise comes from it and the step's number.
        params: The model's parameters.
        model_state: The model's other variables, such as running statistics.
        opt_state: The optimizer's state.
    """

    step: Array
    key: Array
    params: PyTree
    model_state: PyTree
    opt_state: PyTree


class TrainInfo(NamedTuple):
    """What a step tells; it is never read back.

    Attributes:
        loss: The mean loss of the batch, without penalties.
        penalty: The sum of the penalties.
        grad_norm: Euclidean norm of the gradient of both together.
        update_norm: Euclidean norm of the update, proximal step and projections included.
        metrics: The mean of each metric over the batch.
    """

    loss: Scalar
    penalty: Scalar
    grad_norm: Scalar
    update_norm: Scalar
    metrics: dict[str, Scalar]


def make_training(
    model: Model,
    loss: Callable[..., Array],
    make_optimizer: Callable[..., optax.GradientTransformation],
    *,
    example: Batch,
    penalty: Callable[..., Array] | Sequence[Callable[..., Array]] = (),
    prepare: Callable[[PyTree], PyTree] | None = None,
    augment: Callable[..., Any] | Sequence[Callable[..., Any]] = (),
    schedule: Schedule | Mapping[str, Schedule] = (),
    wrap: Callable[..., optax.GradientTransformation] | Sequence[Callable[..., optax.GradientTransformation]] = (),
    proximal: Callable[..., PyTree] | None = None,
    after_update: Callable[..., PyTree] | Sequence[Callable[..., PyTree]] = (),
    metrics: Mapping[str, Callable[..., Array]] | None = None,
    workers: Callable[..., Training] | None = None,
    recompute: bool = False,
    pieces: int = 1,
) -> Training:
    """Makes the two functions of a training: `init(key, hparams)` and `step(state, batch, hparams)`.

    Both are pure, so they compose with `jit`, `vmap`, `scan` and `grad`. `hparams` is one flat dict; each name goes
    to the part that takes it, as `jaxopt_intro.routing` says, and every value may be traced.

    Args:
        model: A pair of `init` and `apply`.
        loss: `(outputs, targets, *, ...) -> [batch]`: a value for each example, or several.
        make_optimizer: `(**numbers) -> optax.GradientTransformation`; called inside the traced functions.
        example: A batch; its inputs' shapes are the model's.
        penalty: One or several `(params, *, ...) -> scalar`. One that takes `factors` gets `trees.kernels(params)`. One
            that takes `function` and `inputs`, such as `regularizers.gradient_penalty`, gets the loss of each example
            as a function of the batch's prepared and augmented inputs, and these inputs.
        prepare: `inputs -> inputs`, such as a cast and a normalization; the same for all members.
        augment: One or several `(inputs, ..., *, key) -> inputs`, in order, after `prepare`, at training steps only.
            One that takes `targets` is `(inputs, targets, ..., *, key) -> (inputs, targets)`. All their numbers are
            hyperparameters, positional ones too; each has a key of its own.
        schedule: One or several `(**numbers) -> (step -> factor)`; their product multiplies the optimizer's learning
            rate, and steps count from 0. An optimizer that takes `schedule_factor` is told it too. Or a mapping from
            names of numbers to one or several each: `{"learning_rate": cosine, "b1": linear, "l2.strength": [...]}`
            multiplies each of them, of whatever part, in training steps; an evaluation takes the numbers as they
            are. Those of the schedules of `b1` are called `"schedule.b1.cosine.length"`,
            `"schedule.b1.length"`, or shorter where one part alone takes them. The range of a number holds before it
            is multiplied; a product outside of it, which has no value to check where it is compiled, is never refused.
        wrap: One or several `(inner, **numbers) -> optimizer`, such as `wrappers.lookahead`, the first innermost.
            Averages (`ema`, `swa`) come after those that change updates, such as `lookahead`.
        proximal: `(params, step, *, ...) -> params`, after each update. Its step is as long as the optimizer's own
            under a constant gradient of 1 (`optimizers.length_of`), so that a training comes to rest where loss and
            penalty together do. For adam and its like that is a step for each element, which `group_lasso` and
            `nuclear` do not take. Of an optimizer that is not in `optimizers.METHODS` no length is known, and the
            learning rate times the schedule stands for it. Under `accumulate` it is taken once an update; where a
            wrapper changes gradients at rest, as `sam` does, it rests elsewhere.
        after_update: One or several `(params, *, ...) -> params`, in order, after each update: projections. They and
            `proximal` get `trees.kernels(params)` if they take `factors`.
        metrics: `(outputs, targets) -> [batch]` by name, measured on each training batch.
        workers: `(training, *, ...) -> training`, such as `training.workers.delayed`; its numbers are hyperparameters.
        recompute: Keeps only products and convolutions for the gradient and computes the rest again, in less memory.
        pieces: Computes the gradient of the batch in so many equal pieces, one after the other, in less memory; for
            models without batch statistics and losses that are means over examples.

    Returns:
        The training. Its step also takes `at`: other parameters of the same form, where the gradient is read in place
        of the state's. The update, proximal step and projections act on the state's all the same, and `value_fn` tells
        the optimizer of the loss around `at` as if that were around the state's parameters.

    Raises:
        ValueError: No part takes a scheduled number, or the optimizer no learning rate, though a schedule or proximal
            step needs it. At the first call: no part takes a name in `hparams`, or a part returned a wrong shape.

    Examples:
        >>> from jaxopt_intro import losses, models, optimizers
        >>> batch = jnp.ones((4, 2)), jnp.array([0, 1, 0, 1])
        >>> training = make_training(
        ...     models.linear(outputs=2), losses.softmax_cross_entropy, optimizers.sgd, example=batch)
        >>> hparams = {"learning_rate": jnp.array([0.1, 0.2, 0.4])}
        >>> keys = jax.random.split(jax.random.key(0), 3)
        >>> state = jax.vmap(training.init)(keys, hparams)
        >>> state, info = jax.vmap(training.step, (0, None, 0))(state, batch, hparams)
        >>> info.loss.shape
        (3,)
    """
    schedules = scheduling.schedules_of(schedule)
    check_functions(
        loss=loss, make_optimizer=make_optimizer, penalty=penalty, augment=augment, wrap=wrap, proximal=proximal,
        schedule=[f for own in schedules.values() for f in own], after_update=after_update, workers=workers,
    )  # fmt: skip
    functions = {
        "model": [model],
        "loss": [loss],
        "optimizer": [make_optimizer],
        "wrap": several(wrap),
        **{scheduling.schedule_role(number): own for number, own in schedules.items()},
        "proximal": several(proximal),
        "after_update": several(after_update),
        "penalty": several(penalty),
        "augment": several(augment),
        "workers": several(workers),
    }
    for role, own in functions.items():
        check_names(role, own if role != "model" else ())
    pairs = [(role, function) for role, own in functions.items() for function in own]
    parts, prepare, metrics = parts_of(pairs), prepare or (lambda inputs: inputs), metrics or {}
    scheduled = scheduling.scheduled_routes(parts, list(schedules))
    if functions["proximal"]:
        scheduling.check_learning_rate(parts[2], "proximal")
    scheduling.check_traceable(pairs, scheduled)
    rate_name = scheduling.name_of_rate(scheduled, parts)  # as it is spelled here
    length_of = optimizers.length_of(make_optimizer) if functions["proximal"] else None

    def unscheduled(hparams: Hparams) -> list[dict[str, Any]]:
        return routing.deliver(parts, routing.route(parts, hparams), hparams)

    def by_role(delivered: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
        each = iter(delivered)
        return {role: [next(each) for _ in own] for role, own in functions.items()}

    def given(hparams: Hparams, step: Array) -> tuple[dict[str, list[dict[str, Any]]], dict[str, Any]]:
        """For each role the numbers of each of its functions at a step, and the factors that are in them."""
        delivered = unscheduled(hparams)
        factors = scheduling.factors_at(functions, by_role(delivered), step, scheduled)
        return by_role(scheduling.multiplied(pairs, delivered, factors, scheduled)), factors

    def optimizer_of(numbers: dict[str, list[dict[str, Any]]], factors: dict[str, Any]) -> Any:
        """The optimizer at a step; it is made anew in each."""
        told = {}
        if rate_name in factors and "schedule_factor" in routing.parameters(make_optimizer):
            told["schedule_factor"] = factors[rate_name]
        made = returned.optimizer("optimizer", make_optimizer, make_optimizer(**numbers["optimizer"][0], **told))
        for wrapper, own in zip(functions["wrap"], numbers["wrap"], strict=True):
            made = returned.optimizer("wrapper", wrapper, wrapper(made, **own))
        return optax.with_extra_args_support(made)

    def init(key: Array, hparams: Hparams) -> TrainState:
        step = jnp.zeros((), jnp.int32)
        first, own = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
        params, model_state = model.init(first, prepare(example[0]), unscheduled(hparams)[0])
        return TrainState(step, own, params, model_state, optimizer_of(*given(hparams, step)).init(params))

    def objective(params: PyTree, model_state: PyTree, batch: Batch, key: Array, numbers: dict[str, Any]) -> Any:

        def values_at(inputs: PyTree) -> tuple[Array, tuple[PyTree, PyTree]]:
            outputs, after = model.apply(params, model_state, inputs, train=True, key=key, hparams=numbers["model"][0])
            values = of_mixed(lambda targets: loss_values(loss, outputs, targets, numbers["loss"][0]), batch[1])
            return values, (outputs, after)

        def losses_at(inputs: PyTree) -> Array:
            return reduction.per_example(values_at(inputs)[0])

        values, (outputs, model_state_after) = values_at(batch[0])
        data_loss = reduction.mean(values)
        strengths = zip(functions["penalty"], numbers["penalty"], strict=True)
        penalties = (_penalty_value(function, params, own, losses_at, batch[0]) for function, own in strengths)
        total = sum(penalties, jnp.zeros(()))
        measured = {n: reduction.mean(of_mixed(_measure(f, outputs), batch[1])) for n, f in metrics.items()}
        return data_loss + total, (model_state_after, data_loss, total, measured)

    def step(state: TrainState, batch: Batch, hparams: Hparams, *, at: Any = None) -> tuple[TrainState, TrainInfo]:
        read = state.params if at is None else at
        (numbers, factors), key = given(hparams, state.step), jax.random.fold_in(state.key, state.step)
        batch = prepare(batch[0]), batch[1]
        for i, (function, own) in enumerate(zip(functions["augment"], numbers["augment"], strict=True), 1):
            batch = _augmented(function, batch, own, jax.random.fold_in(key, i))
        arguments = state.model_state, batch, jax.random.fold_in(key, 0), numbers
        (value, aux), grads = jax.value_and_grad(objective, has_aux=True)(read, *arguments)
        model_state, data_loss, total, measured = aux
        optimizer = optimizer_of(numbers, factors)
        extra = {
            "value": value,
            "grad": grads,
            # optax's line searches hand on the key, and a masked method asks with a part of the parameters
            "value_fn": lambda p, key=None: objective(_beside(read, p, state.params), *arguments)[0],
            "key": jax.random.fold_in(key, len(functions["augment"]) + 1),
        }
        name, form = routing.own_name(make_optimizer), "(updates, state)"
        answer = optimizer.update(grads, state.opt_state, state.params, **extra)
        updates, opt_state = returned.pair("optimizer", name, "update", answer, form)
        returned.like(f"optimizer {name}: its updates", updates, state.params, of="the parameters")
        params: Any = optax.apply_updates(state.params, updates)
        if length_of is not None:
            (own,) = numbers["optimizer"]
            rate = scheduling.value_of("optimizer", make_optimizer, scheduling.RATE, own)
            length = length_factors(opt_state, length_of(opt_state, **{**own, scheduling.RATE: rate}))
            for function, own in zip(functions["proximal"], numbers["proximal"], strict=True):
                params = function(params, length, **_factors(function, params), **own)
                returned.like(f"proximal {routing.own_name(function)}", params, state.params, of="the parameters")
        for function, own in zip(functions["after_update"], numbers["after_update"], strict=True):
            params = function(params, **_factors(function, params), **own)
            returned.like(f"after_update {routing.own_name(function)}", params, state.params, of="the parameters")
        if functions["proximal"] or functions["after_update"]:
            updates = jax.tree.map(jnp.subtract, params, state.params)
        info = TrainInfo(data_loss, total, trees.norm(grads), trees.norm(updates), measured)
        return TrainState(state.step + 1, state.key, params, model_state, opt_state), info

    if pieces > 1:
        objective = in_pieces(objective, pieces)
    elif recompute:
        objective = recomputing(objective)
    free = domains.ranges_left_out({route.argument for route in scheduled.values()})
    made = Training(free(init), free(step))
    if workers is None:
        return made

    def simulated(hparams: Hparams, step: Array) -> Training:
        return workers(made, **given(hparams, step)[0]["workers"][0])

    return Training(
        free(lambda key, hparams: simulated(hparams, jnp.zeros((), jnp.int32)).init(key, hparams)),
        free(lambda state, batch, hparams: simulated(hparams, state.step).step(state, batch, hparams)),
    )


def evaluate(
    model: Model,
    state: TrainState,
    data: Batch,
    hparams: Hparams,
    *,
    metrics: Mapping[str, Callable[..., Array]],
    loss: Callable[..., Array] | None = None,
    prepare: Callable[[PyTree], PyTree] | None = None,
    batch_size: int = 1024,
) -> dict[str, Scalar]:
    """Returns the mean of each metric over all examples of a split, each counted exactly once.

    Args:
        model: The model.
        state: Anything with `params` and `model_state`.
        data: Inputs and targets.
        hparams: The hyperparameters of the training; those of other parts are left alone.
        metrics: `(outputs, targets) -> [batch]` by name.
        loss: If given, its mean is measured too, as "loss". One that takes `present` is told which examples
            are there, and do not only fill up a batch.
        prepare: As in `make_training`.
        batch_size: At most so many examples at a time; the result depends on it only by rounding, except for a loss
            whose value of an example depends on its batch.

    Returns:
        A scalar for each metric. Under `vmap` over `state` and `hparams`, one for each member.

    Raises:
        ValueError: There are no examples, or a metric returned a wrong shape.

    Examples:
        >>> from jaxopt_intro import metrics, models
        >>> data = jnp.ones((5, 2)), jnp.array([0, 0, 0, 1, 1])
        >>> model = models.linear(outputs=2)
        >>> params, model_state = model.init(jax.random.key(0), data[0], {})
        >>> state = TrainState(jnp.zeros(()), jax.random.key(0), params, model_state, ())
        >>> evaluate(model, state, data, {}, metrics={"accuracy": metrics.accuracy}, batch_size=2)["accuracy"].tolist()
        0.6000000238418579
    """
    count = jax.tree.leaves(data)[0].shape[0]
    if count == 0:
        raise ValueError("evaluate: got no examples; expected at least one.")
    parts = parts_of([("model", model), *([] if loss is None else [("loss", loss)])])
    for_model, *for_loss = routing.deliver(parts, routing.known_routes(parts, hparams), hparams)
    prepare = prepare or (lambda inputs: inputs)

    def measure(batch: Batch, weights: Array) -> dict[str, Scalar]:
        outputs, _ = model.apply(
            state.params, state.model_state, prepare(batch[0]),
            train=False, key=None, hparams=for_model,
        )  # fmt: skip
        values = {name: _measure(f, outputs)(batch[1]) for name, f in metrics.items()}
        if loss is not None:
            neighbours = {"present": weights > 0} if "present" in routing.parameters(loss) else {}
            values["loss"] = loss_values(loss, outputs, batch[1], {**for_loss[0], **neighbours})
        return {name: reduction.sum(value, weights=weights) for name, value in values.items()}

    batches = -(-count // batch_size)
    size = -(-count // batches)
    rows = jnp.arange(batches * size).reshape(batches, size)

    def body(totals: dict[str, Scalar], row: Array) -> tuple[dict[str, Scalar], None]:
        batch = jax.tree.map(lambda x: jnp.take(x, row, axis=0, mode="clip"), data)
        sums = measure(batch, (row < count).astype(jnp.float32))
        return jax.tree.map(jnp.add, totals, sums), None

    shapes = jax.eval_shape(measure, jax.tree.map(lambda x: x[:1], data), jnp.ones(1))
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    totals, _ = jax.lax.scan(body, zeros, rows)
    return {name: total / count for name, total in totals.items()}


def loss_values(loss: Callable[..., Array], outputs: PyTree, targets: PyTree, numbers: Mapping[str, Any]) -> Array:
    """Calls a loss and checks that it returned a value for each example.

    Raises:
        ValueError: It did not.

    Examples:
        >>> loss_values(lambda p, t: jnp.mean(p - t), jnp.ones(3), jnp.ones(3), {})
        Traceback (most recent call last):
        ...
        ValueError: loss <lambda>: got an array of shape () for a batch of 3; ...
    """
    values = _checked("loss", loss, loss(outputs, targets, **numbers), targets)
    forms = [x.shape for x in (outputs, targets) if hasattr(x, "shape")]
    if len(forms) == 2 and values.ndim > 1 and values.shape not in forms:
        raise ValueError(
            f"loss {routing.own_name(loss)}: got an array of shape {values.shape} from outputs of shape {forms[0]} and "
            f"targets of shape {forms[1]}; expected shape {values.shape[:1]}, or that of either. They were broadcast: "
            "give outputs and targets one shape."
        )
    return values


def _checked(role: str, function: Callable[..., Any], values: Any, targets: PyTree) -> Array:
    batch = jax.tree.leaves(targets)[0].shape[0]
    shape = getattr(values, "shape", None)
    if not shape or shape[0] != batch:
        got = f"an array of shape {shape}" if shape is not None else f"a {type(values).__name__}"
        raise ValueError(
            f"{role} {routing.own_name(function)}: got {got} for a batch of {batch}; expected one value for each "
            f"example, shape ({batch},) or ({batch}, ...). Return the values before their mean."
        )
    return returned.real(f"{role} {routing.own_name(function)}", values, floats=role == "loss")


def _measure(metric: Callable[..., Any], outputs: PyTree) -> Callable[[PyTree], Array]:
    return lambda targets: _checked("metric", metric, metric(outputs, targets), targets)


def _beside(read: PyTree, params: PyTree, current: PyTree) -> PyTree:
    """As far from `read` as parameters are from the current ones; what a mask left out of them is the current."""

    def masked(leaf: Any) -> bool:
        return isinstance(leaf, optax.MaskedNode)

    def moved(p: Array, r: Array, c: Array) -> Array:
        return (trees.at_least_float32(p) + (trees.at_least_float32(r) - trees.at_least_float32(c))).astype(p.dtype)

    whole = jax.tree.map(lambda p, c: c if masked(p) else p, params, current, is_leaf=masked)
    return whole if read is current else jax.tree.map(moved, whole, read, current)


def _factors(function: Callable[..., Any], params: PyTree) -> dict[str, PyTree]:
    """Kernels alone count, unless the function has been given factors of its own."""
    takes = routing.parameters(function)
    free = "factors" in takes and takes["factors"].default in (None, inspect.Parameter.empty)
    return {"factors": trees.kernels(params)} if free else {}


def _augmented(function: Callable[..., Any], batch: Batch, numbers: Mapping[str, Any], key: Array) -> Batch:
    what = f"augmentation {routing.own_name(function)}"
    if takes_targets(function):
        answer = function(*batch, **numbers, key=key)
        inputs, targets = returned.pair("augmentation", routing.own_name(function), "call", answer, "(inputs, targets)")
    else:
        inputs, targets = function(batch[0], **numbers, key=key), batch[1]
    return returned.like(what, inputs, batch[0], of="the inputs"), targets


def _takes_inputs(penalty: Callable[..., Any]) -> bool:
    return {"function", "inputs"} <= set(routing.parameters(penalty))


def _penalty_value(
    function: Callable[..., Array], params: PyTree, numbers: Mapping[str, Any], losses_at: Callable, inputs: PyTree
) -> Scalar:
    if _takes_inputs(function):
        value = function(losses_at, inputs, **numbers)
    else:
        value = function(params, **_factors(function, params), **numbers)
    if not isinstance(value, int | float) and getattr(value, "shape", None) != ():
        got = f"an array of shape {value.shape}" if hasattr(value, "shape") else f"a {type(value).__name__}"
        raise ValueError(
            f"penalty {routing.own_name(function)}: got {got}; expected a scalar. Sum over the parameters."
        )
    return returned.real(f"penalty {routing.own_name(function)}", value, floats=False)
