"""Where trials come from when not all are known at the start: Optuna's samplers, asked for batches of one program.

The options of all choices together are a combination. Every combination has an Optuna study of its own, over its
numbers: so every sampler sees one fixed space, and what is good under one option is not taken for good under another.
Which combination a batch has is decided by a study over the choices alone.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import importlib.util
import itertools
import math
import random
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxopt_intro import distributions
from jaxopt_intro.checks import known_name, one_of
from jaxopt_intro.distributions import Distribution
from jaxopt_intro.sweeps.space import Space, Trial, Trials

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import Trial as OptunaTrial

Labels = tuple[tuple[str, str], ...]
Key = tuple[tuple[tuple[str, float], ...], Labels]
TRIED_FIRST = 10  # so many combinations get a batch each before what they gave decides, for half of the budget at most
FEWEST = 4  # trials of a batch, half of the smallest that a sweep asks for: fewer would leave a program's lanes empty
REDRAWS = 8  # of the sampler, and after that as many times as many by chance, for a trial that was not asked before


class Told(NamedTuple):
    """How a trial ended.

    Attributes:
        trial: The trial.
        status: "finished", "failed" or "pruned".
        value: Its score, the mean over seeds, where more is better; None where there is none.
    """

    trial: Trial
    status: str
    value: float | None


class Searcher(NamedTuple):
    """Where trials come from when not all are known at the start.

    Attributes:
        ask: From a number to up to so many new trials that share all choices, hence one compiled program; none when
            the budget, or the space, is used up.
        tell: Takes how trials ended, in any order, also of trials that were never asked.
        asked: `numbers`, `choices` and `search` as plain values, as `Trials.asked`.
        space: What may be tried, for a description before the sweep.
        begin: Forgets what was asked, and what was told since the first ask: a sweep begins with it, so that the same
            searcher can be given to a second one, or to the same again. Takes the names of numbers that are compiled:
            trials of one batch then share them too.
    """

    ask: Callable[[int], Trials]
    tell: Callable[[Sequence[Told]], None]
    asked: Mapping[str, Any]
    space: Space
    begin: Callable[[Collection[str]], None]


class Sampler(NamedTuple):
    """One row of the table of samplers.

    Attributes:
        make: `(optuna.samplers, seed, batch) -> sampler`; a generation is a batch, so that none of it is wasted.
        needs: Packages beside Optuna.
        learns: Whether values change what is asked; then they also choose among the options.
        ranks_pruned: Whether it knows pruned trials, as worse than all others; those that do not know them are told of
            complete ones with the values that they had, or else would learn from the few that no pruner ended.
    """

    make: Callable[[Any, int, int], Any]
    needs: tuple[str, ...] = ()
    learns: bool = True
    ranks_pruned: bool = False


# Not here: Optuna's grid and brute force, which `Space.grid` is.
SAMPLERS = {
    "tpe": Sampler(
        lambda s, seed, _: s.TPESampler(seed=seed, multivariate=True, constant_liar=True), ranks_pruned=True
    ),
    "gp": Sampler(lambda s, seed, _: s.GPSampler(seed=seed), needs=("scipy", "torch")),
    "cmaes": Sampler(lambda s, seed, batch: s.CmaEsSampler(seed=seed, popsize=max(4, batch)), needs=("cmaes",)),
    "nsgaii": Sampler(lambda s, seed, batch: s.NSGAIISampler(seed=seed, population_size=max(4, batch))),
    "nsgaiii": Sampler(lambda s, seed, batch: s.NSGAIIISampler(seed=seed, population_size=max(4, batch))),
    "qmc": Sampler(lambda s, seed, _: s.QMCSampler(seed=seed, scramble=True), learns=False),
    "random": Sampler(lambda s, seed, _: s.RandomSampler(seed=seed), learns=False),
}


def adaptive(space: Space, sampler: str = "tpe", *, trials: int, seed: int = 0) -> Searcher:
    """Returns a searcher that learns from the trials that have ended where to look next.

    The same asks and tells give the same trials, in any process. First each of up to 10 combinations of options gets a
    batch, of 4 trials at least, for at most half of the budget; then the better ones get more. No trial is asked twice.

    Args:
        space: What may be tried. Normal distributions are seen between their 0.1 % and 99.9 % quantiles.
        sampler: A name in `SAMPLERS`: "tpe", "gp", "cmaes", "nsgaii", "nsgaiii", "qmc" or "random".
        trials: The budget: how many are asked altogether.
        seed: Decides them, with what is told.

    Returns:
        The searcher.

    Raises:
        ValueError: An argument is impossible, or a package is missing.

    Examples:
        >>> from jaxopt_intro import log_uniform
        >>> searcher = adaptive(Space(learning_rate=log_uniform(1e-4, 1.0)), trials=40)
        >>> while batch := searcher.ask(8):
        ...     searcher.tell([Told(trial, "finished", -abs(trial.hparams["learning_rate"] - 0.1)) for trial in batch])
        >>> len(searcher.ask(1))
        0
    """
    known_name(sampler, SAMPLERS, "sampler")
    for name, value, least in (("trials", trials, 1), ("seed", seed, 0)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"adaptive: got {name}={value!r}; expected a whole number of at least {least}.")
    for package in ("optuna", *SAMPLERS[sampler].needs):
        if importlib.util.find_spec(package) is None:
            extra = "torch" if package == "torch" else '"jaxopt_intro[optuna]"'
            raise ValueError(f"sampler {sampler!r}: got no package {package}; expected it. pip install {extra}")
    asked = {**space.asked(), "search": {"sampler": sampler, "trials": trials, "seed": seed}}
    search = _Search(functools.partial(_Studies, space, sampler, trials, seed))
    return Searcher(lambda most: Trials(search.ask(most), asked), search.tell, asked, space, search.begin)


def optuna_distributions(space: Space) -> dict[str, Any]:
    """Returns the space as Optuna's distributions, for a study of one's own; options by their labels.

    Args:
        space: The space; of constants each is a distribution of one value.

    Examples:
        >>> from jaxopt_intro import choice, integer
        >>> optuna_distributions(Space(n=integer(1, 9), optimizer=choice(["adam", "sgd"])))
        {'n': IntDistribution(high=9, log=False, low=1, step=1),
         'optimizer': CategoricalDistribution(choices=('adam', 'sgd'))}
    """
    return {**{name: _optuna_distribution(d) for name, d in space.numbers.items()}, **_categories(space)}


def _optuna_distribution(distribution: Distribution) -> Any:
    from optuna.distributions import FloatDistribution, IntDistribution

    if distribution.kind == "integer":
        return IntDistribution(int(distribution.low), int(distribution.high))
    step = distribution.arguments[2] if distribution.kind == "quantized" else None
    return FloatDistribution(distribution.low, distribution.last, log=distribution.kind == "log_uniform", step=step)


class _Search:
    """Studies that can begin anew."""

    def __init__(self, make: Callable[[Collection[str]], _Studies]):
        self._make, self._studies = make, make(())
        self._before: list[Told] = []  # told before the first ask
        self._begun = False

    def begin(self, compiled: Collection[str]) -> None:
        self._studies, self._begun = self._make(compiled), False
        self._studies.tell(self._before)

    def ask(self, most: int) -> list[Trial]:
        self._begun = True
        return self._studies.ask(most)

    def tell(self, told: Sequence[Told]) -> None:
        self._studies.tell(told)
        self._before += () if self._begun else told


class _Studies:
    """The studies of one search, and what was asked of them."""

    def __init__(self, space: Space, sampler: str, trials: int, seed: int, compiled: Collection[str]):
        self.space, self.sampler, self.seed = space, SAMPLERS[sampler], seed
        self.compiled = {name for name in compiled if name in _swept(space.numbers)}
        self.left, half = trials, trials // 2
        first = max(1, min(TRIED_FIRST, half // FEWEST))  # batches: more than combinations where their programs differ
        found = _some_combinations(space, random.Random(_seed(seed, "first")), first)
        self.first = list(itertools.islice(itertools.cycle(found), first)) if self.compiled else found
        self.most_first = max(1, half // len(self.first))
        self.chance = random.Random(_seed(seed, "chance"))
        self.studies: dict[Labels, Study] = {}
        self.asked: set[Labels] = set()  # combinations whose study has its own sampler
        self.used_up: set[Labels] = set()  # combinations of which every trial is known
        self.open: dict[Key, tuple[Study, OptunaTrial]] = {}  # asked and not told yet
        self.known: set[Key] = set()  # asked or told: not to be asked again
        with _quiet():
            self.over_choices = self._new_study()
            self.over_choices.sampler = (self.sampler if not self.sampler.learns else SAMPLERS["tpe"]).make(
                importlib.import_module("optuna.samplers"), _seed(seed, "choices"), 1
            )

    def ask(self, most: int) -> list[Trial]:
        if not isinstance(most, int) or most < 1:
            raise ValueError(f"ask: got {most!r} trials; expected a whole number of at least 1.")
        batch: list[Trial] = []
        most = min(most, self.left)
        if 0 < self.left - most < FEWEST <= self.left - FEWEST:
            most = self.left - FEWEST  # leaves enough for a last batch
        with _quiet():
            for labels, size in self._combinations(most):
                batch = self._batch(labels, size)
                if batch:
                    break
                self.used_up.add(_frozen(labels))
        self.left -= len(batch)
        return batch

    def tell(self, told: Sequence[Told]) -> None:
        with _quiet():
            for one in told:
                one_of("tell", ("finished", "failed", "pruned"), status=one.status)
                self._tell(one, _within(self.space, one.trial), *_outcome(one))

    def _combinations(self, most: int) -> Iterator[tuple[dict[str, str], int]]:
        """Options to ask, in the order in which they are to be tried, and how many trials of each."""
        while self.first and most:
            yield self.first.pop(0), min(most, self.most_first)
        for _ in range(REDRAWS if most else 0):
            labels = self._chosen()
            if _frozen(labels) not in self.used_up:
                yield labels, most
        for labels in _some_combinations(self.space, self.chance, 100 if most else 0):
            if _frozen(labels) not in self.used_up:
                yield labels, most

    def _chosen(self) -> dict[str, str]:
        """The options that the study over the choices draws; what came of them is told for each trial."""
        drawn = self.over_choices.ask(_categories(self.space))
        self.over_choices.tell(drawn, state=_states().FAIL)
        return {name: drawn.params[name] for name in self.space.choices}

    def _batch(self, labels: dict[str, str], size: int) -> list[Trial]:
        study = self._study(labels)
        if _frozen(labels) not in self.asked:
            self.asked.add(_frozen(labels))
            seed = _seed(self.seed, repr(_frozen(labels)))
            study.sampler = self.sampler.make(importlib.import_module("optuna.samplers"), seed, size)
        batch: list[Trial] = []
        while len(batch) < size:
            first = batch[0].hparams if batch else {}
            trial = self._draw(study, labels, {name: first[name] for name in first if name in self.compiled})
            if trial is None:
                break
            batch.append(trial)
        return batch

    def _draw(self, study: Study, labels: dict[str, str], shared: Mapping[str, float]) -> Trial | None:
        """A trial that is not known: of the sampler, or where that has none, by chance; None where there is none."""
        numbers = {n: self.space.numbers[n] for n in self.space.names(labels)}
        swept = _swept(numbers)
        free = {n: d for n, d in swept.items() if n not in shared}
        attempts = 9 * REDRAWS if free else int(not shared)  # without free numbers there is one trial, or it is known
        for attempt in range(attempts):
            given = dict(shared)
            if attempt >= REDRAWS:
                given |= {n: distributions.quantile(d, np.array([self.chance.random()]))[0] for n, d in free.items()}
            if given:
                study.enqueue_trial(_inside({n: swept[n] for n in given}, given))
            drawn = study.ask({n: _optuna_distribution(d) for n, d in swept.items()})
            trial = self.space.trial(
                {n: distributions.exact(d, drawn.params.get(n, d.low)) for n, d in numbers.items()}, labels
            )
            if _key(trial) not in self.known:
                self.known.add(_key(trial))
                self.open[_key(trial)] = study, drawn
                return trial
            study.tell(drawn, state=_states().FAIL)
        return None

    def _tell(self, told: Told, numbers: dict[str, Any], state: Any, value: float | None) -> None:
        from optuna.trial import create_trial

        states, key = _states(), _key(told.trial)
        self.known.add(key)
        as_complete = state == states.PRUNED and value is not None and not self.sampler.ranks_pruned
        own_state = states.COMPLETE if as_complete else state
        final = value if own_state == states.COMPLETE else None
        reported = {1: value} if own_state == states.PRUNED and value is not None else {}
        if key in self.open:
            study, asked = self.open.pop(key)
            for step, reached in reported.items():
                asked.report(reached, step)
            study.tell(asked, final, state=own_state)
        else:
            own = {n: _optuna_distribution(self.space.numbers[n]) for n in numbers}
            found = create_trial(
                state=own_state, value=final, params=numbers, distributions=own, intermediate_values=reported
            )
            self._study(told.trial.labels).add_trial(found)
        # Of options whose trials fail the study over the choices has to know: pruned trials are its worst.
        over = states.PRUNED if state == states.FAIL else state
        final = value if over == states.COMPLETE else None
        labels = {name: told.trial.labels[name] for name in self.space.choices}
        self.over_choices.add_trial(
            create_trial(state=over, value=final, params=labels, distributions=_categories(self.space))
        )

    def _study(self, labels: Mapping[str, str]) -> Study:
        key = _frozen({name: labels[name] for name in self.space.choices})
        if key not in self.studies:
            self.studies[key] = self._new_study()
        return self.studies[key]

    def _new_study(self) -> Study:
        import optuna

        return optuna.create_study(direction="maximize")


def _some_combinations(space: Space, chance: random.Random, most: int = TRIED_FIRST) -> list[dict[str, str]]:
    """Up to so many combinations of options, no two the same, by their labels."""
    sizes = [len(c.labels) for c in space.choices.values()]
    every = math.prod(sizes)
    found = []
    for place in chance.sample(range(every), min(every, most)):
        labels = {}
        for name, choice in space.choices.items():
            place, option = divmod(place, len(choice.labels))
            labels[name] = choice.labels[option]
        found.append(labels)
    return found


def _within(space: Space, trial: Trial) -> dict[str, Any]:
    """The numbers that are swept of a trial of the space, as Optuna has them.

    Raises:
        ValueError: The trial is not in the space.
    """
    for name, choice in space.choices.items():
        if trial.labels.get(name) not in choice.labels:
            raise ValueError(
                f"tell: got a trial with {name}={trial.labels.get(name)}; expected one of {', '.join(choice.labels)}. "
                "Leave out trials that are not in the space."
            )
    numbers = {name: space.numbers[name] for name in space.names(trial.labels)}
    for name, distribution in numbers.items():
        value = trial.hparams.get(name, math.nan)
        low, high = np.float32(distribution.low), np.float32(distribution.high)
        if not (low <= np.float32(value) <= high or (distribution.kind == "normal" and math.isfinite(value))):
            raise ValueError(
                f"tell: got a trial with {name}={value}; expected a number from {low} to {high}. Leave out trials that "
                "are not in the space."
            )
    return _inside(_swept(numbers), trial.hparams)


def _inside(numbers: Mapping[str, Distribution], values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as Optuna has them: on its own steps, and inside of ends that float32 may have rounded outwards."""
    found = {}
    for name, distribution in numbers.items():
        value = min(max(values[name], distribution.low), distribution.last)
        if distribution.kind == "quantized":
            low, _, step = distribution.arguments
            value = low + step * round((value - low) / step)
        found[name] = round(value) if distribution.kind == "integer" else value
    return found


def _swept(numbers: Mapping[str, Distribution]) -> dict[str, Distribution]:
    return {name: d for name, d in numbers.items() if d.low < d.high}


def _outcome(told: Told) -> tuple[Any, float | None]:
    """Optuna's state and value: what has no finite value and was not pruned has failed."""
    finite = told.value is not None and math.isfinite(told.value) and told.status != "failed"
    value = float(told.value) if finite else None  # type: ignore[arg-type]
    if told.status == "pruned":
        return _states().PRUNED, value
    return (_states().COMPLETE, value) if finite else (_states().FAIL, None)


def _categories(space: Space) -> dict[str, Any]:
    from optuna.distributions import CategoricalDistribution

    return {name: CategoricalDistribution(choice.labels) for name, choice in space.choices.items()}


def _states() -> Any:
    from optuna.trial import TrialState

    return TrialState


def _frozen(labels: Mapping[str, str]) -> Labels:
    return tuple(sorted(labels.items()))


def _key(trial: Trial) -> Key:
    """What makes a trial: numbers count by their float32 values."""
    numbers = {name: np.float32(value).item() for name, value in trial.hparams.items()}
    return tuple(sorted(numbers.items())), _frozen(trial.labels)


def _seed(seed: int, purpose: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:4], "little")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Optuna's log lines, and its warnings of experimental parts, from a user who didn't call it."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)
