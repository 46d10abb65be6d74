"""Where the values of a hyperparameter come from. Plain Python and NumPy: every value is exact in float32."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from jaxopt_intro.routing import own_name, qualified_name

_MOST_STEPS = 2**53
_TAIL = 1e-3  # what a bounded view of a normal distribution leaves out, at either end


class Distribution(NamedTuple):
    """The values that a number may take.

    Attributes:
        kind: "uniform", "log_uniform", "integer", "quantized" or "normal".
        arguments: What it was made with: the two ends, and the step of a quantized one; of a normal one its mean and
            standard deviation.
    """

    kind: str
    arguments: tuple[float, ...]

    @property
    def low(self) -> float:
        """The lowest value; of a normal distribution, which has none, the one with 0.1 % below it."""
        return NormalDist(*self.arguments).inv_cdf(_TAIL) if self.kind == "normal" else self.arguments[0]

    @property
    def high(self) -> float:
        """The end of the range, itself included; of a normal distribution the value with 0.1 % above it."""
        return NormalDist(*self.arguments).inv_cdf(1 - _TAIL) if self.kind == "normal" else self.arguments[1]

    @property
    def last(self) -> float:
        """The highest value: of a quantized distribution it may be below the end of the range."""
        if self.kind != "quantized":
            return self.high
        low, high, step = self.arguments
        return float(f"{low + step * _steps(low, high, step):.12g}")


class Choice(NamedTuple):
    """A value that changes the program.

    Attributes:
        options: The values, in order.
        labels: The name of each, under which it is stored and printed.
        identities: What each is: its label, or for a callable where it can be found.
    """

    options: tuple[Any, ...]
    labels: tuple[str, ...]
    identities: tuple[str, ...]


def uniform(low: float, high: float) -> Distribution:
    """Returns the uniform distribution over `[low, high]`.

    Args:
        low: The lowest value.
        high: The highest value.

    Raises:
        ValueError: The ends are not finite, or `low > high`.

    Examples:
        >>> points(uniform(0.0, 1.0), 3)
        [0.0, 0.5, 1.0]
    """
    return _checked("uniform", low, high)


def log_uniform(low: float, high: float) -> Distribution:
    """Returns the distribution that is uniform in the logarithm over `[low, high]`.

    Args:
        low: The lowest value, above 0.
        high: The highest value.

    Raises:
        ValueError: The ends are not finite, `low > high`, or `low <= 0`.

    Examples:
        >>> points(log_uniform(1e-3, 1e-1), 3)
        [0.001, 0.01, 0.1]
    """
    if low <= 0:
        raise ValueError(
            f"log_uniform: got low={low}; expected a number above 0. Use uniform, or choice([0.0, …]) to switch off."
        )
    return _checked("log_uniform", low, high)


def integer(low: int, high: int) -> Distribution:
    """Returns the uniform distribution over the whole numbers from `low` to `high`, both included.

    Args:
        low: The lowest value.
        high: The highest value.

    Raises:
        ValueError: An end is not a whole number, or `low > high`.

    Examples:
        >>> points(integer(1, 10), 4)
        [1, 4, 7, 10]
    """
    if not (float(low).is_integer() and float(high).is_integer()):
        raise ValueError(f"integer: got low={low}, high={high}; expected whole numbers. Use uniform for others.")
    return _checked("integer", low, high)


def quantized(low: float, high: float, step: float) -> Distribution:
    """Returns the uniform distribution over `low`, `low + step`, `low + 2 * step`, …, none above `high`.

    Args:
        low: The lowest value.
        high: The end of the range, which is a value if it is a whole number of steps away.
        step: The distance between two values, above 0.

    Raises:
        ValueError: The ends are not finite, `low > high`, `step` is not between 0 and `high - low`, or there are more
            than 2 ** 53 steps.

    Examples:
        >>> points(quantized(0.1, 0.45, 0.1), 9)
        [0.1, 0.2, 0.3, 0.4]
    """
    _checked("quantized", low, high)
    if step > 0 and (high - low) / step > _MOST_STEPS:
        raise ValueError(
            f"quantized: got low={low}, high={high}, step={step}; expected at most 2 ** 53 steps, which is how far a "
            "float counts. Use a larger step, or uniform."
        )
    if not 0 < step < math.inf or _steps(low, high, step) < 1:
        raise ValueError(
            f"quantized: got low={low}, high={high}, step={step}; expected a step above 0, of at most high - low. "
            "For one value write the number alone."
        )
    return Distribution("quantized", (_number(low), _number(high), _number(step)))


def normal(mean: float, std: float) -> Distribution:
    """Returns the normal distribution.

    Searchers that need ends see it between the values with 0.1 % below and above them, about 3.09 standard deviations
    from the mean; random and quasi-random trials are from all of it.

    Args:
        mean: The mean.
        std: The standard deviation, above 0.

    Raises:
        ValueError: A number is not finite, or `std <= 0`.

    Examples:
        >>> points(normal(0.0, 1.0), 3)
        [-0.9674216, 0.0, 0.9674216]
    """
    if not (math.isfinite(mean) and 0 < std < math.inf):
        raise ValueError(f"normal: got mean={mean}, std={std}; expected finite numbers, std above 0.")
    return Distribution("normal", (_number(mean), _number(std)))


def constant(value: float) -> Distribution:
    """Returns the distribution of one value, a whole number where it is an `int`.

    Raises:
        ValueError: The value is not finite.

    Examples:
        >>> points(constant(3), 1), points(constant(0.5), 1)
        ([3], [0.5])
    """
    value = _number(value)
    return integer(value, value) if isinstance(value, int) else uniform(value, value)


KINDS: dict[str, Callable[..., Distribution]] = {
    "uniform": uniform,
    "log_uniform": log_uniform,
    "integer": integer,
    "quantized": quantized,
    "normal": normal,
}


def choice(options: Iterable[Any] | Mapping[str, Any]) -> Choice:
    """Returns a choice among values that change the program: names, callables, flags, sizes.

    Args:
        options: The values; or a mapping from labels to values, for values without a name of their own.

    Returns:
        The choice.

    Raises:
        ValueError: There are no options, two have the same label, or one has no name.

    Examples:
        >>> choice(["adam", math.exp, (64, 64)]).labels
        ('adam', 'exp', '(64, 64)')
    """
    if isinstance(options, str):
        raise ValueError(f"choice: got the string {options!r}; expected a list. Write choice([{options!r}]).")
    if isinstance(options, Mapping):
        labels, values = tuple(map(str, options)), tuple(map(_option, options.values()))
    else:
        values = tuple(map(_option, options))
        labels = tuple(label(v) for v in values)
    if not values:
        raise ValueError("choice: got no options; expected at least one. Remove the choice, or add values to it.")
    twice = sorted({name for name in labels if labels.count(name) > 1})
    if twice:
        raise ValueError(
            f"choice: got {len(values)} options of which {', '.join(twice)} stand for more than one; expected "
            'different labels. Give labels: choice({"first": …, "second": …}).'
        )
    return Choice(values, labels, tuple(identity(v) for v in values))


def label(value: Any) -> str:
    """Returns the name under which an option is printed.

    Raises:
        ValueError: A callable without a name, such as a lambda.

    Examples:
        >>> label("adam"), label(None), label(math.exp), label({"b1": ["linear", "cosine"]})
        ('adam', 'None', 'exp', 'b1=linear,b1=cosine')
    """
    if callable(value):
        name = own_name(value)
        if name == "<lambda>":
            raise ValueError(
                'got a lambda, which has no name to store; expected a named function. Use def, or choice({"name": …}).'
            )
        return name
    if isinstance(value, Mapping):
        lists = {name: own if isinstance(own, list | tuple) else [own] for name, own in value.items()}
        return ",".join(f"{name}={label(one)}" for name, own in lists.items() for one in own)
    return value if isinstance(value, str) else _text(value, own_name)


def identity(value: Any) -> str:
    """Returns what an option is: where a callable is found, or the value's own text.

    Examples:
        >>> identity(math.exp), identity(3)
        ('math:exp', '3')
    """
    if callable(value):
        return qualified_name(value)
    return _text(value, qualified_name) if isinstance(value, tuple) else label(value)


def plain(value: Any) -> Any:
    """Returns a value as JSON and TOML can hold it: plain as it is, callables by where they are found.

    Examples:
        >>> plain((64, 32)), plain(math.exp)
        ([64, 32], 'math:exp')
    """
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return [plain(v) for v in value]
    if isinstance(value, Mapping):
        return {name: plain(v) for name, v in value.items()}
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, str | int | float):
        return value
    return identity(value) if hasattr(value, "__qualname__") or isinstance(value, functools.partial) else _kind(value)


def _text(value: Any, name_of: Callable[[Any], str]) -> str:
    """A value's own text, with names for the functions in it: their addresses are others in each process."""
    if not isinstance(value, tuple) or not any(map(callable, value)):
        return repr(value)
    parts = [name_of(own) if callable(own) else repr(own) for own in value]
    return f"({', '.join(parts)}{',' * (len(parts) == 1)})"


def _kind(value: Any) -> str:
    """What a thing without a name of its own is: its type. Its program's hash tells it from others."""
    return f"{type(value).__module__}:{type(value).__qualname__}"


def points(distribution: Distribution, count: int) -> list[Any]:
    """Returns values at even distances over the distribution's own scale, both ends included.

    A normal distribution has no ends: its values are the middles of parts that are equally likely.

    Args:
        distribution: Where the values come from.
        count: How many; one value is the middle. Of integers and steps fewer may come back, since none comes twice.

    Returns:
        Ascending values.

    Raises:
        ValueError: `count < 1`.

    Examples:
        >>> points(log_uniform(1e-4, 1.0), 5)
        [0.0001, 0.001, 0.01, 0.1, 1.0]
    """
    if count < 1:
        raise ValueError(f"points: got {count} points; expected at least 1.")
    if distribution.kind == "normal":
        places = (np.arange(count) + 0.5) / count
    else:
        places = np.linspace(0.0, 1.0, count) if count > 1 else np.array([0.5])
    return list(dict.fromkeys(exact(distribution, v) for v in _between(distribution, places)))


def quantile(distribution: Distribution, places: np.ndarray) -> list[Any]:
    """Returns the values below which the given shares of the distribution lie.

    Args:
        distribution: Where the values come from.
        places: Numbers in `[0, 1)`; uniformly random ones give random values.

    Returns:
        A value for each place.

    Examples:
        >>> quantile(integer(1, 4), np.array([0.0, 0.3, 0.99]))
        [1, 2, 4]
    """
    if distribution.kind == "integer":
        whole = np.floor(distribution.low + places * (distribution.high - distribution.low + 1))
        return [exact(distribution, v) for v in whole.tolist()]
    if distribution.kind == "quantized":
        low, high, step = distribution.arguments
        return [exact(distribution, low + step * k) for k in np.floor(places * (_steps(low, high, step) + 1)).tolist()]
    return [exact(distribution, v) for v in _between(distribution, places)]


def exact(distribution: Distribution, value: float) -> Any:
    """Returns the nearest value that the distribution has: in its range, on its steps, and exact in float32.

    Args:
        distribution: Where the value belongs.
        value: Any finite number.

    Returns:
        An `int` of an integer distribution, otherwise a float in its shortest form.

    Examples:
        >>> exact(integer(1, 4), 2.7), exact(quantized(0.0, 1.0, 0.25), 0.6), exact(uniform(0.0, 1.0), 1 / 3)
        (3, 0.5, 0.33333334)
    """
    if distribution.kind != "normal":
        value = min(max(value, distribution.low), distribution.last)
    if distribution.kind == "integer":
        return round(value)
    if distribution.kind == "quantized":
        low, _, step = distribution.arguments
        value = low + step * round((value - low) / step)
    # Twelve digits first: 10 ** -2 computed through logarithms must print, and hash, as 0.01.
    return float32(float(f"{value:.12g}"))


def float32(value: float) -> float:
    """Returns a number's float32 value in its shortest form, so that files stay readable.

    Examples:
        >>> float32(0.1), float32(1 / 3)
        (0.1, 0.33333334)
    """
    with np.errstate(over="ignore"):  # a sweep refuses what is then infinite
        return float(str(np.float32(value)))


def _between(distribution: Distribution, places: np.ndarray) -> list[float]:
    if distribution.kind == "normal":
        inside = np.clip(places, 2.0**-54, 1 - 2.0**-53)  # beyond, the value is infinite
        return [NormalDist(*distribution.arguments).inv_cdf(place) for place in inside.tolist()]
    low, high = float(distribution.low), float(distribution.last)
    if distribution.kind == "log_uniform":
        return np.exp(math.log(low) + places * (math.log(high) - math.log(low))).tolist()
    return (low + places * (high - low)).tolist()


def _steps(low: float, high: float, step: float) -> int:
    """How many steps fit; 0.3 is three steps of 0.1 from 0, though not in floating point."""
    return math.floor((high - low) / step + 1e-6)


def _checked(kind: str, low: float, high: float) -> Distribution:
    if not (math.isfinite(low) and math.isfinite(high)) or low > high:
        raise ValueError(f"{kind}: got low={low}, high={high}; expected finite numbers with low <= high.")
    return Distribution(kind, (_number(low), _number(high)))


def _number(value: Any) -> Any:
    """A number that files can hold: NumPy's as Python's."""
    return value.item() if isinstance(value, np.generic) else value


def _option(value: Any) -> Any:
    """An option as it comes back from a file: lists as tuples, also inside, and NumPy's numbers as Python's."""
    if isinstance(value, list) or type(value) is tuple:
        return tuple(map(_option, value))
    return {name: _option(own) for name, own in value.items()} if type(value) is dict else _number(value)
