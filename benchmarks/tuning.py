"""Hypergradient descent against a grid: softmax regression on Fashion-MNIST, learning rate and L2 strength.

Both choose by the validation split. A grid's trial and a tuning's iteration train the same steps on the same batches;
an iteration differentiates them too, forward by two numbers, so it is counted as three trainings.

    python benchmarks/tuning.py [--data fashion_mnist] [--epochs 2] [--iterations 12]
"""

from __future__ import annotations

import argparse
import functools
import json
import platform
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_intro import data, losses, make_training, models, optimizers, regularizers, training
from jaxopt_intro.data import batching
from jaxopt_intro.experiment.assembling import make_prepare
from jaxopt_intro.metrics import accuracy
from jaxopt_intro.typing import Training

STARTS = {"learning_rate": [0.003, 0.003, 0.3], "l2": [1e-3, 3e-2, 3e-2]}
GRID = {"learning_rate": np.geomspace(1e-3, 1.0, 8), "l2": np.geomspace(1e-6, 1e-1, 8)}


def problem(name: str, epochs: int) -> tuple[Any, ...]:
    """The training of rows, how it starts, its rows, and the validation's loss and accuracy."""
    dataset = data.load(name, valid=0.1)
    (x, y), (valid_x, valid_y) = jax.device_put((dataset.train, dataset.valid))
    prepare, model = make_prepare(dataset.info), models.linear(outputs=dataset.info.num_classes or 0)
    made = make_training(
        model, losses.softmax_cross_entropy, optimizers.sgd, example=(x[:2], y[:2]), penalty=regularizers.l2,
        prepare=prepare,
    )  # fmt: skip
    whole = Training(made.init, lambda state, rows, hparams: made.step(state, (x[rows], y[rows]), hparams))
    rows = jnp.concatenate([batching.epoch_indices(len(y), 128, seed=0, epoch=e) for e in range(epochs)])
    start = made.init(jax.random.key(0), {"learning_rate": 0.1, "l2": 0.1})

    def scores(state: Any) -> jax.Array:
        return model.apply(state.params, {}, prepare(valid_x), train=False, key=None, hparams={})[0]

    def loss(state: Any, hparams: Any) -> jax.Array:
        return jnp.mean(losses.softmax_cross_entropy(scores(state), valid_y))

    return whole, start, rows, loss, lambda state: jnp.mean(accuracy(scores(state), valid_y))


def main() -> None:
    """Runs both and writes what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="fashion_mnist")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=12)
    asked = parser.parse_args()
    whole, start, rows, loss, score = problem(asked.data, asked.epochs)

    @jax.jit
    def trained(hparams: Any) -> jax.Array:
        return score(jax.lax.scan(lambda s, r: (whole.step(s, r, hparams)[0], None), start, rows)[0])

    points = [{"learning_rate": r, "l2": s} for r in GRID["learning_rate"] for s in GRID["l2"]]
    grid = [float(trained(point)) for point in points]
    best = int(np.argmax(grid))
    tune = jax.jit(functools.partial(training.tune, whole, start, rows, loss, iterations=asked.iterations))
    found = []
    for rate, strength in zip(*STARTS.values(), strict=True):
        at = {"learning_rate": rate, "l2": strength}
        tuned = tune(at)
        found.append({
            "start": at, "start_accuracy": float(trained(at)), "accuracy": float(trained(tuned.hparams)),
            "hparams": {name: float(v) for name, v in tuned.hparams.items()}, "losses": tuned.values.tolist(),
        })  # fmt: skip
        print(f"from {at}: {found[-1]['start_accuracy']:.4f} -> {found[-1]['accuracy']:.4f}", flush=True)
    steps = len(rows)
    result = {
        "device": jax.devices()[0].device_kind, "machine": platform.machine(), "jax": jax.__version__,
        "data": asked.data, "epochs": asked.epochs, "grid_best": grid[best], "grid_at": points[best],
        "grid_steps": steps * len(points), "tune_steps": 3 * steps * asked.iterations, "tuned": found,
    }  # fmt: skip
    print(f"grid of {len(points)}: {grid[best]:.4f} in {result['grid_steps']} steps")
    print(f"tuning, from each start: {result['tune_steps']} steps")
    path = Path(__file__).parent / "results" / f"tuning-{jax.default_backend()}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(path)


if __name__ == "__main__":
    main()
