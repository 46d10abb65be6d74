"""What must always be true of a part, as checks: for the tables of this library, and for a part of your own.

1. Traceable: every number may be a tracer; its vmapped values are those of the solo calls.
2. Steady: structures, shapes and dtypes do not depend on the numbers, nor change from step to step.
3. Differentiable: derivatives by every number agree with finite differences in float64, and are finite at zero.
4. Shaped as its role asks: a value for each example, a scalar, an update for each parameter, an image for an image.

Each `check_…` returns what it has checked, or raises `Broken`, which says what was found and how to mend it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxopt_intro import checks, routing
from jaxopt_intro.typing import Array, Model, PyTree

STEP = 1e-6
# A central difference is off by its curvature, STEP ** 2, and by the rounding of two values over 2 * STEP: 1e-10.
DERIVATIVE_TOLERANCE = 1e-6
# A few dozen operations, each right to half a unit in the last place, fused differently under vmap.
VALUE_TOLERANCE = 64 * float(np.finfo(np.float32).eps)
# Skewed values: symmetric ones hide a reversed sign, equal ones a swapped element.
SCORES = np.array([[3.2, 5.1, -1.7], [1.3, 4.9, 2.0], [2.2, 2.5, -3.1], [0.4, -0.3, 0.9]])
LABELS = np.array([0, 1, 2, 2], np.int32)
TARGETS = np.array([[1.0, 2.5, 0.5], [3.0, 0.2, 0.1], [0.7, 4.0, 1.5], [2.0, 0.6, 0.3]])
PARAMS = {"bias": np.array([0.3, -1.1]), "kernel": np.array([[1.7, -0.2], [0.6, 2.3], [-0.9, 0.4]])}


class Broken(ValueError):
    """A part breaks a contract; the message says which, with the numbers, and how to mend it."""


class Checked(NamedTuple):
    """What was checked.

    Attributes:
        part: The part, by role and name.
        contracts: What holds, each with its number, as `("traceable", "margin")`; "" where it is about no number.
    """

    part: str
    contracts: tuple[tuple[str, str], ...]


class _Subject(NamedTuple):
    """A part as a function of its numbers: `run(numbers, dtype) -> tree`.

    `positive` are those that are never 0; `invented` are those whose values nobody gave.
    """

    name: str
    run: Callable[..., PyTree]
    numbers: dict[str, float]
    piecewise: frozenset[str] = frozenset()
    positive: frozenset[str] = frozenset()
    invented: tuple[str, ...] = ()


def check_loss(
    loss: Callable[..., Array],
    *,
    predictions: Any = None,
    targets: Any = None,
    numbers: Mapping[str, float] | None = None,
    positive: Collection[str] = (),
) -> Checked:
    """Checks a loss: contracts 1 to 3 for each number, and one value for each example, of that example alone.

    Args:
        loss: `(predictions, targets, *, numbers) -> [batch]`, or the predictions' shape.
        predictions: Four examples or more; None takes scores `[4, 3]`.
        targets: What belongs to them; None takes labels `[4]` where the second argument is called `labels`, and
            otherwise numbers `[4, 3]`.
        numbers: A value for each number, inside its range; None takes the defaults.
        positive: Numbers that are more than 0, such as a temperature: nothing is asked of them at 0.

    Returns:
        What was checked.

    Raises:
        Broken: The loss breaks a contract.

    Examples:
        >>> from jaxopt_intro import losses
        >>> check_loss(losses.weston_watkins).contracts[0]
        ('traceable', 'margin')
        >>> check_loss(lambda predictions, labels: jnp.mean(predictions))
        Traceback (most recent call last):
        ...
        jaxopt_intro.contracts.Broken: loss <lambda> breaks contract 4 (shaped): got shape () for 4 examples; ...
    """
    predictions = SCORES if predictions is None else predictions
    if targets is None:
        second = list(routing.parameters(loss).values())[1]
        targets = LABELS if second.name == "labels" else TARGETS
    predictions, targets = np.asarray(predictions), np.asarray(targets)

    def run(given: Mapping[str, Any], dtype: Any) -> Array:
        return loss(jnp.asarray(predictions, dtype), _cast(targets, dtype), **given)

    subject = _subject("loss", loss, run, numbers, constructs=False, positive=positive)
    values = _shapes(subject)
    count = len(predictions)
    if values.ndim == 0 or values.shape[0] != count or values.shape not in ((count,), predictions.shape, targets.shape):
        raise _broken(
            subject, 4, "shaped", f"got shape {values.shape} for {count} examples; expected ({count},) or the shape of "
            "predictions or targets. Return the values before their mean, and give both one shape",
        )  # fmt: skip
    passed = _numbers(subject)
    if jnp.issubdtype(targets.dtype, jnp.integer) and targets.ndim == 1:
        for wrong in (-1, predictions.shape[-1]):
            strange = jax.jit(lambda t: loss(jnp.asarray(predictions, jnp.float32), t, **subject.numbers))(
                jnp.full(count, wrong, jnp.int32)
            )
            if np.isfinite(strange).any():
                raise _broken(
                    subject, 4, "shaped", f"the label {wrong}, which is no class, has the loss {_short(strange)} under "
                    "jit; expected NaN, never a wrong finite number. Compare labels with the number of classes",
                )  # fmt: skip
    whole = subject.run(subject.numbers, jnp.float32)
    for i in range(count):
        alone = loss(
            jnp.asarray(predictions[i : i + 1], jnp.float32), _cast(targets[i : i + 1], jnp.float32), **subject.numbers
        )
        if not _close(whole[i], alone[0]):
            raise _broken(
                subject, 4, "shaped", f"example {i} has the loss {_short(whole[i])} among {count} and "
                f"{_short(alone[0])} alone; expected the same. Reduce over no batch axis",
            )  # fmt: skip
    gradient = jax.jit(jax.grad(lambda p: jnp.sum(loss(p, _cast(targets, jnp.float32), **subject.numbers))))
    for what, scale in (("at predictions of zero", 0.0), ("at predictions a thousand times larger", 1e3)):
        _finite(subject, gradient(jnp.asarray(scale * predictions, jnp.float32)), what)
    half = jax.eval_shape(lambda: subject.run(subject.numbers, jnp.bfloat16))
    if half.dtype == jnp.bfloat16:
        raise _broken(
            subject, 4, "shaped", "got bfloat16 for bfloat16 predictions, whose mean is right to 2 digits; expected "
            "float32. Cast the predictions first",
        )  # fmt: skip
    return _checked(subject, passed, "shaped", "finite gradients")


def check_penalty(
    penalty: Callable[..., Array],
    *,
    params: PyTree = None,
    numbers: Mapping[str, float] | None = None,
    positive: Collection[str] = (),
) -> Checked:
    """Checks a penalty: contracts 1 to 3 for each number, a scalar in float32 or wider, gradients finite at zero.

    Args:
        penalty: `(params, *, numbers) -> scalar`.
        params: Parameters; None takes those of a dense layer.
        numbers: A value for each number, inside its range; None takes the defaults.
        positive: Numbers that are more than 0, such as a temperature: nothing is asked of them at 0.

    Returns:
        What was checked.

    Raises:
        Broken: The penalty breaks a contract.

    Examples:
        >>> from jaxopt_intro import regularizers
        >>> ("differentiable", "strength") in check_penalty(regularizers.l2).contracts
        True
    """
    params = PARAMS if params is None else params

    def run(given: Mapping[str, Any], dtype: Any) -> Array:
        return penalty(_cast(params, dtype), **given)

    subject = _subject("penalty", penalty, run, numbers, constructs=False, positive=positive)
    value = jax.eval_shape(lambda: subject.run(subject.numbers, jnp.bfloat16))
    if value.shape or value.dtype == jnp.bfloat16:
        raise _broken(
            subject, 4, "shaped", f"got {value.dtype}{list(value.shape)} for bfloat16 parameters; expected a float32 "
            "scalar. Sum over all leaves, each cast to float32 first",
        )  # fmt: skip
    passed = _numbers(subject)
    gradient = jax.jit(jax.grad(lambda p: penalty(p, **subject.numbers)))
    _finite(subject, gradient(jax.tree.map(jnp.zeros_like, _cast(params, jnp.float32))), "at parameters of zero")
    return _checked(subject, passed, "shaped", "finite gradients")


def check_optimizer(
    make: Callable[..., optax.GradientTransformation],
    *,
    params: PyTree = None,
    numbers: Mapping[str, float] | None = None,
    positive: Collection[str] = (),
) -> Checked:
    """Checks an optimizer: contracts 1 to 3 for each number, and a state that a scan can carry.

    Args:
        make: `(**numbers) -> optax.GradientTransformation`.
        params: Parameters; None takes those of a dense layer.
        numbers: A value for each number, inside its range; None takes the defaults, 0.1 where there is none.
        positive: Numbers that are more than 0, such as a temperature: nothing is asked of them at 0.

    Returns:
        What was checked.

    Raises:
        Broken: The optimizer breaks a contract.

    Examples:
        >>> from jaxopt_intro import optimizers
        >>> check_optimizer(optimizers.adam).part
        'optimizer adam'
        >>> check_optimizer(optax.lion)
        Traceback (most recent call last):
        ...
        jaxopt_intro.contracts.Broken: optimizer lion breaks contract 2 (steady): its state is int32[], bfloat16[2], ...
    """
    params = PARAMS if params is None else params

    def descend(given: Mapping[str, Any], dtype: Any) -> Any:
        optimizer, start = make(**given), _cast(params, dtype)
        state = optimizer.init(start)
        path = []
        for _ in range(3):
            grads = jax.tree.map(lambda p: p + jnp.asarray(0.3, p.dtype), start)
            updates, state = optimizer.update(grads, state, start)
            start = optax.apply_updates(start, updates)
            path.append(start)
        return path

    subject = _subject("optimizer", make, descend, numbers, constructs=True, positive=positive)
    passed = _numbers(subject)
    for dtype in (jnp.float32, jnp.bfloat16):
        traced = {name: jnp.float32(value) for name, value in subject.numbers.items()}
        start = _cast(params, dtype)
        before = jax.eval_shape(lambda start=start, traced=traced: make(**traced).init(start))
        updates, after = jax.eval_shape(lambda s, p=start, t=traced: make(**t).update(p, s, p), before)
        if (jax.tree.structure(before), _kinds(before)) != (jax.tree.structure(after), _kinds(after)):
            raise _broken(
                subject, 2, "steady", f"its state is {_words(before)} before an update of {dtype.__name__} parameters "
                f"and {_words(after)} after it, so no scan can carry it. Cast the new state to the old one's dtypes",
            )  # fmt: skip
        if _kinds(updates) != _kinds(start):
            raise _broken(
                subject, 4, "shaped", f"its updates are {_words(updates)} for {dtype.__name__} parameters; expected "
                "their shapes and dtypes. Cast the update, last of all, to each parameter's dtype",
            )  # fmt: skip

    def still(numbers: Mapping[str, Any]) -> Any:
        optimizer, zeros = make(**numbers), jax.tree.map(jnp.zeros_like, _cast(params, jnp.float32))
        state = optimizer.init(zeros)
        return optimizer.update(zeros, state, zeros)[0]

    _finite(subject, jax.jit(still)(subject.numbers), "at gradients of zero", of="updates")
    return _checked(subject, passed, "steady", "shaped", "finite updates")


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
        params, state = _cast(model.init(key, example, dict(given)), dtype)
        inputs = _cast(example, dtype)
        return model.apply(params, state, inputs, train=True, key=jax.random.key(7), hparams=dict(given))[0]

    values = dict.fromkeys(model.hyperparameters, 0.1) | dict(numbers or {})
    subject = _Subject(f"model {model.name}", run, values)
    params, state = jax.jit(lambda: model.init(key, example, values))()
    again = jax.jit(lambda: model.init(key, example, values))()  # another function: traced and compiled anew
    if not all(map(_close, jax.tree.leaves((params, state)), jax.tree.leaves(again))):
        raise _broken(subject, 4, "pure", "two calls of init with one key differ. Take all randomness from the key")
    count = len(jax.tree.leaves(example)[0])
    rows, _ = model.apply(params, state, example, train=False, key=None, hparams=values)
    if rows.shape[:1] != (count,) or (outputs is not None and rows.shape != (count, outputs)):
        raise _broken(
            subject, 4, "shaped", f"got outputs of shape {rows.shape} for {count} examples; expected "
            f"({count}, {'...' if outputs is None else outputs}). Keep the batch axis first",
        )  # fmt: skip
    one, _ = model.apply(params, state, jax.tree.map(lambda x: x[:1], example), train=False, key=None, hparams=values)
    if not _close(rows[0], one[0], 1e-4):
        raise _broken(
            subject, 4, "shaped", f"the first example's outputs are {_short(rows[0])} among {count} and "
            f"{_short(one[0])} alone, with train=False. Use no statistics of the batch there",
        )  # fmt: skip
    trained = jax.eval_shape(lambda: model.apply(params, state, example, train=True, key=key, hparams=values)[1])
    if (jax.tree.structure(state), _kinds(state)) != (jax.tree.structure(trained), _kinds(trained)):
        raise _broken(
            subject, 2, "steady", f"its model_state is {_words(state)} before and {_words(trained)} after a training "
            "call, so no scan can carry it. Keep its structure, shapes and dtypes",
        )  # fmt: skip
    return _checked(subject, _numbers(subject), "pure", "shaped", "steady")


def check_schedule(
    make: Callable[..., Callable[[Array], Array]],
    *,
    numbers: Mapping[str, float] | None = None,
    positive: Collection[str] = (),
) -> Checked:
    """Checks a schedule: contracts 1 to 3 for each number, and a finite factor at any step.

    Args:
        make: `(**numbers) -> (step -> factor)`.
        numbers: A value for each number, inside its range; None takes the defaults, 7.3 where there is none.
        positive: Numbers that are more than 0, such as a temperature: nothing is asked of them at 0.

    Returns:
        What was checked.

    Raises:
        Broken: The schedule breaks a contract.

    Examples:
        >>> check_schedule(lambda *, rate=0.9: lambda step: rate**step).contracts[0]
        ('traceable', 'rate')
    """
    steps = np.array([0, 1, 2, 3, 5, 8, 13, 100], np.int32)

    def run(given: Mapping[str, Any], dtype: Any) -> Array:
        return jnp.stack([jnp.asarray(make(**given)(step), dtype) for step in jnp.asarray(steps)])

    subject = _subject("schedule", make, run, numbers, constructs=True, positive=positive, guess=7.3)
    factors = jax.eval_shape(lambda: make(**subject.numbers)(jnp.int32(3)))
    if factors.shape != ():
        raise _broken(
            subject, 4, "shaped", f"got a factor of shape {factors.shape} for one step; expected a scalar. Return one "
            "number for each step",
        )  # fmt: skip
    passed = _numbers(subject)
    _finite(subject, jax.jit(lambda n: run(n, jnp.float32))(subject.numbers), "at steps 0 to 100", of="factors")
    return _checked(subject, passed, "shaped", "finite factors")


def check_augmentation(
    augmentation: Callable[..., Array],
    *,
    images: Any = None,
    strength: float = 0.5,
    numbers: Mapping[str, float] | None = None,
    positive: Collection[str] = (),
) -> Checked:
    """Checks an augmentation: contracts 1 to 3 for its strength and numbers, and images for images.

    Args:
        augmentation: `(images, strength, *, key) -> images`.
        images: `[batch, height, width, channels]`, two images or more; None takes four of 8 x 8.
        strength: Inside its range.
        numbers: A value for each other number, inside its range; None takes the defaults.
        positive: Numbers that are more than 0, such as a temperature: nothing is asked of them at 0.

    Returns:
        What was checked.

    Raises:
        Broken: The augmentation breaks a contract.

    Examples:
        >>> def noise(images, strength, *, key):
        ...     return images + strength * jax.random.normal(key, images.shape, images.dtype)
        >>> check_augmentation(noise).contracts[0]
        ('traceable', 'strength')
    """
    takes = routing.parameters(augmentation)
    if list(takes)[1:2] != ["strength"] or "key" not in takes:
        raise ValueError(
            f"check_augmentation: got {routing.own_name(augmentation)}({', '.join(takes)}); expected (images, "
            "strength, *, key, ...) -> images. Those that take targets are not checked."
        )
    drawn = np.random.default_rng(0).uniform(size=(4, 8, 8, 1)) if images is None else np.asarray(images)
    key = jax.random.key(5)

    def run(given: Mapping[str, Any], dtype: Any) -> Array:
        others = {name: value for name, value in given.items() if name != "strength"}
        return augmentation(jnp.asarray(drawn, dtype), given["strength"], key=key, **others)

    given = {"strength": strength, **(numbers or {})}
    subject = _subject("augmentation", augmentation, run, given, constructs=False, positive=positive)
    if _shapes(subject).shape != drawn.shape:
        raise _broken(
            subject, 4, "shaped", f"got images of shape {_shapes(subject).shape} for {drawn.shape}; expected the same. "
            "Crop or pad back to the size that came in",
        )  # fmt: skip
    passed = _numbers(subject)
    plain = jnp.asarray(drawn, jnp.float32)
    same = jax.jit(lambda s: run({**subject.numbers, "strength": s}, jnp.float32))(jnp.float32(0))
    if not np.array_equal(same, plain):
        raise _broken(
            subject, 4, "shaped", f"strength 0 changes images, by up to {_short(jnp.max(jnp.abs(same - plain)))}; "
            "expected them exactly. Let the strength multiply what is added or moved",
        )  # fmt: skip
    whole = run(subject.numbers, jnp.float32)
    changed = augmentation(
        plain.at[-1].set(0.5), strength, key=key, **{n: v for n, v in subject.numbers.items() if n != "strength"}
    )
    if not np.array_equal(whole[0], changed[0]):
        raise _broken(
            subject, 4, "shaped", "the first image's result depends on the last image. Treat each image alone",
        )  # fmt: skip
    twins = augmentation(
        jnp.stack([plain[0]] * 8), strength, key=key, **{n: v for n, v in subject.numbers.items() if n != "strength"}
    )
    if np.array_equal(twins, jnp.stack([twins[0]] * 8)) and not np.array_equal(twins[0], plain[0]):
        raise _broken(
            subject, 4, "shaped", "eight equal images are changed alike. Give each image a key of its own: "
            "jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(len(images)))",
        )  # fmt: skip
    return _checked(subject, passed, "shaped", "identity at 0", "each image alone", "a key for each image")


def _subject(
    role: str,
    function: Callable[..., Any],
    run: Callable[..., Any],
    given: Mapping[str, float] | None,
    *,
    constructs: bool,
    positive: Collection[str],
    guess: float = 0.1,
) -> _Subject:
    takes, given = routing.parameters(function), dict(given or {})
    names = routing.numbers(function, constructs=constructs)
    known = {n: takes[n].default for n in names if isinstance(takes[n].default, int | float)}
    # A default so small that a finite difference would leave its range is checked at 0.01.
    usual = {n: guess if not known.get(n) else 0.01 if abs(known[n]) < 1e-3 else known[n] for n in names}
    values = {n: float(given[n] if n in given else usual[n]) for n in dict.fromkeys((*given, *names))}
    legal = checks.ranges(function)  # a finite difference must stay inside
    values = {n: min(max(v, legal[n].low + 0.01), legal[n].high - 0.01) if n in legal else v for n, v in values.items()}
    invented = tuple(n for n in names if n not in given and n not in known)
    title = f"{role} {routing.own_name(function)}"
    return _Subject(title, run, values, _piecewise(function), frozenset(positive), invented)


def _piecewise(function: Callable[..., Any]) -> frozenset[str]:
    """The arguments whose documentation calls them piecewise: their derivatives need only be finite."""
    while isinstance(function, functools.partial):
        function = function.func
    found, name, indent = set(), "", 0
    for line in (function.__doc__ or "").split("\n"):
        begin = re.match(r"( +)(\w+): ", line)
        if begin and (not name or len(begin[1]) <= indent):
            name, indent = begin[2], len(begin[1])
        found |= {name} if "piecewise" in line.lower() else set()
    return frozenset(found)


def _numbers(subject: _Subject) -> list[tuple[str, str]]:
    """Contracts 1 to 3 for each number."""
    try:
        subject.run(subject.numbers, jnp.float32)
    except Exception as error:
        raise _broken(
            subject, 4, "callable", f"with the Python numbers {subject.numbers} it raised {type(error).__name__}: "
            f"{_first_line(error)}. Mend it, or pass numbers= inside its range",
        ) from error  # fmt: skip
    for name in subject.numbers:
        _traceable(subject, name)
    if subject.numbers:
        _traceable_together(subject)
        _steady(subject)
    for name in subject.numbers:
        _differentiable(subject, name)
    return [(what, name) for what in ("traceable", "steady", "differentiable") for name in subject.numbers]


def _checked(subject: _Subject, numbers: list[tuple[str, str]], *others: str) -> Checked:
    return Checked(subject.name, (*numbers, *((what, "") for what in others)))


def _traceable(subject: _Subject, name: str) -> None:
    values = _near(subject.numbers[name])
    try:
        many = jax.jit(jax.vmap(lambda v: subject.run({**subject.numbers, name: v}, jnp.float32)))(values)
    except Exception as error:
        raise _broken(
            subject, 1, "traceable", f"with {name!r} traced it raised {type(error).__name__}: {_first_line(error)}. "
            "Use jnp.where in place of a Python branch, and jnp in place of math",
        ) from error  # fmt: skip
    for i in (0, 2):
        alone = jax.jit(lambda i=i: subject.run({**subject.numbers, name: float(values[i])}, jnp.float32))()
        for lane, solo in zip(jax.tree.leaves(many), jax.tree.leaves(alone), strict=True):
            if lane.dtype != solo.dtype or not _close(lane[i], solo):
                raise _broken(
                    subject, 1, "traceable", f"at {name} = {values[i]:g} a lane gives {lane.dtype} {_short(lane[i])} "
                    f"and a call with the Python number {solo.dtype} {_short(solo)}; expected the same. Decide "
                    "nothing by the number's Python type or value",
                )  # fmt: skip


def _traceable_together(subject: _Subject) -> None:
    numbers = {n: _near(v) for n, v in subject.numbers.items()}
    many = jax.jit(jax.vmap(lambda n: subject.run(n, jnp.float32)))(numbers)
    alone = jax.jit(lambda: subject.run({n: float(v[1]) for n, v in numbers.items()}, jnp.float32))()
    for lane, solo in zip(jax.tree.leaves(many), jax.tree.leaves(alone), strict=True):
        if not _close(lane[1], solo):
            raise _broken(
                subject, 1, "traceable", f"with all numbers traced a lane gives {_short(lane[1])} and a solo call "
                f"{_short(solo)}; expected the same. Keep no state between calls",
            )  # fmt: skip


def _steady(subject: _Subject) -> None:
    usual = jax.eval_shape(lambda: subject.run(subject.numbers, jnp.float32))
    may_be_zero = [name for name in subject.numbers if name not in subject.positive]
    for name in (*may_be_zero, None):
        zeroed = {n: 0.0 if n in may_be_zero and name in (n, None) else v for n, v in subject.numbers.items()}
        at_zero = jax.eval_shape(lambda z=zeroed: subject.run(z, jnp.float32))
        if (jax.tree.structure(usual), _kinds(usual)) != (jax.tree.structure(at_zero), _kinds(at_zero)):
            raise _broken(
                subject, 2, "steady", f"with {name or 'every number'} = 0 it gives {_words(at_zero)} in place of "
                f"{_words(usual)}; expected the same structure. Let 0 be a value like any other",
            )  # fmt: skip


def _differentiable(subject: _Subject, name: str) -> None:
    with jax.enable_x64(True):
        at = {n: jnp.float64(v) for n, v in subject.numbers.items()}

        def value(number: Any) -> Any:
            return _skewed_sum(subject.run({**at, name: number}, jnp.float64))

        try:
            backward, forward = jax.jit(lambda v: (jax.grad(value)(v), jax.jacfwd(value)(v)))(at[name])
            zero = 0.0 if name in subject.positive else jax.jit(jax.grad(value))(jnp.float64(0))
        except Exception as error:
            raise _broken(
                subject, 3, "differentiable", f"by {name!r} it raised {type(error).__name__}: {_first_line(error)}. "
                "Use functions that have derivatives in both modes",
            ) from error  # fmt: skip
        for where, slope in ((f"{float(at[name]):g}", backward), (f"{float(at[name]):g}", forward), ("0", zero)):
            if not np.isfinite(slope):
                raise _broken(
                    subject, 3, "differentiable", f"its derivative by {name} at {where} is {float(slope)}; expected a "
                    "finite number. Guard roots, logarithms and quotients inside a jnp.where, on both sides of it, or "
                    f"pass positive=[{name!r}] if it is never 0",
                )  # fmt: skip
        difference = (value(at[name] + STEP) - value(at[name] - STEP)) / (2 * STEP)
        off = max(abs(float(backward - difference)), abs(float(forward - difference)))
        if name not in subject.piecewise and off > DERIVATIVE_TOLERANCE * max(1.0, abs(float(difference))):
            raise _broken(
                subject, 3, "differentiable", f"its derivative by {name} at {float(at[name]):g} is "
                f"{float(backward):.8g} backward and {float(forward):.8g} forward, but the finite difference is "
                f"{float(difference):.8g}. Mend the formula, or, where the number decides a branch, say 'piecewise' "
                "in its documentation",
            )  # fmt: skip


def _near(value: float) -> np.ndarray:
    """Three values in the range of a number: fractions of one."""
    return np.array([0.5, 0.75, 1.0], np.float32) * np.float32(value)


def _skewed_sum(tree: PyTree) -> Any:
    """A sum in which every element has a weight of its own."""
    leaves = [x.ravel() for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    flat = jnp.concatenate(leaves)
    return jnp.sum(flat * jnp.cos(1.0 + jnp.arange(flat.size)))


def _finite(subject: _Subject, tree: PyTree, where: str, of: str = "gradients") -> None:
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)):
        raise _broken(
            subject, 3, "differentiable", f"its {of} {where} are not finite: {_short(jax.tree.leaves(tree)[0])}. Guard "
            "roots, logarithms and quotients inside a jnp.where, on both sides of it",
        )  # fmt: skip


def _shapes(subject: _Subject) -> Any:
    return jax.eval_shape(lambda: subject.run(subject.numbers, jnp.float32))


def _kinds(tree: PyTree) -> list[Any]:
    return [(jnp.shape(x), jnp.result_type(x)) for x in jax.tree.leaves(tree)]


def _words(tree: PyTree) -> str:
    kinds = [f"{dtype}{list(shape)}" for shape, dtype in _kinds(tree)]
    return ", ".join(kinds[:4]) + (", …" if len(kinds) > 4 else "") if kinds else "empty"


def _close(a: Any, b: Any, tolerance: float = VALUE_TOLERANCE) -> bool:
    if jnp.issubdtype(jnp.result_type(a), jax.dtypes.prng_key):
        a, b = jax.random.key_data(a), jax.random.key_data(b)
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    scale = np.max(np.abs(b), initial=1.0, where=np.isfinite(b))
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=tolerance, atol=tolerance * scale, equal_nan=True))


def _cast(tree: PyTree, dtype: Any) -> PyTree:
    return jax.tree.map(
        lambda x: jnp.asarray(x, dtype if jnp.issubdtype(jnp.result_type(x), jnp.floating) else None), tree
    )


def _short(values: Any) -> str:
    return np.array2string(np.asarray(values, np.float64), precision=6, threshold=6).replace("\n", "")


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]


def _broken(subject: _Subject, number: int, contract: str, found: str) -> Broken:
    guessed = {name: subject.numbers[name] for name in subject.invented}
    hint = f" Checked with {guessed}, which have no defaults: pass numbers= if that is out of range." if guessed else ""
    return Broken(f"{subject.name} breaks contract {number} ({contract}): {found}.{hint}")
