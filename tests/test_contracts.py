"""The public contract checks: every row of every table passes, and each contract is seen to fail on a broken copy."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxopt_intro import augmentations, contracts, losses, models, optimizers, regularizers, routing, schedules
from jaxopt_intro.contracts import Broken
from jaxopt_intro.trees import at_least_float32
from jaxopt_intro.typing import Decay, Fraction, Model

SIGNED = ("hinge", "squared_hinge", "smoothed_hinge", "logistic", "perceptron")
IMAGES = np.random.default_rng(1).uniform(size=(3, 2, 2)).astype(np.float32)
LARGER = np.random.default_rng(1).uniform(size=(3, 9, 9)).astype(np.float32)  # the least of some networks
ROWS = IMAGES.reshape(3, 4)
# What compiles fast: the sizes are nothing that a check depends on.
SMALL = {"widths": (3,), "width": 3, "blocks": 1, "channels": (2,)}


@pytest.mark.parametrize("name", losses.LOSSES)
def test_every_loss_passes(name):
    both = {"predictions": np.hstack([contracts.SCORES, contracts.TARGETS])} if name == "gaussian_nll" else {}
    signs = {"targets": np.where(contracts.TARGETS > 1, 1.0, -1.0)} if name in SIGNED else {}
    checked = contracts.check_loss(losses.LOSSES[name], **both, **signs)
    assert ("shaped", "") in checked.contracts


@pytest.mark.parametrize("name", regularizers.PENALTIES)
def test_every_penalty_passes(name):
    checked = contracts.check_penalty(regularizers.PENALTIES[name])
    assert ("differentiable", "strength") in checked.contracts


# One of each kind of state; tests/contracts hold the same over all methods. The second gradient is the first again for
# a method that waits: so that of ADOPT is exactly where it is clipped.
@pytest.mark.parametrize("name", ["sgd", "momentum", "adamw", "adopt", "prodigy"])
def test_every_kind_of_optimizer_passes(name):
    checked = contracts.check_optimizer(optimizers.METHODS[name].make)
    assert ("traceable", "learning_rate") in checked.contracts


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.long) if n == "allcnnc" else n for n in models.MODELS]
)
def test_every_model_passes(name):
    make = models.MODELS[name]
    sizes = {size: v for size, v in SMALL.items() if size in routing.parameters(make)}
    example = LARGER if name in ("3c3d", "allcnnc") else IMAGES
    checked = contracts.check_model(make(outputs=2, **sizes), example=example, outputs=2)
    assert ("pure", "") in checked.contracts


@pytest.mark.parametrize("name", schedules.SCHEDULES)
def test_every_schedule_passes(name):
    vectors = {"boundaries": [5.3, 12.7], "factors": [0.6, 0.3]} if name == "piecewise" else {}
    make = functools.partial(schedules.SCHEDULES[name], **{n: jnp.array(v) for n, v in vectors.items()})
    numbers = {"rate": 0.3} if "rate" in routing.parameters(make) else {}  # above 1 it would grow for a million steps
    checked = contracts.check_schedule(routing.named(make, name), numbers=numbers)
    assert ("finite factors", "") in checked.contracts


@pytest.mark.parametrize("name", augmentations.AUGMENTATIONS)
def test_every_augmentation_passes(name):
    checked = contracts.check_augmentation(augmentations.AUGMENTATIONS[name])
    assert ("traceable", "strength") in checked.contracts


# -- broken copies ---------------------------------------------------------------------------------------------


def branching(predictions, targets, *, delta=1.0):
    return jnp.square(predictions - targets) if delta > 0.6 else jnp.abs(predictions - targets)


def shifting(predictions, targets, *, delta=1.0):
    """Decides by the Python type: a traced number is another number."""
    return jnp.square(predictions - targets) * (delta if isinstance(delta, float) else 1.01 * delta)


def structured(predictions, targets, *, delta=1.0):
    """One value for each example, but for a literal 0 one for each output: another shape."""
    values = jnp.square(predictions - targets)
    return values if isinstance(delta, float) and delta == 0 else delta * values.sum(1)


def rooted(predictions, targets, *, delta=1.0):
    return jnp.sqrt(delta) * jnp.square(predictions - targets)


def stopped(predictions, targets, *, delta=1.0):
    return jax.lax.stop_gradient(delta) * jnp.square(predictions - targets)


def one_way(predictions, targets, *, delta=1.0):
    @jax.custom_vjp
    def scaled(delta):
        return delta * 2.0

    scaled.defvjp(lambda d: (d * 2.0, None), lambda _, g: (2.0 * g,))
    return scaled(delta) * jnp.square(predictions - targets)


def averaged(predictions, targets):
    return jnp.mean(jnp.square(predictions - targets))


def centred(predictions, targets):
    return jnp.square(predictions - targets - jnp.mean(predictions, axis=0, keepdims=True))


def broadcast(predictions, targets):
    return jnp.square(predictions[:, None] - targets[None])


def cornered(predictions, targets):
    return jnp.sqrt(jnp.sum(jnp.square(predictions), axis=1)) + 0 * targets[:, 0]


def reported(predictions, targets):
    return {"values": jnp.square(predictions - targets)}


def peeking(predictions, targets):
    return jnp.square(predictions - targets) * (1.0 if float(jnp.sum(predictions)) > 0 else 2.0)


def divided(predictions, targets, *, delta=1.0):
    return jnp.square(predictions - targets) * jnp.asarray(1.0 / delta)


def leaking(predictions, labels):
    return jnp.take_along_axis(predictions, jnp.clip(labels, 0, 2)[:, None], axis=1)[:, 0]


def narrow(predictions, targets):
    return jnp.square(predictions - targets.astype(predictions.dtype))


@jax.custom_vjp
def backwards(errors):
    return jnp.square(errors)


backwards.defvjp(lambda e: (jnp.square(e), e), lambda e, g: (-2 * e * g,))


def reversed_sign(predictions, targets):
    return backwards(at_least_float32(predictions - targets))


def unlearnable(predictions, targets):
    return jnp.square(jax.lax.stop_gradient(at_least_float32(predictions - targets)))


def half_stopped(predictions, targets):
    error = at_least_float32(predictions - targets)
    return jax.lax.stop_gradient(error) * error


def constant(predictions, targets):
    return jnp.square(at_least_float32(targets)) + 0 * predictions


def distance(predictions, targets):
    return jnp.sqrt(jnp.sum(jnp.square(at_least_float32(predictions - targets)), axis=1))


def coarse(predictions, targets):
    return jnp.square((predictions - targets).astype(jnp.bfloat16)).astype(jnp.float32)


def single(predictions, targets):
    """Sound: it computes in float32, whatever comes in, and has a kink."""
    return jnp.abs(predictions.astype(jnp.float32) - targets.astype(jnp.float32))


def test_a_loss_may_compute_in_float32_and_be_asked_at_its_kinks():
    contracts.check_loss(single)
    contracts.check_loss(losses.absolute, predictions=np.ones((4, 3)), targets=np.eye(4, 3))
    contracts.check_loss(losses.crammer_singer, predictions=np.eye(4, 3), numbers={"margin": 0.7})


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (branching, r"1 \(traceable\): with 'delta' traced it raised TracerBoolConversionError.*Use jnp.where"),
        (shifting, r"1 \(traceable\): at delta = 0.5 a lane gives float32 .* Python number float32"),
        (structured, r"2 \(steady\): with delta = 0 it gives float32\[4, 3\] in place of float32\[4\]"),
        (rooted, r"3 \(differentiable\): its derivative by delta at 0 is -?inf; expected a finite"),
        (stopped, r"3 \(differentiable\): its derivative by delta at 1 is 0 backward and 0 forward, but the finite"),
        (one_way, r"3 \(differentiable\): by 'delta' it raised TypeError.*both modes"),
        (reported, r"4 \(shaped\): got a dict; expected an array of shape \(4,\)"),
        (peeking, r"4 \(shaped\): traced, or with one example alone, it raised ConcretizationTypeError"),
        (divided, r"2 \(steady\): with delta = 0 it raised ZeroDivisionError.* positive=\['delta'\]"),
        (leaking, r"4 \(shaped\): the label -1, which is no class, has the loss .* expected NaN"),
        (narrow, r"4 \(shaped\): got bfloat16 for bfloat16 predictions"),
        (averaged, r"4 \(shaped\): got shape \(\) for 4 examples; expected \(4,\)"),
        (centred, r"4 \(shaped\): example 0 has the loss .* among 4 and .* alone"),
        (broadcast, r"4 \(shaped\): got shape \(4, 4, 3\) for 4 examples"),
        (reversed_sign, r"3 \(differentiable\): its gradient by the predictions is .* where finite differences are"),
        (unlearnable, r"3 \(differentiable\): its gradient by the predictions is"),
        (half_stopped, r"3 \(differentiable\): its gradient by the predictions is .* where finite differences are"),
        (constant, r"3 \(differentiable\): its gradient by the predictions is 0 at all of them"),
        (distance, r"3 \(differentiable\): its gradients at predictions that equal the targets are not finite"),
        (coarse, r"4 \(shaped\): its values in float32 are off those in float64 by up to .*; expected"),
        (cornered, r"3 \(differentiable\): its gradients at predictions of zero are not finite"),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_a_broken_loss_is_told_what_and_how_to_mend_it(loss, said):
    with pytest.raises(Broken, match=rf"loss {loss.__name__} breaks contract {said}"):
        contracts.check_loss(loss)


def test_a_number_that_is_a_count_is_told_and_can_be_left_out():
    def trimmed(predictions, targets, *, nearest=2, scale=1.3):
        errors = jnp.sort(jnp.square(at_least_float32(predictions - targets)), axis=1)
        return scale * jnp.sum(errors[:, :nearest], axis=1)

    told = r"1 \(traceable\): 'nearest' must be whole: a count or a shape.*numbers={'nearest': None}.*make it a choice"
    with pytest.raises(Broken, match=told):
        contracts.check_loss(trimmed)
    checked = contracts.check_loss(trimmed, numbers={"nearest": None})
    assert {name for _, name in checked.contracts} == {"scale", ""}


def test_a_number_alone_is_found_where_it_is_traced_beside_python_numbers():
    def mixed(predictions, targets, *, delta=1.0, scale=2.0):
        alone = isinstance(scale, float) and not isinstance(delta, float)
        return (1.01 if alone else 1.0) * delta * scale * jnp.square(predictions - targets)

    def dependent(predictions, targets, *, delta=1.0, scale=2.0):
        together = not isinstance(scale, float) and not isinstance(delta, float)
        return (1.01 if together else 1.0) * delta * scale * jnp.square(predictions - targets)

    with pytest.raises(Broken, match=r"1 \(traceable\): at delta = 0.5 a lane gives"):
        contracts.check_loss(mixed)
    with pytest.raises(Broken, match=r"1 \(traceable\): with all numbers traced a lane gives"):
        contracts.check_loss(dependent)


@pytest.mark.parametrize("kind", ["loss", "penalty", "optimizer", "schedule", "augmentation"])
def test_what_is_no_function_is_told(kind):
    with pytest.raises(ValueError, match=rf"check_{kind}: got 'mine'; expected a function"):
        getattr(contracts, f"check_{kind}")("mine")


def test_arguments_out_of_place_are_told():
    with pytest.raises(ValueError, match=r"got only\(predictions\); expected \(predictions, targets, \*, numbers\)"):
        contracts.check_loss(only)
    with pytest.raises(ValueError, match=r"check_augmentation: got only\(predictions\); expected \(images, strength"):
        contracts.check_augmentation(only)
    with pytest.raises(ValueError, match=r"check_model: got .*, which is no Model; .*Call its constructor"):
        contracts.check_model(models.mlp, example=IMAGES)


def only(predictions):
    return predictions


def test_a_number_that_decides_a_branch_says_so_in_its_documentation():
    def stepped(predictions, targets, *, delta=1.0):
        return jnp.floor(1.5 * delta) * jnp.square(at_least_float32(predictions - targets)) + delta**0 * 0

    def silent(predictions, targets, *, delta=1.0):
        jumping = jnp.where(delta < 2, jax.lax.stop_gradient(delta) + 1, 0)
        return jumping * jnp.square(at_least_float32(predictions - targets))

    with pytest.raises(Broken, match="say 'piecewise' in its documentation"):
        contracts.check_loss(silent)
    silent.__doc__ = "Args:\n        delta: Where it jumps. May be traced;\n            piecewise differentiable.\n"
    assert ("differentiable", "delta") in contracts.check_loss(silent).contracts
    contracts.check_loss(stepped)


def halved(params, *, strength):
    return strength * sum(jnp.sum(jnp.square(x)) for x in jax.tree.leaves(params))  # in bfloat16, if those are


def rooted_penalty(params, *, strength):
    return strength * jnp.sqrt(sum(jnp.sum(jnp.square(x.astype(jnp.float32))) for x in jax.tree.leaves(params)))


def stopped_penalty(params, *, strength):
    return strength * sum(jnp.sum(jax.lax.stop_gradient(x) * x) for x in map(at_least_float32, jax.tree.leaves(params)))


def first_leaf(params, *, strength):
    return strength * jnp.sum(jnp.square(at_least_float32(jax.tree.leaves(params)[0])))


def offset(params, *, strength):
    return sum(jnp.sum(0.5 * (strength + 1e-3) * jnp.square(at_least_float32(x))) for x in jax.tree.leaves(params))


def listed(params, *, strength):
    return strength * jnp.stack([jnp.sum(jnp.abs(x)) for x in jax.tree.leaves(params)])


def reported_penalty(params, *, strength):
    return {"total": strength * jnp.sum(params["bias"])}


def branching_penalty(params, *, strength):
    return strength * jnp.sum(jnp.abs(at_least_float32(params["bias"]))) if params["bias"][0] > 0 else jnp.zeros(())


@pytest.mark.parametrize(
    ("penalty", "said"),
    [
        (reported_penalty, r"4 \(shaped\): got a dict; expected one number. Sum over all leaves"),
        (branching_penalty, r"4 \(callable\): with traced bfloat16 parameters it raised TracerBoolConversionError"),
        (halved, r"4 \(shaped\): got bfloat16\[\] for bfloat16 parameters; expected a float32 scalar"),
        (listed, r"4 \(shaped\): got .*\[2\]"),
        (stopped_penalty, r"3 \(differentiable\): its gradient by the parameters is .* where finite differences are"),
        (first_leaf, r"3 \(differentiable\): its gradient by the kernel 'kernel' is 0"),
        (offset, r"4 \(shaped\): with strength 0 it is 0.0\d+; expected 0"),
        (rooted_penalty, r"3 \(differentiable\): its gradients at parameters of zero are not finite"),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_a_broken_penalty_is_told(penalty, said):
    with pytest.raises(Broken, match=rf"penalty {penalty.__name__} breaks contract {said}"):
        contracts.check_penalty(penalty)


def normalized(learning_rate):
    """The direction of the gradient: 0 / 0 where it is zero."""

    def direction(g):
        return (-learning_rate * g / jnp.sqrt(jnp.sum(g * g))).astype(g.dtype)

    return optax.stateless(lambda grads, params: jax.tree.map(direction, grads))


def elementwise(function):
    return optax.stateless(lambda grads, params: jax.tree.map(lambda g: function(g).astype(g.dtype), grads))


def unguarded(learning_rate, *, eps=1e-8):
    return elementwise(lambda g: -learning_rate * g / (jnp.abs(at_least_float32(g)) + eps))


def rooted_eps(learning_rate, *, eps=1e-8):
    """Its value is finite where its derivative by eps, of a root at 0, is not."""
    return elementwise(lambda g: -learning_rate * g * jnp.exp(-jnp.sqrt(jnp.square(at_least_float32(g)) + eps)))


def narrow_average(learning_rate, *, b1=0.9):
    def update(grads, state, params=None):
        state = jax.tree.map(lambda m, g: (b1 * m + (1 - b1) * g).astype(m.dtype), state, grads)
        return jax.tree.map(lambda m: (-learning_rate * m).astype(m.dtype), state), state

    return optax.GradientTransformation(lambda params: jax.tree.map(jnp.zeros_like, params), update)


def uphill(learning_rate):
    return elementwise(lambda g: learning_rate * g)


def wrapping(learning_rate, *, decay=0.1):
    def update(grads, step, params=None):
        rate = learning_rate / (1 + decay * step.astype(jnp.float32))
        return jax.tree.map(lambda g: (-rate * g).astype(g.dtype), grads), step + jnp.int8(1)

    return optax.GradientTransformation(lambda params: jnp.zeros((), jnp.int8), update)


def widened(learning_rate):
    return optax.stateless(lambda grads, params: jax.tree.map(lambda g: -learning_rate * at_least_float32(g), grads))


def counting(learning_rate, *, every=2.0):
    steps = int(every)
    return optax.stateless(lambda grads, params: jax.tree.map(lambda g: -learning_rate * steps * g, grads))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (optax.lion, r"2 \(steady\): its state is int32\[\], bfloat16\[2\].* so no scan can carry it"),
        (optax.adam, r"2 \(steady\): its state is"),
        (widened, r"4 \(shaped\): its updates are float32\[2\], float32\[3, 2\] for bfloat16 parameters"),
        (normalized, r"3 \(differentiable\): its updates at gradients of zero are not finite"),
        (unguarded, r"3 \(differentiable\): its updates at gradients of zero, with eps = 0, are not finite"),
        (rooted_eps, r"3 \(differentiable\): its updates' derivatives by eps at gradients of zero, with eps = 0, are"),
        (narrow_average, r"2 \(steady\): its state of bfloat16 parameters holds bfloat16, .*; expected float32"),
        (uphill, r"4 \(shaped\): at a small learning rate 10 updates lead from .* to .* on a bowl; expected less"),
        (wrapping, r"2 \(steady\): an int8 of its state wraps around from 127 to -128. Count steps in int32"),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_a_broken_optimizer_is_told(make, said):
    with pytest.raises(Broken, match=rf"optimizer {make.__name__} breaks contract {said}"):
        contracts.check_optimizer(make)


def not_a_transform(learning_rate):
    return {"init": learning_rate}


def of_modules(learning_rate):
    return optax.GradientTransformation(lambda params: params.first, lambda g, s, p=None: (g, s))


def forgetful(learning_rate):
    return optax.GradientTransformation(lambda params: params, lambda g, s, p=None: g)


def drifting(learning_rate):
    """Its float32 average takes the gradient's dtype."""

    def update(grads, state, params=None):
        return jax.tree.map(lambda g: (-learning_rate * g).astype(g.dtype), grads), grads

    return optax.GradientTransformation(lambda p: jax.tree.map(lambda x: jnp.zeros(x.shape), p), update)


def growing(learning_rate):
    def update(grads, state, params=None):
        return jax.tree.map(lambda g: (-learning_rate * g).astype(g.dtype), grads), {"last": grads, **state}

    return optax.GradientTransformation(lambda params: {}, update)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (not_a_transform, r"4 \(shaped\): it makes a dict; expected init and update"),
        (of_modules, r"4 \(callable\): its init for parameters .* raised AttributeError: .* Pass params="),
        (forgetful, r"4 \(shaped\): its update gives a dict; expected \(updates, state\)"),
        (drifting, r"2 \(steady\): its state is float32.* before an update of bfloat16 .* and bfloat16"),
        (growing, r"2 \(steady\): its state is empty before an update of float32 parameters and float32"),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_what_no_training_could_use_is_told(make, said):
    with pytest.raises(Broken, match=rf"optimizer {make.__name__} breaks contract {said}"):
        contracts.check_optimizer(make)


def test_an_optimizer_is_given_what_a_training_gives():
    def polyak(learning_rate=0.1):
        def update(grads, state, params=None, *, value, **extra):
            factor = learning_rate * value / (1 + value)
            return jax.tree.map(lambda g: (-factor * at_least_float32(g)).astype(g.dtype), grads), state

        return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)

    assert ("differentiable", "learning_rate") in contracts.check_optimizer(polyak).contracts


def test_a_number_that_an_optimizer_counts_with_is_told():
    with pytest.raises(Broken, match=r"contract 1 \(traceable\): with 'every' traced"):
        contracts.check_optimizer(counting)


def second_moments(learning_rate, *, b2: Decay = 0.999):
    """Sound: RMSProp with its bias mended, whose second derivative by a decay near 1 is large."""

    def update(grads, state, params=None):
        step, nu = state
        step = step + 1
        nu = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * jnp.square(at_least_float32(g)), nu, grads)
        correction = 1 - b2**step
        moved = jax.tree.map(
            lambda v, g: (-learning_rate * at_least_float32(g) / jnp.sqrt(v / correction + 1e-6)).astype(g.dtype),
            nu, grads,
        )  # fmt: skip
        return moved, (step, nu)

    return optax.GradientTransformation(
        lambda params: (jnp.zeros((), jnp.int32), jax.tree.map(lambda p: jnp.zeros(p.shape), params)), update
    )


def stopped_near_one(learning_rate, *, b2: Decay = 0.999):
    """Its derivative is 0 from 0.9995 on only."""
    return second_moments(learning_rate, b2=jnp.where(b2 > 0.9995, jax.lax.stop_gradient(b2), b2))


def test_a_number_is_checked_where_it_was_given():
    def seen(predictions, targets, *, level: Fraction = 0.5, other: Fraction = 0.5):
        asked.update({"level": level, "other": other} if isinstance(level, float) and level > 0.9 else {})
        return (level + other) * jnp.square(at_least_float32(predictions - targets))

    asked = {}
    contracts.check_loss(seen, numbers={"level": 0.9999, "other": 0})
    assert asked["level"] == np.float32(0.9999)
    assert 0 < asked["other"] < 1e-5

    contracts.check_optimizer(second_moments)
    contracts.check_optimizer(second_moments, numbers={"b2": 0.9999})
    contracts.check_optimizer(stopped_near_one)
    with pytest.raises(Broken, match=r"its derivative by b2 at 0.9999 is 0 backward and 0 forward"):
        contracts.check_optimizer(stopped_near_one, numbers={"b2": 0.9999})


def test_broken_models_are_told():
    sound = models.linear(outputs=2)
    check = functools.partial(contracts.check_model, example=IMAGES)
    seen = iter(range(9))

    def impure(key, example, hparams):
        params, state = sound.init(key, example, hparams)
        return jax.tree.map(lambda x: x + next(seen), params), state

    def transposed(*args, **told):
        outputs, state = sound.apply(*args, **told)
        return outputs.T, state

    def batched(*args, **told):
        outputs, state = sound.apply(*args, **told)
        return outputs + jnp.arange(len(outputs))[::-1, None], state

    def counted(*args, **told):
        outputs, state = sound.apply(*args, **told)
        return outputs, {"count": jnp.zeros(()), **state} if told["train"] else state

    check(sound, outputs=2)
    for model, said in [
        (sound._replace(init=impure), r"4 \(pure\): two calls of init with one key differ"),
        (sound._replace(apply=transposed), r"4 \(shaped\): got outputs of shape \(2, 3\) for 3 examples"),
        (sound._replace(apply=batched), r"4 \(shaped\): the first example's outputs are .* among 3 and .* alone"),
        (sound._replace(apply=counted), r"2 \(steady\): its model_state is empty before and float32\[\] after"),
    ]:
        with pytest.raises(Broken, match=said):
            check(model)
    with pytest.raises(Broken, match=r"expected \(3, 5\)"):
        check(sound, outputs=5)


@pytest.mark.parametrize("numbers", [None, {"width": 3}])
def test_a_width_is_no_number_and_can_be_left_out(numbers):
    class Net(nnx.Module):
        def __init__(self, *, width=3, slope=0.1, rngs):
            self.first, self.second = nnx.Linear(4, width, rngs=rngs), nnx.Linear(width, 2, rngs=rngs)
            self.slope = slope

        def __call__(self, x):
            x = self.first(x)
            return self.second(jnp.where(x > 0, x, self.slope * x))

    model = models.from_nnx(Net)
    with pytest.raises(Broken, match=r"1 \(traceable\): 'width' must be whole: a count or a shape.*make it a choice"):
        contracts.check_model(model, example=ROWS, numbers=numbers)
    checked = contracts.check_model(model, example=ROWS, numbers={"width": None})
    assert {name for _, name in checked.contracts} == {"slope", ""}


def test_a_model_that_branches_on_its_inputs_or_returns_more_is_told():
    sound = models.linear(outputs=2)

    def branching(params, state, inputs, **told):
        return sound.apply(params, state, inputs if inputs[0, 0] > 0 else -inputs, **told)

    def twofold(*args, **told):
        outputs, state = sound.apply(*args, **told)
        return {"outputs": outputs}, state

    def noisy(params, state, inputs, *, key, **told):
        outputs, state = sound.apply(params, state, inputs, key=key, **told)
        return outputs + jax.random.normal(key, outputs.shape), state

    for apply, said in [
        (branching, r"4 \(callable\): with params and inputs traced it raised TracerBoolConversionError"),
        (twofold, r"4 \(shaped\): got a dict; expected outputs of shape \(3, ...\)"),
        (noisy, r"4 \(callable\): with train=False and no key it raised .* Draw nothing there"),
    ]:
        with pytest.raises(Broken, match=said):
            contracts.check_model(sound._replace(apply=apply), example=ROWS)


def test_your_own_module_can_be_checked():
    class Net(nnx.Module):
        def __init__(self, hidden: int, *, slope=0.1, rngs):
            self.first, self.second = nnx.Linear(4, hidden, rngs=rngs), nnx.Linear(hidden, 2, rngs=rngs)
            self.slope = slope

        def __call__(self, x):
            x = self.first(x)
            return self.second(jnp.where(x > 0, x, self.slope * x))

    model = models.from_nnx(functools.partial(Net, 3))
    assert isinstance(model, Model)
    assert ("differentiable", "slope") in contracts.check_model(model, example=ROWS, outputs=2).contracts


class Scaled(nnx.Module):
    """Sound where the temperature is more than 0."""

    def __init__(self, example, *, outputs, temperature=1.0, rngs):
        self.dense, self.temperature = nnx.Linear(example[0].size, outputs, rngs=rngs), temperature

    def __call__(self, x):
        return self.dense(x.reshape(x.shape[0], -1)) / self.temperature


def test_a_model_may_have_numbers_that_are_never_zero():
    model = models.from_nnx(functools.partial(Scaled, outputs=3))
    with pytest.raises(Broken, match=r"pass positive=\['temperature'\] if it is never 0"):
        contracts.check_model(model, example=IMAGES)
    checked = contracts.check_model(model, example=IMAGES, positive=["temperature"], outputs=3)
    assert ("differentiable", "temperature") in checked.contracts


@pytest.mark.parametrize("adapted", [models.from_nnx, lambda factory: models.from_constructor(made_by(factory))])
def test_a_model_whose_factory_says_piecewise_needs_only_finite_derivatives(adapted):
    class Gated(nnx.Module):
        def __init__(self, *, level=0.1, rngs):
            self.dense, self.level = nnx.Linear(4, 2, rngs=rngs), level

        def __call__(self, x):
            return self.dense(x) * jnp.where(self.level < 2, jax.lax.stop_gradient(self.level), 1.0)

    with pytest.raises(Broken, match="say 'piecewise' in its documentation"):
        contracts.check_model(adapted(Gated), example=ROWS)
    Gated.__init__.__doc__ = "Args:\n        level: Where it jumps; piecewise differentiable.\n"
    assert ("differentiable", "level") in contracts.check_model(adapted(Gated), example=ROWS).contracts


def made_by(factory):
    def constructor(*, level=0.1):
        return models.from_nnx(functools.partial(factory, level=level))

    constructor.__doc__ = factory.__init__.__doc__
    return constructor


def test_a_model_that_cannot_learn_is_told():
    sound = models.from_nnx(functools.partial(nnx.Linear, 4, 2))

    def changed(change):
        def apply(params, state, inputs, **told):
            return sound.apply(change(params), state, inputs, **told)

        return sound._replace(apply=apply)

    def rooted(params):
        return jax.tree.map(lambda p: p + jnp.sqrt(jnp.abs(p - p)), params)

    with pytest.raises(Broken, match=r"3 \(differentiable\): its gradients by the parameters, .* are all 0"):
        contracts.check_model(changed(jax.lax.stop_gradient), example=ROWS)
    with pytest.raises(Broken, match=r"3 \(differentiable\): its gradients by the parameters, .* are not finite"):
        contracts.check_model(changed(rooted), example=ROWS)


def test_broken_schedules_are_told():
    def floored(*, length):
        return lambda step: 1.0 - step / math.floor(length)

    def falling(*, length):
        return lambda step: 1.0 / (length - step)

    def doubled(*, rate=0.9):
        return lambda step: jnp.array([1.0, 1.0]) * rate**step

    def stepping(*, rate=0.9):
        return lambda step: rate if step < 3 else rate**2

    def immediate(*, rate=0.9):
        return rate

    def unclipped(*, length):
        return lambda step: 1.0 - step / length

    def soaring(*, rate=0.1):
        return lambda step: jnp.exp(rate * step)

    with pytest.raises(Broken, match=r"4 \(shaped\): its least factor .* is -\d+.*; expected none below 0"):
        contracts.check_schedule(unclipped, positive=["length"])
    with pytest.raises(Broken, match=r"3 \(differentiable\): its factors at step 1000000 are not finite: inf"):
        contracts.check_schedule(soaring)
    with pytest.raises(
        Broken, match=r"1 \(traceable\): with the step traced it raised TracerBoolConversionError.*where"
    ):
        contracts.check_schedule(stepping)
    with pytest.raises(Broken, match=r"4 \(shaped\): it makes a float; expected a function, step -> factor"):
        contracts.check_schedule(immediate)
    with pytest.raises(Broken, match=r"1 \(traceable\): with 'length' traced it raised"):
        contracts.check_schedule(floored)
    with pytest.raises(Broken, match=r"3 \(differentiable\): its derivative by length at 8 is -?inf"):
        contracts.check_schedule(falling, numbers={"length": 8.0})
    with pytest.raises(Broken, match=r"4 \(shaped\): got a factor of shape \(2,\) for one step"):
        contracts.check_schedule(doubled)


def test_broken_augmentations_are_told():
    def cropped(images, strength, *, key):
        return (images[:, 1:] * (1 + strength)).astype(images.dtype)

    def darker(images, strength, *, key):
        return (images * (0.9 - 0.1 * strength)).astype(images.dtype)

    def together(images, strength, *, key):
        return (images + strength * (images - jnp.mean(images))).astype(images.dtype)

    def branched(images, strength, *, key):
        return images if strength == 0 else images + strength

    def skipped(images, strength, *, key):
        """The identity for a literal 0 only."""
        changed = (images * (1 - 0.1 * strength) + 1e-3).astype(images.dtype)
        return images if isinstance(strength, float) and strength == 0 else changed

    def clipped(images, strength, *, key):
        return jnp.clip(images + strength * jax.random.normal(key, images.shape), 0, 1).astype(images.dtype)

    def gray(images, strength, *, key):
        """As it were of one channel."""
        return (images + (strength - 1e-3) * (images - images[..., :1])).astype(images.dtype)

    def keyless(images, strength, *, key):
        """Each image has a key of its own, but not of the call's."""
        keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), jnp.arange(len(images)))
        drawn = jax.vmap(lambda key: jax.random.normal(key, images.shape[1:]))(keys)
        return (images + strength * drawn).astype(images.dtype)

    def widening(images, strength, *, key):
        return images + strength * jax.random.normal(key, (len(images), 1, 1, 1))

    for broken, said in [
        (clipped, r"4 \(shaped\): strength 0 changes normalized images, by up to 1.99"),
        (gray, r"4 \(shaped\): strength 0 changes images"),
        (keyless, r"4 \(shaped\): at strength 0.5 every key gives the same"),
        (widening, r"4 \(shaped\): got float32 for bfloat16 images"),
        (skipped, r"4 \(shaped\): strength 0 changes images, by up to 0.001"),
        (cropped, r"4 \(shaped\): got images of shape \(4, 7, 6, 3\) for \(4, 8, 6, 3\)"),
        (darker, r"4 \(shaped\): strength 0 changes images, by up to 0.09"),
        (together, r"4 \(shaped\): the first image's result depends on the last image"),
    ]:
        with pytest.raises(Broken, match=rf"augmentation {broken.__name__} breaks contract {said}"):
            contracts.check_augmentation(broken)
    with pytest.raises(Broken, match=r"traced it raised TracerBoolConversionError"):
        contracts.check_augmentation(branched)


def test_broken_augmentations_of_targets_are_told():
    def mixed(inputs, targets, weight, order):
        each = weight[:, None, None, None]
        others = targets[order]
        return (each * inputs + (1 - each) * inputs[order]).astype(inputs.dtype), augmentations.Mixed(
            targets, others, weight
        )

    def backwards(inputs, targets, strength, *, key):
        return mixed(inputs, targets, 0.5 - 0.5 * strength + jnp.zeros(len(inputs)), jnp.arange(len(inputs))[::-1])

    def for_all(inputs, targets, strength, *, key):
        weight = 1 - 0.4 * strength
        return inputs, augmentations.Mixed(targets, targets[::-1], weight)

    def unmixed(inputs, targets, strength, *, key):
        return mixed(inputs, targets, 1 - 0.4 * strength + jnp.zeros(len(inputs)), jnp.arange(len(inputs))[::-1])[0]

    def always(inputs, targets, strength, *, key, classes):
        return inputs, (targets + 1) % classes

    def soft(inputs, targets, strength, *, key):
        return inputs, jax.nn.one_hot(targets, 4)

    def alike(inputs, targets, strength, *, key, classes):
        return inputs, jnp.where(2 * strength > jax.random.uniform(key), (targets + 1) % classes, targets)

    def neighbours(inputs, targets, strength, *, key):
        return inputs, jnp.where(strength > jax.random.uniform(key, targets.shape) - 1, targets[::-1], targets)

    def gated(inputs, targets, strength, *, key):
        return inputs, jnp.where(strength > 0, targets[::-1], targets)

    for broken, said in [
        (backwards, r"strength 0 changes images"),
        (for_all, r"got weights float32\[\] for 4 examples; expected one for each"),
        (unmixed, r"got a .*; expected \(inputs, targets\), since it takes targets"),
        (always, r"strength 0 changes targets, from \[3. 0. 2. 1.\]; expected them exactly"),
        (soft, r"got targets float32\[4, 4\] for int32\[4\]; expected the same, or augmentations.Mixed"),
        (alike, r"eight equal images are changed alike"),
        (neighbours, r"strength 0 changes targets"),
        (gated, r"the first image's result depends on the last image"),
    ]:
        with pytest.raises(Broken, match=rf"augmentation {broken.__name__} breaks contract 4 \(shaped\): {said}"):
            contracts.check_augmentation(broken)
