"""A run's journal as an xarray Dataset with the dimensions trial, seed and epoch.

| name | dimensions | what |
|---|---|---|
| each metric | trial, seed, epoch | float32; NaN where there is none, such as after an early stop |
| `score` | trial, seed | the objective at its best epoch so far; NaN for a failed member and for one without an epoch |
| `best_epoch` | trial, seed | the first epoch with that score, from 1; 0 where there is no score |
| `status` | trial, seed | asked, running, finished, failed or pruned; "" where the trial was not asked with that seed |
| `reason` | trial, seed | why it failed, was pruned or stopped early, else "" |
| `stopped_step` | trial, seed | the step at which it ended; -1 while it has not |
| `test_NAME` | trial, seed | float32, for members that were tested |
| `rung_value` | trial, rung | float32: what the pruner saw of a trial at a rung; only where there are rungs |
| `verdict` | trial, rung | what it said: go, stop or copy; "" where it was not asked |
| `copied_from` | trial, rung | of a copy the trial whose state it took, else "" |
| each hyperparameter | trial (coordinate) | float64 in its shortest float32 form (see `changed`); NaN if it has none |
| each choice | trial (coordinate) | its label; "" where the trial doesn't have it |
| `group`, `position` | trial (coordinate) | the program it shares; the order asked, from 0 |
| `seconds` | trial, seed, epoch (coordinate) | when the epoch was known, in seconds of all sessions together |

A metric, hyperparameter or choice whose name is taken is called `metrics.NAME`, `hparams.NAME` or `choices.NAME`.
Attributes: objective, direction, began and time (when the first and the last session began), run, changed, and as JSON
versions, device, experiment, data, methods and receipt. `changed` says in words that a population did not keep the
numbers that its trials began with, else ""; then a trial's numbers are those in force at its best epoch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from jaxopt_intro import journal

Record = dict[str, Any]

_TAKEN = (
    "trial", "seed", "epoch", "group", "position", "score", "best_epoch", "status", "reason", "stopped_step",
    "rank", "rung", "rung_value", "verdict", "copied_from", "seconds", "seeds", "standard_error",
)  # fmt: skip


def open(run: str | os.PathLike[str]) -> xr.Dataset:
    """Opens a run as a Dataset, also while it goes on.

    Args:
        run: The run's directory.

    Returns:
        The Dataset that the head of this module describes; `trial` holds the ids in the order asked.

    Raises:
        FileNotFoundError: The directory is no run.
        ValueError: The journal is damaged, of a newer format, or has no trial yet.

    Examples:
        >>> import tempfile
        >>> directory = tempfile.mkdtemp()
        >>> objective = {"name": "valid_accuracy", "direction": "max"}
        >>> with journal.Journal(directory) as run:
        ...     run.append({"type": "run", "format": journal.FORMAT, "objective": objective})
        ...     run.append({"type": "trial", "trial": "a1", "hparams": {"learning_rate": 0.1}, "seeds": [0]})
        ...     run.append({"type": "epoch", "epoch": 1, "members": [["a1", 0]], "metrics": {"valid_accuracy": [0.75]}})
        >>> dataset = open(directory)
        >>> dataset.sizes["trial"], dataset.score.item(), dataset.status.item(), dataset.learning_rate.item()
        (1, 0.75, 'running', 0.1)
    """
    return from_records(journal.read(run), os.fspath(run))


def directory_of(run: str | os.PathLike[str] | xr.Dataset) -> str:
    """Returns the directory of a run, which may be given as the Dataset that `open` made of it.

    Examples:
        >>> directory_of("runs/a"), directory_of(xr.Dataset(attrs={"run": "runs/a"}))
        ('runs/a', 'runs/a')
    """
    return str(run.attrs["run"]) if isinstance(run, xr.Dataset) else os.fspath(run)


def from_records(records: list[Record], run: str) -> xr.Dataset:
    """Makes the Dataset of `open` from records already read; `run` is where they came from.

    Raises:
        ValueError: There is no trial among them.
    """
    trials = {r["trial"]: r for r in records if r["type"] == "trial"}
    if not trials:
        raise ValueError(
            f"the run {run!r} has {len(records)} records and no trial; expected at least one. "
            "It has only just begun, or ended before its first trial: wait, or start the sweep again."
        )
    last = {r["type"]: r for r in records}
    objective = last["run"].get("objective", {})
    seeds = sorted({seed for trial in trials.values() for seed in trial.get("seeds", [0])})
    places = {(t, s): (i, j) for i, t in enumerate(trials) for j, s in enumerate(seeds)}
    shape = (len(trials), len(seeds), max((r["epoch"] for r in records if r["type"] == "epoch"), default=0))
    data = _tests(records, places, shape[:2])
    over = _over(records, places, shape)
    curves, names = _curves(records, objective.get("name", "objective"), places, over, {*_TAKEN, *data})
    score = names[objective.get("name", "objective")]
    states = _states(records, trials, places, shape[:2])
    best = _scores(curves[score][1], states["status"][1], objective.get("direction", "max"))
    changes = changes_of(records)
    trials = _in_force(trials, changes, best["best_epoch"][1])
    coordinates = {
        "trial": _strings(list(trials)),
        "seed": np.array(seeds),
        "epoch": np.arange(1, shape[2] + 1),
        "seconds": (("trial", "seed", "epoch"), _seconds(records, places, over)),
        **_settings(list(trials.values()), {*_TAKEN, *data, *curves}),
        "group": ("trial", _strings([str(trial.get("group", "")) for trial in trials.values()])),
        "position": ("trial", np.arange(len(trials))),
    }
    changed = f"{len(changes)} went on with other numbers; shown are those of the best epoch" if changes else ""
    attributes = {**_attributes(last, score, run), "began": str(records[0].get("time", "")), "changed": changed}
    return xr.Dataset({**curves, **best, **states, **data, **_rungs(records, list(trials))}, coordinates, attributes)


def citations(dataset: xr.Dataset) -> dict[str, str]:
    """Returns whom to cite for the methods of a run: paper and equation by the part's role and name.

    Args:
        dataset: What `open` returned.

    Returns:
        What the run's record says, `{"optimizer adam": "Kingma and Ba 2015, …"}`; empty where it says nothing.

    Examples:
        >>> citations(xr.Dataset(attrs={"methods": '{"optimizer adam": "Kingma and Ba 2015"}'}))
        {'optimizer adam': 'Kingma and Ba 2015'}
    """
    return json.loads(dataset.attrs.get("methods", "{}"))


def grid(dataset: xr.Dataset) -> xr.Dataset:
    """Gives a full grid of trials its own axes: one dimension for each setting that varies.

    Args:
        dataset: What `open` returned, with every combination of the values of its varying settings present once.

    Returns:
        The same data with those settings in place of `trial`: numbers ascending, choices in the order asked. The ids,
        `group` and `position` lie on all these axes.

    Raises:
        ValueError: The trials are no full grid.
    """
    names = grid_axes(dataset)
    values = {name: _distinct(dataset[name]) for name in names}
    places = [pd.Index(values[name]).get_indexer(dataset[name].values) for name in names]
    sizes = [len(v) for v in values.values()]
    trials = dataset.sizes["trial"]
    flat = np.ravel_multi_index(places, sizes) if names and min(map(np.min, places)) >= 0 else np.zeros(trials, int)
    if not np.array_equal(np.sort(flat), np.arange(np.prod(sizes, dtype=int))):
        counts = " x ".join(f"{len(v)} {name}" for name, v in values.items()) or "no setting that varies"
        raise ValueError(
            f"got {trials} trials over {counts}; expected every combination exactly once. "
            "Select the trials of a grid first, or work along the dimension 'trial'."
        )
    order = np.argsort(flat)

    def folded(variable: xr.Variable) -> xr.Variable:
        if "trial" not in variable.dims:
            return variable
        first = variable.transpose("trial", ...)
        shape = (*sizes, *first.shape[1:])
        return xr.Variable((*names, *first.dims[1:]), first.values[order].reshape(shape), variable.attrs)

    coordinates = {name: folded(c.variable) for name, c in dataset.coords.items() if name not in names}
    coordinates |= {name: (name, values[name], dataset[name].attrs) for name in names}
    data = {name: folded(v.variable) for name, v in dataset.data_vars.items()}
    return xr.Dataset(data, coordinates, dataset.attrs)


def settings(dataset: xr.Dataset, role: str | None = None) -> list[str]:
    """Returns the names of the hyperparameters (`role="hyperparameter"`), of the choices (`"choice"`) or of both."""
    return [str(n) for n, c in dataset.coords.items() if c.attrs.get("role", "") in ([role] if role else _ROLES)]


def varying(dataset: xr.Dataset, role: str | None = None) -> list[str]:
    """Returns the settings that have more than one value among the trials that have them, choices first."""
    names = settings(dataset, role)
    return sorted((n for n in names if len(_distinct(dataset[n])) > 1), key=lambda n: not is_choice(dataset, n))


def grid_axes(dataset: xr.Dataset) -> list[str]:
    """Returns the varying settings without the numbers that the choices decide."""
    choices = varying(dataset, "choice")
    table = pd.DataFrame({name: dataset[name].values for name in varying(dataset)})
    programs = len(table[choices].drop_duplicates()) if choices else 1
    free = [n for n in varying(dataset, "hyperparameter") if len(table[[*choices, n]].drop_duplicates()) > programs]
    return choices + free


def is_choice(dataset: xr.Dataset, name: str) -> bool:
    """Says whether a setting is a choice, with labels, and not a number."""
    return dataset[name].attrs.get("role") == "choice"


_ROLES = ("hyperparameter", "choice")


def _distinct(setting: xr.DataArray) -> np.ndarray:
    """The values that occur: numbers ascending, labels in the order asked."""
    values = np.atleast_1d(setting.values)
    if values.dtype.kind == "f":
        return np.unique(values[~np.isnan(values)])
    return _strings(list(dict.fromkeys(v for v in values.tolist() if v != "")))


def _strings(values: list[str]) -> np.ndarray:
    return np.array(values, dtype=str)


def _free(name: str, taken: set[str], prefix: str) -> str:
    while name in taken:
        name = f"{prefix}.{name}"
    taken.add(name)
    return name


def _over(records: list[Record], places: dict, shape: tuple) -> np.ndarray:
    """Which epochs a member didn't live to see: a lane that goes on beside it must not give it rows."""
    last = np.full(shape[:2], shape[2])
    for record in records:
        if record["type"] == "end" and record.get("epoch") is not None:
            # The epoch in which it failed is not done, and still was recorded.
            last[places[record["trial"], record["seed"]]] = record["epoch"] + (record["status"] == "failed")
    return np.arange(1, shape[2] + 1) > last[..., None]


def _rows(record: Record, places: dict) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.array([places[t, s] for t, s in record["members"]], int).reshape(-1, 2).T
    return rows, columns


def _curves(
    records: list[Record], objective: str, places: dict, over: np.ndarray, taken: set[str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Every metric over the epochs, and what each is called in the dataset."""
    epochs = [r for r in records if r["type"] == "epoch"]
    known = dict.fromkeys([objective, *(name for r in epochs for name in r["metrics"])])
    names = {name: _free(name, taken, "metrics") for name in known}
    values = {name: np.full(over.shape, np.nan, np.float32) for name in known}
    for record in epochs:
        rows, columns = _rows(record, places)
        for name, numbers in record["metrics"].items():
            values[name][rows, columns, record["epoch"] - 1] = numbers
    for array in values.values():
        array[over] = np.nan
    return {names[name]: (("trial", "seed", "epoch"), values[name]) for name in known}, names


def _seconds(records: list[Record], places: dict, over: np.ndarray) -> np.ndarray:
    """When each epoch was known first; a session's clock begins where the one before stopped."""
    seconds, before, now = np.full(over.shape, np.nan), 0.0, 0.0
    for record in records:
        if record["type"] == "run":
            before = now
        elif record["type"] == "epoch":
            now = before + record.get("time", np.nan)
            place = (*_rows(record, places), record["epoch"] - 1)
            seconds[place] = np.fmin(seconds[place], now)
    return np.where(over, np.nan, seconds)


def judged(records: list[Record]) -> list[Record]:
    """Returns what a pruner saw and said, a record for each rung: a verdict belongs to where its trial waited.

    It may have been said later: of those who wait for others, when nobody trained. What was said again after a resume
    counts once.

    Args:
        records: Those of a journal.

    Examples:
        >>> seen = {"type": "rung", "rung": 1, "values": {"a": 0.5}, "verdicts": []}
        >>> said = {"type": "rung", "rung": 0, "values": {}, "verdicts": [{"trial": "a", "action": "stop"}]}
        >>> judged([seen, said])
        [{'rung': 1, 'values': {'a': 0.5}, 'verdicts': [{'trial': 'a', 'action': 'stop'}]}]
    """
    told = [record for record in records if record["type"] == "rung"]
    waits: dict[str, Any] = {}
    found: dict[float, Record] = {}
    for record in {record.get("number", i): record for i, record in enumerate(told)}.values():
        waits |= dict.fromkeys(record["values"], record["rung"])
        for trial, value in record["values"].items():
            found.setdefault(record["rung"], {"values": {}, "verdicts": {}})["values"][trial] = value
        for said in record["verdicts"]:
            at = waits.get(said["trial"], record["rung"])
            found.setdefault(at, {"values": {}, "verdicts": {}})["verdicts"][said["trial"]] = said
    return [
        {"rung": at, "values": own["values"], "verdicts": list(own["verdicts"].values())}
        for at, own in sorted(found.items())
    ]


def _rungs(records: list[Record], trials: list[str]) -> dict[str, Any]:
    rungs = judged(records)
    if not rungs:
        return {}
    at = [record["rung"] for record in rungs]
    places = {(trial, rung): (i, j) for i, trial in enumerate(trials) for j, rung in enumerate(at)}
    values = np.full((len(trials), len(at)), np.nan, np.float32)
    verdict, source = np.full(values.shape, "", object), np.full(values.shape, "", object)
    for record in rungs:
        for trial, value in record["values"].items():
            values[places[trial, record["rung"]]] = value
        for said in record["verdicts"]:
            place = places[said["trial"], record["rung"]]
            verdict[place], source[place] = said["action"], said.get("from") or ""
    along = ("trial", "rung")
    found = {"rung_value": values, "verdict": verdict.astype(str), "copied_from": source.astype(str)}
    return {"rung": ("rung", np.array(at)), **{name: (along, array) for name, array in found.items()}}


Changes = Mapping[str, Sequence[tuple[int, dict[str, float]]]]


def changes_of(records: list[Record]) -> Changes:
    """Returns of each trial that took another's state after which epochs, and with which numbers it went on.

    Args:
        records: Those of a journal.

    Examples:
        >>> seen = {"type": "epoch", "epoch": 2, "members": [["a", 0]]}
        >>> said = {"type": "rung", "verdicts": [{"trial": "a", "action": "copy", "hparams": {"l2": 0.5}}]}
        >>> changes_of([seen, said])
        {'a': [(2, {'l2': 0.5})]}
    """
    reached: dict[str, int] = {}
    found: dict[str, list[tuple[int, dict[str, float]]]] = {}
    known: set[int] = set()
    for record in records:
        if record["type"] == "epoch":
            reached |= {trial: max(record["epoch"], reached.get(trial, 0)) for trial, _ in record["members"]}
        elif record["type"] == "rung" and record.get("number", len(known)) not in known:  # said again after a kill
            known.add(record.get("number", len(known)))
            for said in (v for v in record["verdicts"] if v["action"] == "copy"):
                found.setdefault(said["trial"], []).append((reached.get(said["trial"], 0), said["hparams"]))
    return found


def in_force(trial: Record, changes: Changes, epoch: int) -> dict[str, float]:
    """Returns the numbers that a trial was trained with in an epoch.

    Args:
        trial: Its record.
        changes: What `changes_of` found.
        epoch: The epoch, from 1; at 0 the numbers that it began with.

    Examples:
        >>> trial = {"trial": "a", "hparams": {"l2": 0.25}}
        >>> [in_force(trial, {"a": [(2, {"l2": 0.5})]}, epoch) for epoch in (2, 3)]
        [{'l2': 0.25}, {'l2': 0.5}]
    """
    numbers = [hparams for after, hparams in changes.get(trial["trial"], ()) if after < epoch]
    return {**trial.get("hparams", {}), **(numbers[-1] if numbers else {})}


def _in_force(trials: dict[str, Record], changes: Changes, best_epoch: np.ndarray) -> dict[str, Record]:
    """The trials with the numbers of their best epoch: of several seeds', the lower median."""
    found = {}
    for (name, record), epochs in zip(trials.items(), best_epoch, strict=True):
        at = int(np.sort(epochs[epochs > 0])[(np.sum(epochs > 0) - 1) // 2]) if np.any(epochs > 0) else 0
        found[name] = {**record, "hparams": in_force(record, changes, at)}
    return found


def _tests(records: list[Record], places: dict, shape: tuple) -> dict[str, Any]:
    values: dict[str, np.ndarray] = {}
    for record in records:
        for name, number in record["metrics"].items() if record["type"] == "test" else ():
            array = values.setdefault("test_" + name.removeprefix("test_"), np.full(shape, np.nan, np.float32))
            array[places[record["trial"], record["seed"]]] = number
    return {name: (("trial", "seed"), array) for name, array in values.items()}


def _states(records: list[Record], trials: dict[str, Record], places: dict, shape: tuple) -> dict[str, Any]:
    status = np.full(shape, "", dtype="<U8")
    reason = np.full(shape, "", dtype=object)
    step = np.full(shape, -1, np.int64)
    for trial, record in trials.items():
        for seed in record.get("seeds", [0]):
            status[places[trial, seed]] = "asked"
    for record in records:
        if record["type"] == "epoch":
            for trial, seed in record["members"]:
                status[places[trial, seed]] = "running"
    for record in records:
        if record["type"] == "end":
            place = places[record["trial"], record["seed"]]
            status[place] = record["status"]
            reason[place] = record.get("reason") or ""
            step[place] = -1 if record.get("step") is None else record["step"]
    found = {"status": status, "reason": reason.astype(str), "stopped_step": step}
    return {name: (("trial", "seed"), array) for name, array in found.items()}


def _scores(curve: np.ndarray, status: np.ndarray, direction: str) -> dict[str, Any]:
    known = np.isfinite(curve) & (status != "failed")[..., None]
    signed = np.where(known, -curve if direction == "min" else curve, -np.inf)
    signed = np.concatenate([np.full((*status.shape, 1), -np.inf), signed], axis=-1)  # so that no epoch is epoch 0
    epoch = signed.argmax(-1)
    score = np.take_along_axis(signed, epoch[..., None], -1)[..., 0]
    score = np.where(epoch > 0, -score if direction == "min" else score, np.nan).astype(np.float32)
    return {"score": (("trial", "seed"), score), "best_epoch": (("trial", "seed"), epoch.astype(np.int32))}


def _settings(trials: list[Record], taken: set[str]) -> dict[str, Any]:
    """The coordinates along `trial`: a column for each hyperparameter and choice that any trial has."""
    columns: dict[str, Any] = {}
    for name in dict.fromkeys(name for trial in trials for name in trial.get("hparams", {})):
        values = np.array([trial.get("hparams", {}).get(name, np.nan) for trial in trials], float)
        columns[_free(name, taken, "hparams")] = ("trial", values, {"role": "hyperparameter"})
    for name in dict.fromkeys(name for trial in trials for name in trial.get("choices", {})):
        labels = _strings([str(trial.get("choices", {}).get(name, "")) for trial in trials])
        columns[_free(name, taken, "choices")] = ("trial", labels, {"role": "choice"})
    return columns


def _attributes(last: dict[str, Record], objective: str, run: str) -> dict[str, str]:
    record = last["run"]
    attributes = {"run": run, "time": str(record.get("time", "")), "objective": objective}
    attributes["direction"] = record.get("objective", {}).get("direction", "max")
    for name in ("versions", "device", "experiment", "data", "methods"):
        attributes[name] = json.dumps(record.get(name, {}))
    receipt = {key: value for key, value in last.get("receipt", {}).items() if key != "type"}
    return {**attributes, "receipt": json.dumps(receipt)}
