"""Every way to compute a convolution and its gradients, outside and inside a loop, alone and for many members.

The way "xla" is Flax's own: XLA's convolution, its own gradients, and for members side by side its grouped convolution.
PyTorch (`pip install ".[bench]"`) computes the same for one member. All is measured in one run, on a CPU on one of its
cores, beside the largest rate of a matrix product there.

    python benchmarks/layers.py [--members 1 4 16 64] [--dtypes float32] [--only 2c2d] [--seconds 3600]
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import functools
import importlib.util
import json
import os
import time
from pathlib import Path
from typing import Any

if "cuda" not in os.environ.get("JAX_PLATFORMS", "") and importlib.util.find_spec("jax_cuda13_plugin") is None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one core, before JAX counts them

import jax
import jax.numpy as jnp
import numpy as np
from shapes import shapes

from jaxopt_intro.models.layers import lowering, planning
from jaxopt_intro.models.layers.geometry import OPERANDS, Geometry

PRECISIONS = {"float32": ("float32", "highest"), "tf32": ("float32", "tensorfloat32"), "bfloat16": ("bfloat16", None)}
WORTH = 2.0


def main() -> None:
    """Measures everything that was asked for until the time is up, and writes what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--dtypes", nargs="+", default=["float32"], choices=list(PRECISIONS))
    parser.add_argument("--only", nargs="+", default=[""], help="shapes whose names hold one of these words")
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--threads", type=int, default=1, help="programs that are compiled at once")
    parser.add_argument("--inside", action="store_true", help="inside a loop alone")
    parser.add_argument("--out", default=str(Path(__file__).parent / "results"))
    asked = parser.parse_args()
    until, device = time.perf_counter() + asked.seconds, jax.devices()[0]
    name = device.device_kind.lower().replace(" ", "-")
    result: dict[str, Any] = {
        "device": device.device_kind, "jax": jax.__version__, "examples": 64,
        "peak_gflops": {dtype: peak(dtype) for dtype in asked.dtypes}, "rows": [],
    }  # fmt: skip
    print("peak of a matrix product, GFLOP/s:", {k: round(v) for k, v in result["peak_gflops"].items()}, flush=True)
    path = Path(asked.out) / f"layers-{name}.json"
    for dtype in asked.dtypes:
        for members in asked.members:
            for label, geometry in shapes().items():
                if any(word in label for word in asked.only) and time.perf_counter() < until:
                    result["rows"] += measured(label, geometry, members, dtype, asked)
                    path.write_text(json.dumps(result, indent=1) + "\n")
    summary(result)
    print(path)


def peak(dtype: str) -> float:
    """Returns the GFLOP/s of a large matrix product."""
    name, precision = PRECISIONS[dtype]
    size = 2048 if jax.default_backend() == "cpu" else 8192
    a = jnp.asarray(np.random.default_rng(0).standard_normal((size, size), np.float32), name)
    multiply = functools.partial(jnp.matmul, precision=precision)
    return 2 * size**3 / planning.seconds_of(planning.in_loop(multiply, a, a)) / 1e9


def measured(
    label: str, geometry: Geometry, members: int, dtype: str, asked: argparse.Namespace
) -> list[dict[str, Any]]:
    """Returns a row for every way, place and peer."""
    shared = label.endswith("first") and members > 1
    one = geometry
    if shared:  # all members' kernels are one
        geometry = geometry._replace(features=geometry.features * members)
    elif members > 1:
        geometry = geometry._replace(members=members)
    rows, name, precision = [], *PRECISIONS[dtype]
    for wanted in ("outputs", "kernel") if label.endswith("first") else OPERANDS:
        random = np.random.default_rng(0)
        operands = [jnp.asarray(random.standard_normal(geometry.shape(a), np.float32), name) for a in OPERANDS[wanted]]
        row = {"shape": label, "what": wanted, "members": members, "dtype": dtype, "flop": geometry.flop}
        for way, (inside, outside) in times(wanted, geometry, operands, precision, asked).items():
            for place, seconds in (("inside", inside), ("outside", outside)):
                if seconds is not None:
                    rows.append({**row, "way": way, "place": place, "microseconds": 1e6 * seconds})
        if members == 1 and importlib.util.find_spec("torch"):
            rows.append(
                {**row, "way": "pytorch", "place": "outside", "microseconds": 1e6 * torch_time(wanted, one, dtype)}
            )
        best = min((r for r in rows if r["what"] == wanted and r["place"] == "inside"), key=lambda r: r["microseconds"])
        took = best["microseconds"]
        print(
            f"{label:<25} {wanted:<8} {members:>4} members {dtype:<9}: {best['way']:<16} "
            f"{took / members:9.1f} us a member, {geometry.flop / took / 1e3:8.1f} GFLOP/s", flush=True,
        )  # fmt: skip
    return rows


def times(
    wanted: str, geometry: Geometry, operands: list[Any], precision: Any, asked: argparse.Namespace
) -> dict[str, tuple[float, float | None]]:
    """Returns the seconds of each way inside and outside a loop; infinite where it failed."""
    on_cpu = jax.default_backend() == "cpu"

    def compiled(name: str) -> Any:
        way = functools.partial(
            lowering.compute, wanted, name, geometry=geometry, precision=precision, dtype=operands[0].dtype
        )
        with contextlib.suppress(jax.errors.JaxRuntimeError, NotImplementedError):
            outside = None if asked.inside else jax.jit(way).lower(*operands).compile()
            return planning.in_loop(way, *operands), outside
        return None

    names = lowering.candidates(wanted, geometry)
    if not on_cpu:
        names = [n for n in names if lowering.WAYS[wanted][n.removesuffix(lowering.IN_TURN)].on is None]
    with concurrent.futures.ThreadPoolExecutor(asked.threads) as pool:
        programs = dict(zip(names, pool.map(compiled, names), strict=True))
    found, best = {}, float("inf")
    for name, made in programs.items():
        found[name] = (float("inf"), float("inf"))
        with contextlib.suppress(jax.errors.JaxRuntimeError):  # out of memory
            if made is not None:
                inside = planning.seconds_of(made[0], worth=max(20 * best, WORTH))
                found[name] = (inside, made[1] and outside_seconds(made[1], operands, 20 * best))
        best = min(best, found[name][0])
    return found


def outside_seconds(call: Any, operands: list[Any], worth: float) -> float:
    def seconds(count: int) -> float:
        begin = time.perf_counter()
        for _ in range(count):
            made = call(*operands)
        jax.block_until_ready(made)
        return (time.perf_counter() - begin) / count

    first = seconds(1)
    if first > max(worth, WORTH):
        return first
    return min(seconds(max(2, min(100, round(0.03 / first)))) for _ in range(3))


def torch_time(wanted: str, geometry: Geometry, dtype: str) -> float:
    """Returns the seconds of PyTorch's convolution, or of one of its gradients, channels last if that is faster."""
    import torch  # pyright: ignore[reportMissingImports]

    on_gpu = jax.default_backend() != "cpu" and torch.cuda.is_available()
    torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = dtype == "tf32"
    torch.backends.cudnn.benchmark = True
    where = {"device": "cuda" if on_gpu else "cpu", "dtype": torch.bfloat16 if dtype == "bfloat16" else torch.float32}
    (low, high), *_ = geometry.padding
    n, c, o, k = geometry.examples, geometry.channels, geometry.features, geometry.kernel
    size = [s + (low != high) for s in geometry.size]  # PyTorch pads both sides alike
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        x, w = (torch.randn(s, **where).to(memory_format=layout) for s in ((n, c, *size), (o, c, *k)))  # type: ignore
        padding = [low, low]
        y = torch.nn.functional.conv2d(x, w, stride=geometry.strides, padding=padding)
        mask = [wanted == "images", wanted == "kernel", False]
        backward = functools.partial(
            torch.ops.aten.convolution_backward,
            y,
            x,
            w,
            None,
            geometry.strides,
            padding,
            [1, 1],
            False,
            [0, 0],
            1,
            mask,
        )
        forward = functools.partial(torch.nn.functional.conv2d, x, w, None, geometry.strides, padding)
        call = forward if wanted == "outputs" else backward
        wait = torch.cuda.synchronize if on_gpu else lambda: None
        for _ in range(3):
            call()
        for _ in range(3):
            wait()
            begin = time.perf_counter()
            for _ in range(20):
                call()
            wait()
            found.append((time.perf_counter() - begin) / 20)
    return min(found)


def summary(result: dict[str, Any]) -> None:
    """Prints, of each convolution inside a loop, the fastest way, Flax's own over it, and PyTorch's over it."""
    rows = result["rows"]
    print(f"\n{'inside a loop':<54} {'fastest':<16} {'of peak':>7} {'flax/ours':>9} {'pytorch/ours':>12}")
    keys = dict.fromkeys((r["shape"], r["what"], r["members"], r["dtype"]) for r in rows)
    for key in keys:
        own = [r for r in rows if (r["shape"], r["what"], r["members"], r["dtype"]) == key]
        inside = {r["way"]: r["microseconds"] for r in own if r["place"] == "inside"}
        best = min(inside, key=lambda n: inside[n])
        peers = [
            r["microseconds"] for r in rows
            if r["way"] == "pytorch" and (r["shape"], r["what"], r["dtype"]) == (key[0], key[1], key[3])
        ]  # fmt: skip
        flax = f"{inside['xla'] / inside[best]:9.1f}" if "xla" in inside else " " * 9
        torch = f"{peers[0] * key[2] / inside[best]:12.2f}" if peers else ""
        share = own[0]["flop"] / inside[best] / 1e3 / result["peak_gflops"][key[3]]
        print(f"{key[0]:<25} {key[1]:<8} {key[2]:>4} members {key[3]:<9} {best:<16} {share:7.0%} {flax} {torch}")


if __name__ == "__main__":
    main()
