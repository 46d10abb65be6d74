"""`finalists`: the best trials of a run on fresh seeds, which of them can be told apart, and the chosen one's test."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats
import xarray

from jaxopt_intro import journal, results
from jaxopt_intro.experiment import reopening, running
from jaxopt_intro.experiment.reopening import Past
from jaxopt_intro.results.progress import Progress, advance
from jaxopt_intro.sweeps.pruning import pruner_of

LEVEL = 0.95
_COLUMNS = ("search_score", "mean", "standard_error", "fell", "behind", "behind_low", "behind_high")


def finalists(
    run: str | os.PathLike[str],
    k: int = 5,
    replicates: int = 10,
    *,
    directory: str | os.PathLike[str] | None = None,
    vary_batches: bool = True,
    parts: Mapping[str, Any] | None = None,
    data: Any = None,
    listener: Callable[[dict[str, Any]], None] | None = None,
) -> xarray.Dataset:
    """Trains the best trials of a run again on seeds that it has not used, and says which can be told apart.

    The best of many scores owes some of its height to luck, which fresh seeds take away. They do not take away what the
    search learned of the validation split itself: that is what the test split shows, on which the best finalist alone
    is measured, once all have been trained. After a sweep with `test=False` that is the first look at it; where the
    search has measured its own winner there, `words` says so. The finalists are a run of their own, without a pruner,
    that goes on where it stopped when it is asked for again.

    Args:
        run: The run's directory; it is only read.
        k: How many of its best trials, by the mean of their seeds; pruned ones count by what they reached.
        replicates: How many seeds each has, at least 2, counted on from the run's last one.
        directory: Where the finalists are kept; None: beside the run, as RUN-finalists.
        vary_batches: Gives every seed a batch order of its own, the same for all finalists.
        parts: Your own functions and classes by name, where they cannot be imported: those of another script.
        data: The run's `Dataset` or arrays, where they were in memory.
        listener: Called with every record of the journal as it is written, and with progress in between.

    Returns:
        As `results.open` gives it, and along `trial`, the search's best first: `search_trial`, `search_score`; `mean`
        and `standard_error` of the fresh seeds' scores, NaN where one has failed; `fell`, how much worse the mean is
        than the search's score; `behind`, how much worse it is than the best finalist, seed by seed, with `behind_low`
        and `behind_high`; and `tied`, whether it cannot be told apart from the best. The intervals are of Student's t
        distribution and hold together with a probability of 95 %: they are Bonferroni's for all pairs of finalists,
        since the best was chosen by the same seeds. `attrs` has `chosen`, `comparisons` and `words`.

    Raises:
        ValueError: No trial has a score, the directory holds something else, or something asked is impossible.
        FileNotFoundError: The directory is no run.
        jaxopt_intro.journal.Locked: Another process writes the run or the finalists.
        KeyboardInterrupt: A signal asked to stop; call it again to go on.

    References:
        Bouthillier et al. 2021, Accounting for variance in machine learning benchmarks, sections 3 and 4.

    Examples:
        >>> import tempfile
        >>> from jaxopt_intro import Experiment, Space, log_uniform, sweep
        >>> experiment = Experiment(data="digits", model="linear", optimizer="sgd", epochs=2)
        >>> run = tempfile.mkdtemp() + "/run"
        >>> found = sweep(experiment, Space(learning_rate=log_uniform(1e-3, 1e-1)).grid(3), directory=run)
        >>> again = finalists(run, k=2, replicates=3)
        >>> again.seed.values.tolist(), again.search_trial.values[0] == found.trial.values[2]
        ([1, 2, 3], True)
    """
    for name, value, least in (("k", k, 1), ("replicates", replicates, 2)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"finalists: got {name}={value!r}; expected a whole number of at least {least}.")
    past = reopening.reopen(run, parts=parts, data=data)
    _stand_alone(past)
    _ended(past)
    found = results.summary(results.open(run))
    best = found.isel(trial=np.argsort(found["rank"].values)[:k])
    best = best.isel(trial=np.isfinite(best.score.values))
    if not best.sizes["trial"]:
        raise ValueError(f"finalists: no trial of {os.fspath(run)!r} has a score; expected at least one.")
    path = Path(run).absolute()
    to = Path(directory) if directory is not None else path.with_name(f"{path.name}-finalists")
    seed = 1 + max(max(record["seeds"]) for record in past.trials.values())
    trials = best.trial.values.tolist()
    about = {"run": os.path.relpath(path, to.absolute()), "trials": trials, "seed": seed, "replicates": replicates}
    _same(to, about)
    experiment = dataclasses.replace(past.experiment, seed=seed, vary_batches=vary_batches)
    again = running.sweep(
        experiment, [past.trial(trial) for trial in trials], replicates, to, about={"finalists": about},
        listener=listener,
    )  # fmt: skip
    tested = len({record["trial"] for record in past.records if record["type"] == "test"})
    if any(str(name).startswith("test_") for name in again.data_vars):
        tested += _looked(path, to, past.records)
    return compare(again, trials, best.score.values, tested_before=tested)


def compare(
    dataset: xarray.Dataset, search_trials: list[str], search_scores: np.ndarray, *, tested_before: int = 0
) -> xarray.Dataset:
    """Returns a run of finalists with how they compare.

    Args:
        dataset: Theirs, as `results.open` gives it.
        search_trials: Their ids in the search.
        search_scores: Their scores there.
        tested_before: How many trials the search, and other finalists of it, have measured on the test split.

    Raises:
        ValueError: All have failed.

    Examples:
        >>> values = {"score": (("trial", "seed"), [[0.5, 0.75], [0.75, 1.0]]), "position": ("trial", [0, 1])}
        >>> values |= {"status": (("trial", "seed"), [["finished"] * 2] * 2)}
        >>> values |= {"best_epoch": (("trial", "seed"), [[1, 1]] * 2)}
        >>> attributes = {"direction": "max", "objective": "valid_accuracy"}
        >>> dataset = xarray.Dataset(values, {"trial": ["a", "b"], "seed": [1, 2]}, attributes)
        >>> found = compare(dataset, ["c", "d"], np.array([0.875, 0.75]))
        >>> found.attrs["chosen"], found.fell.values.tolist(), found.behind.values.tolist(), found.tied.values.tolist()
        ('b', [0.25, -0.125], [0.25, 0.0], [False, True])
    """
    chosen = str(results.best(dataset).trial.item())
    summed = results.summary(dataset)
    sign = 1.0 if dataset.attrs["direction"] == "max" else -1.0
    scores = dataset.score.transpose("trial", "seed").values.astype(np.float64)
    count = len(scores)
    pairs = count * (count - 1) // 2
    mean, first = summed.score.values, dataset.trial.values.tolist().index(chosen)
    differences = np.where(np.isnan(mean)[:, None], np.nan, sign * (scores[first] - scores))
    behind, width = differences.mean(axis=1), _half_width(differences, max(pairs, 1))
    columns = {
        "search_score": search_scores,
        "mean": mean,
        "standard_error": summed.standard_error.values,
        "fell": sign * (search_scores - mean),
        "behind": behind,
        "behind_low": behind - width,
        "behind_high": behind + width,
        "tied": behind - width <= 0,
    }
    found = dataset.assign({name: ("trial", values) for name, values in columns.items()})
    found = found.assign_coords(search_trial=("trial", np.array(search_trials, dtype=str)))
    found = found.assign_attrs(chosen=chosen, comparisons=pairs, tested_before=tested_before)
    return found.assign_attrs(words="\n".join(_words(found)))


def to_json(found: xarray.Dataset) -> str:
    """Returns what `finalists` found as JSON: a row for each, the search's best first; what is not finite is null.

    Args:
        found: What `finalists` or `compare` returned.
    """
    rows = []
    for one in (found.isel(trial=i) for i in range(found.sizes["trial"])):
        numbers = {name: one[name].item() for name in _COLUMNS}
        row = {"trial": one.trial.item(), "search_trial": one.search_trial.item(), "tied": one.tied.item()}
        rows.append(row | {name: value if math.isfinite(value) else None for name, value in numbers.items()})
    attributes = {name: found.attrs[name] for name in ("run", "objective", "direction", "chosen")}
    return json.dumps({**attributes, "words": found.attrs["words"].split("\n"), "finalists": rows})


def _half_width(differences: np.ndarray, pairs: int) -> np.ndarray:
    """Half the width of the interval of each row's mean, so that those of all pairs hold together."""
    count = differences.shape[1]
    quantile = float(scipy.stats.t.ppf(1 - (1 - LEVEL) / (2 * pairs), count - 1))
    return quantile * differences.std(axis=1, ddof=1) / math.sqrt(count)


def _stand_alone(past: Past) -> None:
    """Refuses trials whose numbers changed while they trained: none of them can be trained again by its own."""
    pruner = past.started.get("pruner")
    if pruner and pruner_of(pruner).copies:
        raise ValueError(
            f"finalists: the trials of {os.fspath(past.directory)!r} took over each other's weights and numbers "
            f"({pruner['name']}); expected trials that stand for themselves. Follow one with replay, or sweep with "
            "another pruner."
        )


def _ended(past: Past) -> None:
    """Refuses a run that goes on: finalists of a part of it would use up the test split."""
    progress, run = advance(Progress(), past.records), os.fspath(past.directory)
    if not progress.finished:
        ended = f"{len(progress.ended)} of the {len(progress.done)} members asked for so far have ended"
        raise ValueError(
            f"finalists: got {run!r}, of which {ended}; expected a run that is through, since the test split is looked "
            f"at once. Go on with it: jaxopt-intro sweep {run}"
        )


def _looked(run: Path, finalists: Path, records: Sequence[Mapping[str, Any]]) -> int:
    """How many other finalists of a run were there before; the journal remembers these, too."""
    known = {record["directory"] for record in records if record["type"] == "finalists"}
    own = os.path.relpath(finalists.absolute(), run)
    if own not in known:
        with journal.Journal(run) as writer:
            writer.append({"type": "finalists", "directory": own})
    return len(known - {own})


def _same(directory: Path, about: Mapping[str, Any]) -> None:
    """Refuses a directory with something else: other finalists would let the test split choose again."""
    if not (directory / "journal.jsonl").exists():
        return
    before = next((r.get("finalists") for r in journal.read(directory) if r["type"] == "run"), None)
    if before == about:
        return
    differ = next((n for n in about if before and before.get(n) != about[n]), None)
    got = f"{differ}={before[differ]!r}, not {about[differ]!r}" if before and differ else "another run"
    raise ValueError(
        f"finalists: the directory {os.fspath(directory)!r} holds {got}; expected the same finalists, which go on, or "
        "none. Give another directory, and mind that the test split was looked at by those that are there."
    )


def _words(found: xarray.Dataset) -> Iterator[str]:
    objective, chosen = found.attrs["objective"], found.attrs["chosen"]
    seeds = f"seeds {found.seed.values[0]} to {found.seed.values[-1]}"
    yield f"{found.sizes['trial']} finalists on the fresh {seeds}, by {objective}"
    for row in (found.isel(trial=i) for i in range(found.sizes["trial"])):
        who = f"{row.search_trial.item()}: {row['mean'].item():.4f} ± {row.standard_error.item():.4f}"
        if np.isnan(row["mean"].item()):
            yield f"{row.search_trial.item()}: a seed failed, so it has no mean"
        elif row.trial.item() == chosen:
            yield f"{who}, the best"
        else:
            interval = f"{row.behind_low.item():+.4f} to {row.behind_high.item():+.4f}"
            what = "cannot be told apart" if row.tied.item() else "worse"
            yield f"{who}, behind by {row.behind.item():+.4f} ({interval}): {what}"
    if found.attrs["comparisons"]:
        pairs = found.attrs["comparisons"]
        yield f"intervals: 95 % for all {pairs} pairs together (t, paired by seed, Bonferroni)"
    fell = found.fell.values[0]
    if np.isfinite(fell):
        how = "fell by" if fell >= 0 else "rose by"
        yield f"the search's winner {how} {abs(fell):.4f} from its score there, {found.search_score.values[0]:.4f}"
    for name in (str(n) for n in found.data_vars if str(n).startswith("test_")):
        values = found[name].sel(trial=chosen).values
        error = values.std(ddof=1) / math.sqrt(len(values))
        yield f"{name} of the best: {values.mean():.4f} ± {error:.4f}"
    if before := found.attrs["tested_before"]:
        yield (
            f"not the first look at the test split: {before} had been measured there, by the search or by other "
            "finalists (a sweep with test=False, or --no-test, leaves it to finalists)"
        )
