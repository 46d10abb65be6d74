"""The commands that look at runs: `status`, `show`, `compare`, `report` and `export`. They change no run."""

from __future__ import annotations

import argparse
import json
import sys
import time
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

PROGRAM = "jaxopt-intro"
REFRESH = 1.0  # seconds between two looks at a run that goes on

EXAMPLES = {
    "status": """examples:
  jaxopt-intro status runs/2026-11-22-153000-digits
  jaxopt-intro status RUN --once --json | jq .share""",
    "show": """examples:
  jaxopt-intro show runs/2026-11-22-153000-digits --top 20
  jaxopt-intro show RUN --format csv > best.csv""",
    "compare": """examples:
  jaxopt-intro compare RUN --by optimizer
  jaxopt-intro compare runs/one runs/two --picture compared.png""",
    "report": """examples:
  jaxopt-intro report RUN --open""",
    "export": """examples:
  jaxopt-intro export RUN --to optuna
      (then: optuna-dashboard sqlite:///RUN/export/study.db)
  jaxopt-intro export RUN --to tensorboard
      (then: tensorboard --logdir RUN/export/tensorboard)""",
}


class Export(NamedTuple):
    """One way to write a run.

    Attributes:
        words: What it is.
        path: Its usual place, in the run's folder `export`.
        of_trial: Whether it is of one trial.
        next: What to do with it; `{}` stands for the path.
    """

    words: str
    path: str
    of_trial: bool = False
    next: str = ""


EXPORTS = {
    "csv": Export("a row for each member and epoch", "run.csv"),
    "parquet": Export("the same, smaller and typed", "run.parquet"),
    "netcdf": Export("the xarray dataset", "run.nc"),
    "optuna": Export("a study in SQLite", "study.db", next="optuna-dashboard sqlite:///{}"),
    "tensorboard": Export("event files with HParams", "tensorboard", next="tensorboard --logdir {}"),
    "orbax": Export("a trial's weights", "weights", of_trial=True),
    "function": Export("a trial's predict in one file, for JAX alone", "predict.jax", of_trial=True),
}


def add_commands(commands: Any) -> None:
    """Adds the parsers of these commands to those of the program."""
    words = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    status = commands.add_parser(
        "status", help="show how far a run is, until it ends", epilog=EXAMPLES["status"], **words
    )
    status.add_argument("path", metavar="RUN", help="the run's directory")
    status.add_argument("--once", action="store_true", help="look once, and don't wait for the end")
    status.add_argument("--json", action="store_true", help="a JSON object, at every change a line")
    status.set_defaults(run=_status)
    show = commands.add_parser(
        "show", help="show the best trials of a run, also while it goes on", epilog=EXAMPLES["show"], **words
    )
    show.add_argument("path", metavar="RUN", help="the run's directory")
    show.add_argument("--top", type=count, default=10, metavar="K", help="how many trials (10)")
    show.add_argument("--format", choices=["table", "json", "csv"], default="table", help="how (table)")
    show.set_defaults(run=_show)
    compare = commands.add_parser(
        "compare", help="compare methods, or runs, by the best that k trials find", epilog=EXAMPLES["compare"], **words
    )
    compare.add_argument("path", nargs="+", metavar="RUN", help="directories of runs of the same data and objective")
    compare.add_argument("--by", metavar="NAME", help="a choice, such as optimizer (the run, where there are several)")
    compare.add_argument("--picture", metavar="FILE", help="draw it too")
    compare.add_argument("--json", action="store_true", help="as JSON, with all k")
    compare.set_defaults(run=_compare)
    report = commands.add_parser(
        "report", help="write what a run found as one HTML file", epilog=EXAMPLES["report"], **words
    )
    report.add_argument("path", metavar="RUN", help="the run's directory")
    report.add_argument("--out", metavar="FILE", help="the file to write (report.html in the run)")
    report.add_argument("--open", action="store_true", help="open it in the browser")
    report.set_defaults(run=_report)
    listed = "\n".join(f"  {name:<12} {way.words}" for name, way in EXPORTS.items())
    export = commands.add_parser(
        "export", help="write a run for other programs", epilog=f"formats:\n{listed}\n\n{EXAMPLES['export']}", **words
    )
    export.add_argument("path", metavar="RUN", help="the run's directory")
    export.add_argument("--to", required=True, choices=EXPORTS, metavar="FORMAT", help="see below")
    export.add_argument("--out", metavar="PATH", help="the file or folder to be (in RUN/export)")
    export.add_argument("--trial", metavar="ID", help="which trial's weights (the best)")
    export.set_defaults(run=_export)


def _report(asked: argparse.Namespace) -> int:
    from jaxopt_intro import results

    path = results.report(asked.path, out=asked.out)
    print(f"report: {path}")
    if asked.open and not webbrowser.open(path.resolve().as_uri()):
        raise OSError(f"got --open, but found no browser to open {path} with; expected one. Open the file by hand.")
    return 0


def _status(asked: argparse.Namespace) -> int:
    from jaxopt_intro import journal
    from jaxopt_intro.results.progress import Progress, advance, as_mapping, lines

    now, offset, said = Progress(), 0, ""
    view = _Live(live=not asked.once and not asked.json and sys.stdout.isatty())
    try:
        with view:
            while True:
                writer = journal.writer(asked.path)  # before the records: one who ends in between has written them all
                records, offset = journal.tail(asked.path, offset)
                now = advance(now, records)
                ends = asked.once or now.finished or writer is None
                text = json.dumps(as_mapping(now) | {"writer": writer}) if asked.json else "\n".join(lines(now))
                if records or ends or view.live:
                    said = view.show(now.share, text, said)
                if ends:
                    break
                time.sleep(REFRESH)
    except KeyboardInterrupt:
        return 0  # who watches has seen enough; the run goes on
    if not asked.json and not now.finished:
        print(f"written by {writer}" if writer else f"nobody works on it now; go on: {PROGRAM} sweep {asked.path}")
    return 0


class _Live:
    """Text that on a terminal is written over itself, with a bar; elsewhere a paragraph when something is new."""

    def __init__(self, *, live: bool):
        self.live = live
        if live:
            from rich.live import Live

            self._live = Live(auto_refresh=False)

    def __enter__(self) -> None:
        if self.live:
            self._live.start()

    def __exit__(self, *_: object) -> None:
        if self.live:
            self._live.stop()

    def show(self, share: float, text: str, said: str) -> str:
        """Shows it, if it is not what was said before; returns what is said now."""
        if self.live:
            from rich.console import Group
            from rich.progress_bar import ProgressBar
            from rich.text import Text

            self._live.update(Group(ProgressBar(1.0, share, width=40), Text(f"\n{text}")), refresh=True)
        elif text != said:
            print(text, flush=True)
        return text


def _show(asked: argparse.Namespace) -> int:
    from jaxopt_intro import results

    dataset = results.open(asked.path)
    if asked.format == "table":
        from jaxopt_intro.terminal import Terminal

        Terminal().table(dataset, asked.top)
        return 0
    best = results.top(dataset, asked.top).reset_index()
    print(
        best.to_csv(index=False) if asked.format == "csv" else best.to_json(orient="records", double_precision=15),
        end="",
    )
    if asked.format == "json":
        print()
    return 0


def _compare(asked: argparse.Namespace) -> int:
    from jaxopt_intro import results

    compared = results.compare(asked.path, asked.by)
    if asked.picture:
        axes = results.plots.comparison(compared)
        axes.figure.savefig(asked.picture, dpi=150)  # type: ignore[union-attr]
    if asked.json:
        rows = compared.to_dataframe().reset_index().dropna(subset=["expected"])
        print(json.dumps({**compared.attrs, "rows": rows.to_dict("records")}))
        return 0
    _print_comparison(compared)
    if asked.picture:
        print(f"picture: {asked.picture}")
    return 0


def _print_comparison(compared: Any) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    budgets = [k for k in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512) if k in compared.trials.values]
    title = f"expected best {compared.attrs['objective']} of k trials, with 95 % bootstrap intervals"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    by = compared.attrs["by"]
    for name in (by, "trials", "failed", *(f"k={k}" for k in budgets[-5:]), "best"):
        table.add_column(name, justify="left" if name == by else "right", no_wrap=name == by)
    order = compared.best.values.argsort()[:: 1 if compared.attrs["direction"] == "min" else -1]
    for one in (compared.isel(label=int(row)) for row in order):
        points = [one.sel(trials=k) for k in budgets[-5:]]
        spans = [f"{p.expected:.4f}\n{p.low:.3f}–{p.high:.3f}" if p.expected == p.expected else "" for p in points]
        table.add_row(
            one.label.item(), str(one["count"].item()), str(one.failed.item()), *spans, f"{one.best.item():.4f}"
        )
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    console.print(table)
    if compared.attrs["search"] == "grid":
        console.print(
            "the trials are a grid's: read k as draws from it; a random search would be another", markup=False
        )


def _export(asked: argparse.Namespace) -> int:
    from jaxopt_intro import results

    way = EXPORTS[asked.to]
    if asked.trial and not way.of_trial:
        raise ValueError(
            f"got --trial with --to {asked.to}, which writes all trials; expected it with orbax or function."
        )
    out = Path(asked.out) if asked.out else Path(asked.path) / "export" / way.path
    if out.exists():
        raise ValueError(
            f"got {str(out)!r}, which is there; expected a new path. Remove it, or give another with --out."
        )
    write = (
        _of_trial(asked.to, asked.path, asked.trial) if way.of_trial else _of_run(asked.to, results.open(asked.path))
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        write(out)
    except ModuleNotFoundError as error:
        if "pip install" not in str(error):
            raise
        raise ValueError(str(error)) from None
    print(out)
    if way.next:
        print(f"next: {way.next.format(out)}", file=sys.stderr)
    return 0


def _of_run(name: str, dataset: Any) -> Callable[[Path], None]:
    from jaxopt_intro import results

    write = getattr(results, f"to_{name}")
    return lambda out: write(dataset, out)


def _of_trial(name: str, run: str, trial: str | None) -> Callable[[Path], None]:
    from jaxopt_intro.experiment import exporting

    write = getattr(exporting, f"to_{name}")
    return lambda out: write(run, out, trial)


def count(text: str) -> int:
    """Returns an option's whole number of at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}; expected a whole number of at least 1")
    return int(text)
