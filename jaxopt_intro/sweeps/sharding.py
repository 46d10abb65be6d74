"""Tiles side by side on several devices: one tile a device, without any communication between them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxopt_intro.sweeps.population import Tile
from jaxopt_intro.typing import PyTree

AXIS = "trials"


def a_device_for_each_core() -> None:
    """Lets every core of a CPU train a tile of its own; JAX must not have computed anything yet.

    Nothing happens where the number of CPU devices has been set by the user, or cannot be changed any more.
    """
    set_before = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if not set_before and jax.config.jax_num_cpu_devices == -1:  # type: ignore[attr-defined]
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        with contextlib.suppress(RuntimeError):  # JAX has started: its devices are what they are
            jax.config.update("jax_num_cpu_devices", cores)


def available() -> list[Any]:
    """Returns the devices that a sweep may use: JAX's default device where one is set, otherwise all local ones.

    Examples:
        >>> with jax.default_device(jax.local_devices()[0]):
        ...     len(available())
        1
    """
    default = jax.config.jax_default_device  # type: ignore[attr-defined]
    if default is None or isinstance(default, str):
        return jax.local_devices(backend=default)
    return [default]


class Devices:
    """The first `count` available devices, each of which trains a tile.

    Attributes:
        count: How many there are.
        lanes: How an array is laid out whose leading axis is lanes: equal shares, in order.
        copies: How an array is laid out that every device has whole, such as the data.
        first: The first of them.
    """

    def __init__(self, count: int):
        mesh = Mesh(np.array(available()[:count]), (AXIS,))
        self.count, self.first, self._mesh = count, available()[0], mesh
        self.lanes, self.copies = NamedSharding(mesh, PartitionSpec(AXIS)), NamedSharding(mesh, PartitionSpec())

    def spread(self, tile: Tile) -> Tile:
        """Returns the functions of `count` tiles at once; lanes are those of the first, then of the second, and so on.

        Args:
            tile: The functions of one tile.
        """
        return Tile(self.over(tile.init), self.over(tile.segment, copies=2), self.over(tile.validate, copies=3))

    def over(self, function: Callable[..., Any], copies: int = 0) -> Callable[..., Any]:
        """Returns a function of one tile as one of `count` tiles at once.

        Args:
            function: Of two arguments with lanes, then of those that each device has whole; it returns lanes.
            copies: How many of the latter.
        """
        in_specs = (self.lanes.spec,) * 2 + (self.copies.spec,) * copies
        return jax.shard_map(function, mesh=self._mesh, in_specs=in_specs, out_specs=self.lanes.spec, check_vma=False)


def lane(tree: PyTree, index: int) -> PyTree:
    """Returns one lane of arrays that are laid out over devices, from the device that has it.

    Examples:
        >>> lane({"w": jax.numpy.arange(6.0).reshape(3, 2)}, 1)["w"].tolist()
        [2.0, 3.0]
    """
    return jax.tree.map(lambda x: _row(x, index), tree)


def _row(array: Any, index: int) -> Any:
    if not isinstance(array, jax.Array):
        return array[index]
    for shard in array.addressable_shards:
        first = shard.index[0].start or 0
        if first <= index < first + shard.data.shape[0]:
            return shard.data[index - first]
    raise IndexError(f"lane {index} of an array of shape {array.shape}")
