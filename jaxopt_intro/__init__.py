"""Learn, compare and tune optimization methods: whole hyperparameter sweeps as compiled JAX programs.

Modules are loaded when they are first used, so that `import jaxopt_intro` costs milliseconds.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_MODULES = (
    "augmentations", "contracts", "data", "distributions", "experiment", "journal", "losses", "metrics", "models",
    "optimizers", "regularizers", "results", "routing", "schedules", "surfaces", "sweeps", "training", "trees",
    "typing",
)  # fmt: skip
_NAMES = {
    "Experiment": "experiment",
    "sweep": "experiment",
    "describe": "experiment",
    "landscape": "experiment",
    "load_model": "experiment",
    "replay": "experiment",
    "finalists": "experiment",
    "zoomed": "experiment",
    "Space": "sweeps.space",
    "Trial": "sweeps.space",
    "space_of_methods": "sweeps.methods",
    "adaptive": "sweeps.searchers",
    "choice": "distributions",
    "integer": "distributions",
    "log_uniform": "distributions",
    "normal": "distributions",
    "quantized": "distributions",
    "uniform": "distributions",
    "make_training": "training",
}
_INNER = {"pruning": "sweeps.pruning"}
__all__ = ["__version__", *_MODULES, *_NAMES, *_INNER]  # noqa: PLE0604 - all are strings


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _INNER:
        return importlib.import_module(f"{__name__}.{_INNER[name]}")
    if name in _NAMES:
        return getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(sorted(__all__))}")


def __dir__() -> list[str]:
    return sorted(__all__)
