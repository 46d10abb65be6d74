"""Spaces as plain values: what is asked comes back as the same space, from JSON and from TOML."""

from __future__ import annotations

import json
import math

import optax
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxopt_intro import Experiment, Space, choice, integer, log_uniform, normal, quantized, uniform
from jaxopt_intro.experiment import files

finite = st.floats(-1e6, 1e6)
positive = st.floats(1e-9, 1e6)
names = st.sampled_from(["learning_rate", "l2", "adam.b1", "penalty.l1.strength", "mit umlaut ä", 'a "quoted" one'])
numbers = st.one_of(
    st.tuples(finite, st.floats(0, 1e6)).map(lambda v: uniform(v[0], v[0] + v[1])),
    st.tuples(positive, st.floats(1, 1e6)).map(lambda v: log_uniform(v[0], v[0] * v[1])),
    st.tuples(st.integers(-99, 99), st.integers(0, 99)).map(lambda v: integer(v[0], v[0] + v[1])),
    st.tuples(finite, st.integers(1, 9), positive).map(lambda v: quantized(v[0], v[0] + (v[1] + 0.5) * v[2], v[2])),
    st.tuples(finite, positive).map(lambda v: normal(*v)),
    finite,
    st.integers(-999, 999),
)
# "none" is how TOML holds None, and what holds a colon is found by import.
words = st.text(st.characters(codec="utf-8", exclude_characters=":"), max_size=6).filter(lambda text: text != "none")
simple = st.one_of(
    words, finite, st.integers(-999, 999), st.booleans(), st.none(), st.sampled_from([optax.lion, math.exp])
)
schedules = st.dictionaries(st.sampled_from(["b1", "learning_rate"]), st.one_of(words, st.lists(words, min_size=1)))
options = st.one_of(simple, st.lists(simple, max_size=3), st.lists(simple, max_size=3).map(tuple), schedules)


@st.composite
def choices(draw):
    from jaxopt_intro.distributions import label

    drawn = draw(
        st.lists(options, min_size=1, max_size=4, unique_by=lambda v: label(tuple(v) if isinstance(v, list) else v))
    )
    labels = draw(st.none() | st.lists(words, min_size=len(drawn), max_size=len(drawn), unique=True))
    return choice(drawn if labels is None else dict(zip(labels, drawn, strict=True)))


spaces = st.tuples(st.dictionaries(names, numbers, min_size=1), st.dictionaries(words, choices())).map(
    lambda entries: Space({**entries[1], **entries[0]})
)


@given(spaces)
@settings(deadline=None, derandomize=True)
def test_a_space_comes_back_from_what_was_asked_also_through_json(space):
    assert files.space_of(space.asked()) == space
    assert files.space_of(json.loads(json.dumps(space.asked()))) == space


@given(spaces)
@settings(deadline=None, derandomize=True)
def test_a_space_comes_back_from_an_experiment_file(tmp_path_factory, space):
    path = tmp_path_factory.mktemp("run") / "experiment.toml"
    files.write(path, Experiment(data="digits"), space.asked())
    again = files.space_of(files.read(path))
    assert again == space
    assert [list(own) for own in (again.numbers, again.choices)] == [
        list(own) for own in (space.numbers, space.choices)
    ]
    assert again.random(5, seed=1) == space.random(5, seed=1)


def test_labels_of_their_own_come_back():
    space = Space({"mine.b1": 0.8}, learning_rate=0.1, optimizer=choice({"mine": optax.lion, "off": None}))
    again = files.space_of(space.asked())
    assert again.choices["optimizer"].labels == ("mine", "off")
    assert [t.hparams for t in again.grid()] == [{"mine.b1": 0.8, "learning_rate": 0.1}, {"learning_rate": 0.1}]


def test_numbers_and_choices_are_written_for_a_reader(tmp_path):
    space = Space({"adam.b1": quantized(0.8, 0.95, 0.05)}, l2=1e-4, optimizer=choice(["adam", None]))
    files.write(tmp_path / "experiment.toml", Experiment(data="digits"), space.asked())
    text = (tmp_path / "experiment.toml").read_text()
    for line in ('"adam.b1" = {quantized = [0.8, 0.95, 0.05]}', "l2 = 0.0001", 'optimizer = ["adam", "none"]'):
        assert line in text.splitlines()
