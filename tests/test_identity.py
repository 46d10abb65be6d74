from __future__ import annotations

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxopt_intro.sweeps.identity import program_hash, trial_id

X = jnp.ones(3)
PARTS = {"model": "mlp", "data": "abc", "penalty": ["l1", "l2"]}


@pytest.mark.parametrize(
    ("hparams", "choices", "parts", "expected"),
    [
        ({}, {}, {}, "00fe593b6d13"),
        ({"learning_rate": 0.1, "l2": 1e-4}, {}, {}, "d1c3e966f6ab"),
        ({"learning_rate": 0.1}, {"optimizer": "adam"}, PARTS, "e4cb9d968f42"),
        ({"n": 3}, {"optimizer": "optax:lion(b1=0.8)"}, {"x": None, "y": [1, 2.5, True]}, "0111c7ca3ca1"),
    ],
)
def test_ids_never_change(hparams, choices, parts, expected):
    # Every stored run is found again by these ids. A change here orphans all of them: raise FORMAT and say so instead.
    assert trial_id(hparams, choices, parts) == expected


@given(st.floats(-1e30, 1e30))
def test_only_the_float32_value_of_a_number_counts(value: float):
    single = np.float32(value)
    ids = {trial_id({"x": v}, {}, {}) for v in (value, single, float(single), np.array(single), jnp.float32(single))}
    assert len(ids) == 1
    assert trial_id({"x": np.nextafter(single, np.float32(np.inf))}, {}, {}) not in ids


def test_whole_numbers_are_their_floats_and_order_does_not_count():
    assert trial_id({"n": 3}, {}, {}) == trial_id({"n": 3.0}, {}, {})
    assert trial_id({"a": 1, "b": 2}, {"c": "x", "d": "y"}, {}) == trial_id({"b": 2, "a": 1}, {"d": "y", "c": "x"}, {})


def test_everything_else_makes_another_trial():
    base = trial_id({"a": 1.0}, {"optimizer": "adam"}, PARTS)
    others = [
        trial_id({"b": 1.0}, {"optimizer": "adam"}, PARTS),
        trial_id({"a": 1.0, "b": 0.0}, {"optimizer": "adam"}, PARTS),
        trial_id({"a": 1.0}, {"optimizer": "sgd"}, PARTS),
        trial_id({"a": 1.0}, {"loss": "adam"}, PARTS),
        trial_id({"a": 1.0}, {}, {**PARTS, "optimizer": "adam"}),
        trial_id({"a": 1.0}, {"optimizer": "adam"}, {**PARTS, "data": "abd"}),
        trial_id({"a": 1.0}, {"optimizer": "adam"}, {**PARTS, "penalty": ["l2", "l1"]}),
    ]
    assert len({base, *others}) == 8


PROGRAM = """
import jax, jax.numpy as jnp, numpy as np
from jaxopt_intro import losses, make_training, models, optimizers, regularizers
from jaxopt_intro.sweeps.identity import program_hash
batch = jnp.ones((4, 3)), jnp.array([0, 1, 1, 0])
shift = np.linspace(0.0, 1.0, 3, dtype=np.float32)
def mine(scores, labels, *, q):
    jax.debug.callback(lambda q: None, q)  # its text in the jaxpr holds an address in memory
    return losses.softmax_cross_entropy(jnp.tanh(scores * q), labels)
made = make_training(models.mlp(outputs=2, widths=(4,), dropout=0.1), mine, optimizers.adam, example=batch,
                     penalty=regularizers.l1, prepare=jax.jit(lambda x: x + shift[None]))
def first_step(key, hparams):
    return made.step(made.init(key, hparams), batch, hparams)[0].params
numbers = {n: jax.ShapeDtypeStruct((), "float32") for n in ("q", "learning_rate", "b1", "l1", "dropout")}
print(program_hash(first_step, jax.eval_shape(lambda: jax.random.key(0)), numbers))
"""


def test_a_program_hash_is_the_same_in_every_process():
    hashes = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed, "JAX_PLATFORMS": "cpu"},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert len(hashes) == 1
    assert len(hashes.pop()) == 12


def _inside(kind: str, constant):
    """The same product with a constant, closed over by a function inside another transform."""
    jvp, vjp = jax.custom_jvp(lambda x: x * constant), jax.custom_vjp(lambda x: x * constant)
    jvp.defjvp(lambda x, t: (x[0] * constant, t[0] * constant))
    vjp.defvjp(lambda x: (x * constant, None), lambda _, g: (g * constant,))
    return {
        "plain": lambda x: x * constant,
        "jit": jax.jit(lambda x: x * constant),
        "jit in jit": jax.jit(lambda x: 1 + jax.jit(lambda y: y * constant)(x)),
        "scan": lambda x: jax.lax.scan(lambda s, _: (s * constant, None), x, length=3)[0],
        "cond": lambda x: jax.lax.cond(x[0] > 0, lambda y: y * constant, lambda y: y, x),
        "while": lambda x: jax.lax.while_loop(lambda y: y[0] < 0, lambda y: y * constant, x),
        "checkpoint": jax.checkpoint(lambda x: x * constant),
        "custom_jvp": jvp,
        "custom_vjp": vjp,
        "vmap of jit": lambda x: jax.vmap(jax.jit(lambda y: y * constant))(x[None]),
        "grad": jax.grad(lambda x: jax.jit(lambda y: y * constant)(x).sum()),
    }[kind]


KINDS = (
    "plain", "jit", "jit in jit", "scan", "cond", "while", "checkpoint", "custom_jvp", "custom_vjp", "vmap of jit",
    "grad",
)  # fmt: skip


@pytest.mark.parametrize("array", [jnp.asarray, np.asarray], ids=["jax", "numpy"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_program_hash_sees_constants_wherever_they_are(kind: str, array):
    first, again, other = (array(np.float32([0.0, 1.0, v])) for v in (2.0, 2.0, 2.0000002))
    assert program_hash(_inside(kind, first), X) == program_hash(_inside(kind, again), X)
    assert program_hash(_inside(kind, first), X) != program_hash(_inside(kind, other), X)


def test_a_program_hash_sees_code_literals_shapes_and_dtypes():
    programs = [
        program_hash(lambda x: x * 0.1, X),
        program_hash(lambda x: x * 0.10000001, X),
        program_hash(lambda x: x / 0.1, X),
        program_hash(lambda x: jnp.sin(x) * 0.1, X),
        program_hash(lambda x: x * 0.1, jnp.ones(4)),
        program_hash(lambda x: x * 0.1, X.astype(jnp.bfloat16)),
        program_hash(lambda x, y: x * 0.1, X, X),
    ]
    assert len(set(programs)) == len(programs)


def test_a_program_hash_does_not_see_names_or_the_form_of_its_arguments():
    def named_otherwise(y):
        renamed = y * 0.1
        return renamed

    shape = jax.ShapeDtypeStruct(X.shape, X.dtype)
    assert (
        program_hash(lambda x: x * 0.1, X)
        == program_hash(named_otherwise, shape)
        == program_hash(named_otherwise, 2 * X)
    )


def test_a_program_hash_sees_a_key_that_is_closed_over():
    first, other = (jax.random.key(s) for s in (0, 1))
    draw = lambda key: lambda x: x + jax.random.normal(key, x.shape)  # noqa: E731
    assert program_hash(draw(first), X) == program_hash(draw(jax.random.key(0)), X)
    assert program_hash(draw(first), X) != program_hash(draw(other), X)


def test_one_part_is_the_list_of_one():
    from jaxopt_intro import Experiment, Space
    from jaxopt_intro.experiment import grouping
    from tests.small import DATA

    ids = set()
    for penalty, schedule in (("l2", None), (["l2"], ()), (("l2",), [])):
        asked = Experiment(data=DATA, model="linear", batch_size=8, epochs=1, penalty=penalty, schedule=schedule)
        staged, programs = grouping.stage(asked, DATA, Space(learning_rate=0.1, l2=0.1).grid())
        ids |= {(staged[0].id, *programs)}
    assert len(ids) == 1
