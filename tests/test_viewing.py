"""The commands that look at a run: live, as tables and JSON, compared, exported; mistakes are one line."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
import pytest
import xarray as xr

from jaxopt_intro import cli, results
from jaxopt_intro.journal import Journal
from tests.journals import diverges, grid_trials, run_record, trial, write

STATUS = [sys.executable, "-m", "jaxopt_intro.cli", "status"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = run_record() | {"experiment": {"epochs": 5, "optimizer": "adam"}}
    return write(tmp_path_factory.mktemp("finished") / "run", grid_trials(seeds=(0, 1)), fails=diverges, run=run)


def run(capsys, *words):
    code = cli.main([str(word) for word in words])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


# -- status ------------------------------------------------------------------------------------------------------


def test_a_finished_run_is_said_at_once(capsys, finished):
    code, output, error = run(capsys, "status", finished)
    assert (code, error) == (0, "")
    assert output.splitlines()[0] == "128 of 128 members ended (16 failed), 592 of 640 epochs"
    assert output.splitlines()[-1] == "finished after 12 s"
    code, output, _ = run(capsys, "status", finished, "--json")
    found = json.loads(output)
    assert (code, found["finished"], found["share"], found["ended"]["failed"]) == (0, True, 1.0, 16)
    assert found["best"] == pytest.approx(np.nanmax(results.open(finished).score))


def test_a_run_that_nobody_works_on_says_how_to_go_on(capsys, tmp_path):
    write(tmp_path, grid_trials(), epochs=2, end=False, run=run_record() | {"experiment": {"epochs": 5}})
    code, output, _ = run(capsys, "status", tmp_path)
    assert code == 0
    assert output.splitlines()[-1] == f"nobody works on it now; go on: jaxopt-intro sweep {tmp_path}"


def test_on_a_terminal_the_bar_has_a_line_of_its_own(finished):
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    subprocess.run([*STATUS, str(finished)], stdout=theirs, check=True, timeout=60)
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert "128 of 128 members ended (16 failed), 592 of 640 epochs" in shown
    assert not any("━" in line and "members" in line for line in shown.splitlines())


def begun(journal):
    journal.append(run_record() | {"experiment": {"epochs": 2}})
    journal.append(trial({"learning_rate": 0.1}, name="a"))


def step(journal, epoch):
    metrics = {"valid_accuracy": [0.25 * epoch]}
    journal.append({"type": "epoch", "epoch": epoch, "members": [["a", 0]], "metrics": metrics, "time": 1.0 * epoch})


def test_status_follows_a_run_from_another_process_to_its_end(tmp_path):
    with Journal(tmp_path) as journal:
        begun(journal)
        watching = subprocess.Popen([*STATUS, str(tmp_path), "--json"], stdout=subprocess.PIPE, text=True)
        try:
            first = json.loads(watching.stdout.readline())
            assert (first["share"], first["best"]) == (0.0, None)
            assert first["writer"] == f"process {os.getpid()} on {os.uname().nodename}"
            step(journal, 1)
            second = json.loads(watching.stdout.readline())
            assert (second["share"], second["best"], second["remaining_seconds"]) == (0.5, 0.25, 1.0)
            step(journal, 2)
            journal.append({"type": "end", "trial": "a", "seed": 0, "status": "finished", "step": 9, "epoch": 2})
            journal.append({"type": "receipt", "seconds": 3.0})
            rest = watching.communicate(timeout=30)[0].splitlines()
        finally:
            watching.kill()
    assert json.loads(rest[-1])["finished"]
    assert watching.returncode == 0


def test_ctrl_c_ends_watching_well_and_leaves_the_run_alone(tmp_path):
    with Journal(tmp_path) as journal:
        begun(journal)
        watching = subprocess.Popen(
            [*STATUS, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )  # fmt: skip
        try:
            assert watching.stdout.readline() == "0 of 1 members ended, 0 of 2 epochs\n"
            time.sleep(0.2)
            watching.send_signal(signal.SIGINT)
            _, error = watching.communicate(timeout=30)
        finally:
            watching.kill()
        assert (watching.returncode, error) == (0, "")
        step(journal, 1)  # the writer still holds it


def test_status_once_does_not_wait(capsys, tmp_path):
    with Journal(tmp_path) as journal:
        begun(journal)
        code, output, _ = run(capsys, "status", tmp_path, "--once")
    assert code == 0
    assert output.splitlines()[-1].startswith("written by process ")


# -- show --------------------------------------------------------------------------------------------------------


def test_show_writes_what_top_says_as_json_and_csv(capsys, finished):
    best = results.top(results.open(finished), 3)
    _, output, error = run(capsys, "show", finished, "--top", "3", "--format", "json")
    found = json.loads(output)
    assert error == ""
    assert [row["trial"] for row in found] == best.trial.tolist()
    assert found[0]["learning_rate"] == best.learning_rate.iloc[0]
    assert [row["rank"] for row in found] == [1, 2, 3]
    _, output, _ = run(capsys, "show", finished, "--top", "3", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(output)))
    assert [float(row["valid_accuracy"]) for row in rows] == best.valid_accuracy.tolist()
    _, output, _ = run(capsys, "show", finished, "--top", "64", "--format", "json")
    assert json.loads(output)[-1]["valid_accuracy"] is None, "a failed trial has no score"


# -- compare -----------------------------------------------------------------------------------------------------


def test_compare_shows_json_and_draws(capsys, finished, tmp_path):
    code, output, error = run(capsys, "compare", finished, "--by", "optimizer", "--picture", tmp_path / "compared.png")
    assert (code, error) == (0, "")
    assert "momentum" in output
    assert "a grid's" in output
    assert (tmp_path / "compared.png").stat().st_size > 10_000
    _, output, _ = run(capsys, "compare", finished, "--by", "optimizer", "--json")
    found, expected = json.loads(output), results.compare(finished, "optimizer")
    assert (found["by"], found["objective"]) == ("optimizer", "valid_accuracy")
    for row in found["rows"][::11]:
        assert row["expected"] == expected.expected.sel(label=row["label"], trials=row["trials"]).item()


def test_compare_takes_several_runs(capsys, finished, tmp_path):
    other = write(tmp_path / "other", grid_trials(["adam"]))
    code, output, _ = run(capsys, "compare", finished, other)
    assert code == 0
    assert all(any(line.split()[:1] == [name] for line in output.splitlines()) for name in ("run", "other"))


# -- export ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["csv", "parquet", "netcdf", "optuna", "tensorboard"])
def test_every_export_lies_where_the_command_says(capsys, finished, tmp_path, name):
    code, output, _ = run(capsys, "export", finished, "--to", name, "--out", tmp_path / "new" / "out")
    assert (code, output) == (0, f"{tmp_path / 'new' / 'out'}\n")
    assert (tmp_path / "new" / "out").exists()
    if name == "netcdf":
        xr.testing.assert_identical(xr.load_dataset(tmp_path / "new" / "out"), results.open(finished))
    code, _, error = run(capsys, "export", finished, "--to", name, "--out", tmp_path / "new" / "out")
    assert code == 2
    assert "expected a new path" in error


def test_an_export_lies_in_the_run_by_default(capsys, finished):
    _, output, _ = run(capsys, "export", finished, "--to", "csv")
    assert output.strip() == str(finished / "export" / "run.csv")
    assert (finished / "export" / "run.csv").exists()


def test_a_missing_package_is_said_with_how_to_get_it(capsys, finished, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    code, _, error = run(capsys, "export", finished, "--to", "optuna", "--out", tmp_path / "study.db")
    assert code == 2
    assert 'pip install "jaxopt_intro[optuna]"' in error


MISTAKES = {
    "no run": (["status", "nowhere"], ["'nowhere'", "no such directory"]),
    "no format": (["export", "nowhere"], ["--to"]),
    "an unknown format": (["export", "nowhere", "--to", "exel"], ["'exel'", "optuna"]),
    "a trial of all": (["export", "RUN", "--to", "csv", "--trial", "a"], ["--trial with --to csv"]),
    "an unknown choice": (["compare", "RUN", "--by", "optimiser"], ["Did you mean 'optimizer'"]),
    "a run twice": (["compare", "RUN", "RUN"], ["got one run twice"]),
    "an unknown way to show": (["show", "RUN", "--format", "xml"], ["'xml'", "json"]),
    "weights that were not kept": (["export", "RUN", "--to", "orbax", "--out", "OUT"], ["were not kept"]),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(capsys, finished, tmp_path, name):
    words, parts = MISTAKES[name]
    places = {"RUN": finished, "OUT": tmp_path / "out"}
    code, output, error = run(capsys, *(places.get(word, word) for word in words))
    assert (code, output) == (2, "")
    assert len(error.splitlines()) == 1
    assert all(part in error for part in parts), error


@pytest.mark.parametrize("command", ["status", "show", "compare", "export"])
def test_the_help_fits_a_screen_and_has_an_example(capsys, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--help"])
    output = capsys.readouterr().out
    assert ended.value.code == 0
    assert len(output.splitlines()) <= 36
    assert max(map(len, output.splitlines())) <= 80
    assert f"  jaxopt-intro {command} " in output
