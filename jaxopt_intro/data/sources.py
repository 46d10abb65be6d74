"""The published image sets that are read from their original files: what they are, and of which files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from jaxopt_intro.data.dataset import Info, Originals
from jaxopt_intro.data.formats import parse_cifar10_files, parse_fashion_mnist_files


class Source(NamedTuple):
    """A published image set.

    Attributes:
        info: What is known of it; its content hash decides whether arrays are the published ones.
        shape: Of one image.
        train: Number of training examples.
        test: Number of test examples.
        files: sha256 of every original file, unpacked, by published name.
        archives: Names under which one archive of all files is published.
        folders: Where downloads and other libraries put the files, below a data folder.
        system: Folders where a system package puts them.
        unsafe: Names of a version that is not read, because reading it means running code in it.
        parse: Original files to arrays.
        megabytes: Size of the download.
        advice: How to get the files without this package.
    """

    info: Info
    shape: tuple[int, int, int]
    train: int
    test: int
    files: Mapping[str, str]
    archives: tuple[str, ...]
    folders: tuple[str, ...]
    system: tuple[str, ...]
    unsafe: tuple[str, ...]
    parse: Callable[[Mapping[str, bytes]], Originals]
    megabytes: int
    advice: str


FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip

FASHION_CITATION = (
    "Xiao, Rasul, Vollgraf (2017). Fashion-MNIST: a novel image dataset for benchmarking machine learning "
    "algorithms. arXiv:1708.07747"
)

SOURCES: dict[str, Source] = {
    "fashion_mnist": Source(
        info=Info(
            name="fashion_mnist",
            num_classes=10,
            class_names=FASHION_CLASSES,
            mean=(0.2860,),
            std=(0.3530,),
            scale=255.0,
            content_hash="ca3ab2a37f845e1b8ae23cab1b51749a3011ba3bf1d9016176d75cbaabac376f",
            citation=FASHION_CITATION,
            licence="MIT, Zalando SE",
        ),
        shape=(28, 28, 1),
        train=60_000,
        test=10_000,
        files={
            "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
        archives=(),
        folders=("fashion-mnist", "fashion_mnist", "FashionMNIST/raw"),
        system=("/usr/share/datasets/fashion-mnist",),
        unsafe=(),
        parse=parse_fashion_mnist_files,
        megabytes=31,
        advice="On Debian and Ubuntu `apt-get install dataset-fashion-mnist` is enough.",
    ),
    "cifar10": Source(
        info=Info(
            name="cifar10",
            num_classes=10,
            class_names=CIFAR10_CLASSES,
            mean=(0.4914, 0.4822, 0.4465),
            std=(0.2470, 0.2435, 0.2616),
            scale=255.0,
            content_hash="80387ddb9a0edf3fc4a964ee3770296169bb26a651050df20035579673099660",
            citation="Krizhevsky (2009). Learning multiple layers of features from tiny images.",
            licence="none stated by its authors",
        ),
        shape=(32, 32, 3),
        train=50_000,
        test=10_000,
        files={
            "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
            "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
            "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
            "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
            "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
            "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
        },
        archives=("cifar-10-binary.tar.gz", "cifar-10-binary.tar"),
        folders=("cifar-10-batches-bin", "cifar10", "cifar-10"),
        system=(),
        unsafe=("cifar-10-python.tar.gz", "cifar-10-batches-py"),
        parse=parse_cifar10_files,
        megabytes=170,
        advice="The binary version is needed (cifar-10-binary.tar.gz); the Python version holds pickles, "
        "which are never read.",
    ),
}
