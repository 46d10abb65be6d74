"""`layers.conv` against XLA's own convolution: values, derivatives of every mode and order, `vmap`, loops, layouts."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from jaxopt_intro.models import layers
from jaxopt_intro.models.layers import lowering, planning
from jaxopt_intro.models.layers.geometry import OPERANDS, Geometry

# Sums of at most some hundred products of numbers near 1, in another order; TF32 is off.
TOLERANCE = 64 * float(np.finfo(np.float32).eps)
LAYOUT = ("NHWC", "HWIO", "NHWC")
GEOMETRIES = [
    Geometry(3, (7, 6), 2, (3, 2), 5, (1, 1), ((1, 1), (0, 1)), (1, 1)),
    Geometry(8, (9, 8), 4, (3, 3), 6, (2, 2), ((1, 1), (0, 1)), (1, 1)),
    Geometry(2, (9, 8), 4, (3, 3), 6, (2, 2), ((0, 0), (0, 0)), (1, 1), 2),
    Geometry(2, (9, 8), 4, (1, 1), 6, (2, 2), ((0, 0), (0, 0)), (1, 1)),
    Geometry(2, (9, 8), 4, (3, 2), 6, (1, 1), ((2, 2), (1, 0)), (2, 3)),
    Geometry(2, (11,), 4, (4,), 6, (3,), ((2, 2),), (1,)),
    Geometry(2, (11,), 4, (4,), 6, (2,), ((2, 2),), (2,)),
    Geometry(2, (9, 8), 4, (3, 3), 4, (1, 1), ((1, 1), (1, 1)), (1, 1), 4),
    Geometry(16, (5, 5), 1, (2, 2), 3, (3, 2), ((0, 0), (0, 0)), (1, 1)),
    Geometry(2, (9, 8), 4, (2, 2), 8, (3, 3), ((0, 0), (1, 0)), (1, 1), 2),
]


@pytest.fixture(autouse=True)
def exact_products():
    with jax.default_matmul_precision("highest"):
        yield


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng([seed, *shape]).normal(size=shape), jnp.float32)


def assert_near(got, expected):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        scale = max(1.0, float(jnp.max(jnp.abs(b)))) if b.size else 1.0
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE * scale)


def trilinear(arrays, geometry):
    """The three arrays by a plain sum over taps, in float64 NumPy: no convolution of anybody's."""
    x, w, y = (np.asarray(arrays[name], np.float64) for name in ("images", "kernel", "outputs"))
    pad = [(0, 0), *geometry.padding, (0, 0)]
    x, groups = np.pad(x, pad), geometry.groups
    made = {"outputs": np.zeros_like(y), "images": np.zeros_like(x), "kernel": np.zeros_like(w)}
    c, o = x.shape[-1] // groups, w.shape[-1] // groups
    for tap in np.ndindex(*geometry.kernel):
        seen = tuple(
            slice(t * d, t * d + (n - 1) * s + 1, s)
            for t, d, n, s in zip(tap, geometry.dilation, geometry.out, geometry.strides, strict=True)
        )
        for g in range(groups):
            place = (slice(None), *seen, slice(g * c, (g + 1) * c))
            mine = slice(g * o, (g + 1) * o)
            made["outputs"][..., mine] += x[place] @ w[tap][:, mine]
            made["images"][place] += y[..., mine] @ w[tap][:, mine].T
            axes = tuple(range(y.ndim - 1))
            made["kernel"][tap][:, mine] += np.tensordot(x[place], y[..., mine], (axes, axes))
    inside = tuple(slice(low, low + n) for (low, _), n in zip(geometry.padding, geometry.size, strict=True))
    made["images"] = made["images"][(slice(None), *inside)]
    return made


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("wanted", OPERANDS)
def test_every_way_is_the_plain_sum(geometry, wanted):
    arrays = {name: draw(*geometry.shape(name)) for name in ("images", "kernel", "outputs")}
    expected = trilinear(arrays, geometry)[wanted]
    operands = [arrays[name] for name in OPERANDS[wanted]]
    for name in lowering.candidates(wanted, geometry):
        got = lowering.compute(wanted, name, *operands, geometry, None, jnp.dtype("float32"))
        assert got.dtype == jnp.float32
        assert_near(got, expected.astype(np.float32))


@pytest.mark.parametrize("wanted", OPERANDS)
def test_every_way_for_members_side_by_side_and_in_turn(wanted):
    geometry = GEOMETRIES[1]._replace(members=3)
    operands = [draw(*geometry.shape(name)) for name in OPERANDS[wanted]]
    one = geometry._replace(members=0)
    names = lowering.candidates(wanted, geometry)
    assert {name.endswith(lowering.IN_TURN) for name in names} == {True, False}
    expected = [
        lowering.compute(wanted, "xla", *pair, one, None, jnp.dtype("float32")) for pair in zip(*operands, strict=True)
    ]
    for name in names:
        got = lowering.compute(wanted, name, *operands, geometry, None, jnp.dtype("float32"))
        assert_near(got, jnp.stack(expected))


def test_padding_beyond_the_kernel_is_right_where_xla_is_not():
    """Outputs that see padding alone: XLA's own input gradient is wrong there on a CPU (jax 0.10.2)."""
    geometry = Geometry(3, (5, 5), 2, (2, 2), 3, (1, 1), ((3, 4), (3, 0)), (1, 1))
    arrays = {name: draw(*geometry.shape(name)) for name in ("images", "kernel", "outputs")}
    assert "xla" not in lowering.candidates("images", geometry)
    expected = trilinear(arrays, geometry)
    for wanted, (first, second) in OPERANDS.items():
        for name in lowering.candidates(wanted, geometry):
            operands = arrays[first], arrays[second]
            got = lowering.compute(wanted, name, *operands, geometry, None, jnp.dtype("float32"))
            assert_near(got, expected[wanted].astype(np.float32))


# -- derivatives and vmap -----------------------------------------------------------------------------------------


def pair(conv, **options):
    options = {"dimension_numbers": LAYOUT, "feature_group_count": 2, **options}
    return lambda x, w: conv(x, w, (2, 1), "SAME", **options)


OURS, XLA = pair(layers.conv), pair(lax.conv_general_dilated)
X, W = draw(3, 8, 7, 4), draw(3, 2, 2, 6)
TANGENTS = draw(*X.shape, seed=1), draw(*W.shape, seed=2)


def loss(conv):
    return lambda x, w: jnp.sum(jnp.sin(conv(x, w)))


def gradient(conv):
    return jax.grad(loss(conv), (0, 1))


def hessian_vector(conv):
    return lambda x, w: jax.jvp(gradient(conv), (x, w), TANGENTS)[1]


def reverse_over_reverse(conv):
    def directional(x, w):
        return sum(jnp.vdot(g, t) for g, t in zip(gradient(conv)(x, w), TANGENTS, strict=True))

    return jax.grad(directional, (0, 1))


def descended(conv):
    """Two steps of gradient descent in a loop."""

    def step(carry, _):
        return jax.tree.map(lambda p, g: p - 0.01 * g, carry, gradient(conv)(*carry)), None

    return lambda x, w: lax.scan(step, (x, w), None, length=2)[0]


def through_the_loop(conv):
    return lambda x, w: jax.jvp(descended(conv), (x, w), TANGENTS)[1]


MODES = {
    "values": lambda conv: conv,
    "gradient": gradient,
    "jvp": lambda conv: lambda x, w: jax.jvp(loss(conv), (x, w), TANGENTS),
    "hessian_vector": hessian_vector,
    "reverse_over_reverse": reverse_over_reverse,
    "loop": descended,
    "jvp_of_loop": through_the_loop,
    "gradient_of_loop": lambda conv: jax.grad(lambda x, w: sum(map(jnp.sum, descended(conv)(x, w))), (0, 1)),
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("axes", [None, (0, None), (None, 0), (0, 0), (1, 2)])
def test_every_mode_batched_and_not(mode, axes):
    if axes is None:
        args = X, W
    else:
        args = tuple(
            a if axis is None else jnp.stack([a, 2 * a, -a], axis) for a, axis in zip((X, W), axes, strict=True)
        )

    def made(conv):
        function = MODES[mode](conv)
        return jax.jit(function if axes is None else jax.vmap(function, axes))

    assert_near(made(OURS)(*args), made(XLA)(*args))


def test_gradients_of_a_population_and_nested_vmap():
    xs, ws = draw(5, 4, *X.shape), draw(4, *W.shape)
    for ours, xla in ((gradient(OURS), gradient(XLA)), (OURS, XLA)):
        nested = [jax.vmap(jax.vmap(f), (0, None))(xs, ws) for f in (ours, xla)]
        assert_near(*nested)
        nested = [jax.vmap(jax.vmap(f, (0, None)), (None, 0))(xs[0], ws) for f in (ours, xla)]
        assert_near(*nested)
    sums = [jax.grad(lambda w, c=c: jnp.sum(jnp.cos(jax.vmap(c, (None, 0))(X, w))))(ws) for c in (OURS, XLA)]
    assert_near(*sums)


def test_a_population_of_nobody():
    assert jax.vmap(OURS, (None, 0))(X, jnp.zeros((0, *W.shape))).shape == (0, 3, 4, 7, 6)
    assert OURS(X[:0], W).shape == (0, 4, 7, 6)


@given(
    x=st.lists(st.floats(-8, 8, width=32), min_size=24, max_size=24),
    w=st.lists(st.floats(-8, 8, width=32), min_size=8, max_size=8),
)
@settings(max_examples=25)
def test_drawn_values(x, w):
    x, w = jnp.asarray(x, jnp.float32).reshape(1, 4, 3, 2), jnp.asarray(w, jnp.float32).reshape(2, 2, 1, 2)
    ours, xla = _drawn(layers.conv), _drawn(lax.conv_general_dilated)
    assert_near(ours(x, w), xla(x, w))


@functools.cache
def _drawn(conv):
    def both(x, w):
        options = {"dimension_numbers": LAYOUT, "feature_group_count": 2}
        function = lambda x, w: conv(x, w, (1, 1), ((1, 0), (0, 1)), **options)  # noqa: E731
        return function(x, w), jax.grad(lambda x, w: jnp.sum(function(x, w) ** 2), (0, 1))(x, w)

    return jax.jit(both)


# -- the arguments of jax.lax ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "x", "w"),
    [
        (("NHWC", "HWIO", "NHWC"), (2, 6, 5, 3), (3, 2, 3, 4)),
        (("NCHW", "OIHW", "NCHW"), (2, 3, 6, 5), (4, 3, 3, 2)),
        (("NCHW", "HWIO", "NHWC"), (2, 3, 6, 5), (3, 2, 3, 4)),
        (("CWNH", "IHOW", "WCHN"), (3, 5, 2, 6), (3, 3, 4, 2)),
        (None, (2, 3, 6, 5), (4, 3, 3, 2)),
    ],
)
@pytest.mark.parametrize("padding", ["SAME", "VALID", "SAME_LOWER", ((2, 0), (1, 3))])
def test_any_layout_and_padding(layout, x, w, padding):
    x, w = draw(*x), draw(*w)
    options = {"window_strides": (2, 1), "padding": padding, "dimension_numbers": layout, "rhs_dilation": (1, 2)}
    assert_near(layers.conv(x, w, **options), lax.conv_general_dilated(x, w, **options))
    grads = [
        jax.grad(lambda x, c=c: jnp.sum(jnp.sin(c(x, w, **options))))(x)
        for c in (layers.conv, lax.conv_general_dilated)
    ]
    assert_near(*grads)


@pytest.mark.parametrize(
    ("options", "dtype"),
    [
        ({"lhs_dilation": (2, 1), "padding": ((0, 1), (0, 0))}, "float32"),
        ({"batch_group_count": 2}, "float32"),
        ({"padding": ((-1, 0), (0, 0))}, "float32"),
        ({}, "int32"),
        ({}, "complex64"),
    ],
)
def test_outside_of_the_fast_set_it_is_xla(options, dtype):
    x, w = (10 * draw(2, 6, 5, 3)).astype(dtype), (10 * draw(3, 2, 3, 4)).astype(dtype)
    options = {"window_strides": (1, 1), "padding": "VALID", "dimension_numbers": LAYOUT, **options}
    np.testing.assert_array_equal(layers.conv(x, w, **options), lax.conv_general_dilated(x, w, **options))
    plan = planning.plan_for(lambda x, w: layers.conv(x, w, **options), x, w, seconds=0)
    assert plan.choices == ()
    assert plan.others == (f"convolution of 2x6x5x3 * 3x2x3x4, {dtype}",)


def test_three_spatial_axes_are_xlas():
    x, w = draw(1, 4, 4, 4, 2), draw(2, 2, 2, 2, 3)
    options = {"window_strides": (1, 1, 1), "padding": "SAME", "dimension_numbers": ("NHWDC", "HWDIO", "NHWDC")}
    np.testing.assert_array_equal(layers.conv(x, w, **options), lax.conv_general_dilated(x, w, **options))


@pytest.mark.parametrize("preferred", [None, "float32"])
def test_bfloat16(preferred):
    x, w = X.astype("bfloat16"), W.astype("bfloat16")
    preferred = preferred and jnp.dtype(preferred)
    ours = pair(layers.conv, preferred_element_type=preferred)
    y = ours(x, w)
    assert y.dtype == (preferred or jnp.bfloat16)
    exact = XLA(x.astype("float32"), w.astype("float32"))
    rounding = float(jnp.finfo(y.dtype).eps)
    np.testing.assert_allclose(y.astype("float32"), exact, atol=rounding * float(jnp.max(jnp.abs(exact))))
    got = jax.grad(lambda x, w: jnp.sum(ours(x, w).astype("float32") ** 2), (0, 1))(x, w)
    expected = jax.grad(lambda x, w: jnp.sum(XLA(x, w) ** 2), (0, 1))(x.astype("float32"), w.astype("float32"))
    assert [g.dtype for g in got] == [jnp.bfloat16] * 2
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a.astype("float32"), b, atol=4 * 2**-8 * float(jnp.max(jnp.abs(b))))


def test_float64(x64):
    x, w = (np.random.default_rng(0).normal(size=a.shape) for a in (X, W))
    assert OURS(x, w).dtype == jnp.float64
    np.testing.assert_allclose(OURS(x, w), XLA(x, w), rtol=1e-12, atol=1e-12)
    got, expected = gradient(OURS)(x, w), gradient(XLA)(x, w)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)


def test_shapes_that_do_not_fit_are_jaxs_error():
    with pytest.raises(ValueError, match="feature"):
        layers.conv(X, W[:, :, :1], (1, 1), "SAME", dimension_numbers=LAYOUT)


def test_under_shard_map_with_varying_axes(all_devices):
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:4]), ("d",))
    spec = jax.sharding.PartitionSpec("d")
    xs = jnp.stack([X, -X, 2 * X, X + 1])
    spread = jax.shard_map(lambda x: OURS(x[0], W)[None], mesh=mesh, in_specs=spec, out_specs=spec)
    assert_near(spread(xs), jax.vmap(XLA, (0, None))(xs, W))
