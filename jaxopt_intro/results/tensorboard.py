"""A run as TensorBoard's event files, with its table of hyperparameters; no TensorFlow is needed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from jaxopt_intro.results.dataset import settings, varying
from jaxopt_intro.results.extras import needs
from jaxopt_intro.results.optuna_study import start_of

STATES = {"finished": "STATUS_SUCCESS", "pruned": "STATUS_SUCCESS", "failed": "STATUS_FAILURE"}


def to_tensorboard(dataset: xr.Dataset, path: str | os.PathLike[str]) -> None:
    """Writes every member of a run as a TensorBoard run; `tensorboard --logdir PATH` shows curves and hyperparameters.

    A member lies in the folder `TRIAL-SEED`. Each metric is a scalar over the epochs; `score` and what the test
    measured are scalars at the best epoch. The HParams view has the settings that vary, and ranks by `score`.

    Args:
        dataset: What `results.open` returned; members without an epoch are left out.
        path: The folder, which must be new or empty: TensorBoard would show old event files too.

    Raises:
        ModuleNotFoundError: TensorBoard is missing; the message says how to install it.
        FileExistsError: The folder has something in it.
    """
    needs("tensorboard", "tensorboard")
    folder = Path(path)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise FileExistsError(f"got {str(folder)!r}, which is not empty; expected a new folder. Name another one.")
    begin, names = start_of(dataset), varying(dataset) or settings(dataset)
    curves = [str(name) for name, v in dataset.data_vars.items() if "epoch" in v.dims]
    tests = [n for n in map(str, dataset.data_vars) if n.startswith("test_") and n not in curves]
    _write(folder, [(begin, 0, "", _experiment_of(dataset, names, begin))])
    for i, trial in enumerate(dataset.trial.values.tolist()):
        for j, seed in enumerate(dataset.seed.values.tolist()):
            one = dataset.isel(trial=i, seed=j)
            if one.status.item() in ("", "asked"):
                continue
            found: list[tuple[float, int, str, Any]] = [(begin, 0, "", _start_of_member(one, names, begin))]
            for name in curves:
                rows = zip(one.seconds.values, one.epoch.values, one[name].values, strict=True)
                found += [(begin + np.nan_to_num(s), int(e), name, float(v)) for s, e, v in rows if np.isfinite(v)]
            end = begin + float(np.nan_to_num(np.fmax.reduce(one.seconds.values, initial=0.0)))
            at = one.best_epoch.item()
            found += [(end, at, n, one[n].item()) for n in ("score", *tests) if np.isfinite(one[n].item())]
            if one.status.item() in STATES:
                found.append((end, at, "", _end_of_member(one.status.item(), end)))
            _write(folder / f"{trial}-{seed}", found)


def _write(folder: Path, events: list[tuple[float, int, str, Any]]) -> None:
    """Writes scalars, given as floats, and ready summaries: (time, step, tag, value)."""
    Event, Summary = _of("compat.proto.event_pb2").Event, _of("compat.proto.summary_pb2").Summary
    folder.mkdir(parents=True, exist_ok=True)
    writer = _of("summary.writer.event_file_writer").EventFileWriter(str(folder))
    for at, step, tag, value in events:
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)]) if tag else value
        writer.add_event(Event(wall_time=at, step=step, summary=summary))
    writer.close()


def _of(name: str) -> Any:
    """One of TensorBoard's modules; as values, since what protocol buffers define is not known before they run."""
    return needs(f"tensorboard.{name}", "tensorboard")


def _hparams(kind: str, **content: Any) -> Any:
    """A summary that the HParams view reads."""
    protos, metadata = _of("compat.proto.summary_pb2"), _of("plugins.hparams.metadata")
    data = _of("plugins.hparams.plugin_data_pb2").HParamsPluginData(version=metadata.PLUGIN_DATA_VERSION, **content)
    plugin = protos.SummaryMetadata.PluginData(plugin_name=metadata.PLUGIN_NAME, content=data.SerializeToString())
    described = protos.SummaryMetadata(plugin_data=plugin)
    return protos.Summary(
        value=[protos.Summary.Value(tag=getattr(metadata, kind), metadata=described, tensor=metadata.NULL_TENSOR)]
    )


def _experiment_of(dataset: xr.Dataset, names: list[str], begin: float) -> Any:
    api, infos = _of("plugins.hparams.api_pb2"), []
    for name in names:
        number = dataset[name].dtype.kind == "f"
        infos.append(api.HParamInfo(name=name, type="DATA_TYPE_FLOAT64" if number else "DATA_TYPE_STRING"))
        if not number:
            infos[-1].domain_discrete.extend(sorted(set(dataset[name].values.tolist()) - {""}))
    tests = [n for n in map(str, dataset.data_vars) if n.startswith("test_")]
    metrics = [api.MetricInfo(name=api.MetricName(tag=tag)) for tag in ("score", dataset.attrs["objective"], *tests)]
    experiment = api.Experiment(
        name=dataset.attrs["run"], time_created_secs=begin, hparam_infos=infos, metric_infos=metrics
    )
    return _hparams("EXPERIMENT_TAG", experiment=experiment)


def _start_of_member(one: xr.Dataset, names: list[str], begin: float) -> Any:
    trial = one.trial.item()
    # The seeds of a trial are a group.
    start = _of("plugins.hparams.plugin_data_pb2").SessionStartInfo(group_name=trial, start_time_secs=begin)
    for name in names:
        value = one[name].item()
        if isinstance(value, float) and value == value:
            start.hparams[name].number_value = value
        elif isinstance(value, str) and value:
            start.hparams[name].string_value = value
    return _hparams("SESSION_START_INFO_TAG", session_start_info=start)


def _end_of_member(status: str, end: float) -> Any:
    ended = _of("plugins.hparams.plugin_data_pb2").SessionEndInfo
    info = ended(status=_of("plugins.hparams.api_pb2").Status.Value(STATES[status]), end_time_secs=end)
    return _hparams("SESSION_END_INFO_TAG", session_end_info=info)
