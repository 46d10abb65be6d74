"""What the command shows: a live bar while a sweep runs, then its table, receipt and next command."""

from __future__ import annotations

import contextlib
import inspect
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import xarray
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from jaxopt_intro import journal, results

REPORT_SECONDS = 30.0
_COUNTS = (("ended", "asked_members", "trials"), ("done", "total", "epochs"))


class Terminal:
    """The command's output. On a terminal the bar is live; into a file or pipe it is a line now and then."""

    def __init__(self) -> None:
        wide = None if sys.stdout.isatty() else 200  # a file has no width; long paths must stay in one piece
        self._console = Console(highlight=False, width=wide)
        self._progress = Progress(
            SpinnerColumn(),
            BarColumn(bar_width=16, table_column=Column(min_width=16)),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
            console=self._console,
            expand=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task("starting", total=None)
        self._best: float | None = None
        self._objective, self._direction, self._directory = "", "max", ""
        self._group, self._text = "", ""
        self._said = self._began = self._reported = time.monotonic()
        self._trained = False

    def __enter__(self) -> Terminal:
        self._progress.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()

    def device(self, found: dict[str, Any]) -> None:
        """Says what computes, and whether a GPU lies idle."""
        _say_device(self._console, found)

    def listen(self, record: dict[str, Any]) -> None:
        """Shows a record of the journal, or progress."""
        kind = record["type"]
        if kind == "directory":
            self._directory = record["path"]
        elif kind == "run":
            self._objective, self._direction = record["objective"]["name"], record["objective"]["direction"]
        elif kind == "progress":
            self._group, self._text = record["group"] or self._group, record["text"]
        elif kind == "epoch":
            self._text, self._trained = "training", True
            self._remember(record["metrics"][self._objective])
            self._report()
        done, total = record.get("done", 0), record.get("total", 0)
        state = self._state(record)
        self._progress.update(self._task, completed=done, total=total or None, description=state)
        if not self._console.is_terminal and kind in ("progress", "epoch"):
            self._line(state, always=kind == "progress")

    def _report(self) -> None:
        """Writes the report of the sweep that goes on, now and then; it must not be what ends the sweep."""
        if self._directory and time.monotonic() - self._reported > REPORT_SECONDS:
            with contextlib.suppress(OSError):
                results.write_report(self._directory, running=True)
            self._reported = time.monotonic()

    def _state(self, record: dict[str, Any]) -> str:
        """Trials, epochs, best so far, and what is going on, in words."""
        best = "" if self._best is None else f"best {self._objective} {self._best:.4f}"
        counts = [f"{record[a]}/{record[b]} {what}" for a, b, what in _COUNTS] if record.get("total") else []
        doing = f"{self._group}: {self._text}" if self._group and self._text != "training" else self._text
        return " · ".join(part for part in (*counts, best, doing) if part)

    def _remember(self, values: Iterable[float]) -> None:
        finite = [float(v) for v in np.asarray(list(values)) if np.isfinite(v)]
        if finite:
            best = max if self._direction == "max" else min
            self._best = best([*finite, *([] if self._best is None else [self._best])])

    def _line(self, state: str, *, always: bool) -> None:
        now = time.monotonic()
        if always or now - self._said > 10:
            self._said = now
            self._console.print(f"[{now - self._began:5.0f} s] {state}", markup=False)

    def interrupted(self) -> None:
        """Says how to go on after an interruption."""
        self._progress.stop()
        self._console.print("interrupted; nothing that was finished is lost")
        if self._directory:
            self._console.print(f"go on: jaxopt-intro sweep {self._directory}", markup=False)

    def finished(self, dataset: xarray.Dataset) -> int:
        """Shows the table, the receipt, the test, where picture and report are, and what is next: the exit code."""
        if not self._trained:
            self._console.print("nothing was left to do: all trials of this run have ended before")
        run = dataset.attrs["run"]
        records = journal.read(run)
        asked = [r for r in records if r["type"] == "run"][-1]
        if out := asked.get("left_out"):
            more = f"--max-trials {asked['max_trials']} left out {out}; with more of them"
            self._console.print(f"{more}: jaxopt-intro sweep {run} --max-trials N", markup=False)
        self.table(dataset, 10)
        receipt = [r for r in records if r["type"] == "receipt"][-1]
        self.receipt(receipt, {r["group"]: r for r in records if r["type"] == "plan"})
        if not np.isfinite(dataset.score.values).any():
            self._console.print(f"report: {results.report(run)}", markup=False)
            self._console.print(f"no trial finished; lower the learning rates. run: {run}", markup=False)
            return 1
        left = not asked.get("test", True)
        self._test(dataset, left=left, looked=[r["directory"] for r in records if r["type"] == "finalists"])
        picture = Path(run) / "sweep.png"
        results.plots.overview(dataset).savefig(picture, dpi=150)
        report = results.report(run)
        self._console.print(f"picture: {picture}\nreport: {report}\nrun: {run}", markup=False)
        again = "" if left else " (looks at the test split again; sweep --no-test leaves it to finalists)"
        self._console.print(f"is the best lucky? jaxopt-intro finalists {run}{again}", markup=False)
        self._console.print(f"next: jaxopt-intro show {run} --top 20", markup=False)
        return 0

    def table(self, dataset: xarray.Dataset, count: int) -> None:
        """Shows the best trials; what is the same for all of them is left out."""
        best = results.top(dataset, count)
        if dataset.sizes["seed"] == 1:
            best = best.drop(columns="seeds")
        if set(best["status"]) == {"finished"}:
            best = best.drop(columns="status")
        title = f"the best {len(best)} of {dataset.sizes['trial']} trials, by {dataset.attrs['objective']}"
        title += f"\n{changed}" if (changed := dataset.attrs.get("changed", "")) else ""
        wide = self._console.width >= 100
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1))
        table.add_column("rank", justify="right")
        for name, column in best.items():
            justify = "right" if column.dtype.kind in "fi" else "left"
            head = str(name) if wide else str(name).replace("_", " ")  # so that it can wrap between words
            numbers = column.dtype.kind in "fi" or name == "trial"
            table.add_column(head, justify=justify, min_width=max(map(len, map(_cell, column))) if numbers else None)
        for rank, row in best.iterrows():
            table.add_row(str(rank), *(_cell(value) for value in row))
        self._console.print(table, width=None if self._console.is_terminal else 100)
        self._reasons(dataset)

    def _reasons(self, dataset: xarray.Dataset) -> None:
        """Shows how many trials ended before their last step, and why the first of them did."""
        for what, title in (("failed", "failed"), ("finished", "stopped early"), ("pruned", "pruned")):
            reasons = [str(r) for r in dataset.reason.values[dataset.status.values == what] if r]
            if reasons:
                first = reasons[0].removeprefix(f"{title}: ")
                self._console.print(
                    f"{title}: {len(reasons)} of {dataset.status.size}; the first: {first}", markup=False
                )

    def receipt(self, receipt: dict[str, Any], plans: dict[str, Any]) -> None:
        """Shows how fast the run was, and why."""
        self._console.print(
            f"receipt: {receipt['seconds']:.1f} s, of which {receipt['compile_seconds']:.1f} s compiling and "
            f"{receipt.get('measuring_seconds', 0.0):.1f} s measuring; "
            f"training {receipt['members_per_second']:.2f} trials/s, {receipt['examples_per_second']:,.0f} examples/s; "
            f"{receipt['busy']:.0%} of the work went into live trials"
        )
        if share := receipt.get("peak_share"):
            self._console.print(f"  {share:.1%} of the measured peak of this machine's matrix products")
        if (staging := receipt.get("staging_seconds", 0.0)) > 1:
            self._console.print(f"  before that {staging:.1f} s to find out what is traced and what is compiled")
        for group in receipt["groups"]:
            rates, devices = {int(width): rate for width, rate in group["rates"].items()}, group["devices"]
            lanes = f"{group['width'] * devices} side by side" + (f" on {devices} devices" if devices > 1 else "")
            one = "one on each" if devices > 1 else "one at a time"
            gain = f", {rates[group['width']] / rates[1]:.1f}x {one}" if 1 in rates and group["width"] > 1 else ""
            title = group["title"] or "all trials"
            self._console.print(f"  {title}: {lanes} ({group['why']}){gain}", markup=False)
            if group.get("memory"):
                self._console.print(f"    one did not fit in memory: {group['memory']}", markup=False)
            for line in _convolutions(group):
                self._console.print(f"    {line}", markup=False)

    def _test(self, dataset: xarray.Dataset, *, left: bool, looked: list[str]) -> None:
        tested = [str(name) for name in dataset.data_vars if str(name).startswith("test_")]
        if left:
            again = " again" if tested or looked else ""
            whose = "those in " + " and ".join(looked) + " have looked at it" if looked else "that is left to finalists"
            self._console.print(f"the test split was not touched{again} (--no-test): {whose}", markup=False)
            return
        if not tested:
            return
        name = "test_" + self._objective.removeprefix("valid_")
        name = name if name in tested else tested[0]
        values = results.best(dataset)[name].values
        seeds = values[np.isfinite(values)]
        others = int(np.isfinite(dataset[name].values).any(axis=1).sum()) - bool(len(seeds))
        if others:
            self._console.print(
                f"the test split was touched {others} time{'s' * (others > 1)} before, by trials chosen then"
            )
        if not len(seeds):
            self._console.print("the best trial of this run was not asked for now, so the test split was not touched")
            return
        spread = f" ± {seeds.std(ddof=1) / np.sqrt(len(seeds)):.4f} over {len(seeds)} seeds" if len(seeds) > 1 else ""
        self._console.print(f"[bold]test {name.removeprefix('test_')} of the chosen trial: {seeds.mean():.4f}{spread}")

    def catalogue(self, entries: Iterable[Any]) -> None:
        """Shows the data sets."""
        table = Table("name", "image", "train", "test", "classes", "where")
        for entry in entries:
            shape = " x ".join(map(str, entry.shape))
            table.add_row(entry.name, shape, f"{entry.train:,}", f"{entry.test:,}", str(entry.classes), entry.where)
        self._console.print(table)
        self._console.print("any other image classification set: tfds:NAME", markup=False)


class Bar:
    """The command's output while a map grows: a live bar, or into a file or pipe a line now and then."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
        columns = (SpinnerColumn(), BarColumn(bar_width=16), TimeRemainingColumn(), TextColumn("{task.description}"))
        self._progress = Progress(*columns, console=self._console, disable=not self._console.is_terminal)
        self._task = self._progress.add_task("starting", total=None)
        self._began = self._said = time.monotonic()
        self._first: int | None = None
        self.directory, self.trained = "", 0

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the live display."""
        self._progress.stop()

    def device(self, found: dict[str, Any]) -> None:
        """Says what computes, and whether a GPU lies idle."""
        _say_device(self._console, found)

    def listen(self, record: dict[str, Any]) -> None:
        """Shows how far the map is."""
        if record["type"] == "directory":
            self.directory = record["path"]
            return
        done, total = record["done"], record["total"]
        self._first = done if self._first is None else self._first
        self.trained = done - self._first
        text = f"{done:,}/{total:,} trainings · {record['text']}"
        self._progress.update(self._task, completed=done, total=total, description=text)
        now = time.monotonic()
        if not self._console.is_terminal and (record["text"] != "computing points" or now - self._said > 10):
            self._said = now
            self._console.print(f"[{now - self._began:5.0f} s] {text}", markup=False)


def _say_device(console: Console, found: dict[str, Any]) -> None:
    what = f"{found['cores']} cores" if found["platform"] == "cpu" else f"{found['count']} x {found['kind']}"
    console.print(f"device: {found['platform']}, {what}")
    if found["idle_gpu"]:
        console.print(
            '[yellow]warning: an NVIDIA GPU is here, but this JAX is for CPUs. Use it: pip install "jax\\[cuda12]"'
        )


def _cell(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else f"{value:.4g}"
    return str(value)


def _convolutions(group: dict[str, Any]) -> list[str]:
    """How a group's convolutions are computed: a line for each kind, and one for those outside of the fast set."""
    lines, words = [], {"convolution": "outputs", "input gradient": "images", "kernel gradient": "kernel"}
    for word, option in words.items():
        own = [choice for choice in group["convolutions"] if choice["what"].startswith(word)]
        names = sorted({choice["name"] for choice in own})
        reasons = sorted({choice["why"] for choice in own})
        held = max((choice["buffer"] for choice in own), default=0)
        patches = f", {held / 2**20:.0f} MiB of patches" if held >= 2**20 else ""
        if own:
            lines.append(f"{len(own)} x {word} ({option}): {', '.join(names)} ({', '.join(reasons)}{patches})")
    others = group["other_convolutions"]
    lines += [f"{len(others)} x XLA's own convolution, outside of the fast set: {others[0]}"] if others else []
    return lines


def listing(what: str) -> list[str]:
    """Returns what is there by name: a line for each part, and one for its numbers.

    Args:
        what: "optimizers", "losses", … as in `jaxopt-intro list`.

    Examples:
        >>> listing("stopping")[0][:16]
        'early_stopping  '
    """
    if what == "convolutions":
        return _ways()
    table, lines = _table(what), []
    wide = max(map(len, table))
    for name in sorted(table):
        text = table[name] if isinstance(table[name], str) else (table[name].__doc__ or "").split("\n")[0]
        lines.append(f"{name:<{wide}}  {text}")
        if numbers := _numbers_of(what, name, table[name]):
            lines.append(f"{'':<{wide}}    {numbers}")
        if what == "models":
            lines.append(f"{'':<{wide}}    {_cost_of(name, table[name])}")
    return lines


def details(what: str, name: str) -> list[str]:
    """Returns all that is known of one part: of an optimizer its numbers, then what its documentation says.

    Args:
        what: "optimizers", "losses", … as in `jaxopt-intro list`.
        name: The part.

    Raises:
        ValueError: There is none of that name.

    Examples:
        >>> print("\\n".join(details("optimizers", "sgd")[:5]))
        sgd: Robbins and Monro 1951, A stochastic approximation method, equation (6)
        derivatives: forward, reverse; an update needs: grads
        <BLANKLINE>
        number         default  legal         look between          derivative
        learning_rate           of at least 0 0.001 and 1 (log)     smooth
    """
    from jaxopt_intro.checks import known_name
    from jaxopt_intro.optimizers import METHODS

    singular = {"losses": "loss", "penalties": "penalty"}.get(what, what.removesuffix("s"))
    entry = _table(what)[known_name(name, _table(what), singular)]
    if what != "optimizers":
        return inspect.cleandoc(entry.__doc__ or "").split("\n")
    method = METHODS[name]
    rows = [("number", "default", "legal", "look between", "derivative")]
    for number in method.numbers:
        search, default = method.search[number], method.defaults.get(number)
        scale = " (log)" if search.kind == "log_uniform" else ""
        between = f"{search.low:g} and {search.high:g}{scale}"
        legal, kind = str(method.domain[number]), method.kinds[number]
        rows.append((number, "" if default is None else f"{default:g}", legal, between, kind))
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = ["  ".join(f"{cell:<{w}}" for cell, w in zip(row, wide, strict=True)).rstrip() for row in rows]
    needs = ", ".join(("grads", *method.needs))
    return [
        f"{name}: {entry}",
        f"derivatives: {', '.join(method.modes)}; an update needs: {needs}",
        "",
        *table,
        "",
        *inspect.cleandoc(method.make.__doc__ or "").split("\n"),
    ]


def _table(what: str) -> dict[str, Any]:
    from jaxopt_intro import augmentations, losses, metrics, models, optimizers, regularizers, schedules, training
    from jaxopt_intro.sweeps import pruning

    return {
        "optimizers": {name: method.reference for name, method in optimizers.METHODS.items()},
        "wrappers": optimizers.wrappers.WRAPPERS,
        "losses": {**losses.LOSSES, **losses.BATCH_LOSSES},
        "penalties": {**regularizers.PENALTIES, **regularizers.INPUT_PENALTIES},
        "proximals": regularizers.PROXIMAL,
        "projections": regularizers.PROJECTIONS,
        "stopping": {"early_stopping": regularizers.EarlyStopping},
        "augmentations": augmentations.AUGMENTATIONS,
        "schedules": schedules.SCHEDULES,
        "workers": training.workers.WORKERS,
        "pruners": pruning.PRUNERS,
        "models": models.MODELS,
        "metrics": {name: metric.function for name, metric in metrics.METRICS.items()},
        "probes": training.probes.PROBES,
    }[what]


def _ways() -> list[str]:
    from jaxopt_intro.models.layers import lowering

    lines = [f"{what}={name}" for what, ways in lowering.WAYS.items() for name in ways]
    wide, said = max(map(len, lines)), [lowering.said(name) for ways in lowering.WAYS.values() for name in ways]
    return [
        *(f"{line:<{wide}}  {words}" for line, words in zip(lines, said, strict=True)),
        'as --convolution takes them, a name of several words in quotes: kernel=im2col "outputs=xla row";',
        'members side by side go one after the other by "in turn" behind a name: "kernel=forward 8 in turn"',
    ]


def _cost_of(name: str, make: Any) -> str:
    """What a model costs for images of the kind that it was made for, and ten classes."""
    import jax

    from jaxopt_intro import models

    shape = (32, 32, 3) if name in ("3c3d", "allcnnc", "resnet") else (28, 28, 1)
    found = models.cost(make(outputs=10), jax.ShapeDtypeStruct((1, *shape), "float32"))
    size = " x ".join(map(str, shape))
    return f"{found.parameters:,} parameters, {found.flop / 1e6:,.3g} MFLOP for an image of {size}"


def _numbers_of(what: str, name: str, entry: Any) -> str:
    """A part's numbers and their defaults, as `--constant` takes them."""
    from jaxopt_intro import optimizers, routing, training

    roles = {
        "augmentations": "augment", "schedules": "schedule", "optimizers": "optimizer", "models": "model",
        "stopping": "stopping", "wrappers": "wrap",
    }  # fmt: skip
    if what == "metrics":
        return ""
    function = optimizers.METHODS[name].make if what == "optimizers" else entry
    takes = routing.parameters(function)
    names = training.numbers_of(roles.get(what, ""), function, routing.numbers)
    defaults = {n: takes[n].default for n in names if what != "proximals" or n != "step"}
    return ", ".join(n if d is takes[n].empty else f"{n}={d}" for n, d in defaults.items())
