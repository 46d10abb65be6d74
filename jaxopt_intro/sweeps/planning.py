"""The plan of a group: how wide a device's tile is, chosen by measuring, once, and frozen in the run."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from jaxopt_intro import trees
from jaxopt_intro.models import layers
from jaxopt_intro.sweeps.exhaustion import TooWide
from jaxopt_intro.sweeps.population import Tile
from jaxopt_intro.sweeps.sharding import Devices, available
from jaxopt_intro.typing import Array, Batch, PyTree

SEGMENT_SECONDS = 5.0
WIDTHS = (1, 8, 64, 512)
PROBE_MEMBER_STEPS = 512
PROBE_STEPS = (16, 64)
PROBE_SECONDS = 0.2
HEADROOM = 0.6
NEAR, TURNS, WORTH_AGAIN = 1.5, 2, 2.0  # at most so much slower is measured so often again, for so many seconds of work
CHOOSING_SECONDS = 10.0
BESIDE_SHARE = 0.05  # of what is left, that a try of twice or half the best width may take, compiling included
CHOOSING_SHARE, CHOOSING_PART = 0.05, 0.2  # of a long run; of a short one, of which the seconds would be too much
_USUAL_RATES = {"cpu": 5e10, "gpu": 5e12}


class Plan(NamedTuple):
    """What was decided for a group.

    Attributes:
        width: The number of lanes on a device, W.
        segment: The steps of a compiled call; the last call of an epoch may be shorter.
        rates: Member-steps a second on all devices at each width that was measured.
        why: The reason for the width, in words.
    """

    width: int
    segment: int
    rates: dict[int, float]
    why: str


class Programs:
    """Compiles a group's tiles at the widths and lengths that are asked for, each once, and counts the seconds.

    Args:
        make_tile: `width -> Tile`, the functions of the tile of one device.
        hparams: The names of the numbers that are lanes.
        train: The training split.
        valid: The validation split.
        batch_size: Examples in a batch.
        devices: Those that train a tile each.
        member_steps: How many steps all members take together: whether measuring convolutions pays.
        known: The ways of convolutions that were decided before, by their words.
        force: The way of every "outputs", "images" or "kernel" that can have it.
        notify: Told in words what is going on.
    """

    def __init__(
        self,
        make_tile: Callable[[int], Tile],
        hparams: list[str],
        train: Batch,
        valid: Batch,
        batch_size: int,
        devices: Devices,
        *,
        member_steps: float = 0.0,
        known: Mapping[str, str] | None = None,
        force: Mapping[str, str] | None = None,
        notify: Callable[[str], None] = lambda text: None,
    ):
        self._make_tile, self._hparams, self._batch_size, self._devices = make_tile, hparams, batch_size, devices
        self._train, self._valid = _shapes(train), _shapes(valid)
        self._compiled: dict[tuple[Any, ...], Callable[..., Any]] = {}
        self._lane: Any = None
        self._convolutions: dict[int, layers.Plan] = {}
        self._member_steps, self._known, self._force, self._notify = member_steps, known, force, notify
        self._measuring = 0.0
        self.seconds = 0.0

    def init(self, width: int) -> Callable[..., Any]:
        """Returns the tiles' compiled `init`."""

        def lower(tile: Tile, lanes: Any, numbers: Any) -> Any:
            return self._jit(tile.init, copies=0).lower(_shape(width * self._devices.count, "uint32"), numbers)

        return self._get(("init", width), lower)

    def segment(self, width: int, length: int) -> Callable[..., Any]:
        """Returns the tiles' compiled `segment` of so many steps; it takes the lanes' buffers over."""
        indices = jax.ShapeDtypeStruct((length, self._batch_size), "int32")

        def lower(tile: Tile, lanes: Any, numbers: Any) -> Any:
            return self._jit(tile.segment, donate_argnums=0).lower(lanes, numbers, self._train, indices)

        return self._get(("segment", width, length), lower)

    def validate(self, width: int) -> Callable[..., Any]:
        """Returns the tiles' compiled `validate`; it takes the lanes' buffers over."""
        epoch = jax.ShapeDtypeStruct((), "int32")

        def lower(tile: Tile, lanes: Any, numbers: Any) -> Any:
            return self._jit(tile.validate, copies=3, donate_argnums=0).lower(
                lanes, numbers, self._valid, self._train, epoch
            )

        return self._get(("validate", width), lower)

    def convolutions(self, width: int) -> layers.Plan:
        """Returns how the convolutions of a tile are computed, measured where that pays and memory allows."""
        if width in self._convolutions:
            return self._convolutions[width]
        begin, tile, device = time.perf_counter(), self._make_tile(width), self._devices.first
        lanes, numbers = jax.tree.map(
            lambda x: x.update(shape=(width, *x.shape[1:])), (self._lanes(width), self._numbers(width))
        )
        rows, epoch = jax.ShapeDtypeStruct((1, self._batch_size), "int32"), jax.ShapeDtypeStruct((), "int32")
        limit = memory_limit()
        plan = functools.partial(
            layers.plan_for, known=self._known, force=self._force, device=device, notify=self._notify,
            memory=None if limit is None else int(HEADROOM * limit / 2),
        )  # fmt: skip
        worth = 0.0

        def of_a_step(flop: int) -> float:
            nonlocal worth
            worth = self._worth(flop / width, device)
            return worth

        training = plan(tile.segment, lanes, numbers, self._train, rows, seconds=of_a_step)
        left = worth - (time.perf_counter() - begin)
        found = training.joined(plan(tile.validate, lanes, numbers, self._valid, self._train, epoch, seconds=left))
        self._measuring += time.perf_counter() - begin
        self.seconds += time.perf_counter() - begin
        self._convolutions[width] = found
        return found

    def _worth(self, flop: float, device: Any) -> float:
        """The seconds that measuring convolutions may take, from the operations of a member-step.

        Nothing for a run of less than ten seconds at a usual rate, else the larger of 5 % of it and ten seconds,
        for all widths together.
        """
        rate = _USUAL_RATES.get(device.platform, _USUAL_RATES["gpu"])
        run = flop * self._member_steps / self._devices.count / rate
        return (max(CHOOSING_SECONDS, CHOOSING_SHARE * run) if run > CHOOSING_SECONDS else 0.0) - self._measuring

    def has_convolutions(self) -> bool:
        """Whether the training has convolutions that could be measured."""
        tile, numbers = self._make_tile(1), {name: _shape(1, "float32") for name in self._hparams}
        rows = jax.ShapeDtypeStruct((1, self._batch_size), "int32")
        found = layers.plan_for(
            tile.segment, self.lane, numbers, self._train, rows, seconds=0.0, device=self._devices.first
        )
        return bool(found.choices)

    def blank(self, width: int) -> tuple[Any, dict[str, Any]]:
        """Returns lanes and numbers of zeros, to measure with."""
        blank = trees.zeros_of((self._lanes(width), self._numbers(width)))
        return jax.device_put(blank, self._devices.lanes)

    def _get(self, key: tuple[Any, ...], lower: Callable[..., Any]) -> Callable[..., Any]:
        if key not in self._compiled:
            plan, start = self.convolutions(key[1]) if key[0] != "init" else None, time.perf_counter()
            tiles = self._devices.spread(self._make_tile(key[1]))
            with layers.using(plan):
                lowered = lower(tiles, self._lanes(key[1]), self._numbers(key[1]))
            self._compiled[key] = lowered.compile()
            self.seconds += time.perf_counter() - start
        return self._compiled[key]

    def _jit(self, function: Callable[..., Any], copies: int = 2, **options: Any) -> Any:
        """Every function takes two arguments of lanes, then those that each device has whole, and returns lanes."""
        shardings = (self._devices.lanes,) * 2 + (self._devices.copies,) * copies
        return jax.jit(function, in_shardings=shardings, out_shardings=self._devices.lanes, **options)

    @property
    def lane(self) -> Any:
        """The shapes of one lane, with a leading axis of 1; found once, since tracing takes longer than a probe."""
        if self._lane is None:
            numbers = {name: _shape(1, "float32") for name in self._hparams}
            self._lane = jax.eval_shape(self._make_tile(1).init, _shape(1, "uint32"), numbers)
        return self._lane

    def _lanes(self, width: int) -> Any:
        return jax.tree.map(lambda x: x.update(shape=(width * self._devices.count, *x.shape[1:])), self.lane)

    def _numbers(self, width: int) -> dict[str, jax.ShapeDtypeStruct]:
        return {name: _shape(width * self._devices.count, "float32") for name in self._hparams}


def _shape(length: int, dtype: str) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((length,), dtype)


def choose(
    programs: Programs,
    *,
    stages: Sequence[tuple[int, int]],
    round_steps: int,
    probe: Callable[[int, int], float],
    devices: int = 1,
    width: int | None = None,
    notify: Callable[[str], None] = lambda text: None,
) -> Plan:
    """Measures tiles of growing width and takes the one that finishes all members first, padding included.

    Climbing ends when two widths in a row are no faster, when one is much slower, when memory would not do, when what
    is left to run takes less than another try, or when measuring would take more than its share. A wider tile must be
    5 % faster to be taken. In a run that is long enough the double and the half of the best are measured too. In a run
    of some seconds those that are near the best are then measured again, in turn.

    Args:
        programs: Compiles.
        stages: How many members train, and for how many steps each; more than one where members are pruned.
        round_steps: Steps between two validations.
        probe: `(width, length) -> seconds` of one segment of that length, on all devices at once; it raises `TooWide`
            where memory runs out.
        devices: How many devices train a tile each.
        width: Takes this width without comparing others.
        notify: Told in words what is going on.

    Returns:
        The plan.

    Raises:
        MemoryError: Not even the narrowest tile fits.
    """
    share = -(-max(count for count, _ in stages) // devices)  # the members of a device
    tried = _Tried(programs, stages, round_steps, probe, devices, notify)
    best, why = tried.climb([width] if width else candidates(share))
    if not width and best:
        climbed, best = best, tried.again(tried.beside(best, share))
        if best != climbed and max(tried.rates) > best:
            why = "wider is no faster"
        why = "all at once" if best == share else why
    while best and not _fits(programs.validate(best)):
        why = f"{best * devices} would not fit in memory when they are validated"
        best = min((w for w in tried.rates if w < best), key=tried.left, default=0)
    if not best:
        lanes = f"width={width}" if width else "a program"
        raise MemoryError(
            f"{why}: got {lanes} that needs more than this device has. Use a smaller "
            + ("width." if width and width > 1 else "batch_size, or a microbatch.")
        )
    wanted = int(SEGMENT_SECONDS * tried.rates[best] / (best * devices))
    segment = _even(round_steps, max(1, min(round_steps, wanted)))
    return Plan(best, segment, tried.rates, "asked for" if width else why)


class _Tried:
    """The widths that were measured for a plan, and what a try takes; the arguments are those of `choose`.

    Attributes:
        rates: Member-steps a second at each width.
    """

    def __init__(self, programs: Programs, stages: Any, round_steps: int, probe: Any, devices: int, notify: Any):
        self._programs, self._stages, self._round_steps, self._probe = programs, stages, round_steps, probe
        self._devices, self._notify = devices, notify
        self._measuring = self._spent = 0.0
        self.rates: dict[int, float] = {}

    def left(self, width: int) -> float:
        """The seconds that all members take at a width that was measured."""
        return _seconds(width * self._devices, self.rates[width], self._stages)

    def climb(self, widths: Iterable[int]) -> tuple[int, str]:
        """Measures one width after the other; returns the best of them, 0 if none fits, and why no more were tried."""
        best, slower = 0, 0
        for width in widths:
            if best and not self._worth(width, best):
                return best, "measuring another would take too long"
            if not self._try(width):
                return best, f"{width * self._devices} would not fit in memory"
            faster = not best or self._faster(width, best)
            best, slower = (width, 0) if faster else (best, slower + 1)
            if slower == 2 or self.left(width) > NEAR * self.left(best):
                return best, "wider is no faster"
            if self.left(best) < self._spent:
                return best, "measuring another would take longer than the rest"
        return best, "wider is no faster"

    def beside(self, best: int, most: int) -> int:
        """Measures twice and half the best where a try is a small part of what is left; returns the best of all."""
        for width in (2 * best, best // 2):
            small = self._spent < BESIDE_SHARE * self.left(best)
            if 1 <= width < most and width not in self.rates and small and self._worth(width, best):
                self._try(width)
        return min(self.rates, key=self.left)

    def again(self, best: int) -> int:
        """Measures those near the best in turn: what is measured once is as good as its moment; returns the best."""
        near = sorted(w for w in self.rates if self.left(w) < NEAR * self.left(best))
        if self.left(best) > WORTH_AGAIN and len(near) > 1:
            for width in near * TURNS:
                if self._worth(width, best):
                    self._measure(width)
        return functools.reduce(lambda a, b: b if self._faster(b, a) else a, near)

    def _faster(self, wide: int, narrow: int) -> bool:
        return self.left(wide) < 0.95 * self.left(narrow)

    def _try(self, width: int) -> bool:
        """Compiles and measures a width; returns whether it fits in memory."""
        self._notify(f"measuring {width * self._devices} side by side")
        begin = time.perf_counter()
        if not _fits(self._programs.segment(width, probe_length(width, self._round_steps))):
            return False
        fits = self._measure(width)
        self._spent = time.perf_counter() - begin
        return fits

    def _measure(self, width: int) -> bool:
        """Measures a width; returns whether it fits in memory: it may need more than its program says."""
        length, begin = probe_length(width, self._round_steps), time.perf_counter()
        try:
            rate = width * self._devices * length / self._probe(width, length)
        except TooWide:
            return False
        self.rates[width] = max(self.rates.get(width, 0.0), rate)
        self._measuring += time.perf_counter() - begin
        return True

    def _worth(self, width: int, best: int) -> bool:
        """Whether measuring a width, which takes two segments at least, keeps the choice within its time."""
        expected = 2 * width * self._devices * probe_length(width, self._round_steps) / max(self.rates.values())
        run = self.left(best)
        return self._measuring + expected < max(CHOOSING_SHARE * run, min(CHOOSING_SECONDS, CHOOSING_PART * run))


def probe_length(width: int, round_steps: int) -> int:
    """Returns the steps of the segment that a width is measured with."""
    fewest, most = PROBE_STEPS
    return min(round_steps, most, max(fewest, PROBE_MEMBER_STEPS // width))


def candidates(members: int) -> Iterator[int]:
    """Returns the widths that are measured, narrow ones first, for so many members on a device.

    Examples:
        >>> list(candidates(20))
        [1, 8, 20]
    """
    for width in WIDTHS:
        if width >= members:
            yield members
            return
        yield width


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


def _seconds(lanes: int, rate: float, stages: Sequence[tuple[int, int]]) -> float:
    """How long all members take, padding included."""
    return sum(-(-members // lanes) * lanes * steps for members, steps in stages) / rate


def _fits(compiled: Any) -> bool:
    """Whether a compiled program's arguments and temporaries leave headroom in the device's memory."""
    need = compiled.memory_analysis()
    limit = memory_limit()
    if need is None or limit is None:
        return True
    return need.argument_size_in_bytes + need.temp_size_in_bytes + need.output_size_in_bytes < HEADROOM * limit


def memory_limit() -> int | None:
    """Returns the bytes of memory that one device may use, or None where nobody says."""
    stats = available()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"]
    if jax.default_backend() == "cpu" and hasattr(os, "sysconf"):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // len(available())
    return None


def _shapes(tree: PyTree) -> PyTree:
    def shape(x: Array) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(x.shape, x.dtype)

    return jax.tree.map(shape, tree)
