"""`sweep`: from an experiment and trials to a finished run."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import os
import platform
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray

import jaxopt_intro
from jaxopt_intro import distributions, journal, results, training
from jaxopt_intro.data import Dataset
from jaxopt_intro.distributions import Distribution
from jaxopt_intro.experiment import assembling, checking, citing, files, grouping, searching
from jaxopt_intro.experiment.asking import Experiment, to_mapping
from jaxopt_intro.experiment.assembling import direction_of
from jaxopt_intro.experiment.grouping import Program, Staged
from jaxopt_intro.experiment.loading import describe_data
from jaxopt_intro.models import layers
from jaxopt_intro.results import notebook
from jaxopt_intro.results.dataset import changes_of, in_force
from jaxopt_intro.sweeps import engine, executables, keeping, peak
from jaxopt_intro.sweeps.job import Group, Job
from jaxopt_intro.sweeps.population import AVERAGE
from jaxopt_intro.sweeps.pruning import Pruner
from jaxopt_intro.sweeps.searchers import Searcher
from jaxopt_intro.sweeps.session import Session
from jaxopt_intro.sweeps.sharding import Devices
from jaxopt_intro.sweeps.space import Trial

_OF_PLAN = ("width", "devices", "rates", "why", "memory", "convolutions", "other_convolutions")
PEAK_SECONDS = 10.0  # of running, from which on measuring the peak is worth its second
_OF_SEARCH = ("numbers", "choices", "search")
Listener = Callable[[dict[str, Any]], None]


def sweep(
    experiment: Experiment,
    trials: Sequence[Trial] | Searcher,
    replicates: int = 1,
    directory: str | os.PathLike[str] | None = None,
    *,
    pruner: Pruner | None = None,
    max_time: float | None = None,
    max_trials: int | None = None,
    max_failures: int | None = None,
    width: int | None = None,
    convolutions: Mapping[str, str] | None = None,
    test: bool = True,
    about: Mapping[str, Any] | None = None,
    listener: Listener | None = None,
) -> xarray.Dataset:
    """Trains every trial, as compiled programs of many lanes; an existing run goes on where it stopped.

    The trial with the best validation is chosen at the end, and only it is measured on the test split, unless that is
    left to `finalists`. A signal (Ctrl-C) saves a checkpoint first. Nothing that a trial computes depends on which
    others were asked. All local devices train side by side, or `jax.default_device` alone where it is set.

    Args:
        experiment: What all trials have in common.
        trials: From `Space.grid`, `Space.random` and the like; repeated ones are trained once. Or a `Searcher`, such as
            `searchers.adaptive(space, "tpe", trials=200)`, which begins anew, and is asked for more as trials end.
        replicates: How many seeds each trial is trained with.
        directory: The run's directory; None makes one under `runs/`.
        pruner: Says which trials go on, such as `pruning.hyperband()`; None: all do. Those that go on keep their
            weights and optimizer states; the others end as pruned, with the reason.
        max_time: The sweep ends at the first validation after so many seconds; trials that are not through then end as
            pruned. They count by their best validation until then.
        max_trials: At most so many of the trials are trained, the first ones.
        max_failures: Once more than so many members (trials times seeds) have failed, the sweep ends.
        width: How many trials run side by side on a device; None measures. Results are bitwise reproducible for equal
            widths, whatever the number of devices.
        convolutions: How convolutions are computed, where they can be so: `{"kernel": "im2col"}`, of "outputs",
            "images" (the input gradient) and "kernel"; None measures, where that pays. `models.layers.WAYS` has the
            names.
        test: Whether the chosen trial is measured on the test split at the end. False leaves that to `finalists`, so
            that the split is looked at once; a run that goes on remembers it.
        about: What the journal is to say of the run besides what was asked, such as which other run it is about.
        listener: Called with every record of the journal as it is written, and with progress in between.

    Returns:
        The results, as `results.open(directory)` gives them; the directory is in `attrs["run"]`.

    Raises:
        ValueError: Something asked is impossible; nothing has run yet.
        MemoryError: The asked width, or one lane in any way, does not fit in memory.
        jaxopt_intro.journal.Locked: Another process writes this run.
        KeyboardInterrupt: A signal asked to stop; the run can go on later.

    Examples:
        >>> import tempfile
        >>> from jaxopt_intro import Experiment, Space, log_uniform
        >>> experiment = Experiment(data="digits", model="linear", optimizer="sgd", epochs=2)
        >>> trials = Space(learning_rate=log_uniform(1e-3, 1e-1)).grid(3)
        >>> found = sweep(experiment, trials, directory=tempfile.mkdtemp() + "/run")
        >>> found.sizes["trial"], found.status.values.ravel().tolist()
        (3, ['finished', 'finished', 'finished'])
    """
    begin, listener = time.perf_counter(), listener or notebook.listener() or (lambda record: None)
    wanted = checking.checked(trials, replicates, {"width": width, "max_trials": max_trials})
    every, search = wanted[:max_trials], trials if isinstance(trials, Searcher) else None
    limits = checking.limits(max_time, max_failures)
    layers.check_ways(convolutions or {})
    asked = {**getattr(trials, "asked", {}), "replicates": replicates}
    dataset = experiment.load_data()
    objective, direction = direction_of(experiment, dataset.info)
    pruner = checking.decided(pruner, experiment, dataset)
    asked |= {"pruner": dict(pruner.asked)} if pruner else {}
    staged, programs = grouping.stage(experiment, dataset, every)
    groups = grouping.groups(experiment, dataset, staged, programs, replicates)
    checking.judged(objective, pruner, dataset, programs, groups, every)
    checking.roomy(width, groups)
    more, likely = None, []
    if search is not None:
        if pruner is not None and pruner.copies:
            raise ValueError(
                f"pruner {pruner.asked['name']}: got a searcher; expected trials, since a population begins at once. "
                "Pass space.random(n)."
            )
        at_the_ends = search.space.ends()
        staged_ends, programs_there = grouping.stage(experiment, dataset, at_the_ends)
        likely = grouping.groups(experiment, dataset, staged_ends, programs_there, replicates)
        checking.judged(objective, pruner, dataset, programs_there, likely, at_the_ends)
        checking.roomy(width, likely)
        search.begin({name for staged in staged_ends for name in staged.fixed})
        more = searching.Asked(search, experiment, dataset, replicates, max_trials)
    checking.check_rungs(pruner, likely or groups, dataset)
    directory = Path(directory) if directory is not None else new_directory(dataset)
    _same_experiment(directory, experiment, dataset, asked, None if search else [s.id for s in staged])
    with journal.Journal(directory) as writer:
        past = journal.read(directory)
        session = Session(directory, writer, past, listener, limits=limits)
        staging = time.perf_counter() - begin
        searching.check_limit(max_trials, session.asks)
        _same_width(width, session.plans, None if search else [group.id for group in groups])
        with session.signals(), executables.kept_on_disk():
            listener({"type": "directory", "path": str(directory)})
            cited = search.space.ends() if search else every
            record = run_record(experiment, dataset, objective, direction, cited)
            of_search = {name: asked[name] for name in _OF_SEARCH if name in asked}
            test = test and all(r.get("test", True) for r in past if r["type"] == "run")
            record |= {"trials": len(staged), "replicates": replicates, "max_trials": max_trials, "test": test}
            record["left_out"] = searching.left_out(search, max_trials) if search else len(wanted) - len(every)
            session.emit({**record, "pruner": asked.get("pruner"), "search": of_search, **(about or {})})
            files.write(directory / files.NAME, experiment, asked)
            _emit_trials(session, staged, groups)
            job = _job(experiment, dataset, groups, objective, direction, width)
            numbers = _numbers(asked, past)
            job = job._replace(convolutions=convolutions, pruner=pruner, likely=likely, numbers=numbers)
            if more is not None:
                sign = 1.0 if direction == "max" else -1.0
                job = job._replace(source=more.source(session, sign, functools.partial(_emit_trials, session)))
            engine.run(job, session)
            if more is not None:
                staged, programs, groups = more.staged, more.programs, list(more.groups.values())
            if test:
                _test_chosen(session, dataset, programs, staged, job)
            if session.lane_steps or not any(r["type"] == "receipt" for r in past):
                session.emit(_receipt(session, groups, dataset, staging))
    return results.open(directory)


def device_description() -> dict[str, Any]:
    """Returns what this process computes on, and whether a better device lies idle."""
    device = jax.devices()[0]
    idle = device.platform == "cpu" and shutil.which("nvidia-smi") is not None
    return {
        "platform": device.platform,
        "kind": device.device_kind,
        "count": jax.local_device_count(),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "idle_gpu": idle,
    }


def _numbers(asked: Mapping[str, Any], past: Sequence[Mapping[str, Any]]) -> dict[str, Distribution]:
    """Where the trials' numbers come from; a resumed run is asked for trials alone, and its journal knows."""
    spaces = [asked, *(record.get("search", {}) for record in past if record["type"] == "run")]
    known = next((space["numbers"] for space in spaces if space.get("numbers")), None)
    return files.space_of({"numbers": known}).numbers if known else {}


def new_directory(dataset: Dataset, ending: str = "") -> Path:
    """Returns a directory under `runs/` that does not exist yet, named after the time and the data."""
    stamp = datetime.datetime.now().strftime("%Y-%m-%d-%H%M%S")
    name = dataset.info.name.replace(":", "-").replace("/", "-") + ending
    path = first = Path("runs") / f"{stamp}-{name}"
    number = 2
    while path.exists():
        path, number = first.with_name(f"{first.name}-{number}"), number + 1
    return path


def _same_experiment(
    directory: Path,
    experiment: Experiment,
    dataset: Dataset,
    asked: Mapping[str, Any],
    trials: Sequence[str] | None,
) -> None:
    """Refuses to mix two experiments in one run, and to change what a pruner chooses among or a searcher in."""
    if not (directory / "journal.jsonl").exists():
        return
    records = journal.read(directory)
    runs = [r for r in records if r["type"] == "run"]
    if not runs:
        return
    searched, searches = runs[-1].get("search", {}), {n: asked[n] for n in _OF_SEARCH if n in asked}
    if "sampler" in {**searched.get("search", {}), **searches.get("search", {})} and searched != searches:
        raise ValueError(
            f"the run {str(directory)!r} was asked with search {searched}; got {searches}; expected the same, since "
            "what is asked for depends on it. Give another directory."
        )
    pruned, prunes = runs[-1].get("pruner"), asked.get("pruner")
    if pruned != prunes:
        raise ValueError(
            f"the run {str(directory)!r} was asked with pruner={pruned}; got {prunes}; expected the same, since its "
            "verdicts depend on it. Give another directory."
        )
    replicates = runs[-1].get("replicates", asked["replicates"])
    if (prunes or "sampler" in searches.get("search", {})) and replicates != asked["replicates"]:
        raise ValueError(
            f"the run {str(directory)!r} was asked with replicates={replicates}; got {asked['replicates']}; expected "
            "the same, since who goes on depends on all seeds. Give another directory."
        )
    known = [r["trial"] for r in records if r["type"] == "trial"]
    cut_short = len(set(known)) < runs[-1]["trials"]  # while they were being written: then more may come
    same = trials is None or set(known) == set(trials) or (cut_short and set(known) < set(trials))
    if prunes and known and not same:
        raise ValueError(
            f"the run {str(directory)!r} prunes among its {len(set(known))} trials; got others; expected the same, "
            "since who goes on depends on all of them. Give another directory."
        )
    before, now = runs[-1]["experiment"], to_mapping(experiment)
    free = {"keep", "data_dir"}

    def value_of(fields: Mapping[str, Any], name: str) -> Any:
        value = fields.get(name)
        if name == "schedule":
            return training.plain_schedules(value)
        return training.several(value) if name in assembling.SEVERAL else value  # one part is the list of one

    differ = [n for n in sorted({*before, *now} - free) if value_of(before, n) != value_of(now, n)]
    if not differ and runs[-1]["data"]["fingerprint"] != dataset.info.fingerprint:
        differ, before, now = ["data"], {"data": "other content"}, {"data": "this content"}
    if differ:
        name = differ[0]
        raise ValueError(
            f"the run {str(directory)!r} was asked with {name}={before.get(name)!r}; got {name}={now.get(name)!r}; "
            "expected the same experiment, since a run holds one. Give another directory."
        )


def _same_width(width: int | None, plans: Mapping[str, dict[str, Any]], groups: Sequence[str] | None) -> None:
    """Refuses another width than that of groups that have one; None are all groups: a searcher asks for them again."""
    own = [plans[group]["width"] for group in (plans if groups is None else groups) if group in plans]
    other = next((frozen for frozen in own if width is not None and frozen != width), None)
    if other is not None:
        raise ValueError(
            f"got width={width}, but this run's is {other} and frozen; expected the same, so that results stay bitwise "
            "equal. Leave width out."
        )


def run_record(
    experiment: Experiment, dataset: Dataset, objective: str, direction: str, trials: Sequence[Trial] = ()
) -> dict[str, Any]:
    packages = ("jax", "jaxlib", "flax", "optax", "numpy", "orbax-checkpoint")
    return {
        "type": "run",
        "format": journal.FORMAT,
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {
            "jaxopt_intro": jaxopt_intro.__version__,
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in packages},
        },
        "device": device_description(),
        "settings": {
            "matmul_precision": getattr(jax.config, "jax_default_matmul_precision", None),
            "prng": getattr(jax.config, "jax_default_prng_impl", None),
            "x64": getattr(jax.config, "jax_enable_x64", None),
            "xla_flags": os.environ.get("XLA_FLAGS", ""),
        },
        "experiment": to_mapping(experiment),
        "objective": {"name": f"valid_{objective}", "direction": direction},
        "data": describe_data(dataset),
        "methods": citing.references(experiment, trials),
    }


def _emit_trials(session: Session, staged: Sequence[Staged], groups: list[Group]) -> None:
    asked: dict[str, set[int]] = {}
    for member in (m for group in groups for m in group.members):
        asked.setdefault(member.trial, set()).add(member.seed)
    for s in staged:
        before = session.seeds.get(s.id, [])
        session.seeds[s.id] = sorted(asked[s.id].union(before))
        if session.seeds[s.id] != before:
            session.emit({
                "type": "trial",
                "trial": s.id,
                "hparams": s.trial.hparams,
                "choices": s.trial.labels,
                "values": {name: distributions.plain(value) for name, value in s.trial.choices.items()},
                "fixed": sorted(s.fixed),
                "compiled": s.compiled,
                "group": s.group,
                "seeds": session.seeds[s.id],
            })  # fmt: skip


def _job(
    experiment: Experiment,
    dataset: Dataset,
    groups: list[Group],
    objective: str,
    direction: str,
    width: int | None,
) -> Job:
    return Job(
        groups,
        dataset.train,
        dataset.valid,  # type: ignore[arg-type]
        experiment.data_seed,
        experiment.vary_batches,
        objective,
        direction,
        experiment.keep,
        width,
    )


def _test_chosen(
    session: Session, dataset: Dataset, programs: Mapping[str, Program], staged: Sequence[Staged], job: Job
) -> None:
    """Measures the chosen trial, and only it, on the test split."""
    if dataset.test is None:
        return
    order = keeping.ranking(session.ended, session.seeds, 1.0 if job.direction == "max" else -1.0)
    chosen = next((s for s in staged if s.id in order[:1]), None)
    if chosen is None:
        return
    # Weights that were dropped before more seeds were asked for are gone: then the others speak for the trial.
    seeds = [n for n in session.seeds[chosen.id] if (chosen.id, n, "best") in session.kept]
    assembly = programs[chosen.group].assembly
    changes = changes_of(journal.read(session.directory)) if job.pruner and job.pruner.copies else {}
    began, evaluate = {"trial": chosen.id, "hparams": chosen.trial.hparams}, None
    for seed in (n for n in seeds if (chosen.id, n) not in session.tested):
        epoch = session.ended[chosen.id, seed]["best_epoch"]
        own = in_force(began, changes, epoch)  # of its weights: a population may have changed them since
        numbers = {n: np.float32(v) for n, v in own.items() if n not in chosen.fixed}
        state = keeping.load(session, chosen.id, seed, assembly.training, numbers)
        if evaluate is None:
            begin = time.perf_counter()
            memory = session.plans[chosen.group].get("memory", "")
            measure = next((way.evaluate for way in assembly.lighter if way.words == memory), assembly.evaluate)
            evaluate = jax.jit(measure).lower(state, dataset.test, numbers).compile()
            session.compile_seconds += time.perf_counter() - begin
        kept = AVERAGE if job.objective.startswith(AVERAGE) else ""  # whose weights were kept
        with session.computing():
            measured = jax.block_until_ready(evaluate(state, dataset.test, numbers))
        metrics = {kept + name: np.float32(value) for name, value in measured.items()}
        session.emit({"type": "test", "trial": chosen.id, "seed": seed, "epoch": epoch, "metrics": metrics})


def _receipt(session: Session, groups: list[Group], dataset: Dataset, staging: float) -> dict[str, Any]:
    """What this session did, how fast, and why."""
    seconds = session.elapsed()
    running = max(seconds - session.compile_seconds - session.measuring_seconds, 1e-9)
    examples = session.useful_examples
    planned = [group for group in groups if group.id in session.plans]  # a limit may have ended the sweep before
    return {
        "type": "receipt",
        "device": device_description(),
        "staging_seconds": round(staging, 3),
        "seconds": round(seconds, 3),
        "compile_seconds": round(session.compile_seconds, 3),
        "measuring_seconds": round(session.measuring_seconds, 3),
        "run_seconds": round(running, 3),
        "host_seconds": round(max(running - session.computing_seconds, 0.0), 3),
        "trials": len({m.trial for g in groups for m in g.members}),
        "members": sum(len(g.members) for g in groups),
        "members_per_second": (session.finished - session.finished_before) / running,
        "examples_per_second": examples / running,
        "busy": session.steps_of.total() / max(session.lane_steps, 1),
        "peak_share": _peak_share(session, planned, dataset, running) if running > PEAK_SECONDS else None,
        "groups": [
            {
                "group": group.id,
                "title": group.title,
                "members": len(group.members),
                **{key: session.plans[group.id].get(key, "" if key == "memory" else []) for key in _OF_PLAN},
            }
            for group in planned
        ],
    }


def _peak_share(session: Session, groups: list[Group], dataset: Dataset, seconds: float) -> float | None:
    """The matrix products of live members in a second, as a share of what the same devices can do."""
    if not groups:
        return None
    done = sum(session.steps_of[group.id] * peak.of_a_step(group, dataset.train) for group in groups)
    devices = max(session.plans[group.id]["devices"] for group in groups)
    return done / seconds / peak.measured(Devices(devices))
