from __future__ import annotations

import numpy as np
import optax
import pytest

from jaxopt_intro import Space, choice, integer, log_uniform, normal, space_of_methods, uniform
from jaxopt_intro.sweeps.space import Trial, unique


def _space(**more):
    entries = {"adam.b1": uniform(0.8, 0.95), **more}
    return Space(entries, learning_rate=log_uniform(1e-4, 1.0), optimizer=choice(["adam", "sgd"]))


def test_a_grid_goes_choices_first_then_numbers_in_order():
    space = Space(rate=uniform(0.0, 1.0), optimizer=choice(["adam", "sgd"]), l2=log_uniform(0.01, 0.1))
    grid = space.grid(rate=3, l2=2)
    assert [(t.labels["optimizer"], t.hparams["rate"], t.hparams["l2"]) for t in grid] == [
        (o, r, s) for o in ("adam", "sgd") for r in (0.0, 0.5, 1.0) for s in (0.01, 0.1)
    ]
    assert list(grid[0].hparams) == ["rate", "l2"]


def test_a_number_of_an_option_exists_only_under_it():
    grid = _space().grid({"adam.b1": 2, "learning_rate": 3})
    assert [(t.labels["optimizer"], tuple(t.hparams)) for t in grid] == [
        *[("adam", ("adam.b1", "learning_rate"))] * 6,
        *[("sgd", ("learning_rate",))] * 3,
    ]
    for trial in _space().random(20):
        assert ("adam.b1" in trial.hparams) == (trial.labels["optimizer"] == "adam")


def test_a_dotted_name_of_no_option_always_exists():
    assert all("model.dropout" in t.hparams for t in Space({"model.dropout": 0.1}, optimizer=choice(["a", "b"])).grid())


def test_options_may_be_callables_and_labels_may_own_numbers():
    space = Space({"mine.beta": 0.5}, optimizer=choice({"mine": optax.adam, "other": optax.lion}))
    trials = space.grid()
    assert [(t.choices["optimizer"], t.hparams) for t in trials] == [(optax.adam, {"mine.beta": 0.5}), (optax.lion, {})]


def test_constants_stand_for_themselves_whatever_the_count():
    space = Space(l2=0.1, learning_rate=log_uniform(1e-2, 1.0), width=64, activation="relu", penalty=None)
    grid = space.grid(3)
    assert [t.hparams["learning_rate"] for t in grid] == [0.01, 0.1, 1.0]
    assert all(t.hparams["l2"] == 0.1 and t.choices == {"activation": "relu", "penalty": None} for t in grid)
    assert type(grid[0].hparams["width"]) is int
    assert all(t.hparams["l2"] == 0.1 and t.hparams["width"] == 64 for t in space.random(4))


def test_a_mapping_and_keywords_are_the_same():
    one = Space({"learning_rate": uniform(0.0, 1.0), "l2": 0.1}).random(5, seed=3)
    assert one == Space(learning_rate=uniform(0.0, 1.0), l2=0.1).random(5, seed=3)


def test_one_count_serves_all_numbers():
    assert len(Space(a=uniform(0.0, 1.0), b=uniform(0.0, 1.0)).grid(4)) == 16


def test_the_first_random_trials_of_a_longer_list_are_those_of_a_shorter_one():
    space = _space(n=integer(1, 9))
    assert space.random(40, seed=5)[:13] == space.random(13, seed=5)
    assert space.random(13, seed=5) != space.random(13, seed=6)


def test_another_entry_changes_no_number():
    alone = Space(learning_rate=log_uniform(1e-4, 1.0), optimizer=choice(["adam", "sgd"])).random(15, seed=2)
    beside = _space(momentum=uniform(0.0, 1.0), n=integer(1, 9)).random(15, seed=2)
    assert [t.hparams["learning_rate"] for t in alone] == [t.hparams["learning_rate"] for t in beside]
    assert [t.labels for t in alone] == [t.labels for t in beside]


def test_random_numbers_fill_their_range_and_are_independent():
    count = 4_000
    space = Space(a=uniform(0.0, 1.0), b=uniform(0.0, 1.0), n=integer(1, 4), o=choice(["x", "y"]))
    trials = space.random(count, seed=1)
    a, b = (np.array([t.hparams[n] for t in trials]) for n in "ab")
    assert abs(a.mean() - 0.5) < 4 * np.sqrt(1 / 12 / count)
    assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(count)
    counts = np.bincount([t.hparams["n"] for t in trials], minlength=5)[1:]
    assert np.all(np.abs(counts - count / 4) < 4 * np.sqrt(count * 0.25 * 0.75))
    assert abs(sum(t.labels["o"] == "x" for t in trials) - count / 2) < 4 * np.sqrt(count) / 2


def test_random_numbers_never_change():
    # Stored runs were drawn from these streams: a change here gives every seed another meaning.
    trials = Space(learning_rate=log_uniform(1e-4, 1.0), n=integer(1, 100), o=choice(["x", "y", "z"])).random(3, seed=0)
    assert [(*t.hparams.values(), *t.labels.values()) for t in trials] == [
        (0.0002698127, 68, "y"),
        (0.030144503, 72, "z"),
        (0.000686665, 88, "z"),
    ]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Space, "got no entries; expected at least one"),
        (lambda: Space(learning_rate=[0.1, 0.2]), r"got learning_rate=\[0\.1, 0\.2\]; .*learning_rate=choice\("),
        (lambda: Space(learning_rate=float("nan")), "got learning_rate=nan; expected a finite number"),
        (lambda: _space().grid(), "got no number of points for 'adam.b1'"),
        (
            lambda: _space().grid({"momentum": 3}),
            "'momentum', which is no number of the space; .*adam.b1",
        ),
        (lambda: _space().grid(optimizer=2), "'optimizer', which is no number"),
        (lambda: _space().random(0), "got 0 trials; expected at least 1"),
    ],
    ids=["empty", "list", "nan", "no count", "unknown", "choice", "none"],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_asked_says_how_the_trials_were_asked_for():
    space = _space(l2=0.1)
    assert space.grid({"adam.b1": 2, "learning_rate": 3}).asked == {
        "numbers": {"adam.b1": {"uniform": [0.8, 0.95]}, "l2": 0.1, "learning_rate": {"log_uniform": [1e-4, 1.0]}},
        "choices": {"optimizer": ["adam", "sgd"]},
        "search": {"points": {"adam.b1": 2, "l2": 1, "learning_rate": 3}},
    }
    assert space.random(3, seed=7).asked["search"] == {"random": 3, "seed": 7}
    assert repr(space).startswith("Space(adam.b1=uniform(0.8, 0.95), l2=uniform(0.1, 0.1), ")


def test_unique_goes_by_float32_values_as_ids_do():
    first = Trial({"l2": 0.1, "learning_rate": 1.0})
    again = Trial({"learning_rate": 1, "l2": float(np.float32(0.1))})
    other = Trial({"l2": 0.2, "learning_rate": 1.0})
    assert unique([first, again, other, first]) == [first, other]


def test_unique_tells_callables_apart_that_carry_no_label():
    assert len(unique([Trial({}, {"optimizer": optax.adam}), Trial({}, {"optimizer": optax.lion})])) == 2


def test_numbers_of_a_schedule_inside_a_mapping_exist_under_it_alone():
    options = choice({"b1": {"b1": "linear"}, "mine": lambda: None})
    trials = Space({"linear.end": 0.5}, learning_rate=0.1, schedule=options).grid()
    assert ["linear.end" in trial.hparams for trial in trials] == [True, False]


QUASI = pytest.mark.parametrize("draw", [Space.sobol, Space.halton], ids=["sobol", "halton"])


@QUASI
@pytest.mark.parametrize("count", [1, 2, 3, 13, 64, 100])
def test_quasi_random_trials_are_as_many_as_asked_and_the_first_of_more(draw, count):
    trials = draw(_space(n=integer(1, 9)), count, seed=5)
    assert len(trials) == count
    assert trials == draw(_space(n=integer(1, 9)), 200, seed=5)[:count]
    for trial in trials:
        assert ("adam.b1" in trial.hparams) == (trial.labels["optimizer"] == "adam")


@QUASI
def test_quasi_random_trials_are_seeded(draw):
    assert draw(_space(), 16, seed=1) == draw(_space(), 16, seed=1)
    assert draw(_space(), 16, seed=1) != draw(_space(), 16, seed=2)
    assert draw(_space(), 3, seed=7).asked["search"] == {draw.__name__: 3, "seed": 7}


def test_sobol_fills_every_part_of_every_pair_of_dimensions_once():
    space = Space(a=uniform(0.0, 1.0), b=uniform(0.0, 1.0), o=choice(["x", "y", "z", "w"]))
    trials = space.sobol(64, seed=3)
    a, b = (np.array([t.hparams[n] for t in trials]) for n in "ab")
    option = np.array([["x", "y", "z", "w"].index(t.labels["o"]) for t in trials])
    assert np.bincount((a * 64).astype(int), minlength=64).tolist() == [1] * 64
    assert np.bincount((a * 8).astype(int) * 8 + (b * 8).astype(int), minlength=64).max() <= 2
    assert np.bincount((a * 8).astype(int) * 4 + option, minlength=32).max() <= 3
    assert np.bincount(option).tolist() == [16] * 4


@QUASI
def test_quasi_random_means_are_nearer_than_those_of_chance(draw):
    space = Space(a=uniform(0.0, 1.0), b=normal(0.0, 1.0), n=integer(1, 4), o=choice(["x", "y"]))

    def error(trials):
        means = [np.mean([t.hparams[n] for t in trials]) - mean for n, mean in (("a", 0.5), ("b", 0.0), ("n", 2.5))]
        return np.linalg.norm([*means, np.mean([t.labels["o"] == "x" for t in trials]) - 0.5])

    quasi = np.mean([error(draw(space, 100, seed=seed)) for seed in range(10)])
    assert quasi < 0.5 * np.mean([error(space.random(100, seed=seed)) for seed in range(10)])


@QUASI
def test_no_quasi_random_trials_are_refused(draw):
    for count in (0, -3):
        with pytest.raises(ValueError, match=rf"{draw.__name__}: got {count} trials; expected at least 1"):
            draw(_space(), count)


def test_a_method_has_the_space_of_its_own_table_entry():
    from jaxopt_intro.optimizers import METHODS

    one = space_of_methods("adam", numbers="all")
    assert one.numbers == METHODS["adam"].search
    assert one.choices["optimizer"].options == ("adam",)
    many = space_of_methods(*METHODS, numbers="all")
    assert len(many.numbers) == sum(len(method.numbers) for method in METHODS.values())
    for trial in many.sobol(64):
        assert set(trial.hparams) == {
            f"{trial.labels['optimizer']}.{n}" for n in METHODS[trial.labels["optimizer"]].numbers
        }


def test_mistakes_in_methods_are_named():
    for words, message in (
        ({"names": ["adm"]}, "unknown optimizer 'adm'. Did you mean 'adam'"),
        ({"names": []}, "got no optimizer"),
        ({"names": ["adam", "adam"]}, "adam stand for more than one"),
        ({"names": ["adam"], "numbers": "b1"}, "got numbers='b1'; expected one of 'learning_rate', 'all'"),
    ):
        with pytest.raises(ValueError, match=message):
            space_of_methods(*words.pop("names"), **words)
