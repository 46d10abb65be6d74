"""Data sets that others made: what tensorflow-datasets prepared, and the real image sets where they are at hand."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxopt_intro import data
from jaxopt_intro.data import cache, originals
from jaxopt_intro.data.dataset import Originals, content_hash
from jaxopt_intro.data.sources import SOURCES

ROOT = Path(__file__).resolve().parents[2]
PREPARED = ROOT / "tests" / "data" / "tfds"
REAL = os.environ.get("JAXOPT_INTRO_DATA")
SPRITES = ROOT.parent / "shared" / "data" / "cifar10" / "unpack.py"


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    monkeypatch.delenv("JAXOPT_INTRO_DATA", raising=False)
    monkeypatch.setenv("JAXOPT_INTRO_CACHE", str(tmp_path / "cache"))


# --- tfds: names -----------------------------------------------------------------------------------------------------


def test_a_prepared_set_is_read_without_tensorflow():
    code = f"""
import sys
from jaxopt_intro import data
dataset = data.load("tfds:tiny_images", valid=3, seed=1, data_dir={str(PREPARED)!r})
assert not {{"tensorflow", "jax", "torch"}} & set(sys.modules)
print([len(part[1]) for part in (dataset.train, dataset.valid, dataset.test)], dataset.info.class_names)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[9, 3, 5] ('cat', 'dog', 'frog')"


def test_every_image_of_a_prepared_set_arrives(monkeypatch):
    monkeypatch.setattr("jaxopt_intro.data.tfds_sets.CHUNK", 5)
    dataset = data.load("tfds:tiny_images", valid=None, data_dir=PREPARED)
    for (x, y), expected in ((dataset.train, range(12)), (dataset.test, range(12, 17))):
        assert (x.dtype, x.shape[1:], y.dtype) == (np.uint8, (4, 5, 3), np.int32)
        index = x[:, 0, 0, 0] // 7
        assert sorted(index) == list(expected)
        np.testing.assert_array_equal(y, index % 3)
        np.testing.assert_array_equal(x, np.arange(60).reshape(4, 5, 3) + 7 * index[:, None, None, None])
    assert (dataset.info.scale, dataset.info.mean, dataset.info.num_classes) == (255.0, None, 3)
    assert data.prepare("tfds:tiny_images", data_dir=PREPARED).path == PREPARED / "tiny_images" / "1.0.0"


def test_sets_that_cannot_be_read(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"expected uint8 images of one size"):
        data.load("tfds:tiny_ragged", data_dir=PREPARED)
    with pytest.raises(ValueError, match="Did you mean tfds:mnist"):
        data.load("tfds:mnits", data_dir=tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(data.DataUnavailable, match=r"pip install 'jaxopt_intro\[tfds\]'.*prepare tfds:mnist"):
        data.load("tfds:mnist", data_dir=tmp_path)
    shutil.copytree(PREPARED / "tiny_images", tmp_path / "tiny_images")
    described = tmp_path / "tiny_images" / "1.0.0" / "dataset_info.json"
    described.write_text(described.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(data.DataUnavailable, match="in the format tfrecord; expected array_record"):
        data.load("tfds:tiny_images", data_dir=tmp_path)


# --- the real sets ---------------------------------------------------------------------------------------------------


def find_real(name: str, folder: Path) -> Path | None:
    """A folder with the real originals."""
    if REAL and originals.find(SOURCES[name], Path(REAL)):
        return Path(REAL)
    if name == "cifar10" and SPRITES.is_file():
        pytest.importorskip("PIL")
        subprocess.run([sys.executable, str(SPRITES), str(folder)], check=True, capture_output=True)
        return folder
    return next((Path(place) for place in SOURCES[name].system if Path(place).is_dir()), None)


@pytest.mark.parametrize("name", SOURCES)
def test_the_real_set(name, tmp_path):
    folder = find_real(name, tmp_path / "real")
    if folder is None:
        pytest.skip(f"no originals of {name}: neither JAXOPT_INTRO_DATA nor a system package holds them")
    dataset = data.load(name, valid=0.1, data_dir=folder)
    source = SOURCES[name]
    held_out = source.train // 10
    assert dataset.train[0].shape == (source.train - held_out, *source.shape)
    assert dataset.valid[0].shape == (held_out, *source.shape)
    assert dataset.test[0].shape == (source.test, *source.shape)
    whole = cache.read(name, source.info.content_hash)
    assert isinstance(whole, Originals)
    assert content_hash(whole) == source.info.content_hash
    assert np.bincount(whole.train_y).tolist() == [source.train // 10] * 10
    scaled = whole.train_x.reshape(-1, source.shape[-1]) / 255
    np.testing.assert_allclose(scaled.mean(0), dataset.info.mean, atol=6e-5)
    np.testing.assert_allclose(scaled.std(0), dataset.info.std, atol=2e-4)
    again = data.load(name, valid=0.1, download=False)
    assert again.info._replace(source="") == dataset.info._replace(source="")
