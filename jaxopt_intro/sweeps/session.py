"""One process's work on a run: the journal, the clock, signals, and what earlier sessions did."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from jaxopt_intro.journal import Journal
from jaxopt_intro.sweeps import checkpoint

CHECKPOINT_SECONDS = 60.0


class Known(NamedTuple):
    """What had happened at some moment: which members had ended, how often trials were asked for, and a pruner said."""

    ended: frozenset[tuple[str, int]]
    asks: int
    updates: int


class Limits(NamedTuple):
    """When a sweep ends before its trials.

    Attributes:
        seconds: After so many seconds of a session.
        failures: Once more than so many members have failed.
    """

    seconds: float | None = None
    failures: int | None = None


class Session:
    """What the engine shares with the host's side of a run.

    Args:
        directory: The run.
        journal: Its writer.
        past: The records of earlier sessions.
        listener: Called with every record, and with `{"type": "progress", ...}` in between.
        checkpoint_seconds: At most so long between checkpoints.
        limits: When the sweep ends before its trials.
    """

    def __init__(
        self,
        directory: Path,
        journal: Journal,
        past: Sequence[dict[str, Any]],
        listener: Callable[[dict[str, Any]], None],
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
        limits: Limits = Limits(),  # noqa: B008 - never mutated
    ):
        self.directory, self._journal, self._listener = directory, journal, listener
        self._checkpoint_seconds, self._limits = checkpoint_seconds, limits
        self._started = self._saved = time.perf_counter()
        self._behind: Callable[[], None] | None = None
        self.stopping = False
        self.done = self.total = self.members = 0
        self.lane_steps = self.useful_examples = 0
        self.steps_of: Counter[str] = Counter()  # those of live members, for each group
        self.finished = self.finished_before = 0
        self.compile_seconds = self.measuring_seconds = self.computing_seconds = 0.0
        self.ended: dict[tuple[str, int], dict[str, Any]] = {}
        self.plans: dict[str, dict[str, Any]] = {}
        self.kept: dict[tuple[str, int, str], str] = {}
        self.seeds: dict[str, list[int]] = {}
        self.tested: set[tuple[str, int]] = set()
        self.checkpoint: dict[str, Any] | None = None
        self.asks: list[dict[str, Any]] = []
        self.updates: list[dict[str, Any]] = []
        self.consistent = Known(frozenset(), 0, 0)
        self.failing: set[tuple[str, int]] = set()
        self.proven: set[tuple[str, int, str]] = set()
        self._saves = 0
        for record in past:
            self._remember(record)
        self._sweep_up()

    def _remember(self, record: dict[str, Any]) -> None:
        kind = record["type"]
        if kind == "trial":
            self.seeds[record["trial"]] = record["seeds"]
        elif kind == "end":
            self.ended[record["trial"], record["seed"]] = record
            if record["status"] == "failed":
                self.failing.add((record["trial"], record["seed"]))
        elif kind == "plan":
            self.plans[record["group"]] = record
        elif kind == "weights":
            place = (record["trial"], record["seed"], record["which"])
            self.kept[place] = record["path"]
            if record["path"] is None:
                del self.kept[place]
        elif kind == "test":
            self.tested.add((record["trial"], record["seed"]))
        elif kind == "checkpoint":
            self._saves += 1
            there = record["path"] is not None and (self.directory / record["path"]).is_dir() and "last" in record
            self.checkpoint = record if there else None
            if there or record["path"] is None:
                self.consistent = self.latest()
        elif kind in ("ask", "rung"):  # after a checkpoint that was gone back to, their numbers come again
            past = self.asks if kind == "ask" else self.updates
            past[record["number"] :] = [record]

    def _sweep_up(self) -> None:
        """Removes what a kill left behind: checkpoints and weights that the journal does not know."""
        known = {self.directory / path for path in self.kept.values()}
        if self.checkpoint is not None:
            known.add(self.directory / self.checkpoint["path"])
        for place in ("checkpoint", "weights"):
            for path in set((self.directory / place).glob("*")) - known:
                checkpoint.remove(path)

    def latest(self) -> Known:
        """Returns what has happened so far."""
        return Known(frozenset(self.ended), len(self.asks), len(self.updates))

    def go_back(self) -> None:
        """Forgets what happened after the checkpoint: it happens again, and the journal's last word counts."""
        self.ended = {pair: end for pair, end in self.ended.items() if pair in self.consistent.ended}
        self.asks, self.updates = self.asks[: self.consistent.asks], self.updates[: self.consistent.updates]

    def postpone(self) -> None:
        """Puts the next checkpoint off."""
        self._saved = time.perf_counter()

    @property
    def over(self) -> str:
        """Why the sweep ends before its trials, or "" while it does not."""
        if self._limits.seconds is not None and self.elapsed() > self._limits.seconds:
            return f"the sweep's time was over, {self._limits.seconds:g} seconds, and no resume trains it further"
        if self._limits.failures is not None and len(self.failing) > self._limits.failures:
            return f"more than {self._limits.failures} had failed, and no resume trains it further"
        return ""

    def elapsed(self) -> float:
        """Returns the seconds since this session began."""
        return time.perf_counter() - self._started

    def emit(self, record: dict[str, Any]) -> None:
        """Appends a record to the journal, and tells the listener."""
        self._journal.append(record)
        self._listener({**record, **self._progress()})

    def notify(self, group: str, text: str) -> None:
        """Tells the listener, and only it, what is going on."""
        self._listener({"type": "progress", "group": group, "text": text, **self._progress()})

    def _progress(self) -> dict[str, int]:
        return {"done": self.done, "total": self.total, "ended": self.finished, "asked_members": self.members}

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Counts the seconds inside as those of compiled programs: calls, and waiting for what they give."""
        begin = time.perf_counter()
        yield
        self.computing_seconds += time.perf_counter() - begin

    def later(self, work: Callable[[], None]) -> None:
        """Does the host's work of the round before, and keeps this one's until the device is busy again."""
        self._behind, ready = work, self._behind
        if ready is not None:
            ready()

    def flush(self) -> None:
        """Does the host's work that was kept."""
        self._behind, ready = None, self._behind
        if ready is not None:
            ready()

    def checkpoint_due(self) -> bool:
        """Whether it is time for a checkpoint: the clock says so, or a signal asked to stop."""
        return self.stopping or time.perf_counter() - self._saved > self._checkpoint_seconds

    def save_checkpoint(self, record: dict[str, Any], tree: Any) -> None:
        """Saves a checkpoint and removes the one before; ends the run if a signal asked to stop.

        Raises:
            KeyboardInterrupt: A signal asked to stop.
        """
        self.flush()
        old = self.checkpoint
        path = f"checkpoint/{self._saves + 1}"
        checkpoint.remove(self.directory / path)  # one that was saved, but not recorded, when the process was killed
        checkpoint.save(self.directory / path, tree)
        self._journal.append({**record, "path": path})
        self._journal.sync()
        self._remember({**record, "path": path})
        if old is not None:
            checkpoint.remove(self.directory / old["path"])
        self._saved = time.perf_counter()
        if self.stopping:
            raise KeyboardInterrupt

    def drop_checkpoint(self, *, always: bool = False) -> None:
        """Forgets the checkpoint once all its members have ended; or says, without one, that all has been decided."""
        saved = self.checkpoint
        own = [saved["members"], *saved["parked"].values()] if saved else []
        ended = self.ended.keys() >= {tuple(pair) for pairs in own for pair in pairs}
        if (saved or always) and ended:
            record = {"type": "checkpoint", "group": saved["group"] if saved else "", "path": None}
            self._journal.append(record)
            if saved:
                checkpoint.remove(self.directory / saved["path"])
            self._remember(record)

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Turns the first SIGINT or SIGTERM into a checkpoint and a stop; the second stops at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask(number: int, frame: Any) -> None:
            del frame
            if self.stopping:
                raise KeyboardInterrupt
            self.stopping = True
            name = signal.Signals(number).name
            self.notify("", f"{name}: saving a checkpoint; once more stops at once")

        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
