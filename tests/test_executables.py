"""Compiled programs are kept between processes, for this user alone, unless JAX has been told otherwise."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import jax
import pytest

from jaxopt_intro.sweeps.executables import kept_on_disk

SWEEP = """
import sys
from jaxopt_intro import Experiment, Space, log_uniform, sweep
experiment = Experiment(data="digits", model="mlp", optimizer="adam", epochs=1)
found = sweep(experiment, Space(learning_rate=log_uniform(1e-3, 1e-1)).grid(2), directory=sys.argv[1], width=2)
print(found.score.values.ravel().tolist(), found.valid_loss.values.ravel().tolist())
"""


def test_a_second_process_compiles_nothing_new_and_finds_the_same(tmp_path):
    environment = os.environ | {"JAXOPT_INTRO_CACHE": str(tmp_path / "cache")}
    said, kept = [], []
    for name in ("first", "second"):
        words = [sys.executable, "-c", SWEEP, str(tmp_path / name)]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
        said.append(done.stdout)
        kept.append({path.name for path in (tmp_path / "cache" / "programs").rglob("*-cache")})
    assert len(kept[0]) >= 3
    assert kept[0] == kept[1]
    assert said[0] == said[1]
    (folder,) = (tmp_path / "cache" / "programs").iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


REPLAY = """
import sys
from jaxopt_intro import replay, results
run = results.open(sys.argv[1])
assert replay(sys.argv[1], run.trial.values.tolist()).largest_difference is None
"""


def test_a_replay_takes_the_programs_of_its_run(tmp_path):
    environment = os.environ | {"JAXOPT_INTRO_CACHE": str(tmp_path / "cache"), "XLA_FLAGS": ""}  # one device
    kept = []
    for script in (SWEEP, REPLAY):
        words = [sys.executable, "-c", script, str(tmp_path / "run")]
        subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
        files = [path for path in (tmp_path / "cache" / "programs").rglob("*") if path.is_file()]
        kept.append({path.name: path.stat().st_mtime_ns for path in files})
    programs, read = ([n for n in kept[0] if n.endswith(end)] for end in ("-cache", "-atime"))
    assert len(programs) >= 3
    assert [n for n in kept[1] if n.endswith("-cache")] == programs
    assert [n for n in read if kept[1][n] > kept[0][n]], "JAX notes when it took a program from there"


def test_what_jax_was_told_holds(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXOPT_INTRO_CACHE", str(tmp_path))
    before = jax.config.jax_compilation_cache_dir
    try:
        jax.config.update("jax_compilation_cache_dir", str(tmp_path / "mine"))
        with kept_on_disk():
            assert jax.config.jax_compilation_cache_dir == str(tmp_path / "mine")
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    assert not (tmp_path / "programs").exists()


def test_what_was_set_is_set_again_and_a_folder_that_cannot_be_made_is_left(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXOPT_INTRO_CACHE", str(tmp_path / "file" / "cache"))
    names = (
        "jax_compilation_cache_dir",
        "jax_compilation_cache_max_size",
        "jax_persistent_cache_min_compile_time_secs",
    )
    before = [getattr(jax.config, name) for name in names]

    def interrupted():
        with kept_on_disk():
            assert jax.config.jax_compilation_cache_dir.startswith(str(tmp_path))
            raise KeyError

    with pytest.raises(KeyError):
        interrupted()
    assert [getattr(jax.config, name) for name in names] == before
    (tmp_path / "plain").write_text("no folder")
    monkeypatch.setenv("JAXOPT_INTRO_CACHE", str(tmp_path / "plain" / "cache"))
    with kept_on_disk():
        assert jax.config.jax_compilation_cache_dir is None
