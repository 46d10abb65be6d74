"""Kill and resume, with real processes: no moment is a bad one, and no bit of a result shows that it happened."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jaxopt_intro import cli, journal, results

COMMAND = [str(Path(sys.executable).with_name("jaxopt-intro"))]
# The same command, with every segment one step long and a checkpoint after each: a kill then falls inside a tile.
CHECKPOINTING = [
    sys.executable,
    "-c",
    """
import functools, sys
from jaxopt_intro import cli
from jaxopt_intro.experiment import running
from jaxopt_intro.sweeps import planning, session
planning.SEGMENT_SECONDS = 0.0
running.Session = functools.partial(session.Session, checkpoint_seconds=0.0)
sys.exit(cli.main())
""",
]
SIMPLE = [
    *("sweep", "--data", "digits", "--width", "4", "--batch-size", "256", "--optimizer", "momentum"),
    *("--constant", "momentum", "0.9", "--log-uniform", "learning_rate", "1e-3", "1", "--random", "6"),
]  # fmt: skip
LINEAR = [*SIMPLE, "--model", "linear"]
NOISY = [*SIMPLE, "--model", "mlp", "--choice", "widths", "8,8", "--uniform", "dropout", "0", "0.5"]


@pytest.fixture
def start(tmp_path):
    """Starts a command; what is still running when the test ends is killed."""
    one_device = "--xla_force_host_platform_device_count=1"  # so that 6 trials are two tiles of 4 on any machine
    environment = os.environ | {"XLA_FLAGS": one_device, "JAX_PLATFORMS": "cpu"}
    environment |= {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled")}
    environment |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    started = []

    def start(command, *words):
        process = subprocess.Popen(
            [*command, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def finish(process, code=0):
    output, errors = process.communicate(timeout=300)
    assert process.returncode == code, output + errors
    assert "Traceback" not in errors
    return output, errors


def records(directory, kind):
    try:
        return [record for record in journal.read(directory) if record["type"] == kind]
    except FileNotFoundError:
        return []


def wait_for(process, directory, kind, count=1):
    """Waits until the run has so many records of a kind, or the process has ended."""
    while process.poll() is None and len(records(directory, kind)) < count:
        time.sleep(0.01)


def outcome(directory):
    """Every metric, end, test and kept weight of a run, as bits."""
    found, kept = {}, {}
    for record in journal.read(directory):
        if record["type"] == "epoch":
            for i, member in enumerate(map(tuple, record["members"])):
                values = {name: np.float32(column[i]).tobytes() for name, column in record["metrics"].items()}
                assert found.setdefault((*member, record["epoch"]), values) == values
        elif record["type"] in ("end", "test"):
            name = record["trial"], record["seed"], record["type"]
            assert name not in found, f"{name} was recorded twice"
            found[name] = record
        elif record["type"] == "weights":
            kept[record["trial"], record["seed"], record["which"]] = record["path"]
    for name, path in kept.items():
        if path:
            with np.load(directory / path) as stored:
                found[name] = {leaf: stored[leaf].tobytes() for leaf in stored.files}
    return found


def same(directory, undisturbed):
    got, expected = outcome(directory), outcome(undisturbed)
    assert got.keys() == expected.keys()
    different = [name for name in got if repr(got[name]) != repr(expected[name])]  # repr, because nan != nan
    assert not different
    on_disk = {path.name for path in (directory / "weights").iterdir()}
    assert on_disk == {path.name for path in (undisturbed / "weights").iterdir()}
    assert not list((directory / "checkpoint").glob("*"))


def kill_until_done(start, words, directory, *, kills, most, seed):
    """Kills the process at random moments of its work, and lets the last one end; returns how many there were.

    Every other time while it starts, otherwise after at most `most` checkpoints.
    """
    moments = random.Random(seed)
    process = start(CHECKPOINTING, *words, "--directory", directory)
    for number in range(kills):
        if number % 2:
            wait_for(process, directory, "run", number + 1)
        else:
            wait_for(process, directory, "checkpoint", len(records(directory, "checkpoint")) + moments.randint(1, most))
        time.sleep(moments.uniform(0.0, 0.5))
        if process.poll() is not None:
            break
        process.kill()
        process.communicate()
        assert results.open(directory).sizes["trial"] == 6, "what a kill leaves can be read"
        process = start(CHECKPOINTING, "sweep", directory)
    finish(process)
    return len(records(directory, "run"))


def test_killed_inside_tiles_and_resumed_the_run_is_bitwise_the_undisturbed_one(tmp_path, start):
    words = [*NOISY, "--epochs", "5"]
    finish(start(CHECKPOINTING, *words, "--directory", tmp_path / "undisturbed"))
    assert kill_until_done(start, words, tmp_path / "killed", kills=2, most=8, seed=2) == 3
    same(tmp_path / "killed", tmp_path / "undisturbed")


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
def test_killed_many_times_the_run_is_bitwise_the_undisturbed_one(tmp_path, start, seed):
    words = [*NOISY, "--epochs", "30", "--replicates", "2", "--vary-batches", "--keep", "3"]
    finish(start(CHECKPOINTING, *words, "--directory", tmp_path / "undisturbed"))
    assert kill_until_done(start, words, tmp_path / "killed", kills=12, most=60, seed=seed) > 6
    same(tmp_path / "killed", tmp_path / "undisturbed")


def test_a_signal_saves_a_checkpoint_says_how_to_go_on_and_the_run_goes_on(tmp_path, start):
    words = [*LINEAR, "--epochs", "400"]  # long enough that a busy machine is in time with its signals
    directory, undisturbed = tmp_path / "stopped", tmp_path / "undisturbed"
    finish(start(COMMAND, *words, "--directory", undisturbed))
    process = start(COMMAND, *words, "--directory", directory)
    for number, least in ((signal.SIGINT, 20), (signal.SIGTERM, 420)):
        wait_for(process, directory, "epoch", least)
        process.send_signal(signal.SIGSTOP)
        before = len(records(directory, "epoch"))
        if number == signal.SIGINT:
            assert {"running", "asked"} <= set(results.open(directory).status.values.ravel())
            _, refused = finish(start(COMMAND, "sweep", directory), code=2)
            assert (refused.count("\n"), "is being written by process" in refused) == (1, True)
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        output, _ = finish(process, code=130)
        assert f"jaxopt-intro sweep {directory}" in output
        assert before <= len(records(directory, "epoch")) <= before + 5
        assert not records(directory, "receipt")
        process = start(COMMAND, "sweep", directory)
    finish(process)
    same(directory, undisturbed)
    assert len(records(directory, "checkpoint")) == 4, "two that were saved, and each removed at its tile's end"
    assert len(records(directory, "epoch")) == 800, "no epoch was trained twice"

    assert cli.main(["sweep", str(directory)]) == 0
    assert len(records(directory, "epoch")) == 800, "a finished run trains nothing again"
    same(directory, undisturbed)
