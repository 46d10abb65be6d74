"""What is refused of a sweep before anything is compiled or written: what it asks for, and by what it would judge."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from jaxopt_intro import routing
from jaxopt_intro.data import Dataset
from jaxopt_intro.experiment import grouping
from jaxopt_intro.experiment.asking import Experiment
from jaxopt_intro.experiment.assembling import direction_of
from jaxopt_intro.experiment.estimating import bytes_of
from jaxopt_intro.experiment.grouping import Program
from jaxopt_intro.sweeps import judging, planning
from jaxopt_intro.sweeps.job import Group
from jaxopt_intro.sweeps.population import AVERAGE, make_tile
from jaxopt_intro.sweeps.pruning import PRUNERS, Pruner
from jaxopt_intro.sweeps.searchers import Searcher
from jaxopt_intro.sweeps.session import Limits
from jaxopt_intro.sweeps.space import Space, Trial, unique
from jaxopt_intro.training import TrainState


def checked(trials: Sequence[Trial] | Searcher, replicates: int, counts: Mapping[str, int | None]) -> list[Trial]:
    """Returns the trials, each once, after a look at everything that is asked with them."""
    if isinstance(trials, Space):
        raise ValueError("sweep: got a Space; expected trials. Pass space.grid(...) or space.random(n).")
    if isinstance(trials, Searcher):
        trials = []
    elif not len(trials):
        raise ValueError("sweep: got no trials; expected trials from space.grid(...) or space.random(n).")
    trials = list(trials)
    strange = next((t for t in trials if not isinstance(t, Trial)), None)
    if strange is not None:
        got = f"a {type(strange).__name__} among the trials"
        raise ValueError(f"sweep: got {got}; expected trials from space.grid(...) or space.random(n).")
    for name, value in {"replicates": replicates, **counts}.items():
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise ValueError(f"sweep: got {name}={value!r}; expected a whole number of at least 1.")
    return unique(trials)


def limits(max_time: float | None, max_failures: int | None) -> Limits:
    """Returns when a sweep ends before its trials, after a look at what was asked."""
    number = isinstance(max_time, int | float) and not isinstance(max_time, bool)
    if max_time is not None and not (number and max_time > 0):
        raise ValueError(f"sweep: got max_time={max_time!r}; expected a number of seconds above 0.")
    if max_failures is not None and (not isinstance(max_failures, int) or max_failures < 0):
        raise ValueError(f"sweep: got max_failures={max_failures!r}; expected a whole number of at least 0.")
    return Limits(max_time, max_failures)


def decided(pruner: Pruner | None, experiment: Experiment, dataset: Dataset) -> Pruner | None:
    """The pruner with its metric and direction, which are the objective's if it names none."""
    if pruner is None:
        return None
    if not isinstance(pruner, Pruner):
        raise ValueError(
            f"sweep: got pruner={pruner!r}; expected a Pruner. Call one of {', '.join(PRUNERS)}, such as "
            "pruning.hyperband()."
        )
    if pruner.copies and experiment.stopping is not None:
        raise ValueError(
            f"pruner {pruner.asked['name']}: got stopping={experiment.stopping!r}; expected none, since who was "
            "stopped cannot be gone on from. Leave one of them out."
        )
    objective, better = direction_of(experiment, dataset.info)
    if pruner.metric in (None, objective):
        if pruner.direction not in (None, better):
            raise ValueError(
                f"pruner {pruner.asked['name']}: got direction={pruner.direction!r}, but of the objective {objective} "
                f"{better!r} is better; expected that, or it would stop the best. Leave the direction out, or name the "
                "metric that it is of."
            )
        return pruner._replace(metric=objective, direction=better)
    other = dataclasses.replace(experiment, objective=pruner.metric, direction=pruner.direction)
    metric, direction = direction_of(other, dataset.info)
    return pruner._replace(metric=metric, direction=direction)


def check_rungs(pruner: Pruner | None, groups: Sequence[Group], dataset: Dataset) -> None:
    """Refuses a pruner that would judge nobody before the end."""
    if pruner is not None:
        pruner.init(judging.validations(groups, len(jax.tree.leaves(dataset.train)[0]), pruner.unit))


def judged(
    objective: str,
    pruner: Pruner | None,
    dataset: Dataset,
    programs: Mapping[str, Program],
    groups: Sequence[Group],
    trials: Sequence[Trial],
) -> None:
    """Refuses metrics by which trials cannot be judged: the objective, and what the pruner looks at."""
    comparable(objective, programs, trials)
    if pruner is None or pruner.metric in (None, objective):
        return
    what = f"pruner {pruner.asked['name']}: metric"
    comparable(pruner.metric, programs, trials, what=what)
    for group in groups if pruner.metric.startswith(AVERAGE) else ():
        grouping.check_average(what, pruner.metric, _has_average(group, dataset))


def roomy(width: int | None, groups: Sequence[Group]) -> None:
    """Refuses an asked width whose lanes alone take more memory than a device has.

    What programs need besides is known once they are compiled. One lane that does not fit is trained in less memory.

    Raises:
        MemoryError: They do.
    """
    limit = planning.memory_limit()
    if width is None or width == 1 or limit is None:
        return
    room = planning.HEADROOM * limit
    for group in groups:
        need = 2 * width * _lane_bytes(group)  # a program takes lanes and returns them
        if need >= room:
            raise MemoryError(
                f"{group.title or 'all trials'}: got width={width}, whose lanes take {need / 1e9:,.1f} GB, and a "
                f"device has room for {room / 1e9:,.1f} GB; expected fewer side by side. Use a smaller width, or leave "
                "it out."
            )


def _lane_bytes(group: Group) -> int:
    tile = make_tile(
        group.training, group.evaluate, width=1, objective="loss", direction="min", stopping=group.stopping
    )
    numbers = {name: jax.ShapeDtypeStruct((1,), "float32") for name in group.members[0].hparams}
    return bytes_of(jax.eval_shape(tile.init, jax.ShapeDtypeStruct((1,), "uint32"), numbers))


def _has_average(group: Group, dataset: Dataset) -> bool:
    numbers = {name: np.float32(value) for name, value in group.members[0].hparams.items()}

    def average() -> TrainState | None:
        state = group.training.init(jax.random.key(0), numbers)
        return group.average(state, dataset.train, numbers) if group.average else None

    return jax.eval_shape(average) is not None


def comparable(
    metric: str, programs: Mapping[str, Program], trials: Sequence[Trial], *, what: str = "objective"
) -> None:
    """Refuses a swept loss's own value as the metric that decides: its trials measure different things."""
    if metric.removeprefix(AVERAGE) != "loss":
        return
    varied = {n for t in trials for n in t.hparams if len({u.hparams.get(n) for u in trials}) > 1}
    of_loss = sorted(n for n in varied for p in programs.values() if _role(p, n) == "loss")
    chosen = {n for t in trials for n in t.labels if len({u.labels.get(n) for u in trials}) > 1}
    of_loss += sorted(n for n in chosen if n == "loss" or any(_sets_loss(p, n) for p in programs.values()))
    if of_loss:
        varying = "the loss itself" if of_loss[0] == "loss" else of_loss[0]
        raise ValueError(
            f"{what} {metric!r}: got a sweep over {varying}, which changes what the loss measures, so its values "
            "cannot be compared; expected a metric that is the same for all trials. Pass "
            f"{what.split()[-1]}='accuracy', or a metric of your own with its direction."
        )


def _sets_loss(program: Program, name: str) -> bool:
    """Whether a choice is an argument of the loss."""
    loss, _, argument = name.rpartition(".")
    function = program.assembly.loss
    names = routing.options(function, constructs=False)
    return argument in names and loss in ("", "loss", routing.own_name(function))


def _role(program: Program, name: str) -> str | None:
    parts = program.assembly.parts
    found = routing.known_routes(parts, [name])
    return parts[found[name].index].role if name in found else None
