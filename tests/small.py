"""A small data set of three classes, and what a journal holds: shared by the tests of sweeps."""

from __future__ import annotations

import numpy as np

from jaxopt_intro import data, journal

rng = np.random.default_rng(3)
X = rng.normal(size=(60, 4)).astype(np.float32)
Y = (X @ rng.normal(size=(4, 3)) + 0.5 * rng.normal(size=(60, 3))).argmax(1).astype(np.int32)
DATA = data.from_arrays(train=(X[:40], Y[:40]), valid=0.25, test=(X[40:], Y[40:]))


def of(directory, kind):
    return [record for record in journal.read(directory) if record["type"] == kind]
