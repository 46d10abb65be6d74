"""A run as tables and files: pandas, CSV, Parquet, netCDF."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from jaxopt_intro.checks import known_name
from jaxopt_intro.results.dataset import settings
from jaxopt_intro.results.extras import needs

FORMS = ("long", "wide")


def to_pandas(dataset: xr.Dataset, form: str = "wide") -> pd.DataFrame:
    """Returns a run as one flat table.

    Args:
        dataset: What `results.open` returned.
        form: "wide": a row for each member, with every metric at its best epoch, as one table of a paper has it;
            "long": a row for each member and epoch, as plotting libraries like it. Epochs of which nothing is known are
            left out.

    Returns:
        A DataFrame: `trial`, `seed`, in the long form `epoch` and `seconds`, the settings, the metrics; in the wide
        form also `score`, `best_epoch`, `status`, `reason`, `stopped_step` and the test's metrics. Its `attrs` are the
        dataset's.

    Raises:
        ValueError: No such form.

    Examples:
        >>> dataset = xr.Dataset(
        ...     {
        ...         "loss": (("trial", "seed", "epoch"), [[[0.5, 0.25, np.nan]]]),
        ...         "best_epoch": (("trial", "seed"), [[2]]),
        ...     },
        ...     {"trial": ["a"], "seed": [0], "epoch": [1, 2, 3]},
        ... )
        >>> to_pandas(dataset, "long").values.tolist()
        [['a', 0, 1, 0.5], ['a', 0, 2, 0.25]]
        >>> to_pandas(dataset).to_dict("records")
        [{'trial': 'a', 'seed': 0, 'best_epoch': 2, 'loss': 0.25}]
    """
    known_name(form, FORMS, "form")
    data = dataset.drop_dims("rung", errors="ignore")
    curves = [str(name) for name, v in data.data_vars.items() if "epoch" in v.dims]
    members = [str(name) for name, v in data.data_vars.items() if "epoch" not in v.dims]
    if form == "long":
        clock = [name for name in ("seconds",) if name in data.coords]
        table = _flat(data[curves].reset_coords(clock), ["trial", "seed", "epoch"])
        known = table[curves].notna().any(axis=1)
        return table.loc[known, ["trial", "seed", "epoch", *clock, *settings(data), *curves]]
    table = _flat(data[members].drop_dims("epoch", errors="ignore"), ["trial", "seed"])
    known, at = data.best_epoch > 0, (data.best_epoch - 1).clip(0)
    for name in curves:
        values = data[name].isel(epoch=at).where(known) if data.sizes["epoch"] else at.where(False)
        table[name] = values.transpose("trial", "seed").values.ravel()
    asked = table["status"] != "" if "status" in table else slice(None)
    return table.loc[asked, ["trial", "seed", *settings(data), *members, *curves]]


def to_csv(dataset: xr.Dataset, path: str | os.PathLike[str], form: str = "long") -> None:
    """Writes `to_pandas` as CSV.

    Args:
        dataset: What `results.open` returned.
        path: The file.
        form: "long" or "wide".
    """
    to_pandas(dataset, form).to_csv(path, index=False)


def to_parquet(dataset: xr.Dataset, path: str | os.PathLike[str], form: str = "long") -> None:
    """Writes `to_pandas` as Parquet, with the dataset's attributes; `pandas.read_parquet` gives both back.

    Args:
        dataset: What `results.open` returned.
        path: The file.
        form: "long" or "wide".

    Raises:
        ModuleNotFoundError: pyarrow is missing; the message says how to install it.
    """
    needs("pyarrow", "export")
    to_pandas(dataset, form).to_parquet(path, index=False, engine="pyarrow")


def to_netcdf(dataset: xr.Dataset, path: str | os.PathLike[str]) -> None:
    """Writes a run as netCDF 3; `xarray.open_dataset(path)` gives the same dataset back.

    Args:
        dataset: What `results.open` returned.
        path: The file.

    Raises:
        ValueError: No epoch is done: netCDF 3 has no empty dimension.
    """
    if 0 in dataset.sizes.values():
        raise ValueError("to_netcdf: no epoch of the run is done; expected at least one. Wait until one is.")
    dataset.to_netcdf(Path(path), engine="scipy")  # SciPy is there with JAX: nothing more to install


def _flat(dataset: xr.Dataset, dims: list[str]) -> pd.DataFrame:
    """A row for each point of `dims`, the first slowest; the settings and the rest as columns."""
    keep = {name: c for name, c in dataset.coords.items() if str(name) in (*dims, *settings(dataset))}
    shape = [dataset.sizes[d] for d in dims]
    columns: dict[str, Any] = {}
    for name, variable in {**keep, **dataset.data_vars}.items():
        along = variable.expand_dims({d: dataset.sizes[d] for d in dims if d not in variable.dims})
        columns[str(name)] = np.broadcast_to(along.transpose(*dims).values, shape).ravel()
    table = pd.DataFrame(columns)
    table.attrs = dict(dataset.attrs)
    return table
