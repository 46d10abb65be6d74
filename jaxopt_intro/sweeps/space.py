"""What may be tried: a space of numbers and choices, and the trials drawn from it."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxopt_intro import distributions
from jaxopt_intro.checks import nearest
from jaxopt_intro.distributions import Choice, Distribution
from jaxopt_intro.routing import own_name


class Trial(NamedTuple):
    """One value for every hyperparameter and choice.

    Attributes:
        hparams: Numbers by name; they may become traced arrays or compiled constants.
        choices: Values that change the program, by name; each a plain value or a callable.
        labels: How each choice is printed and stored.
    """

    hparams: dict[str, Any]
    choices: dict[str, Any] = {}  # noqa: RUF012 - never mutated
    labels: dict[str, str] = {}  # noqa: RUF012 - never mutated


class Trials(list[Trial]):
    """A list of trials that remembers how it was asked for, so that a run can say so.

    Attributes:
        asked: `numbers`, `choices` and `search` as plain values, as an experiment file holds them.
    """

    def __init__(self, trials: Iterable[Trial], asked: Mapping[str, Any]):
        super().__init__(trials)
        self.asked = dict(asked)


class Space:
    """The numbers and choices of a sweep.

    A number called `"option.number"`, where `option` labels an option of a choice, exists only under that option.

    Args:
        entries: A mapping from names to distributions, choices or constants, for names that hold a dot.
        **named: The same, by keyword.

    Raises:
        ValueError: The space is empty, or an entry is of no known kind.

    Examples:
        >>> from jaxopt_intro import choice, log_uniform
        >>> space = Space({"adam.b1": 0.8}, learning_rate=log_uniform(1e-3, 1e-1), optimizer=choice(["adam", "sgd"]))
        >>> [trial.hparams for trial in space.grid(learning_rate=2)]
        [{'adam.b1': 0.8, 'learning_rate': 0.001}, {'adam.b1': 0.8, 'learning_rate': 0.1},
         {'learning_rate': 0.001}, {'learning_rate': 0.1}]
    """

    def __init__(self, entries: Mapping[str, Any] | None = None, /, **named: Any):
        entries = {**(entries or {}), **named}
        if not entries:
            raise ValueError(
                "Space: got no entries; expected at least one, such as Space(learning_rate=log_uniform(1e-4, 1.0))."
            )
        self.numbers: dict[str, Distribution] = {}
        self.choices: dict[str, Choice] = {}
        for name, entry in entries.items():
            self._add(name, entry)

    def _add(self, name: str, entry: Any) -> None:
        if isinstance(entry, Choice):
            self.choices[name] = entry
        elif isinstance(entry, Distribution):
            self.numbers[name] = entry
        elif isinstance(entry, int | float | np.integer | np.floating) and not isinstance(entry, bool):
            if not math.isfinite(entry):
                raise ValueError(f"Space: got {name}={entry}; expected a finite number.")
            self.numbers[name] = distributions.constant(entry.item() if isinstance(entry, np.generic) else entry)
        elif isinstance(entry, list | set | range):
            raise ValueError(
                f"Space: got {name}={entry!r}; expected a distribution, a choice or a number. For a list of values "
                f"write {name}=choice({list(entry)!r}), for a range {name}=log_uniform(low, high)."
            )
        else:
            self.choices[name] = distributions.choice([entry])

    def __repr__(self) -> str:
        entries = [f"{n}={d.kind}({', '.join(map(str, d.arguments))})" for n, d in self.numbers.items()]
        entries += [f"{n}=choice([{', '.join(c.labels)}])" for n, c in self.choices.items()]
        return f"Space({', '.join(entries)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Space) and (self.numbers, self.choices) == (other.numbers, other.choices)

    __hash__ = None  # type: ignore[assignment] - options may be mappings

    def grid(self, counts: int | Mapping[str, int] | None = None, /, **named: int) -> Trials:
        """Returns every combination of evenly placed values.

        Args:
            counts: How many values of each number: one count for all, or a mapping for names that hold a dot.
            **named: Counts by name.

        Returns:
            The trials, choices outermost, numbers in the order of the space.

        Raises:
            ValueError: A name is not a number of the space, or a number has no count.

        Examples:
            >>> from jaxopt_intro import log_uniform
            >>> len(Space(learning_rate=log_uniform(1e-4, 1.0), l2=log_uniform(1e-6, 1e-2)).grid(learning_rate=8, l2=4))
            32
        """
        every = counts if isinstance(counts, int) else None
        asked = {**(counts if isinstance(counts, Mapping) else {}), **named}
        for name in asked:
            if name not in self.numbers:
                raise ValueError(
                    f"grid: got points for {name!r}, which is no number of the space; expected some of "
                    f"{', '.join(self.numbers) or 'none: the space has only choices'}. {nearest(name, self.numbers)}"
                    "Name one of them."
                )
        values = {n: self._grid_values(n, asked.get(n, every)) for n in self.numbers}
        trials = []
        for labels in self._combinations():
            names = self.names(labels)
            for row in itertools.product(*(values[n] for n in names)):
                trials.append(self.trial(dict(zip(names, row, strict=True)), labels))
        return Trials(trials, {**self.asked(), "search": {"points": {n: len(v) for n, v in values.items()}}})

    def _grid_values(self, name: str, count: int | None) -> list[Any]:
        distribution = self.numbers[name]
        if distribution.low == distribution.high:
            return distributions.points(distribution, 1)
        if count is None:
            asked = f"{name}=8" if name.isidentifier() else f"{{{name!r}: 8}}"
            raise ValueError(
                f"grid: got no number of points for {name!r}; expected one, such as grid({asked}); on the command line "
                f"--points {name}=8."
            )
        return distributions.points(distribution, count)

    def random(self, count: int, *, seed: int = 0) -> Trials:
        """Returns random trials; the first of a longer list are those of a shorter one.

        Args:
            count: How many trials.
            seed: Decides them. Each number has a stream of its own, so that another entry in the space changes none.

        Returns:
            The trials.

        Raises:
            ValueError: `count < 1`.

        Examples:
            >>> from jaxopt_intro import uniform
            >>> space = Space(momentum=uniform(0.0, 1.0))
            >>> space.random(5, seed=1)[:2] == space.random(2, seed=1)
            True
        """
        places = {name: _uniforms(name, seed, count) for name in (*self.numbers, *self.choices)}
        return self._drawn("random", count, seed, places)

    def sobol(self, count: int, *, seed: int = 0) -> Trials:
        """Returns trials of a scrambled Sobol sequence, which leaves no part of the space as empty as chance does.

        Every number and choice has a dimension of its own, in the order of the space, and a choice gives each option an
        equal share of it. Counts that are powers of 2 are the most even ones.

        Args:
            count: How many trials; the first of a longer list are those of a shorter one.
            seed: Decides the scrambling.

        Returns:
            The trials.

        Raises:
            ValueError: `count < 1`.

        References:
            Owen 1998, Scrambling Sobol' and Niederreiter-Xing points.

        Examples:
            >>> from jaxopt_intro import uniform
            >>> trials = Space(momentum=uniform(0.0, 1.0)).sobol(4)
            >>> sorted(int(4 * trial.hparams["momentum"]) for trial in trials)  # one in each quarter
            [0, 1, 2, 3]
        """
        from scipy.stats import qmc  # a second's import

        engine = qmc.Sobol(self._dimensions, scramble=True, rng=np.random.default_rng(seed))
        # SciPy warns of counts that are no power of 2: the whole power is drawn, and the first of it are taken.
        return self._quasi_random("sobol", count, seed, engine.random_base2(max(count - 1, 0).bit_length()))

    def halton(self, count: int, *, seed: int = 0) -> Trials:
        """Returns trials of a scrambled Halton sequence: for any count, and less even than `sobol` in many dimensions.

        Args:
            count: How many trials; the first of a longer list are those of a shorter one.
            seed: Decides the scrambling.

        Returns:
            The trials; numbers and choices have dimensions as in `sobol`.

        Raises:
            ValueError: `count < 1`.

        References:
            Owen 2017, A randomized Halton algorithm in R.

        Examples:
            >>> from jaxopt_intro import uniform
            >>> len(Space(momentum=uniform(0.0, 1.0)).halton(5))
            5
        """
        from scipy.stats import qmc  # a second's import

        engine = qmc.Halton(self._dimensions, scramble=True, rng=np.random.default_rng(seed))
        return self._quasi_random("halton", count, seed, engine.random(max(count, 0)))

    @property
    def _dimensions(self) -> int:
        return len(self.numbers) + len(self.choices)

    def _quasi_random(self, search: str, count: int, seed: int, points: np.ndarray) -> Trials:
        inside = np.minimum(points, 1 - 2.0**-53)
        return self._drawn(search, count, seed, dict(zip((*self.numbers, *self.choices), inside.T, strict=True)))

    def _drawn(self, search: str, count: int, seed: int, places: Mapping[str, np.ndarray]) -> Trials:
        """The trials at places in [0, 1) of every number and choice."""
        if count < 1:
            raise ValueError(f"{search}: got {count} trials; expected at least 1.")
        drawn = {n: distributions.quantile(d, places[n]) for n, d in self.numbers.items()}
        picked = {n: (places[n] * len(c.labels)).astype(int) for n, c in self.choices.items()}
        trials = []
        for i in range(count):
            labels = {n: c.labels[picked[n][i]] for n, c in self.choices.items()}
            trials.append(self.trial({n: drawn[n][i] for n in self.names(labels)}, labels))
        return Trials(trials, {**self.asked(), "search": {search: count, "seed": seed}})

    def ends(self) -> list[Trial]:
        """Returns trials at both ends of the numbers, for each combination of the choices: what has to be staged."""
        found = []
        for trial in self.grid(1):
            for end in ("low", "high"):
                hparams = {name: getattr(self.numbers[name], end) for name in trial.hparams}
                found.append(trial._replace(hparams=hparams))
        return found

    def asked(self) -> dict[str, Any]:
        """Returns the space as plain values: numbers and choices in tables of their own, callables by name.

        Examples:
            >>> from jaxopt_intro import choice, uniform
            >>> Space(momentum=uniform(0.0, 0.9), l2=0.1, optimizer=choice(["adam"])).asked()
            {'numbers': {'momentum': {'uniform': [0.0, 0.9]}, 'l2': 0.1}, 'choices': {'optimizer': ['adam']}}
        """
        numbers = {n: _asked_number(d) for n, d in self.numbers.items()}
        return {"numbers": numbers, "choices": {n: _asked_choice(c) for n, c in self.choices.items()}}

    def names(self, labels: Mapping[str, str]) -> list[str]:
        """Returns the numbers that exist under the given options, by their labels."""
        taken = {owner for n, label in labels.items() for owner in _owners(self.choices[n], label)}
        every = {owner for c in self.choices.values() for label in c.labels for owner in _owners(c, label)}
        owners = {n: n.rpartition(".")[0] for n in self.numbers}
        return [n for n, owner in owners.items() if owner not in every or owner in taken]

    def _combinations(self) -> Iterator[dict[str, str]]:
        for row in itertools.product(*(c.labels for c in self.choices.values())):
            yield dict(zip(self.choices, row, strict=True))

    def trial(self, hparams: Mapping[str, Any], labels: Mapping[str, str]) -> Trial:
        """Returns the trial of some numbers under the options with the given labels.

        Examples:
            >>> from jaxopt_intro import choice
            >>> Space(l2=0.1, penalty=choice([None])).trial({"l2": 0.1}, {"penalty": "None"}).choices
            {'penalty': None}
        """
        values = {n: c.options[c.labels.index(labels[n])] for n, c in self.choices.items()}
        return Trial(dict(hparams), values, dict(labels))


def _asked_number(distribution: Distribution) -> Any:
    low = distribution.low
    constant = low == distribution.high and distribution == distributions.constant(low)
    return low if constant else {distribution.kind: list(distribution.arguments)}


def _asked_choice(choice: Choice) -> Any:
    """A list of the options, or where they have labels of their own a table."""
    values = [distributions.plain(v) for v in choice.options]
    named = ["" if own_name(v) == "<lambda>" else distributions.label(v) for v in choice.options]
    return values if named == list(choice.labels) else dict(zip(choice.labels, values, strict=True))


def _owners(options: distributions.Choice, label: str) -> set[str]:
    """After what a number may be called that exists under an option: its label, or a part in what it lists."""
    value = options.options[options.labels.index(label)]
    lists = value.values() if isinstance(value, Mapping) else [value if isinstance(value, tuple | list) else ()]
    parts = [part for own in lists for part in (own if isinstance(own, tuple | list) else [own])]
    return {label, *(distributions.label(part) for part in parts)}


def unique(trials: Iterable[Trial]) -> list[Trial]:
    """Returns the trials without repetitions, in order; numbers count by their float32 values, as in a trial's id.

    Examples:
        >>> len(unique([Trial({"l2": 0.1}), Trial({"l2": 0.1}), Trial({"l2": 0.2})]))
        2
    """
    seen = {}
    for trial in trials:
        numbers = {name: np.float32(value).item() for name, value in trial.hparams.items()}
        choices = {name: distributions.identity(value) for name, value in trial.choices.items()}
        seen.setdefault(tuple(tuple(sorted(d.items())) for d in (numbers, choices, trial.labels)), trial)
    return list(seen.values())


def _uniforms(name: str, seed: int, count: int) -> np.ndarray:
    """Uniform numbers in [0, 1) from a stream of the name and seed, which no NumPy release changes."""
    key = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:16], "little")
    raw = np.random.Philox(key=key).random_raw(count)
    return (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53
