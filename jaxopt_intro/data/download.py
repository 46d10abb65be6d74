"""Fetching original files: tensorflow-datasets' addresses, checksums and downloader, without TensorFlow."""

from __future__ import annotations

import os
import queue
import threading
from pathlib import Path
from typing import Any

from jaxopt_intro.data.dataset import DataCorrupt, DataUnavailable

PROBE_SECONDS = 6.0
"""How long the server may take to begin an answer. Without it, tensorflow-datasets retries for 204 s."""


def addresses(name: str) -> dict[str, Any]:
    """Returns the addresses that tensorflow-datasets has registered for a set.

    Args:
        name: Its name there.

    Returns:
        By address: size, sha256 and file name.

    Examples:
        >>> [info.filename for info in addresses("cifar10").values()]
        ['cifar-10-binary.tar.gz']
    """
    import tensorflow_datasets as tfds

    return dict(tfds.builder_cls(name).url_infos or {})


def fetch(name: str, folder: Path) -> None:
    """Downloads the original files of a set into a folder, under their published names.

    Args:
        name: The set's name in tensorflow-datasets.
        folder: An empty folder.

    Raises:
        DataUnavailable: There is no connection, or it broke.
        DataCorrupt: A file that came is not the published one.
    """
    from tensorflow_datasets.core.download import download_manager, util

    urls = addresses(name)
    probe(next(iter(urls)))
    try:
        manager = download_manager.DownloadManager(
            download_dir=folder / "parts", url_infos=urls, force_checksums_validation=True
        )
        # One after the other: when one of several at once fails, the rest go on writing into the folder.
        paths = {info.filename: manager.download(url) for url, info in urls.items()}
    except download_manager.NonMatchingChecksumError as error:
        raise DataCorrupt(
            f"what was downloaded for {name} is not the published file, and was deleted: "
            f"{_one_line(error)}. Something between here and the server may have replaced it; try again, or "
            "fetch the file yourself."
        ) from error
    except (OSError, util.DownloadError) as error:
        raise DataUnavailable(f"the download broke off ({_one_line(error)})") from error
    for filename, path in paths.items():
        os.replace(path, folder / filename)


def probe(url: str, seconds: float | None = None) -> None:
    """Checks in a few seconds that a server answers, through the proxy of the environment if there is one.

    Args:
        url: What will be downloaded; only the beginning of the answer is awaited.
        seconds: How long to wait; `PROBE_SECONDS` if None.

    Raises:
        DataUnavailable: No answer, or a refusal.

    Examples:
        >>> probe("http://127.0.0.1:9/file", seconds=2.0)
        Traceback (most recent call last):
        ...
        jaxopt_intro.data.dataset.DataUnavailable: http://127.0.0.1:9/file did not answer (ConnectionError)
    """
    seconds = PROBE_SECONDS if seconds is None else seconds
    answers: queue.Queue[str] = queue.Queue()
    # A thread, because looking up a host name has no timeout of its own.
    threading.Thread(target=_ask, args=(url, seconds, answers), daemon=True).start()
    try:
        problem = answers.get(timeout=seconds)
    except queue.Empty:
        problem = f"did not answer within {seconds:g} s"
    if problem:
        raise DataUnavailable(f"{url} {problem}")


def _ask(url: str, seconds: float, answers: queue.Queue[str]) -> None:
    import requests

    try:
        with requests.get(url, stream=True, timeout=seconds) as response:
            answers.put("" if response.ok else f"answered {response.status_code} {response.reason}")
    except (OSError, ValueError) as error:
        answers.put(f"did not answer ({type(error).__name__})")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
