"""The run directory, with real processes: nothing acknowledged is lost, and damage is said, not read."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxopt_intro import journal
from jaxopt_intro.journal import Journal

RUN = {"type": "run", "format": 1, "objective": {"name": "valid_accuracy", "direction": "max"}}


def small(directory, records=()):
    with Journal(directory) as run:
        run.append(RUN)
        for record in records:
            run.append(record)
    return Path(directory) / "journal.jsonl"


# -- values ------------------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text().filter(lambda key: key != "$float"), inner),
    max_leaves=8,
)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.lists(VALUES, max_size=4))
def test_every_value_comes_back_as_it_was(values):
    with tempfile.TemporaryDirectory() as directory:
        small(directory, [{"type": "free", "value": value} for value in values])
        found = [record["value"] for record in journal.read(directory)[1:]]
    assert repr(found) == repr(values)  # repr, because nan != nan


@settings(deadline=None, derandomize=True)
@given(st.lists(st.floats(width=32), min_size=1))
def test_float32_is_shortest_and_exact(values):
    with tempfile.TemporaryDirectory() as directory:
        path = small(directory, [{"type": "free", "value": np.array(values, np.float32)}])
        found = journal.read(directory)[1]["value"]
        line = path.read_text().splitlines()[1]
    np.testing.assert_array_equal(np.array(found, np.float32), np.array(values, np.float32))
    assert all(repr(float(str(np.float32(value)))) in line for value in values if np.isfinite(value))


def test_numpy_numbers_and_arrays_of_every_kind(tmp_path):
    import ml_dtypes

    record = {
        "type": "free",
        "rate": np.float32(0.1),
        "double": np.float64(0.1),
        "half": np.array([[0.5, 0.1, np.inf]], ml_dtypes.bfloat16),
        "step": np.int64(3),
        "done": np.bool_(True),
        "names": np.array(["a", "b"]),
        "members": (("t", np.int32(0)),),
    }
    small(tmp_path, [record])
    assert journal.read(tmp_path)[1] == {
        "type": "free", "rate": 0.1, "double": 0.1, "half": [[0.5, 0.100097656, float("inf")]], "step": 3, "done": True,
        "names": ["a", "b"], "members": [["t", 0]],
    }  # fmt: skip


def test_the_file_is_strict_json_behind_a_checksum(tmp_path):
    path = small(tmp_path, [{"type": "free", "loss": [float("nan"), float("-inf")], "name": "é\n"}])
    line = path.read_bytes().splitlines()[1]
    record = json.loads(line[9:], parse_constant=pytest.fail)
    assert record == {"type": "free", "loss": [{"$float": "nan"}, {"$float": "-inf"}], "name": "é\n"}
    assert line.isascii()


@pytest.mark.parametrize("value", [object(), {1: 2}, {"$float": 1}, np.array([1j]), {1, 2}])
def test_what_json_cannot_hold_is_refused_and_leaves_no_trace(tmp_path, value):
    with Journal(tmp_path) as run:
        run.append(RUN)
        with pytest.raises(TypeError, match="expected"):
            run.append({"type": "free", "value": value})
    assert len(journal.read(tmp_path)) == 1


# -- format ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("record", [{"type": "trial"}, {}, {"type": "run"}, {"type": "run", "format": 2}])
def test_the_first_record_is_the_run(tmp_path, record):
    with Journal(tmp_path) as run, pytest.raises(ValueError, match="expected"):
        run.append(record)


def test_a_newer_format_is_one_clear_error(tmp_path):
    path = small(tmp_path)
    path.write_bytes(journal._line({**RUN, "format": 2}))
    for reader in (journal.read, Journal):
        with pytest.raises(ValueError, match=r"has format 2; expected 1.*upgrade"):
            reader(tmp_path)
    small(tmp_path / "other")  # the refused writer gave its lock back
    path.unlink()
    small(tmp_path)


def test_a_journal_of_something_else_is_refused(tmp_path):
    (tmp_path / "journal.jsonl").write_bytes(journal._line({"type": "diary"}))
    with pytest.raises(ValueError, match="begins with 'diary'; expected 'run'"):
        journal.read(tmp_path)


@pytest.mark.parametrize("missing", ["nowhere", "empty", "file"])
def test_no_run_says_what_to_give(tmp_path, missing):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(FileNotFoundError, match=r"expected the directory of a run\. Give the path"):
        journal.read(tmp_path / missing)


# -- damage ------------------------------------------------------------------------------------------------------


def test_torn_at_every_byte(tmp_path):
    records = [{"type": "plan", "group": "a", "width": 8}, {"type": "epoch", "loss": [0.25, float("nan")]}]
    path = small(tmp_path, records)
    whole = path.read_bytes()
    ends = [0, *(at + 1 for at, byte in enumerate(whole) if byte == ord("\n"))]
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        kept = sum(end <= length for end in ends) - 1
        assert repr(journal.read(tmp_path)) == repr([RUN, *records][:kept])
        with Journal(tmp_path) as run:
            run.append({"type": "receipt"} if kept else RUN)
        assert journal.read(tmp_path)[-1] == ({"type": "receipt"} if kept else RUN)
        assert len(journal.read(tmp_path)) == kept + 1


@settings(deadline=None, derandomize=True, max_examples=300)
@given(st.data())
def test_a_flipped_bit_is_never_read(data):
    records = [{"type": "plan", "group": "abc", "width": 8}, {"type": "epoch", "loss": [0.25, 1e-7]}]
    with tempfile.TemporaryDirectory() as directory:
        path = small(directory, records)
        content = bytearray(path.read_bytes())
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(content)
        if at == len(content) - 1:  # the very last newline: indistinguishable from a torn line
            assert journal.read(directory) == [RUN, records[0]]
        else:
            number = bytes(content[:at]).count(b"\n") + 1
            with pytest.raises(ValueError, match=f"journal.jsonl, line {number} is damaged"):
                journal.read(directory)


def test_damage_beyond_the_offset_names_the_line_of_the_file(tmp_path):
    path = small(tmp_path, [{"type": "plan"}])
    _, offset = journal.tail(tmp_path)
    with path.open("ab") as file:
        file.write(b'00000000 {"type":"plan"}\n')
    with pytest.raises(ValueError, match="line 3 is damaged"):
        journal.tail(tmp_path, offset)


def test_a_run_replaced_by_a_shorter_one_is_said(tmp_path):
    small(tmp_path)
    with pytest.raises(ValueError, match="read it again from offset 0"):
        journal.tail(tmp_path, 10**6)


class _FullDisk:
    """A file that takes half of a record."""

    def __init__(self, file):
        self.file = file

    def write(self, line):
        return self.file.write(line[: len(line) // 2])

    def __getattr__(self, name):
        return getattr(self.file, name)


def test_a_full_disk_leaves_the_journal_whole(tmp_path):
    with Journal(tmp_path) as run:
        run.append(RUN)
        file, run._file = run._file, _FullDisk(run._file)
        with pytest.raises(OSError, match="disk full"):
            run.append({"type": "plan"})
        run._file = file
        run.append({"type": "receipt"})
    assert journal.read(tmp_path) == [RUN, {"type": "receipt"}]


# -- processes ---------------------------------------------------------------------------------------------------

WRITER = """
import sys
from jaxopt_intro.journal import Journal
directory, first, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with Journal(directory) as run:
    if first == 0:
        run.append({"type": "run", "format": 1})
        print(0, flush=True)
    for number in range(max(first, 1), 10**9):
        run.append({"type": "free", "number": number, "filling": chr(97 + number % 26) * (size + number % 97)})
        print(number, flush=True)
"""


def writer(directory, first=0, size=100):
    command = [sys.executable, "-c", WRITER, str(directory), str(first), str(size)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def acknowledged(process):
    rest = process.stdout.read().split("\n")
    process.stdout.close()
    process.wait()
    return [int(line) for line in rest[:-1]]


def test_kills_in_mid_append_lose_nothing_acknowledged(tmp_path):
    pick = random.Random(0)
    path = tmp_path / "journal.jsonl"
    known = 0  # `known`: how many records must be there
    for attempt in range(12):
        process = writer(tmp_path, first=known, size=[100, 3_000_000][attempt % 2])
        process.stdout.readline()
        time.sleep(pick.uniform(0.0, 0.05))
        process.send_signal(signal.SIGKILL)
        last = max([known, *acknowledged(process)])
        records = journal.read(tmp_path)
        assert last < len(records) <= last + 2  # the one in flight may have been written, unacknowledged
        assert all(record.get("number", 0) == number for number, record in enumerate(records))
        filling = records[-1]["filling"]
        assert filling == chr(97 + (len(records) - 1) % 26) * len(filling)
        known = len(records)
        if path.stat().st_size > 100_000_000:  # keep the test small
            path.unlink()
            known = 0


def test_the_second_writer_is_refused_by_name_of_the_first(tmp_path):
    process = writer(tmp_path)
    process.stdout.readline()
    try:
        with pytest.raises(journal.Locked, match=rf"{tmp_path}.*process {process.pid} on .*Wait until"):
            Journal(tmp_path)
        assert journal.read(tmp_path)
    finally:
        process.kill()
        acknowledged(process)
    with Journal(tmp_path) as run, pytest.raises(journal.Locked, match=f"process {os.getpid()} on"):
        Journal(run.directory)
    with Journal(tmp_path):  # closing freed it
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_run_is_free_after_a_clean_end_and_after_a_kill(tmp_path):
    small(tmp_path)
    journal.check_free(tmp_path)
    code = f"import os\nfrom jaxopt_intro.journal import Journal\nJournal({str(tmp_path)!r})\nos.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code], check=False)
    assert (tmp_path / "lock.owner").exists(), "a kill leaves it behind"
    journal.check_free(tmp_path)
    assert not (tmp_path / "lock.owner").exists()
    with Journal(tmp_path):
        with pytest.raises(journal.Locked, match="being written"):
            journal.check_free(tmp_path)
        assert (tmp_path / "lock.owner").exists()


def test_a_forked_child_does_not_keep_the_lock(tmp_path):
    code = (
        "import os, sys, time\nfrom jaxopt_intro.journal import Journal\n"
        f"run = Journal({str(tmp_path)!r})\nchild = os.fork()\n"
        "child or print(os.getpid(), flush=True)\ntime.sleep(60)"  # the child speaks once it has let go of the lock
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    parent.kill()
    parent.stdout.close()
    parent.wait()
    try:
        small(tmp_path)
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_reader_follows_a_growing_journal(tmp_path):
    process = writer(tmp_path, size=20_000)
    process.stdout.readline()
    records, offset = [], 0
    until = time.monotonic() + 20
    while len(records) < 200 and time.monotonic() < until:
        new, offset = journal.tail(tmp_path, offset)
        records += new
    process.kill()
    acknowledged(process)
    assert len(records) >= 200
    assert all(record.get("number", 0) == number for number, record in enumerate(records))
    assert journal.read(tmp_path)[: len(records)] == records


def test_importing_the_journal_brings_no_jax():
    code = "import sys, jaxopt_intro.journal; sys.exit('jax' in sys.modules or 'xarray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
