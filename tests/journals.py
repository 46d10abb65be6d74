"""Runs as the engine would have written them, with skewed numbers as real sweeps have them."""

from __future__ import annotations

import itertools
import zlib

import numpy as np

from jaxopt_intro.journal import Journal

RATES = [float(f"{10**e:.3g}") for e in np.linspace(-4, 0, 8)]
STRENGTHS = [1e-6, 1e-5, 1e-4, 1e-3]


def accuracy(hparams, choices, seed, epoch):
    """Rises over the epochs to a peak that leans to one side, so that a swapped axis or sign shows."""
    peak = {"adam": -2.6, "momentum": -1.1}.get(choices.get("optimizer", "adam"), -2.0)
    away = np.log10(hparams.get("learning_rate", 0.01)) - peak
    level = 0.86 - (0.05 * away**2 if away < 0 else 0.16 * away**2) - 0.02 * hparams.get("l2", 0.0) / 1e-3
    noise = 0.004 * np.sin(17.0 * seed + 5.0 * away)
    return max(0.1, (level + noise) * (1 - 0.5 * np.exp(-0.9 * epoch)))


def trial(hparams, choices=None, seeds=(0,), name=None):
    choices = choices or {}
    name = name or f"{zlib.crc32(repr((hparams, choices)).encode()):08x}"
    return {"type": "trial", "trial": name, "hparams": hparams, "choices": choices, "seeds": list(seeds),
            "group": "-".join(choices.values()) or "all"}  # fmt: skip


def grid_trials(optimizers=("momentum", "adam"), rates=RATES, strengths=STRENGTHS, seeds=(0,)):
    return [
        trial({"learning_rate": rate, "l2": l2}, {"optimizer": optimizer} if optimizer else {}, seeds)
        for optimizer, rate, l2 in itertools.product(optimizers, rates, strengths)
    ]


def run_record(direction="max", name="valid_accuracy"):
    return {
        "type": "run", "format": 1, "time": "2025-11-22T15:00:00+00:00", "versions": {"jax": "0.10.2"},
        "device": {"kind": "cpu"}, "experiment": {"model": "mlp"}, "data": {"hash": "abc123"},
        "objective": {"name": name, "direction": direction},
    }  # fmt: skip


def write(directory, trials, *, epochs=5, fails=lambda hparams, choices: False, until=None, end=True, run=None):
    """Writes a run. `fails` says which trials diverge in epoch 2; the last members stop at epoch `until`."""
    with Journal(directory) as journal:
        journal.append(run or run_record())
        for record in trials:
            journal.append(record)
        members = [(t, seed) for t in trials for seed in t["seeds"]]
        for epoch in range(1, epochs + 1):
            alive = [(t, s) for t, s in members if epoch < 3 or not fails(t["hparams"], t["choices"])]
            alive = alive if until is None or epoch <= until else alive[: len(alive) // 2]
            values = np.array([accuracy(t["hparams"], t["choices"], s, epoch) for t, s in alive], np.float32)
            losses = np.where(
                [fails(t["hparams"], t["choices"]) for t, _ in alive], np.float32(np.nan), 2.3 * (1 - values)
            )
            journal.append({
                "type": "epoch", "group": "all", "epoch": epoch, "members": [[t["trial"], s] for t, s in alive],
                "metrics": {"train_loss": losses.astype(np.float32), "valid_accuracy": values}, "time": 1.5 * epoch,
            })  # fmt: skip
        for t, seed in members if end else ():
            bad = fails(t["hparams"], t["choices"])
            journal.append({
                "type": "end", "trial": t["trial"], "seed": seed, "status": "failed" if bad else "finished",
                "reason": "train_loss is nan" if bad else None, "step": 70 if bad else 35 * epochs, "epoch": epochs,
            })  # fmt: skip
        journal.append({"type": "receipt", "seconds": np.float32(12.5), "width": 8})
        journal.append({"type": "of the future", "key": 1})
    return directory


def diverges(hparams, choices):
    return hparams["learning_rate"] > 0.2 and choices.get("optimizer") == "momentum"
