"""The command `map`: a map from nothing, killed and gone on with, zoomed into; and mistakes in one line."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jaxopt_intro import cli, results
from jaxopt_intro.results import maps

pytestmark = pytest.mark.usefixtures("compiled_once")

COMMAND = str(Path(sys.executable).with_name("jaxopt-intro"))
SMALL = ["--model", "linear", "--epochs", "2", "--batch-size", "256", "--width", "16", "--resolution", "32"]


def run(capsys, *words):
    code = cli.main(["map", *map(str, words)])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """What the command printed of a map, and its directory."""
    directory = tmp_path_factory.mktemp("finished") / "map"
    process = subprocess.run(
        [COMMAND, "map", *SMALL, "--points", "450", "--directory", str(directory)],
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    assert not process.stderr
    return directory, process.stdout


def test_the_command_says_what_it_found(finished):
    directory, shown = finished
    found = results.open_map(directory)
    point = maps.best(found)
    lines = shown.splitlines()
    assert lines[0].startswith("device: cpu")
    assert lines[-4].startswith(f"best valid_accuracy {point.objective.item():.4f} at learning_rate ")
    computed = int((found.seeds > 0).sum())
    assert f"; {computed} of 1,089 points computed; {found.attrs['trainings']} trainings in " in lines[-4]
    assert lines[-3:] == [
        f"picture: {directory}/map.png", f"map: {directory}", f"next: jaxopt-intro map {directory} --zoom 8 --at edge",
    ]  # fmt: skip
    assert (directory / "map.png").read_bytes().startswith(b"\x89PNG")
    assert (found.arrow_refused == "").sum() > 10
    asked = json.loads((directory / "map.json").read_text())
    assert (asked["x"]["low"], asked["x"]["high"]) == (1e-3, 10.0)  # sgd's own range, and ten times beyond


def test_a_map_that_was_killed_goes_on_with_the_same_bits(finished, tmp_path):
    killed = tmp_path / "map"
    words = [COMMAND, "map", *SMALL, "--points", "450", "--no-arrows", "--directory", str(killed)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    begin = time.monotonic()
    while not (killed / "lanes.npz").exists() and time.monotonic() - begin < 200:
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert len(maps.read_lanes(killed).row) < 450
    shown = subprocess.run(
        [COMMAND, "map", str(killed)], capture_output=True, text=True, check=True, timeout=300
    ).stdout
    assert "best valid_accuracy" in shown
    for own, whole in zip(maps.read_lanes(killed), maps.read_lanes(finished[0]), strict=True):
        np.testing.assert_array_equal(own, whole)


def test_a_window_is_mapped_in_a_subfolder(capsys, finished):
    directory, _ = finished
    code, shown, error = run(capsys, directory, "--zoom", 4, "--at", "edge", "--points", 300, "--no-arrows")
    assert (code, error) == (0, "")
    found, before = results.open_map(directory / "zoom-1"), results.open_map(directory)
    assert f"map: {directory}/zoom-1" in shown
    for name in ("learning_rate", "l2"):
        inner, outer = (np.log(m[name].values[[0, -1]]) for m in (found, before))
        np.testing.assert_allclose(np.diff(inner), np.diff(outer) / 4, rtol=1e-4)
    share = (maps.filled(found)[1] >= 0.5).mean()
    assert 0.02 < share < 0.98
    code, _, error = run(capsys, directory, "--zoom", 1000, "--at", "edge")
    assert code == 2
    assert "at most 32" in error


MISTAKES = {
    "one end": (["--x", "learning_rate", "0.1"], ["--x", "NAME LOW HIGH"]),
    "an end that is no number": (["--y", "l2", "small", "1"], ["--y l2", "'small'"]),
    "no range of its own": (["--y", "dropout"], ["'dropout' without ends", "--y dropout LOW HIGH"]),
    "the same twice": (["--x", "l2"], ["'l2' as x and as y"]),
    "an axis that is a constant": (["--constant", "l2", "0.1"], ["'l2' as an axis and as a constant"]),
    "no power of 2": (["--resolution", "100"], ["resolution=100", "power of 2"]),
    "too few points": (["--points", "10"], ["points=10", "at least 289"]),
    "a zoom of nothing": (["--zoom", "8"], ["--zoom without a map"]),
    "no map": (["nowhere"], ["'nowhere', which holds no map", "map.json"]),
    "an unknown option": (["--resolutoin", "64"], ["'--resolutoin'", "--resolution"]),
    "an unknown method": (["--optimizer", "sdg"], ["'sdg'", "sgd"]),
    "ends the wrong way": (["--x", "learning_rate", "1", "0.1"], ["low=1", "low <= high"]),
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


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--epochs", "3"], "got --epochs with the map"), (["--zoom", "4", "--model", "mlp"], "got --model with the map"),
     (["--zoom", "4", "--at", "middle"], "'middle'; expected best, edge"), (["--zoom", "0.5"], "a factor of 0.5")],
)  # fmt: skip
def test_a_map_takes_only_what_it_can(capsys, finished, words, said):
    code, _, error = run(capsys, finished[0], *words)
    assert code == 2
    assert said in error
    assert error.count("\n") == 1


def test_the_help_fits_a_screen(capsys):
    with pytest.raises(SystemExit):
        cli.main(["map", "--help"])
    shown = capsys.readouterr().out
    assert shown.count("\n") < 50
    assert max(map(len, shown.splitlines())) <= 100
    assert "jaxopt-intro map RUN --zoom 8 --at edge" in shown
