"""From the command's options to the tables of an experiment file."""

from __future__ import annotations

from typing import Any

DEFAULT_SPACE = {
    "numbers": {"learning_rate": {"log_uniform": [1e-4, 1.0]}, "l2": {"log_uniform": [1e-6, 1e-2]}},
    "choices": {"optimizer": ["momentum", "adam"]},
    "search": {"points": {"learning_rate": 8, "l2": 4}},
}


def tables_of(tables: dict[str, Any], given: dict[str, Any], *, bare: bool) -> dict[str, Any]:
    """An experiment file's tables with the options laid over them; without either, the default sweep."""
    from jaxopt_intro.experiment.asking import Experiment

    fields = {f: v for f, v in given.items() if f in Experiment.__dataclass_fields__}
    if "schedule" in fields:
        fields["schedule"] = _schedules(fields["schedule"])
    numbers, choices = _space_options(given)
    search = _search(given)
    if "steps" in fields and "epochs" in fields:
        raise ValueError("got both --steps and --epochs; expected one of them.")
    experiment = {**tables.get("experiment", {}), **fields}
    if "steps" in fields:
        experiment.pop("epochs", None)
    if bare and not any(name.rpartition(".")[2] == "learning_rate" for name in numbers):
        numbers, choices, search = _over_defaults(experiment, numbers, choices, search)
    return {
        "experiment": experiment,
        "numbers": {**tables.get("numbers", {}), **numbers},
        "choices": {**tables.get("choices", {}), **choices},
        "search": search or tables.get("search", {}),
        "pruner": _pruner(given["pruner"]) if "pruner" in given else tables.get("pruner", {}),
        "replicates": given.get("replicates", tables.get("replicates", 1)),
    }


def _search(given: dict[str, Any]) -> dict[str, Any]:
    """How the trials are found, as an experiment file has it."""
    search = {name: given[name] for name in ("random", "sobol", "halton", "sampler", "trials") if name in given}
    if "points" in given:
        search["points"] = _points(given["points"])
    if "search_seed" in given:
        if not {"random", "sobol", "halton", "sampler"} & set(search):
            raise ValueError(
                "got --search-seed without --random, --sobol, --halton or --sampler; expected one of them, since a "
                "grid has no seed."
            )
        search["seed"] = given["search_seed"]
    return search


def _over_defaults(
    experiment: dict[str, Any], numbers: dict[str, Any], choices: dict[str, Any], search: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The default sweep under what options name: each takes the place of its own name, the rest stays."""
    defaults, points = dict(DEFAULT_SPACE["numbers"]), dict(DEFAULT_SPACE["search"]["points"])
    experiment.setdefault("penalty", "l2")
    penalty = experiment["penalty"]
    if "penalty" in choices or "l2" not in (penalty if isinstance(penalty, list | tuple) else [penalty]):
        del defaults["l2"]
    if "optimizer" in experiment or "optimizer" in choices:
        rates = _learning_rates(choices.get("optimizer") or [experiment["optimizer"]])
        asked = search.get("points", {})
        count = asked.pop("learning_rate", 8) if "learning_rate" not in rates else 8  # one word for all of them
        del defaults["learning_rate"]
        defaults, points = {**rates, **defaults}, {**dict.fromkeys(rates, count), **points}
    else:
        choices = {**DEFAULT_SPACE["choices"], **choices}
    points = {name: count for name, count in points.items() if name in defaults and name not in numbers}
    if set(search) <= {"points"}:
        search = {"points": {**points, **search.get("points", {})}}
    return {**defaults, **numbers}, choices, search


def _learning_rates(optimizers: list[Any]) -> dict[str, Any]:
    """Where each optimizer's own table entry says to look, under its own name where there are several."""
    from jaxopt_intro.optimizers import METHODS

    found = {}
    for optimizer in optimizers:
        label = str(optimizer).rpartition(":")[2].rpartition(".")[2]
        name = f"{label}.learning_rate" if len(optimizers) > 1 else "learning_rate"
        ends = METHODS[optimizer].learning_rates if optimizer in METHODS else None
        found[name] = {ends.kind: list(ends.arguments)} if ends else DEFAULT_SPACE["numbers"]["learning_rate"]
    return found


def _schedules(words: list[str]) -> Any:
    """The schedules: a list of names, or where one is NUMBER=NAME a mapping."""
    by_number: dict[str, list[str]] = {}
    for word in words:
        number, equals, name = word.partition("=")
        number, name = (number, name) if equals and "(" not in number else ("learning_rate", word)
        if not number or not name:
            raise ValueError(f"--schedule: got {word!r}; expected a name, or NUMBER=NAME, such as b1=linear.")
        by_number.setdefault(number, []).append(name)
    return by_number["learning_rate"] if set(by_number) == {"learning_rate"} else by_number


def _scheduling(text: str) -> Any:
    return _schedules(text.split(",")) if "=" in text.partition("(")[0] else literal(text)


def _space_options(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    numbers: dict[str, Any] = {}
    for kind in ("uniform", "log_uniform", "integer", "quantized", "normal"):
        for name, *values in given.get(kind, ()):
            _once(name, numbers)
            numbers[name] = {kind: [number(value, f"--{kind.replace('_', '-')} {name}") for value in values]}
    for name, value in given.get("constant", ()):
        _once(name, numbers)
        numbers[name] = number(value, f"--constant {name}")
    choices = {}
    for name, *options in given.get("choice", ()):
        if not options:
            raise ValueError(f"--choice: got {name!r} without options; expected a name and its options.")
        choices[name] = [(_scheduling if name == "schedule" else literal)(option) for option in options]
    return numbers, choices


def _once(name: str, numbers: dict[str, Any]) -> None:
    if name in numbers:
        raise ValueError(f"got the number {name!r} twice; expected it once, with --constant, --uniform, or the like.")


def _points(words: list[str]) -> Any:
    counts: dict[str, int] = {}
    for word in words:
        name, equals, count = word.partition("=")
        if not equals or not count.isdigit():
            raise ValueError(f"--points: got {word!r}; expected NAME=COUNT, such as learning_rate=8.")
        counts[name] = int(count)
    return counts


def _pruner(words: list[str]) -> dict[str, Any]:
    """A pruner's name and its numbers, from words such as hyperband eta=3."""
    name, *rest = words
    for word in rest:
        if not all(word.partition("=")):
            raise ValueError(f"--pruner: got {word!r}; expected NUMBER=VALUE, such as eta=3, behind the pruner's name.")
    return {"name": name, **{key: literal(value) for key, value in (word.split("=", 1) for word in rest)}}


def ways(words: list[str] | None) -> dict[str, str]:
    """How convolutions are computed, from words such as kernel=im2col."""
    for word in words or ():
        if not all(word.partition("=")):
            raise ValueError(f"--convolution: got {word!r}; expected WHAT=WAY, such as kernel=im2col.")
    return dict(word.split("=", 1) for word in words or ())


def number(text: str, option: str) -> float | int:
    """A number, from the word behind an option."""
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{option}: got {text!r}; expected a number, such as 1e-3.") from None
    return int(text) if text.lstrip("+-").isdigit() else value


def literal(text: str) -> Any:
    """An option of a choice: a number, true, false or none, a list of such, "0.5,0.1" or "256,", or else the text."""
    if "," in text and "(" not in text:
        return [literal(part.strip()) for part in text.split(",") if part.strip()]
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return int(text) if text.lstrip("+-").isdigit() else float(text)
    except ValueError:
        return text
