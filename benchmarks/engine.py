"""Three questions to the sweep engine, on the device that is there.

python benchmarks/engine.py widths      is the width that `auto` chooses as fast as the best fixed one, compile aside?
python benchmarks/engine.py search      do tpe and cmaes find more than chance, on the same budget, over 10 seeds?
python benchmarks/engine.py host        how much time is outside of compiled programs, from 1 to 4,096 trials?
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxopt_intro import Experiment, Space, adaptive, log_uniform, sweep, uniform
from jaxopt_intro.sweeps import sharding

NETWORKS = {"linear": 1_500, "mlp": 50, "2c2d": 4}
"""How many steps each trains: the sweep of 64 takes some seconds."""
COUNTS, WIDTHS = (1, 8, 64), (1, 2, 4, 8, 16, 32)
SEEDS, BUDGET = 10, 60


def receipt_of(experiment: Experiment, trials: Any, **asked: Any) -> tuple[dict[str, Any], Any]:
    """Runs a sweep in a directory of its own; returns its receipt and what it found."""
    with tempfile.TemporaryDirectory() as directory:
        found = sweep(experiment, trials, directory=f"{directory}/run", **asked)
        return json.loads(found.attrs["receipt"]), found


def widths(repeats: int = 3) -> list[dict[str, Any]]:
    """Seconds of running, compiling aside, at the width that is chosen and at every fixed one, in turn."""
    rows = []
    for model, steps in NETWORKS.items():
        experiment = Experiment(data="fashion_mnist", model=model, optimizer="momentum", steps=steps, valid=1000)
        for count in COUNTS:
            trials = Space(learning_rate=log_uniform(1e-4, 1e-2)).grid(count)
            fixed = [w for w in WIDTHS if w * jax.local_device_count() <= 2 * count]
            seconds: dict[Any, list[float]] = {w: [] for w in (None, *fixed)}
            chosen, choosing = set(), []
            for _ in range(repeats if model != "2c2d" else 1):
                for width, taken in seconds.items():
                    receipt, _ = receipt_of(experiment, trials, width=width)
                    taken.append(receipt["run_seconds"])
                    if width is None:
                        chosen.add(receipt["groups"][0]["width"])
                        choosing.append(receipt["measuring_seconds"])
            medians = {width: statistics.median(taken) for width, taken in seconds.items()}
            auto, best = medians.pop(None), min(medians, key=lambda w: medians[w])
            row = {
                "model": model, "trials": count, "chosen": sorted(chosen), "auto_seconds": auto,
                "choosing_seconds": statistics.median(choosing),
                "fixed_seconds": medians, "best": best, "best_over_auto": medians[best] / auto,
            }  # fmt: skip
            print(row, flush=True)
            rows.append(row)
    return rows


def search() -> dict[str, Any]:
    """The best validation accuracy that each sampler finds, by seed."""
    space = Space(
        learning_rate=log_uniform(1e-5, 10.0), l2=log_uniform(1e-7, 1e-1), momentum=uniform(0.0, 0.99),
    )  # fmt: skip
    experiment = Experiment(
        data="fashion_mnist_small", model="linear", optimizer="momentum", penalty="l2", epochs=3, valid=1000
    )
    found: dict[str, Any] = {}
    for sampler in ("random", "tpe", "cmaes"):
        best = []
        for seed in range(SEEDS):
            _, results = receipt_of(experiment, adaptive(space, sampler, trials=BUDGET, seed=seed), width=3)
            best.append(float(np.nanmax(results.score.values)))
        error = statistics.stdev(best) / len(best) ** 0.5
        found[sampler] = {"mean": statistics.mean(best), "standard_error": error, "best": best}
        print(sampler, f"{found[sampler]['mean']:.4f} ± {error:.4f}", flush=True)
    return found


def host() -> list[dict[str, Any]]:
    """Seconds outside of compiled programs, for more and more trials of the same work in all."""
    rows = []
    for count in (1, 16, 256, 4096):
        experiment = Experiment(
            data="fashion_mnist_small", model="linear", optimizer="sgd", epochs=max(1, 512 // count)
        )
        space = Space(learning_rate=log_uniform(1e-4, 1e-1))
        receipt, _ = receipt_of(experiment, space.random(count), width=min(64, count))
        host_seconds, run = receipt["host_seconds"], receipt["run_seconds"]
        rows.append({"trials": count, "run_seconds": run, "host_seconds": host_seconds, "share": host_seconds / run})
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["widths", "search", "host"])
    asked = parser.parse_args()
    sharding.a_device_for_each_core()
    rows = {"widths": widths, "search": search, "host": host}[asked.what]()
    device = jax.devices()[0].device_kind
    about = {"device": device, "machine": f"{platform.machine()}, {jax.local_device_count()} device(s)"}
    path = Path(__file__).parent / "results" / f"engine-{asked.what}-{device.lower().replace(' ', '-')}.json"
    path.write_text(json.dumps({**about, "jax": jax.__version__, "rows": rows}, indent=1) + "\n")
    print(path)


if __name__ == "__main__":
    main()
