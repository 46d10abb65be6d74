"""Which way a convolution or a gradient is computed: the table of all ways, and what a plan, or usage, takes of it.

Several members are computed side by side, by `vmap`, or in turn, by a loop.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxopt_intro.models.layers import ways
from jaxopt_intro.models.layers.geometry import Geometry
from jaxopt_intro.models.layers.in_force import current
from jaxopt_intro.models.layers.phases import separable
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


def _forward_in(chunk: int) -> Way:
    def holds(geometry: Geometry) -> bool:
        return geometry.groups == 1 and separable(geometry) and geometry.examples % chunk == 0

    return Way(functools.partial(ways.kernel_by_forward, chunk=chunk), holds, on="cpu")


def _im2col_in(chunk: int) -> Way:
    def holds(geometry: Geometry) -> bool:
        return geometry.groups == 1 and geometry.examples % chunk == 0

    return Way(functools.partial(ways.kernel_by_chunks, chunk=chunk), holds, lambda g: chunk / g.examples, on="cpu")


def _wide(pixels: int, turned: Callable[[Callable[..., Array]], Callable[..., Array]]) -> Way:
    def holds(geometry: Geometry) -> bool:
        last = (geometry.strides[-1], geometry.dilation[-1], geometry.groups) == (1, 1, 1)
        return last and geometry.out[-1] % pixels == 0 and separable(geometry) and geometry.size[-1] % pixels == 0

    return Way(turned(functools.partial(ways.xla_wide, pixels=pixels)), holds, on="cpu")


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
        "xla": Way(ways.xla),
        "xla row": Way(ways.xla_row, on="cpu"),
        **{f"xla {pixels} wide": _wide(pixels, lambda way: way) for pixels in (2, 4)},
        "im2col": Way(ways.im2col, patches=_all),
        "rows": Way(ways.rows, patches=_by_row),
    },
    "images": {
        "xla": Way(functools.partial(ways.xla_gradient, "images"), _padded_within, not_on="cpu"),
        "forward": Way(ways.images_by(ways.xla), separable),
        "forward row": Way(ways.images_by(ways.xla_row), separable, on="cpu"),
        **{f"forward {pixels} wide": _wide(pixels, ways.images_by) for pixels in (2, 4)},
        "im2col": Way(ways.images_by(ways.im2col), separable, _turned(_all)),
        "rows": Way(ways.images_by(ways.rows), separable, _turned(_by_row)),
    },
    "kernel": {
        "xla": Way(functools.partial(ways.xla_gradient, "kernel"), not_on="cpu"),
        "forward": Way(ways.kernel_by_forward, lambda geometry: geometry.groups == 1 and separable(geometry)),
        "im2col": Way(ways.kernel_by_im2col, patches=_all),
        "rows": Way(ways.kernel_by_rows, patches=_by_row),
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
