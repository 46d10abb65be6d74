from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_intro import optimizers, routing
from jaxopt_intro.optimizers import METHODS
from jaxopt_intro.optimizers.adam import bias_correction, safe_ratio
from tests.contracts.cases import PARAMS, cast, default_numbers, descend, gradient, values_of
from tests.reference import optimizers as reference

EPS = float(np.finfo(np.float32).eps)
METHOD = pytest.mark.parametrize("name", METHODS)


def _defaults(name: str) -> dict[str, float]:
    make = METHODS[name].make
    return default_numbers(make, routing.numbers(make, constructs=True))


def _vmapped(name: str, run):
    """Runs `run(optimizer)` for a population with all of a method's numbers traced."""
    numbers = {n: values_of(v) for n, v in _defaults(name).items()}
    return jax.jit(jax.vmap(lambda given: run(METHODS[name].make(**given))))(numbers)


def _assert_close(a, b, tolerance=16 * EPS):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance), a, b)


@METHOD
def test_it_composes_in_a_chain(name: str):
    def clipped(optimizer):
        return descend(optax.chain(optax.clip(0.5), optimizer), cast(PARAMS, jnp.float32))[0]

    def by_hand(optimizer):
        params = cast(PARAMS, jnp.float32)
        state = optimizer.init(params)
        for _ in range(4):
            grads = jax.tree.map(lambda g: jnp.clip(g, -0.5, 0.5), gradient(params))
            updates, state = optimizer.update(grads, state, params)
            params = optax.apply_updates(params, updates)
        return params

    _assert_close(_vmapped(name, clipped), _vmapped(name, by_hand))


@METHOD
def test_it_composes_under_a_mask_and_a_partition(name: str):
    params = cast(PARAMS, jnp.float32)
    alone = _vmapped(name, lambda o: _kernel_alone(o, params))
    masked = _vmapped(name, lambda o: descend(optax.masked(o, {"bias": False, "kernel": True}), params)[2])
    _assert_close(jax.tree.map(lambda u: params["kernel"][None] + u.sum(1), masked["kernel"]), alone)
    # What a mask leaves out passes through as it was: the bias climbs its gradient.
    _assert_close(masked["bias"][:, 0], jnp.tile(gradient(params)["bias"], (3, 1)))

    labels = {"bias": "still", "kernel": "moves"}
    split = _vmapped(
        name, lambda o: descend(optax.partition({"moves": o, "still": optax.set_to_zero()}, labels), params)[0]
    )
    _assert_close(split["kernel"], alone)
    _assert_close(split["bias"], jnp.tile(params["bias"], (3, 1)), 0)


def _kernel_alone(optimizer, params):
    kernel, state = params["kernel"], optimizer.init(params["kernel"])
    for _ in range(4):
        updates, state = optimizer.update(gradient({**params, "kernel": kernel})["kernel"], state, kernel)
        kernel = kernel + updates
    return kernel


@METHOD
def test_it_composes_with_multi_steps(name: str):
    params = cast(PARAMS, jnp.float32)
    g1 = gradient(params)
    g2 = jax.tree.map(lambda g: 3 * g + 1, g1)

    def accumulated(optimizer):
        optimizer = optax.MultiSteps(optimizer, every_k_schedule=2)
        state = optimizer.init(params)
        first, state = optimizer.update(g1, state, params)
        second, _ = optimizer.update(g2, state, params)
        return first, second

    mean = jax.tree.map(lambda a, b: (a + b) / 2, g1, g2)
    first, second = _vmapped(name, accumulated)
    assert all(np.all(x == 0) for x in jax.tree.leaves(first))
    _assert_close(second, _vmapped(name, lambda o: o.update(mean, o.init(params), params)[0]))


@METHOD
def test_a_step_goes_down_without_being_told_the_parameters(name: str):
    optimizer = METHODS[name].make(**_defaults(name))
    grads = {"w": jnp.array([2.0, -0.5])}
    updates, _ = optimizer.update(grads, optimizer.init(grads))
    assert np.all(np.sign(updates["w"]) == [-1.0, 1.0])


def test_they_agree_with_optax_where_the_conventions_do(x64: None):
    params = cast(PARAMS, jnp.float64)
    pairs = [
        (optimizers.sgd(learning_rate=0.1), optax.sgd(0.1)),
        (optimizers.momentum(learning_rate=0.1, momentum=0.8), optax.sgd(0.1, momentum=0.8)),
        (optimizers.adam(learning_rate=0.1, b1=0.8, b2=0.95, eps=1e-3), optax.adam(0.1, b1=0.8, b2=0.95, eps=1e-3)),
    ]
    for ours, optaxs in pairs:
        _assert_close(descend(ours, params, 20)[0], descend(optaxs, params, 20)[0], 1e-13)


def test_the_rate_is_inside_the_velocity():
    # One big rate, then 0: the parameters keep rolling by the velocity alone, as in Polyak and Ruder.
    first, state = (optimizer := optimizers.momentum(learning_rate=1.0, momentum=0.5)).update(
        jnp.ones(1), optimizer.init(jnp.zeros(1))
    )
    rolling, _ = optimizers.momentum(learning_rate=0.0, momentum=0.5).update(jnp.ones(1), state)
    assert (first.tolist(), rolling.tolist()) == ([-1.0], [-0.5])


def test_momentum_zero_is_sgd_and_adam_without_averages_takes_unit_steps():
    params = cast(PARAMS, jnp.float32)
    still, plain = optimizers.momentum(learning_rate=0.1, momentum=0.0), optimizers.sgd(learning_rate=0.1)
    _assert_close(descend(still, params)[0], descend(plain, params)[0], EPS)
    optimizer = optimizers.adam(learning_rate=0.25, b1=0.0, b2=0.0, eps=0.0)
    updates, state = optimizer.update(gradient(params), optimizer.init(params), params)
    for _ in range(3):
        jax.tree.map(lambda u, g: np.testing.assert_array_equal(u, -0.25 * jnp.sign(g)), updates, gradient(params))
        updates, state = optimizer.update(gradient(params), state, params)


@pytest.mark.parametrize("decay", [0.0, 1e-9, 0.5, 0.9, 0.999, 0.99999, 0.9999999])
def test_bias_correction_is_exact_in_float32(decay: float):
    decay = float(np.float32(decay))
    for step in (1, 2, 10, 1000, 100_000, 10_000_000):
        exact = -np.expm1(step * np.log(np.float64(decay))) if decay else 1.0
        for given in (decay, jnp.float32(decay)):
            ours = bias_correction(given, jnp.int32(step))
            assert float(ours) == pytest.approx(exact, rel=4 * EPS), step


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.9, 0.999])
def test_the_derivative_of_bias_correction(decay: float, x64: None):
    for step in (1, 2, 7):
        derivative = jax.grad(bias_correction)(decay, jnp.int32(step))
        assert float(derivative) == pytest.approx(-step * decay ** (step - 1), rel=1e-12)


def test_adam_with_a_long_memory_in_float32():
    # A prototype in 1 - beta ** step was percents off here; what is left is the rounding of each of 300 additions.
    numbers = {"learning_rate": 0.01, "b1": 0.9, "b2": float(np.float32(0.99999)), "eps": 1e-8}
    gradients = np.random.default_rng(1).normal(1.0, 2.0, (300, 5))

    def run(numbers):
        optimizer = optimizers.adam(**numbers)

        def body(carry, g):
            updates, state = optimizer.update(g, carry[1], carry[0])
            return (carry[0] + updates, state), carry[0] + updates

        start = jnp.zeros(5)
        return jax.lax.scan(body, (start, optimizer.init(start)), jnp.asarray(gradients, jnp.float32))[1]

    given = iter(gradients.astype(np.float32).astype(np.float64))
    expected = reference.adam(np.zeros(5), lambda _: next(given), 300, **numbers)
    ours = jax.jit(run)({n: jnp.float32(v) for n, v in numbers.items()})
    np.testing.assert_allclose(ours, expected, rtol=0, atol=300 * EPS * 0.01 + 300 * EPS * np.abs(expected).max())


def test_safe_ratio_where_there_is_nothing_to_divide():
    numerator, square = jnp.array([0.0, 2.0, -3.0, 1e-20]), jnp.array([0.0, 4.0, 9.0, 0.0])
    assert safe_ratio(numerator, square, 0.0).tolist() == [0.0, 1.0, -1.0, 0.0]
    derivatives = jax.jacrev(safe_ratio, (0, 1, 2))(numerator, square, 0.0)
    assert all(np.all(np.isfinite(d)) for d in derivatives)


def test_a_scheduled_rate_is_a_number_of_the_step():
    # Built anew inside the traced step, an optimizer takes a rate that changes; its state does not mind.
    def body(carry, rate):
        params, state = carry
        updates, state = optimizers.adam(learning_rate=rate).update(jnp.ones(1), state, params)
        return (params + updates, state), updates

    start = jnp.zeros(1), optimizers.adam(learning_rate=0.0).init(jnp.zeros(1))
    updates = jax.lax.scan(body, start, jnp.array([0.1, 0.2, 0.0]))[1]
    np.testing.assert_allclose(updates[:, 0], [-0.1, -0.2, 0.0], rtol=1e-5)
