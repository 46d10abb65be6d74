"""From trials to groups: what is staged how, what each trial's id is, which trials share a program."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_intro import distributions, routing, training
from jaxopt_intro.data import Dataset
from jaxopt_intro.domains import Interval, in_range
from jaxopt_intro.experiment.asking import CHOICE_FIELDS, PART_FIELDS, Experiment
from jaxopt_intro.experiment.assembling import (
    SEVERAL,
    Assembly,
    assemble,
    described,
    missing,
    ranges,
    required,
    rounds_of,
    settings,
)
from jaxopt_intro.experiment.targets import check_targets
from jaxopt_intro.models import refuse_wide_products
from jaxopt_intro.sweeps import doctor, identity
from jaxopt_intro.sweeps.job import Group, Member
from jaxopt_intro.sweeps.population import AVERAGE
from jaxopt_intro.sweeps.space import Trial


class Staged(NamedTuple):
    """A trial and the program that it belongs to.

    Attributes:
        trial: The trial.
        id: Its id.
        group: The group's id.
        fixed: The numbers that are compiled into the program.
        compiled: The reason for each of them.
        canonical: The one name of each number: the part's role, its name, and the argument.
    """

    trial: Trial
    id: str
    group: str
    fixed: dict[str, Any]
    compiled: dict[str, str]
    canonical: dict[str, str]


class Finding(NamedTuple):
    """What was found of the numbers of a program.

    Attributes:
        compiled: The reason for each number that must be compiled.
        canonical: The one name of each number, however it was asked for: `l2` and `penalty.strength` are the same.
        numbers: The defaults of the parts' numbers, by their canonical names.
        others: The parts' other settings.
        ranges: The ranges of those numbers that have one.
        scheduled: The canonical name of each number that has schedules.
    """

    compiled: dict[str, str]
    canonical: dict[str, str]
    numbers: dict[str, float]
    others: dict[str, str]
    ranges: dict[str, Interval]
    scheduled: dict[str, str]


class Program(NamedTuple):
    """A group's program.

    Attributes:
        id: A hash of what it computes.
        title: Its choices in words.
        experiment: The experiment with them.
        assembly: Its functions.
        hash: Of its jaxpr, where code that is not named in a table takes part; else None.
    """

    id: str
    title: str
    experiment: Experiment
    assembly: Assembly
    hash: str | None


class Known(NamedTuple):
    """What was found of trials that were asked before: a search asks again and again.

    Attributes:
        findings: What was found, by the trials' kind: their choices and the names of their numbers.
        programs: The programs, by kind and the numbers that are compiled.
    """

    findings: dict[Any, Finding]
    programs: dict[Any, Program]


def stage(
    experiment: Experiment, dataset: Dataset, trials: Sequence[Trial], known: Known | None = None
) -> tuple[list[Staged], dict[str, Program]]:
    """Finds out what can be traced, and sorts the trials into groups.

    Args:
        experiment: What all trials have in common.
        dataset: Its data.
        trials: The trials.
        known: What was found before; what is found now is added.

    Returns:
        The trials in order, staged, those that mean the same once; and the program of each group.

    Raises:
        ValueError: A name or option is wrong, or a part cannot be traced at all.
    """
    staged: dict[str, Staged] = {}
    programs: dict[str, Program] = {}
    findings, known_programs = known or Known({}, {})
    kinds: dict[Any, tuple[Experiment, dict[str, Any], int, dict[str, Any]]] = {}
    for trial in map(experiment.with_batch_size_as_number, trials):
        kind = (tuple(sorted(trial.labels.items())), tuple(sorted(trial.hparams)))
        if kind not in kinds:
            one, options = experiment.with_choices(trial)
            if kind not in findings:
                findings[kind] = _stage_one(one, dataset, options, trial)
            kinds[kind] = one, options, sum(rounds_of(one, dataset)), _parts(one, dataset, findings[kind])
        finding, (one, options, steps, parts) = findings[kind], kinds[kind]
        numbers = {**finding.numbers, **{finding.canonical[name]: value for name, value in trial.hparams.items()}}
        _in_range(numbers, finding.ranges)
        _whole_batches(one, numbers, steps, finding)
        fixed = {name: trial.hparams[name] for name in finding.compiled}
        program_key = (*kind, tuple(sorted(fixed.items())))
        if program_key not in known_programs:
            traced = [name for name in trial.hparams if name not in fixed]
            known_programs[program_key] = _program(one, dataset, options, trial, finding, traced)
        program = known_programs[program_key]
        programs[program.id] = program
        _workers_hold(program.assembly, trial, finding)
        trial_id = identity.trial_id(numbers, finding.others, {**parts, "program": program.hash})
        its = Staged(trial, trial_id, program.id, fixed, finding.compiled, finding.canonical)
        staged.setdefault(trial_id, its)
    return list(staged.values()), programs


def groups(
    experiment: Experiment, dataset: Dataset, staged: Sequence[Staged], programs: dict[str, Program], replicates: int
) -> list[Group]:
    """Crosses the trials with seeds and collects them by program.

    Args:
        experiment: What all trials have in common.
        dataset: Its data.
        staged: The trials.
        programs: The programs.
        replicates: How many seeds each trial has.

    Returns:
        The groups, in the order in which their first trials were asked.

    Raises:
        ValueError: A batch is larger than the training split.
    """
    made = []
    for program in programs.values():
        own = [s for s in staged if s.group == program.id]
        if not own:  # all its trials mean the same as another program's
            continue
        members = [
            Member(s.id, seed, {n: v for n, v in s.trial.hparams.items() if n not in s.fixed})
            for s in own
            for seed in range(experiment.seed, experiment.seed + replicates)
        ]
        rounds = rounds_of(program.experiment, dataset)
        assembly, size = program.assembly, program.experiment.step_size
        functions = assembly.training, assembly.evaluate, assembly.stopping, assembly.average, assembly.lighter
        made.append(Group(program.id, program.title, *functions, members, size, rounds))
    return made


def _stage_one(experiment: Experiment, dataset: Dataset, options: dict[str, Any], trial: Trial) -> Finding:
    def shapes(traced: Any, fixed: Any) -> Any:
        assembly = assemble(experiment, dataset, options, fixed)
        return _whole(assembly, experiment, dataset, jax.random.key(0), traced)

    with tracing(_title(trial, {})):
        scheduled = _scheduled(described(experiment, dataset, options), experiment, trial)
        parts = assemble(experiment, dataset, options).parts
        _no_options(parts, described(experiment, dataset, options, routing.options), trial)
        routes = _routed(parts, trial)
        roles = {training.schedule_role(name): training.schedule_role(one) for name, one in scheduled.items()}
        named = [part._replace(role=roles.get(part.role, part.role)) for part in parts]
        canonical = {name: routing.canonical(named, route) for name, route in routes.items()}
        numbers, others = settings(experiment, dataset, options, roles)
        legal = ranges(experiment, dataset, options, roles)
        _in_range({**numbers, **{canonical[name]: value for name, value in trial.hparams.items()}}, legal)
        _complete(required(experiment, dataset, options), routes, "it has no default")
        without = [n for n in scheduled.values() if n not in numbers and n != "learning_rate"]
        _complete(_only(parts, without), routes, "it has a schedule, which multiplies it, and no default")
        _chosen(missing(experiment, dataset, options))
        check_targets(assemble(experiment, dataset, options, trial.hparams), dataset)
        if experiment.compute_dtype is not None:
            _narrow(assemble(experiment, dataset, options, trial.hparams), experiment, dataset)
        return Finding(doctor.stage(shapes, trial.hparams), canonical, numbers, others, legal, scheduled)


@contextlib.contextmanager
def tracing(title: str) -> Iterator[None]:
    """Says of what a part raises who raised it, and where; what our own checks refuse speaks for itself."""
    try:
        yield
    except Exception as error:
        users, where = doctor.function(error), doctor.place(error)
        if isinstance(error, ValueError) and not users:
            raise
        title, said = title or "the experiment", doctor.advice(error) or " ".join(str(error).split())[:600]
        raise ValueError(
            f"{title}: when traced, {users or 'a part'} raised {type(error).__name__}{where}: {said}"
        ) from error


def _workers_hold(assembly: Assembly, trial: Trial, finding: Finding) -> None:
    """Makes a trial's workers with its own numbers: how they depend on each other is not known where they are traced.

    Where one of them has a schedule, only its products are values.
    """
    if assembly.workers is None or any(name.startswith("workers.") for name in finding.scheduled.values()):
        return
    given = routing.deliver(assembly.parts, routing.known_routes(assembly.parts, trial.hparams), trial.hparams)
    (own,) = (numbers for part, numbers in zip(assembly.parts, given, strict=True) if part.role == "workers")
    assembly.workers(assembly.training, **own)


def _scheduled(parts: Sequence[routing.Part], experiment: Experiment, trial: Trial) -> dict[str, str]:
    """The canonical name of each number that has schedules; what an option of a choice has not is said with it."""
    numbers = list(training.schedules_of(experiment.schedule))
    try:
        return training.canonical_numbers(parts, numbers)
    except ValueError as error:
        if "batch_size" in numbers and experiment.microbatch is None:
            raise ValueError(
                "schedule: got a schedule of the batch size without a microbatch; expected one, since only then the "
                "batch size is a number. Add Experiment(microbatch=...), on the command line --microbatch 32."
            ) from None
        if not trial.labels:
            raise
        raise ValueError(
            f"{_title(trial, {})}: {error} A schedule is for every option of a choice: give an option that has not "
            "this number a sweep of its own."
        ) from error


def _only(parts: Sequence[routing.Part], numbers: Sequence[str]) -> list[routing.Part]:
    """The parts with only those numbers, which are canonical names."""
    every = [(i, part, name) for i, part in enumerate(parts) for name in part.hyperparameters]
    kept = [(i, n) for i, _, n in every if routing.canonical(parts, routing.Route(i, n)) in numbers]
    return [p._replace(hyperparameters=tuple(n for own, n in kept if own == i)) for i, p in enumerate(parts)]


def _no_options(parts: Sequence[routing.Part], takes: Sequence[routing.Part], trial: Trial) -> None:
    """Refuses a number that is a size, or another option: it is chosen."""
    chosen = routing.known_routes(takes, [name for name in trial.hparams if not routing.known_routes(parts, [name])])
    for name, route in chosen.items():
        value = trial.hparams[name]
        if route.argument not in parts[route.index].hyperparameters:
            raise ValueError(
                f"{takes[route.index].role} {takes[route.index].name}: got {name!r} as a number; expected a choice, "
                f"since it is an option. Add {name!r} to the space as choice([{value}]); on the command line: "
                f"--choice {name} {value}."
            )


def _routed(parts: Sequence[routing.Part], trial: Trial) -> dict[str, routing.Route]:
    try:
        return routing.route(parts, trial.hparams)
    except ValueError as error:
        if "batch_size" in trial.hparams and not any("batch_size" in part.hyperparameters for part in parts):
            raise ValueError(
                f"got batch_size={trial.hparams['batch_size']} as a number; expected a choice, choice([32, 64]), which "
                "compiles a program for each size, or Experiment(microbatch=...), with which it is a number of one "
                "program. On the command line: --choice batch_size 32 64, or --microbatch 32."
            ) from None
        if not trial.labels:
            raise
        raise ValueError(
            f"{_title(trial, {})}: {error} What only one option of a choice takes is written with it: option.number."
        ) from error


def _in_range(numbers: Mapping[str, Any], ranges: Mapping[str, Interval]) -> None:
    """Refuses a number outside its range, as float32 holds it: in the program it is traced, and its value not known."""
    for canonical, value in numbers.items():
        part, _, argument = canonical.rpartition(".")
        part, interval = part.replace(".", " ", 1), ranges.get(canonical, Interval())
        in_range(part, argument, value, interval)
        with np.errstate(over="ignore"):
            single = np.float32(value)
        if not (np.isfinite(single) and interval.holds(single)):
            raise ValueError(
                f"{part}: got {argument}={value!r}, which float32 holds as {single}; expected a finite number "
                f"{interval}. Trials compute in float32: choose a number that it can tell from the end of the range."
            )


def _whole_batches(experiment: Experiment, numbers: Mapping[str, Any], steps: int, finding: Finding) -> None:
    """Refuses a batch that is no whole number of microbatches, or larger than all that a trial sees."""
    name, size = "wrap.batches.batch_size", experiment.microbatch
    if size is None:
        return
    if numbers[name] % size:
        raise ValueError(
            f"got batch_size={numbers[name]:g} with microbatch={size}; expected a multiple of the microbatch, such as "
            f"{size * max(1, round(numbers[name] / size))}. Sweep multiples: choice([{size}, {2 * size}, {4 * size}]); "
            f"on the command line: --choice batch_size {size} {2 * size} {4 * size}."
        )
    if numbers[name] > steps * size and name not in finding.scheduled.values():
        raise ValueError(
            f"got batch_size={numbers[name]:g}, but a trial sees {steps * size} examples, in {steps} steps of {size}; "
            "expected at least one update. Use a smaller batch_size, or more epochs."
        )


def _narrow(assembly: Assembly, experiment: Experiment, dataset: Dataset) -> None:
    """Refuses a model that does not compute in the experiment's dtype."""
    inputs = assembly.prepare(jax.tree.map(lambda x: jnp.zeros((1, *x.shape[1:]), x.dtype), dataset.train[0]))
    refuse_wide_products(assembly.model, inputs, {}, experiment.compute_dtype)


def check_average(what: str, metric: str | None, has_average: bool) -> None:
    """Refuses a metric of the average of the parameters where there is none; `what` it is for is said."""
    if (metric or "").startswith(AVERAGE) and not has_average:
        raise ValueError(
            f"{what} {metric!r}: got an optimizer without an average of the parameters, or workers; "
            "expected one with it. Wrap it in ema or swa, or use asgd or a schedule_free method, without workers."
        )


def _complete(needs: Sequence[routing.Part], routes: Mapping[str, routing.Route], why: str) -> None:
    """Refuses a trial that lacks a number without a default."""
    for index, part in enumerate(needs):
        for name in part.hyperparameters:
            if routing.Route(index, name) not in routes.values():
                short = part.name if name == "strength" else name
                raise ValueError(
                    f"{part.role} {part.name}: got no value for {name!r}; expected one, since {why}. Add "
                    f"{short!r} to the space; on the command line: --log-uniform {short} LOW HIGH, or --constant "
                    f"{short} VALUE. Where several parts take {name!r}, write {part.name + '.' + name!r}."
                )


def _chosen(needs: Sequence[routing.Part]) -> None:
    """Refuses a trial that lacks an option without a default: what is no number is chosen."""
    for part in needs:
        name = part.hyperparameters[0]
        raise ValueError(
            f"{part.role} {part.name}: got no value for {name!r}; expected one, since it has no default. Add {name!r} "
            f"to the space as a choice, choice([...]); on the command line: --choice {name} VALUE."
        )


def _whole(assembly: Assembly, experiment: Experiment, dataset: Dataset, key: Any, hparams: Any) -> Any:
    """A training's whole program: a first step on a batch of zeros, its evaluation, and a look at early stopping."""
    batch = jax.tree.map(lambda x: jnp.zeros((experiment.step_size, *x.shape[1:]), x.dtype), dataset.train)
    before = assembly.training.init(key, hparams)
    state, _ = assembly.training.step(before, batch, hparams)
    for field, roles in (("model_state", ("model",)), ("opt_state", ("optimizer", "wrap"))):
        names = ", ".join(f"{part.role} {part.name}" for part in assembly.parts if part.role in roles)
        what, after = f"{names}: its state after a step", getattr(state, field)
        training.returned.like(what, after, getattr(before, field), of="the state before", dtypes=True)
    metrics, average = assembly.evaluate(state, batch, hparams), assembly.average(state, batch, hparams)
    check_average("objective", experiment.objective, average is not None)
    stopping = assembly.stopping(hparams) if assembly.stopping else None
    return state.params, metrics, stopping and stopping.update(stopping.init(), metrics["loss"])


def _program(
    experiment: Experiment,
    dataset: Dataset,
    options: dict[str, Any],
    trial: Trial,
    finding: Finding,
    traced: list[str],
) -> Program:
    fixed, jaxpr = {name: trial.hparams[name] for name in finding.compiled}, None
    with tracing(_title(trial, fixed)):
        assembly = assemble(experiment, dataset, options, fixed)
        whole = _arguments(assembly, experiment, dataset, finding, traced)
        if _has_callables(experiment, options):
            jaxpr = identity.program_hash(*whole)
        elif fixed:  # of these values nothing is known yet: what is compiled was found with the first trial's
            jax.eval_shape(*whole)
    meaning: dict[str, Any] = {
        "settings": [finding.numbers, finding.others],
        "fixed": {name: float(value) for name, value in fixed.items()},
        "numbers": sorted(trial.hparams),  # as spelled: the lanes of a tile are called by the same names
        "parts": _parts(experiment, dataset, finding),
        "program": jaxpr,
    }
    digest = hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:12]
    return Program(digest, _title(trial, fixed), experiment, assembly, jaxpr)


def _arguments(
    assembly: Assembly, experiment: Experiment, dataset: Dataset, finding: Finding, traced: Sequence[str]
) -> tuple[Callable[..., Any], Any, Any]:
    """The whole program as a function, and the shapes of its arguments: a key, and numbers by their canonical names."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    numbers = {finding.canonical[name]: jax.ShapeDtypeStruct((), "float32") for name in traced}

    def whole(key: Any, numbers: Any) -> Any:
        hparams = {name: numbers[finding.canonical[name]] for name in traced}
        return _whole(assembly, experiment, dataset, key, hparams)

    return whole, key, numbers


def _parts(experiment: Experiment, dataset: Dataset, finding: Finding) -> dict[str, Any]:
    """The experiment's parts, chosen or not: a trial means the same either way."""
    # Parts that are not asked for are left out, so that a field that a later release adds changes no id.
    given = {name: getattr(experiment, name) for name in CHOICE_FIELDS}
    if experiment.microbatch is not None:  # then the batch size is one of the numbers
        given["batch_size"], given["microbatch"] = None, experiment.microbatch
    given |= {name: tuple(training.several(given[name])) for name in SEVERAL if name != "schedule"}
    given["schedule"] = training.plain_schedules(given["schedule"], finding.scheduled) or ()
    parts = {name: distributions.plain(value) for name, value in given.items() if value is not None and value != ()}
    batches = {"data_seed": experiment.data_seed, "vary_batches": experiment.vary_batches}
    return {**parts, **batches, "data": dataset.info.fingerprint}


def _has_callables(experiment: Experiment, options: dict[str, Any]) -> bool:
    """Whether code that is not named in a table takes part: then its jaxpr is part of its identity."""
    fields = {name: getattr(experiment, name) for name in PART_FIELDS}
    schedules = [v for own in training.schedules_of(fields.pop("schedule")).values() for v in own]
    values = [*fields.values(), *schedules, *options.values()]
    flat = [v for value in values for v in (value if type(value) in (list, tuple) else [value])]
    return any(v is not None and not isinstance(v, str | int | float) for v in flat)


def _title(trial: Trial, fixed: dict[str, Any]) -> str:
    values = {**trial.labels, **{name: f"{value:g}" for name, value in fixed.items()}}
    return ", ".join(f"{name} {value}" for name, value in values.items())
