"""A training step of whole models, per member: ours at several widths, Flax's own, and PyTorch, in one run.

Ours is the engine's own compiled segment (a scan of steps of W members on each device, momentum, batch 64, shared
batches, a plan of the convolutions made before), on all devices. Flax's own is the model as one writes it, trained
by the same segment with XLA's convolutions. PyTorch runs one process for each core with one thread, or one on a GPU.
All are measured in turns, and the least of each counts.

    python benchmarks/models.py [--models 2c2d] [--widths 1 4] [--dtypes float32] [--turns 5]
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import functools
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax_models
import jax
import numpy as np

from jaxopt_intro import losses, make_training, models, optimizers, training
from jaxopt_intro.sweeps import sharding
from jaxopt_intro.sweeps.planning import Programs
from jaxopt_intro.sweeps.population import make_tile
from jaxopt_intro.typing import Model

OURS = {"mlp": models.mlp, "2c2d": models.cnn_2c2d, "3c3d": models.cnn_3c3d, "resnet": models.resnet}
IMAGES = {"mlp": (28, 28, 1), "2c2d": (28, 28, 1), "3c3d": (32, 32, 3), "resnet": (32, 32, 3)}
BATCH = 64
NUMBERS = ["learning_rate", "momentum.momentum"]


def data_of(name: str, cifar: str | None) -> Any:
    """Real CIFAR-10 where its folder is given; else random images, on which a step takes as long."""
    random = np.random.default_rng(0)
    if cifar and IMAGES[name] == (32, 32, 3):
        from jaxopt_intro import data

        images, labels = data.load("cifar10", data_dir=cifar).train
        return (images[:6400].astype(np.float32) - 120) / 62, labels[:6400]
    return random.standard_normal((6400, *IMAGES[name]), np.float32), random.integers(0, 10, 6400).astype(np.int32)


class Ours:
    """A population's segment, compiled; each call trains it on."""

    def __init__(self, model: Model, data: Any, width: int, devices: int, steps: int, member_steps: float):
        example = jax.tree.map(lambda x: x[:BATCH], data)
        made = make_training(model, losses.softmax_cross_entropy, optimizers.momentum, example=example)

        def evaluate(state: Any, split: Any, hparams: Any) -> Any:
            return training.evaluate(model, state, split, hparams, metrics={}, loss=losses.softmax_cross_entropy)

        def tile(width: int) -> Any:
            return make_tile(made, evaluate, width=width, objective="loss", direction="min")

        spread = sharding.Devices(devices)
        self.programs = Programs(tile, NUMBERS, data, data, BATCH, spread, member_steps=member_steps)
        self.segment = self.programs.segment(width, steps)
        self.data, self.steps, self.members = jax.device_put(data, spread.copies), steps, width * devices
        self.lanes, self.hparams = self.programs.blank(width)
        rows = np.random.default_rng(0).integers(0, 6400, (steps, BATCH))
        self.rows = jax.device_put(rows.astype(np.int32), spread.copies)

    def seconds(self) -> float:
        """Returns the seconds of one step of one member."""
        begin = time.perf_counter()
        self.lanes, totals = self.segment(self.lanes, self.hparams, self.data, self.rows)
        jax.block_until_ready((self.lanes, totals))
        return (time.perf_counter() - begin) / self.steps / self.members


class PyTorch:
    """A process for each core, or one on a GPU."""

    def __init__(self, name: str, layout: str, dtype: str, steps: int):
        on_gpu = jax.default_backend() != "cpu"
        self.steps, count = steps, 1 if on_gpu else jax.local_device_count()
        words = [name, str(BATCH), layout, "cuda" if on_gpu else "cpu", dtype]
        script = Path(__file__).parent / "torch_models.py"
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.processes: list[Any] = [
            subprocess.Popen([sys.executable, str(script), *words], **pipes) for _ in range(count)
        ]
        self.seconds()

    def seconds(self) -> float:
        """Returns the seconds of one step of one member, all processes busy."""
        for process in self.processes:
            process.stdin.write(f"{self.steps}\n")
            process.stdin.flush()
        slowest = max(float(process.stdout.readline()) for process in self.processes)
        return slowest / len(self.processes)

    def end(self) -> None:
        for process in self.processes:
            process.stdin.close()
            process.wait()


def contenders(name: str, dtype: str, asked: argparse.Namespace) -> dict[str, Callable[[], Any]]:
    """Returns what is measured, as functions that make it ready."""
    data, devices = data_of(name, asked.cifar), jax.local_device_count()
    mine = OURS[name](outputs=10)
    plain = models.from_nnx(flax_models.MODELS[name], conv=None)
    if dtype == "bfloat16":
        mine, plain = (models.with_compute_dtype(m, "bfloat16") for m in (mine, plain))
    steps = asked.steps
    found: dict[str, Callable[[], Any]] = {
        f"ours, {width} x {devices}": functools.partial(
            Ours, mine, data, width, devices, steps, 0 if asked.usual else 1e5
        )
        for width in asked.widths
    }
    if "flax" in asked.peers:
        few = 2 if jax.default_backend() == "cpu" and name != "mlp" else steps
        for width in (1, 4):
            found[f"flax, {width} x 1"] = functools.partial(Ours, plain, data, width, 1, few, 0)
    if "pytorch" in asked.peers and importlib.util.find_spec("torch"):
        for layout in ("contiguous", "channels_last") if name != "mlp" else ("contiguous",):
            found[f"pytorch, {layout}"] = functools.partial(PyTorch, name, layout, dtype, steps)
    return found


def measured(name: str, dtype: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Returns the microseconds of one step of one member, the least of some turns, for each contender."""
    makers = contenders(name, dtype, asked)

    def ready(maker: Callable[[], Any]) -> Any:
        with contextlib.suppress(jax.errors.JaxRuntimeError, MemoryError):
            return maker()
        return None

    with concurrent.futures.ThreadPoolExecutor(asked.threads) as pool:
        made = dict(zip(makers, pool.map(ready, makers.values()), strict=True))
    seconds: dict[str, list[float]] = {label: [] for label, one in made.items() if one is not None}
    for turn in range(asked.turns):
        for label in seconds:
            if not (turn > 1 and label.startswith("flax")):  # a second or two each
                seconds[label].append(made[label].seconds())
    for one in made.values():
        if isinstance(one, PyTorch):
            one.end()
    flop = 3 * models.cost(OURS[name](outputs=10), jax.ShapeDtypeStruct((1, *IMAGES[name]), "float32")).flop * BATCH
    least = {label: 1e6 * min(values) for label, values in seconds.items()}
    row = {"model": name, "dtype": dtype, "flop": flop, "microseconds": least, "ratios": ratios(least)}
    for label, value in least.items():
        print(f"{name:<7} {dtype:<9} {label:<24} {value:12.1f} us, {flop / value / 1e3:8.1f} GFLOP/s", flush=True)
    print(f"{name:<7} {dtype:<9} { ({k: round(v, 2) for k, v in row['ratios'].items()}) }", flush=True)
    return row


def ratios(least: dict[str, float]) -> dict[str, float]:
    """Returns how many times faster the fastest of ours is than each peer, and than one member after the other."""
    ours = {label: value for label, value in least.items() if label.startswith("ours")}
    best = min(ours.values())
    found = {label: value / best for label, value in least.items() if label not in ours}
    alone = [value for label, value in ours.items() if label.startswith("ours, 1 x")]
    return found | ({"one after the other": alone[0] / best} if alone else {})


def main() -> None:
    """Measures the models and writes what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(OURS), choices=list(OURS))
    parser.add_argument("--widths", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--dtypes", nargs="+", default=["float32"], choices=["float32", "tf32", "bfloat16"])
    parser.add_argument("--peers", nargs="*", default=["flax", "pytorch"])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1, help="programs that are compiled at once")
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--usual", action="store_true", help="convolutions as is usual, not measured")
    parser.add_argument("--cifar", help="a folder with CIFAR-10's original files")
    parser.add_argument("--out", default=str(Path(__file__).parent / "results"))
    asked = parser.parse_args()
    until = time.perf_counter() + asked.seconds
    sharding.a_device_for_each_core()
    device = jax.devices()[0]
    precision = {"float32": "highest", "tf32": "tensorfloat32", "bfloat16": None}
    result: dict[str, Any] = {
        "device": device.device_kind, "devices": jax.local_device_count(), "jax": jax.__version__, "batch": BATCH,
        "rows": [],
    }  # fmt: skip
    path = Path(asked.out) / f"models-{device.device_kind.lower().replace(' ', '-')}.json"
    for dtype in asked.dtypes:
        for name in asked.models:
            if time.perf_counter() < until:
                jax.config.update("jax_default_matmul_precision", precision[dtype])
                result["rows"].append(measured(name, dtype, asked))
                path.write_text(json.dumps(result, indent=1) + "\n")
    print(path)


if __name__ == "__main__":
    main()
