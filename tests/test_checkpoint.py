"""What survives a kill: every leaf with its bits, under its final name all of it or nothing."""

from __future__ import annotations

import zipfile
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from jaxopt_intro.sweeps import checkpoint


class State(NamedTuple):
    key: jax.Array
    params: dict
    moments: tuple


def state():
    values = jnp.array([1.5, -0.0, np.nan, np.inf], jnp.float32)
    return State(
        jax.random.split(jax.random.key(3), 2),
        {"dense/one|two": {"kernel": values, "half": values.astype(jnp.bfloat16)}, "0": jnp.arange(3, dtype=jnp.int32)},
        (jnp.array(7, jnp.uint32), jnp.array([True, False]), jnp.zeros((2, 0))),
    )


def bits(tree):
    def plain(leaf):
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        array = np.asarray(jax.random.key_data(leaf) if is_key else leaf)
        return str(leaf.dtype), array.shape, array.tobytes()

    return jax.tree.map(plain, tree)


def test_a_checkpoint_gives_every_bit_back(tmp_path):
    checkpoint.save(tmp_path / "checkpoint" / "1", state())
    loaded = checkpoint.load(tmp_path / "checkpoint" / "1", jax.tree.map(jnp.zeros_like, state()))
    assert isinstance(loaded, State)
    assert bits(loaded) == bits(state())
    np.testing.assert_array_equal(
        jax.random.uniform(loaded.key[1], (4,)), jax.random.uniform(state().key[1], (4,))
    )  # a key that still is one


def test_sums_on_the_host_stay_float64(tmp_path):
    """Rounded to float32 they would show, in the last bit of a metric, that a run was killed."""
    checkpoint.save(tmp_path / "1", {"total": np.array([1 / 3, 2**-40]), "lane": jnp.ones(1)})
    loaded = checkpoint.load(tmp_path / "1", {"total": np.zeros(0), "lane": jnp.zeros(1)})
    assert loaded["total"].tolist() == [1 / 3, 2**-40]
    assert isinstance(loaded["lane"], jax.Array)


def test_a_checkpoint_of_another_structure_is_refused(tmp_path):
    checkpoint.save(tmp_path / "1", {"a": jnp.zeros(2)})
    with pytest.raises(ValueError, match=r"missing \['b'\], unknown \['a'\]"):
        checkpoint.load(tmp_path / "1", {"b": jnp.zeros(2)})


def test_a_checkpoint_that_fails_half_way_leaves_nothing_under_its_name(tmp_path, monkeypatch):
    import orbax.checkpoint as ocp

    def fail(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(ocp.StandardCheckpointHandler, "async_save", fail, raising=False)
    monkeypatch.setattr(ocp.StandardCheckpointHandler, "save", fail)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(tmp_path / "1", state())
    assert not (tmp_path / "1").exists()


WEIGHTS = {"dense": {"kernel": np.float32([[1.0, -0.0]]), "bias": np.float32([np.nan])}}
STATISTICS = {"norm": {"mean": np.array([0.1], ml_dtypes.bfloat16), "count": np.int32(3)}}


def test_weights_give_every_bit_back_and_hold_no_pickles(tmp_path):
    path = tmp_path / "weights" / "a-0-best.npz"
    checkpoint.save_weights(path, WEIGHTS, STATISTICS)
    loaded = checkpoint.load_weights(path, (WEIGHTS, STATISTICS))
    assert bits(loaded) == bits((WEIGHTS, STATISTICS))
    with np.load(path, allow_pickle=False) as stored:
        assert sorted(stored.files) == [
            "model_state/norm/count",
            "model_state/norm/mean#bfloat16",
            "params/dense/bias",
            "params/dense/kernel",
        ]
        assert stored["params/dense/kernel"].tolist() == [[1.0, 0.0]]


def test_weights_of_another_structure_are_refused(tmp_path):
    checkpoint.save_weights(tmp_path / "a.npz", WEIGHTS, {})
    with pytest.raises(ValueError, match=r"unknown .*params/dense/kernel"):
        checkpoint.load_weights(tmp_path / "a.npz", ({"other": WEIGHTS["dense"]}, {}))


def test_weights_with_pickles_in_them_are_not_loaded(tmp_path):
    np.savez(tmp_path / "a.npz", **{"params/a": np.array([print], object)})
    with pytest.raises(ValueError, match="allow_pickle"):
        checkpoint.load_weights(tmp_path / "a.npz", ({"a": np.zeros(1)}, {}))


def test_weights_that_fail_half_way_leave_the_old_ones(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    checkpoint.save_weights(path, WEIGHTS, {})
    before = path.read_bytes()

    def fail(file, **arrays):
        file.write(b"PK half of a file")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save_weights(path, STATISTICS, {})
    assert path.read_bytes() == before
    assert zipfile.is_zipfile(path)
    monkeypatch.undo()
    checkpoint.save_weights(path, STATISTICS, {})  # what is left of the failed one is no obstacle
    assert checkpoint.load_weights(path, (STATISTICS, {}))[1] == {}


def test_remove_takes_files_directories_and_nothing(tmp_path):
    (tmp_path / "full" / "inside").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    for name in ("full", "file", "nothing"):
        checkpoint.remove(tmp_path / name)
        assert not (tmp_path / name).exists()
