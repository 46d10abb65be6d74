"""What a run found: open it as an xarray Dataset, rank its trials, draw and report them. Also while the run goes on.

Examples:
    A run of four trials, as the engine writes it:

    >>> import tempfile
    >>> from jaxopt_intro import results
    >>> from jaxopt_intro.journal import FORMAT, Journal
    >>> directory = tempfile.mkdtemp()
    >>> with Journal(directory) as run:
    ...     run.append({"type": "run", "format": FORMAT, "objective": {"name": "accuracy", "direction": "max"}})
    ...     for number in range(4):
    ...         hparams = {"learning_rate": [0.01, 0.1][number % 2], "l2": [0.0, 0.001][number // 2]}
    ...         run.append({"type": "trial", "trial": f"t{number}", "hparams": hparams, "seeds": [0, 1]})
    ...         for epoch in (1, 2):
    ...             members, values = [[f"t{number}", 0], [f"t{number}", 1]], [0.25 * number, 0.125 * epoch]
    ...             run.append({"type": "epoch", "epoch": epoch, "members": members, "metrics": {"accuracy": values}})

    >>> dataset = results.open(directory)
    >>> results.top(dataset, k=2)[["trial", "learning_rate", "l2", "accuracy", "standard_error"]]
         trial  learning_rate     l2  accuracy  standard_error
    rank
    1       t3           0.10  0.001     0.500           0.250
    2       t2           0.01  0.001     0.375           0.125
    >>> results.best(dataset).learning_rate.item()
    0.1
    >>> results.summary(dataset).score.values.tolist()
    [0.125, 0.25, 0.375, 0.5]
    >>> results.grid(dataset).score.mean("seed").sel(l2=0.001, learning_rate=0.1).item()
    0.5
    >>> results.plots.overview(dataset).get_suptitle()
    '4 trials, 4 running, best accuracy 0.500\\nmean over 2 seeds'
    >>> results.report(directory).name
    'report.html'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxopt_intro.results import plots
    from jaxopt_intro.results.comparing import compare
    from jaxopt_intro.results.dataset import citations, grid, open
    from jaxopt_intro.results.maps import open_map
    from jaxopt_intro.results.notebook import table
    from jaxopt_intro.results.optuna_study import to_optuna
    from jaxopt_intro.results.ranking import best, summary, top
    from jaxopt_intro.results.reporting import report, write_report
    from jaxopt_intro.results.tables import to_csv, to_netcdf, to_pandas, to_parquet
    from jaxopt_intro.results.tensorboard import to_tensorboard

__all__ = [
    "best", "citations", "compare", "grid", "open", "open_map", "plots", "report", "summary", "table", "to_csv",
    "to_netcdf", "to_optuna", "to_pandas", "to_parquet", "to_tensorboard", "top", "write_report",
]  # fmt: skip

_ROOMS = {
    "best": "ranking", "citations": "dataset", "compare": "comparing", "grid": "dataset", "open": "dataset",
    "open_map": "maps", "summary": "ranking", "table": "notebook", "to_csv": "tables", "to_netcdf": "tables",
    "to_optuna": "optuna_study", "to_pandas": "tables", "to_parquet": "tables", "to_tensorboard": "tensorboard",
    "top": "ranking", "report": "reporting", "write_report": "reporting",
}  # fmt: skip


def __getattr__(name: str) -> Any:  # xarray, pandas and matplotlib load when they are first needed
    if name == "plots":
        return importlib.import_module(f"{__name__}.plots")
    if name in _ROOMS:
        return getattr(importlib.import_module(f"{__name__}.{_ROOMS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
