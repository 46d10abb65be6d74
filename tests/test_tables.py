"""A run as flat tables and files: every number is found again."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from jaxopt_intro import results
from jaxopt_intro.journal import Journal
from jaxopt_intro.results.extras import needs
from tests.journals import RATES, STRENGTHS, diverges, grid_trials, run_record, trial, write


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    trials = grid_trials(rates=RATES[::3], strengths=STRENGTHS[:2], seeds=(0, 2))
    trials += [trial({"learning_rate": 1.0}, {"optimizer": "momentum"}, seeds=(2,))]
    return results.open(write(tmp_path_factory.mktemp("run"), trials, fails=diverges))


def test_the_long_table_has_a_row_for_each_epoch_that_is_known(dataset):
    table = results.to_pandas(dataset, "long")
    known = dataset.valid_accuracy.notnull() | dataset.train_loss.notnull()
    assert len(table) == int(known.sum())
    for _, row in table.iloc[::7].iterrows():
        place = {"trial": row.trial, "seed": row.seed, "epoch": row.epoch}
        assert row.valid_accuracy == dataset.valid_accuracy.sel(place).item()
        assert row.seconds == dataset.seconds.sel(place).item() == 1.5 * row.epoch
        assert row.optimizer == dataset.optimizer.sel(trial=row.trial).item()
    assert table.attrs["objective"] == "valid_accuracy"


def test_the_wide_table_has_a_row_for_each_member_at_its_best_epoch(dataset):
    table = results.to_pandas(dataset, "wide")
    assert len(table) == int((dataset.status != "").sum()), "the seed that was not asked has no row"
    for _, row in table.iterrows():
        one = dataset.sel(trial=row.trial, seed=row.seed)
        np.testing.assert_equal(row.score, one.score.item())
        assert row.status == one.status.item()
        np.testing.assert_equal(row.learning_rate, one.learning_rate.item())
        if row.best_epoch:
            assert row.train_loss == one.train_loss.sel(epoch=row.best_epoch).item()
            assert row.valid_accuracy == row.score
        else:
            assert np.isnan(row.train_loss)
    assert (table.status == "failed").any()


@pytest.mark.parametrize("form", ["long", "wide"])
def test_csv_and_parquet_give_the_table_back(dataset, tmp_path, form):
    table = results.to_pandas(dataset, form)
    results.to_csv(dataset, tmp_path / "run.csv", form)
    back = pd.read_csv(tmp_path / "run.csv", dtype={"trial": str, "reason": str}, keep_default_na=True)
    assert back.columns.tolist() == table.columns.tolist()
    np.testing.assert_array_equal(back.valid_accuracy.astype(np.float32), table.valid_accuracy)
    pytest.importorskip("pyarrow")
    results.to_parquet(dataset, tmp_path / "run.parquet", form)
    back = pd.read_parquet(tmp_path / "run.parquet")
    pd.testing.assert_frame_equal(back, table.reset_index(drop=True))
    assert back.attrs == table.attrs


def test_netcdf_gives_the_dataset_back(dataset, tmp_path):
    results.to_netcdf(dataset, tmp_path / "run.nc")
    back = xr.load_dataset(tmp_path / "run.nc")
    xr.testing.assert_identical(back, dataset)
    pd.testing.assert_frame_equal(results.top(back), results.top(dataset), check_dtype=False)
    assert results.plots.sensitivity(back, "learning_rate", by="optimizer").get_xlabel() == "learning_rate"


def rungs_of(directory):
    """Three trials; at epoch 2 one is stopped, at epoch 4 one copies another."""
    go = {"action": "go", "to": 4, "reason": "", "from": None, "hparams": None}
    with Journal(directory) as journal:
        journal.append(run_record())
        for name in "abc":
            journal.append(trial({"learning_rate": 0.1 * (1 + ord(name))}, name=name))
        for epoch, names in [(1, "abc"), (2, "abc"), (3, "ab"), (4, "ab")]:
            values = [0.1 * epoch + 0.01 * ord(n) for n in names]
            metrics = {"valid_accuracy": values}
            journal.append({"type": "epoch", "epoch": epoch, "members": [[n, 0] for n in names], "metrics": metrics})
        values = {"a": 0.5, "b": 0.75, "c": 0.25}
        journal.append({"type": "rung", "rung": 2, "time": 3.0, "values": values, "verdicts": [
            {**go, "trial": "a"}, {**go, "trial": "b"},
            {**go, "trial": "c", "action": "stop", "to": None, "reason": "below the median"}]})  # fmt: skip
        journal.append({"type": "end", "trial": "c", "seed": 0, "status": "pruned", "reason": "below the median",
                        "step": 6, "epoch": 2})  # fmt: skip
        journal.append({"type": "rung", "rung": 4, "time": 5.0, "values": {"a": 0.5, "b": 0.875}, "verdicts": [
            {**go, "trial": "a", "action": "copy", "from": "b", "hparams": {"learning_rate": 0.3}},
            {**go, "trial": "b"}]})  # fmt: skip
    return results.open(directory)


def test_rungs_are_part_of_the_dataset_and_of_netcdf(tmp_path):
    dataset = rungs_of(tmp_path)
    assert dataset["rung"].values.tolist() == [2, 4]
    assert dataset.verdict.values.tolist() == [["go", "copy"], ["go", "go"], ["stop", ""]]
    assert dataset.copied_from.values.tolist() == [["", "b"], ["", ""], ["", ""]]
    np.testing.assert_array_equal(dataset.rung_value, [[0.5, 0.5], [0.75, 0.875], [0.25, np.nan]])
    assert results.summary(dataset).status.values.tolist() == ["running", "running", "pruned"]
    assert len(results.to_pandas(dataset, "long")) == 10
    assert results.to_pandas(dataset).trial.tolist() == ["a", "b", "c"]
    results.to_netcdf(dataset, tmp_path / "run.nc")
    xr.testing.assert_identical(xr.load_dataset(tmp_path / "run.nc"), dataset)
    assert "rung" in results.grid(dataset).dims


def failing(directory, *, company):
    """A member that fails in epoch 2, with and without another that goes on in the same tile."""
    with Journal(directory) as journal:
        journal.append(run_record())
        for name in ("bad", "good")[: 1 + company]:
            journal.append(trial({"learning_rate": 9.0 if name == "bad" else 0.1}, name=name))
        for epoch in (1, 2, 3, 4)[: 4 if company else 2]:
            members = [["bad", 0], ["good", 0]][: 1 + company]
            # A lane that has failed is frozen: what it trained on since then is 0 steps, and their mean NaN.
            loss = [float("nan") if epoch > 2 else 7.0, 0.5][: 1 + company]
            valid = [float("nan") if epoch > 1 else 0.1, 0.5][: 1 + company]
            metrics = {"train_loss": loss, "valid_accuracy": valid}
            journal.append({"type": "epoch", "epoch": epoch, "members": members, "metrics": metrics, "time": epoch})
        journal.append(
            {"type": "end", "trial": "bad", "seed": 0, "status": "failed", "reason": "r", "step": 9, "epoch": 1}
        )
    return results.open(directory)


def test_a_failed_member_is_the_same_alone_and_in_company(tmp_path):
    alone, company = (failing(tmp_path / str(c), company=c) for c in (False, True))
    rows = [results.to_pandas(d.sel(trial=["bad"]), "long") for d in (alone, company)]
    pd.testing.assert_frame_equal(*rows)
    assert rows[0].epoch.tolist() == [1, 2]
    assert rows[0].train_loss.tolist() == [7.0, 7.0]
    assert np.isnan(company.seconds.sel(trial="bad", epoch=3)).all()


def test_the_clock_of_a_resumed_run_goes_on(tmp_path):
    one = trial({"learning_rate": 0.1}, name="a")
    with Journal(tmp_path) as journal:
        for session in (0, 1):
            journal.append(run_record())
            journal.append(one)
            for epoch in (1, 2) if session == 0 else (2, 3):
                metrics = {"valid_accuracy": [0.5]}
                members = [["a", 0]]
                journal.append(
                    {"type": "epoch", "epoch": epoch, "members": members, "metrics": metrics, "time": 2 * epoch}
                )
    assert results.open(tmp_path).seconds.values.ravel().tolist() == [2.0, 4.0, 10.0]


def test_what_cannot_be_written_says_so(dataset, tmp_path):
    with pytest.raises(ValueError, match=r"unknown form 'lnog'\. Did you mean 'long'"):
        results.to_pandas(dataset, "lnog")
    with Journal(tmp_path) as journal:
        journal.append(run_record())
        journal.append(trial({"learning_rate": 0.5}))
    begun = results.open(tmp_path)
    with pytest.raises(ValueError, match="no epoch of the run is done"):
        results.to_netcdf(begun, tmp_path / "x.nc")
    assert results.to_pandas(begun, "long").empty
    assert results.to_pandas(begun).status.tolist() == ["asked"]
    with pytest.raises(ModuleNotFoundError, match=r'pip install "jaxopt_intro\[export\]"'):
        needs("no_such_package.module", "export")


def test_the_table_shows_the_plain_metric_beside_an_averaged_objective(tmp_path):
    with Journal(tmp_path) as journal:
        journal.append(run_record(name="valid_average_accuracy"))
        for name, (average, plain) in {"a": (0.5, 0.9), "b": (0.75, 0.25)}.items():
            journal.append(trial({"learning_rate": ord(name) / 100}, name=name))
            metrics = {"valid_average_accuracy": [average], "valid_accuracy": [plain]}
            journal.append({"type": "epoch", "epoch": 1, "members": [[name, 0]], "metrics": metrics})
    table = results.top(results.open(tmp_path))
    assert table[["trial", "valid_average_accuracy", "valid_accuracy"]].values.tolist() == [
        ["b", 0.75, 0.25], ["a", 0.5, pytest.approx(0.9)],
    ]  # fmt: skip
