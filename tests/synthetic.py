"""Journals as sweeps write them, without training: fast, with skewed numbers as real ones have them."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np

from jaxopt_intro import results
from jaxopt_intro.journal import FORMAT, Journal

EXPERIMENT_TOML = """replicates = {seeds}

[experiment]
data = "digits"
model = "mlp"
epochs = {epochs}

[numbers]
learning_rate = {{log_uniform = [1e-4, 1.0]}}
l2 = {{log_uniform = [1e-6, 1e-2]}}

[choices]
optimizer = {optimizers}

[search]
random = {trials}
"""


def run_record(trials: int, epochs: int, objective: str = "valid_accuracy", direction: str = "max") -> dict:
    return {
        "type": "run", "format": FORMAT, "time": "2026-11-28T02:00:00+00:00", "trials": trials,
        "versions": {"jaxopt_intro": "0.1.0", "python": "3.11.7", "jax": "0.10.2"},
        "device": {"platform": "cpu", "kind": "cpu", "count": 2, "cores": 2, "machine": "x86_64", "idle_gpu": False},
        "settings": {"matmul_precision": None, "prng": "threefry2x32", "x64": False, "xla_flags": ""},
        "experiment": {"data": "digits", "model": "mlp", "epochs": epochs, "batch_size": 128, "keep": 10},
        "objective": {"name": objective, "direction": direction},
        "data": {"name": "digits", "fingerprint": "1b9897410b667d2b", "content_hash": "adbedc90ca53bba7",
                 "source": "comes with the package", "train": 1293, "licence": "CC BY 4.0"},
    }  # fmt: skip


def write_sweep(
    directory: Path,
    trials: int,
    *,
    seeds: int = 1,
    epochs: int = 10,
    optimizers: tuple[str, ...] = ("adam", "momentum", "sgd"),
    until: float = 1.0,
    rungs: tuple[int, ...] = (),
    best_rate: float = -1.5,
) -> Path:
    """Writes a random sweep: rates of 0.4 and more diverge, some stop early, `until` is the share that has run.

    The best learning rate is `10 ** best_rate`; at each rung the worse half stops.
    """
    random = np.random.default_rng(0)
    rates = 10 ** random.uniform(-4, 0, trials)
    strengths = 10 ** random.uniform(-6, -2, trials)
    names = random.choice(optimizers, trials)
    numbers = [
        {"learning_rate": float(f"{r:.6g}"), "l2": float(f"{s:.6g}")} for r, s in zip(rates, strengths, strict=True)
    ]
    for number, name in zip(numbers, names, strict=True):
        if name == "momentum":
            number["momentum.momentum"] = float(f"{random.uniform(0.5, 0.99):.6g}")
    ids = [
        f"{zlib.crc32(json.dumps([n, str(c)]).encode()):08x}{i:04x}"
        for i, (n, c) in enumerate(zip(numbers, names, strict=True))
    ]
    level = 0.97 - 0.09 * (np.log10(rates) - best_rate) ** 2 + 0.01 * (names == optimizers[0]) - 4 * strengths
    level = np.clip(level + random.normal(0, 0.01, trials), 0.1, 0.995)
    diverges = (rates > 0.4) & (names != optimizers[0])
    directory.mkdir(parents=True, exist_ok=True)
    toml = EXPERIMENT_TOML.format(seeds=seeds, epochs=epochs, trials=trials, optimizers=json.dumps(list(optimizers)))
    (directory / "experiment.toml").write_text(toml)
    with Journal(directory) as journal:
        journal.append(run_record(trials, epochs))
        for i in range(trials):
            journal.append({"type": "trial", "trial": ids[i], "hparams": numbers[i], "choices": {"optimizer": names[i]},
                            "values": {"optimizer": names[i]}, "fixed": [], "compiled": {}, "group": f"of {names[i]}",
                            "seeds": list(range(seeds))})  # fmt: skip
        _train(journal, ids, level, diverges, random, seeds=seeds, epochs=epochs, until=until, rungs=rungs)
        if until == 1.0:
            chosen = str(results.best(results.open(directory)).trial.item())
            _finish(journal, ids, chosen, seeds, optimizers)
    return directory


def _train(journal, ids, level, diverges, random, *, seeds, epochs, until, rungs) -> None:
    """The tiles one after the other, each of up to 64 members."""
    members = [(ids[i], s, i) for i in range(len(ids)) for s in range(seeds)]
    tiles = [members[at : at + 64] for at in range(0, len(members), 64)]
    clock = 1.0
    for tile in tiles[: round(until * len(tiles))]:
        trials = np.array([i for _, _, i in tile])
        alive = np.ones(len(tile), bool)
        wobble = random.normal(0, 0.004, len(tile))
        for epoch in range(1, epochs + 1):
            clock += 0.13
            value = np.clip((level[trials] + wobble) * (1 - 0.6 * np.exp(-0.7 * epoch)), 0.1, 0.999)
            alive &= ~(diverges[trials] & (epoch >= 3))
            rows = np.flatnonzero(alive)
            if not len(rows):
                continue
            _epoch(journal, [tile[r] for r in rows], value[rows], epoch, clock)
            if epoch in rungs:
                alive[rows[value[rows] < np.median(value[rows])]] = False
                _rung(journal, [tile[r] for r in rows], value[rows], alive[rows], epoch, clock)
        for member, lives in zip(tile, alive, strict=True):
            early = member[2] % 17 == 5
            if diverges[member[2]]:
                _end(journal, member, "failed", "a loss or parameter became NaN or infinite", 25)
            elif lives:
                reason = "stopped early: no better for 3 epochs" if early else None
                _end(journal, member, "finished", reason, 10 * epochs - 20 * early)


def _epoch(journal, members, value, epoch, clock) -> None:
    loss = 2.4 * (1 - value) + 0.02
    metrics = {"train_loss": 0.9 * loss, "valid_accuracy": value, "valid_loss": loss}
    journal.append({
        "type": "epoch", "group": "g", "epoch": epoch, "time": round(clock, 3), "members": [m[:2] for m in members],
        "metrics": {name: np.float32(numbers) for name, numbers in metrics.items()},
    })  # fmt: skip


def _rung(journal, members, value, lives, epoch, clock) -> None:
    """The better half goes on, the other half ends."""
    reason = f"below the median at epoch {epoch}"
    verdicts = [
        {"trial": trial, "action": "go" if goes else "stop", "reason": None if goes else reason}
        for (trial, _, _), goes in zip(members, lives, strict=True)
    ]
    values = {trial: float(v) for (trial, _, _), v in zip(members, value, strict=True)}
    journal.append({"type": "rung", "rung": epoch, "values": values, "verdicts": verdicts, "time": clock})
    for member, goes in zip(members, lives, strict=True):
        if not goes:
            _end(journal, member, "pruned", reason, 10 * epoch)


def _end(journal, member, status, reason, step) -> None:
    trial, seed, _ = member
    journal.append({
        "type": "end", "trial": trial, "seed": seed, "status": status, "reason": reason, "step": step,
        "epoch": step // 10,
    })  # fmt: skip


def _finish(journal, ids, chosen, seeds, optimizers) -> None:
    for seed in range(seeds):
        metrics = {"accuracy": np.float32(0.968 + 0.003 * seed), "loss": np.float32(0.11 + 0.002 * seed)}
        journal.append({"type": "test", "trial": chosen, "seed": seed, "epoch": 10, "metrics": metrics})
    group = {
        "members": len(ids) * seeds // len(optimizers), "width": 64, "devices": 2, "memory": "",
        "rates": {"1": 900.0, "64": 31000.0}, "why": "the knee of the measured rates", "other_convolutions": [],
        "convolutions": [{"what": "convolution 3x3", "name": "im2col", "why": "measured", "buffer": 0}],
    }  # fmt: skip
    journal.append({
        "type": "receipt", "device": run_record(0, 0)["device"], "seconds": 95.3, "compile_seconds": 8.125,
        "run_seconds": 87.2, "trials": len(ids), "members": len(ids) * seeds, "members_per_second": 5.73,
        "examples_per_second": 73911.0, "busy": 0.964,
        "groups": [{**group, "group": f"of {name}", "title": f"optimizer {name}"} for name in optimizers],
    })  # fmt: skip
