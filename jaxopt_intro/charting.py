"""The command `map`: from its options to a map, its picture, and what to type next."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxopt_intro import options
from jaxopt_intro.viewing import PROGRAM, count

EXAMPLES = """examples:
  jaxopt-intro map
      learning rate and L2 strength of a small network on digits, in about half a minute
  jaxopt-intro map --optimizer adam --x learning_rate 1e-4 1 --y b1 0.0 0.99 --replicates 3
  jaxopt-intro map --data fashion_mnist_small --model linear --resolution 128 --points 4000
  jaxopt-intro map RUN --points 4000                    (goes on, with more points)
  jaxopt-intro map RUN --zoom 8 --at edge               (maps a window of it, finer)"""
_AXES = {"x": "learning_rate", "y": "l2"}
_STRENGTHS = {"log_uniform": [1e-6, 1.0]}
_BEYOND = 10.0  # so far beyond the learning rates where one looks for a good one; somewhere there trainings diverge
_OF_RUN = ("points", "out", "no_arrows")
_OF_ZOOM = (*_OF_RUN, "zoom", "at", "resolution", "replicates", "float64", "directory", "width")


def add_command(commands: Any, *, natural: Any) -> None:
    """Adds the parser of `map` to those of the program."""
    parser = commands.add_parser(
        "map",
        help="draw the objective over two numbers, finely where it is steep",
        description="Draws the objective over two numbers, finely where it is steep, with arrows downhill.",
        epilog=EXAMPLES,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=32),
        usage="%(prog)s [RUN] [options]",
    )
    parser.set_defaults(run=_map)
    parser.add_argument("path", nargs="?", metavar="RUN", help="a map to go on with, or to zoom into")
    axis: dict[str, Any] = {"nargs": "+", "metavar": ("NAME", "LOW HIGH")}
    parser.add_argument("--x", **axis, help="the number across (learning_rate)")
    parser.add_argument("--y", **axis, help="the number upwards (l2)")
    parser.add_argument("--resolution", type=count, metavar="N", help="finest cells on a side, a power of 2 (64)")
    parser.add_argument("--points", type=count, metavar="N", help="trainings at most (a quarter of all points)")
    parser.add_argument("--replicates", type=count, metavar="N", help="most seeds, near the best (1)")
    parser.add_argument("--no-arrows", action="store_const", const=True, help="no hypergradients")
    parser.add_argument("--float64", action="store_const", const=True, help="train in float64, for deep zooms")
    parser.add_argument("--zoom", type=float, metavar="FACTOR", help="map a window of RUN, so much narrower")
    parser.add_argument("--at", nargs="+", metavar=("PLACE", "Y"), help="its middle: best, edge, or X Y (best)")
    parser.add_argument("--out", metavar="FILE", help="the picture (map.png in the map's folder)")
    parser.add_argument("--directory", metavar="DIR", help="where the map is kept (a new one under runs/)")
    parser.add_argument("--width", type=count, metavar="W", help="points side by side on a device")
    what = parser.add_argument_group("what is trained, as in sweep")
    for name, words in (
        ("data", "a data set (digits)"), ("data-dir", "a folder with its files"), ("model", "a name (mlp)"),
        ("optimizer", "a name (sgd)"), ("loss", "a name"), ("objective", "the metric shown (accuracy)"),
    ):  # fmt: skip
        what.add_argument(f"--{name}", metavar="DIR" if name == "data-dir" else "NAME", help=words)
    for name in ("penalty", "schedule", "wrap", "augment"):
        what.add_argument(f"--{name}", nargs="+", metavar="NAME")
    for name, words in (("epochs", "(5)"), ("steps", "in place of epochs"), ("batch-size", "(128)")):
        what.add_argument(f"--{name}", type=count, metavar="N", help=words)
    what.add_argument("--seed", type=natural, metavar="SEED", help="the first seed (0)")
    what.add_argument(
        "--constant",
        nargs=2,
        action="append",
        metavar=("NAME", "VALUE"),
        help="one more number, which stays: momentum 0.9",
    )
    what.add_argument(
        "--choice", nargs=2, action="append", metavar=("NAME", "VALUE"), help="one more option: widths 16"
    )


def _map(asked: argparse.Namespace) -> int:
    from jaxopt_intro import results
    from jaxopt_intro.experiment import landscape
    from jaxopt_intro.experiment.running import device_description
    from jaxopt_intro.results import maps
    from jaxopt_intro.sweeps import sharding
    from jaxopt_intro.terminal import Bar

    sharding.a_device_for_each_core()
    given = {n: v for n, v in vars(asked).items() if v is not None and n not in ("run", "path", "command")}
    begin = time.monotonic()
    experiment, space, directory, settings = _of_run(asked.path, given) if asked.path else _new(given)
    with Bar() as bar:
        bar.device(device_description())
        try:
            found = landscape(experiment, space, directory, listener=bar.listen, **settings)
        except KeyboardInterrupt:
            bar.stop()
            go_on = f"\ngo on: {PROGRAM} map {bar.directory}" if bar.directory else ""
            print(f"interrupted; nothing that was finished is lost{go_on}")
            return 130
    picture = Path(asked.out) if asked.out else Path(found.attrs["map"]) / "map.png"
    _draw(results.plots.landscape(found), picture)
    print(_words(found, bar.trained, time.monotonic() - begin))
    print(f"picture: {picture}\nmap: {found.attrs['map']}")
    share = maps.filled(found)[1]
    edge = " --at edge" if (share >= 0.5).any() and (share < 0.5).any() and min(share.shape) > 8 else ""
    print(f"next: {PROGRAM} map {found.attrs['map']} --zoom 8{edge}")
    return 0


def _new(given: dict[str, Any]) -> tuple[Any, Any, Any, dict[str, Any]]:
    """Experiment, space, directory and settings of a new map."""
    from jaxopt_intro.experiment import files

    for name in ("zoom", "at"):
        if name in given:
            raise ValueError(
                f"got --{name} without a map; expected one before the options, {PROGRAM} map RUN --zoom 8."
            )
    tables = options.tables_of({}, {n: v for n, v in given.items() if n != "points"}, bare=False)
    fields = {"data": "digits", "optimizer": "sgd", **tables["experiment"]}
    axes = {side: given.get(side) or [name] for side, name in _AXES.items()}
    if any(words[0] == "l2" for words in axes.values()):
        fields.setdefault("penalty", "l2")
    ranges = {words[0]: _range(f"--{side}", words, fields["optimizer"]) for side, words in axes.items()}
    if len(ranges) < 2:
        raise ValueError(f"got {next(iter(ranges))!r} as x and as y; expected two different numbers. Name another one.")
    twice = sorted(ranges.keys() & tables["numbers"].keys())
    if twice:
        raise ValueError(f"got {twice[0]!r} as an axis and as a constant; expected one of them.")
    space = files.space_of({"numbers": {**ranges, **tables["numbers"]}, "choices": tables["choices"]})
    return files.from_mapping(fields), space, given.get("directory"), _settings(given)


def _range(option: str, words: list[str], optimizer: str) -> dict[str, Any]:
    """Where a number is looked at, as an experiment file has it: the ends asked for, else those of its own row."""
    from jaxopt_intro.checks import known_name
    from jaxopt_intro.optimizers import METHODS

    name, *ends = words
    method = None if ":" in optimizer else METHODS[known_name(optimizer, METHODS, "optimizer")]
    own = method.search.get(name.rpartition(".")[2]) if method else None
    if len(ends) == 2:
        low, high = (options.number(end, f"{option} {name}") for end in ends)
        linear = low <= 0 or (own is not None and own.kind == "uniform")
        return {"uniform" if linear else "log_uniform": [low, high]}
    if ends:
        raise ValueError(f"{option}: got {' '.join(words)!r}; expected a name, or a name with two ends: NAME LOW HIGH.")
    if name == "l2":
        return _STRENGTHS
    if own is None:
        raise ValueError(f"{option}: got {name!r} without ends; expected them, {option} {name} LOW HIGH.")
    low, high = own.arguments
    return {own.kind: [low, high * _BEYOND if name == "learning_rate" else high]}


def _settings(given: Mapping[str, Any]) -> dict[str, Any]:
    settings = {n: given[n] for n in ("resolution", "points", "replicates", "width") if n in given}
    arrows = {"arrows": False} if "no_arrows" in given else {}
    return {**settings, **arrows, **({"precision": "float64"} if "float64" in given else {})}


def _of_run(run: str, given: dict[str, Any]) -> tuple[Any, Any, Any, dict[str, Any]]:
    """Experiment, space, directory and settings of a map that goes on, or of a window of it."""
    from jaxopt_intro import results
    from jaxopt_intro.experiment import files, zoomed
    from jaxopt_intro.results import maps

    before = maps.read_asked(Path(run))
    zooms = "zoom" in given
    refused = [name for name in given if name not in (_OF_ZOOM if zooms else _OF_RUN)]
    if refused:
        allowed = "the map says what was asked" + ("" if zooms else "; a window has --zoom FACTOR")
        raise ValueError(
            f"got --{refused[0].replace('_', '-')} with the map {run}; expected no such option, since {allowed}."
        )
    tables = files.read(Path(run) / files.NAME)
    experiment, space = files.from_mapping(tables["experiment"]), files.space_of(tables)
    settings = {name: before[name] for name in ("resolution", "replicates", "arrows", "precision")}
    settings |= _settings(given)
    if not zooms:
        return experiment, space, run, {"points": before["budget"], **settings}
    found = results.open_map(run)
    space = zoomed(found, space, given["zoom"], _place(given.get("at", ["best"])))
    return experiment, space, given.get("directory") or _subfolder(Path(run)), settings


def _place(words: list[str]) -> Any:
    if len(words) == 2:
        return tuple(float(options.number(word, "--at")) for word in words)
    if len(words) != 1 or words[0] not in ("best", "edge"):
        raise ValueError(f"--at: got {' '.join(words)!r}; expected best, edge, or two numbers, X Y.")
    return words[0]


def _subfolder(run: Path) -> Path:
    number = 1
    while (run / f"zoom-{number}").exists():
        number += 1
    return run / f"zoom-{number}"


def _draw(ax: Any, picture: Path) -> None:
    picture.parent.mkdir(parents=True, exist_ok=True)
    ax.figure.savefig(picture, dpi=150)


def _words(found: Any, trained: int, seconds: float) -> str:
    """The best point, what diverged, and how fast it was, in one line."""
    from jaxopt_intro.results import maps
    from jaxopt_intro.results.cells import short

    point, names = maps.best(found), (found.attrs["x"], found.attrs["y"])
    words = []
    if point is None:
        words.append("nothing trained; lower the learning rates")
    else:
        at = ", ".join(f"{name} {short(point[name].item(), 4)}" for name in names)
        seeds = f" ({point.seeds.item()} seeds)" if point.seeds.item() > 1 else ""
        words.append(f"best {found.attrs['objective']} {point.objective.item():.4f} at {at}{seeds}")
    computed = int((found.seeds > 0).sum())
    words.append(f"{(maps.filled(found)[1] >= 0.5).mean():.0%} of the picture diverged")
    words.append(f"{computed:,} of {found.seeds.size:,} points computed")
    words.append(f"{trained:,} trainings in {seconds:.0f} s, {trained / max(seconds, 1e-9):.0f} a second")
    return "; ".join(words)
