"""What was asked of a run, from its `experiment.toml` and its journal, and settings as TOML."""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

Record = dict[str, Any]


class Range(NamedTuple):
    """The values that a number could take.

    Attributes:
        kind: "uniform", "log_uniform" or "integer".
        low: The lowest value.
        high: The highest.
    """

    kind: str
    low: float
    high: float


def text(run: Path) -> str:
    """Returns the run's `experiment.toml`; empty where there is none."""
    path = run / "experiment.toml"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def ranges(run: Path) -> dict[str, Range]:
    """Returns the numbers that were asked with two ends, by name; none where the run has no experiment file."""
    try:
        numbers = tomllib.loads(text(run)).get("numbers", {})
    except tomllib.TOMLDecodeError:  # edited by hand since; the report is not the place to refuse it
        return {}
    found = {}
    for name, value in numbers.items():
        if isinstance(value, Mapping) and len(value) == 1:
            ((kind, ends),) = value.items()
            if isinstance(ends, list) and len(ends) == 2:
                found[name] = Range(kind, *map(float, ends))
    return found


def place(asked: Range, value: float) -> float:
    """Returns where a value lies in a range, from 0 to 1 on the range's own scale.

    Examples:
        >>> place(Range("log_uniform", 1e-4, 1.0), 0.01)
        0.5
    """
    low, high = asked.low, asked.high
    if asked.kind == "log_uniform":
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (value - low) / (high - low) if high > low else 0.5


def toml_head(records: list[Record]) -> str:
    """Returns the tables of an experiment file that all trials have in common; empty for data that no file names."""
    started = [r for r in records if r["type"] == "run"][-1]
    fields = started.get("experiment", {})
    if not fields or fields.get("data") == "arrays":
        return ""
    seeds = max(len(r.get("seeds", [0])) for r in records if r["type"] == "trial")
    lines = [f"{toml_key(name)} = {toml_value(value)}" for name, value in fields.items() if value is not None]
    return "\n".join([f"replicates = {seeds}", "", "[experiment]", *lines, ""])


def toml_key(name: str) -> str:
    """Returns a name as a key of TOML.

    Examples:
        >>> toml_key("learning_rate"), toml_key("adam.b1")
        ('learning_rate', '"adam.b1"')
    """
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml_value(name)


def toml_value(value: Any) -> str:
    """Returns a plain value as TOML on one line; None as the word that experiment files have for it.

    Examples:
        >>> toml_value({"b1": ["linear", None], "on": True, "rate": 1e-05})
        '{b1 = ["linear", "none"], on = true, rate = 1e-05}'
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return '"none"'
    if isinstance(value, str):  # JSON's escapes are TOML's too; DEL is the one that JSON leaves as it is
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{toml_key(k)} = {toml_value(v)}" for k, v in value.items() if v is not None) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    return repr(value)
