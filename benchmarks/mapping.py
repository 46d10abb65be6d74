"""A map of 257 x 257 trainings of a small network on digits, against a jitted step in a Python loop.

All points at once, then what refinement gives for a part of them: the share of the picture that it gets wrong, by more
than 0.05 of the objective or on the other side of the edge. The loop trains
some of the same points, and is extrapolated.

    python benchmarks/mapping.py [--resolution 256] [--loop 1000]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

from jaxopt_intro.sweeps import sharding

sharding.a_device_for_each_core()

import jax  # noqa: E402 - after the devices are set
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from jaxopt_intro import Experiment, Space, landscape, log_uniform  # noqa: E402
from jaxopt_intro.experiment import mapping  # noqa: E402
from jaxopt_intro.experiment.points import problem  # noqa: E402
from jaxopt_intro.results import maps  # noqa: E402

EXPERIMENT = Experiment(data="digits", model="mlp", optimizer="sgd", penalty="l2", epochs=5)
SPACE = Space(learning_rate=log_uniform(1e-3, 10.0), l2=log_uniform(1e-6, 1.0), widths=(16,))
SHARES = (1 / 64, 1 / 16, 1 / 8, 1 / 4)
WRONG = 0.05


def whole(resolution: int) -> tuple[Any, float]:
    """The map of all points, and the seconds that it took with everything."""
    begin = time.perf_counter()
    found = landscape(
        EXPERIMENT, SPACE, tempfile.mkdtemp(), resolution=resolution, points=(resolution + 1) ** 2, arrows=False
    )
    return found, time.perf_counter() - begin


def refined(every: Any, width: int) -> list[dict[str, float]]:
    """For each share of the points: how much of the picture is wrong that refinement makes of them.

    What a point gives does not depend on the others, so its trainings are looked up.
    """
    known = maps.read_lanes(Path(every.attrs["map"]))
    side = every.sizes["l2"]
    place = np.full(side * side, -1)
    place[known.row * side + known.column] = np.arange(len(known.row))
    truth, found = maps.filled(every), []
    for share in SHARES:
        budget, lanes = int(share * side * side), maps.no_lanes()
        record = {"resolution": side - 1, "replicates": 1, "direction": "max", "seed": 0}
        record["round"] = 2 * width * max(1, -(-budget // (mapping.ROUNDS * 2 * width)))
        while len(chosen := mapping.next_round(lanes, record, budget)[0]):
            rows = place[chosen[:, 0] * side + chosen[:, 1]]
            lanes = maps.Lanes(*(np.concatenate([a, b[rows]]) for a, b in zip(lanes, known, strict=True)))
        fields = maps.fields(lanes, side - 1)
        guess = [maps.fill(field, fields.seeds > 0) for field in (fields.mean, fields.diverged)]
        other = (guess[1] >= 0.5) != (truth[1] >= 0.5)
        far = np.abs(guess[0] - truth[0]) > WRONG
        found.append({"share": share, "points": len(lanes.row), "wrong": float((other | far).mean())})
    return found


def loop(count: int, resolution: int) -> tuple[float, float]:
    """Seconds of a training in a Python loop around a jitted step, the first ones aside; the mean of the accuracies."""
    asked = mapping._asked(EXPERIMENT, SPACE, resolution, 1, False, "float32")
    of = problem(asked.program, asked.dataset, "accuracy", "max", ["learning_rate", "l2"], "float32")
    train, valid = asked.dataset.train, asked.dataset.valid
    batches = [jax.tree.map(lambda x, rows=rows: jnp.asarray(x[rows]), train) for rows in of.rows]
    init, step, evaluate = jax.jit(of.training.init), jax.jit(of.training.step), jax.jit(of.evaluate)
    x, y = (maps.lattice(asked.record[side], resolution, "float32") for side in ("x", "y"))
    draw, scores, begin = np.random.default_rng(0), [], 0.0
    for number in range(count + 2):
        if number == 2:  # the first compile
            begin = time.perf_counter()
        hparams = {"learning_rate": np.float32(draw.choice(x)), "l2": np.float32(draw.choice(y))}
        state = init(jax.random.key(0), hparams)
        for batch in batches:
            state, _ = step(state, batch, hparams)
        scores.append(float(evaluate(state, valid, hparams)["accuracy"]))
    return (time.perf_counter() - begin) / count, float(np.mean(scores))


def main() -> None:
    """Runs all and writes what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--loop", type=int, default=1000)
    asked = parser.parse_args()
    every, seconds = whole(asked.resolution)
    width = maps.read_asked(Path(every.attrs["map"]))["width"]
    points = every.seeds.size
    print(f"{points} points in {seconds:.1f} s, {width} side by side on each device", flush=True)
    each, _ = loop(asked.loop, asked.resolution)
    times = each * points / seconds
    print(f"a loop: {each * 1e3:.2f} ms a point, {each * points:.0f} s for all, {times:.1f} times as long")
    shares = refined(every, width)
    for row in shares:
        print(f"{row['share']:.3f} of the points: {row['wrong']:.2%} of the picture wrong")
    result = {
        "device": jax.devices()[0].device_kind, "machine": platform.machine(), "cores": os.cpu_count(),
        "devices": jax.local_device_count(), "jax": jax.__version__, "points": points, "width": width,
        "map_seconds": seconds, "loop_points": asked.loop, "loop_seconds_a_point": each,
        "loop_seconds_extrapolated": each * points, "load": os.getloadavg()[0],
        "diverged": float((every.diverged > 0).mean()), "refined": shares,
    }  # fmt: skip
    path = Path(__file__).parent / "results" / f"mapping-{jax.default_backend()}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(path)


if __name__ == "__main__":
    main()
