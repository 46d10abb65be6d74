"""One case for each row of the tables: what it computes as a function of its numbers. A new row is a new case."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxopt_intro import domains, routing, training
from jaxopt_intro.augmentations import AUGMENTATIONS
from jaxopt_intro.losses import BATCH_LOSSES, LOSSES, triplet
from jaxopt_intro.models import MODELS
from jaxopt_intro.optimizers import METHODS
from jaxopt_intro.optimizers.wrappers import WRAPPERS
from jaxopt_intro.regularizers import INPUT_PENALTIES, PENALTIES, PROJECTIONS, PROXIMAL, STOCHASTIC
from jaxopt_intro.schedules import SCHEDULES, cosine, with_warmup

STEPS = 4
# Skewed values: a symmetric target cannot reveal a reversed sign, equal curvatures cannot reveal a swapped element.
PARAMS = {"bias": np.array([0.3, -1.1]), "kernel": np.array([[1.7, -0.2], [0.6, 2.3], [-0.9, 0.4]])}
CURVATURES = {"bias": np.array([1.9, 0.3]), "kernel": np.array([[0.2, 1.3], [0.8, 2.1], [0.5, 1.1]])}
MINIMUM = {"bias": np.array([-2.0, 0.7]), "kernel": np.array([[0.1, 1.2], [-0.4, 3.1], [2.2, 0.9]])}
SCORES = np.array([[3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1], [0.4, -0.3, 0.9]])
LABELS = np.array([0, 1, 2, 2], np.int32)
TARGETS = np.array([[1.0, 2.5, 0.5], [3.0, 0.2, 0.1], [0.7, 4.0, 1.5], [2.0, 0.6, 0.3]])
SIGNS = np.array([[-1.0, 1.0, -1.0], [1.0, -1.0, -1.0], [1.0, 1.0, 1.0], [1.0, -1.0, 1.0]])
# No two singular values, columns or signs alike; some elements small enough to be cut off.
WEIGHTS = {"bias": np.array([0.3, -1.1]), "kernel": np.array([[1.7, -0.2], [0.6, 0.3], [-0.9, 0.04]])}
NUMBERS = {"strength": 0.3, "step": 0.8, "radius": 0.85, "low": -0.4, "high": 0.75}  # that cut some of them, not all
ACTIVATIONS = np.cos(np.arange(64.0)).reshape(8, 2, 4)
IMAGES = np.random.default_rng(3).gamma(2.0, 0.5, (48, 6, 5, 2))
CLASSES = np.arange(48, dtype=np.int32) % 5
# Lengths that are no whole number of steps: between the kinks, derivatives are finite differences.
WITHIN_40_STEPS = {
    "length": 30.3, "first_cycle": 30.3, "warmup": 6.7, "decay": 9.1, "every": 7.9, "half_cycle": 8.3, "rate": 0.03,
    "t_mult": 1.7,
    "boundaries": [5.3, 12.7], "factors": [0.6, 0.3],
}  # fmt: skip
# Bounds of a step's length, in units of the rate, that are met within a few steps, and how fast some of them close;
# a least divisor that is met, a length that is no whole number of steps, how often something is done, and a bound of
# the bowl's height that is met by some members in some steps.
WITHIN_6_STEPS = {
    "smallest": 0.55, "largest": 1.3, "final_factor": 3.0, "gamma": 0.3, "floor": 1.1, "warmup": 4.3, "every": 2.0,
    "precondition_frequency": 2.0, "lower_bound": 20.0, "sophia.gamma": 12.0, "sophia.eps": 0.1,
}  # fmt: skip
# Of wrappers: no whole numbers of steps; limits and norms that cut some gradients, not all.
IN_WRAPPERS = {"period": 2.3, "every": 2.3, "start": 1.7, "limit": 1.4, "ratio": 0.3, "eps": 1.3}
INNERS = ("sgd", "adam", "adamw")
INPUTS = np.array([[0.3, -1.2, 2.2, 0.6], [1.8, 0.1, -0.7, -1.1], [-0.4, 0.9, 1.1, 0.2]]).reshape(3, 2, 2)
LARGER_INPUTS = np.random.default_rng(5).normal(size=(3, 9, 9))


class Case(NamedTuple):
    """A row of a table.

    Attributes:
        name: Table and row.
        run: `(numbers, dtype) -> tree of arrays`.
        defaults: Its numbers, each with a value, or vector, inside its range and away from its ends.
        of: Of a function of a tree: `(numbers, tree, factors=None) -> tree or scalar`.
        without_zero: The numbers whose range does not hold 0.
    """

    name: str
    run: Callable[..., Any]
    defaults: dict[str, Any]
    of: Any = None
    without_zero: tuple[str, ...] = ()

    @property
    def row(self) -> str:
        """The name of the row."""
        return self.name.partition("-")[2]


def cast(tree: Any, dtype: Any) -> Any:
    """Returns a tree's floating leaves in a dtype."""
    return jax.tree.map(lambda x: jnp.asarray(x, dtype if jnp.issubdtype(x.dtype, jnp.floating) else None), tree)


def default_numbers(function: Callable[..., Any], names: tuple[str, ...]) -> dict[str, float]:
    """Returns each number's default; 0.1 where there is none, or where it is 0: off.

    Where it is so small that a finite difference would leave its range, and float32 would not see it, 0.01.
    """
    takes = routing.parameters(function)
    found = {n: takes[n].default for n in names if isinstance(takes[n].default, int | float)}
    return {n: 0.1 if not found.get(n) else 0.01 if abs(found[n]) < 1e-3 else found[n] for n in names}


def values_of(default: Any) -> np.ndarray:
    """Returns values of a number in the range of its default: fractions of it."""
    return np.multiply.outer(np.float32([0.5, 0.75, 1.0]), np.float32(default))


def targets_of(loss: Callable[..., Any]) -> np.ndarray:
    """Returns targets of the kind that a loss's annotation says it takes: labels, signs, or positive numbers."""
    second = list(inspect.signature(loss).parameters.values())[1]
    return {"Labels": LABELS, "Signs": SIGNS}.get(second.annotation, TARGETS)


def predictions_of(loss: Callable[..., Any]) -> np.ndarray:
    """Returns scores, one for each target; two where the annotation says that the last axis holds both of them."""
    first = next(iter(inspect.signature(loss).parameters.values()))
    return np.concatenate([SCORES, 0.3 * SCORES[::-1]], axis=-1) if "both" in first.annotation else SCORES


def value(params: Any, gust: Any = None) -> Any:
    """Returns the height of a skewed bowl, quartic besides quadratic, in a gust."""
    away = jax.tree.map(lambda p, m: p - jnp.asarray(m, p.dtype), params, MINIMUM)
    heights = jax.tree.map(lambda a, c: jnp.vdot(jnp.asarray(c, a.dtype), 0.5 * a**2 + 0.0125 * a**4), away, CURVATURES)
    blown = () if gust is None else jax.tree.leaves(jax.tree.map(jnp.vdot, gust, params))
    return sum(jax.tree.leaves(heights)) + sum(blown)


def gradient(params: Any) -> Any:
    """Returns the gradient of that bowl."""
    away = jax.tree.map(lambda p, m: p - jnp.asarray(m, p.dtype), params, MINIMUM)
    return jax.tree.map(lambda a, c: jnp.asarray(c, a.dtype) * (a + 0.05 * a**3), away, CURVATURES)


def gusts(leaf: str, steps: int = STEPS) -> np.ndarray:
    """Returns what blows on the bowl in each step, so that gradients change their signs: `[steps, *shape]`."""
    shape = PARAMS[leaf].shape
    phases = np.arange(PARAMS[leaf].size).reshape(shape)
    return 2.0 * np.cos(1.3 * np.arange(steps).reshape(-1, *(1 for _ in shape)) ** 1.2 + 2 * phases)


def extra_of(params: Any, grads: Any, gust: Any = None, step: Any = 0) -> dict[str, Any]:
    """Returns what a training tells an update by keyword, on that bowl."""
    return told(lambda p: value(p, gust), params, grads, step)


def told(value_fn: Callable[[Any], Any], params: Any, grads: Any, step: Any = 0) -> dict[str, Any]:
    """Returns what a training tells an update by keyword, of any loss; what a mask leaves out is as in `params`."""

    def masked(leaf: Any) -> bool:
        return isinstance(leaf, optax.MaskedNode)

    def whole(part: Any) -> Any:
        return jax.tree.map(lambda p, other: other if masked(p) else p, part, params, is_leaf=masked)

    return {
        "value": value_fn(params),
        "grad": grads,
        "value_fn": lambda p, key=None: value_fn(whole(p)),
        "key": jax.random.fold_in(jax.random.key(11), step),
    }


def extra_on_a_plane(params: Any, grads: Any) -> dict[str, Any]:
    """Returns what a training tells an update by keyword, where the gradients are the same everywhere."""

    def height(params: Any, key: Any = None) -> Any:
        return jax.tree.reduce(jnp.add, jax.tree.map(lambda p, g: jnp.sum(jnp.float32(1) * p * g), params, grads))

    return {"value": height(params), "grad": grads, "value_fn": height, "key": jax.random.key(11)}


def descend(
    optimizer: optax.GradientTransformation, params: Any, steps: int = STEPS, *, windy: bool = False
) -> tuple[Any, Any, Any]:
    """Runs an optimizer down the bowl inside a scan; returns the last parameters, the state and all updates."""
    optimizer = optax.with_extra_args_support(optimizer)

    def body(carry: Any, blowing: Any) -> Any:
        (params, state), (gust, step) = carry, blowing
        grads = jax.tree.map(jnp.add, gradient(params), gust) if windy else gradient(params)
        updates, state = optimizer.update(grads, state, params, **extra_of(params, grads, gust, step))
        return (optax.apply_updates(params, updates), state), updates

    blowing = {n: jnp.asarray(gusts(n, steps), params[n].dtype) for n in params} if windy else None
    carry = params, optimizer.init(params)
    (params, state), updates = jax.lax.scan(body, carry, (blowing, jnp.arange(steps)))
    return params, state, updates


def _loss_case(name: str, loss: Callable[..., Any]) -> Case:
    numbers = routing.numbers(loss, constructs=False)
    predictions, targets = predictions_of(loss), targets_of(loss)
    return Case(
        f"loss-{name}",
        lambda given, dtype=jnp.float32: loss(jnp.asarray(predictions, dtype), cast(targets, dtype), **given),
        default_numbers(loss, numbers),
        without_zero=tuple(n for n in numbers if not domains.ranges(loss)[n].holds(0)),
    )


def _triplet_case() -> Case:
    def run(given: Mapping[str, Any], dtype: Any = jnp.float32) -> Any:
        return triplet(*(jnp.asarray(x, dtype) for x in (SCORES, 0.5 * SCORES[::-1], TARGETS)), **given)

    return Case("loss-triplet", run, default_numbers(triplet, ("margin", "degree")), without_zero=("degree",))


def _input_penalty_case(name: str, penalty: Callable[..., Any]) -> Case:
    def run(given: Mapping[str, Any], dtype: Any = jnp.float32) -> Any:
        return penalty(lambda x: jnp.sum(jnp.sin(x) + 0.3 * x**2, axis=-1), jnp.asarray(SCORES, dtype), **given)

    return Case(f"penalty-{name}", run, default_numbers(penalty, routing.numbers(penalty, constructs=False)))


def _tree_case(table: str, name: str, function: Callable[..., Any]) -> Case:
    """A penalty, proximal operator or projection; an operator's step is a number too, where it has no default."""
    numbers = default_numbers(function, routing.numbers(function, constructs=False))
    step = inspect.signature(function).parameters.get("step")
    if step and step.default is step.empty:
        numbers["step"] = NUMBERS["step"]

    def of(given: Mapping[str, Any], tree: Any, factors: Any = None) -> Any:
        steps = (given["step"],) if "step" in given else ()
        return function(tree, *steps, factors=factors, **{n: v for n, v in given.items() if n != "step"})

    def run(given: Mapping[str, Any], dtype: Any = jnp.float32) -> Any:
        return of(given, cast(WEIGHTS, dtype))

    return Case(f"{table}-{name}", run, {n: NUMBERS.get(n, v) for n, v in numbers.items()}, of)


def _noise_case(name: str, noise: Callable[..., Any]) -> Case:
    _, number, *_ = inspect.signature(noise).parameters

    def run(given: Mapping[str, Any], dtype: Any = jnp.float32) -> Any:
        return noise(jnp.asarray(ACTIVATIONS, dtype), given[number], key=jax.random.key(5))

    return Case(f"stochastic-{name}", run, {number: 0.3})


def method_numbers(make: Callable[..., optax.GradientTransformation]) -> dict[str, float]:
    """Returns a value for each number of a method, such that it matters within a few steps."""
    numbers = default_numbers(make, routing.numbers(make, constructs=True))
    own = {n: WITHIN_6_STEPS.get(n, v) for n, v in numbers.items()}
    return {n: WITHIN_6_STEPS.get(f"{make.__name__}.{n}", v) for n, v in own.items()}


def _method_case(name: str, make: Callable[..., optax.GradientTransformation]) -> Case:
    return Case(
        f"method-{name}",
        lambda given, dtype=jnp.float32: descend(make(**given), cast(PARAMS, dtype), 6, windy=True),
        method_numbers(make),
    )


def wrapper_numbers(wrapper: Callable[..., optax.GradientTransformation]) -> dict[str, float]:
    """Returns a value for each number of a wrapper, such that it matters within a few steps."""
    numbers = default_numbers(wrapper, routing.numbers(wrapper, constructs=False))
    return {n: IN_WRAPPERS.get(n, v) for n, v in numbers.items()}


def wrapped(name: str, inner: str, given: Mapping[str, Any]) -> optax.GradientTransformationExtraArgs:
    """Returns a wrapper around a method with numbers of its own."""
    make = METHODS[inner].make
    return WRAPPERS[name](make(**method_numbers(make)), **given)


def _wrapper_case(name: str, wrapper: Callable[..., optax.GradientTransformation]) -> Case:
    def run(given: Mapping[str, Any], dtype: Any = jnp.float32) -> Any:
        params = cast(PARAMS, dtype)
        runs = {inner: descend(wrapped(name, inner, given), params, 6, windy=True) for inner in INNERS}
        return tuple({inner: run[i] for inner, run in runs.items()} for i in range(3))

    numbers = wrapper_numbers(wrapper)
    return Case(
        f"wrapper-{name}",
        run,
        numbers,
        without_zero=tuple(n for n in numbers if not domains.ranges(wrapper)[n].holds(0)),
    )


def _model_case(name: str, make: Callable[..., Any]) -> Case:
    model, images = make(outputs=2), LARGER_INPUTS if name in ("3c3d", "allcnnc", "resnet") else INPUTS
    start = functools.cache(lambda: jax.jit(model.init)(jax.random.key(3), jnp.asarray(images, jnp.float32), {}))

    def run(given: Mapping[str, Any], dtype: Any = jnp.float32) -> Any:
        inputs = jnp.asarray(images, dtype)
        with jax.ensure_compile_time_eval():
            params, model_state = cast(start(), dtype)
        return model.apply(params, model_state, inputs, train=True, key=jax.random.key(7), hparams=given)

    return Case(f"model-{name}", run, default_numbers(make, model.hyperparameters))


def _schedule_case(name: str, make: Callable[..., Callable[..., Any]]) -> Case:
    names = routing.options(make, constructs=True)
    defaults = {n: np.float64(WITHIN_40_STEPS[n]) for n in names if n in WITHIN_40_STEPS}
    others = default_numbers(make, tuple(n for n in names if n not in defaults))
    return Case(f"schedule-{name}", lambda given, dtype=None: make(**given)(jnp.arange(40)), {**others, **defaults})


def arguments_of(augmentation: Callable[..., Any], dtype: Any = jnp.float32) -> tuple[Any, ...]:
    """Returns the images, and the labels where an augmentation takes targets."""
    takes = routing.parameters(augmentation)
    return cast((IMAGES, CLASSES)[: 1 + ("targets" in takes)], dtype)


def given_to(augmentation: Callable[..., Any]) -> dict[str, Any]:
    """Returns what the trainer gives an augmentation by keyword."""
    given = {"key": jax.random.key(5), "classes": 5}
    return {name: given[name] for name in routing.parameters(augmentation) if name in given}


def _augmentation_case(name: str, augmentation: Callable[..., Any]) -> Case:
    def run(given: Mapping[str, Any], dtype: Any = jnp.float32) -> Any:
        changed = augmentation(*arguments_of(augmentation, dtype), **given, **given_to(augmentation))
        return jax.tree.map(lambda x: 1.0 * x, changed)  # labels as floats

    numbers = routing.numbers(training.of_data(augmentation), constructs=True)
    return Case(f"augmentation-{name}", run, default_numbers(augmentation, numbers))


CASES = [
    *(_loss_case(name, loss) for name, loss in {**LOSSES, **BATCH_LOSSES}.items()),
    _triplet_case(),
    *(_input_penalty_case(name, penalty) for name, penalty in INPUT_PENALTIES.items()),
    *(_tree_case("penalty", name, penalty) for name, penalty in PENALTIES.items()),
    *(_tree_case("proximal", name, operator) for name, operator in PROXIMAL.items()),
    *(_tree_case("projection", name, projection) for name, projection in PROJECTIONS.items()),
    *(_noise_case(name, noise) for name, noise in STOCHASTIC.items()),
    *(_method_case(name, method.make) for name, method in METHODS.items()),
    *(_wrapper_case(name, wrapper) for name, wrapper in WRAPPERS.items()),
    *(_model_case(name, make) for name, make in MODELS.items()),
    *(_schedule_case(name, make) for name, make in SCHEDULES.items()),
    _schedule_case("with_warmup", functools.partial(with_warmup, cosine(length=20.3))),
    *(_augmentation_case(name, augmentation) for name, augmentation in AUGMENTATIONS.items()),
]
TREE_CASES = [case for case in CASES if case.of is not None]
NUMBERED = [(case, number) for case in CASES for number in case.defaults]
NUMBERED_IDS = [f"{case.name}-{number}" for case, number in NUMBERED]
