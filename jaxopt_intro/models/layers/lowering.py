"""How a convolution and its gradients are computed: several ways of each, of which a plan takes the fastest.

Every way is ordinary JAX code for one member. XLA's own gradients are among them, the slowest on a CPU inside a loop;
the others turn a gradient into a forward convolution or into matrix products. Several members are computed side by
side, by `vmap`, or in turn, by a loop.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxopt_intro.models.layers.geometry import OPERANDS, Geometry
from jaxopt_intro.models.layers.in_force import current
from jaxopt_intro.models.layers.phases import (
    images_from_phases,
    images_to_phases,
    kernel_from_phases,
    kernel_to_phases,
    separable,
    undivided,
)
from jaxopt_intro.typing import Array

IN_TURN = " in turn"
FEW_CHANNELS = 4
"""With so many channels or fewer, first layers of images, matrix products are faster on a GPU than its convolutions."""
FEW_FEATURES = 16
"""With so many results of a pixel or fewer, a core's registers stay half empty."""


class Way(NamedTuple):
    """A way to compute one of the three arrays from the two others.

    Attributes:
        make: `(first, second, geometry, precision, dtype) -> array`, of one member.
        holds: Whether it can do a geometry.
        patches: Which part of all patches it holds in memory at once.
        on: The platform on which alone it is worth a try, or None: what keeps to a core's cache is of no use on a GPU.
        not_on: The platform on which it is not.
    """

    make: Callable[..., Array]
    holds: Callable[[Geometry], bool] = lambda geometry: True
    patches: Callable[[Geometry], float] = lambda geometry: 0.0
    on: str | None = None
    not_on: str | None = None


def lowered(
    wanted: str,
    platform: str | None,
    first: Array,
    second: Array,
    *,
    geometry: Geometry,
    dtype: Any,
    precision: Any,
    plan: Any,
) -> Array:
    """Computes one array as the plan says, or as is usual for the platform.

    Args:
        wanted: "outputs", "images" or "kernel".
        platform: "cpu", "cuda", …
        first: The first of the two others, as `OPERANDS` orders them.
        second: The second.
        geometry: The shapes.
        dtype: Of the result.
        precision: Of matrix products.
        plan: That which was in force when this was traced, `InForce`; None takes what is now.
    """
    plan = plan or current()
    name = plan.plan.lowering(wanted, geometry, first.dtype) if plan is not None else None
    return compute(wanted, name or usual(wanted, geometry, platform), first, second, geometry, precision, dtype)


def compute(
    wanted: str, name: str, first: Array, second: Array, geometry: Geometry, precision: Any, dtype: Any
) -> Array:
    """Computes one array in the way of a name, such as "im2col" or "xla in turn"."""
    if 0 in (*geometry.shape(wanted), *first.shape, *second.shape):
        return jnp.zeros(geometry.shape(wanted), dtype)
    common = jnp.promote_types(first.dtype, second.dtype)
    first, second = first.astype(common), second.astype(common)
    one = functools.partial(
        WAYS[wanted][name.removesuffix(IN_TURN)].make,
        geometry=geometry._replace(members=0), precision=precision, dtype=jnp.promote_types(common, dtype),
    )  # fmt: skip
    if not geometry.members:
        made = one(first, second)
    elif name.endswith(IN_TURN):
        made = lax.map(lambda operands: one(*operands), (first, second))
    else:
        made = jax.vmap(one)(first, second)
    return made.astype(dtype)


def candidates(wanted: str, geometry: Geometry, platform: str | None = None) -> list[str]:
    """Returns the names of the ways to compute an array that are worth a try on a platform; all, where none is given.

    Examples:
        >>> geometry = Geometry(2, (7,), 3, (3,), 5, (1,), ((1, 1),), (1,))
        >>> candidates("outputs", geometry)
        ['xla', 'xla row', 'im2col', 'rows']
        >>> candidates("outputs", geometry._replace(members=2))[-1]
        'rows in turn'
    """
    names = [n for n, way in WAYS[wanted].items() if way.holds(geometry) and _worth(way, platform)]
    return names + [name + IN_TURN for name in names] if geometry.members else names


def _worth(way: Way, platform: str | None) -> bool:
    return platform is None or (way.on in (None, platform) and way.not_on != platform)


def usual(wanted: str, geometry: Geometry, platform: str | None) -> str:
    """Returns the way that is taken where nothing has been measured.

    Examples:
        >>> geometry = Geometry(2, (7,), 3, (3,), 5, (1,), ((1, 1),), (1,))
        >>> usual("kernel", geometry, "cpu"), usual("kernel", geometry, "cuda")
        ('im2col 1', 'rows')
    """
    if platform == "cpu":
        made = geometry.features if wanted == "outputs" else geometry.channels
        few = () if made > FEW_FEATURES else ("xla 2 wide",) if wanted == "outputs" else ("forward 2 wide",)
        best = {"outputs": (*few, "xla"), "images": (*few, "forward"), "kernel": ("forward 8", "im2col 1")}[wanted]
        others = candidates(wanted, geometry._replace(members=0), platform)
        name = next((name for name in (*best, *others) if WAYS[wanted][name].holds(geometry)), "xla")
        return name + IN_TURN if geometry.members else name
    few = geometry.channels // geometry.groups <= FEW_CHANNELS and not geometry.members
    return {"outputs": "im2col", "kernel": "rows"}.get(wanted, "xla") if few and platform != "tpu" else "xla"


def buffer(wanted: str, name: str, geometry: Geometry, dtype: Any) -> int:
    """Returns the bytes of patches that a way holds at once.

    Examples:
        >>> buffer("outputs", "im2col", Geometry(2, (7,), 3, (3,), 5, (1,), ((1, 1),), (1,)), "float32")
        504
    """
    own = geometry._replace(members=0) if name.endswith(IN_TURN) else geometry
    share = WAYS[wanted][name.removesuffix(IN_TURN)].patches(geometry)
    return int(share * own.patches * jnp.dtype(dtype).itemsize)


def _xla(x: Array, kernel: Array, geometry: Geometry, precision: Any, dtype: Any) -> Array:
    """XLA's convolution."""
    spatial = "HWD"[: len(geometry.size)]
    return lax.conv_general_dilated(
        x, kernel, geometry.strides, geometry.padding, rhs_dilation=geometry.dilation,
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"), feature_group_count=geometry.groups,
        precision=precision, preferred_element_type=dtype,
    )  # fmt: skip


def _xla_row(x: Array, kernel: Array, geometry: Geometry, precision: Any, dtype: Any) -> Array:
    """XLA's convolution with an output row more, which is cut away.

    On a CPU that is computed by another library than outputs of the usual paddings are, a faster one at some shapes.
    """
    (low, high), *others = geometry.padding
    more = geometry._replace(padding=((low, high + geometry.strides[0]), *others))
    y = lax.optimization_barrier(_xla(x, kernel, more, precision, dtype))
    return lax.slice_in_dim(y, 0, geometry.out[0], axis=1)


def _xla_wide(x: Array, kernel: Array, geometry: Geometry, precision: Any, dtype: Any, *, pixels: int) -> Array:
    """XLA's convolution with several neighbouring outputs as features of one: for kernels with few features.

    Some products are with zeros, but a core's registers are filled.
    """
    nothing = [(0, 0)] * (kernel.ndim - 3)
    shifted = [jnp.pad(kernel, (*nothing, (i, pixels - 1 - i), (0, 0), (0, 0))) for i in range(pixels)]
    wide = geometry._replace(
        kernel=(*geometry.kernel[:-1], geometry.kernel[-1] + pixels - 1),
        strides=(*geometry.strides[:-1], pixels), features=geometry.features * pixels,
    )  # fmt: skip
    y = _xla(x, jnp.concatenate(shifted, axis=-1), wide, precision, dtype)
    return y.reshape(geometry.shape("outputs"))


def _xla_gradient(wanted: str, first: Array, second: Array, geometry: Geometry, precision: Any, dtype: Any) -> Array:
    """XLA's own gradient: the transpose of its convolution."""
    given = dict(zip(OPERANDS[wanted], (first, second), strict=True))
    cotangent, like = given.pop("outputs"), jax.ShapeDtypeStruct(geometry.shape(wanted), first.dtype)

    def linear(unknown: Array) -> Array:
        arrays = {**given, wanted: unknown}
        return _xla(arrays["images"], arrays["kernel"], geometry, precision, cotangent.dtype)

    return jax.linear_transpose(linear, like)(cotangent)[0]


def _im2col(x: Array, kernel: Array, geometry: Geometry, precision: Any, dtype: Any) -> Array:
    """Patches of the images, then one matrix product."""
    y = _product(_patches(x, geometry), kernel.reshape(-1, *kernel.shape[-2:]), geometry, precision, dtype)
    return y.reshape(geometry.shape("outputs"))


def _rows(x: Array, kernel: Array, geometry: Geometry, precision: Any, dtype: Any) -> Array:
    """Patches along all axes but the first, then a matrix product for each row of the kernel."""
    wide, total = jnp.promote_types(dtype, jnp.float32), 0.0
    for row, patches in enumerate(_patches_by_row(x, geometry)):
        own = kernel[row].reshape(-1, *kernel.shape[-2:])
        total = total + _product(patches, own, geometry, precision, wide)
    return jnp.asarray(total).reshape(geometry.shape("outputs"))


def _images_by(forward: Callable[..., Array]) -> Callable[..., Array]:
    """The input gradient as a forward convolution of the outputs with the flipped kernel."""

    def make(y: Array, kernel: Array, geometry: Geometry, precision: Any, dtype: Any) -> Array:
        plain, groups = undivided(geometry), geometry.groups
        kernel = kernel_to_phases(kernel, geometry)
        taps, (channels, features) = kernel.shape[:-2], kernel.shape[-2:]
        turned = jnp.flip(kernel, range(len(taps))).reshape(*taps, channels, groups, features // groups)
        turned = jnp.moveaxis(turned, (-1, -3), (-3, -1)).reshape(*taps, features // groups, groups * channels)
        turned = lax.optimization_barrier(turned)  # else XLA undoes the flip: its gradient is the slow one
        reach = [d * (k - 1) for d, k in zip(plain.dilation, taps, strict=True)]
        ends = [  # so that there is a result for each pixel; below 0, outputs that saw padding alone are cut away
            (r - low, size - out + low)
            for r, (low, _), size, out in zip(reach, plain.padding, plain.size, plain.out, strict=True)
        ]
        cut = [(min(a, 0), min(b, 0), 0) for a, b in ends]
        y = lax.pad(y, jnp.zeros((), y.dtype), [(0, 0, 0), *cut, (0, 0, 0)]) if any(map(any, cut)) else y
        flipped = plain._replace(
            size=y.shape[1:-1], channels=features, kernel=taps, features=groups * channels,
            padding=tuple((max(a, 0), max(b, 0)) for a, b in ends),
        )  # fmt: skip
        return images_from_phases(forward(y, turned, flipped, precision, dtype), geometry)

    return make


def _kernel_by_im2col(x: Array, y: Array, geometry: Geometry, precision: Any, dtype: Any) -> Array:
    """Patches of the images, transposed, times the outputs."""
    return _outer(_patches(x, geometry), y, geometry, precision, dtype).reshape(geometry.shape("kernel"))


def _kernel_by_rows(x: Array, y: Array, geometry: Geometry, precision: Any, dtype: Any) -> Array:
    """The same for each row of the kernel, of patches along all axes but the first."""
    rows = [_outer(patches, y, geometry, precision, dtype) for patches in _patches_by_row(x, geometry)]
    return jnp.stack(rows).reshape(geometry.shape("kernel"))


def _kernel_by_forward(
    x: Array, y: Array, geometry: Geometry, precision: Any, dtype: Any, *, chunk: int | None = None
) -> Array:
    """A forward convolution whose examples are the channels and whose channels are the examples, a chunk at a time."""
    plain, chunk, wide = undivided(geometry), chunk or geometry.examples, jnp.promote_types(dtype, jnp.float32)
    turned = plain._replace(
        examples=plain.channels, channels=chunk, kernel=plain.out, strides=plain.dilation, dilation=plain.strides
    )

    def made(images: Array, outputs: Array) -> Array:
        images, outputs = jnp.moveaxis(images, (0, -1), (-1, 0)), jnp.moveaxis(outputs, 0, -2)
        return _xla(images, outputs, turned, precision, wide)

    def add(total: Array, part: tuple[Array, Array]) -> tuple[Array, None]:
        return total + made(*part), None

    x = images_to_phases(x, geometry)
    if chunk == geometry.examples:
        total = made(x, y)
    else:
        parts = x.reshape(-1, chunk, *x.shape[1:]), y.reshape(-1, chunk, *y.shape[1:])
        total, _ = lax.scan(add, jnp.zeros((plain.channels, *plain.kernel, plain.features), wide), parts)
    return kernel_from_phases(jnp.moveaxis(total, 0, -2), geometry)


def _kernel_by_chunks(x: Array, y: Array, geometry: Geometry, precision: Any, dtype: Any, *, chunk: int) -> Array:
    """Outputs, transposed, times patches, a chunk of examples at a time."""
    wide, few = jnp.promote_types(dtype, jnp.float32), geometry._replace(examples=chunk)

    def add(total: Array, part: tuple[Array, Array]) -> tuple[Array, None]:
        patches = _patches(part[0], few)
        patches = lax.optimization_barrier(patches.reshape(len(patches), -1))
        return total + _contract(part[1].reshape(len(patches), -1), patches, precision, wide), None

    rows = math.prod(geometry.kernel) * geometry.channels
    parts = x.reshape(-1, chunk, *x.shape[1:]), y.reshape(-1, chunk, *y.shape[1:])
    total, _ = lax.scan(add, jnp.zeros((geometry.features, rows), wide), parts)
    return total.T.reshape(geometry.shape("kernel"))


def _patches(x: Array, geometry: Geometry) -> Array:
    """What each window sees: `[windows, taps, channels]`."""
    return _windows(_padded(x, geometry), geometry, itertools.product(*map(range, geometry.kernel)), geometry.out)


def _patches_by_row(x: Array, geometry: Geometry) -> Iterator[Array]:
    """The same for one row of the kernel after another; they are slices of one array."""
    (stride, *_), (dilation, *_), (out, *_) = geometry.strides, geometry.dilation, geometry.out
    taps = [(slice(None), *tap) for tap in itertools.product(*map(range, geometry.kernel[1:]))]
    x = _padded(x, geometry)
    wide = _windows(x, geometry, taps, (x.shape[1], *geometry.out[1:]))
    wide = wide.reshape(geometry.examples, x.shape[1], -1, *wide.shape[-2:])
    for row in range(geometry.kernel[0]):
        start = row * dilation
        own = lax.slice_in_dim(wide, start, start + (out - 1) * stride + 1, stride, axis=1)
        yield own.reshape(-1, *own.shape[-2:])


def _padded(x: Array, geometry: Geometry) -> Array:
    return jnp.pad(x, ((0, 0), *geometry.padding, (0, 0)))


def _windows(x: Array, geometry: Geometry, taps: Iterable[tuple[Any, ...]], out: tuple[int, ...]) -> Array:
    """The pixels under each tap, side by side; a tap that is a slice takes a whole axis."""

    def pixels(tap: Any, size: int, stride: int, dilation: int) -> slice:
        if isinstance(tap, slice):
            return tap
        return slice(tap * dilation, tap * dilation + (size - 1) * stride + 1, stride)

    steps = list(zip(out, geometry.strides, geometry.dilation, strict=True))
    seen = [x[(slice(None), *(pixels(t, *step) for t, step in zip(tap, steps, strict=True)))] for tap in taps]
    joined = jnp.concatenate(seen, axis=-1)
    return joined.reshape(-1, len(seen), geometry.channels)


def _product(patches: Array, kernel: Array, geometry: Geometry, precision: Any, dtype: Any) -> Array:
    """`[windows, taps, channels] x [taps, channels / groups, features] -> [windows, features]`."""
    windows, taps, channels = patches.shape
    groups, features = geometry.groups, kernel.shape[-1]
    if groups == 1:
        a, b = patches.reshape(windows, taps * channels), kernel.reshape(taps * channels, features)
        return jnp.matmul(a, b, precision=precision, preferred_element_type=dtype)
    a, b = patches.reshape(windows, taps, groups, -1), kernel.reshape(taps, -1, groups, features // groups)
    y = jnp.einsum("wtgc,tcgf->wgf", a, b, precision=precision, preferred_element_type=dtype)
    return y.reshape(windows, features)


def _outer(patches: Array, y: Array, geometry: Geometry, precision: Any, dtype: Any) -> Array:
    """`[windows, taps, channels] x [..., features] -> [taps, channels / groups, features]`."""
    windows, taps, channels = patches.shape
    groups, features = geometry.groups, geometry.features
    if groups == 1:
        a, b = patches.reshape(windows, taps * channels), y.reshape(windows, features)
        return _contract(a, b, precision, dtype).reshape(taps, channels, features)
    a, b = patches.reshape(windows, taps, groups, -1), y.reshape(windows, groups, -1)
    made = jnp.einsum("wtgc,wgf->tcgf", a, b, precision=precision, preferred_element_type=dtype)
    return made.reshape(taps, channels // groups, features)


def _contract(a: Array, b: Array, precision: Any, dtype: Any) -> Array:
    """`a.T @ b`."""
    return lax.dot_general(a, b, (((0,), (0,)), ((), ())), precision=precision, preferred_element_type=dtype)


def _forward_in(chunk: int) -> Way:
    def holds(geometry: Geometry) -> bool:
        return geometry.groups == 1 and separable(geometry) and geometry.examples % chunk == 0

    return Way(functools.partial(_kernel_by_forward, chunk=chunk), holds, on="cpu")


def _im2col_in(chunk: int) -> Way:
    def holds(geometry: Geometry) -> bool:
        return geometry.groups == 1 and geometry.examples % chunk == 0

    return Way(functools.partial(_kernel_by_chunks, chunk=chunk), holds, lambda g: chunk / g.examples, on="cpu")


def _wide(pixels: int, turned: Callable[[Callable[..., Array]], Callable[..., Array]]) -> Way:
    def holds(geometry: Geometry) -> bool:
        last = (geometry.strides[-1], geometry.dilation[-1], geometry.groups) == (1, 1, 1)
        return last and geometry.out[-1] % pixels == 0 and separable(geometry) and geometry.size[-1] % pixels == 0

    return Way(turned(functools.partial(_xla_wide, pixels=pixels)), holds, on="cpu")


def _padded_within(geometry: Geometry) -> bool:
    """Whether no output sees padding alone: there XLA's input gradient on a CPU is wrong (jax 0.10.2)."""
    axes = zip(geometry.padding, geometry.kernel, geometry.dilation, strict=True)
    return all(max(low_high) <= d * (k - 1) for low_high, k, d in axes)


def _by_row(geometry: Geometry) -> float:
    """Rows of patches hold a window's other rows once, not once for each row of the kernel."""
    (low, high), pixels = geometry.padding[0], geometry.size[0]
    return (pixels + low + high) / (geometry.kernel[0] * max(1, geometry.out[0]))


def _turned(share: Callable[[Geometry], float]) -> Callable[[Geometry], float]:
    """The part of the input gradient's patches, which are of the outputs, in terms of the images'."""
    return lambda geometry: share(geometry) * geometry.features / geometry.channels


def _all(geometry: Geometry) -> float:
    return 1.0


WAYS: dict[str, dict[str, Way]] = {
    "outputs": {
        "xla": Way(_xla),
        "xla row": Way(_xla_row, on="cpu"),
        **{f"xla {pixels} wide": _wide(pixels, lambda way: way) for pixels in (2, 4)},
        "im2col": Way(_im2col, patches=_all),
        "rows": Way(_rows, patches=_by_row),
    },
    "images": {
        "xla": Way(functools.partial(_xla_gradient, "images"), _padded_within, not_on="cpu"),
        "forward": Way(_images_by(_xla), separable),
        "forward row": Way(_images_by(_xla_row), separable, on="cpu"),
        **{f"forward {pixels} wide": _wide(pixels, _images_by) for pixels in (2, 4)},
        "im2col": Way(_images_by(_im2col), separable, _turned(_all)),
        "rows": Way(_images_by(_rows), separable, _turned(_by_row)),
    },
    "kernel": {
        "xla": Way(functools.partial(_xla_gradient, "kernel"), not_on="cpu"),
        "forward": Way(_kernel_by_forward, lambda geometry: geometry.groups == 1 and separable(geometry)),
        "im2col": Way(_kernel_by_im2col, patches=_all),
        "rows": Way(_kernel_by_rows, patches=_by_row),
        **{f"forward {chunk}": _forward_in(chunk) for chunk in (4, 8, 16)},
        **{f"im2col {chunk}": _im2col_in(chunk) for chunk in (1, 2)},
    },
}
"""The ways to make each array, by name; the first is XLA's own. A number is of the examples that are taken at a time.

XLA's own gradients are some 30 times slower than others inside a loop on a CPU: measuring one would take seconds."""

_WORDS = {
    "xla": "XLA's own",
    "row": "with an output row more, which another library computes",
    "wide": "neighbouring outputs at once, for few features",
    "forward": "as XLA's forward convolution",
    "im2col": "patches of the images, and one matrix product",
    "rows": "the same, a kernel row at a time",
}


def said(name: str) -> str:
    """Returns the name of a way in words.

    Examples:
        >>> said("forward 8")
        "as XLA's forward convolution, 8 examples at a time"
    """
    first, *rest = name.split(" ")
    if rest[1:] == ["wide"]:
        return f"{_WORDS[first]}, {rest[0]} {_WORDS['wide']}"
    more = (f"{part} example{'s' * (part != '1')} at a time" if part.isdigit() else _WORDS[part] for part in rest)
    return ", ".join([_WORDS[first], *more])
