"""The published networks: their sizes, starts and numbers; what models cost; computing in fewer bits."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxopt_intro import Experiment, Space, models, sweep
from jaxopt_intro.contracts.measuring import compiled
from jaxopt_intro.experiment import grouping
from jaxopt_intro.models.layers import BatchNorm
from jaxopt_intro.models.layers.planning import equations
from tests.small import DATA

MNIST, CIFAR = jnp.ones((1, 28, 28)), jnp.ones((1, 32, 32, 3))
KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("name", "outputs", "images", "parameters", "flop"),
    [
        ("linear", 10, MNIST, 7_850, 2 * 784 * 10),
        ("mlp", 10, MNIST, 203_530, 2 * (784 * 256 + 256 * 10)),
        ("2c2d", 10, MNIST, 3_274_634, 2 * (784 * 25 * 32 + 196 * 800 * 64 + 3136 * 1024 + 1024 * 10)),
        ("3c3d", 10, CIFAR, 895_210, None),
        ("allcnnc", 100, CIFAR, 1_387_108, None),  # as DeepOBS counts it, for CIFAR-100
        ("allcnnc", 10, CIFAR, 1_369_738, None),
    ],
)
def test_models_have_the_sizes_of_their_papers(name, outputs, images, parameters, flop):
    found = models.cost(models.MODELS[name](outputs=outputs), images)
    assert found.parameters == parameters
    assert found.flop == (flop or found.flop) > 0


@pytest.mark.parametrize(("blocks", "parameters"), [(3, 0.27e6), (5, 0.46e6), (9, 0.85e6), (18, 1.7e6)])
def test_residual_networks_have_the_sizes_of_the_paper(blocks, parameters):
    """He et al. 2016, table 6: ResNet-20, 32, 56 and 110."""
    found = models.cost(models.resnet(outputs=10, blocks=blocks), CIFAR)
    assert abs(found.parameters / parameters - 1) < 0.02


@pytest.mark.parametrize("name", models.MODELS)
def test_images_cost_the_same_as_bytes(name):
    """A data set holds images as uint8; a step makes floats of them before a model sees them."""
    model, images = models.MODELS[name](outputs=10), np.zeros((1, 32, 32, 3), np.uint8)
    assert models.cost(model, images) == models.cost(model, images.astype(np.float32))


def test_flop_counts_loops_and_batched_products():
    w = jnp.ones((3, 3))
    assert models.flop(lambda x: jax.lax.scan(lambda c, _: (c @ w, None), x, length=5)[0], jnp.ones((2, 3))) == 5 * 36
    assert models.flop(lambda a, b: jnp.einsum("bij,bjk->bik", a, b), jnp.ones((4, 2, 3)), jnp.ones((4, 3, 5))) == 240
    assert models.flop(jnp.sin, jnp.ones(3)) == 0


def started(model, images):
    return compiled(lambda key: model.init(key, images, {})[0])(KEY)


def test_2c2d_starts_as_in_deepobs():
    params = started(models.cnn_2c2d(outputs=10), MNIST)
    kernels = [layer["kernel"] for kind in params.values() for layer in kind.values()]
    for kernel in kernels:
        assert float(jnp.max(jnp.abs(kernel))) <= 0.1
        np.testing.assert_allclose(jnp.std(kernel), 0.05 * 0.8796, rtol=0.06)  # of what is cut off at two deviations
    assert all(bool(jnp.all(layer["bias"] == jnp.float32(0.05))) for kind in params.values() for layer in kind.values())


def test_3c3d_starts_as_in_deepobs():
    params = started(models.cnn_3c3d(outputs=10), CIFAR)
    convolutions, dense = params["convolutions"].values(), params["dense"].values()
    for layer in convolutions:
        height, width, i, o = layer["kernel"].shape
        np.testing.assert_allclose(jnp.std(layer["kernel"]), (2 / (height * width * (i + o))) ** 0.5, rtol=0.05)
    for layer in dense:
        i, o = layer["kernel"].shape
        assert float(jnp.max(jnp.abs(layer["kernel"]))) <= (6 / (i + o)) ** 0.5
    assert [layer["kernel"].shape[0] for layer in dense] == [1152, 512, 256]
    assert all(bool(jnp.all(layer["bias"] == 0)) for layer in (*convolutions, *dense))


@pytest.mark.parametrize("name", ["3c3d", "allcnnc", "resnet", "2c2d"])
def test_inputs_that_are_no_images_are_refused(name):
    with pytest.raises(ValueError, match="expected"):
        models.MODELS[name](outputs=10).init(KEY, jnp.ones((1, 7)), {})


def test_stochastic_depth_of_the_resnet_rises_to_the_last_block():
    model = models.resnet(outputs=3, channels=(4, 4), blocks=1)
    images = jax.random.normal(KEY, (8, 6, 6, 1))
    params, state = compiled(lambda key: model.init(key, images, {}))(KEY)

    @functools.partial(jax.jit, static_argnames="train")
    def outputs(rate, train=True, key=KEY):
        return model.apply(params, state, images, train=train, key=key, hparams={"stochastic_depth": rate})[0]

    np.testing.assert_array_equal(outputs(0.5, train=False), outputs(0.0, train=False))
    plain = jax.jit(lambda: model.apply(params, state, images, train=True, key=KEY, hparams={})[0])()
    np.testing.assert_allclose(outputs(0.0), plain, rtol=1e-6, atol=1e-6)
    assert not np.allclose(outputs(0.5), outputs(0.5, key=jax.random.key(7)))
    rates = jax.vmap(outputs)(jnp.array([0.0, 0.5]))  # traced
    np.testing.assert_allclose(rates[1], outputs(0.5), rtol=1e-5, atol=1e-5)


# Batch normalization.


def test_batch_norm_is_flaxs():
    x = 3 + jax.random.normal(KEY, (16, 5, 4))
    ours, theirs = BatchNorm(4, momentum=0.7), nnx.BatchNorm(4, momentum=0.7, rngs=nnx.Rngs(0))
    for _ in range(2):
        np.testing.assert_allclose(ours(x), theirs(x), rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(ours.mean[...], theirs.mean[...], rtol=1e-5)
    np.testing.assert_allclose(ours.var[...], theirs.var[...], rtol=1e-4)
    ours.eval(), theirs.eval()
    np.testing.assert_allclose(ours(x), theirs(x), rtol=2e-5, atol=2e-5)


def test_batch_norm_has_the_derivative_of_its_momentum():
    x = 3 + jax.random.normal(KEY, (16, 4))
    model = models.from_nnx(lambda *, momentum=0.5, rngs: BatchNorm(4, momentum=momentum, rngs=rngs))
    params, state = model.init(KEY, x, {})

    def evaluated(momentum):
        _, after = model.apply(params, state, x, train=True, key=None, hparams={"momentum": momentum})
        return jnp.sum(model.apply(params, after, x, train=False, key=None, hparams={})[0] ** 2)

    step = 1e-2
    numeric = (evaluated(0.5 + step) - evaluated(0.5 - step)) / (2 * step)
    np.testing.assert_allclose(jax.grad(evaluated)(0.5), numeric, rtol=1e-2)


@pytest.mark.parametrize(("mean", "first"), [(0.0, 0.0), (1e6, 0.0), (0.0, 100.0), (3000.0, 1000.0)])
def test_neither_a_large_mean_nor_a_first_example_cancel(mean, first):
    x = np.random.default_rng(0).normal(size=(64, 8, 8, 1)).astype(np.float32) + np.float32(mean)
    x[0, 0, 0] += first
    wide = x.astype(np.float64)
    expected = (wide - wide.mean()) / np.sqrt(wide.var() + 1e-5)
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(BatchNorm(1)(jnp.asarray(x)), expected, atol=(2e-5 + 4e-7 * abs(mean)) * scale)


def test_derivatives_of_batch_norm_are_those_of_its_formula():
    x = jax.random.normal(KEY, (5, 2))
    x = x.at[:, 1].set(0.5)  # a channel that is constant
    w = jax.random.normal(jax.random.key(1), (5, 2))

    def plain(x):
        apart = x - x.mean(0, keepdims=True)
        return apart / jnp.sqrt((apart**2).mean(0, keepdims=True) + 1e-5)

    def ours(x):
        return BatchNorm(2)(x)

    def total(function):
        return lambda x: jnp.sum(w * function(x)) + jnp.sum(function(x) ** 3)

    np.testing.assert_allclose(jax.grad(total(ours))(x), jax.grad(total(plain))(x), rtol=1e-3, atol=1e-2)
    hessians = [jax.hessian(total(f))(x) for f in (ours, plain)]
    for channel in range(2):
        own, expected = (h[:, channel, :, channel] for h in hessians)
        np.testing.assert_allclose(own, expected, rtol=1e-3, atol=1e-3 * float(jnp.max(jnp.abs(expected))))


# Fewer bits.


@pytest.mark.parametrize("name", ["mlp", "resnet"])
def test_products_are_narrow_and_parameters_outputs_and_gradients_are_not(name):
    plain = models.MODELS[name](outputs=3, **({"channels": (4,)} if name == "resnet" else {}))
    narrow = models.with_compute_dtype(plain, "bfloat16")
    x = jax.random.normal(KEY, (4, 8, 8, 1))
    params, state = compiled(lambda key: narrow.init(key, x, {}))(KEY)

    def loss(params, model):
        outputs, after = model.apply(params, state, x, train=True, key=KEY, hparams={})
        return jnp.mean(outputs**2), (outputs, after)

    def gradients(model):
        return compiled(lambda p: jax.grad(loss, has_aux=True)(p, model))(params)

    grads, (outputs, after) = gradients(narrow)
    assert {leaf.dtype for leaf in jax.tree.leaves((params, grads, outputs, after))} == {jnp.dtype("float32")}
    exact = gradients(plain)[1]
    np.testing.assert_allclose(outputs, exact[0], atol=0.05 * float(jnp.max(jnp.abs(exact[0]))))
    program = jax.make_jaxpr(lambda p: loss(p, narrow)[0])(params)
    products = [e for e in equations(program.jaxpr) if e.primitive.name in ("dot_general", "convolution")]
    assert products
    assert {v.aval.dtype for e in products for v in e.invars} == {jnp.dtype("bfloat16")}


def test_a_dtype_that_is_none_is_refused():
    for dtype in ("bfloat61", "int8"):
        with pytest.raises(ValueError, match="compute_dtype: got"):
            models.with_compute_dtype(models.linear(outputs=2), dtype)


class Written(nnx.Module):
    """Its layers' dtype is written out."""

    def __init__(self, *, outputs: int, rngs: nnx.Rngs):
        self.dense = nnx.Linear(4, outputs, dtype=jnp.float32, rngs=rngs)

    def __call__(self, x):
        return self.dense(x)


def test_a_model_that_computes_in_float32_all_the_same_is_refused(tmp_path):
    narrow = Experiment(data=DATA, model=Written, optimizer="sgd", batch_size=10, compute_dtype="bfloat16")
    with pytest.raises(ValueError, match="all products of model Written are float32"):
        sweep(narrow, Space(learning_rate=0.1).grid(), directory=tmp_path / "run")


def test_a_dtype_has_one_name():
    assert Experiment(data=DATA, compute_dtype=jnp.bfloat16).compute_dtype == "bfloat16"
    assert Experiment(data=DATA, compute_dtype="float32").compute_dtype is None


def test_an_experiment_computes_in_fewer_bits_and_is_another(tmp_path, compiled_once):
    space = Space(learning_rate=0.1)
    plain = Experiment(data=DATA, model="mlp", optimizer="sgd", epochs=1, batch_size=10)
    narrow = Experiment(data=DATA, model="mlp", optimizer="sgd", epochs=1, batch_size=10, compute_dtype="bfloat16")
    ids = [grouping.stage(e, DATA, space.grid())[0][0].id for e in (plain, narrow)]
    assert ids[0] != ids[1]
    found = sweep(narrow, space.grid(), directory=tmp_path / "run")
    assert np.isfinite(found.score.item())
    with pytest.raises(ValueError, match="compute_dtype: got 'f8'"):
        Experiment(data=DATA, compute_dtype="f8")
