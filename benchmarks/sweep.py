"""Trials per second: a sweep against the same trials one after the other, as a jitted step in a Python loop.

Softmax regression on Fashion-MNIST, one learning rate a trial. Both train the same steps on the same batches and
validate after every epoch; both keep the data on the device. The loop is what one writes without this library: a jitted
step with donated state, its learning rate an argument, so that it compiles once for all trials.

    python benchmarks/sweep.py [--trials 128] [--epochs 5] [--data fashion_mnist] [--repeats 3]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxopt_intro import Experiment, Space, log_uniform, results, sweep
from jaxopt_intro.data import Dataset, batching
from jaxopt_intro.experiment.assembling import assemble
from jaxopt_intro.sweeps import sharding


def in_a_loop(experiment: Experiment, dataset: Dataset, rates: list[float]) -> dict[str, Any]:
    """Trains the trials one after the other; returns seconds and the best accuracy of each."""
    assembly = assemble(experiment, dataset)
    train, valid = jax.device_put((dataset.train, dataset.valid))

    def step(state: Any, rows: Any, rate: Any) -> Any:
        batch = jax.tree.map(lambda x: x[rows], train)
        return assembly.training.step(state, batch, {"learning_rate": rate})

    begin = time.perf_counter()
    init = jax.jit(lambda key, rate: assembly.training.init(key, {"learning_rate": rate}))
    step = jax.jit(step, donate_argnums=0)
    evaluate = jax.jit(lambda state, rate: assembly.evaluate(state, valid, {"learning_rate": rate}))
    count, size = len(dataset.train[1]), experiment.batch_size
    orders = [batching.epoch_indices(count, size, seed=experiment.data_seed, epoch=e) for e in range(experiment.epochs)]
    state, _ = step(init(jax.random.key(0), rates[0]), orders[0][0], rates[0])
    jax.block_until_ready(evaluate(state, rates[0]))
    compiled = time.perf_counter()
    best = []
    for rate in rates:
        state, scores = init(jax.random.key(experiment.seed), rate), []
        for order in orders:
            for rows in order:
                state, _ = step(state, rows, rate)
            scores.append(evaluate(state, rate)["accuracy"])
        best.append(max(float(s) for s in scores))
    return {"compile": compiled - begin, "run": time.perf_counter() - compiled, "best": best}


def as_sweep(experiment: Experiment, trials: list[Any]) -> dict[str, Any]:
    """Runs the sweep; returns seconds, those of choosing the width apart, and the best accuracy of each trial."""
    with tempfile.TemporaryDirectory() as directory:
        begin = time.perf_counter()
        found = sweep(experiment, trials, directory=f"{directory}/run")
        whole = time.perf_counter() - begin
        epochs = found.sizes["epoch"]
        receipt = json.loads(found.attrs["receipt"])
        scores = results.summary(found).score.values
    return {
        "whole": whole,
        "compile": receipt["compile_seconds"],
        "run": receipt["run_seconds"],
        "width": receipt["groups"][0]["width"],
        "rates": receipt["groups"][0]["rates"],
        "epochs": epochs,
        "best": scores.tolist(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="fashion_mnist")
    parser.add_argument("--trials", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    sharding.a_device_for_each_core()  # as the command does; the loop's steps still run on all cores
    experiment = Experiment(data=asked.data, model="linear", optimizer="sgd", epochs=asked.epochs)
    dataset = experiment.load_data()
    trials = Space(learning_rate=log_uniform(1e-4, 1.0)).grid(asked.trials)
    rates = [trial.hparams["learning_rate"] for trial in trials]
    rows = []
    for repeat in range(asked.repeats):
        ours, theirs = as_sweep(experiment, trials), in_a_loop(experiment, dataset, rates)
        apart = float(np.max(np.abs(np.array(ours.pop("best")) - np.array(theirs.pop("best")))))
        row = {
            "sweep": ours,
            "loop": theirs,
            "ratio_compile_aside": theirs["run"] / ours["run"],
            "ratio_in_all": (theirs["run"] + theirs["compile"]) / ours["whole"],
            "largest_difference_of_best_accuracy": apart,
        }
        rows.append(row)
        print(
            f"repeat {repeat + 1}: sweep {ours['run']:.1f} s (in all {ours['whole']:.1f}), width {ours['width']}; ",
            end="",
        )
        print(f"loop {theirs['run']:.1f} s; ratio {row['ratio_compile_aside']:.1f}, in all {row['ratio_in_all']:.1f}")
    summary = {
        "what": f"{asked.trials} learning rates, softmax regression, {asked.data}, {asked.epochs} epochs",
        "device": jax.devices()[0].device_kind,
        "machine": f"{platform.machine()}, {jax.local_device_count()} device(s)",
        "jax": jax.__version__,
        "median_ratio_compile_aside": statistics.median(r["ratio_compile_aside"] for r in rows),
        "median_ratio_in_all": statistics.median(r["ratio_in_all"] for r in rows),
        "repeats": rows,
    }
    print(f"median ratio of trials per second: {summary['median_ratio_compile_aside']:.1f} compile aside, ", end="")
    print(f"{summary['median_ratio_in_all']:.1f} in all")
    path = Path(__file__).parent / "results" / f"sweep-{jax.devices()[0].device_kind.lower().replace(' ', '-')}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(summary, indent=1) + "\n")
    print(path)


if __name__ == "__main__":
    main()
