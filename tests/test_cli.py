"""The command: what it shows, what it accepts, and that every mistake is one line, exit code 2, never a traceback."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import jaxopt_intro
from jaxopt_intro import Experiment, Space, cli, journal, log_uniform, options, results, sweep

pytestmark = pytest.mark.usefixtures("compiled_once")

COMMAND = str(Path(sys.executable).with_name("jaxopt-intro"))
SMALL = ["sweep", "--data", "digits", "--model", "linear", "--batch-size", "256", "--epochs", "1", "--width", "2"]
SGD = [*SMALL, "--optimizer", "sgd"]
RATE = ["--constant", "learning_rate", "0.1"]
RATES = ["--log-uniform", "learning_rate", "1e-3", "1"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small finished run, and what the command printed: three rates, two optimizers, two seeds."""
    directory = tmp_path_factory.mktemp("finished") / "run"
    process = subprocess.run(
        [COMMAND, *SMALL, "--choice", "optimizer", "sgd", "momentum", *RATES, "--points", "learning_rate=3",
         "--replicates", "2", "--directory", str(directory)],
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    assert not process.stderr
    return directory, process.stdout


def run(capsys, *words):
    code = cli.main(words)
    shown = capsys.readouterr()
    return code, shown.out, shown.err


# -- mistakes --------------------------------------------------------------------------------------------------

MISTAKES = {
    "no command": ([], ["COMMAND", "jaxopt-intro --help"]),
    "an unknown command": (["swep"], ["'swep'", "Did you mean sweep?"]),
    "an unknown table": (["list", "prunners"], ["'prunners'", "Did you mean pruners?"]),
    "neither a file nor a run": (["sweep", "runs/nosuch"], ["'runs/nosuch'", "or the directory of a run"]),
    "an unknown option": (["sweep", "--epochz", "3"], ["'--epochz'", "Did you mean --epochs?"]),
    "an option without its value": (["sweep", "--epochs"], ["--epochs"]),
    "both lengths": (["sweep", "--steps", "9", "--epochs", "2"], ["both --steps and --epochs", "one of them"]),
    "a seed for a grid": (["sweep", "--search-seed", "4"], ["--search-seed without --random"]),
    "a sampler without trials": (["sweep", "--sampler", "tpe"], ["sampler without trials"]),
    "trials without a sampler": (["sweep", "--trials", "9"], ["trials without sampler"]),
    "an unknown sampler": (["sweep", "--sampler", "tp", "--trials", "9"], ["'tp'", "Did you mean 'tpe'?"]),
    "two searches": (["sweep", "--sobol", "4", "--sampler", "tpe", "--trials", "9"], ["both sobol and sampler"]),
    "a step that is none": ([*SGD, "--quantized", "learning_rate", "0", "1", "0"], ["step=0", "step above 0"]),
    "no spread": ([*SGD, "--normal", "learning_rate", "0", "-1"], ["std=-1", "std above 0"]),
    "a time of an unknown unit": (["sweep", "--max-time", "10ms"], ["--max-time", "'10ms'", "90 (seconds), 15m or 2h"]),
    "no time": (["sweep", "--max-time", "0m", "--dry-run"], ["--max-time", "'0m'", "above 0"]),
    "no epochs": (["sweep", "--epochs", "0"], ["--epochs", "got '0'", "at least 1"]),
    "a word for a number": (["sweep", "--batch-size", "big"], ["--batch-size", "got 'big'", "whole number"]),
    "a negative seed": (["sweep", "--seed", "-1"], ["--seed", "got '-1'", "at least 0"]),
    "a seed that is too large": (["sweep", "--seed", "99999999999"], ["99999999999", "below 2 ** 31"]),
    "no width": (["sweep", "--width", "0"], ["--width", "got '0'"]),
    "a share beyond 1": (["sweep", "--valid", "1.5"], ["valid=1.5", "a fraction from 0 to below 1"]),
    "a share that is a word": (["sweep", "--valid", "some"], ["--valid", "got 'some'", "0.1"]),
    "no validation": (["sweep", "--valid", "0"], ["has no validation split"]),
    "two files": (["sweep", "one.toml", "two.toml"], ["'two.toml'"]),
    "a file that is not there": (["sweep", "nothing.toml"], ["'nothing.toml'", "No such file"]),
    "a directory that is no run": (["sweep", "."], ["no journal.jsonl in it"]),
    "an unknown data set": (["sweep", "--data", "digit"], ["'digit'", "Did you mean 'digits'?"]),
    "an unknown model": (["sweep", "--model", "mpl"], ["'mpl'", "Did you mean 'mlp'?"]),
    "an unknown optimizer": ([*SMALL, "--optimizer", "adm", *RATE], ["'adm'", "Did you mean 'adam'"]),
    "an unknown loss": (["sweep", "--loss", "softmax_entropy"], ["'softmax_entropy'", "Did you mean"]),
    "an unknown penalty": (["sweep", "--penalty", "l3"], ["'l3'", "l1, l2"]),
    "an unknown metric": (["sweep", "--metrics", "acuracy"], ["'acuracy'", "Did you mean 'accuracy'?"]),
    "an unknown objective": (["sweep", "--objective", "acuracy"], ["'acuracy'", "Did you mean 'accuracy'?"]),
    "an unknown direction": (["sweep", "--direction", "up"], ["'up'", "'max', 'min'"]),
    "a function that is not there": ([*SMALL, "--optimizer", "optax:lyon", *RATE], ["'optax:lyon'", "not found"]),
    "a module that is not there": ([*SMALL, "--loss", "nowhere:loss", *RATE], ["'nowhere:loss'", "PYTHONPATH"]),
    "a function of other things": ([*SGD, "--loss", "math:sqrt", *RATE], ["math.sqrt() takes exactly one"]),
    "a range from zero": ([*SGD, "--log-uniform", "learning_rate", "0", "1"], ["low=0", "above 0"]),
    "a range upside down": ([*SGD, "--uniform", "learning_rate", "1", "0.1"], ["low=1, high=0.1", "low <= high"]),
    "a range without an end": ([*SGD, "--uniform", "learning_rate", "1", "inf"], ["inf", "finite"]),
    "a range of words": ([*SGD, "--uniform", "learning_rate", "a", "b"], ["'a'", "expected a number"]),
    "a broken whole number": ([*SGD, "--integer", "learning_rate", "0.5", "2"], ["whole numbers"]),
    "half a range": ([*SGD, "--uniform", "learning_rate", "1"], ["--uniform", "3 arguments"]),
    "a constant that is a word": ([*SGD, "--constant", "learning_rate", "x"], ["'x'", "expected a number"]),
    "a number that no part takes": ([*SGD, "--constant", "learning_rat", "1"], ["Did you mean 'learning_rate'?"]),
    "a number of a part that is not there": ([*SGD, *RATE, "--constant", "l2", "1"], ["'l2'", "optimizer sgd takes"]),
    "a number that is missing": ([*SGD, *RATE, "--penalty", "l2"], ["penalty l2", "'strength'"]),
    "no points": ([*SGD, *RATES], ["learning_rate", "number of points"]),
    "points without a number": ([*SGD, *RATES, "--points", "learning_rate"], ["NAME=COUNT"]),
    "points of another number": ([*SGD, *RATES, "--points", "learning_rat=3"], ["'learning_rat'", "learning_rate"]),
    "points and random": (
        [*SGD, *RATES, "--points", "learning_rate=3", "--random", "3"], ["both points and random"]),
    "a choice of nothing": ([*SGD, *RATE, "--choice", "optimizer"], ["'optimizer' without options"]),
    "a choice of the same": ([*SGD, *RATE, "--choice", "optimizer", "sgd", "sgd"], ["sgd"]),
    "a choice of nothing known": ([*SGD, *RATE, "--choice", "optimiser", "sgd"], ["'optimiser'"]),
    "a batch beyond the data": ([*SGD, *RATE, "--batch-size", "5000"], ["batch_size=5000 and 1293 training examples"]),
    "a run that is not there": (["show", "nowhere"], ["'nowhere'", "no such directory"]),
    "none of the best": (["show", "nowhere", "--top", "0"], ["--top", "got '0'"]),
    "an unknown list": (["list", "optimizer"], ["'optimizer'", "optimizers"]),
    "data without a command": (["data"], ["COMMAND"]),
    "data of an unknown name": (["data", "prepare", "nonsense"], ["'nonsense'", "cifar10"]),
    "originals that are not there": (
        ["data", "prepare", "cifar10", "--source", "nowhere"], ["nowhere", "cifar-10-binary.tar.gz", "test_batch.bin"]),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing(capsys, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    words, expected = MISTAKES[name]
    code, _, error = run(capsys, *words)
    assert code == 2
    assert error.startswith("jaxopt-intro: error: ")
    assert error.count("\n") == 1
    assert all(part in error for part in expected), error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [["sweep", "--epochz", "3"], ["sweep", "--data", "digit"], ["show", "nowhere"]])
def test_a_mistake_is_one_line_of_the_real_command(tmp_path, words):
    process = subprocess.run([COMMAND, *words], capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False)
    assert process.returncode == 2
    assert process.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_run_takes_no_other_options(capsys, finished):
    directory, _ = finished
    before = (directory / "journal.jsonl").read_bytes()
    for option, value in (("--epochs", "3"), ("--directory", "other")):
        code, _, error = run(capsys, "sweep", str(directory), option, value)
        assert code == 2
        assert f"got {option} with the run" in error
        assert error.count("\n") == 1
    assert (directory / "journal.jsonl").read_bytes() == before


def test_a_dry_run_is_of_as_many_trials_as_the_sweep(capsys):
    code, out, _ = run(capsys, *SGD, *RATES, "--random", "50", "--max-trials", "3", "--dry-run")
    assert code == 0
    assert "3 trials" in out
    assert "50" not in out


@pytest.mark.parametrize(("text", "seconds"), [("90", 90.0), ("1.5s", 1.5), (".5m", 30.0), ("2h", 7200.0)])
def test_a_time_has_a_unit(text, seconds):
    assert cli._seconds(text) == seconds


@pytest.mark.parametrize("text", ["10ms", "2hs", "m", "", "-1", "nan", "inf", "1e3", "0", "0.0h"])
def test_a_time_that_is_none_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="expected a time above 0"):
        cli._seconds(text)


def test_more_trials_than_a_limit_let_through_can_be_asked_for_later(capsys, tmp_path):
    where = str(tmp_path / "run")
    limited = ["--random", "5", "--max-trials", "2", "--directory", where]
    code, output, _ = run(capsys, *SGD, *RATES, *limited)
    assert code == 0
    assert f"--max-trials 2 left out 3; with more of them: jaxopt-intro sweep {where} --max-trials N" in output
    for most in ("3", "5"):
        code, output, _ = run(capsys, "sweep", where, "--max-trials", most)
        assert code == 0
    assert "left out" not in output
    found = results.open(where)
    assert (found.status == "finished").all()
    drawn = Space(learning_rate=log_uniform(1e-3, 1.0)).random(5)
    assert found.learning_rate.values.tolist() == [trial.hparams["learning_rate"] for trial in drawn]


def test_more_trials_of_a_plain_list_can_be_asked_for_in_python_only(capsys, tmp_path):
    experiment = Experiment(data="digits", model="linear", optimizer="sgd", batch_size=256, epochs=1)
    trials = list(Space(learning_rate=log_uniform(1e-3, 1.0)).random(3))
    sweep(experiment, trials, directory=tmp_path / "run", width=2, max_trials=1)
    before = (tmp_path / "run" / "journal.jsonl").read_bytes()
    code, _, error = run(capsys, "sweep", str(tmp_path / "run"), "--max-trials", "2")
    assert code == 2
    assert "got max_trials=2 for the run" in error
    assert error.count("\n") == 1
    assert (tmp_path / "run" / "journal.jsonl").read_bytes() == before
    assert sweep(experiment, trials, directory=tmp_path / "run", max_trials=2).sizes["trial"] == 2


def test_an_error_of_ours_is_not_hidden(monkeypatch, tmp_path):
    """What is no mistake of the user's keeps its traceback: a bug must not look like a wrong option."""
    from jaxopt_intro.experiment import running

    def broken(*args, **kwargs):
        raise RuntimeError("an engine that is broken")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(running, "sweep", broken)
    with pytest.raises(RuntimeError, match="an engine that is broken"):
        cli.main([*SGD, *RATE])


# -- a sweep ---------------------------------------------------------------------------------------------------


def test_a_sweep_into_a_pipe_shows_device_progress_table_receipt_test_and_what_to_type_next(finished):
    directory, output = finished
    lines = output.splitlines()
    assert lines[0].startswith("device: cpu, ")
    assert "\x1b" not in output, "no colours and no cursor movements in a file"
    progress = [line for line in lines if re.match(r"\[ *\d+ s\] ", line)]
    assert any("optimizer sgd" in line for line in progress)
    assert any("optimizer momentum" in line for line in progress)
    assert any(line.lstrip().startswith("the best 6 of 6 trials") for line in lines)
    for column in ("rank", "trial", "optimizer", "seeds", "best_epoch"):
        assert any(column in line for line in lines), column
    found = results.open(directory)
    for trial in found.trial.values:
        assert trial in output
    assert any(line.startswith("receipt: ") for line in lines)
    tests = found.test_accuracy.values[np.isfinite(found.test_accuracy.values)]
    assert f"test accuracy of the chosen trial: {tests.mean():.4f}" in output
    assert f"run: {directory}" in lines
    assert lines[-1] == f"next: jaxopt-intro show {directory} --top 20"
    assert (directory / "sweep.png").read_bytes().startswith(b"\x89PNG")


def test_what_it_says_to_type_next_works(finished):
    directory, output = finished
    words = output.splitlines()[-1].removeprefix("next: ").split()
    shown = subprocess.run([str(Path(COMMAND).with_name(words[0])), *words[1:]], capture_output=True, text=True,
                           check=True, timeout=120)  # fmt: skip
    best = results.top(results.open(directory), 20).trial.tolist()
    places = [shown.stdout.index(trial) for trial in best]
    assert places == sorted(places)
    assert len(places) == 6


def test_show_takes_the_best_few(capsys, finished):
    directory, _ = finished
    code, output, _ = run(capsys, "show", str(directory), "--top", "1")
    assert code == 0
    trials = results.open(directory).trial.values
    assert sum(trial in output for trial in trials) == 1


def test_a_finished_run_is_shown_again_and_trains_nothing(capsys, finished):
    directory, _ = finished
    before = [r for r in journal.read(directory) if r["type"] in ("epoch", "end", "test", "weights")]
    code, output, _ = run(capsys, "sweep", str(directory))
    assert code == 0
    assert [r for r in journal.read(directory) if r["type"] in ("epoch", "end", "test", "weights")] == before
    assert "test accuracy of the chosen trial" in output


def test_the_experiment_file_of_a_run_asks_for_the_same_trials(capsys, finished, tmp_path):
    directory, _ = finished
    again = tmp_path / "again"
    code, *_ = run(
        capsys, "sweep", str(directory / "experiment.toml"), "--width", "2", "--directory", str(again)
    )  # fmt: skip
    assert code == 0
    first, second = results.open(directory), results.open(again)
    assert second.trial.values.tolist() == first.trial.values.tolist()
    np.testing.assert_array_equal(second.valid_accuracy, first.valid_accuracy)


def test_options_are_laid_over_an_experiment_file(capsys, finished, tmp_path):
    directory, _ = finished
    code, *_ = run(
        capsys, "sweep", str(directory / "experiment.toml"), "--width", "2", "--directory", str(tmp_path / "run"),
        "--seed", "7", "--replicates", "1", "--choice", "optimizer", "sgd", "--points", "learning_rate=2",
    )  # fmt: skip
    assert code == 0
    found = results.open(tmp_path / "run")
    assert (found.sizes["trial"], found.seed.values.tolist()) == (2, [7])


def test_every_option_reaches_its_field(capsys, tmp_path, monkeypatch):
    from jaxopt_intro.experiment import Experiment, running

    asked = {}

    def record(experiment, trials, replicates, directory, **more):
        asked.update(experiment=experiment, trials=trials, replicates=replicates, directory=directory, **more)
        raise ValueError("enough")

    monkeypatch.setattr(running, "sweep", record)
    code, _, error = run(
        capsys, "sweep", "--data", "digits", "--data-dir", "here", "--valid", "100", "--model", "mlp",
        "--optimizer", "optax:lion", "--loss", "weston_watkins", "--penalty", "l1", "l2", "--metrics", "accuracy",
        "squared_error", "--objective", "accuracy", "--direction", "max", "--steps", "9",
        "--batch-size", "32", "--replicates", "3", "--seed", "4", "--data-seed", "5", "--vary-batches", "--keep", "6",
        "--augment", "numpy:flip", "--after-update", "numpy:clip", "--wrap", "clip", "--wrap", "lookahead", "ema",
        "--schedule", "cosine", "--schedule", "b1=linear", "l2.strength=jaxopt_intro.schedules:warmup",
        "--width", "7", "--directory", "there",
        "--log-uniform", "learning_rate", "1e-3", "1e-1", "--uniform", "l1", "0", "1", "--integer", "margin", "1", "3",
        "--constant", "l2", "0.5", "--choice", "widths", "64,32", "16,16", "--choice", "activation", "relu", "tanh",
        "--random", "11", "--search-seed", "12",
    )  # fmt: skip
    assert (code, error) == (2, "jaxopt-intro: error: enough\n")
    import optax

    from jaxopt_intro import schedules

    assert asked["experiment"] == Experiment(
        data="digits", data_dir="here", valid=100, model="mlp", optimizer=optax.lion, loss="weston_watkins",
        penalty=("l1", "l2"), metrics=("accuracy", "squared_error"), objective="accuracy", direction="max", steps=9,
        batch_size=32, seed=4, data_seed=5, vary_batches=True, keep=6, augment=(np.flip,), after_update=(np.clip,),
        wrap=("clip", "lookahead", "ema"),
        schedule={"learning_rate": ("cosine",), "b1": ("linear",), "l2.strength": (schedules.warmup,)},
    )  # fmt: skip
    assert (asked["replicates"], asked["width"], asked["directory"]) == (3, 7, "there")
    trials = asked["trials"]
    assert len(trials) == 11
    assert {tuple(sorted(trial.hparams)) for trial in trials} == {("l1", "l2", "learning_rate", "margin")}
    assert {trial.hparams["l2"] for trial in trials} == {0.5}
    assert {trial.choices["widths"] for trial in trials} == {(64, 32), (16, 16)}
    assert {trial.choices["activation"] for trial in trials} == {"relu", "tanh"}
    assert {type(trial.hparams["margin"]) for trial in trials} == {int}


def test_without_arguments_the_default_sweep_is_asked_for(capsys, monkeypatch):
    from jaxopt_intro.experiment import running

    asked = {}

    def record(experiment, trials, replicates, directory, **more):
        asked.update(experiment=experiment, trials=trials)
        raise ValueError("enough")

    monkeypatch.setattr(running, "sweep", record)
    run(capsys, "sweep")
    experiment, trials = asked["experiment"], asked["trials"]
    assert (experiment.data, experiment.model, experiment.epochs) == ("fashion_mnist_small", "mlp", 5)
    assert len(trials) == 8 * 4 * 2
    assert len({trial.choices["optimizer"] for trial in trials}) == 2
    assert len({trial.hparams["learning_rate"] for trial in trials}) == 8
    assert len({trial.hparams["l2"] for trial in trials}) == 4
    run(capsys, "sweep", "--optimizer", "sgd", "--points", "l2=2")
    assert len(asked["trials"]) == 8 * 2


def _asked(capsys, monkeypatch, *words):
    """What the command asks of `sweep`: the experiment and the trials."""
    from jaxopt_intro.experiment import running

    asked = []

    def record(experiment, trials, replicates, directory, **more):
        asked.extend([experiment, trials])
        raise ValueError("enough")

    monkeypatch.setattr(running, "sweep", record)
    code, _, error = run(capsys, "sweep", "--data", "digits", *words)
    assert (code, error) == (2, "jaxopt-intro: error: enough\n")
    return asked


def _values(trials, name):
    return sorted({trial.hparams[name] for trial in trials if name in trial.hparams})


def test_a_named_optimizer_has_its_own_range_of_learning_rates(capsys, monkeypatch):
    experiment, trials = _asked(capsys, monkeypatch, "--optimizer", "adam")
    rates = _values(trials, "learning_rate")
    assert (rates[0], rates[-1], len(rates), len(trials)) == (1e-5, 1e-1, 8, 32)
    assert (experiment.optimizer, experiment.penalty) == ("adam", "l2")


def test_chosen_optimizers_have_each_their_own_range(capsys, monkeypatch):
    chosen = ("--choice", "optimizer", "adam", "sgd", "optax:lion", "--points", "learning_rate=3")
    _, trials = _asked(capsys, monkeypatch, *chosen)
    assert len(trials) == 3 * 3 * 4
    assert _values(trials, "adam.learning_rate") == [1e-5, 1e-3, 1e-1]
    assert _values(trials, "lion.learning_rate") == [1e-4, 1e-2, 1.0]
    assert all(("sgd.learning_rate" in t.hparams) == (t.labels["optimizer"] == "sgd") for t in trials)


def test_options_are_laid_over_the_default_sweep(capsys, monkeypatch):
    _, trials = _asked(capsys, monkeypatch, "--constant", "l2", "1e-3")
    assert (len(trials), _values(trials, "l2"), len(_values(trials, "learning_rate"))) == (16, [1e-3], 8)
    _, trials = _asked(capsys, monkeypatch, "--optimizer", "adam", "--constant", "b1", "0.8")
    assert (len(trials), _values(trials, "b1")) == (32, [0.8])
    _, trials = _asked(capsys, monkeypatch, "--choice", "activation", "relu", "tanh")
    assert len(trials) == 8 * 4 * 2 * 2
    experiment, trials = _asked(capsys, monkeypatch, "--optimizer", "sgd", "--constant", "learning_rate", "0.1")
    assert (len(trials), experiment.penalty) == (1, ())


def test_other_distributions_and_searches_are_options(capsys, monkeypatch):
    numbers = ("--quantized", "b1", "0.8", "0.95", "0.05", "--normal", "b2", "0.9", "0.01", "--optimizer", "adam")
    for search in ("sobol", "halton"):
        _, trials = _asked(capsys, monkeypatch, *numbers, f"--{search}", "64", "--search-seed", "3")
        assert trials.asked["search"] == {search: 64, "seed": 3}
        assert _values(trials, "b1") == [0.8, 0.85, 0.9, 0.95]
        assert trials.asked["numbers"]["b2"] == {"normal": [0.9, 0.01]}


def test_a_sampler_is_an_option(capsys, monkeypatch):
    _, searcher = _asked(capsys, monkeypatch, "--sampler", "tpe", "--trials", "20", "--objective", "loss")
    assert searcher.asked["search"] == {"sampler": "tpe", "trials": 20, "seed": 0}
    assert 0 < len(searcher.ask(8)) <= 8


def test_if_every_trial_fails_that_is_said_and_the_exit_code_is_1(capsys, tmp_path):
    code, output, error = run(
        capsys, *SGD, "--constant", "learning_rate", "1e30", "--directory", str(tmp_path / "run")
    )  # fmt: skip
    assert code == 1
    assert "failed: 1 of 1" in output
    assert "no trial finished" in output
    assert not error


def test_a_run_is_shown_while_it_goes_on(capsys, tmp_path, monkeypatch):
    """From another process, that is: here from the listener's side of the same one."""
    from jaxopt_intro import terminal

    shown = []
    listen = terminal.Terminal.listen

    def look(self, record):
        if record["type"] == "epoch" and not shown:
            code = cli.main(["show", str(tmp_path / "run")])
            shown.append((code, results.open(tmp_path / "run").status.values.ravel().tolist()))
        return listen(self, record)

    monkeypatch.setattr(terminal.Terminal, "listen", look)
    code, output, _ = run(capsys, *SGD, *RATES, "--points", "learning_rate=3", "--directory", str(tmp_path / "run"))
    assert code == 0
    assert shown == [(0, ["running", "running", "asked"])]
    assert output.count(" of 3 trials, by ") == 2


# -- the rest --------------------------------------------------------------------------------------------------


def test_the_data_sets_are_listed(capsys):
    code, output, _ = run(capsys, "data", "list")
    assert code == 0
    for name in ("digits", "fashion_mnist_small", "fashion_mnist", "cifar10", "tfds:NAME"):
        assert name in output
    assert "8 x 8 x 1" in output
    assert "embedded" in output


def test_an_embedded_set_is_ready(capsys):
    code, output, _ = run(capsys, "data", "prepare", "digits")
    assert code == 0
    assert "next: jaxopt-intro sweep --data digits" in output


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("optimizers", ["adam", "momentum", "sgd"]),
        ("losses", ["softmax_cross_entropy", "weston_watkins", "huber", "kl"]),
        ("penalties", ["l1", "l2"]),
        ("augmentations", ["shift", "mixup", "label_noise"]),
        ("schedules", ["cosine", "warm_restarts"]),
        ("wrappers", ["lookahead", "sam", "clip_by_global_norm"]),
        ("models", ["linear", "mlp"]),
        ("metrics", ["accuracy", "squared_error"]),
    ],
)
def test_what_is_there_is_listed_with_a_line_each(capsys, what, names):
    code, output, _ = run(capsys, "list", what)
    assert code == 0
    lines = [line for line in output.splitlines() if not line.startswith(" ")]
    assert set(names) <= {line.split()[0] for line in lines}
    assert all(len(line.split()) > 3 for line in lines)
    numbers = [line.strip() for line in output.splitlines() if line.startswith(" ")]
    assert what in ("models", "metrics") or any(
        line.startswith(("learning_rate", "strength", "length", "margin", "period")) for line in numbers
    )


def test_the_version(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"jaxopt-intro {jaxopt_intro.__version__}\n"


@pytest.mark.parametrize("words", [[], ["sweep"], ["show"], ["data"], ["data", "prepare"], ["list"]])
def test_the_help_fits_a_narrow_terminal_and_every_option_has_a_word(capsys, monkeypatch, words):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        cli.main([*words, "--help"])
    assert ended.value.code == 0
    output = capsys.readouterr().out
    options = output.partition("examples:")[0]
    assert max(map(len, options.splitlines())) <= 80
    assert all(len(line) <= 120 for line in output.splitlines())
    if words == ["sweep"]:
        from jaxopt_intro import Experiment

        for field in vars(Experiment()):
            assert f"--{field.replace('_', '-')}" in output, "every field of Experiment is an option"


def test_a_reader_that_leaves_is_no_error(finished):
    directory, _ = finished
    piped = subprocess.run(
        f"{COMMAND} list optimizers | head -1; {COMMAND} show {directory} | head -1",
        shell=True, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert piped.stderr == ""
    assert len(piped.stdout.splitlines()) == 2


def test_a_reader_that_left_before_is_no_error(finished):
    directory, _ = finished
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(
        [COMMAND, "show", str(directory)], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120, check=False
    )
    os.close(writer)
    assert process.stderr == ""
    assert process.returncode in (0, 1, 120, 141), "however the shell counts a closed pipe"


def test_the_command_starts_fast_where_no_jax_is_needed():
    seen = subprocess.run(
        [sys.executable, "-c", "import sys\nfrom jaxopt_intro import cli\ntry: cli.main(['--version'])\n"
         "except SystemExit: pass\nprint('jax' in sys.modules)"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert seen.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("256,128", [256, 128]), ("0.5,0.1", [0.5, 0.1]), ("-1,", [-1]), ("warmup,cosine", ["warmup", "cosine"]),
        ("1e-3", 0.001), ("true", True), ("none", None), ("mine:made(a=1, b=2)", "mine:made(a=1, b=2)"), ("-3", -3),
    ],
)  # fmt: skip
def test_an_option_may_be_a_number_a_word_or_a_list(text, value):
    assert options.literal(text) == value


def test_lists_of_parts_and_vectors_are_options(capsys, tmp_path):
    code, _, error = run(
        capsys, *SGD, *RATE, "--constant", "warmup.warmup", "2", "--choice", "schedule", "cosine", "warmup,cosine",
        "--directory", str(tmp_path / "both"),
    )  # fmt: skip
    assert (code, error) == (0, "")
    assert results.open(tmp_path / "both").sizes["trial"] == 2
    code, _, error = run(
        capsys, *SGD, *RATE, "--schedule", "piecewise", "--choice", "boundaries", "1,2", "2,3", "--choice", "factors",
        "0.5,0.1", "--directory", str(tmp_path / "run"),
    )  # fmt: skip
    assert (code, error) == (0, "")
    assert results.open(tmp_path / "run").sizes["trial"] == 2


def test_a_vector_that_is_missing_is_asked_for(capsys):
    code, _, error = run(capsys, *SGD, *RATE, "--schedule", "piecewise")
    assert code == 2
    assert "schedule piecewise: got no value for 'boundaries'" in error
    assert "--choice boundaries VALUE" in error


def test_one_part_is_told_in_full(capsys: pytest.CaptureFixture[str]):
    code, output, _ = run(capsys, "list", "optimizers", "momentum")
    assert code == 0
    assert re.search(r"^momentum +0.9 +in \[0, 1\) +0.5 and 0.99 +smooth$", output, re.MULTILINE)
    assert "velocity = momentum * velocity + learning_rate * grads" in output
    assert "delta" in run(capsys, "list", "losses", "huber")[1]
    code, _, errors = run(capsys, "list", "losses", "hubr")
    assert code == 2
    assert "unknown loss 'hubr'. Did you mean 'huber'?" in errors


def test_a_function_of_a_file_in_the_current_folder_is_found(tmp_path):
    (tmp_path / "mine_here.py").write_text(
        "import optax\n\ndef mine(learning_rate):\n    return optax.sgd(learning_rate)\n"
    )
    words = [
        "sweep",
        "--data",
        "digits",
        "--optimizer",
        "mine_here:mine",
        "--constant",
        "learning_rate",
        "0.1",
        "--dry-run",
    ]
    done = subprocess.run([COMMAND, *words], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120)
    assert "mine" in done.stdout
