"""1,000 random trials of softmax regression with Hyperband: ours, ours without pruning, and Optuna with PyTorch.

All train on the same data with momentum and an L2 penalty, batches of 128, drawn from the same space, for up to 27
epochs with rungs at 1, 3, 9 and 27 (eta 3). Optuna runs its own HyperbandPruner over one process for each core, which
share a study by its journal file; PyTorch keeps the data as tensors, gathers batches by a permutation, and has one
thread a process.

    python benchmarks/pruning.py [--trials 1000] [--data fashion_mnist] [--torch-trials 1000]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxopt_intro import Experiment, Space, log_uniform, pruning, sweep, uniform
from jaxopt_intro.sweeps import sharding

EPOCHS, BATCH, ETA = 27, 128, 3
RANGES = {"learning_rate": (1e-4, 1.0), "l2": (1e-7, 1e-2), "momentum": (0.0, 0.95)}

WORKER = """
import sys, numpy as np, optuna, torch
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
arrays, log, trials, epochs, batch, seed = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
torch.set_num_threads(1)
torch.manual_seed(seed)
optuna.logging.set_verbosity(optuna.logging.ERROR)
with np.load(arrays) as stored:
    x, y, vx, vy = (torch.from_numpy(stored[n]) for n in ("x", "y", "vx", "vy"))

def objective(trial):
    rate = trial.suggest_float("learning_rate", 1e-4, 1.0, log=True)
    l2 = trial.suggest_float("l2", 1e-7, 1e-2, log=True)
    momentum = trial.suggest_float("momentum", 0.0, 0.95)
    model = torch.nn.Linear(x.shape[1], 10)
    optimizer = torch.optim.SGD([
        {"params": [model.weight], "weight_decay": 2 * l2}, {"params": [model.bias]}], lr=rate, momentum=momentum)
    best = 0.0
    for epoch in range(epochs):
        order = torch.randperm(len(x))
        for first in range(0, len(x) - batch + 1, batch):
            rows = order[first : first + batch]
            optimizer.zero_grad(set_to_none=True)
            torch.nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
        with torch.no_grad():
            accuracy = (model(vx).argmax(1) == vy).float().mean().item()
        best = max(best, accuracy)
        trial.report(accuracy, epoch + 1)
        if trial.should_prune():
            trial.set_user_attr("best", best)
            raise optuna.TrialPruned
    return best

pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=epochs, reduction_factor=3)
study = optuna.create_study(
    study_name="s", storage=JournalStorage(JournalFileBackend(log)), direction="maximize", load_if_exists=True,
    sampler=optuna.samplers.RandomSampler(seed=seed), pruner=pruner)
study.optimize(objective, n_trials=trials)
"""


def ours(experiment: Experiment, trials: Any, pruner: Any) -> dict[str, Any]:
    """Runs the sweep in a directory of its own; returns its receipt and what it found."""
    with tempfile.TemporaryDirectory() as directory:
        begin = time.perf_counter()
        found = sweep(experiment, trials, directory=f"{directory}/run", pruner=pruner)
        whole = time.perf_counter() - begin
    receipt = json.loads(found.attrs["receipt"])
    steps = float(np.maximum(found.stopped_step.values, 0).sum())
    kept = ("compile_seconds", "run_seconds", "host_seconds", "busy")
    group = receipt["groups"][0]
    return {
        "seconds": whole, **{name: receipt[name] for name in kept}, "best": float(np.nanmax(found.score.values)),
        "epochs_trained": steps / (54_000 // BATCH), "width": group["width"], "devices": group["devices"],
        "why": group["why"],
    }  # fmt: skip


def optuna_and_torch(dataset: Any, trials: int) -> dict[str, Any]:
    """Runs Optuna's Hyperband with PyTorch, a process for each core."""
    cores = len(os.sched_getaffinity(0))
    (x, y), (vx, vy), scale = dataset.train, dataset.valid, dataset.info

    def prepared(images: np.ndarray) -> np.ndarray:
        flat = images.astype(np.float32) / scale.scale
        return ((flat - np.float32(scale.mean)) / np.float32(scale.std)).reshape(len(images), -1)

    with tempfile.TemporaryDirectory() as directory:
        arrays = f"{directory}/arrays.npz"
        np.savez(arrays, x=prepared(x), y=y.astype(np.int64), vx=prepared(vx), vy=vy.astype(np.int64))
        log, share = f"{directory}/optuna.log", -(-trials // cores)
        words = [sys.executable, "-c", WORKER, arrays, log, str(share), str(EPOCHS), str(BATCH)]
        begin = time.perf_counter()
        workers = [subprocess.Popen([*words, str(seed)]) for seed in range(cores)]
        if any(worker.wait() for worker in workers):
            raise RuntimeError("a worker failed")
        seconds = time.perf_counter() - begin
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        study = optuna.load_study(study_name="s", storage=JournalStorage(JournalFileBackend(log)))
        done = study.trials
    best = max(max(t.intermediate_values.values(), default=0.0) for t in done)
    epochs = sum(len(t.intermediate_values) for t in done)
    return {"seconds": seconds, "trials": len(done), "best": best, "epochs_trained": epochs, "processes": cores}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--torch-trials", type=int, default=1000)
    parser.add_argument("--share", type=int, default=1, help="train only one in so many without a pruner")
    parser.add_argument("--data", default="fashion_mnist")
    asked = parser.parse_args()
    sharding.a_device_for_each_core()
    experiment = Experiment(
        data=asked.data, model="linear", optimizer="momentum", penalty="l2", epochs=EPOCHS, batch_size=BATCH
    )
    space = Space(
        learning_rate=log_uniform(*RANGES["learning_rate"]), l2=log_uniform(*RANGES["l2"]),
        momentum=uniform(*RANGES["momentum"]),
    )  # fmt: skip
    trials = space.random(asked.trials, seed=0)
    rows: dict[str, Any] = {"hyperband": ours(experiment, trials, pruning.hyperband(eta=ETA))}
    print(rows["hyperband"], flush=True)
    share = trials[: -(-asked.trials // asked.share)]
    rows["without"] = ours(experiment, share, None)
    rows["without"]["seconds_for_all"] = rows["without"]["seconds"] * len(trials) / len(share)
    print(rows["without"], flush=True)
    if asked.torch_trials:
        rows["optuna_torch"] = optuna_and_torch(experiment.load_data(), asked.torch_trials)
        rows["optuna_torch"]["seconds_for_all"] = rows["optuna_torch"]["seconds"] * asked.trials / asked.torch_trials
        print(rows["optuna_torch"], flush=True)
        rows["times_faster_than_optuna_torch"] = rows["optuna_torch"]["seconds_for_all"] / rows["hyperband"]["seconds"]
    rows["times_faster_than_without"] = rows["without"]["seconds_for_all"] / rows["hyperband"]["seconds"]
    device = jax.devices()[0].device_kind
    about = {
        "what": f"{asked.trials} random trials, softmax regression, {asked.data}, up to {EPOCHS} epochs",
        "device": device, "machine": f"{platform.machine()}, {jax.local_device_count()} device(s)",
        "jax": jax.__version__,
    }  # fmt: skip
    path = Path(__file__).parent / "results" / f"pruning-{device.lower().replace(' ', '-')}.json"
    path.write_text(json.dumps({**about, **rows}, indent=1) + "\n")
    print(path)


if __name__ == "__main__":
    main()
