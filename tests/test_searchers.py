from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys

import numpy as np
import pytest

from jaxopt_intro import Space, Trial, choice, integer, log_uniform, normal, quantized, uniform
from jaxopt_intro.sweeps import searchers
from jaxopt_intro.sweeps.searchers import SAMPLERS, Told, adaptive, optuna_distributions

FAST = [name for name in SAMPLERS if name != "gp"]  # a Gaussian process takes seconds for each batch
SPACE = Space(
    {"adam.b1": uniform(0.5, 0.99)},
    learning_rate=log_uniform(1e-5, 10.0), n=integer(1, 5), step=quantized(0.1, 0.9, 0.1), shift=normal(0.0, 1.0),
    l2=1e-4, optimizer=choice(["adam", "sgd"]), activation=choice({"smooth": math.tanh, "none at all": None}),
)  # fmt: skip


def score(trial):
    """Best at a learning rate of 0.01 with sgd, and of 0.001 with adam, which is worse: skewed, so that signs show."""
    best, loss = (-3, 0.2) if trial.labels["optimizer"] == "adam" else (-2, 0.0)
    return -(loss + (math.log10(trial.hparams["learning_rate"]) - best) ** 2)


def searched(searcher, batch, score=score):
    """Every batch of a search, told as finished."""
    batches = []
    while trials := searcher.ask(batch):
        batches.append(trials)
        searcher.tell([Told(trial, "finished", score(trial)) for trial in trials])
    return batches


def best(space, sampler, seed):
    batches = searched(adaptive(space, sampler, trials=48, seed=seed), 8, score)
    return max(score(trial) for batch in batches for trial in batch)


@pytest.mark.parametrize("sampler", FAST)
def test_all_of_the_budget_is_asked_in_batches_of_one_program_without_repetitions(sampler):
    batches = searched(adaptive(SPACE, sampler, trials=45, seed=1), 7)
    trials = [trial for batch in batches for trial in batch]
    assert len(trials) == 45
    assert max(map(len, batches)) <= 7
    for batch in batches:
        assert len({tuple(sorted(trial.labels.items())) for trial in batch}) == 1
    assert len({(tuple(t.hparams.items()), tuple(t.labels.items())) for t in trials}) == 45


@pytest.mark.parametrize("sampler", FAST)
def test_trials_are_of_the_space(sampler):
    for batch in searched(adaptive(SPACE, sampler, trials=40, seed=2), 8):
        for trial in batch:
            assert ("adam.b1" in trial.hparams) == (trial.labels["optimizer"] == "adam")
            assert list(trial.hparams) == SPACE.names(trial.labels)
            assert trial.choices["activation"] == {"smooth": math.tanh, "none at all": None}[trial.labels["activation"]]
            for name, value in trial.hparams.items():
                assert searchers.distributions.float32(value) == value
                assert SPACE.numbers[name].low - 1e-6 <= value <= SPACE.numbers[name].high + 1e-6
            assert type(trial.hparams["n"]) is int
            assert trial.hparams["step"] in searchers.distributions.points(SPACE.numbers["step"], 9)
            assert trial.hparams["l2"] == 1e-4


def test_gaussian_processes_work_too():
    pytest.importorskip("torch")
    space = Space(learning_rate=log_uniform(1e-5, 10.0), optimizer="sgd")
    batches = searched(adaptive(space, "gp", trials=22, seed=0), 11)
    assert [len(batch) for batch in batches] == [11, 11]
    assert max(map(score, batches[1])) > max(map(score, batches[0]))


@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
def test_what_is_learned_is_better_than_chance(sampler):
    space = Space(learning_rate=log_uniform(1e-5, 10.0), optimizer=choice(["adam", "sgd"]))
    found, chance = (np.mean([best(space, name, s) for s in range(10)]) for name in (sampler, "random"))
    assert found > chance


@pytest.mark.parametrize("sampler", ["cmaes", "nsgaii", "nsgaiii"])
def test_pruned_trials_teach_as_much_as_finished_ones_where_optuna_would_not_look_at_them(sampler):
    space = Space(learning_rate=log_uniform(1e-5, 10.0), l2=log_uniform(1e-6, 1.0))

    def loss(trial):
        return abs(math.log10(trial.hparams["learning_rate"]) + 3) + abs(math.log10(trial.hparams["l2"]) + 2)

    def batches(seed, status_of_most):
        searcher, means = adaptive(space, sampler, trials=64, seed=seed), []
        while batch := searcher.ask(8):
            losses = [loss(trial) for trial in batch]
            ends = ["finished" if value == min(losses) else status_of_most for value in losses]
            searcher.tell([Told(t, end, -value) for t, end, value in zip(batch, ends, losses, strict=True)])
            means.append(np.mean(losses))
        return means

    pruned = [batches(seed, "pruned") for seed in range(3)]
    assert pruned == [batches(seed, "finished") for seed in range(3)]
    assert np.mean([means[-1] for means in pruned]) < 0.7 * np.mean([means[0] for means in pruned])


def test_better_options_are_asked_more_often():
    space = Space(learning_rate=log_uniform(1e-5, 10.0), optimizer=choice(["adam", "sgd", "a", "b", "c", "d"]))

    def skewed(trial):
        return score(trial) - (0.0 if trial.labels["optimizer"] == "d" else 3.0)

    shares = []
    for seed in range(5):
        trials = [t for batch in searched(adaptive(space, trials=96, seed=seed), 8, skewed) for t in batch]
        assert {t.labels["optimizer"] for t in trials} == {"adam", "sgd", "a", "b", "c", "d"}
        shares.append(sum(t.labels["optimizer"] == "d" for t in trials) / len(trials))
    assert np.mean(shares) > 2 / 6


def test_options_whose_trials_fail_are_asked_less_often():
    space = Space(learning_rate=log_uniform(1e-5, 10.0), optimizer=choice(["adam", "sgd"]))
    searcher, counts = adaptive(space, trials=96, seed=0), {"adam": 0, "sgd": 0}
    while batch := searcher.ask(8):
        counts[batch[0].labels["optimizer"]] += len(batch)
        failed = batch[0].labels["optimizer"] == "adam"
        searcher.tell([Told(t, "failed" if failed else "finished", None if failed else score(t)) for t in batch])
    assert counts["sgd"] > 2 * counts["adam"]


REPLAY = """
import json, sys
from tests.test_searchers import SPACE, adaptive, searched
batches = searched(adaptive(SPACE, sys.argv[1], trials=40, seed=3), 6)
print(json.dumps([[t.hparams, t.labels] for b in batches for t in b]))
"""


@pytest.mark.parametrize("sampler", FAST)
def test_the_same_asks_and_tells_give_the_same_trials_in_another_process(sampler):
    here = [[t.hparams, t.labels] for b in searched(adaptive(SPACE, sampler, trials=40, seed=3), 6) for t in b]
    process = subprocess.run(
        [sys.executable, "-c", REPLAY, sampler], capture_output=True, text=True, timeout=120, check=True
    )
    assert json.loads(process.stdout) == here
    other = [[t.hparams, t.labels] for b in searched(adaptive(SPACE, sampler, trials=40, seed=4), 6) for t in b]
    assert other != here


@pytest.mark.parametrize("sampler", FAST)
def test_batches_may_be_asked_before_others_are_told(sampler):
    searcher = adaptive(SPACE, sampler, trials=40, seed=0)
    first, second = searcher.ask(8), searcher.ask(8)
    searcher.tell([Told(trial, "finished", score(trial)) for trial in [*second[::-1], *first[:3]]])
    third = searcher.ask(8)
    searcher.tell([Told(trial, "finished", score(trial)) for trial in [*first[3:], *third]])
    assert sum(map(len, [first, second, third, *searched(searcher, 8)])) == 40


@pytest.mark.parametrize("sampler", FAST)
@pytest.mark.parametrize("status", ["finished", "failed", "pruned"])
@pytest.mark.parametrize("value", [None, math.nan, math.inf, 0.5])
def test_any_end_of_a_trial_may_be_told(sampler, status, value):
    searcher = adaptive(SPACE, sampler, trials=30, seed=0)
    while batch := searcher.ask(8):
        searcher.tell([Told(trial, status, value) for trial in batch])


@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
def test_trials_that_were_never_asked_teach_too(sampler):
    space = Space(learning_rate=log_uniform(1e-5, 10.0), optimizer=choice(["adam", "sgd"]))
    known = [trial for trial in space.random(60, seed=9) if trial.labels["optimizer"] == "sgd"]
    near = {True: 0, False: 0}
    for seed in range(10):
        for taught in near:
            searcher = adaptive(space, sampler, trials=100, seed=seed)
            if taught:
                searcher.tell([Told(trial, "finished", score(trial)) for trial in known])
            batch = next(b for b in iter(lambda s=searcher: s.ask(25), None) if b[0].labels["optimizer"] == "sgd")
            near[taught] += sum(score(trial) > -1 for trial in batch)
    assert near[True] > near[False]


@pytest.mark.parametrize("sampler", FAST)
def test_a_searcher_begins_anew_with_what_it_was_told_before_it_was_asked(sampler):
    space = Space(learning_rate=log_uniform(1e-5, 10.0), optimizer=choice(["adam", "sgd"]))
    searcher = adaptive(space, sampler, trials=30)
    searcher.tell([Told(trial, "finished", score(trial)) for trial in space.random(20, seed=9)])
    first = searched(searcher, 8)
    assert sum(map(len, first)) == 30
    assert searcher.ask(8) == []
    searcher.begin(())
    assert searched(searcher, 8) == first
    if sampler in ("tpe", "cmaes"):  # the others take no notice of trials that they did not ask for
        assert searched(adaptive(space, sampler, trials=30), 8) != first


def test_a_trial_that_was_told_is_not_asked():
    space = Space(n=integer(1, 6), l2=0.5)
    searcher = adaptive(space, trials=20)
    searcher.tell([Told(Trial({"n": n, "l2": 0.5}), "finished", float(n)) for n in (2, 5)])
    assert sorted(trial.hparams["n"] for trial in searcher.ask(20)) == [1, 3, 4, 6]
    assert searcher.ask(20) == []


def test_a_normal_number_of_a_trial_that_is_told_may_be_far_out():
    space = Space(shift=normal(0.0, 1.0))
    adaptive(space, trials=5).tell([Told(Trial({"shift": 50.0}), "finished", 1.0)])


@pytest.mark.parametrize("sampler", FAST)
def test_a_space_of_choices_alone_is_asked_until_it_is_used_up(sampler):
    space = Space(width=choice([8, 16, 32, 64]), activation=choice(["relu", "tanh", "gelu"]))
    batches = searched(adaptive(space, sampler, trials=50), 4, lambda trial: float(trial.choices["width"]))
    assert [len(batch) for batch in batches] == [1] * 12
    assert len({tuple(batch[0].labels.items()) for batch in batches}) == 12


@pytest.mark.parametrize(("options", "trials"), [(10, 20), (4, 20), (2, 9), (3, 33), (8, 80), (1, 13)])
def test_no_program_is_made_for_a_few_trials(options, trials):
    space = Space(learning_rate=log_uniform(1e-3, 1.0), optimizer=choice(list("abcdefghij"[:options])))
    batches = searched(adaptive(space, trials=trials), 8, lambda trial: -trial.hparams["learning_rate"])
    assert sum(map(len, batches)) == trials
    assert min(map(len, batches)) >= 4


@pytest.mark.parametrize("sampler", FAST)
def test_trials_of_a_batch_share_the_numbers_that_are_compiled(sampler):
    numbers = {"adam.b1": integer(1, 3), "width": integer(3, 40), "learning_rate": log_uniform(1e-3, 1.0)}
    searcher = adaptive(Space(numbers, optimizer=choice(["adam", "sgd"])), sampler, trials=60)
    searcher.begin(["width", "adam.b1"])
    batches = searched(searcher, 8, lambda trial: -trial.hparams["width"])
    assert sum(map(len, batches)) == 60
    assert min(map(len, batches)) >= 4
    shared = [{(t.hparams["width"], t.hparams.get("adam.b1"), t.labels["optimizer"]) for t in b} for b in batches]
    assert [len(programs) for programs in shared] == [1] * len(batches)
    assert len(set().union(*shared)) >= 5
    assert len({trial.hparams["learning_rate"] for batch in batches for trial in batch}) > 30


def test_numbers_that_are_all_compiled_are_a_batch_each():
    searcher = adaptive(Space(width=integer(3, 6), l2=0.1), trials=20)
    searcher.begin(["width", "l2"])
    batches = searched(searcher, 8, lambda trial: -trial.hparams["width"])
    assert [len(batch) for batch in batches] == [1] * 4


def test_an_early_batch_leaves_budget_to_learn_with():
    assert len(adaptive(Space(l2=uniform(0.0, 1.0)), trials=40).ask(1000)) == 20
    first = adaptive(Space(l2=uniform(0.0, 1.0), optimizer=choice(list("abcde"))), trials=100)
    assert [len(first.ask(1000)) for _ in range(6)] == [10, 10, 10, 10, 10, 50]


def test_asked_is_what_an_experiment_file_holds():
    searcher = adaptive(SPACE, "cmaes", trials=9, seed=5)
    assert searcher.asked == {**SPACE.asked(), "search": {"sampler": "cmaes", "trials": 9, "seed": 5}}
    assert searcher.ask(3).asked == searcher.asked


def test_optuna_knows_the_scales_of_the_numbers_and_can_hold_every_trial():
    optuna = pytest.importorskip("optuna")
    known = optuna_distributions(SPACE)
    assert known["learning_rate"] == optuna.distributions.FloatDistribution(1e-5, 10.0, log=True)
    assert known["n"] == optuna.distributions.IntDistribution(1, 5)
    assert known["step"] == optuna.distributions.FloatDistribution(0.1, 0.9, step=0.1)
    assert known["activation"].choices == ("smooth", "none at all")
    assert known["shift"].low == pytest.approx(-3.0902, abs=1e-4)


@pytest.mark.parametrize("sampler", FAST)
def test_optuna_is_silent_and_its_verbosity_stays(sampler, capfd):
    optuna = pytest.importorskip("optuna")
    before = optuna.logging.get_verbosity()
    searched(adaptive(SPACE, sampler, trials=30), 10)
    assert optuna.logging.get_verbosity() == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: adaptive(SPACE, "tpee", trials=3), "unknown sampler 'tpee'. Did you mean 'tpe'"),
        (lambda: adaptive(SPACE, trials=0), "got trials=0; expected a whole number of at least 1"),
        (lambda: adaptive(SPACE, trials=2.5), "got trials=2.5; expected a whole number"),
        (lambda: adaptive(SPACE, trials=3, seed=-1), "got seed=-1; expected a whole number of at least 0"),
        (lambda: adaptive(SPACE, trials=3).ask(0), "ask: got 0 trials; expected a whole number of at least 1"),
        (lambda: adaptive(Space(l2=0.1), trials=3).tell([Told(Trial({"l2": 0.2}), "finished", 1.0)]), "l2=0.2; exp"),
        (lambda: adaptive(Space(l2=0.1), trials=3).tell([Told(Trial({}), "finished", 1.0)]), "l2=nan; expected"),
        (lambda: adaptive(Space(a=choice(["x", ""])), trials=3).tell([Told(Trial({}), "finished", 1.0)]), "a=None"),
        (lambda: adaptive(Space(l2=0.1), trials=3).tell([Told(Trial({"l2": 0.1}), "done", 1.0)]), "got status='done'"),
    ],
)  # fmt: skip
def test_mistakes_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("sampler", "missing", "expected"),
    [
        ("tpe", "optuna", r'got no package optuna; .*pip install "jaxopt_intro\[optuna\]"'),
        ("cmaes", "cmaes", r'got no package cmaes; .*pip install "jaxopt_intro\[optuna\]"'),
        ("gp", "torch", "got no package torch; .*pip install torch"),
    ],
)
def test_a_package_that_is_missing_is_said_at_once(monkeypatch, sampler, missing, expected):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else found(name))
    with pytest.raises(ValueError, match=f"sampler '{sampler}': {expected}"):
        adaptive(SPACE, sampler, trials=3)
