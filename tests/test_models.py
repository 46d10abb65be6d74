from __future__ import annotations

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from jaxopt_intro import models
from jaxopt_intro.models import MODELS, from_constructor, from_linen, from_nnx, layers

X = jnp.asarray(np.random.default_rng(0).normal(size=(6, 4)), jnp.float32)
KEY = jax.random.key(0)
EPS = float(np.finfo(np.float32).eps)


class Noisy(nnx.Module):
    """Dropout with a rate that may be traced, in a list of layers."""

    def __init__(self, *, rate=0.5, slope: float = 0.1, rngs: nnx.Rngs):
        self.layers = nnx.List([nnx.Linear(4, 8, rngs=rngs), nnx.Linear(8, 3, rngs=rngs)])
        self.dropout = layers.Dropout(rate, rngs=rngs)
        self.slope = slope

    def __call__(self, x):
        return self.layers[1](self.dropout(nnx.leaky_relu(self.layers[0](x), self.slope)))


class Normed(nnx.Module):
    """BatchNorm, flax's own static dropout, several outputs, a train flag and a look at the example."""

    def __init__(self, example, *, momentum=0.9, rngs: nnx.Rngs):
        self.dense = nnx.Linear(example["x"].shape[-1], 5, rngs=rngs)
        self.norm = nnx.BatchNorm(5, momentum=momentum, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, inputs, *, train):
        hidden = self.dropout(self.norm(self.dense(inputs["x"])))
        return {"hidden": hidden, "pair": (hidden.sum(-1), jnp.full((), train))}


class LinenNormed(linen.Module):
    """BatchNorm and dropout, told by `train`."""

    rate: float = 0.5
    features: int = 5

    @linen.compact
    def __call__(self, x, train: bool):
        x = linen.BatchNorm(use_running_average=not train, momentum=0.9)(linen.Dense(self.features)(x))
        return linen.Dropout(self.rate, deterministic=not train)(x)


class LinenDeterministic(linen.Module):
    """A traceable number, and dropout told by `deterministic`."""

    scale: float = 2.0

    @linen.compact
    def __call__(self, x, *, deterministic: bool = True):
        return linen.Dropout(0.5)(self.scale * linen.Dense(3)(x), deterministic=deterministic)


def _apply(model, params, state, x=X, *, train=False, key=None, **hparams):
    return model.apply(params, state, x, train=train, key=key, hparams=hparams)


@functools.cache
def _start(model):
    return jax.jit(lambda key: model.init(key, X, {}))(KEY)


def _assert_plain(tree):
    if isinstance(tree, jax.Array):
        return
    assert type(tree) is dict
    for name, child in tree.items():
        assert type(name) is str
        _assert_plain(child)


EVERY = {
    "linear": models.linear(outputs=3),
    "mlp": models.mlp(outputs=3, widths=(8, 5), dropout=0.5),
    "residual_mlp": models.residual_mlp(outputs=3, width=8, blocks=2, dropout=0.5, stochastic_depth=0.5),
    "nnx": from_nnx(Noisy),
    "linen": from_linen(LinenNormed),
    "linen instance": from_linen(LinenDeterministic(scale=3.0)),
    "constructor": from_constructor(functools.partial(models.mlp, outputs=3, widths=(8,))),
}
each_model = pytest.mark.parametrize("model", EVERY.values(), ids=EVERY)


@each_model
def test_parameters_and_state_are_plain_dicts_with_string_keys(model):
    params, state = _start(model)
    _assert_plain(params)
    _assert_plain(state)
    json.dumps(jax.tree.map(jnp.shape, params))
    assert jax.tree.structure(_apply(model, params, state, train=True, key=KEY)[1]) == jax.tree.structure(state)


@each_model
def test_the_live_module_computes_what_apply_does(model):
    params, state = _start(model)
    module = model.bind(params, state, {}, example=X)
    if isinstance(module, nnx.Module):
        module.eval()
        outputs = module(X)
    else:
        outputs = module(X, **({"train": False} if isinstance(module, LinenNormed) else {"deterministic": True}))
    np.testing.assert_allclose(outputs, _apply(model, params, state)[0], rtol=16 * EPS, atol=16 * EPS)


@each_model
def test_a_population_is_its_members(model):
    keys = jax.random.split(KEY, 3)
    params, state = jax.jit(jax.vmap(lambda k: model.init(k, X, {})))(keys)

    def step(p, s, k):
        outputs, s = _apply(model, p, s, train=True, key=k)
        return outputs, s

    outputs, after = jax.jit(jax.vmap(step))(params, state, keys)
    solo = jax.jit(step)
    for i in range(3):
        member = jax.tree.map(lambda x, i=i: x[i], (params, state))
        jax.tree.map(
            lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=64 * EPS, atol=64 * EPS),
            (outputs, after),
            solo(*member, keys[i]),
        )
    if model.name != "linear":  # it starts at zero
        assert not np.allclose(outputs[0], outputs[1])


@each_model
def test_apply_works_inside_grad_and_scan(model):
    params, state = _start(model)

    def loss(params, state, key):
        outputs, state = _apply(model, params, state, train=True, key=key)
        return jnp.mean((outputs - 1.0) ** 2), state

    def body(carry, key):
        params, state = carry
        (value, state), grads = jax.value_and_grad(loss, has_aux=True)(params, state, key)
        return (jax.tree.map(lambda p, g: p - 0.05 * g, params, grads), state), value

    (params, _), values = jax.jit(lambda c, k: jax.lax.scan(body, c, k))((params, state), jax.random.split(KEY, 40))
    assert values[-10:].mean() < values[:10].mean()
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(params))


@each_model
def test_without_train_there_is_no_noise_and_the_state_stays(model):
    params, state = _start(model)
    (first, s1), (second, s2) = (_apply(model, params, state, key=k) for k in (None, jax.random.key(9)))
    np.testing.assert_array_equal(first, second)
    jax.tree.map(np.testing.assert_array_equal, s1, state)
    jax.tree.map(np.testing.assert_array_equal, s2, state)


def test_names_and_hyperparameters():
    assert {name: m.name for name, m in EVERY.items()} == {
        "linear": "linear", "mlp": "mlp", "residual_mlp": "residual_mlp", "nnx": "Noisy", "linen": "LinenNormed",
        "linen instance": "LinenDeterministic", "constructor": "mlp",
    }  # fmt: skip
    assert {name: m.hyperparameters for name, m in EVERY.items()} == {
        "linear": (), "mlp": ("dropout", "gaussian_noise"), "residual_mlp": ("dropout", "stochastic_depth"),
        "nnx": ("rate", "slope"), "linen": ("rate", "features"), "linen instance": ("scale",),
        "constructor": ("dropout", "gaussian_noise"),
    }  # fmt: skip
    assert set(MODELS) == {MODELS[name](outputs=2).name for name in MODELS}


@pytest.mark.parametrize("name", ["mlp", "nnx", "constructor"])
def test_a_dropout_rate_may_be_traced(name: str):
    model = EVERY[name]
    number = model.hyperparameters[0]
    params, state = model.init(KEY, X, {number: 0.5})
    rates = jnp.array([0.0, 0.4, 1.0])

    def apply(rate):
        return model.apply(params, state, X, train=True, key=jax.random.key(5), hparams={number: rate})[0]

    population = jax.jit(jax.vmap(apply))(rates)
    for i, rate in enumerate((0.0, float(rates[1]), 1.0)):
        np.testing.assert_allclose(population[i], apply(rate), rtol=16 * EPS, atol=16 * EPS)
    np.testing.assert_allclose(population[0], _apply(model, params, state)[0], rtol=16 * EPS, atol=16 * EPS)
    assert np.ptp(np.asarray(population[2]), axis=0).max() < 1e-6  # with all dropped, every example is the bias
    assert not np.allclose(population[1], population[0])


def test_noise_is_decided_by_the_key_and_differs_between_layers():
    model = EVERY["nnx"]
    params, state = _start(model)
    once, again = (_apply(model, params, state, train=True, key=jax.random.key(1))[0] for _ in range(2))
    np.testing.assert_array_equal(once, again)
    assert not np.allclose(once, _apply(model, params, state, train=True, key=jax.random.key(2))[0])

    class Two(nnx.Module):
        def __init__(self, *, rngs):
            self.drops = nnx.List([layers.Dropout(0.5, rngs=rngs) for _ in range(2)])

        def __call__(self, x):
            return self.drops[0](x), self.drops[1](x)

    two = from_nnx(Two)
    params, state = two.init(KEY, X, {})
    assert (params, state) == ({}, {})
    a, b = _apply(two, params, state, jnp.ones(4000), train=True, key=jax.random.key(3))[0]
    assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(4000)


def test_a_layers_dropout_stands_in_for_flaxs():
    layer = layers.Dropout(0.25, rngs=nnx.Rngs(0))
    ones = jnp.ones(20_000)
    first, second = layer(ones), layer(ones)
    assert not np.array_equal(first, second)  # its stream goes on
    assert abs(float((first == 0).mean()) - 0.25) < 4 * np.sqrt(0.25 * 0.75 / 20_000)
    layer.eval()
    np.testing.assert_array_equal(layer(ones), ones)
    layer.train()
    assert (layer(ones) == 0).any()
    shared = nnx.Rngs(0)
    a, b = (layers.Dropout(0.5, rngs=shared)(ones) for _ in range(2))
    assert not np.array_equal(a, b)


def test_nnx_batch_norm_several_outputs_and_the_train_flag():
    model = from_nnx(Normed)
    assert model.hyperparameters == ("momentum",)
    inputs = {"x": X}
    params, state = model.init(KEY, inputs, {})
    assert sorted(params) == ["dense", "norm"]
    assert sorted(state["norm"]) == ["mean", "var"]
    outputs, after = _apply(model, params, state, inputs, train=True, key=jax.random.key(4), momentum=jnp.float32(0.25))
    assert bool(outputs["pair"][1])
    dense = X @ params["dense"]["kernel"] + params["dense"]["bias"].reshape(1, -1)
    np.testing.assert_allclose(after["norm"]["mean"], 0.75 * dense.mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after["norm"]["var"], 0.25 + 0.75 * dense.var(0), rtol=1e-5)
    share = float((outputs["hidden"] == 0).mean())
    assert 0.2 < share < 0.8  # flax's own dropout drew, from the key that was given
    outputs, _ = _apply(model, params, after, inputs)
    assert not bool(outputs["pair"][1])
    normalized = (dense - after["norm"]["mean"][None]) / jnp.sqrt(after["norm"]["var"][None] + 1e-5)
    np.testing.assert_allclose(outputs["hidden"], normalized, rtol=1e-4, atol=1e-5)


def test_an_nnx_factory_may_be_a_function():
    def make(*, slope=0.2, rngs):
        return Noisy(rate=0.0, slope=slope, rngs=rngs)

    model = from_nnx(make)
    assert (model.name, model.hyperparameters) == ("make", ("slope",))
    params, state = _start(model)
    one = _apply(model, params, state, slope=1.0)[0]  # a leaky ReLU of slope 1 is linear
    kernel = params["layers"]["0"]["kernel"] @ params["layers"]["1"]["kernel"]
    bias = params["layers"]["0"]["bias"] @ params["layers"]["1"]["kernel"] + params["layers"]["1"]["bias"]
    np.testing.assert_allclose(one, X @ kernel + bias[None], rtol=1e-4, atol=1e-5)


def test_linen_batch_norm_and_dropout_are_told():
    model = EVERY["linen"]
    params, state = _start(model)
    assert list(state) == ["batch_stats"]
    trained, after = _apply(model, params, state, train=True, key=jax.random.key(1))
    assert (trained == 0).any()
    assert not np.allclose(after["batch_stats"]["BatchNorm_0"]["mean"], state["batch_stats"]["BatchNorm_0"]["mean"])
    evaluated, same = _apply(model, params, after)
    assert not (evaluated == 0).any()
    jax.tree.map(np.testing.assert_array_equal, same, after)
    told = EVERY["linen instance"]
    params, state = told.init(KEY, X, {})
    assert (_apply(told, params, state, train=True, key=jax.random.key(1))[0] == 0).any()
    assert not (_apply(told, params, state)[0] == 0).any()


class Several(linen.Module):
    @linen.compact
    def __call__(self, *inputs):
        return linen.Dense(2)(inputs[0])


class PositionalOnly(linen.Module):
    @linen.compact
    def __call__(self, x, /, train):
        return linen.Dense(2)(x) * (2 if train else 1)


class Attention(linen.Module):
    @linen.compact
    def __call__(self, query, key=None):
        return linen.Dense(2)(query if key is None else key)


class Sowing(linen.Module):
    @linen.compact
    def __call__(self, x):
        self.sow("losses", "mean", x.mean())
        return linen.Dense(2)(x)


@pytest.mark.parametrize(
    "module",
    [
        linen.Sequential([linen.Dense(3), linen.relu, linen.Dense(2)]),
        Several(),
        PositionalOnly(),
        Attention(),
        Sowing(),
    ],
)
def test_linen_calls_of_every_form_are_made(module):
    model = models.from_linen(module)
    params, state = model.init(jax.random.key(0), jnp.ones((4, 2)), {})
    outputs, after = model.apply(params, state, jnp.ones((4, 2)), train=True, key=jax.random.key(1), hparams={})
    assert outputs.shape == (4, 2)
    assert jax.tree.structure(after) == jax.tree.structure(state)


def test_parameters_that_a_call_makes_are_refused():
    class Late(nnx.Module):
        def __init__(self, *, rngs: nnx.Rngs):
            self.first, self.rngs = nnx.Linear(2, 2, rngs=rngs), rngs

        def __call__(self, x):
            self.second = nnx.Linear(2, 2, rngs=self.rngs)
            return self.second(self.first(x))

    model = models.from_nnx(Late)
    params, state = model.init(jax.random.key(0), jnp.ones((4, 2)), {})
    with pytest.raises(ValueError, match="its call made parameters"):
        model.apply(params, state, jnp.ones((4, 2)), train=True, key=jax.random.key(1), hparams={})


def test_a_linen_field_may_be_traced_and_starts_at_its_own_value():
    model = EVERY["linen instance"]
    params, state = _start(model)
    at = jax.vmap(lambda s: model.apply(params, state, X, train=False, key=None, hparams={"scale": s})[0])
    population = at(jnp.array([1.0, 3.0]))
    np.testing.assert_allclose(population[1], 3 * population[0], rtol=16 * EPS, atol=EPS)
    np.testing.assert_array_equal(population[1], _apply(model, params, state)[0])


def test_a_linen_class_without_defaults_is_refused():
    with pytest.raises(
        ValueError,
        match=r"from_linen: got the class Dense, whose fields features have no default; .*Dense\(features=…\)",
    ):
        from_linen(linen.Dense)


def test_the_seed_decides_the_start():
    model = EVERY["mlp"]
    first, again, other = (model.init(jax.random.key(s), X, {})[0] for s in (1, 1, 2))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert not np.allclose(first["hidden"]["0"]["kernel"], other["hidden"]["0"]["kernel"])
    # Hyperparameters do not move the start: every rate begins at the same weights.
    jax.tree.map(np.testing.assert_array_equal, first, model.init(jax.random.key(1), X, {"dropout": 0.9})[0])


def test_the_start_of_the_mlp_is_he_normal_then_lecun_normal():
    params, _ = models.mlp(outputs=500, widths=(400,)).init(KEY, jnp.ones((1, 20, 20)), {})
    for kernel, variance in ((params["hidden"]["0"]["kernel"], 2 / 400), (params["output"]["kernel"], 1 / 400)):
        # The variance of n draws is right to sqrt(2 / n), of a truncated normal to less.
        assert float(kernel.var()) == pytest.approx(variance, rel=4 * np.sqrt(2 / kernel.size))
    assert all(not np.any(params[n]["bias"]) for n in ("output",))


def test_linear_starts_at_zero_on_flattened_inputs():
    model = models.linear(outputs=3)
    params, state = model.init(KEY, jnp.ones((2, 5, 4, 3)), {})
    assert params["dense"]["kernel"].shape == (60, 3)
    assert not any(np.any(x) for x in jax.tree.leaves(params))
    kernel = jnp.arange(180.0).reshape(60, 3)
    images = jnp.asarray(np.random.default_rng(1).normal(size=(2, 5, 4, 3)), jnp.float32)
    outputs, _ = _apply(model, {"dense": {"kernel": kernel, "bias": jnp.array([1.0, 2.0, 3.0])}}, state, images)
    expected = np.asarray(images).reshape(2, 60) @ np.asarray(kernel) + np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(outputs, expected, rtol=1e-4)


def test_an_unknown_activation_is_refused_at_once():
    with pytest.raises(ValueError, match=r"unknown activation 'rely'\. Did you mean 'relu'"):
        models.mlp(outputs=3, activation="rely")


IMAGES = jnp.asarray(np.random.default_rng(2).normal(size=(16, 5, 6, 2)), jnp.float32)


def test_the_convnet_takes_images_with_and_without_channels_of_any_sides():
    model = models.convnet(outputs=3, channels=(4, 5))
    params, state = model.init(KEY, IMAGES, {})
    assert params["output"]["kernel"].shape == (2 * 2 * 5, 3)  # 5 x 6 pixels, halved twice, rounded up
    assert _apply(model, params, state, IMAGES)[0].shape == (16, 3)
    gray, _ = model.init(KEY, IMAGES[..., 0], {})
    assert gray["convolutions"]["0"]["kernel"].shape == (3, 3, 1, 4)
    with pytest.raises(ValueError, match=r"convnet: got inputs of shape \(6, 4\); expected images"):
        model.init(KEY, X, {})


def test_spatial_dropout_drops_channels_in_training_alone():
    model = models.convnet(outputs=3, channels=4)
    params, state = model.init(KEY, IMAGES, {})
    params["output"]["bias"] = jnp.array([1.0, 2.0, 3.0])
    off = _apply(model, params, state, IMAGES, train=True, key=KEY)[0]
    for rate, same in ((0.0, off), (1.0, jnp.broadcast_to(params["output"]["bias"], (16, 3)))):
        np.testing.assert_array_equal(
            _apply(model, params, state, IMAGES, train=True, key=KEY, spatial_dropout=rate)[0], same
        )
    assert not np.allclose(_apply(model, params, state, IMAGES, train=True, key=KEY, spatial_dropout=0.5)[0], off)
    np.testing.assert_array_equal(_apply(model, params, state, IMAGES, spatial_dropout=0.5)[0], off)


def test_stochastic_depth_rises_linearly_and_at_1_skips_the_last_block():
    model = models.residual_mlp(outputs=3, width=8, blocks=2)
    params, state = model.init(KEY, X, {})
    rates = [depth.rate for depth in model.bind(params, state, {"stochastic_depth": 0.5}, example=X).depth]
    assert rates == [0.25, 0.5]
    full = _apply(model, params, state, train=True, key=KEY)[0]
    np.testing.assert_array_equal(_apply(model, params, state, train=True, key=KEY, stochastic_depth=0.0)[0], full)
    np.testing.assert_array_equal(_apply(model, params, state, stochastic_depth=1.0)[0], full)
    at_one = _apply(model, params, state, train=True, key=KEY, stochastic_depth=1.0)[0]
    params["blocks"]["1"] = jax.tree.map(jnp.zeros_like, params["blocks"]["1"])
    np.testing.assert_array_equal(_apply(model, params, state, train=True, key=KEY, stochastic_depth=1.0)[0], at_one)
    assert not np.allclose(at_one, full)


def test_noise_after_hidden_layers_is_normal_in_training_alone():
    model = models.mlp(outputs=3, widths=(500,))
    params, state = model.init(KEY, X, {})
    params["output"] = {"kernel": jnp.ones((500, 3)), "bias": jnp.zeros(3)}
    off = _apply(model, params, state)[0]
    np.testing.assert_array_equal(_apply(model, params, state, gaussian_noise=2.0)[0], off)
    keys = jax.random.split(KEY, 400)
    noisy = jax.vmap(lambda k: _apply(model, params, state, train=True, key=k, gaussian_noise=2.0)[0][:, 0])(keys)
    # 500 terms of variance 4: the estimate of a variance from n draws is right to sqrt(2 / n).
    assert float(jnp.var(noisy - off[None, :, 0])) == pytest.approx(2000, rel=5 * np.sqrt(2 / noisy.size))


@pytest.mark.parametrize(
    ("name", "noise"),
    [
        ("mlp", "dropout"),
        ("mlp", "gaussian_noise"),
        ("residual_mlp", "stochastic_depth"),
        ("convnet", "spatial_dropout"),
    ],
)
def test_weights_start_alike_with_and_without_noise(name, noise):
    model = MODELS[name](outputs=2)
    without, with_noise = (model.init(KEY, IMAGES, given)[0] for given in ({}, {noise: 0.5}))
    jax.tree.map(np.testing.assert_array_equal, without, with_noise)
