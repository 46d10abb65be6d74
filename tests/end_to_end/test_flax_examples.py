"""Flax's own published example networks, unchanged, as models: trained, in populations, and with our convolutions.

They are in Flax's source distribution of the very release that is installed; nothing of them is copied.
"""

from __future__ import annotations

import ast
import importlib.metadata
import subprocess
import sys
import tarfile
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxopt_intro import losses, make_training, models, optimizers
from jaxopt_intro.contracts.measuring import compiled
from jaxopt_intro.models.layers.planning import equations

RANDOM = np.random.default_rng(0)
LABELS = jnp.asarray(RANDOM.integers(0, 5, 8), jnp.int32)


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    """The folder of Flax's examples."""
    folder, version = tmp_path_factory.mktemp("flax"), importlib.metadata.version("flax")
    asked = ["download", "--quiet", "--no-deps", "--no-binary", ":all:", f"flax=={version}", "--dest", str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *asked], check=False, capture_output=True, text=True, timeout=300
    )
    if done.returncode:
        pytest.skip(f"no source distribution of flax {version}: {done.stderr[-200:]}")
    (archive,) = folder.glob("flax-*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    return folder / f"flax-{version}" / "examples"


def definitions(file):
    """The classes and functions of a file, and what it imports of what is installed here; its script does not run."""
    kept, found = (ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef), types.ModuleType(file.stem)
    body = []
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            wanted = "flax.metrics" not in names and all(
                name.split(".")[0] in ("flax", "jax", "numpy", "functools", "typing", "collections") for name in names
            )
            body += [node] if wanted else []
        elif isinstance(node, kept):
            if isinstance(node, ast.FunctionDef):
                node.decorator_list = []
            body.append(node)
    aliases = {"ModuleDef": object, "Array": jax.Array}
    found.__dict__.update(aliases)
    sys.modules[file.stem] = found  # where dataclasses look
    exec(compile(ast.Module(body, []), str(file), "exec"), found.__dict__)
    return found


def images(*shape):
    return jnp.asarray(RANDOM.normal(size=(8, *shape)), jnp.float32)


def trained(model, inputs, loss, targets=LABELS, steps=3):
    """A population of three learning rates, trained inside a loop, and its last losses."""
    made = make_training(model, loss, optimizers.sgd, example=(inputs, targets))
    hparams = {"learning_rate": jnp.array([0.0, 0.01, 0.02])}
    state = compiled(jax.vmap(made.init, (None, 0)))(jax.random.key(0), hparams)

    def body(state, _):
        return jax.vmap(made.step, (0, None, 0))(state, (inputs, targets), hparams)

    state, info = compiled(lambda state: jax.lax.scan(body, state, length=steps))(state)
    for leaf in jax.tree.leaves((state.params, state.model_state, info.loss)):
        assert np.isfinite(leaf).all()
    assert not np.allclose(info.update_norm[:, 1], 0)
    assert np.allclose(info.update_norm[:, 0], 0)
    return state, info.loss


def applied(model, inputs, train=False):
    def run(key):
        params, state = model.init(key, inputs, {})
        return model.apply(params, state, inputs, train=train, key=jax.random.key(1), hparams={})

    return compiled(run)(jax.random.key(0))


def assert_near(a, b):
    for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def convolutions(model, inputs):
    params, state = jax.eval_shape(lambda key: model.init(key, inputs, {}), jax.eval_shape(jax.random.key, 0))

    def outputs(params, state):
        return model.apply(params, state, inputs, train=False, key=None, hparams={})[0]

    program = jax.make_jaxpr(outputs)(params, state)
    return [
        e.primitive.name
        for e in equations(program.jaxpr)
        if "convolution" in e.primitive.name or "conv_" in e.primitive.name
    ]


def test_mnists_convolutional_network(examples):
    """NNX: batch normalization, dropout that is told its random streams in the call, mean pooling."""
    cnn = definitions(examples / "mnist" / "train.py").CNN
    model, x = models.from_nnx(cnn), images(28, 28, 1)
    assert convolutions(model, x) == ["convolution"] * 2
    assert_near(applied(model, x, train=True), applied(models.from_nnx(cnn, conv=None), x, train=True))
    state, _ = trained(model, x, losses.softmax_cross_entropy)
    means = state.model_state["batch_norm1"]["mean"]
    assert not np.allclose(means[1], means[2], atol=1e-7)  # each member's own


@pytest.mark.parametrize("block", ["ResNetBlock", "BottleneckResNetBlock"])
def test_imagenets_residual_networks(examples, block):
    """Linen: modules as fields, batch normalization over an axis of devices, strides, 7x7 and 1x1 kernels."""
    found = definitions(examples / "imagenet" / "models.py")
    module = found.ResNet(stage_sizes=[1, 1], num_filters=4, num_classes=5, block_cls=getattr(found, block))
    model, x = models.from_linen(module, axis_name="batch"), images(16, 16, 3)
    assert set(convolutions(model, x)) == {"convolution"}
    plain = models.from_linen(module, conv=None, axis_name="batch")
    assert set(convolutions(plain, x)) == {"conv_general_dilated"}
    assert_near(applied(model, x, train=True), applied(plain, x, train=True))
    if block == "ResNetBlock":
        trained(model, x, losses.softmax_cross_entropy)


def test_the_variational_autoencoder_of_linen(examples):
    """Three outputs, and a key as an argument of the call."""
    model, x = models.from_linen(definitions(examples / "vae" / "models.py").VAE), jax.nn.sigmoid(images(784))
    (rebuilt, mean, log_variance), _ = applied(model, x)
    assert rebuilt.shape == (8, 784)
    assert mean.shape == log_variance.shape == (8, 20)

    def bound(outputs, targets):
        rebuilt, mean, log_variance = outputs
        apart = -0.5 * jnp.sum(1 + log_variance - mean**2 - jnp.exp(log_variance), -1)
        return jnp.mean((jax.nn.sigmoid(rebuilt) - targets) ** 2, -1) + 1e-3 * apart

    trained(model, x, bound, x)


def test_the_variational_autoencoder_of_nnx(examples):
    """A random stream that the module keeps, and a variable that the call makes anew."""
    found = definitions(examples / "nnx_toy_examples" / "05_vae.py")

    def make(*, rngs: nnx.Rngs):
        return found.VAE(
            din=64, hidden_size=16, latent_size=4, output_shape=(8, 8), rngs=nnx.Rngs(rngs(), noise=rngs())
        )

    model, x = models.from_nnx(make), jax.nn.sigmoid(images(8, 8))
    assert jax.eval_shape(lambda: model.init(jax.random.key(0), x, {})[1]) == {}
    trained(model, x, lambda outputs, targets: jnp.mean((jax.nn.sigmoid(outputs) - targets) ** 2, (1, 2)), x)


def test_layers_in_a_loop_of_nnx(examples):
    """Blocks made by `nnx.vmap` and called by `nnx.scan`, with batch normalization and dropout inside."""
    found = definitions(examples / "nnx_toy_examples" / "06_scan_over_layers.py")

    def make(*, rngs: nnx.Rngs):
        return found.ScanMLP(6, n_layers=3, rngs=rngs)

    model = models.from_nnx(make)
    state, _ = trained(model, images(6), losses.softmax_cross_entropy)
    assert state.model_state["layers"]["bn"]["mean"].shape == (3, 3, 6)


def test_the_actor_and_critic_of_ppo(examples):
    """Linen: two outputs, and strides of 4 and 2."""
    module = definitions(examples / "ppo" / "models.py").ActorCritic(num_outputs=4)
    model, x = models.from_linen(module), jnp.asarray(RANDOM.integers(0, 255, (8, 44, 44, 4)), jnp.uint8)
    assert convolutions(model, x) == ["convolution"] * 3
    assert_near(applied(model, x), applied(models.from_linen(module, conv=None), x))

    def loss(outputs, targets):
        log_probabilities, value = outputs
        return -jnp.mean(log_probabilities, -1) + (value[:, 0] - targets) ** 2

    trained(model, x, loss)


def test_a_transformer_of_words(examples):
    """Linen: integer inputs by keyword, attention, dropout."""
    found = definitions(examples / "nlp_seq" / "models.py")
    small = {"emb_dim": 16, "num_heads": 2, "num_layers": 1, "qkv_dim": 16, "mlp_dim": 32, "max_len": 12}
    module = found.Transformer(found.TransformerConfig(vocab_size=30, output_vocab_size=5, **small))
    words = jnp.asarray(RANDOM.integers(0, 30, (8, 12)), jnp.int32)
    model = models.from_linen(module)
    narrow = models.with_compute_dtype(model, "bfloat16")
    np.testing.assert_allclose(applied(narrow, words)[0], applied(model, words)[0], atol=0.1)
    targets = words % 5
    _, loss = trained(model, words, losses.softmax_cross_entropy, targets)
    assert loss.shape == (3, 3)
