"""What a machine's matrix products could do, measured, to say how much of it a sweep used."""

from __future__ import annotations

import time

import jax
import jax.numpy as jnp

from jaxopt_intro.models import flop
from jaxopt_intro.sweeps.job import Group
from jaxopt_intro.sweeps.sharding import Devices
from jaxopt_intro.typing import Batch

_SIDES = {"cpu": 1024}
_SIDE = 4096  # 200 MB in all, which a sweep leaves free
_TURNS = 5


def measured(devices: Devices) -> float:
    """Returns the operations a second of large matrix products in float32, on all devices at once.

    Precision is the default that a training has too: some GPUs round the factors to fewer bits.

    Examples:
        >>> measured(Devices(1)) > 1e8
        True
    """
    side = _SIDES.get(devices.first.platform, _SIDE)
    both = jax.device_put(jnp.ones((devices.count, side, side)), devices.lanes)
    product = jax.jit(devices.over(jnp.matmul))
    seconds = []
    for _ in range(_TURNS + 1):  # the first one compiles
        begin = time.perf_counter()
        jax.block_until_ready(product(both, both))
        seconds.append(time.perf_counter() - begin)
    return devices.count * 2 * side**3 / min(seconds)


def of_a_step(group: Group, train: Batch) -> int:
    """Returns the operations of the matrix products and convolutions of one step of one member, a penalty's too.

    Args:
        group: For its training and batch size.
        train: The training split.
    """
    batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct((group.batch_size, *x.shape[1:]), x.dtype), train)
    hparams = {name: jax.ShapeDtypeStruct((), jnp.float32) for name in group.members[0].hparams}
    state = jax.eval_shape(group.training.init, jax.random.key(0), hparams)
    return flop(group.training.step, state, batch, hparams)
