"""The command `jaxopt-intro`: arguments in, calls out.

Exit codes: 0 done, also a `status` that was watched long enough and ended by Ctrl-C; 1 every trial of a sweep failed,
or a replay differs; 2 something asked is impossible, said in one line; 130 a sweep was interrupted, and can go on.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import os
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from jaxopt_intro import charting, options, viewing
from jaxopt_intro.viewing import count

PROGRAM = "jaxopt-intro"
EXAMPLES = """examples:
  jaxopt-intro sweep
      8 learning rates x 4 L2 strengths x 2 optimizers on 5,000 images, in about a minute
  jaxopt-intro sweep --data fashion_mnist --model linear --optimizer sgd --epochs 10 --penalty l2 \\
      --log-uniform learning_rate 1e-3 1 --log-uniform l2 1e-6 1e-2 --points learning_rate=16 l2=4
  jaxopt-intro sweep --choice optimizer adam optax:lion --log-uniform learning_rate 1e-4 1e-1 --random 50
  jaxopt-intro sweep experiment.toml
  jaxopt-intro sweep experiment.toml --dry-run          (says what it would be, and trains nothing)
  jaxopt-intro sweep runs/2026-11-22-153000-digits      (goes on where it stopped)"""

LISTS = [
    "optimizers", "wrappers", "schedules", "losses", "penalties", "proximals", "projections", "augmentations",
    "workers", "stopping", "pruners", "models", "convolutions", "metrics", "probes",
]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: The words after `jaxopt-intro`; None takes this process's own.

    Returns:
        The exit code.

    Examples:
        >>> main(["list", "optimizers"])
        ada...
        ...
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    warnings.showwarning = _show_warning
    if os.getcwd() not in sys.path:  # where module:function may be; last, so that it hides no package
        sys.path.append(os.getcwd())
    try:
        asked = _parser().parse_args(arguments)
        return asked.run(asked)
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted before anything was trained", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone: nobody is left to tell
        return 0
    except (ValueError, OSError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and type(error).__name__ != "Locked":
            raise
        print(f"{PROGRAM}: error: {error}", file=sys.stderr)
        return 2


def _sweep(asked: argparse.Namespace) -> int:
    from jaxopt_intro.experiment import describing, files, running
    from jaxopt_intro.models import layers
    from jaxopt_intro.sweeps import pruning, sharding
    from jaxopt_intro.sweeps.searchers import Searcher
    from jaxopt_intro.sweeps.space import unique
    from jaxopt_intro.terminal import Terminal

    sharding.a_device_for_each_core()
    given, directory = _given(asked), asked.directory
    terminal = Terminal()
    if asked.path and Path(asked.path).is_dir():
        taken = ("width", "convolution", "dry_run", "max_time", "max_trials", "max_failures", "no_test")
        refused = [name for name in given if name not in taken]
        if refused:
            raise ValueError(
                f"got --{refused[0].replace('_', '-')} with the run {asked.path}; expected no options, since the run "
                "says what was asked. Start another run for other options."
            )
        terminal.device(running.device_description())
        experiment, trials, replicates, pruner, most = files.resume(Path(asked.path), asked.max_trials)
        asked.max_trials = most
        directory = asked.path
    else:
        tables = options.tables_of(files.read(Path(asked.path)) if asked.path else {}, given, bare=not asked.path)
        terminal.device(running.device_description())
        experiment = files.from_mapping(tables["experiment"])
        trials = files.trials_of(files.space_of(tables), tables["search"])
        replicates, pruner = tables["replicates"], pruning.pruner_of(tables["pruner"]) if tables["pruner"] else None
    if asked.dry_run:
        layers.check_ways(options.ways(asked.convolution))
        first = trials if isinstance(trials, Searcher) else unique(trials)[: asked.max_trials]
        print(describing.describe(experiment, first, replicates, width=asked.width, pruner=pruner))
        return 0
    with terminal:
        try:
            dataset = running.sweep(
                experiment,
                trials,
                replicates,
                directory,
                pruner=pruner,
                max_time=asked.max_time,
                max_trials=asked.max_trials,
                max_failures=asked.max_failures,
                width=asked.width,
                convolutions=options.ways(asked.convolution),
                test=not asked.no_test,
                listener=terminal.listen,
            )
        except KeyboardInterrupt:
            terminal.interrupted()
            return 130
    return terminal.finished(dataset)


def _given(asked: argparse.Namespace) -> dict[str, Any]:
    """The options that were given, by name."""
    left_out = ("run", "path", "command")
    return {name: value for name, value in vars(asked).items() if value is not None and name not in left_out}


def _replay(asked: argparse.Namespace) -> int:
    from jaxopt_intro.experiment import replay
    from jaxopt_intro.experiment.replaying import to_json
    from jaxopt_intro.sweeps import sharding

    sharding.a_device_for_each_core()
    found = replay(asked.path, asked.trial, seed=asked.seed, width=asked.width, probes=asked.probe)
    print(to_json(found) if asked.json else found.words)
    return 0 if found.agrees else 1


def _finalists(asked: argparse.Namespace) -> int:
    from jaxopt_intro.experiment import choosing, finalists
    from jaxopt_intro.sweeps import sharding
    from jaxopt_intro.terminal import Terminal

    sharding.a_device_for_each_core()
    with contextlib.nullcontext() if asked.json else Terminal() as terminal:
        listener = terminal.listen if terminal else None
        try:
            found = finalists(asked.path, asked.top, asked.replicates, directory=asked.directory, listener=listener)
        except KeyboardInterrupt:
            print(f"interrupted; nothing that was finished is lost\ngo on: {PROGRAM} finalists {asked.path}, as before")
            return 130
    print(choosing.to_json(found) if asked.json else f"{found.attrs['words']}\nrun: {found.attrs['run']}")
    return 0


def _data_list(asked: argparse.Namespace) -> int:
    from jaxopt_intro import data
    from jaxopt_intro.terminal import Terminal

    Terminal().catalogue(data.catalogue(data_dir=asked.data_dir))
    return 0


def _data_prepare(asked: argparse.Namespace) -> int:
    from jaxopt_intro import data

    prepared = data.prepare(asked.name, source=asked.source, data_dir=asked.data_dir)
    print(f"{asked.name} is ready, from {prepared.info.source}\n{prepared.path}")
    print(f"next: {PROGRAM} sweep --data {asked.name}")
    return 0


def _list(asked: argparse.Namespace) -> int:
    from jaxopt_intro import terminal

    detailed = asked.name and asked.what != "convolutions"
    lines = terminal.details(asked.what, asked.name) if detailed else terminal.listing(asked.what)
    print("\n".join(lines))
    return 0


def _surfaces(asked: argparse.Namespace) -> int:
    from jaxopt_intro.experiment import surfaces

    found = surfaces.tour(asked.out, asked.method, asked.surface, steps=asked.steps)
    print("\n".join([*surfaces.table(found), f"drawn: {surfaces.picture_file(asked.out)}"]))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog=PROGRAM, description="Learn, compare and tune optimization methods in JAX.")
    from jaxopt_intro import __version__

    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    _add_sweep(commands)
    charting.add_command(commands, natural=_natural)
    viewing.add_commands(commands)
    _add_again(commands)
    data = commands.add_parser("data", help="list data sets, or make one ready")
    data_commands = data.add_subparsers(dest="data_command", required=True, metavar="COMMAND", parser_class=_Parser)
    listing = data_commands.add_parser("list", help="list the data sets and where each would come from")
    listing.add_argument("--data-dir", metavar="DIR", help="a folder with original files")
    listing.set_defaults(run=_data_list)
    prepare = data_commands.add_parser(
        "prepare", help="download a data set, or read its original files, into the cache"
    )
    prepare.add_argument("name", metavar="NAME", help="fashion_mnist, cifar10 or tfds:NAME")
    prepare.add_argument("--source", metavar="DIR", help="a folder with the original files")
    prepare.add_argument("--data-dir", metavar="DIR", help="tensorflow-datasets' folder, for tfds: names")
    prepare.set_defaults(run=_data_prepare)
    what = commands.add_parser("list", help="list what is there by name")
    what.add_argument("what", choices=LISTS, metavar="WHAT", help=", ".join(LISTS))
    what.add_argument("name", nargs="?", metavar="NAME", help="one of them: all that is known of it")
    what.set_defaults(run=_list)
    surfaces = commands.add_parser("surfaces", help="draw the paths of the optimizers on surfaces of two numbers")
    surfaces.add_argument("--out", default="surfaces.png", metavar="FILE", help="the picture (surfaces.png)")
    surfaces.add_argument("--method", nargs="+", metavar="NAME", help="optimizers (all of them)")
    surfaces.add_argument("--surface", nargs="+", metavar="NAME", help="beale, long_valley, saddle; rosenbrock")
    surfaces.add_argument("--steps", type=count, default=200, metavar="N", help="steps of each path (200)")
    surfaces.set_defaults(run=_surfaces)
    return parser


def _add_again(commands: Any) -> None:
    """The commands that train trials of a run again."""
    replay = commands.add_parser("replay", help="train trials of a run again, and say whether its numbers come out")
    replay.add_argument("path", metavar="RUN", help="the run's directory")
    replay.add_argument("trial", nargs="+", metavar="TRIAL", help="an id, or the beginning of one")
    replay.add_argument("--seed", type=_natural, help="one of its seeds (all of them)")
    replay.add_argument("--width", type=count, metavar="W", help="how many side by side (as in the run)")
    replay.add_argument(
        "--probe", nargs="+", action="extend", metavar="NAME", help="sharpness, …; see: jaxopt-intro list probes"
    )
    replay.add_argument("--json", action="store_true", help="everything as JSON, curves and probes too")
    replay.set_defaults(run=_replay)
    finalists = commands.add_parser("finalists", help="train the best trials again on fresh seeds, and test one")
    finalists.add_argument("path", metavar="RUN", help="the run's directory")
    finalists.add_argument("--top", type=count, default=5, metavar="K", help="how many trials (5)")
    finalists.add_argument("--replicates", type=count, default=10, metavar="N", help="seeds of each (10)")
    finalists.add_argument("--directory", metavar="DIR", help="where they are kept (RUN-finalists)")
    finalists.add_argument("--json", action="store_true", help="as JSON, a row for each of them")
    finalists.set_defaults(run=_finalists)


def _add_sweep(commands: Any) -> None:
    sweep = commands.add_parser(
        "sweep",
        help="train every trial of a hyperparameter sweep",
        description="Trains every trial of a hyperparameter sweep as compiled programs of many lanes.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sweep.set_defaults(run=_sweep)
    sweep.add_argument("path", nargs="?", metavar="FILE or RUN", help="an experiment.toml, or a run to go on with")
    parts = sweep.add_argument_group("what is trained; a part is a name or package.module:function")
    parts.add_argument("--data", help="a data set (fashion_mnist_small); see: jaxopt-intro data list")
    parts.add_argument("--data-dir", metavar="DIR", help="a folder with the data set's original files")
    parts.add_argument("--valid", type=_share, help="share or number of examples for validation (0.1)")
    parts.add_argument(
        "--model", help="a name (mlp), see: jaxopt-intro list models; a Flax module class or a function that makes one"
    )
    parts.add_argument("--compute-dtype", help="in what the model computes, such as bfloat16 (float32)")
    parts.add_argument(
        "--optimizer", help="a name (adam), see: jaxopt-intro list optimizers; or a function such as optax:lion"
    )
    parts.add_argument("--loss", help="a name (softmax_cross_entropy), see: jaxopt-intro list losses; or a function")
    parts.add_argument("--penalty", nargs="+", help="l1, l2, …; see: jaxopt-intro list penalties")
    parts.add_argument("--augment", nargs="+", help="shift, mixup, …, in order; see: jaxopt-intro list augmentations")
    more: dict[str, Any] = {"nargs": "+", "action": "extend"}
    parts.add_argument("--wrap", **more, help="lookahead, …, the first innermost; see: jaxopt-intro list wrappers")
    parts.add_argument("--schedule", **more, help="warmup, cosine, b1=linear, …; see: jaxopt-intro list schedules")
    parts.add_argument("--proximal", help="l1, …, as a step after each update; see: jaxopt-intro list proximals")
    parts.add_argument("--after-update", nargs="+", help="max_norm, …; see: jaxopt-intro list projections")
    parts.add_argument("--workers", help="local_sgd, delayed, …, simulated; see: jaxopt-intro list workers")
    parts.add_argument("--stopping", help="early_stopping, whose patience is then a number of the space")
    parts.add_argument("--metrics", nargs="+", help="accuracy, squared_error, or functions")
    parts.add_argument("--objective", help="the metric, or loss, whose validation decides")
    parts.add_argument("--direction", choices=["max", "min"], help="which is better, for a metric of your own")
    length = sweep.add_argument_group("how long, and with what randomness")
    length.add_argument("--epochs", type=count, help="epochs of each trial (5)")
    length.add_argument("--steps", type=count, help="steps of each trial, in place of epochs")
    length.add_argument("--validate-every", type=count, metavar="STEPS", help="steps between validations (an epoch)")
    length.add_argument("--batch-size", type=count, help="examples of an update (128)")
    length.add_argument(
        "--microbatch", type=count, help="examples of a step; then batch_size is a number, of trials of one program"
    )
    length.add_argument("--replicates", type=count, metavar="N", help="seeds of each trial (1)")
    length.add_argument("--seed", type=_natural, help="the first seed (0)")
    length.add_argument("--data-seed", type=_natural, help="decides the batches' order (0)")
    length.add_argument("--vary-batches", action="store_const", const=True, help="a batch order for each seed")
    space = sweep.add_argument_group(
        "what is swept; each option can be given again for another name",
        "Options are laid over the default sweep; where an optimizer is named or\n  chosen, its own range of learning "
        "rates is taken. Once an option names a\n  learning rate, the options are the whole space.",
    )
    pair, triple = ("NAME", "VALUE"), ("NAME", "LOW", "HIGH")
    space.add_argument(
        "--log-uniform", nargs=3, action="append", metavar=triple, help="a number, even in its logarithm"
    )
    space.add_argument("--uniform", nargs=3, action="append", metavar=triple, help="a number")
    space.add_argument("--integer", nargs=3, action="append", metavar=triple, help="a whole number")
    stepped = ("NAME", "LOW", "HIGH", "STEP")
    space.add_argument("--quantized", nargs=4, action="append", metavar=stepped, help="LOW, LOW + STEP, … up to HIGH")
    space.add_argument("--normal", nargs=3, action="append", metavar=("NAME", "MEAN", "STD"), help="a normal number")
    space.add_argument("--constant", nargs=2, action="append", metavar=pair, help="a number that stays")
    space.add_argument(
        "--choice", nargs="+", action="append", metavar="NAME", help="a name and its options; a,b is a list"
    )
    space.add_argument("--points", **more, metavar="NAME=N", help="a grid: how many values of each number")
    space.add_argument("--random", type=count, metavar="N", help="N random trials in place of a grid")
    space.add_argument("--sobol", type=count, metavar="N", help="N quasi-random trials, best a power of 2")
    space.add_argument("--halton", type=count, metavar="N", help="N quasi-random trials, for any N")
    space.add_argument("--sampler", metavar="NAME", help="learn from trials where to look: tpe, gp, cmaes, nsgaii, …")
    space.add_argument("--trials", type=count, metavar="N", help="how many trials a sampler asks for")
    space.add_argument("--search-seed", type=_natural, metavar="SEED", help="decides the trials of all but a grid (0)")
    run = sweep.add_argument_group("the run")
    run.add_argument("--directory", metavar="DIR", help="where it is kept (a new one under runs/)")
    run.add_argument(
        "--dry-run", action="store_const", const=True,
        help="say what is traced and what compiled, which programs there are and about how long, and train nothing",
    )  # fmt: skip
    run.add_argument(
        "--pruner", nargs="+", metavar=("NAME", "NUMBER=VALUE"),
        help="who goes on: hyperband eta=3, asha, median, …; see: jaxopt-intro list pruners",
    )  # fmt: skip
    run.add_argument(
        "--max-time", type=_seconds, metavar="TIME",
        help="end for good at the first validation after 90 (seconds), 15m or 2h",
    )  # fmt: skip
    run.add_argument("--max-trials", type=count, metavar="N", help="train at most N trials")
    run.add_argument("--max-failures", type=_natural, metavar="N", help="end for good once more than N have failed")
    run.add_argument(
        "--no-test", action="store_const", const=True, help="leave the test split to: jaxopt-intro finalists RUN"
    )
    run.add_argument("--keep", type=count, metavar="K", help="how many trials' weights are kept (10)")
    run.add_argument("--width", type=count, metavar="W", help="trials side by side on a device (measured)")
    run.add_argument(
        "--convolution", **more, metavar="WHAT=WAY",
        help="kernel=im2col, … (measured where the run is long enough); see: jaxopt-intro list convolutions",
    )  # fmt: skip


def _natural(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"got {text!r}; expected a whole number of at least 0")
    return int(text)


def _share(text: str) -> float | int:
    try:
        return int(text) if text.isdigit() else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}; expected a share such as 0.1, or a number") from None


def _seconds(text: str) -> float:
    """Seconds, from 90, 90s, 15m or 2h."""
    found = re.fullmatch(r"(\d+\.?\d*|\.\d+)([smh]?)", text)
    if not found or not float(found[1]):
        raise argparse.ArgumentTypeError(f"got {text!r}; expected a time above 0, such as 90 (seconds), 15m or 2h")
    return float(found[1]) * {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}[found[2]]


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, with the nearest option."""

    def error(self, message: str) -> NoReturn:
        wrong = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        near = difflib.get_close_matches(wrong[1], re.findall(r"[\w-]+", wrong[2]), n=1) if wrong else []
        hint = f"Did you mean {near[0]}?" if near else f"Try: {self.prog} --help"
        raise ValueError(f"{message}. {hint}")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:  # type: ignore[override]
        asked, extra = self.parse_known_args(args, namespace)
        if extra:
            known = [o for p in self._every() for a in p._actions for o in a.option_strings]
            word, command = extra[0].partition("=")[0], getattr(asked, "command", "")
            near = [] if word in known else difflib.get_close_matches(word, known, n=1)  # another command's own
            hint = f"Did you mean {near[0]}?" if near else f"Try: {self.prog} {command} --help"
            raise ValueError(f"got {extra[0]!r}, which no option takes; expected a known option. {hint}")
        return asked

    def _every(self) -> list[argparse.ArgumentParser]:
        below = [a.choices for a in self._actions if isinstance(a, argparse._SubParsersAction)]
        return [self, *(p for choices in below for p in choices.values())]


def _show_warning(message: Any, category: Any, *_: Any, **__: Any) -> None:
    if issubclass(category, UserWarning):
        print(f"{PROGRAM}: warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
