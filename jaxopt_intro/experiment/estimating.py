"""What a group's programs will take, before one is compiled: counted in their jaxprs, over the speed of this device."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import jaxprs_in_params

from jaxopt_intro.data import Dataset
from jaxopt_intro.models.cost import operations
from jaxopt_intro.models.layers.planning import equations
from jaxopt_intro.sweeps import planning
from jaxopt_intro.sweeps.engine import Group
from jaxopt_intro.sweeps.population import make_tile
from jaxopt_intro.typing import PyTree

# Seconds to trace, lower and compile an equation; and to dispatch one, by platform.
COMPILE_SECONDS = 6e-3
_DISPATCH_SECONDS = {"cpu": 0.5e-6}
_OTHER_DISPATCH_SECONDS = 1e-6
# What an element that is written, and an operation of a convolution, cost in operations of a matrix product.
ELEMENT_OPERATIONS = 30
CONVOLUTION_OPERATIONS = 3
# What decomposing a matrix of n rows costs, over n ** 3.
DECOMPOSITION_OPERATIONS = 40
_DECOMPOSITIONS = ("cholesky", "eig", "eigh", "geqrf", "lu", "qr", "svd")
# What a host needs for a tile's validation and records.
ROUND_SECONDS = 3e-3
MEASURING_SECONDS = 0.2


class Estimate(NamedTuple):
    """About what a group takes.

    Attributes:
        width: Lanes of a tile on a device: as asked, or about what measuring will choose.
        tiles: How many tiles of that width there are, on all devices together.
        lane_bytes: What a lane keeps between steps: parameters, their best, the optimizer's state.
        compile_seconds: To trace, lower and compile.
        run_seconds: To measure widths, train and validate.
    """

    width: int
    tiles: int
    lane_bytes: int
    compile_seconds: float
    run_seconds: float


class Counted(NamedTuple):
    """What is counted in a group's programs.

    Attributes:
        equations: Of `init`, of a segment, and of `validate`.
        step: The work of a step of a lane, in operations of a matrix product.
        validation: The work of a validation of a lane.
        lane_bytes: What a lane keeps between steps.
    """

    equations: tuple[int, int, int]
    step: float
    validation: float
    lane_bytes: int


def estimate(
    group: Group, dataset: Dataset, objective: str, direction: str, *, width: int | None = None, devices: int = 1
) -> Estimate:
    """Estimates what a group will take; it is traced, and nothing is compiled but a matrix product.

    Compiling is taken to be in proportion to the number of equations, running to the operations of products and
    convolutions and to the elements written, at the rate of a product that is measured once, and to the equations of a
    step, which are dispatched one by one. A loop of unknown length counts once. How widths and convolutions are
    measured is not estimated, but for the steps that a width is tried with.

    The factors were fitted on a CPU of two cores to a linear model with SGD, an MLP with momentum, Adam and Shampoo,
    the "2c2d" network with momentum, and a residual network with Adam. In sweeps of 3 to 25 seconds of each, with
    little else running, compiling took 0.7 to 1.1 times the estimate, running 0.8 to 2.3 times, but with convolutions
    of small images 3.4 and 5.8 times; both together 0.8 to 1.7 times. Beside much other work all of it takes 3 times as
    long and more. On a GPU nothing was measured.

    Args:
        group: The group.
        dataset: Its data.
        objective: The metric that decides.
        direction: "max" or "min".
        width: Lanes of a tile on a device; None guesses what measuring will choose.
        devices: How many devices train a tile each.
    """
    counted = _counted(group, dataset, objective, direction, 1 if width == 1 else 2)
    members, rounds = len(group.members), group.rounds
    devices = min(devices, members)
    tried = [width] if width else _widths(counted, members, rounds, devices)
    chosen = min(tried, key=lambda w: -(-members // (w * devices)) * _tile_seconds(counted, w, devices))
    tiles = -(-members // (chosen * devices))
    segment = min(rounds[0], max(1, int(planning.SEGMENT_SECONDS / _tile_seconds(counted, chosen, devices))))
    compiled = {(w, _probe_steps(w, rounds[0])) for w in tried}
    compiled |= {(chosen, length) for steps in rounds for length in planning.lengths(steps, segment)}
    init, one_segment, validate = counted.equations
    probing = sum(2 * _probe_steps(w, rounds[0]) * _tile_seconds(counted, w, devices) for w in tried)
    validating = chosen * _sharing(devices) * counted.validation / rate() + validate * _dispatch_seconds()
    training = sum(rounds) * _tile_seconds(counted, chosen, devices)
    running = tiles * (training + len(rounds) * (validating + ROUND_SECONDS))
    return Estimate(
        chosen,
        tiles * devices,
        counted.lane_bytes,
        COMPILE_SECONDS * (init + validate + len(compiled) * one_segment),
        probing + running,
    )


@functools.cache
def rate() -> float:
    """Returns the operations a second of a small matrix product on this device, measured for a fifth of a second."""
    product, matrix = jax.jit(jnp.matmul), jnp.ones((512, 512))
    product(matrix, matrix).block_until_ready()
    times, begin = 0, time.perf_counter()
    while (spent := time.perf_counter() - begin) < MEASURING_SECONDS:
        product(matrix, matrix).block_until_ready()
        times += 1
    return times * 2 * 512**3 / spent


def bytes_of(tree: PyTree) -> int:
    """Returns the bytes of a tree of arrays or shapes.

    Examples:
        >>> bytes_of({"w": jnp.ones((3, 2)), "key": jax.ShapeDtypeStruct((), "uint32")})
        28
    """
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def _counted(group: Group, dataset: Dataset, objective: str, direction: str, width: int) -> Counted:
    tile = make_tile(
        group.training, group.evaluate, width=width, objective=objective, direction=direction,
        stopping=group.stopping, average=group.average,
    )  # fmt: skip
    shape = jax.ShapeDtypeStruct
    numbers = {name: shape((width,), "float32") for name in group.members[0].hparams}
    train, valid = jax.tree.map(lambda x: shape(x.shape, x.dtype), (dataset.train, dataset.valid))
    init, lanes = jax.make_jaxpr(tile.init, return_shape=True)(shape((width,), "uint32"), numbers)
    segment = jax.make_jaxpr(tile.segment)(lanes, numbers, train, shape((1, group.batch_size), "int32"))
    validate = jax.make_jaxpr(tile.validate)(lanes, numbers, valid, train, shape((), "int32"))
    counts = tuple(sum(1 for _ in equations(program)) for program in (init, segment, validate))
    return Counted(counts, _work(segment) / width, _work(validate) / width, bytes_of(lanes) // width)  # type: ignore[arg-type]


def _work(program: Any) -> float:
    """A program's products, convolutions and written elements, in operations of a matrix product."""
    total = 0.0
    for equation in getattr(program, "jaxpr", program).eqns:
        inner = list(jaxprs_in_params(equation.params))
        times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        slower = 1 if equation.primitive.name == "dot_general" else CONVOLUTION_OPERATIONS
        total += slower * operations(equation) + times * sum(map(_work, inner))
        if equation.primitive.name in _DECOMPOSITIONS:
            *several, rows, columns = equation.invars[0].aval.shape
            total += DECOMPOSITION_OPERATIONS * math.prod(several) * max(rows, columns) * min(rows, columns) ** 2
        if not inner:  # as if nothing were fused
            written = sum(math.prod(getattr(v.aval, "shape", ())) for v in equation.outvars)
            total += ELEMENT_OPERATIONS * written
    return total


def _tile_seconds(counted: Counted, width: int, devices: int) -> float:
    """A step of a tile on each device."""
    return width * _sharing(devices) * counted.step / rate() + counted.equations[1] * _dispatch_seconds()


def _sharing(devices: int) -> int:
    """How many devices share the cores that one was measured on: those of a CPU are threads."""
    return devices if jax.default_backend() == "cpu" else 1


def _dispatch_seconds() -> float:
    return _DISPATCH_SECONDS.get(jax.default_backend(), _OTHER_DISPATCH_SECONDS)


def _probe_steps(width: int, round_steps: int) -> int:
    fewest, most = planning.PROBE_STEPS
    return min(round_steps, most, max(fewest, planning.PROBE_MEMBER_STEPS // width))


def _widths(counted: Counted, members: int, rounds: Sequence[int], devices: int) -> list[int]:
    """The widths that will be measured: until another takes longer than the rest, or is no faster."""
    share = -(-members // devices)
    tried: list[int] = []
    for candidate in [*(w for w in planning.WIDTHS if w < share), share][: len(planning.WIDTHS)]:
        tried.append(candidate)
        left = {w: -(-share // w) * sum(rounds) * _tile_seconds(counted, w, devices) for w in tried}
        spent = COMPILE_SECONDS * sum(counted.equations[1:]) + 2 * _probe_steps(candidate, rounds[0]) * _tile_seconds(
            counted, candidate, devices
        )
        slow = candidate > 1 and left[candidate] > 0.95 * min(left[w] for w in tried[:-1])
        if min(left.values()) < spent or slow:
            break
    return tried
