"""Whether numbers that were trained again are those of the journal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxopt_intro.experiment.lineage import Life

ROUNDINGS = 1000
"""How many roundings of float32 numbers may differ by at a first validation, where not every bit is the same."""

Record = Mapping[str, Any]
Rows = dict[tuple[str, int, int], dict[str, np.float32]]


class Difference(NamedTuple):
    """A number that did not come out again.

    Attributes:
        trial: The trial that was trained again.
        seed: Its seed.
        epoch: The validation, from 1.
        metric: The metric's name.
        journalled: The journal's number.
        replayed: The number now; NaN where there is none.
    """

    trial: str
    seed: int
    epoch: int
    metric: str
    journalled: float
    replayed: float

    @property
    def size(self) -> float:
        """How large it is, over the journal's number where that is above 1; infinite where one alone is finite."""
        if not (np.isfinite(self.journalled) and np.isfinite(self.replayed)):
            return np.inf
        return abs(self.replayed - self.journalled) / max(1.0, abs(self.journalled))

    def __str__(self) -> str:
        place = f"trial {self.trial}, seed {self.seed}, validation {self.epoch}"
        return f"{place}: {self.metric} was {self.journalled:.9g} and is {self.replayed:.9g}"


class Comparison(NamedTuple):
    """How the numbers of a replay compare with the journal's.

    Attributes:
        agrees: Whether they agree as far as they can be expected to.
        first: The first that differs by more than the tolerance, or None.
        largest: The one that differs most, or None.
        numbers: How many were compared.
        tolerance: What may differ; 0 where nothing may.
    """

    agrees: bool
    first: Difference | None
    largest: Difference | None
    numbers: int
    tolerance: float


def compare(
    journalled: Sequence[Record], replayed: Sequence[Record], lives: Sequence[Life], *, exact: bool, examples: int
) -> Comparison:
    """Compares every metric of every validation.

    Args:
        journalled: The run's records.
        replayed: The replay's.
        lives: Who was trained again, and whose curves in the journal that is.
        exact: Whether every bit must be the same. Otherwise numbers of the first validation may differ by 1,000
            roundings and one example of the validation split: one that is near a border of two classes may cross it.
            Later ones may differ by any amount, since small differences grow.
        examples: How many the validation split has.

    Examples:
        >>> from jaxopt_intro.experiment.lineage import Stage
        >>> life = Life("a", 0, 1, (Stage(0, "a", {}),))
        >>> record = {"type": "epoch", "epoch": 1, "members": [["a", 0]], "metrics": {"valid_loss": [0.5]}}
        >>> compare([record], [record], [life], exact=True, examples=10).agrees
        True
    """
    tolerance = 0.0 if exact else ROUNDINGS * float(np.finfo(np.float32).eps) + 1 / examples
    before, after = _rows(journalled), _rows(replayed)
    differences, numbers = [], 0
    for difference in _pairs(before, after, lives):
        numbers += 1
        if not _same(difference.journalled, difference.replayed):
            differences.append(difference)
    differences.sort(key=lambda d: d.epoch)
    beyond = [d for d in differences if d.size > tolerance or exact]
    agrees = not any(exact or d.epoch == 1 for d in beyond)
    largest = max(differences, key=lambda d: d.size, default=None)
    return Comparison(agrees, next(iter(beyond), None), largest, numbers, tolerance)


def changed(before: Record, now: Record) -> list[str]:
    """Returns what is another than in the run and may change bits: versions, the device, settings of JAX.

    Args:
        before: The run's record.
        now: One of this process.

    Examples:
        >>> now = {"versions": {"jax": "0.10.2"}, "device": {"platform": "cpu"}, "settings": {}}
        >>> changed({**now, "versions": {"jax": "0.10.1"}}, now)
        ['jax was 0.10.1 and is 0.10.2']
    """
    said = []
    for kind, left_out in (("versions", {"python"}), ("device", {"count", "cores", "idle_gpu"}), ("settings", set())):
        for name in sorted({*before.get(kind, {}), *now.get(kind, {})} - left_out):
            own = [_plain(name, record.get(kind, {}).get(name)) for record in (before, now)]
            if own[0] != own[1]:
                what = f"the device's {name}" if kind == "device" else name
                said.append(f"{what} was {own[0]} and is {own[1]}")
    return said


def _plain(name: str, value: Any) -> Any:
    """A setting without the number of virtual devices, which changes no bit."""
    if name != "xla_flags":
        return value
    return re.sub(r"--xla_force_host_platform_device_count=\d+", "", value or "").strip() or "none"


def _rows(records: Sequence[Record]) -> Rows:
    found: Rows = {}
    for record in (r for r in records if r["type"] == "epoch"):
        for i, (trial, seed) in enumerate(record["members"]):
            values = {name: np.float32(column[i]) for name, column in record["metrics"].items()}
            found[trial, seed, record["epoch"]] = values
    return found


def _pairs(before: Rows, after: Rows, lives: Sequence[Life]) -> Iterator[Difference]:
    """Every number of the journal, and what it is now."""
    for life in lives:
        for epoch in range(1, life.rounds + 1):
            now = after.get((life.trial, life.seed, epoch), {})
            for name, value in before[life.stage(epoch - 1).trial, life.seed, epoch].items():
                # After a failure or an early stop the journal may have rows without numbers, and the replay no rows.
                new = now.get(name, np.float32(np.nan))
                yield Difference(life.trial, life.seed, epoch, name, float(value), float(new))


def _same(a: float, b: float) -> bool:
    """Whether two float32 numbers are bitwise the same; all that is no number is one."""
    return (a != a and b != b) or np.float32(a).tobytes() == np.float32(b).tobytes()
