"""Finalists: fresh seeds in a run of their own, honest intervals, and one look at the test split."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import scipy.stats
import xarray

from jaxopt_intro import Experiment, Space, choice, cli, finalists, journal, log_uniform, pruning, results, sweep
from jaxopt_intro.experiment.choosing import compare
from jaxopt_intro.sweeps.session import Session
from tests.small import DATA, changed_first, of, one_ulp

pytestmark = pytest.mark.usefixtures("compiled_once")

EXPERIMENT = Experiment(
    data=DATA, model="mlp", optimizer="sgd", epochs=3, batch_size=8, objective="loss", seed=4, keep=2
)
TRIALS = Space(learning_rate=log_uniform(1e-2, 1.0)).random(6, seed=1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("search") / "run"
    bad = TRIALS[0]._replace(hparams={"learning_rate": 1e30})
    sweep(EXPERIMENT, [bad, *TRIALS], 2, directory, width=4)
    return directory


@pytest.fixture(scope="module")
def found(run):
    return finalists(run, k=3, replicates=4, data=DATA)


def test_the_best_train_again_on_seeds_that_the_run_has_not_used(run, found):
    best = results.top(results.open(run), 3)
    assert found.search_trial.values.tolist() == best["trial"].tolist()
    assert found.seed.values.tolist() == [6, 7, 8, 9]  # the run had 4 and 5
    np.testing.assert_array_equal(found.learning_rate, results.open(run).sel(trial=best["trial"].values).learning_rate)
    np.testing.assert_allclose(found.search_score, best["valid_loss"], rtol=1e-6)
    assert (found.status == "finished").all()
    assert json.loads(found.attrs["experiment"])["vary_batches"] is True
    assert found.attrs["run"] == f"{run}-finalists"


def test_the_journal_says_whose_finalists_they_are(run, found):
    (started,) = of(found.attrs["run"], "run")
    trials = found.search_trial.values.tolist()
    assert started["finalists"] == {"run": f"../{run.name}", "trials": trials, "seed": 6, "replicates": 4}
    assert all("finalists" not in record for record in of(run, "run"))


def test_the_chosen_one_alone_is_measured_on_test_after_all_have_ended(found):
    tests, ends = of(found.attrs["run"], "test"), of(found.attrs["run"], "end")
    assert {record["trial"] for record in tests} == {found.attrs["chosen"]}
    assert [record["seed"] for record in tests] == [6, 7, 8, 9]
    kinds = [r["type"] for r in journal.read(found.attrs["run"]) if r["type"] in ("test", "end")]
    assert kinds == ["end"] * len(ends) + ["test"] * len(tests)
    assert found.attrs["chosen"] == found.trial.values[found["mean"].values.argmin()].item()
    assert "test_accuracy of the best: " in found.attrs["words"]


def test_intervals_are_those_of_paired_t_tests(found):
    scores = found.score.values.astype(float)
    first = int(found["mean"].values.argmin())
    for i in range(3):
        assert found["mean"][i].item() == pytest.approx(scores[i].mean())
        assert found.standard_error[i].item() == pytest.approx(scipy.stats.sem(scores[i]))
        assert found.fell[i].item() == pytest.approx(scores[i].mean() - found.search_score[i].item())
        if i != first:
            paired = scipy.stats.ttest_rel(scores[i], scores[first])
            interval = paired.confidence_interval(1 - 0.05 / 3)
            assert found.behind_low[i].item() == pytest.approx(interval.low, rel=1e-5)
            assert found.behind_high[i].item() == pytest.approx(interval.high, rel=1e-5)
            assert found.tied[i].item() == (paired.pvalue >= 0.05 / 3)
    assert found.behind[first].item() == 0
    assert found.tied[first].item()
    assert found.attrs["comparisons"] == 3


def made(scores, direction="max", status="finished"):
    """A run of finalists with these scores."""
    shape = np.shape(scores)
    values = {
        "score": (("trial", "seed"), np.asarray(scores, np.float32)),
        "status": (("trial", "seed"), np.where(np.isnan(scores), "failed", status)),
        "best_epoch": (("trial", "seed"), np.ones(shape, int)),
    }
    coordinates = {"trial": [f"t{i}" for i in range(shape[0])], "seed": np.arange(shape[1])}
    coordinates["position"] = ("trial", np.arange(shape[0]))
    return xarray.Dataset(values, coordinates, {"direction": direction, "objective": "valid_accuracy"})


def test_the_intervals_of_equal_trials_hold_together_95_percent_of_the_time():
    """Where all are the same but for noise, nobody may be called worse than the one that came out best."""
    draws, wrong = np.random.default_rng(0), 0
    for _ in range(400):
        shared = draws.normal(size=8)
        scores = 0.5 + 0.01 * (shared + draws.normal(size=(4, 8)))
        wrong += not compare(made(scores), list("abcd"), np.zeros(4)).tied.all()
    assert wrong <= 400 * 0.05 + 3 * np.sqrt(400 * 0.05 * 0.95)


@pytest.mark.parametrize("direction", ["max", "min"])
def test_a_real_difference_behind_the_noise_of_seeds_is_seen_in_pairs(direction):
    sign = 1 if direction == "max" else -1
    draws = np.random.default_rng(1)
    shared = draws.normal(size=10)
    scores = 0.5 * sign + shared - sign * np.array([[0.3], [0.0]]) + 0.05 * draws.normal(size=(2, 10))
    found = compare(made(scores, direction), ["a", "b"], np.array([0.5, 0.5]) * sign)
    assert found.attrs["chosen"] == "t1"
    assert found.tied.values.tolist() == [False, True]
    assert 0.2 < found.behind_low.values[0] < 0.3 < found.behind_high.values[0] < 0.4
    assert found.standard_error.min() > 0.1, "unpaired they could not be told apart"


def test_a_failed_seed_takes_a_finalist_out():
    found = compare(made([[0.9, np.nan, 0.9], [0.5, 0.6, 0.7]]), ["a", "b"], np.array([0.9, 0.7]))
    assert found.attrs["chosen"] == "t1"
    assert np.isnan(found["mean"].values[0])
    assert np.isnan(found.behind.values[0])
    assert found.tied.values.tolist() == [False, True]
    assert "a: a seed failed" in found.attrs["words"]


def test_asked_again_nothing_is_trained_and_other_finalists_are_refused(run, found):
    records = len(journal.read(found.attrs["run"]))
    again = finalists(run, k=3, replicates=4, data=DATA)
    assert [r["type"] for r in journal.read(found.attrs["run"])[records:]] == ["run"]
    xarray.testing.assert_equal(again.drop_attrs(), found.drop_attrs())
    for other in ({"k": 2, "replicates": 4}, {"k": 3, "replicates": 5}):
        with pytest.raises(ValueError, match="expected the same finalists"):
            finalists(run, **other, data=DATA)
    with pytest.raises(ValueError, match="holds another run"):
        finalists(run, data=DATA, directory=run)


def test_a_kill_costs_nothing_and_the_test_split_waits(run, found, tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    emit, ends = Session.emit, [0]

    def killed(session, record):
        emit(session, record)
        ends[0] += record["type"] == "end"
        if ends[0] == 5:
            raise Killed

    monkeypatch.setattr(Session, "emit", killed)
    with pytest.raises(Killed):
        finalists(run, k=3, replicates=4, data=DATA, directory=tmp_path / "again")
    assert not of(tmp_path / "again", "test")
    monkeypatch.setattr(Session, "emit", emit)
    again = finalists(run, k=3, replicates=4, data=DATA, directory=tmp_path / "again")
    np.testing.assert_allclose(again.score, found.score, rtol=1e-5)
    assert again.attrs["chosen"] == found.attrs["chosen"]


def test_pruned_runs_of_several_programs_and_batches_that_stay(tmp_path):
    space = Space(learning_rate=log_uniform(1e-2, 1.0), optimizer=choice(["sgd", "adam"]))
    sweep(EXPERIMENT, space.grid(3), directory=tmp_path / "run", width=2, pruner=pruning.successive_halving())
    found = finalists(tmp_path / "run", k=9, replicates=2, data=DATA, vary_batches=False)
    assert found.sizes["trial"] == 6, "no more than there are"
    assert (found.status == "finished").all()
    assert found.trial.values.tolist() == found.search_trial.values.tolist(), "the same trials, of other seeds"


def test_what_cannot_have_finalists_says_so(run, tmp_path):
    for wrong in ({"k": 0}, {"replicates": 1}, {"k": 2.5}):
        with pytest.raises(ValueError, match="expected a whole number of at least"):
            finalists(run, **wrong, data=DATA)
    with pytest.raises(ValueError, match="arrays in memory"):
        finalists(run)
    shutil.copytree(run, tmp_path / "interrupted")
    records = (tmp_path / "interrupted" / "journal.jsonl").read_text().splitlines(keepends=True)
    told = "".join(line for line in records if '"receipt"' not in line)
    (tmp_path / "interrupted" / "journal.jsonl").write_text(told)
    with pytest.raises(ValueError, match="expected a run that is through"):
        finalists(tmp_path / "interrupted", data=DATA)
    sweep(EXPERIMENT, TRIALS[:4], directory=tmp_path / "pbt", width=4, pruner=pruning.pbt())
    with pytest.raises(ValueError, match="took over each other's weights"):
        finalists(tmp_path / "pbt", data=DATA)
    bad = TRIALS[0]._replace(hparams={"learning_rate": 1e30})
    sweep(EXPERIMENT, [bad], directory=tmp_path / "bad", width=1)
    with pytest.raises(ValueError, match="has a score"):
        finalists(tmp_path / "bad", data=DATA)


def test_the_command_replays_and_chooses(tmp_path, capsys):
    experiment = Experiment(data="digits", model="linear", optimizer="sgd", epochs=2)
    trials = Space(learning_rate=log_uniform(1e-2, 1.0)).grid(3)
    directory = str(tmp_path / "run")
    trial = sweep(experiment, trials, directory=directory, width=2).trial.values[1]
    assert cli.main(["replay", directory, trial[:8], "--probe", "sharpness"]) == 0
    said = capsys.readouterr().out
    assert "are bitwise those of the journal" in said
    assert f"sharpness of trial {trial}, seed 0: " in said
    assert cli.main(["replay", directory, trial, "--width", "1", "--json", "--probe", "update_ratio"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["agrees"], told["trial"]) == (True, [trial])
    assert np.shape(told["values"]["probe_update_ratio"]) == (1, 1, 2)
    changed, _ = changed_first(tmp_path / "run", tmp_path / "changed", one_ulp, epoch=1)
    assert cli.main(["replay", str(tmp_path / "changed"), changed]) == 1
    assert "differs: trial" in capsys.readouterr().out
    assert cli.main(["replay", directory, "none"]) == 2
    assert "expected one of the run's 3 ids" in capsys.readouterr().err
    assert cli.main(["finalists", directory, "--top", "2", "--replicates", "3"]) == 0
    said = capsys.readouterr().out
    assert "2 finalists on the fresh seeds 1 to 3" in said
    assert f"run: {directory}-finalists" in said
    assert cli.main(["finalists", directory, "--top", "2", "--replicates", "3", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["run"], len(told["finalists"])) == (f"{directory}-finalists", 2)
    assert told["chosen"] in [row["trial"] for row in told["finalists"] if row["behind"] == 0]
    assert cli.main(["list", "probes"]) == 0
    assert "sharpness" in capsys.readouterr().out


def test_a_search_can_leave_the_test_split_to_its_finalists(run, found, tmp_path):
    directory = tmp_path / "run"
    for trials in (TRIALS[:2], TRIALS[:3]):  # a run that goes on remembers, though it is not asked to again
        again = {"test": False} if trials == TRIALS[:2] else {}
        left = sweep(EXPERIMENT, trials, directory=directory, width=4, **again)
        assert not of(directory, "test")
        assert not [name for name in left.data_vars if str(name).startswith("test_")]
    chosen = finalists(directory, k=2, replicates=2, data=DATA)
    assert {record["trial"] for record in of(chosen.attrs["run"], "test")} == {chosen.attrs["chosen"]}
    assert "not the first look" not in chosen.attrs["words"]
    assert "not the first look" not in finalists(directory, k=2, replicates=2, data=DATA).attrs["words"]
    others = finalists(directory, k=2, replicates=2, data=DATA, directory=tmp_path / "others")
    assert "not the first look at the test split: 1 had been measured there" in others.attrs["words"]
    tested = len({record["trial"] for record in of(run, "test")})
    assert f"not the first look at the test split: {tested} had been measured there" in found.attrs["words"]


def test_the_command_leaves_the_test_split_alone_and_says_who_looks_at_it(tmp_path, capsys):
    directory = str(tmp_path / "run")
    asked = ["--data", "digits", "--model", "linear", "--optimizer", "sgd", "--epochs", "1", "--width", "1"]
    asked += ["--constant", "learning_rate", "0.1", "--directory", directory]
    assert cli.main(["sweep", *asked, "--no-test"]) == 0
    said = capsys.readouterr().out
    assert "the test split was not touched (--no-test): that is left to finalists" in said
    assert f"is the best lucky? jaxopt-intro finalists {directory}\n" in said
    assert cli.main(["sweep", directory]) == 0
    assert "the test split was not touched (--no-test)" in capsys.readouterr().out
    assert not of(directory, "test")


def test_the_names_are_there_without_jax_being_loaded():
    code = "import sys, jaxopt_intro; assert 'finalists' in dir(jaxopt_intro); assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
