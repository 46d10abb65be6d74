"""How members end, and whose weights are worth keeping."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxopt_intro.sweeps import checkpoint, sharding
from jaxopt_intro.sweeps.population import Lane
from jaxopt_intro.sweeps.session import Session
from jaxopt_intro.training import TrainState
from jaxopt_intro.typing import Hparams, Training

NOT_FINITE = "the loss or the update was not finite"
STOPPED = "stopped early: its validation no longer improved"


class Keeper:
    """Ends members and keeps the weights of the best trials.

    A trial's rank is the mean of its seeds' best scores, once all have ended; a failed seed takes it out. Until then
    its weights are kept, so that the chosen trial has the weights of every seed.

    Args:
        session: The journal and the directory, and the seeds of every trial of the run, also of those asked before.
        job: For its `direction` and `keep`.
    """

    def __init__(self, session: Session, job: Any):
        self._session, self._seeds = session, session.seeds
        self._sign, self._keep = (1.0 if job.direction == "max" else -1.0), job.keep
        pruner = getattr(job, "pruner", None)
        self._copies = pruner is not None and pruner.copies
        self._means: dict[str, float] = {}
        self._best: list[str] = []
        self._places: dict[str, int] = {}
        self._begun: set[str] = set()
        self._wanted(session.ended)

    def finish(
        self, members: Sequence[Any], lanes: Lane | None, rounds: Sequence[int], number: int, pruned: str = ""
    ) -> None:
        """Writes the ends of a tile's members, after their weights.

        Args:
            members: The members, padding left out.
            lanes: Their lanes at the end; None if they have not begun.
            rounds: The steps from one validation to the next.
            number: How many rounds the members have behind them.
            pruned: Why those go no further that have neither failed nor stopped; "" where they are through.
        """
        if lanes is None:
            self._never_began(members, pruned)
            return
        failed_at, stopped_at = np.asarray(lanes.failed_at), np.asarray(lanes.stopped_at)
        scores, best_epochs = np.asarray(lanes.best.score), np.asarray(lanes.best.epoch)
        ends_of_epochs = np.array([0, *np.cumsum(rounds)])
        steps = np.where(stopped_at > 0, ends_of_epochs[stopped_at], ends_of_epochs[number])
        steps = np.where(failed_at > 0, failed_at, steps)
        epochs = np.searchsorted(ends_of_epochs[1:], np.where(failed_at > 0, steps - 1, steps), side="right")
        ends = {}
        for i, member in enumerate(members):
            if (member.trial, member.seed) in self._session.ended:
                continue
            ends[member.trial, member.seed] = (i, {
                "type": "end",
                "trial": member.trial,
                "seed": member.seed,
                "status": "failed" if failed_at[i] else "pruned" if pruned and not stopped_at[i] else "finished",
                "reason": NOT_FINITE if failed_at[i] else STOPPED if stopped_at[i] else pruned or None,
                "step": int(steps[i]),
                "epoch": int(epochs[i]),
                "score": np.float32(self._sign * scores[i]) if best_epochs[i] else None,
                "best_epoch": int(best_epochs[i]),
                **({"hparams": dict(member.hparams)} if self._copies else {}),
            })  # fmt: skip
        wanted = self._wanted({pair: record for pair, (_, record) in ends.items()})
        for (trial, seed), (i, record) in ends.items():
            if trial in wanted and record["status"] != "failed" and record["best_epoch"]:
                self._store(trial, seed, lanes, i, record)
        self._write(record for _, record in ends.values())
        self._forget(wanted)

    def _never_began(self, members: Sequence[Any], reason: str) -> None:
        known = {"status": "pruned", "reason": reason, "step": 0, "epoch": 0, "score": None, "best_epoch": 0}
        ends = [{"type": "end", "trial": m.trial, "seed": m.seed, **known} for m in members]
        self._write(e for e in ends if (e["trial"], e["seed"]) not in self._session.ended)

    def _write(self, ends: Iterable[dict[str, Any]]) -> None:
        for record in ends:
            self._session.ended[record["trial"], record["seed"]] = record
            self._session.finished += 1
            self._session.emit(record)

    def _store(self, trial: str, seed: int, lanes: Lane, lane: int, record: dict[str, Any]) -> None:
        best, last = lanes.best, lanes.last or (lanes.state.params, lanes.state.model_state)
        kinds = (("best", (best.params, best.model_state), record["best_epoch"]), ("last", last, record["epoch"]))
        for which, weights, epoch in kinds:
            path = f"weights/{trial}-{seed}-{which}.npz"
            params, model_state = sharding.lane(weights, lane)
            checkpoint.save_weights(self._session.directory / path, params, model_state)
            kept = {"type": "weights", "trial": trial, "seed": seed, "which": which, "epoch": epoch, "path": path}
            self._session.emit(kept)
            self._session.kept[trial, seed, which] = path

    def _forget(self, wanted: set[str]) -> None:
        for (trial, seed, which), path in list(self._session.kept.items()):
            if trial not in wanted:
                self._session.emit({"type": "weights", "trial": trial, "seed": seed, "which": which, "path": None})
                checkpoint.remove(self._session.directory / path)
                del self._session.kept[trial, seed, which]

    def _wanted(self, new: Mapping[tuple[str, int], dict[str, Any]]) -> set[str]:
        """The best complete trials, and all that still have a seed to come."""
        for trial in dict.fromkeys(trial for trial, _ in new):
            self._rank(trial, new)
        if len(self._places) < len(self._seeds):
            self._places = {trial: i for i, trial in enumerate(self._seeds)}
        rivals = {*self._best, *(trial for trial, _ in new if trial in self._means)}
        self._best = heapq.nsmallest(self._keep, rivals, key=lambda t: (-self._means[t], self._places[t]))
        return self._begun.union(self._best)

    def _rank(self, trial: str, new: Mapping[tuple[str, int], dict[str, Any]]) -> None:
        """Takes a trial in of which a seed has ended: it counts once all have."""
        pairs = [(trial, seed) for seed in self._seeds[trial]]
        records = [new.get(pair) or self._session.ended.get(pair) for pair in pairs]
        self._begun.add(trial)
        if all(records):
            self._begun.discard(trial)
            mean = _mean(records)
            self._means |= {} if mean is None else {trial: self._sign * mean}


def load(session: Session, trial: str, seed: int, training: Training, hparams: Hparams) -> TrainState:
    """Returns a training's state with a member's kept best weights, and nothing else that evaluation would not need."""
    like = jax.eval_shape(lambda: training.init(jax.random.key(seed), hparams))
    path = session.directory / session.kept[trial, seed, "best"]
    params, model_state = checkpoint.load_weights(path, (like.params, like.model_state))
    return TrainState(np.int32(0), jax.random.key(seed), params, model_state, ())  # type: ignore[arg-type]


def ranking(
    ended: Mapping[tuple[str, int], dict[str, Any]], seeds: Mapping[str, Sequence[int]], sign: float
) -> list[str]:
    """Returns the trials of which no seed has failed, the best mean score first, ties in the order asked.

    One that was pruned counts by its best validation until then.

    Args:
        ended: The end record of every member.
        seeds: The seeds of every trial, in the order asked.
        sign: 1 if more is better, -1 if less is.

    Examples:
        >>> end = {"status": "finished", "score": 0.5, "best_epoch": 1}
        >>> ranking({("a", 0): end, ("b", 0): end | {"score": 0.7}}, {"a": [0], "b": [0], "c": [0]}, 1.0)
        ['b', 'a']
    """
    means = {}
    for trial, own in seeds.items():
        mean = _mean([ended.get((trial, seed)) for seed in own])
        if mean is not None:
            means[trial] = sign * mean
    return sorted(means, key=lambda trial: -means[trial])


def _mean(records: Sequence[dict[str, Any] | None]) -> float | None:
    """The mean score of a trial's seeds; None where one has failed, has no score or has not ended."""
    if not all(r is not None and r["status"] != "failed" and r["best_epoch"] for r in records):
        return None
    # A score that was read from the journal is the shortest text of its float32, another float64.
    scores = [float(np.float32(r["score"])) for r in records if r]
    return scores[0] if len(scores) == 1 else float(np.mean(scores))
