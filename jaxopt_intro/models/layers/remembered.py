"""What was measured of convolutions, kept on disk: a file for each kind of device and release of JAX."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from filelock import FileLock

from jaxopt_intro.places import cache_folder

FORMAT = 1
Figures = dict[str, dict[str, float]]


def read(device: Any) -> Figures:
    """Returns the microseconds of each way by the words of each convolution; {} where nothing is known.

    A file that cannot be read is as good as none: what was in it is measured again.
    """
    try:
        stored = json.loads(file_for(device).read_text())
        return {what: {n: float(t) for n, t in times.items()} for what, times in stored.items()}
    except (OSError, ValueError, AttributeError):
        return {}


def write(device: Any, new: Mapping[str, Mapping[str, float]]) -> None:
    """Adds figures to those of other processes; a folder that cannot be written is left alone."""
    if not new:
        return
    file = file_for(device)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{file}.lock"):
            aside = file.with_name(f"{file.name}.{uuid.uuid4().hex}")
            aside.write_text(json.dumps({**read(device), **new}, indent=1))
            os.replace(aside, file)
    except OSError:
        return


def file_for(device: Any) -> Path:
    """Returns the file of a device; those of equal kind share one."""
    kind = f"{processor()} {jax.local_device_count()} of {os.cpu_count()}" if device.platform == "cpu" else ""
    precision = jax.config.jax_default_matmul_precision or ""  # type: ignore[attr-defined]
    words = f"{FORMAT} {device.platform} {device.device_kind} {kind} {importlib.metadata.version('jaxlib')} {precision}"
    return cache_folder() / "convolutions" / (re.sub(r"[^\w.]+", "-", words).strip("-") + ".json")


def processor() -> str:
    """Returns the name of this machine's processor, as far as it is known."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    found = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in reversed(lines) if line}
    return " ".join(found[name] for name in ("model name", "model", "CPU part") if name in found)
