"""Experiment files: what was asked, as TOML to read and to run again.

replicates = 3

[experiment]          # the fields of `Experiment`; callables as "package.module:function"
data = "digits"
schedule = {learning_rate = "cosine", b1 = "linear"}

[numbers]             # constants, or one of uniform, log_uniform, integer, quantized, normal with its numbers
learning_rate = {log_uniform = [1e-4, 1.0]}
"adam.b1" = 0.8

[choices]             # lists of options, or tables from labels to options
optimizer = ["adam", "optax:lion"]

[pruner]              # median, successive_halving, hyperband, asha or pbt, and its numbers
name = "hyperband"
eta = 3

[search]              # a grid's points; or random, sobol or halton = 64; or sampler = "tpe", trials = 200; and a seed
points = {learning_rate = 8}
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import tomli_w

from jaxopt_intro import distributions, journal, routing
from jaxopt_intro.checks import known_name
from jaxopt_intro.distributions import KINDS
from jaxopt_intro.experiment.asking import Experiment, find, from_mapping, to_mapping
from jaxopt_intro.sweeps.pruning import Pruner, pruner_of
from jaxopt_intro.sweeps.searchers import Searcher, adaptive
from jaxopt_intro.sweeps.space import Space, Trial, Trials, unique

NAME = "experiment.toml"
SEARCHES = ("points", "random", "sobol", "halton", "sampler")


class Asked(NamedTuple):
    """An experiment, its trials or where they come from, at most how many, how many seeds each, and who goes on."""

    experiment: Experiment
    trials: list[Trial] | Searcher
    replicates: int
    pruner: Pruner | None
    max_trials: int | None = None


def read(path: Path) -> dict[str, Any]:
    """Reads an experiment file, checking the names of its tables.

    Raises:
        ValueError: The file is missing, is no TOML, or has a table of another name or none where one belongs.
    """
    try:
        with path.open("rb") as file:
            tables = tomllib.load(file)
    except OSError as error:
        expected = "expected an experiment file, TOML, or the directory of a run"
        raise ValueError(f"got {str(path)!r}, which cannot be read ({error.strerror}); {expected}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"got {str(path)!r}, which is no valid TOML: {error}.") from None
    for name, table in tables.items():
        known_name(name, ["experiment", "numbers", "choices", "search", "pruner", "replicates"], f"table in {path}")
        if name != "replicates" and not isinstance(table, dict):
            raise ValueError(f"got {str(path)!r} with {name} = {table!r}; expected a table, [{name}].")
    return _with_none(tables)


def write(path: Path, experiment: Experiment, asked: Mapping[str, Any]) -> None:
    """Writes an experiment file, unless there is one."""
    if path.exists():
        return
    tables = {"replicates": asked.get("replicates", 1), "experiment": _without_none(to_mapping(experiment))}
    text = tomli_w.dumps(tables)
    for name in ("numbers", "choices", "search", "pruner"):
        if asked.get(name):  # a line for each entry, in order: tables of their own would come after the constants
            lines = [f"{_key(entry)} = {_inline(_without_none(value))}" for entry, value in asked[name].items()]
            text += "\n".join(["", f"[{name}]", *lines, ""])
    unfinished = path.with_suffix(".tmp")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


def space_of(tables: Mapping[str, Any]) -> Space:
    """Makes the space of the tables `numbers` and `choices`.

    Raises:
        ValueError: An entry is of no known kind.

    Examples:
        >>> space_of({"numbers": {"learning_rate": {"log_uniform": [0.1, 1.0]}}, "choices": {"optimizer": ["sgd"]}})
        Space(learning_rate=log_uniform(0.1, 1.0), optimizer=choice([sgd]))
    """
    entries: dict[str, Any] = {}
    for name, value in tables.get("numbers", {}).items():
        entries[name] = _distribution(name, value)
    for name, values in tables.get("choices", {}).items():
        if isinstance(values, Mapping):
            entries[name] = distributions.choice({label: find(v, name) for label, v in values.items()})
        elif isinstance(values, list | tuple):
            entries[name] = distributions.choice([find(v, name) for v in values])
        else:
            raise ValueError(f"choices: got {name} = {values!r}; expected a list of options, [{values!r}].")
    return Space(entries)


def trials_of(space: Space, search: Mapping[str, Any]) -> Trials | Searcher:
    """Draws the trials that the table `search` asks for, or makes the searcher that will.

    Args:
        space: What may be tried.
        search: `points` for a grid, or one of `random`, `sobol` and `halton` with a count, or `sampler` with `trials`;
            all but a grid may have a `seed`.

    Returns:
        The trials; a `Searcher` where there is a sampler.

    Raises:
        ValueError: It asks for two kinds, for what belongs to another kind, or counts in no whole numbers.

    Examples:
        >>> len(trials_of(Space(l2=distributions.uniform(0.0, 1.0)), {"random": 3}))
        3
    """
    for name, value in search.items():
        known_name(name, [*SEARCHES, "trials", "seed"], "entry of search")
        for count in value.values() if isinstance(value, Mapping) else [value]:
            if name != "sampler" and (not isinstance(count, int) or isinstance(count, bool) or count < 0):
                raise ValueError(f"search: got {name} = {value!r}; expected whole numbers.")
    kinds = [name for name in SEARCHES if name in search]
    if len(kinds) > 1:
        raise ValueError(f"search: got both {kinds[0]} and {kinds[1]}; expected one of {', '.join(SEARCHES)}.")
    kind, seed = kinds[0] if kinds else "points", search.get("seed", 0)
    if (kind == "sampler") != ("trials" in search):
        got, lacks = ("sampler", "trials") if kind == "sampler" else ("trials", "sampler")
        raise ValueError(f'search: got {got} without {lacks}; expected both, such as sampler = "tpe", trials = 200.')
    if kind == "points":
        if "seed" in search:
            raise ValueError("search: got a seed for a grid, which has none; expected one of random, sobol, ….")
        return space.grid(search.get("points", {}))
    if kind == "sampler":
        return adaptive(space, search["sampler"], trials=search["trials"], seed=seed)
    draw = {"random": space.random, "sobol": space.sobol, "halton": space.halton}[kind]
    return draw(search[kind], seed=seed)


def resume(run: Path, max_trials: int | None = None) -> Asked:
    """Reads from a run what was asked of it, so that it can go on.

    Args:
        run: Its directory.
        max_trials: Another limit than it had; None: the same.

    Raises:
        ValueError: Its data or parts were in memory only, or the trials that the limit would let through.
        FileNotFoundError: The directory is no run.
    """
    records = journal.read(run)
    started = next((r for r in reversed(records) if r["type"] == "run"), None)
    known = sum(r["type"] == "trial" for r in records)
    adaptive_search = started is not None and "sampler" in (started.get("search") or {}).get("search", {})
    if started is None or (known < started["trials"] and not adaptive_search):
        raise ValueError(
            f"the run {str(run)!r} was stopped before all that was asked was written down, and nothing was trained; "
            "expected every trial. Start the sweep again with the same options and --directory."
        )
    fields = dict(started["experiment"])
    if fields["data"] == "arrays" or started["data"]["source"] == "arrays in memory":
        raise ValueError(
            f"the run {str(run)!r} was trained on arrays in memory, which no file holds; expected a named data set. Go "
            "on with it in Python: call sweep again with the same arrays and directory."
        )
    trials, replicates = [], 1
    for record in records:
        if record["type"] == "trial":
            choices = {name: find(value, name) for name, value in record["values"].items()}
            trials.append(Trial(dict(record["hparams"]), choices, dict(record["choices"])))
            replicates = max(replicates, len(record["seeds"]))
    search, pruner = started.get("search") or {}, started.get("pruner")
    before = started.get("max_trials")
    every: list[Trial] | Searcher = Trials(trials, search) if search else trials
    if search and (before or adaptive_search):
        asked = trials_of(space_of(search), search["search"])
        # A limit left trials out, of which there are no records: a larger one may ask for them.
        every = asked if isinstance(asked, Searcher) else Trials(unique([*trials, *asked]), search)
    elif before and max_trials and max_trials > max(before, len(trials)):
        raise ValueError(
            f"got max_trials={max_trials} for the run {str(run)!r}, which had max_trials={before} and a plain list of "
            "trials, whose others were not written down; expected no more. Go on with them in Python: call sweep again "
            "with all trials and the same directory."
        )
    prunes = pruner_of(pruner) if pruner else None
    return Asked(from_mapping(fields), every, replicates, prunes, max_trials or before)


def _distribution(name: str, value: Any) -> Any:
    if _is_number(value):
        return value
    if not isinstance(value, Mapping):
        raise ValueError(
            f"numbers: got {name} = {value!r}; expected a number, or one of {', '.join(KINDS)} with its numbers. "
            "Other values belong under choices."
        )
    if len(value) != 1:
        raise ValueError(f"numbers: got {name} = {dict(value)}; expected one kind, such as {{uniform = [0.0, 1.0]}}.")
    kind, ends = next(iter(value.items()))
    known_name(kind, KINDS, f"distribution of {name}")
    takes = list(routing.parameters(KINDS[kind]))
    if not isinstance(ends, list) or len(ends) != len(takes) or not all(map(_is_number, ends)):
        raise ValueError(
            f"numbers: got {name} = {{{kind} = {ends!r}}}; expected {len(takes)} numbers, [{', '.join(takes)}]."
        )
    return KINDS[kind](*ends)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _without_none(value: Any) -> Any:
    """TOML has no null: the word "none" stands for it, so that no option may be that word."""
    if isinstance(value, Mapping):
        return {name: _without_none(v) for name, v in value.items()}
    if isinstance(value, list):
        return [_without_none(v) for v in value]
    return "none" if value is None else value


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(name)} = {_inline(own)}" for name, own in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return tomli_w.dumps({"value": value}).removeprefix("value = ").removesuffix("\n")


def _key(name: str) -> str:
    return tomli_w.dumps({name: 0}).removesuffix(" = 0\n")


def _with_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _with_none(v) for name, v in value.items()}
    if isinstance(value, list):
        return [_with_none(v) for v in value]
    return None if value == "none" else value
