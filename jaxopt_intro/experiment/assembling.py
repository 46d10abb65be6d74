"""Names to functions: an experiment's parts, put together."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxopt_intro import distributions, domains, routing, training
from jaxopt_intro.augmentations import AUGMENTATIONS
from jaxopt_intro.checks import known_name
from jaxopt_intro.data import Dataset, Info
from jaxopt_intro.domains import Interval
from jaxopt_intro.experiment.asking import PART_FIELDS, Experiment
from jaxopt_intro.experiment.constructing import model_constructor, outputs_for_each_target
from jaxopt_intro.losses import BATCH_LOSSES, LOSSES
from jaxopt_intro.metrics import METRICS
from jaxopt_intro.models import from_constructor, with_compute_dtype
from jaxopt_intro.optimizers import METHODS
from jaxopt_intro.optimizers.wrappers import WRAPPERS, batches
from jaxopt_intro.regularizers import INPUT_PENALTIES, PENALTIES, PROJECTIONS, PROXIMAL, STOPPING, EarlyStopping
from jaxopt_intro.routing import Part
from jaxopt_intro.schedules import SCHEDULES
from jaxopt_intro.sweeps.job import Lighter
from jaxopt_intro.sweeps.population import AVERAGE
from jaxopt_intro.training import TrainState
from jaxopt_intro.training.workers import WORKERS
from jaxopt_intro.typing import Array, AtLeastOne, Model, PyTree, Training

SEVERAL = ("penalty", "augment", "schedule", "wrap", "after_update")
TABLES: dict[str, Mapping[str, Any]] = {
    "loss": {**LOSSES, **BATCH_LOSSES},
    "optimizer": {name: method.make for name, method in METHODS.items()},
    "wrap": WRAPPERS,
    "proximal": PROXIMAL,
    "after_update": PROJECTIONS,
    "penalty": {**PENALTIES, **INPUT_PENALTIES},
    "workers": WORKERS,
    "stopping": STOPPING,
}
RECOMPUTED = "only products and convolutions kept for the gradient, the rest computed again"
_EMBEDS = (*BATCH_LOSSES, *BATCH_LOSSES.values())


class Assembly(NamedTuple):
    """An experiment's functions.

    Attributes:
        training: The training of one member.
        evaluate: `(state, data, hparams) -> metrics` of one member.
        average: `(state, train, hparams) -> state` at the average of the parameters, or None where there is none.
        lighter: Ways to train in less memory, in the order in which to try them.
        model: The model.
        loss: The loss.
        prepare: `inputs -> inputs`: cast and normalization.
        parts: The parts, for the router.
        metrics: The metrics by name.
        stopping: `hparams -> early stopping` of one member, or None.
        workers: `(training, **numbers) -> training`, which `training` already has, or None.
    """

    training: Training
    evaluate: Callable[..., dict[str, Array]]
    average: Callable[..., TrainState | None]
    lighter: list[Lighter]
    model: Model
    loss: Callable[..., Array]
    prepare: Callable[[PyTree], PyTree]
    parts: list[Part]
    metrics: dict[str, Callable[..., Any]]
    stopping: Callable[[Mapping[str, Any]], EarlyStopping] | None
    workers: Callable[..., Training] | None


def assemble(
    experiment: Experiment,
    dataset: Dataset,
    options: Mapping[str, Any] | None = None,
    fixed: Mapping[str, Any] | None = None,
) -> Assembly:
    """Turns an experiment's names into functions and puts them together.

    Args:
        experiment: What is asked.
        dataset: Its data.
        options: Choices that are arguments of parts, such as `activation`.
        fixed: Numbers that are compiled into the program.

    Returns:
        The functions.

    Raises:
        ValueError: A name is unknown, or an option or number belongs to no part.
    """
    bound = _bound(experiment, dataset, options or {}, fixed)
    functions = [(role, _model(f, experiment) if role == "model" else f) for role, f in bound]
    schedules = training.schedules_of(experiment.schedule)
    roles: dict[str, list[Any]] = {role: [] for role in (*PART_FIELDS, *map(training.schedule_role, schedules))}
    for role, function in functions:
        roles[role].append(function)
    (model,), (loss,), (optimizer,) = roles["model"], roles["loss"], roles["optimizer"]
    metrics, prepare = _metrics(experiment, dataset.info), make_prepare(dataset.info)
    example, workers = jax.tree.map(lambda x: x[: min(2, len(x))], dataset.train), next(iter(roles["workers"]), None)
    make = functools.partial(
        training.make_training, model, loss, optimizer, example=example, prepare=prepare, metrics=metrics,
        penalty=roles["penalty"], augment=roles["augment"], proximal=next(iter(roles["proximal"]), None),
        after_update=roles["after_update"], wrap=roles["wrap"], workers=workers,
        schedule={number: roles[training.schedule_role(number)] for number in schedules},
    )  # fmt: skip
    init, step = make()
    parts = training.parts_of(functions)
    defaults = _scheduled_defaults(parts, schedules, bound[0][1])

    def of_training(hparams: Mapping[str, Any]) -> dict[str, Any]:
        routes = routing.known_routes(parts, hparams)
        others = {n: v for n, v in defaults.items() if routing.route(parts, [n])[n] not in routes.values()}
        elsewhere = [name for name, route in routes.items() if parts[route.index].role == "stopping"]
        return {**others, **{name: value for name, value in hparams.items() if name not in elsewhere}}

    def stopping(hparams: Mapping[str, Any]) -> EarlyStopping:
        numbers = routing.deliver(parts, routing.known_routes(parts, hparams), hparams)[-1]
        return roles["stopping"][0](**numbers)

    def evaluate(state: Any, data: Any, hparams: Mapping[str, Any], **size: int) -> dict[str, Array]:
        return training.evaluate(model, state, data, hparams, metrics=metrics, loss=loss, prepare=prepare, **size)

    def average(state: Any, data: Any, hparams: Mapping[str, Any]) -> TrainState | None:
        if workers is not None:  # whose optimizers' states are many
            return None
        return training.averaged(model, state, data, hparams, prepare=prepare, batch_size=experiment.step_size)

    def told(step: Callable[..., Any]) -> Training:
        def step_of(state: Any, batch: Any, hparams: Mapping[str, Any], *, at: Any = None) -> Any:
            return step(state, batch, of_training(hparams), **({} if at is None else {"at": at}))

        return Training(lambda key, hparams: init(key, of_training(hparams)), step_of)

    of_batches = "present" in routing.parameters(loss)  # whose value of an example depends on its batch

    def saving(words: str, pieces: int = 1, **how: Any) -> Lighter:
        fewer = functools.partial(evaluate, batch_size=experiment.step_size // pieces)
        measure = evaluate if of_batches else fewer
        return Lighter(words, lambda: told(make(pieces=pieces, **how).step), measure, stateless=pieces > 1)

    lighter = [saving(RECOMPUTED, recompute=True)]
    if not of_batches and workers is None:  # a worker's share of a batch is no whole number of pieces
        for pieces in _divisors(experiment.step_size):
            lighter.append(saving(f"gradients of {pieces} pieces of a batch, one after the other", pieces))
    early = stopping if roles["stopping"] else None
    return Assembly(told(step), evaluate, average, lighter, model, loss, prepare, parts, metrics, early, workers)


def _model(function: Any, experiment: Experiment) -> Model:
    model = from_constructor(function)
    return model if experiment.compute_dtype is None else with_compute_dtype(model, experiment.compute_dtype)


def _divisors(size: int) -> list[int]:
    """The numbers of equal pieces of a batch, each at least twice the one before."""
    found = [1]
    for pieces in range(2, size + 1):
        if size % pieces == 0 and pieces >= 2 * found[-1]:
            found.append(pieces)
    return found[1:]


def _scheduled_defaults(parts: Sequence[Part], schedules: Mapping[str, Any], model: Any) -> dict[str, float]:
    """The defaults of the model's numbers that have schedules: a `Model` says no defaults, its constructor does."""
    found = training.scheduled_routes(parts, list(schedules)).values()
    arguments = [route.argument for route in found if parts[route.index].role == "model"]
    defaults = {name: routing.parameters(model)[name].default for name in arguments}
    return {f"model.{parts[0].name}.{n}": d for n, d in defaults.items() if isinstance(d, int | float)}


def described(
    experiment: Experiment,
    dataset: Dataset,
    options: Mapping[str, Any],
    takes: Callable[..., tuple[str, ...]] = routing.numbers,
) -> list[Part]:
    """Returns the parts, in the order of `Assembly.parts`, before they are put together: their numbers, or `takes`."""
    return [_part(role, f, takes) for role, f in _bound(experiment, dataset, options)]


def required(experiment: Experiment, dataset: Dataset, options: Mapping[str, Any]) -> list[Part]:
    """Returns the parts, in the order of `Assembly.parts`, with only those numbers that have no default."""
    return [_part(role, f, _without_default) for role, f in _bound(experiment, dataset, options)]


def missing(experiment: Experiment, dataset: Dataset, options: Mapping[str, Any]) -> list[Part]:
    """Returns the parts with only those arguments that are no numbers, have no default, and were not chosen."""
    needs = [_part(role, f, _options_without_default) for role, f in _bound(experiment, dataset, options)]
    return [part for part in needs if part.hyperparameters]


def ranges(
    experiment: Experiment, dataset: Dataset, options: Mapping[str, Any], roles: Mapping[str, str]
) -> dict[str, Interval]:
    """Returns the range of each number that has one, by the number's canonical name, such as "optimizer.adam.b1"."""
    return {
        f"{roles.get(role, role)}.{routing.own_name(function)}.{name}": interval
        for role, function in _bound(experiment, dataset, options)
        for name, interval in domains.ranges(function).items()
    }


def settings(
    experiment: Experiment, dataset: Dataset, options: Mapping[str, Any], roles: Mapping[str, str]
) -> tuple[dict[str, float], dict[str, str]]:
    """Returns every setting of the parts that has a value before a trial gives one: numbers, and all others by name.

    They are part of a trial's identity: a default that a later release changes must not change what an id means. What
    is off, None, is left out, so that an option that a later release adds changes no id. `roles` has the canonical name
    of each role that may be spelled in several ways.
    """
    numbers: dict[str, float] = {}
    others: dict[str, str] = {}
    for role, function in _bound(experiment, dataset, options):
        part = _part(role, function, routing.options)
        for name in part.hyperparameters:
            default = routing.parameters(function)[name].default
            key = f"{roles.get(role, role)}.{part.name}.{name}"
            if isinstance(default, int | float) and not isinstance(default, bool):
                numbers[key] = default
            elif isinstance(default, list | tuple):
                others[key] = distributions.identity(tuple(default))
            elif isinstance(default, bool | str) or (callable(default) and default is not inspect.Parameter.empty):
                others[key] = distributions.identity(default)
    return numbers, others


def make_prepare(info: Info) -> Callable[[PyTree], PyTree]:
    """Returns the inputs' cast and normalization, `(x / scale - mean) / std` in float32, where the data ask for it."""
    if info.scale == 1.0 and info.mean is None:
        return lambda inputs: inputs

    def prepare(inputs: Array) -> Array:
        scaled = jnp.asarray(inputs, jnp.float32) / info.scale
        if info.mean is None:
            return scaled
        last = (1,) * (scaled.ndim - 1) + (-1,)  # one number a channel, feature, or for all
        mean, std = (jnp.array(values, jnp.float32).reshape(last) for values in (info.mean, info.std))
        return (scaled - mean) / std

    return prepare


def direction_of(experiment: Experiment, info: Info) -> tuple[str, str]:
    """Returns the metric that decides, and its better direction.

    Raises:
        ValueError: It is not measured, or its direction is not known.
    """
    names = [*_metrics(experiment, info), "loss"]
    objective = experiment.objective or ("accuracy" if "accuracy" in names else "loss")
    metric = known_name(objective.removeprefix(AVERAGE), names, "objective")
    direction = experiment.direction or ("min" if metric == "loss" else None)
    if direction is None and metric in METRICS:
        direction = METRICS[metric].direction
    if direction is None:
        raise ValueError(
            f"objective {objective!r}: got no direction; expected one, since the metric is your own. Pass "
            "direction='max' or direction='min'."
        )
    return objective, direction


def rounds_of(experiment: Experiment, dataset: Dataset) -> list[int]:
    """Returns the steps from one validation to the next: an epoch's, or as many as asked; the last may be fewer.

    Raises:
        ValueError: A batch is larger than the training split.
    """
    count = len(jax.tree.leaves(dataset.train)[0])
    size, name = experiment.step_size, "batch_size" if experiment.microbatch is None else "microbatch"
    if size > count:
        raise ValueError(
            f"got {name}={size} and {count} training examples; expected a batch of at most that many. Use a smaller "
            f"{name}."
        )
    epoch = count // size
    steps = experiment.epochs * epoch if experiment.steps is None else experiment.steps
    every = experiment.validate_every or epoch
    full, rest = divmod(steps, every)
    return [every] * full + ([rest] if rest else [])


def _raw(experiment: Experiment, dataset: Dataset) -> list[tuple[str, Any]]:
    """The parts as `(role, function)`: names looked up, nothing bound yet; the stopping, if there is one, is last."""
    classes, steps = dataset.info.num_classes, sum(rounds_of(experiment, dataset))

    def found(role: str, asked: Sequence[Any], make: Callable[[Any], Any]) -> list[tuple[str, Any]]:
        made = [(role, make(each)) for each in asked]
        training.check_names(role, [function for _, function in made])
        return made

    def of_table(role: str, what: str = "") -> list[tuple[str, Any]]:
        value = getattr(experiment, role)
        asked = training.several(value, role) if role in SEVERAL else [] if value is None else [value]
        return found(role, asked, lambda value: _function(value, TABLES[role], what or role))

    ((_, loss),) = of_table("loss")
    schedules = training.schedules_of(experiment.schedule).items()
    return [
        ("model", model_constructor(experiment.model, dataset, outputs_for_each_target(loss))),
        ("loss", loss),
        *of_table("optimizer"),
        *of_table("wrap", "wrapper"),
        *_batches(experiment),
        *(s for n, own in schedules for s in found(training.schedule_role(n), own, lambda v: _schedule(v, steps))),
        *of_table("proximal"),
        *of_table("after_update"),
        *of_table("penalty"),
        *found("augment", training.several(experiment.augment, "augment"), lambda value: _augmentation(value, classes)),
        *of_table("workers"),
        *of_table("stopping"),
    ]


def _batches(experiment: Experiment) -> list[tuple[str, Any]]:
    """The outermost wrapper, by which the batch size is a number."""
    if experiment.microbatch is None:
        return []
    size, default = experiment.microbatch, float(experiment.batch_size)

    def of_size(inner: Any, *, batch_size: AtLeastOne = default) -> Any:
        return batches(inner, batch_size=batch_size, microbatch=size)

    return [("wrap", routing.named(of_size, "batches"))]


def _schedule(value: Any, steps: int) -> Callable[..., Any]:
    function = _function(value, SCHEDULES, "schedule")
    training.check_makes(function)
    return _filled(function, "length", steps)


def _filled(function: Callable[..., Any], argument: str, value: Any) -> Callable[..., Any]:
    """The function with an argument given, if it takes one of that name and has no default for it."""
    takes = routing.parameters(function)
    if argument not in takes or takes[argument].default is not inspect.Parameter.empty:
        return function
    return _set(function, {argument: value})


def _augmentation(value: Any, classes: int | None) -> Any:
    function = _function(value, AUGMENTATIONS, "augmentation")
    filled = _filled(function, "classes", classes)
    if filled is not function and classes is None:
        name = routing.own_name(function)
        raise ValueError(
            f"augmentation {name}: takes classes, but the data has none to count; expected integer labels. Pass "
            f"functools.partial({name}, classes=2)."
        )
    return filled


def _function(value: Any, table: Mapping[str, Any], what: str) -> Any:
    if isinstance(value, str):
        return table[known_name(value, table, what)]
    if not callable(value):
        hint = "." if what != "optimizer" else ": a function that makes one, such as optax.adam, not optax.adam(1e-3)."
        raise ValueError(f"{what}: got {type(value).__name__}; expected one of {', '.join(table)} or a function{hint}")
    return value


def _bound(
    experiment: Experiment, dataset: Dataset, options: Mapping[str, Any], fixed: Mapping[str, Any] | None = None
) -> list[tuple[str, Any]]:
    """The parts, with options and compiled numbers set: each goes to the one part that takes it."""
    raw, fixed = _raw(experiment, dataset), fixed or {}
    takes_options = [_part(role, function, routing.options) for role, function in raw]
    takes_numbers = [_part(role, function, routing.numbers) for role, function in raw]
    for_options = routing.deliver(takes_options, routing.route(takes_options, options, what="option"), options)
    for_fixed = routing.deliver(takes_numbers, routing.route(takes_numbers, fixed), fixed)
    steps, bound = sum(rounds_of(experiment, dataset)), []
    for (role, function), given, also in zip(raw, for_options, for_fixed, strict=True):
        own = _set(function, {**given, **also})
        if experiment.microbatch is not None:
            _refuse_whole_batches(role, own)
        bound.append((role, _told_all_steps(own, steps)))
    return bound


def _set(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Callable[..., Any]:
    return routing.named(function, routing.own_name(function), **arguments) if arguments else function


def _refuse_whole_batches(role: str, function: Callable[..., Any]) -> None:
    """Refuses what needs more of an update than its gradient, where a step sees a microbatch."""
    takes, name = routing.parameters(function), routing.own_name(function)
    defaults = {argument: p.default for argument, p in takes.items()}
    why = ""
    if (role == "wrap" and name in ("sam", "asam")) or isinstance(defaults.get("linesearch"), str):
        why = "it asks for the loss of the batch again, of which a step sees a microbatch alone"
    if defaults.get("decay") == "normalized" and "total_steps" in takes:
        why = "its normalized decay needs the number of updates, which is each trial's own"
    if why:
        raise ValueError(
            f"{role} {name}: got a microbatch; expected whole batches, since {why}. Leave microbatch out, or take "
            "another method or option."
        )


def _told_all_steps(function: Callable[..., Any], steps: int) -> Callable[..., Any]:
    """Tells a decay that is "normalized" by how many steps; the ids of others do not depend on them."""
    takes = routing.parameters(function)
    asks = [takes[name].default for name in ("decay", "total_steps") if name in takes] == ["normalized", None]
    return _set(function, {"total_steps": steps} if asks else {})


def _part(role: str, function: Any, takes: Callable[..., tuple[str, ...]]) -> Part:
    return Part(role, routing.own_name(function), training.numbers_of(role, function, takes))


def _options_without_default(function: Any, *, constructs: bool) -> tuple[str, ...]:
    takes, numbers = routing.parameters(function), routing.numbers(function, constructs=constructs)
    others = [name for name in routing.options(function, constructs=constructs) if name not in numbers]
    named = [name for name in others if takes[name].kind is not inspect.Parameter.VAR_KEYWORD]
    return tuple(name for name in named if takes[name].default is inspect.Parameter.empty)


def _without_default(function: Any, *, constructs: bool) -> tuple[str, ...]:
    takes, names = routing.parameters(function), routing.numbers(function, constructs=constructs)
    return tuple(name for name in names if takes[name].default is inspect.Parameter.empty)


def _metrics(experiment: Experiment, info: Info) -> dict[str, Callable[..., Any]]:
    asked = experiment.metrics
    if asked is None:  # an embedding's largest element is no class
        asked = ["accuracy"] if info.num_classes and experiment.loss not in _EMBEDS else []
    functions = {name: metric.function for name, metric in METRICS.items()}
    found = [_function(m, functions, "metric") for m in ([asked] if isinstance(asked, str) else asked)]
    names = [routing.own_name(f) for f in found]
    taken = {"loss", "penalty", "grad_norm", "update_norm", "steps", "failed_at", "stopped_at"}
    of_average = [name for name in names if name.startswith(AVERAGE)]
    if taken.intersection(names) or len(set(names)) < len(names) or of_average:
        raise ValueError(
            f"metrics: got {', '.join(names)}; expected different names, none of them "
            f"{', '.join(sorted(taken))}, which are measured anyway, and none that begins with {AVERAGE!r}, which are "
            "of the average of the parameters. Give the function another name."
        )
    return dict(zip(names, found, strict=True))
