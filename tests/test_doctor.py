from __future__ import annotations

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx

from jaxopt_intro import Experiment, Trial, losses, make_training, models, optimizers
from jaxopt_intro.experiment import grouping
from jaxopt_intro.models import layers
from jaxopt_intro.sweeps.doctor import stage
from jaxopt_intro.typing import Model
from tests.small import DATA

X = jnp.ones((4, 3))
Y = jnp.array([0, 1, 1, 0])


def _stage(function, **hparams):
    """Stages a function of named numbers."""
    return stage(lambda traced, fixed: function(**traced, **fixed), hparams)


def _line(function, text: str) -> str:
    """Where a line of a function stands, as a reason names it."""
    lines, first = inspect.getsourcelines(function)
    at = next(i for i, line in enumerate(lines) if text in line)
    return f"test_doctor.py:{first + at}: {lines[at].strip()}"


def arithmetic(a, b):
    return jnp.where(a > 0, X * a, X - b) ** b


def shaped(width, scale):
    return jnp.zeros(int(width)) * scale


def branches(rate, scale):
    if rate == 0.0:
        return X
    return X * rate * scale


def loops(steps, scale):
    x = X
    for _ in range(steps):
        x = x * scale
    return x


def selects(layer, scale):
    return [X, 2 * X][layer] * scale


def python_number(power, scale):
    return X * scale ** float(power)


def length(n, scale):
    return jnp.arange(n) * scale


def test_what_only_computes_is_traced():
    assert _stage(arithmetic, a=0.5, b=2.0) == {}
    assert _stage(lambda **_: X) == {}


def by_numpy(base, scale):
    return X * scale * np.log(base)


def as_key(option, scale):
    return {1: X, 2: 2 * X}[option] * scale


def as_text(rate, scale):
    return X * scale * len(f"{rate:.1f}")


def as_size(memory, scale):
    optimizers.lbfgs(learning_rate=scale, memory=memory)
    return X


def from_a_set(option, scale):
    if not isinstance(option, float | int):
        raise KeyError("no such option")
    return X * scale * option


def turns(steps, scale):
    x, steps = X, int(steps)
    for _ in range(steps):
        x = x * scale
    return x


def told_otherwise(width, scale):
    try:
        return jnp.zeros(int(width)) * scale
    except TypeError as error:
        raise ValueError("the width has to be whole") from error


def on_several_lines(width, scale):
    return jnp.concatenate([
        X,
        jnp.zeros((4, width)),
    ], axis=1) * scale  # fmt: skip


squared = lambda x, power: x ** int(power)  # noqa: E731


def by_lambda(power, scale):
    return squared(X, power) * scale


def by_closure(power, scale):
    def inner(x):
        return x ** float(power)

    return jax.vmap(inner)(X) * scale


def by_schedule(length, scale):
    return X * scale * optax.cosine_decay_schedule(1.0, length)(3)


SCHEDULED = "; schedules.cosine would trace"
REFUSED = "refused (KeyError: 'no such option')"
REFUSALS = {
    "int in a shape": (shaped, {"width": 3}, "a shape", "int(width)", ""),
    "a shape on several lines": (on_several_lines, {"width": 3}, "a shape", "jnp.zeros((4, width))", ""),
    "arange": (length, {"n": 2}, "a shape", "jnp.arange(n)", ""),
    "a branch": (branches, {"rate": 0.5}, "a branch", "if rate == 0.0", ""),
    "range": (loops, {"steps": 2}, "a Python number (how often a loop runs)", "range(steps)", ""),
    "int of a loop": (turns, {"steps": 2}, "a Python number", "int(steps)", ""),
    "a place": (selects, {"layer": 1}, "a Python number (a place in a list)", "[layer]", ""),
    "float": (python_number, {"power": 2}, "a Python number", "float(power)", ""),
    "NumPy": (by_numpy, {"base": 2.0}, "a Python number (a NumPy call)", "np.log(base)", ""),
    "a key": (as_key, {"option": 1}, "a Python number (a key of a dictionary, or an argument that jit has static)",
              "[option]", ""),
    "a text": (as_text, {"rate": 0.5}, "a Python number (a text)", "{rate:.1f}", ""),
    "a size of ours": (as_size, {"memory": 3}, "a Python number", "memory=memory", ""),
    "another error": (from_a_set, {"option": 1}, REFUSED, "raise KeyError", ""),
    "an error made of another": (told_otherwise, {"width": 3}, "a shape", "int(width)", ""),
    "a lambda": (by_lambda, {"power": 2}, "a Python number", None, ""),
    "a closure": (by_closure, {"power": 2}, "a Python number", "float(power)", ""),
    "optax's": (by_schedule, {"length": 9}, "a branch in optax's cosine_decay_schedule", "optax.", SCHEDULED),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_what_changes_the_program_is_compiled_and_the_line_is_named(name):
    function, hparams, what, text, hint = REFUSALS[name]
    line = _line(squared, "int(power)") if text is None else _line(function, text)
    assert _stage(function, scale=0.5, **hparams) == {next(iter(hparams)): f"{what} at {line}{hint}"}


def test_each_of_several_numbers_has_its_own_reason():
    def program(width, rate, scale):
        return shaped(width, scale).sum() + branches(rate, scale)

    found = _stage(program, width=3, rate=0.5, scale=2.0)
    assert list(found) == ["width", "rate"]
    assert found["width"].startswith("a shape")
    assert found["rate"].startswith("a branch")


def test_numbers_that_trace_alone_but_not_together_are_all_compiled():
    def together(a, b):
        both = isinstance(a, jax.core.Tracer) and isinstance(b, jax.core.Tracer)
        return int(a) if both else X * a * b

    found = _stage(together, a=1.0, b=2.0)
    assert sorted(found) == ["a", "b"]
    assert all(reason.endswith(_line(together, "int(a)")) for reason in found.values())


def test_a_program_that_is_wrong_anyway_says_so():
    def wrong(a):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        _stage(wrong, a=1.0)


def test_few_of_many_numbers_are_found_in_fewer_traces_than_there_are_numbers():
    traces = []

    def program(**numbers):
        traces.append(len(numbers))
        return shaped(numbers.pop("width"), sum(numbers.values()))

    found = _stage(program, width=3, **{f"n{i}": 0.5 for i in range(15)})
    assert list(found) == ["width"]
    assert len(traces) <= 1 + 1 + 2 * 4 + 2 + 1  # all fixed, all traced, halves of 16, two outlines, the rest together


def test_two_that_trace_alone_but_not_together_leave_the_others_traced():
    def together(a, b, c, d):
        both = isinstance(a, jax.core.Tracer) and isinstance(b, jax.core.Tracer)
        return int(a) if both else X * a * b * c * d

    assert sorted(_stage(together, a=1.0, b=2.0, c=1.0, d=1.0)) == ["a", "b"]
    assert sorted(_stage(together, a=1.0, c=1.0, b=2.0, d=1.0)) == ["a", "b", "c", "d"]  # which one is to blame?


class WithLayers(nnx.Module):
    def __init__(self, *, rate=0.5, flax_rate=0.5, width: int = 4, slope=0.1, rngs):
        self.dense = nnx.Linear(3, int(width), rngs=rngs)
        self.out = nnx.Linear(int(width), 2, rngs=rngs)
        self.drop, self.flax_drop, self.slope = (
            layers.Dropout(rate, rngs=rngs),
            nnx.Dropout(flax_rate, rngs=rngs),
            slope,
        )

    def __call__(self, x):
        hidden = self.drop(nnx.leaky_relu(self.dense(x), self.slope))
        hidden = self.flax_drop(hidden)
        return self.out(hidden)


class WithLinen(linen.Module):
    rate: float = 0.5
    scale: float = 1.0
    features: int = 2

    @linen.compact
    def __call__(self, x, train: bool):
        hidden = linen.Dense(int(self.features))(x)
        return linen.Dropout(self.rate, deterministic=not train)(self.scale * hidden)


def _training(model, traced, fixed):
    made = make_training(model, losses.softmax_cross_entropy, optimizers.adam, example=(X, Y))
    hparams = {**traced, **fixed}
    state, _ = made.step(made.init(jax.random.key(0), hparams), (X, Y), hparams)
    return state.params


def test_a_trainings_numbers_are_staged_through_all_its_parts():
    model = models.from_nnx(WithLayers)
    numbers = {"rate": 0.2, "flax_rate": 0.3, "width": 4, "slope": 0.2, "learning_rate": 0.1, "label_smoothing": 0.0}
    found = stage(lambda t, f: _training(model, t, f), numbers)
    assert sorted(found) == ["flax_rate", "width"]
    assert found["width"].endswith(_line(WithLayers.__init__, "self.dense"))
    line = _line(WithLayers.__call__, "self.flax_drop(hidden)")
    assert found["flax_rate"] == f"a branch in flax's Dropout at {line}; models.layers.Dropout would trace"


def test_linen_fields_are_staged_too():
    model = models.from_linen(WithLinen())
    found = stage(lambda t, f: _training(model, t, f), {"rate": 0.2, "scale": 2.0, "features": 2, "learning_rate": 0.1})
    assert sorted(found) == ["features", "rate"]
    assert found["features"].endswith(_line(WithLinen.__call__, "int(self.features)"))
    line = _line(WithLinen.__call__, "linen.Dropout")
    assert found["rate"].startswith(f"a branch in flax's Dropout at {line}; regularizers.stochastic.dropout(")


def test_a_line_of_a_notebook_is_said_to_be_in_a_cell():
    """IPython compiles a cell as a file in the temporary folder, named by a hash that tells a reader nothing."""
    scope = {"jnp": jnp}
    code = "def shapes(traced, fixed):\n    return jnp.zeros(int({**traced, **fixed}['width']))\n"
    exec(compile(code, "/tmp/ipykernel_4711/1415926535.py", "exec"), scope)
    assert stage(scope["shapes"], {"width": 3}) == {"width": "a shape in a cell, line 2"}


def test_nothing_is_computed():
    ran = []

    def program(a):
        jax.debug.callback(lambda: ran.append(1))
        return jnp.zeros((10**6, 10**6)) * a  # four terabytes

    assert _stage(program, a=1.0) == {}
    assert ran == []


# -- user models of many styles, the whole way from an experiment ------------------------------------------------


class NnxList(nnx.Module):
    def __init__(self, example, *, outputs, depth=2, slope=0.1, rngs):
        self.layers = nnx.List([nnx.Linear(4, 4, rngs=rngs) for _ in range(depth)])
        self.out, self.slope = nnx.Linear(4, outputs, rngs=rngs), slope

    def __call__(self, x):
        for layer in self.layers:
            x = nnx.leaky_relu(layer(x), self.slope)
        return self.out(x)


class NnxLambda(nnx.Module):
    def __init__(self, *, outputs, power=2, scale=1.0, rngs):
        self.out = nnx.Linear(4, outputs, rngs=rngs)
        self.activation = lambda x: scale * x ** int(power)

    def __call__(self, x):
        return self.activation(self.out(x))


class NnxWidth(nnx.Module):
    def __init__(self, *, outputs, width=6, slope=0.1, rngs):
        self.hidden = nnx.Linear(4, width, rngs=rngs)
        self.out, self.slope = nnx.Linear(width, outputs, rngs=rngs), slope

    def __call__(self, x):
        return self.out(nnx.leaky_relu(self.hidden(x), self.slope))


class NnxDropout(nnx.Module):
    def __init__(self, *, outputs, rate=0.1, scale=1.0, rngs):
        self.drop = nnx.Dropout(rate, rngs=rngs)
        self.out, self.scale = nnx.Linear(4, outputs, rngs=rngs), scale

    def __call__(self, x):
        return self.scale * self.out(self.drop(x))


class LinenCompact(linen.Module):
    features: int = 5
    scale: float = 1.0

    @linen.compact
    def __call__(self, x):
        x = linen.relu(linen.Dense(self.features)(x))
        return self.scale * linen.Dense(3)(x)


class LinenSetup(linen.Module):
    depth: int = 2
    slope: float = 0.1

    def setup(self):
        self.layers = [linen.Dense(4) for _ in range(self.depth)]
        self.out = linen.Dense(3)

    def __call__(self, x):
        for layer in self.layers:
            x = linen.leaky_relu(layer(x), self.slope)
        return self.out(x)


class LinenDropout(linen.Module):
    rate: float = 0.1
    scale: float = 1.0

    @linen.compact
    def __call__(self, x, train: bool):
        x = linen.Dropout(self.rate, deterministic=not train)(x)
        return self.scale * linen.Dense(3)(x)


def init_plain(key, example, hparams):
    return {"w": 0.1 * jax.random.normal(key, (4, 3))}, {}


def apply_plain(params, model_state, x, *, train, key, hparams):
    x = x if hparams["gain"] > 1.0 else 2 * x
    return hparams["scale"] * x @ params["w"], model_state


def both_uses(*, outputs, width=4, scale=1.0, rngs):
    gain = scale / width
    hidden = nnx.Linear(4, int(width), rngs=rngs)
    return nnx.Sequential(hidden, lambda x: gain * x, nnx.Linear(int(width), outputs, rngs=rngs))


def with_kind(kind, *, outputs, temperature=1.0, scale=1.0, rngs):
    power = np.exp(temperature)
    return nnx.Sequential(nnx.Linear(4, outputs, rngs=rngs), kind, lambda x: scale * x / power)


PLAIN = Model(init_plain, apply_plain, ("gain", "scale"))
HINT = "; models.layers.Dropout would trace"
STYLES = {
    "nnx, a list of layers": (NnxList, {"depth": 2, "slope": 0.1}, "a Python number (how often a loop runs)",
                              NnxList.__init__, "range(depth)"),
    "nnx, a lambda": (NnxLambda, {"power": 2, "scale": 1.0}, "a Python number", NnxLambda.__init__, "int(power)"),
    "nnx, a shape": (NnxWidth, {"width": 6, "slope": 0.1}, "a shape in flax's Linear", NnxWidth.__init__, "nnx.Linear"),
    "nnx, a dropout": (NnxDropout, {"rate": 0.1, "scale": 1.0}, "a branch in flax's Dropout",
                       NnxDropout.__call__, "self.drop(x)"),
    "linen, compact": (LinenCompact, {"features": 5, "scale": 1.0}, "a shape in flax's Dense",
                       LinenCompact.__call__, "self.features"),
    "linen, setup": (LinenSetup(), {"depth": 2, "slope": 0.1}, "a Python number (how often a loop runs)",
                     LinenSetup.setup, "range(self.depth)"),
    "linen, a dropout": (LinenDropout, {"rate": 0.1, "scale": 1.0}, "a branch in flax's Dropout",
                         LinenDropout.__call__, "linen.Dropout"),
    "plain functions": (PLAIN, {"gain": 2.0, "scale": 1.0}, "a branch", apply_plain, 'hparams["gain"]'),
    "a shape and arithmetic": (both_uses, {"width": 4, "scale": 1.0}, "a shape", both_uses, "int(width)"),
    "functools.partial": (functools.partial(with_kind, nnx.relu), {"temperature": 1.0, "scale": 1.0},
                          "a Python number (a NumPy call)", with_kind, "np.exp(temperature)"),
}  # fmt: skip


@pytest.mark.parametrize("name", STYLES)
def test_models_of_many_styles_are_staged_right_and_the_line_is_theirs(name):
    model, numbers, what, where, text = STYLES[name]
    trial = Trial({**numbers, "learning_rate": 0.1})
    experiment = Experiment(data=DATA, model=model, optimizer="sgd", batch_size=10)
    (staged,), _ = grouping.stage(experiment, DATA, [trial])
    refused, _ = numbers
    reason = f"{what} at {_line(where, text)}"
    assert list(staged.compiled) == [refused]
    assert staged.compiled[refused].startswith(reason)
    assert (HINT in staged.compiled[refused]) == (model is NnxDropout)
