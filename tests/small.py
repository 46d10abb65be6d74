"""A small data set of three classes, and what a journal holds: shared by the tests of sweeps."""

from __future__ import annotations

import shutil

import numpy as np

from jaxopt_intro import data, journal

rng = np.random.default_rng(3)
X = rng.normal(size=(60, 4)).astype(np.float32)
Y = (X @ rng.normal(size=(4, 3)) + 0.5 * rng.normal(size=(60, 3))).argmax(1).astype(np.int32)
DATA = data.from_arrays(train=(X[:40], Y[:40]), valid=0.25, test=(X[40:], Y[40:]))


def of(directory, kind):
    return [record for record in journal.read(directory) if record["type"] == kind]


def rewritten(directory, to, change):
    """A copy of a run in whose journal each record is what `change` made of it."""
    shutil.copytree(directory, to)
    lines = []
    for record in journal.read(directory):
        change(record)
        lines.append(journal._line(record))
    (to / "journal.jsonl").write_bytes(b"".join(lines))


def changed_first(directory, to, change, metric="valid_loss", epoch=4):
    """A copy of a run in which one number of the first member of one record is changed; returns the member."""
    member = []

    def of_record(record):
        if record["type"] == "epoch" and record["epoch"] == epoch and not member:
            member.extend(record["members"][0])
            record["metrics"][metric][0] = float(str(change(np.float32(record["metrics"][metric][0]))))

    rewritten(directory, to, of_record)
    return tuple(member)


def one_ulp(value):
    return np.nextafter(value, np.float32(9))
