"""How much of the machine's matrix products a sweep uses."""

import jax
import jax.numpy as jnp

from jaxopt_intro import losses, make_training, models, optimizers
from jaxopt_intro.sweeps import peak
from jaxopt_intro.sweeps.job import Group, Member
from jaxopt_intro.sweeps.sharding import Devices


def test_the_operations_of_a_step_are_its_matrix_products():
    images, labels = jnp.zeros((32, 7)), jnp.zeros(32, jnp.int32)
    training = make_training(
        models.linear(outputs=5), losses.softmax_cross_entropy, optimizers.sgd, example=(images[:4], labels[:4])
    )
    member = Member("a", 0, {"learning_rate": 0.1})
    group = Group("g", "", training, lambda *_: {}, None, None, (), [member], 4, [1])
    # Forward, and the kernel's gradient; nobody asks for the images'.
    assert peak.of_a_step(group, (images, labels)) == 2 * (2 * 4 * 7 * 5)


def test_the_peak_is_of_all_devices(all_devices):
    one, all_of_them = peak.measured(Devices(1)), peak.measured(Devices(len(jax.devices())))
    assert 1e8 < one < 1e16
    assert all_of_them > 0.2 * one  # four virtual devices share the cores
