"""Several devices: each trains a tile, nothing passes between them, and no bit depends on how many there are."""

from __future__ import annotations

import functools
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from jaxopt_intro import Experiment, journal, sweep
from jaxopt_intro.experiment import running
from jaxopt_intro.experiment.assembling import assemble
from jaxopt_intro.sweeps import planning, sharding
from jaxopt_intro.sweeps.population import make_tile
from jaxopt_intro.sweeps.session import Session
from tests.end_to_end.test_contract5 import EXPERIMENT, TRIALS, outcome
from tests.small import DATA, of

pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture(scope="module")
def on_one(tmp_path_factory):
    directory = tmp_path_factory.mktemp("one") / "run"
    sweep(EXPERIMENT, TRIALS, 2, directory, width=2)
    return outcome(directory)


@pytest.mark.parametrize("vary_batches", [False, True])
def test_results_are_bitwise_those_of_one_device(on_one, tmp_path, all_devices, vary_batches):
    """14 members, one of them diverging, in tiles of 2 on 4 devices: the last ones are padded."""
    experiment = Experiment(**{**vars(EXPERIMENT), "vary_batches": vary_batches})
    sweep(experiment, TRIALS, 2, tmp_path / "run", width=2)
    (plan,) = of(tmp_path / "run", "plan")
    assert (plan["width"], plan["devices"]) == (2, 4)
    assert max(len(record["members"]) for record in of(tmp_path / "run", "epoch")) == (7 if vary_batches else 8)
    if vary_batches:
        with jax.default_device(jax.local_devices()[0]):
            sweep(experiment, TRIALS, 2, tmp_path / "one", width=2)
        assert outcome(tmp_path / "run") == outcome(tmp_path / "one")
    else:
        assert outcome(tmp_path / "run") == on_one


class Stop(Exception):
    pass


@pytest.mark.parametrize(("first", "then", "epochs"), [(4, 1, 1), (4, 1, 2), (1, 4, 2), (4, 3, 2)])
def test_a_run_goes_on_with_other_devices(on_one, tmp_path, monkeypatch, first, then, epochs):
    """Cut inside its first tiles, which hold more lanes than the devices have afterwards, or fewer."""
    monkeypatch.setattr(running, "Session", functools.partial(Session, checkpoint_seconds=0.0))
    seen = []

    def cut(record):
        seen.extend([record] if record["type"] == "epoch" else [])
        if len(seen) == epochs:
            raise Stop

    def with_devices(count, **more):
        monkeypatch.setattr(sharding, "available", lambda: jax.local_devices()[:count])
        monkeypatch.setattr(planning, "available", sharding.available)
        sweep(EXPERIMENT, TRIALS, 2, tmp_path / "run", **more)

    with pytest.raises(Stop):
        with_devices(first, width=2, listener=cut)
    saved = of(tmp_path / "run", "checkpoint")[-1]
    assert len(saved["members"]) == 2 * first
    with_devices(then)
    assert outcome(tmp_path / "run") == on_one
    begun = [tuple(m) for r in of(tmp_path / "run", "epoch") if r["epoch"] == 1 for m in r["members"]]
    assert epochs == 1 or len(begun) == len(set(begun)), "what the checkpoint held was not begun again"
    assert of(tmp_path / "run", "checkpoint")[-1]["path"] is None


def test_fewer_members_than_devices_use_one_device_each(tmp_path, all_devices):
    sweep(EXPERIMENT, TRIALS[:3], directory=tmp_path / "run")
    (plan,) = of(tmp_path / "run", "plan")
    assert (plan["devices"], plan["width"]) == (3, 1)


def test_nothing_passes_between_devices(all_devices):
    assembly = assemble(Experiment(data=DATA, model="mlp", optimizer="adam", epochs=1, batch_size=8), DATA)

    def tile(width):
        parts = assembly.training, assembly.evaluate
        return make_tile(*parts, width=width, objective="accuracy", direction="max")

    programs = planning.Programs(tile, ["learning_rate"], DATA.train, DATA.valid, 8, sharding.Devices(4))
    text = "".join(f.as_text() for f in (programs.init(2), programs.segment(2, 3), programs.validate(2)))
    assert "ENTRY" in text
    assert not [word for word in ("all-reduce", "all-gather", "all-to-all", "collective", "send(") if word in text]


def test_a_lane_is_found_on_its_device(all_devices):
    devices = sharding.Devices(4)
    spread = jax.device_put({"w": np.arange(24.0).reshape(8, 3), "n": np.arange(8)}, devices.lanes)
    for index in range(8):
        row = sharding.lane(spread, index)
        np.testing.assert_array_equal(row["w"], np.arange(3) + 3.0 * index)
        assert row["n"] == index
    with pytest.raises(IndexError, match="lane 8"):
        sharding.lane(spread, 8)


def test_the_default_device_is_the_only_one_used(tmp_path):
    with jax.default_device(jax.local_devices()[2]):
        assert sharding.available() == [jax.local_devices()[2]]
        sweep(EXPERIMENT, TRIALS[:2], directory=tmp_path / "run")
    with jax.default_device("cpu"):
        assert sharding.available() == jax.local_devices()
    (plan,) = of(tmp_path / "run", "plan")
    assert plan["devices"] == 1


@pytest.mark.parametrize(("flags", "count"), [("", None), ("--xla_force_host_platform_device_count=3", 3)])
def test_the_command_gives_each_core_a_device_unless_told_otherwise(tmp_path, monkeypatch, flags, count):
    monkeypatch.setenv("XLA_FLAGS", flags)
    words = "sweep --data digits --model linear --optimizer sgd --epochs 1 --log-uniform learning_rate 1e-3 1e-1"
    words += f" --points learning_rate=64 --directory {tmp_path / 'run'}"
    subprocess.run([sys.executable, "-m", "jaxopt_intro.cli", *words.split()], check=True, capture_output=True)
    (plan,) = [r for r in journal.read(tmp_path / "run") if r["type"] == "plan"]
    assert plan["devices"] == (count or len(os.sched_getaffinity(0)))
