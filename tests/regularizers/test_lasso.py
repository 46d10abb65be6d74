"""Lasso and elastic net on the diabetes data, 50 strengths at once, against scikit-learn's stored coefficients."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_intro import trees
from jaxopt_intro.optimizers import proximal, sgd
from jaxopt_intro.regularizers import proximal as operators

STORED = json.loads((Path(__file__).parents[1] / "reference" / "lasso.json").read_text())
STEPS = 12_000


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["lasso", "elastic_net"])
def test_a_path_of_50_strengths_is_that_of_scikit_learn(name: str):
    raw, targets = np.array(STORED["inputs"]), jnp.array(STORED["targets"])
    inputs = jnp.asarray((raw - raw.mean(0)) / raw.std(0))
    learning_rate = 1 / float(np.linalg.eigvalsh(inputs.T @ inputs / len(targets)).max())

    def loss(params):
        residual = inputs @ params["kernel"] + params["bias"] - targets
        return 0.5 * jnp.mean(jnp.square(residual))

    @jax.jit
    @jax.vmap
    def fit(strength):
        params = {"kernel": jnp.zeros(inputs.shape[1]), "bias": jnp.zeros(())}
        prox = functools.partial(operators.elastic_net, strength=strength, l1_ratio=STORED[name]["l1_ratio"])
        if name == "lasso":
            prox = functools.partial(operators.l1, strength=strength)
        prox = functools.partial(prox, factors={"kernel": 1.0, "bias": 0.0})
        optimizer = proximal(sgd(learning_rate=learning_rate), learning_rate, prox)

        def step(carry, _):
            params, state = carry
            updates, state = optimizer.update(jax.grad(loss)(params), state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, optimizer.init(params)), length=STEPS)[0][0]

    found = fit(jnp.array(STORED[name]["strengths"]))
    coefficients = np.array(STORED[name]["coefficients"])
    np.testing.assert_allclose(found["kernel"], coefficients, atol=1e-4)
    np.testing.assert_allclose(found["bias"], STORED[name]["intercepts"], atol=1e-4)
    np.testing.assert_array_equal(np.asarray(found["kernel"]) == 0, coefficients == 0)
    assert coefficients.shape == (50, 10)
    assert 50 < np.sum(coefficients == 0) < 400
    assert trees.norm(found) > 0
