"""The data room: embedded sets, own arrays, divisions, batches. Files: end_to_end/test_data_download.py."""

import hashlib
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxopt_intro import data
from jaxopt_intro.data import batching, embedded, originals
from jaxopt_intro.data.dataset import fingerprint, held_out_count, split_rows
from jaxopt_intro.data.sources import SOURCES

DEBIAN = Path(SOURCES["fashion_mnist"].system[0])
properties = settings(deadline=None, derandomize=True, max_examples=60)


# --- batches and divisions -----------------------------------------------------------------------------------------


def philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x64-10 from the paper's section 3.3, in whole numbers of Python."""
    mask = 2**64 - 1
    c, k = list(counter), list(key)
    for _ in range(10):
        low, high = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
        c = [high >> 64 ^ c[1] ^ k[0], high & mask, low >> 64 ^ c[3] ^ k[1], low & mask]
        k = [(k[0] + 0x9E3779B97F4A7C15) & mask, (k[1] + 0xBB67AE8584CAA73B) & mask]
    return c


def test_the_reference_agrees_with_the_known_answers_of_random123():
    assert [f"{word:016x}" for word in philox([0] * 4, [0] * 2)] == [
        "16554d9eca36314c",
        "db20fe9d672d0fdc",
        "d7e772cee186176b",
        "7e68b68aec7ba23b",
    ]


@pytest.mark.parametrize(("seed", "epoch"), [(0, 0), (7, 3), (2**64 - 1, 12345)])
def test_an_order_is_the_sort_of_published_philox_outputs(seed, epoch):
    outputs = [w for block in range(1, 7) for w in philox([block, 0, 0, batching.EPOCHS], [seed, epoch])][:23]
    expected = sorted(range(23), key=outputs.__getitem__)
    assert batching.epoch_indices(23, 5, seed=seed, epoch=epoch).ravel().tolist() == expected[:20]


def test_orders_never_change():
    """Stored results mean these batches: if this fails, the library is wrong, not the test."""
    rows = batching.epoch_indices(60_000, 128, seed=1, epoch=2)
    assert (rows.shape, rows.dtype) == ((468, 128), np.int32)
    assert hashlib.sha256(rows.astype("<i4").tobytes()).hexdigest() == ORDER_HASH
    train, valid = split_rows(60_000, 0.1, seed=1)
    assert hashlib.sha256(np.r_[train, valid].astype("<i4").tobytes()).hexdigest() == SPLIT_HASH


ORDER_HASH = "995614b03825ee716ab4192ecb3fa9356e03a014c0ad2f1c47b6bc11c6c95e60"
SPLIT_HASH = "9ae45b2d28f7202b8f5940724f555dbdfccacf35d66d8419f46abc2b44f94ad6"


@properties
@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 2**64 - 1), st.integers(0, 1000))
def test_an_epoch_has_full_batches_and_no_row_twice(n, batch_size, seed, epoch):
    if batch_size > n:
        with pytest.raises(ValueError, match=f"got batch_size {batch_size} for {n} training examples"):
            batching.epoch_indices(n, batch_size, seed=seed, epoch=epoch)
        return
    rows = batching.epoch_indices(n, batch_size, seed=seed, epoch=epoch)
    assert rows.shape == (n // batch_size, batch_size)
    assert len(set(rows.ravel().tolist())) == rows.size
    assert rows.min() >= 0
    assert rows.max() < n


def test_what_an_epoch_leaves_out_comes_in_another():
    left_out = [set(range(10)) - set(batching.epoch_indices(10, 4, seed=0, epoch=e).ravel().tolist()) for e in range(9)]
    assert all(len(rows) == 2 for rows in left_out)
    assert set.intersection(*left_out) == set()


def test_batches_and_divisions_of_one_seed_are_unrelated():
    epoch = batching.permutation(50, seed=3, stream=batching.EPOCHS)
    split = batching.permutation(50, seed=3, stream=batching.SPLITS)
    assert epoch.tolist() != split.tolist()
    assert batching.permutation(50, seed=4, stream=batching.EPOCHS).tolist() != epoch.tolist()


@properties
@given(st.integers(1, 500), st.integers(1, 200))
def test_evaluation_sees_every_example_once_with_little_padding(n, batch_size):
    rows, weights = batching.evaluation_batches(n, batch_size)
    assert rows.shape == weights.shape
    assert rows.shape[1] <= batch_size
    assert len(rows) == -(-n // batch_size)
    assert (rows.dtype, weights.dtype) == (np.int32, np.float32)
    assert rows[weights == 1].tolist() == list(range(n))
    padding = rows[weights == 0]
    assert len(padding) == rows.size - n < len(rows)
    assert not padding.any()


@pytest.mark.parametrize("call", [
    lambda: batching.evaluation_batches(0, 4),
    lambda: batching.evaluation_batches(4, 0),
    lambda: batching.epoch_indices(4, 2, seed=-1, epoch=0),
    lambda: batching.epoch_indices(4, 2, seed=0, epoch=1.0),
    lambda: batching.epoch_indices(4, True, seed=0, epoch=0),
])  # fmt: skip
def test_numbers_that_mean_no_batches_are_refused(call):
    with pytest.raises(ValueError, match="expected a whole number from"):
        call()


@properties
@given(st.integers(2, 400), st.floats(0, 0.99), st.integers(0, 2**64 - 1))
def test_a_division_keeps_order_and_loses_nothing(n, fraction, seed):
    if round(fraction * n) >= n:
        return
    train, valid = split_rows(n, fraction, seed)
    assert sorted([*train, *valid]) == list(range(n))
    assert train.tolist() == sorted(train)
    assert valid.tolist() == sorted(valid)
    assert len(valid) == (max(1, round(fraction * n)) if fraction else 0)


@pytest.mark.parametrize("valid", [1.0, -0.1, float("nan"), 10, -1, True, "0.1", 0.99])
def test_a_division_that_leaves_nothing_is_refused(valid):
    with pytest.raises(ValueError, match="got valid="):
        held_out_count(10, valid)


# --- sets that come with the package ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "shape", "sizes", "highest"), [
    ("digits", (8, 8, 1), (1437, 360), 16),
    ("fashion_mnist_small", (28, 28, 1), (5000, 1000), 255),
])  # fmt: skip
def test_embedded_sets(name, shape, sizes, highest):
    dataset = data.load(name, valid=None)
    x, y = dataset.train
    assert dataset.valid is None
    assert (x.shape, y.shape, dataset.test[0].shape) == ((sizes[0], *shape), (sizes[0],), (sizes[1], *shape))
    assert (x.dtype, y.dtype, dataset.test[1].dtype) == (np.uint8, np.int32, np.int32)
    assert x.max() == highest == dataset.info.scale
    assert set(y.tolist()) == set(range(10))
    assert len(dataset.info.class_names) == dataset.info.num_classes == 10
    np.testing.assert_allclose((x / dataset.info.scale).mean(), dataset.info.mean, atol=2e-4)
    np.testing.assert_allclose((x / dataset.info.scale).std(), dataset.info.std, atol=2e-3)
    assert embedded.path(name).with_suffix(".LICENSE.txt").read_text().count(dataset.info.licence.split(",")[0])


def test_digits_look_like_their_labels():
    """The mean images of 0 and 1: a hole in the middle, and none. Catches labels that slipped by a row."""
    x, y = data.load("digits", valid=None).train
    middle = [x[y == digit][:, 3:5, 3:5].mean() for digit in (0, 1)]
    assert middle[0] < 2
    assert middle[1] > 10


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs the Debian package dataset-fashion-mnist")
def test_the_small_set_is_the_beginning_of_the_original():
    source = SOURCES["fashion_mnist"]
    full = originals.read(source, originals.find(source, DEBIAN))
    small = embedded.read("fashion_mnist_small")
    for part, whole in zip(small, full, strict=True):
        np.testing.assert_array_equal(part, whole[: len(part)])


def test_the_seeded_division_of_a_loaded_set():
    whole = data.load("digits", valid=0)
    one, again, other = (data.load("digits", valid=100, seed=seed) for seed in (1, 1, 2))
    rows = split_rows(1437, 100, 1)
    for part, expected in zip((one.train, one.valid), rows, strict=True):
        np.testing.assert_array_equal(part[0], whole.train[0][expected])
        np.testing.assert_array_equal(part[1], whole.train[1][expected])
    np.testing.assert_array_equal(one.test[0], whole.test[0])
    assert one.info == again.info
    assert other.info.fingerprint != one.info.fingerprint != whole.info.fingerprint
    assert one.info.content_hash == other.info.content_hash == whole.info.content_hash


def test_a_fraction_and_its_count_are_the_same_division():
    assert data.load("digits", valid=0.1).info == data.load("digits", valid=144).info
    assert data.load("digits", valid=0, seed=1).info == data.load("digits", valid=None, seed=2).info


def test_the_fingerprint_follows_each_ingredient():
    asked = {"held_out": 5, "seed": 1, "normalization": [255.0, [0.5], [0.2]]}
    prints = {fingerprint("a", **asked), fingerprint("b", **asked)}
    for change in ({"held_out": 6}, {"seed": 2}, {"normalization": [1.0, [0.5], [0.2]]}):
        prints.add(fingerprint("a", **{**asked, **change}))
    assert len(prints) == 5


def test_unknown_names_get_the_nearest():
    with pytest.raises(ValueError, match=r"unknown data set 'fashion-mnist'. Did you mean 'fashion_mnist'"):
        data.load("fashion-mnist")
    with pytest.raises(ValueError, match="Known: cifar10, digits, fashion_mnist, fashion_mnist_small, tfds:NAME"):
        data.prepare("imagenet")


def test_nothing_heavy_is_imported():
    code = """
import sys
from jaxopt_intro import data
data.load("digits"), data.catalogue(), data.from_arrays(data.load("digits").train)
print(sorted({"jax", "jaxlib", "flax", "tensorflow", "tensorflow_datasets", "requests"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- own arrays -----------------------------------------------------------------------------------------------------


def table(n=20, features=3):
    return np.arange(n * features, dtype=np.float64).reshape(n, features) ** 1.5


def test_classes_and_regression():
    x = table()
    classes = data.from_arrays((x, np.arange(20, dtype=np.int64) % 4), valid=0.25)
    assert classes.info.num_classes == 4
    assert (classes.train[0].dtype, classes.train[1].dtype) == (np.float32, np.int32)
    assert (len(classes.train[1]), len(classes.valid[1]), classes.test) == (15, 5, None)
    regression = data.from_arrays((x, x[:, :1]), valid=None)
    assert regression.info.num_classes is None
    assert regression.train[1].dtype == np.float32
    np.testing.assert_array_equal(regression.train[0], x.astype(np.float32))
    yes_or_no = data.from_arrays((x, x[:, 0] > 5))
    assert (yes_or_no.info.num_classes, yes_or_no.train[1].dtype) == (2, np.int32)
    assert data.from_arrays((x, np.zeros(20, int)), 0.1, (x, np.full(20, 6))).info.num_classes == 7


Pair = namedtuple("Pair", ["left", "right"])


def test_any_nest_of_arrays():
    rows = np.arange(12)
    x = {"b": [rows + 0.5, Pair(rows.astype(np.uint8), rows > 3)], "a": (rows[:, None] * np.ones((1, 2)),)}
    dataset = data.from_arrays((x, {"depth": rows * 1.0}), valid=3, seed=5, test=(x, {"depth": rows * 1.0}))
    train, valid = split_rows(12, 3, 5)
    for part, expected in ((dataset.train, train), (dataset.valid, valid), (dataset.test, rows)):
        nest = part[0]
        assert isinstance(nest["b"][1], Pair)
        np.testing.assert_array_equal(nest["b"][0], (expected + 0.5).astype(np.float32))
        np.testing.assert_array_equal(nest["b"][1].left, expected)
        np.testing.assert_array_equal(nest["a"][0][:, 1], expected)
        np.testing.assert_array_equal(part[1]["depth"], expected)
    assert (dataset.info.num_classes, dataset.info.scale, dataset.info.mean) == (None, 1.0, None)
    assert nest["b"][1].left.dtype == np.uint8


def test_images_are_scaled_and_normalized_later():
    images = np.random.RandomState(0).randint(0, 256, (30, 4, 5, 3)).astype(np.uint8)
    images[..., 2] = 51
    labels = np.arange(30) % 3
    plain = data.from_arrays((images, labels), valid=None)
    assert (plain.info.scale, plain.info.mean, plain.train[0].dtype) == (255.0, None, np.uint8)
    known = data.from_arrays((images, labels), valid=10, normalize=True)
    left = known.train[0] / 255
    np.testing.assert_allclose(known.info.mean, left.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(known.info.std, [*left[..., :2].std((0, 1, 2)), 1.0], rtol=1e-12)
    assert known.info.mean[0] != pytest.approx((images / 255).mean((0, 1, 2))[0], rel=1e-12)
    np.testing.assert_array_equal(np.sort(np.r_[known.train[0], known.valid[0]], 0), np.sort(images, 0))


def test_statistics_of_floats():
    x = table()
    dataset = data.from_arrays((x, x[:, 0]), valid=5, normalize=True)
    np.testing.assert_allclose(dataset.info.mean, dataset.train[0].astype(float).mean(0), rtol=1e-12)
    np.testing.assert_allclose(dataset.info.std, dataset.train[0].astype(float).std(0), rtol=1e-12)
    np.testing.assert_array_equal(dataset.train[0], x[split_rows(20, 5, 0)[0]].astype(np.float32))
    flat = data.from_arrays((x[:, 0], x[:, 0]), valid=None, normalize=True)
    assert len(flat.info.mean) == len(flat.info.std) == 1
    given_by_hand = data.from_arrays((x, x[:, 0]), valid=None, normalize=(np.arange(3), 2.0 * np.ones(3)))
    assert (given_by_hand.info.mean, given_by_hand.info.std) == ((0.0, 1.0, 2.0), (2.0, 2.0, 2.0))


def test_fingerprints_of_arrays():
    x, y = table(), np.arange(20) % 4
    base = data.from_arrays((x, y)).info
    assert data.from_arrays((x.copy(), y.astype(np.uint8)), name="other").info.fingerprint == base.fingerprint
    changed = x.copy()
    changed[3, 1] += 1
    others = [
        data.from_arrays((changed, y)),
        data.from_arrays((x, y[::-1])),
        data.from_arrays((x.reshape(20, 3, 1), y)),
        data.from_arrays(({"x": x}, y)),
        data.from_arrays((x, y), seed=1),
        data.from_arrays((x, y), valid=5),
        data.from_arrays((x, y), valid=(x[:2], y[:2])),
        data.from_arrays((x, y), valid=None, test=(x[:2], y[:2])),
        data.from_arrays((x, y), normalize=True),
        data.from_arrays((x, y), normalize=(0.0, 2.0)),
    ]
    prints = [dataset.info.fingerprint for dataset in others]
    assert len({base.fingerprint, *prints}) == 1 + len(others)
    assert data.from_arrays((x, y), normalize=False).info == base


def test_explicit_validation_examples():
    x, y = table(), np.arange(20) % 4
    dataset = data.from_arrays((x, y), (x[:7], y[:7]))
    assert (len(dataset.train[1]), len(dataset.valid[1])) == (20, 7)


def test_dtypes_that_stay_and_dtypes_that_narrow():
    for given_dtype, expected in {
        "float16": "float16", "float32": "float32", ">f4": "float32", ">f8": "float32", "int8": "int8",
        "uint16": "uint16", "uint32": "int32", "int64": "int32", ">i8": "int32", "uint64": "int32", "bool": "bool",
    }.items():  # fmt: skip
        x = np.arange(4).astype(given_dtype)
        kept = data.from_arrays((x, np.arange(4)), valid=None).train[0]
        assert kept.dtype == np.dtype(expected)
        assert kept.dtype.isnative
        assert kept.tolist() == x.tolist()
    ml_dtypes = pytest.importorskip("ml_dtypes")
    half = np.arange(4).astype(ml_dtypes.bfloat16)
    assert data.from_arrays((half, np.arange(4)), valid=None).train[0].dtype == ml_dtypes.bfloat16
    with pytest.raises(ValueError, match=r"got nan at \[2\]"):
        data.from_arrays((np.array([0, 1, np.nan, 3], ml_dtypes.bfloat16), np.arange(4)))


def with_value(value):
    x = table()
    x[7, 2] = value
    return x


LABELS = np.arange(20) % 4


@pytest.mark.parametrize(("arguments", "message"), [
    (((with_value(np.nan), LABELS),), r"train inputs: got nan at \[7, 2\], and 1 such values"),
    ((({"a": table(), "b": [with_value(-np.inf)]}, LABELS),), r"train inputs\['b'\]\[0\]: got -inf at \[7, 2\]"),
    (((with_value(1e300), LABELS),), r"got 1e\+300 at \[7, 2\] once it is float32"),
    (((table(), LABELS), 0.1, (with_value(np.nan), LABELS)), "test inputs: got nan"),
    (((table(), with_value(np.nan)),), "train targets: got nan"),
    (((np.array([{}] * 20), LABELS),), "got an array of object; expected bool, integers or floats"),
    (((np.array(["a"] * 20), LABELS),), "got an array of <U1"),
    (((table() + 1j, LABELS),), "got an array of complex128"),
    (((table(0), LABELS[:0]),), r"got an empty array of shape \(0, 3\)"),
    (((table(20, 0), LABELS),), r"got an empty array of shape \(20, 0\)"),
    (((table(), LABELS[:19]),), "different numbers of examples .train inputs 20, train targets 19"),
    (((list(table()), LABELS),), "for one array of rows use np.stack"),
    (((table(), LABELS.tolist()),), r"train targets\[0\]: got one int; expected an array"),
    (((None, LABELS),), "got one NoneType"),
    ((({}, LABELS),), "which holds no array"),
    ((table(),), r"train: got ndarray; expected a pair \(inputs, targets\)"),
    (((table(), LABELS - 1),), r"train targets: got label -1 at \[0\]"),
    (((table(), LABELS), (table(), LABELS - 2)), "valid targets: got label -2"),
    (((table(), LABELS[:, None]),), r"Pass y\[:, 0\]"),
    (((np.full((20, 3), 2**31), LABELS),), "got int64 from 2147483648 to 2147483648; expected numbers that fit"),
    (((table(), LABELS), (table(20, 4), LABELS)), r"valid: got inputs float32\[4\].*expected inputs float32\[3\]"),
    (((table(), LABELS), 0.1, (table(), LABELS * 1.0)), r"test: got .* targets float32\[\].*targets int32"),
    (((table(), LABELS), 20), "sets 20 of 20 training examples apart"),
])  # fmt: skip
def test_arrays_that_cannot_be_trained_on_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        data.from_arrays(*arguments)


@pytest.mark.parametrize(("x", "normalize", "message"), [
    ({"a": table()}, True, "a dict of arrays"),
    (np.ones((20, 3), np.uint8), True, r"integers \(uint8\)"),
    (table(), "yes", "expected None, False, True or a pair"),
    (table(), (0.0, 0.0), "smallest std 0.0"),
    (table(), ([0, 0], [1, 1]), "expected 1 or 3 finite numbers"),
    (table(), (np.nan, 1), "finite"),
    (np.ones((20, 2, 2, 1), np.uint8), (127.0, 64.0), "Divide both by 255"),
])  # fmt: skip
def test_normalizations_that_mean_nothing_are_refused(x, normalize, message):
    with pytest.raises(ValueError, match=message):
        data.from_arrays((x, LABELS), normalize=normalize)
