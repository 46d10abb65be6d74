"""A run as it was asked: its experiment, data and trials, back from the journal."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxopt_intro import journal
from jaxopt_intro.checks import nearest
from jaxopt_intro.data import Dataset
from jaxopt_intro.experiment.asking import Experiment, find, from_mapping
from jaxopt_intro.sweeps.space import Trial


class Past(NamedTuple):
    """A run that is not being written.

    Attributes:
        directory: Where it is.
        records: Its journal.
        started: The last record of its start.
        trials: The last record of each trial, by its id.
        experiment: What was asked, with the data.
        dataset: The data.
        parts: Functions by name, instead of importing them.
    """

    directory: Path
    records: list[dict[str, Any]]
    started: dict[str, Any]
    trials: dict[str, dict[str, Any]]
    experiment: Experiment
    dataset: Dataset
    parts: Mapping[str, Any]

    def id_of(self, trial: str) -> str:
        """Returns the id that a trial's id, or the beginning of one, stands for.

        Raises:
            ValueError: It is that of none, or of several.
        """
        found = [known for known in self.trials if known.startswith(trial) and trial]
        if trial in found or len(found) == 1:
            return trial if trial in found else found[0]
        if found:
            raise ValueError(
                f"got the trial {trial!r}, with which {len(found)} ids begin, {', '.join(found[:3])}, …; expected the "
                "beginning of one. Give more of it."
            )
        some = ", ".join(list(self.trials)[:3])
        raise ValueError(
            f"got the trial {trial!r}; expected one of the run's {len(self.trials)} ids, such as {some}. "
            f"{nearest(trial, self.trials)}See them all: jaxopt-intro show {self.directory}"
        )

    def trial(self, name: str) -> Trial:
        """Returns a trial by its id.

        Raises:
            ValueError: One of its options was not found.
        """
        record = self.trials[name]
        choices = {choice: find(value, choice, self.parts) for choice, value in record["values"].items()}
        return Trial(dict(record["hparams"]), choices, dict(record["choices"]))


def reopen(run: str | os.PathLike[str], *, parts: Mapping[str, Any] | None = None, data: Any = None) -> Past:
    """Reads what was asked of a run, and loads its data.

    Args:
        run: The run's directory.
        parts: Your own functions and classes by name, where they cannot be imported.
        data: The `Dataset` or arrays, where they were in memory.

    Raises:
        ValueError: It has no trials, its data were in memory, or they are others now; or a part was not found.
        FileNotFoundError: The directory is no run.
        jaxopt_intro.journal.Locked: Another process writes it.
    """
    records = journal.read(run)
    journal.check_free(run)
    started = next((r for r in reversed(records) if r["type"] == "run"), None)
    trials = {r["trial"]: r for r in records if r["type"] == "trial"}
    if started is None or not trials:
        raise ValueError(f"the run {os.fspath(run)!r} has no trial; expected at least one. Start its sweep again.")
    fields = dict(started["experiment"])
    if data is None and (fields["data"] == "arrays" or started["data"]["source"] == "arrays in memory"):
        raise ValueError(
            f"the run {os.fspath(run)!r} was trained on arrays in memory, which no file holds; expected them. Call it "
            "in Python, with data= the same Dataset or arrays."
        )
    experiment = from_mapping(fields, parts)
    if data is not None:
        experiment = dataclasses.replace(experiment, data=data)
    dataset = experiment.load_data()
    if dataset.info.fingerprint != started["data"]["fingerprint"]:
        raise ValueError(
            f"the run {os.fspath(run)!r} was trained on {started['data']['name']} with the fingerprint "
            f"{started['data']['fingerprint']}; got {dataset.info.name} with {dataset.info.fingerprint}; expected the "
            "same data. Pass them as data=."
        )
    return Past(Path(run), records, started, trials, experiment, dataset, parts or {})
