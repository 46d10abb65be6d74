"""The run directory: what lies in it, who may write it, and how to read it while it grows.

A run is a directory::

    journal.jsonl      every record, append-only: the format below
    experiment.toml    what was asked, to read and to run again
    checkpoint/        the latest state of the tiles
    weights/           kept weights
    lock, lock.owner   one writer at a time: the lock itself, and who holds it

**A line of the journal** is the CRC-32 of the JSON bytes as eight lowercase hexadecimal digits, a space,
the record as compact ASCII JSON, and a newline. A line without its newline is one that a kill cut short:
readers stop before it, the next writer removes it. JSON has no NaN, so a non-finite number is written as
the object `{"$float": "nan"}` (or "inf", "-inf") and read as the float again. float32 values are written in
their shortest form: 0.1, not 0.10000000149011612.

**Records**, by `type`. Readers ignore types and keys that they don't know. A member is a pair `[trial,
seed]`.

run
    `format` (1), `time` (ISO 8601), `versions`, `device`, `settings` (of JAX), `experiment`, `objective`
    (`name`, and `direction`: max or min), `data`, `trials` (how many this session was asked), `methods` {role and name
    of a part: whom to cite}, `search` (what trials were drawn from, as experiment files have it), `pruner` (its name
    and numbers, or null), `left_out` (how many trials `max_trials` left out), `test` (false: the test split is left to
    finalists); where it is about another run `replay` or `finalists`, with that `run`. The first record; one more at
    each resume, and the last one wins.
trial
    `trial` (its id), `hparams` {name: number}, `choices` {name: label}, `values` {name: the option, callables by
    where they are found}, `fixed` (numbers that are compiled) and `compiled` {name: why}, `group`, `seeds`
    [0, 1, …]. One trial may have names that another has not.
plan
    `group`, `width`, and what else was decided.
epoch
    `group`, `epoch` (the number of the validation, from 1), `step` (after which it was), `members`, `metrics` {name:
    one number for each member}, `time` (seconds since the start). May be written again after a resume, with equal
    values.
ask
    `number` (from 0), `count` (how many trials were asked for), `told` (ids of trials of whose end the searcher was
    told before), `trials` (ids of those it gave, whose own records come before).
rung
    What a pruner was told and said: `number` (from 0), `rung` (how much training the trials have had, in the pruner's
    unit), `values` {trial: more is better}, `entered` (new trials), `idle` (whether nobody trained), `ended` (those of
    `values` that train no more; missing in old runs), `verdicts`: dicts of `trial`, `action` (go, stop or copy), `to`
    (until how much training), `reason`, and for a copy `from` and `hparams`. After a resume records from the last
    checkpoint on may come again, with the same numbers.
end
    `trial`, `seed`, `status` (finished, failed or pruned), `reason` (or null), `step`, `epoch` (epochs
    done), `score` (of the best epoch, or null) and `best_epoch` (0: none); `hparams` where the pruner may have changed
    them. In a pruned run it may come again after a resume; the last one wins.
checkpoint
    `group`, `members`, `round` (from 0) and `piece` (segments done in it), `totals` (names), `parked` {group and round:
    members that wait}, `waiting` and `last` (values of members), `asks` and `updates` (records until then), `path`
    (null: dropped, and all that was decided stands). The last one wins.
weights
    `trial`, `seed`, `which` (best or last), `epoch`, `path` (relative to the run; null: removed). The last
    one wins.
test
    `trial`, `seed`, `epoch`, `metrics` {name: number}.
finalists
    `directory` (relative to the run) of finalists whose best was measured on the test split.
receipt
    Whatever the engine measured; among it `seconds` (of the session, from its journal on) with those of compiling, of
    measuring widths, of running and of the host alone, `staging_seconds` before it, `busy` (the share of lane-steps
    that were a live member's) and, of ten seconds of running and more, `peak_share` (of matrix products).
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock
import numpy as np

FORMAT = 1
"""The version of the journal's format that this code writes and reads."""


class Locked(RuntimeError):
    """Another writer holds the run."""


class Journal:
    """The one writer of a run: takes the lock, mends a torn end, appends records.

    The lock is the operating system's, so it is free again however the process ended.

    Args:
        directory: The run; created when missing.

    Raises:
        Locked: Another process (or another `Journal` here) is writing this run.
        ValueError: The journal is damaged or of another format.

    Examples:
        >>> import tempfile
        >>> run = tempfile.mkdtemp()
        >>> with Journal(run) as journal:
        ...     journal.append({"type": "run", "format": FORMAT})
        ...     journal.append({"type": "receipt", "seconds": np.float32(0.1)})
        >>> read(run)[1]
        {'type': 'receipt', 'seconds': 0.1}
    """

    def __init__(self, directory: str | os.PathLike[str]):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(self.directory)
        try:
            path = self.directory / "journal.jsonl"
            path.touch()
            records, end = tail(self.directory)
            self._empty = not records
            self._file = path.open("ab", buffering=0)
            self._file.truncate(end)  # a kill in mid-write left part of a line
        except BaseException:
            self._lock.release()
            raise

    def append(self, record: Mapping[str, Any]) -> None:
        """Writes one record in one system call; once this returns, a kill of the process cannot lose it.

        Args:
            record: A dict with a `type`. Numbers may be NumPy's (or any array's), arrays become lists.

        Raises:
            TypeError: A value that JSON cannot hold.
            ValueError: No `type`, or a first record that isn't the run's.
            OSError: The disk is full, say; the journal is then as before.
        """
        _check_record(record, first=self._empty)
        line = _line(record)
        start = os.fstat(self._file.fileno()).st_size
        try:
            if self._file.write(line) != len(line):
                raise OSError(f"could write only part of a record to {self._file.name}. Is the disk full?")
        except OSError:
            self._file.truncate(start)
            raise
        self._empty = False

    def sync(self) -> None:
        """Waits until everything is on the disk: then a power cut cannot lose it either."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Syncs and gives the lock back; a second call does nothing."""
        if self._file.closed:
            return
        self.sync()
        self._file.close()
        (self.directory / "lock.owner").unlink(missing_ok=True)
        self._lock.release()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def writing(directory: str | os.PathLike[str]) -> Iterator[Path]:
    """Holds the lock of a directory that has no journal, such as a map's.

    Args:
        directory: Created when missing.

    Raises:
        Locked: Another process writes it.

    Examples:
        >>> import tempfile
        >>> with writing(tempfile.mkdtemp()) as directory:
        ...     writer(directory)
        'process ... on ...'
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    lock = _lock(directory)
    try:
        yield directory
    finally:
        (directory / "lock.owner").unlink(missing_ok=True)
        lock.release()


def check_free(directory: str | os.PathLike[str]) -> None:
    """Refuses a run that is being written.

    Args:
        directory: The run.

    Raises:
        Locked: Somebody writes it.

    Examples:
        >>> import tempfile
        >>> with Journal(tempfile.mkdtemp()) as journal:
        ...     check_free(journal.directory)
        Traceback (most recent call last):
        ...
        jaxopt_intro.journal.Locked: the run ... is being written by process ...
    """
    owner = Path(directory) / "lock.owner"
    if owner.exists():  # after a writer that was not killed there is none: the folder may be one that we cannot write
        lock = _lock(Path(directory))
        owner.unlink(missing_ok=True)
        lock.release()


def read(directory: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Reads every whole record of a run, also while it is being written.

    Args:
        directory: The run.

    Returns:
        The records in the order written. Empty when the run has only just been created.

    Raises:
        FileNotFoundError: The directory is no run.
        ValueError: A damaged line, or a newer format.
    """
    return tail(directory)[0]


def tail(directory: str | os.PathLike[str], offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Reads the whole records from `offset` on, so that a live view reads each record once.

    Args:
        directory: The run.
        offset: Where the last call stopped, in bytes.

    Returns:
        The new records, and the offset for the next call.

    Raises:
        FileNotFoundError: The directory is no run.
        ValueError: A damaged line, a newer format, or an offset beyond the end.

    Examples:
        >>> import tempfile
        >>> run = tempfile.mkdtemp()
        >>> with Journal(run) as journal:
        ...     journal.append({"type": "run", "format": FORMAT})
        ...     old, offset = tail(run)
        ...     journal.append({"type": "plan", "group": "a", "width": 8})
        ...     tail(run, offset)[0]
        [{'type': 'plan', 'group': 'a', 'width': 8}]
    """
    path = Path(directory) / "journal.jsonl"
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(offset)
            data = file.read()
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(_not_a_run(Path(directory))) from None
    if size < offset:
        raise ValueError(
            f"{path} has {size} bytes; expected at least {offset}, where the last read stopped. "
            "The run was replaced: read it again from offset 0."
        )
    lines = data.split(b"\n")
    unfinished = lines.pop()
    records = [_record(line, path, offset, number) for number, line in enumerate(lines, 1)]
    if offset == 0 and records and records[0].get("type") != "run":
        raise ValueError(f"{path} begins with {records[0].get('type')!r}; expected 'run'. It is no run's journal.")
    return records, offset + len(data) - len(unfinished)


def writer(directory: str | os.PathLike[str]) -> str | None:
    """Says who writes a run now.

    Args:
        directory: The run.

    Returns:
        Process and machine, or None when nobody does. Of another machine only its own word is known, so a writer that
        was killed there is still named.

    Examples:
        >>> import tempfile
        >>> run = tempfile.mkdtemp()
        >>> with Journal(run):
        ...     writer(run)
        'process ... on ...'
        >>> writer(run) is None
        True
    """
    try:
        owner = (Path(directory) / "lock.owner").read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None
    process, _, machine = owner.removeprefix("process ").partition(" on ")
    if os.name == "posix" and machine == socket.gethostname() and process.isdigit():
        try:
            os.kill(int(process), 0)  # asks only; elsewhere than on POSIX it would be a signal
        except ProcessLookupError:
            return None
        except PermissionError:
            pass  # another user's, and alive
    return owner or None


def _lock(directory: Path) -> filelock.BaseFileLock:
    lock = filelock.FileLock(directory / "lock", timeout=0, thread_local=False)
    owner = directory / "lock.owner"  # its own file: Windows refuses to read a locked one
    try:
        lock.acquire()
    except filelock.Timeout:
        holder = owner.read_text() if owner.exists() else "another process"
        raise Locked(
            f"the run {directory} is being written by {holder}; expected no other writer. "
            "Wait until it ends or stop it; reading the run is possible meanwhile."
        ) from None
    owner.write_text(f"process {os.getpid()} on {socket.gethostname()}")
    return lock


def _check_record(record: Mapping[str, Any], *, first: bool) -> None:
    kind = record.get("type")
    if not isinstance(kind, str):
        raise ValueError(f"got a record of type {kind!r}; expected one of the journal's. Set its 'type'.")
    if first and kind != "run":
        raise ValueError(f"got {kind!r} as the first record; expected 'run'. Append the run's record first.")
    if kind == "run" and record.get("format") != FORMAT:
        raise ValueError(f"got format {record.get('format')!r}; expected {FORMAT}. Add 'format': journal.FORMAT.")


_PLAIN = (str, int, bool, type(None))
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def _line(record: Mapping[str, Any]) -> bytes:
    body = _encode(_plain(record)).encode("ascii")
    return b"%08x %s\n" % (zlib.crc32(body), body)


def _record(line: bytes, path: Path, offset: int, number: int) -> dict[str, Any]:
    body = line[9:]
    if line[:9] != b"%08x " % zlib.crc32(body):
        with path.open("rb") as file:
            number += file.read(offset).count(b"\n")
        raise ValueError(
            f"{path}, line {number} is damaged: got the checksum {line[:8].decode('ascii', 'replace')!r}; "
            f"expected '{zlib.crc32(body):08x}'. Restore the file from a copy, or cut it off before this "
            "line: the run then goes on from there."
        )
    record = json.loads(body, object_hook=_decode)
    if record.get("type") == "run" and record.get("format") != FORMAT:
        raise ValueError(
            f"{path} has format {record.get('format')!r}; expected {FORMAT}. It was written by another "
            "version: upgrade with pip install --upgrade jaxopt_intro."
        )
    return record


def _decode(value: dict[str, Any]) -> Any:
    return float(value["$float"]) if value.keys() == {"$float"} else value


def _plain(value: Any) -> Any:
    """Turns NumPy's numbers, arrays and non-finite floats into what JSON can hold."""
    if type(value) in _PLAIN or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": str(float(value))}
    if type(value) is dict or isinstance(value, Mapping):  # the first is quick to tell
        wrong = next((key for key in value if not isinstance(key, str) or key == "$float"), None)
        if wrong is not None:
            raise TypeError(f"got the key {wrong!r}; expected strings other than '$float'. Rename it.")
        return {key: item if type(item) in _PLAIN else _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [item if type(item) in _PLAIN else _plain(item) for item in value]
    if hasattr(value, "__array__"):
        return _plain_array(np.asarray(value))
    raise TypeError(
        f"got {value!r} of type {type(value).__name__} in a record; expected numbers, strings, booleans, "
        "None, arrays, lists or dicts of them. Convert it first, for example with str()."
    )


def _plain_array(array: np.ndarray) -> Any:
    if array.dtype.kind in "biuU":
        return array.tolist()
    if array.dtype.kind not in "fV":
        raise TypeError(f"got an array of {array.dtype}; expected numbers or strings. Convert it with .tolist().")
    if array.dtype.kind == "f" and array.dtype.itemsize >= 8:
        return _plain(array.astype(np.float64).tolist())
    short = [float(str(number)) for number in array.astype(np.float32).ravel()]
    return _plain(np.array(short).reshape(array.shape).tolist())


def _not_a_run(directory: Path) -> str:
    what = "no journal.jsonl in it" if directory.is_dir() else "no such directory"
    return (
        f"got {str(directory)!r}: {what}; expected the directory of a run. "
        "Give the path that the sweep printed, or the folder that holds its journal.jsonl."
    )
