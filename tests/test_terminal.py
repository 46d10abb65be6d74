"""What the command shows: on a terminal a live bar, in a file whole lines; never a path or a number that is cut."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxopt_intro import journal, results
from jaxopt_intro.journal import Journal
from jaxopt_intro.terminal import Terminal

CPU = {"platform": "cpu", "kind": "cpu", "count": 1, "cores": 2, "machine": "x86_64", "idle_gpu": False}


def record(kind, **more):
    return {"type": kind, "done": 0, "total": 8, "ended": 0, "asked_members": 4, **more}


def epoch(values, direction="max", **more):
    return record("epoch", group="g", metrics={"valid_accuracy": np.float32(values)}, **more)


def run_record(direction="max"):
    return record("run", format=journal.FORMAT, objective={"name": "valid_accuracy", "direction": direction})


def test_the_device_is_said_and_an_idle_gpu_is_a_warning(capsys):
    Terminal().device(CPU)
    assert capsys.readouterr().out == "device: cpu, 2 cores\n"
    Terminal().device({**CPU, "platform": "gpu", "kind": "NVIDIA H100", "count": 2})
    assert capsys.readouterr().out == "device: gpu, 2 x NVIDIA H100\n"
    Terminal().device({**CPU, "idle_gpu": True})
    first, warning = capsys.readouterr().out.splitlines()
    assert first == "device: cpu, 2 cores"
    assert "warning: an NVIDIA GPU is here" in warning
    assert 'pip install "jax[cuda12]"' in warning, "the brackets are no markup"


@pytest.mark.parametrize(("direction", "best"), [("max", "0.7500"), ("min", "0.1250")])
def test_the_best_so_far_is_the_objectives_and_no_nan_is(capsys, direction, best):
    terminal = Terminal()
    with terminal:
        terminal.listen(run_record(direction))
        terminal.listen(epoch([np.nan, np.nan]))
        terminal.listen(epoch([0.25, 0.75, np.nan]))
        terminal.listen(epoch([0.125, 0.5, np.inf], done=3))
        terminal.listen(record("progress", group="adam", text="compiling 4 side by side"))
    output = capsys.readouterr().out
    assert f"best valid_accuracy {best}" in output
    assert "adam: compiling 4 side by side" in output
    assert "nan" not in output


def test_a_file_gets_a_line_for_what_is_new_and_not_one_for_every_epoch(capsys):
    terminal = Terminal()
    with terminal:
        terminal.listen(run_record())
        for number in range(100):
            terminal.listen(epoch([0.5], done=number, total=100))
    assert len(capsys.readouterr().out.splitlines()) <= 1


def test_an_interruption_says_how_to_go_on_in_one_piece(capsys):
    directory = "runs/[bold]" + "a-long-name/" * 12
    terminal = Terminal()
    with terminal:
        terminal.listen(record("directory", path=directory))
        terminal.interrupted()
    assert f"jaxopt-intro sweep {directory}\n" in capsys.readouterr().out


@pytest.fixture
def run(tmp_path):
    with Journal(tmp_path) as writer:
        writer.append({"type": "run", "format": journal.FORMAT,
                       "objective": {"name": "valid_accuracy", "direction": "max"}})  # fmt: skip
        for number, accuracy in enumerate([0.5, np.nan, 0.75]):
            trial = f"trial{number}"
            hparams = {"learning_rate": 10.0**-number, "l2": 0.1}
            writer.append({"type": "trial", "trial": trial, "hparams": hparams, "choices": {}, "seeds": [0, 1]})
            members, values = [[trial, 0], [trial, 1]], [accuracy, accuracy]
            writer.append({"type": "epoch", "epoch": 1, "members": members, "metrics": {"valid_accuracy": values}})
            for seed in (0, 1):
                status = "failed" if np.isnan(accuracy) else "finished"
                writer.append({"type": "end", "trial": trial, "seed": seed, "status": status, "step": 3, "epoch": 1})
    return results.open(tmp_path)


def test_the_table_has_the_best_first_and_says_who_failed(capsys, run):
    Terminal().table(run, 10)
    output = capsys.readouterr().out
    rows = [line for line in output.splitlines() if re.search(r"trial\d", line)]
    assert [re.search(r"trial\d", row).group() for row in rows] == ["trial2", "trial0", "trial1"]
    assert "failed" in rows[2]
    assert "nan" not in output
    assert "0.01" in rows[0]


def test_the_table_of_fewer_says_of_how_many(capsys, run):
    Terminal().table(run, 2)
    assert "the best 2 of 3 trials" in capsys.readouterr().out


def test_on_a_terminal_the_bar_is_live_and_the_result_stays(tmp_path):
    import pty

    here, there = pty.openpty()
    command = [str(Path(sys.executable).with_name("jaxopt-intro")), "sweep", "--data", "digits", "--model", "linear"]
    command += ["--optimizer", "sgd", "--log-uniform", "learning_rate", "0.001", "1", "--points", "learning_rate=2"]
    command += ["--epochs", "2", "--width", "2", "--directory", str(tmp_path / "run")]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(command, stdout=there, stderr=there, env=environment)
    os.close(there)
    seen = b""
    while True:
        try:
            piece = os.read(here, 65536)
        except OSError:  # Linux says that the other side has gone by an error
            break
        if not piece:
            break
        seen += piece
    os.close(here)
    assert process.wait(timeout=120) == 0
    text = seen.decode()
    assert "\x1b[?25l" in text, "the cursor is hidden while the bar moves"
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "and comes back"
    assert re.search(r"2/2 trials|/4 epochs", text)
    assert "test accuracy of the chosen trial" in text
    assert "next: jaxopt-intro show" in text
