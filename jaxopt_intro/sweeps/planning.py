"""The plan of a group: how wide a tile is, chosen by measuring, once, and frozen in the run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax

from jaxopt_intro.sweeps.population import Tile
from jaxopt_intro.typing import Array, Batch, PyTree

SEGMENT_SECONDS = 5.0
PROBE_STEPS = 64
HEADROOM = 0.6


class Plan(NamedTuple):
    """What was decided for a group.

    Attributes:
        width: The number of lanes, W.
        segment: The steps of a compiled call; the last call of an epoch may be shorter.
        rates: Member-steps a second at each width that was measured.
        why: The reason for the width, in words.
        compile_seconds: What choosing spent on compiling.
    """

    width: int
    segment: int
    rates: dict[int, float]
    why: str
    compile_seconds: float = 0.0


class Compiled(NamedTuple):
    """The compiled functions of one width; `segment` by its number of steps."""

    init: Callable[..., Any]
    segment: dict[int, Callable[..., Any]]
    validate: Callable[..., Any]


class Programs:
    """Compiles a group's tile at the widths and lengths that are asked for, and keeps count of the seconds.

    Args:
        make_tile: `width -> Tile`.
        hparams: The names of the numbers that are lanes.
        train: The training split, on the device.
        valid: The validation split, on the device.
        batch_size: Examples in a batch.
    """

    def __init__(
        self, make_tile: Callable[[int], Tile], hparams: list[str], train: Batch, valid: Batch, batch_size: int
    ):
        self._make_tile, self._hparams, self._batch_size = make_tile, hparams, batch_size
        self._train, self._valid = _shapes(train), _shapes(valid)
        self._compiled: dict[int, Compiled] = {}
        self.seconds = 0.0

    def get(self, width: int, *lengths: int) -> Compiled:
        """Returns the functions of a width, compiled for the given segment lengths."""
        start = time.perf_counter()
        numbers = {name: jax.ShapeDtypeStruct((width,), "float32") for name in self._hparams}
        seeds = jax.ShapeDtypeStruct((width,), "uint32")
        tile = self._make_tile(width)
        lanes = jax.eval_shape(tile.init, seeds, numbers)
        if width not in self._compiled:
            epoch = jax.ShapeDtypeStruct((), "int32")
            validate = jax.jit(tile.validate, donate_argnums=0).lower(lanes, numbers, self._valid, epoch).compile()
            self._compiled[width] = Compiled(jax.jit(tile.init).lower(seeds, numbers).compile(), {}, validate)
        compiled = self._compiled[width]
        for length in set(lengths) - set(compiled.segment):
            indices = jax.ShapeDtypeStruct((length, self._batch_size), "int32")
            lowered = jax.jit(tile.segment, donate_argnums=0).lower(lanes, numbers, self._train, indices)
            compiled.segment[length] = lowered.compile()
        self.seconds += time.perf_counter() - start
        return compiled


def choose(
    programs: Programs,
    *,
    members: int,
    steps: int,
    round_steps: int,
    probe: Callable[[Compiled, int, int], float],
    width: int | None = None,
    notify: Callable[[str], None] = lambda text: None,
) -> Plan:
    """Measures tiles of growing width and takes the one that finishes all members first.

    Climbing ends when a wider tile is clearly slower, when two in a row are no faster, when memory would not do, or
    when what is left to run is less than what another try costs.

    Args:
        programs: Compiles.
        members: How many members the group has.
        steps: How many steps each trains.
        round_steps: Steps between two validations.
        probe: `(compiled, width, length) -> seconds` of one segment of that length.
        width: Takes this width without measuring others.
        notify: Told in words what is going on.

    Returns:
        The plan.
    """
    probe_steps = min(round_steps, PROBE_STEPS)
    rates: dict[int, float] = {}
    slower, why = 0, "the only width measured"
    for candidate in [width] if width else _candidates(members):
        notify(f"measuring {candidate} side by side")
        start = time.perf_counter()
        compiled = programs.get(candidate, probe_steps)
        if not _fits(compiled.segment[probe_steps]):
            why = f"{candidate} would not fit in memory"
            break
        rates[candidate] = candidate * probe_steps / probe(compiled, candidate, probe_steps)
        spent = time.perf_counter() - start
        best = min(rates, key=lambda w: _seconds(w, rates[w], members, steps))
        slower = 0 if best == candidate else slower + 1
        if slower == 2 or _seconds(candidate, rates[candidate], members, steps) > 1.5 * _seconds(
            best, rates[best], members, steps
        ):
            why = "wider is no faster"
            break
        if _seconds(best, rates[best], members, steps) < spent:
            why = "the rest takes less than another measurement"
            break
        why = "all members at once" if candidate >= members else "the widest measured"
    if not rates:
        raise MemoryError(f"not even a tile of width {width or 1} fits in memory: {why}. Use a smaller batch_size.")
    best = width or min(rates, key=lambda w: _seconds(w, rates[w], members, steps))
    if width:
        why = "asked for"
    segment = max(1, min(round_steps, int(SEGMENT_SECONDS * rates[best] / best)))
    return Plan(best, _even(round_steps, segment), rates, why, programs.seconds)


def lengths(round_steps: int, segment: int) -> list[int]:
    """Returns the lengths of the segments that make up a round.

    Examples:
        >>> lengths(421, 100)
        [100, 100, 100, 100, 21]
    """
    full, rest = divmod(round_steps, segment)
    return [segment] * full + ([rest] if rest else [])


def _even(round_steps: int, segment: int) -> int:
    """The largest divisor of a round that is not much below the wanted length; otherwise equal shares, rounded up."""
    pieces = -(-round_steps // segment)
    divisors = [d for d in range(pieces, 2 * pieces + 1) if round_steps % d == 0]
    return round_steps // divisors[0] if divisors else -(-round_steps // pieces)


def _candidates(members: int) -> Iterator[int]:
    for width in (1, 4, 16, 64, 256):
        if width >= members:
            yield members
            return
        yield width


def _seconds(width: int, rate: float, members: int, steps: int) -> float:
    """How long all members take, padding included."""
    return -(-members // width) * width * steps / rate


def _fits(compiled: Any) -> bool:
    """Whether a compiled program's arguments and temporaries leave headroom in the device's memory."""
    need = compiled.memory_analysis()
    limit = memory_limit()
    if need is None or limit is None:
        return True
    return need.argument_size_in_bytes + need.temp_size_in_bytes + need.output_size_in_bytes < HEADROOM * limit


def memory_limit() -> int | None:
    """Returns the bytes of memory that the default device may use, or None where nobody says."""
    stats = jax.devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"]
    if jax.default_backend() == "cpu" and hasattr(os, "sysconf"):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _shapes(tree: PyTree) -> PyTree:
    def shape(x: Array) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(x.shape, x.dtype)

    return jax.tree.map(shape, tree)
