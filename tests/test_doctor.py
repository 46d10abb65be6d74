from __future__ import annotations

import inspect

import jax
import jax.numpy as jnp
import pytest
from flax import linen, nnx

from jaxopt_intro import losses, make_training, models, optimizers
from jaxopt_intro.models import layers
from jaxopt_intro.sweeps.doctor import stage

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


@pytest.mark.parametrize(
    ("function", "hparams", "what", "text"),
    [
        (shaped, {"width": 3}, "a shape or a Python number", "int(width)"),
        (branches, {"rate": 0.5}, "a branch", "if rate == 0.0"),
        (loops, {"steps": 2}, "a shape or a Python number", "range(steps)"),
        (selects, {"layer": 1}, "a shape or a Python number", "[layer]"),
        (python_number, {"power": 2}, "a shape or a Python number", "float(power)"),
        (length, {"n": 2}, "a shape or a Python number", "jnp.arange(n)"),
    ],
    ids=["shape", "branch", "loop", "list", "float", "arange"],
)
def test_what_changes_the_program_is_compiled_and_the_line_is_named(function, hparams, what, text):
    found = _stage(function, scale=0.5, **hparams)
    assert found == {next(iter(hparams)): f"{what} at {_line(function, text)}"}


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


def test_parts_of_the_library_may_be_left_out_of_the_blame():
    found = stage(lambda t, f: shaped(**t, **f), {"width": 3, "scale": 1.0}, library=("test_doctor.py",))
    assert "test_doctor" not in found["width"]


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
    assert found["flax_rate"] == f"a branch at {_line(WithLayers.__call__, 'self.flax_drop(hidden)')}"


def test_linen_fields_are_staged_too():
    model = models.from_linen(WithLinen())
    found = stage(lambda t, f: _training(model, t, f), {"rate": 0.2, "scale": 2.0, "features": 2, "learning_rate": 0.1})
    assert sorted(found) == ["features", "rate"]
    assert found["features"].endswith(_line(WithLinen.__call__, "int(self.features)"))
    assert found["rate"] == f"a branch at {_line(WithLinen.__call__, 'linen.Dropout')}"


def test_nothing_is_computed():
    ran = []

    def program(a):
        jax.debug.callback(lambda: ran.append(1))
        return jnp.zeros((10**6, 10**6)) * a  # four terabytes

    assert _stage(program, a=1.0) == {}
    assert ran == []
