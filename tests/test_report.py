"""The report: its words, its numbers, and that one file holds it all, whatever users call their things."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import re
import tomllib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxopt_intro import cli, journal, results
from jaxopt_intro.journal import FORMAT, Journal
from jaxopt_intro.results.reporting import asked, curves, progress, verdict
from tests import synthetic

NASTY = "</script><img src=x onerror=alert(1)>"


class Page(html.parser.HTMLParser):
    """The elements of a page, and the text of its data and script."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.inside, self.content = [], "", {}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = f"{tag} {dict(attrs).get('id', '')}".strip()

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        self.content[self.inside] = self.content.get(self.inside, "") + data

    @property
    def data(self):
        return json.loads(self.content["script data"])


def read(path):
    return Page(path.read_text(encoding="utf-8"))


def words(directory, *, running=False):
    """The verdict's sentences by what they are about, and its state."""
    records = journal.read(directory)
    found = verdict.of(results.open(directory), records, directory, running=running)
    return {"state": found.state, "kind": found.kind, "title": found.title} | {
        kind: " ".join(text for own, text in found.lines if own == kind) for kind, _ in found.lines
    }


def grid(directory, values, *, direction="max", seeds=2, toml="", ends=None, reason=None):
    """Writes a run of one trial for each (learning rate, score): None has failed."""
    if toml:
        (directory / "experiment.toml").write_text(toml)
    with Journal(directory) as writer:
        writer.append({"type": "run", "format": FORMAT, "objective": {"name": "valid_loss", "direction": direction},
                       "experiment": {"data": "digits", "model": "linear"}, "data": {"name": "digits"}})  # fmt: skip
        for number, (rate, score) in enumerate(values):
            own = list(range(seeds))
            writer.append({"type": "trial", "trial": f"t{number}", "hparams": {"learning_rate": rate}, "seeds": own})
            numbers = [np.nan if score is None else score + 0.01 * seed for seed in own]
            members = [[f"t{number}", seed] for seed in own]
            writer.append(
                {
                    "type": "epoch",
                    "epoch": 1,
                    "members": members,
                    "metrics": {"valid_loss": numbers},
                    "time": 1.0 + number,
                }
            )
            for seed in own if ends is None or number < ends else []:
                status = "failed" if score is None else "finished"
                writer.append(
                    {"type": "end", "trial": f"t{number}", "seed": seed, "status": status, "reason": reason, "step": 3}
                )
        if ends is None:
            writer.append({"type": "receipt", "seconds": 1.0})
    return directory


# -- in words ------------------------------------------------------------------------------------------------------

RANGE = "[numbers]\nlearning_rate = {log_uniform = [0.01, 1.0]}\n"


def test_the_best_its_error_and_the_test_are_said_as_the_table_has_them(tmp_path):
    run = synthetic.write_sweep(tmp_path / "run", 32, seeds=3)
    said, top = words(run), results.top(results.open(run), 1).iloc[0]
    assert (
        f"valid_accuracy {top['valid_accuracy']:.4f} ± {top['standard_error']:.4f} (standard error over 3 seeds)"
        in said["best"]
    )
    assert f"optimizer {top['optimizer']}" in said["best"]
    assert said["test"].startswith("Test: accuracy 0.9710 ± 0.0017, loss 0.1120 ± 0.0012")
    assert "32 trials with 3 seeds each" in said["asked"]
    assert "learning_rate (1e-4 to 1)" in said["asked"], "the range asked, not the values drawn"
    assert re.search(
        r"Of 96 trainings: \d+ failed \(all: a loss .* became NaN or infinite\); \d+ stopped early", said["counts"]
    )
    assert said["state"] == "Finished: 96 trainings"


@pytest.mark.parametrize(
    ("scores", "direction", "expected"),
    [
        ([0.1, 0.2, 0.3], "max", "upper end of the range asked (0.01 to 1). Widen learning_rate upwards"),
        ([0.1, 0.2, 0.3], "min", "lower end of the range asked (0.01 to 1). Widen learning_rate downwards"),
        ([0.1, 0.3, 0.2], "max", ""),
        ([0.3, 0.1, 0.2], "min", ""),
    ],
)
def test_a_best_value_at_the_edge_of_what_was_asked_is_said(tmp_path, scores, direction, expected):
    grid(tmp_path, zip([0.01, 0.1, 1.0], scores, strict=True), direction=direction, toml=RANGE)
    said = words(tmp_path).get("edge", "")
    assert expected in said
    assert bool(said) == bool(expected)
    if expected:
        assert "Elsewhere the best is 0.205." in said


def test_an_edge_that_does_not_matter_within_the_error_is_said_to_be_none(tmp_path):
    grid(tmp_path, zip([0.01, 0.1, 1.0], [0.1, 0.299, 0.3], strict=True), toml=RANGE)
    assert "Elsewhere the best is 0.304, alike within the standard error" in words(tmp_path)["edge"]


def test_neither_zero_nor_one_of_two_values_is_an_edge(tmp_path):
    (tmp_path / "two").mkdir()
    (tmp_path / "zero").mkdir()
    assert "edge" not in words(grid(tmp_path / "two", [(0.01, 0.1), (1.0, 0.2)], toml=RANGE))
    assert "edge" not in words(grid(tmp_path / "zero", [(0.0, 0.3), (0.1, 0.2), (1.0, 0.1)]))


def test_without_an_experiment_file_the_range_is_what_the_trials_have(tmp_path):
    assert "(0.2 to 0.8). Widen learning_rate upwards" in words(grid(tmp_path, [(0.2, 1), (0.4, 2), (0.8, 3)]))["edge"]


def test_a_run_that_is_held_is_running_and_one_left_is_interrupted(tmp_path):
    grid(tmp_path, [(0.1, 0.5), (0.2, 0.6), (0.3, 0.7)], ends=2)
    with Journal(tmp_path):
        page = read(results.report(tmp_path))
        assert ("meta", {"http-equiv": "refresh", "content": "15"}) in page.tags
        assert page.data["reload"] == 15
        assert "Running: 4 of 6 trainings ended" in page.content["p state"]
    page = read(results.report(tmp_path))
    assert not [attrs for _, attrs in page.tags if attrs.get("http-equiv") == "refresh"]
    assert page.data["reload"] == 0
    assert page.content["p state"] == "Interrupted: 4 of 6 trainings ended"
    assert f"go on where it stopped: jaxopt-intro sweep {tmp_path}" in words(tmp_path)["warning"]


def test_a_finished_run_is_over_also_while_its_writer_is_still_there(tmp_path):
    grid(tmp_path, [(0.1, 0.5)])
    with Journal(tmp_path):
        assert read(results.report(tmp_path)).data["running"] is False


def test_when_every_trial_failed_that_is_the_verdict(tmp_path):
    said = words(grid(tmp_path, [(0.1, None), (0.2, None)], reason="a loss became NaN"))
    assert said["warning"] == "Every trial failed: no setting has a score. Lower the learning rates."
    assert said["counts"] == "Of 4 trainings: 4 failed (all: a loss became NaN)."
    assert read(results.report(tmp_path)).data["trials"]["score"] == [None, None]


def test_a_run_without_an_epoch_has_a_page(tmp_path):
    with Journal(tmp_path) as writer:
        writer.append({"type": "run", "format": FORMAT})
        writer.append({"type": "trial", "trial": "a", "hparams": {"learning_rate": 0.1}})
        data = read(results.report(tmp_path)).data
    assert (data["curves"]["epochs"], data["progress"]["best"], data["running"]) == ([], [], True)


# -- numbers -------------------------------------------------------------------------------------------------------


def unpacked(text, trials):
    return np.frombuffer(base64.b64decode(text), "<f4").reshape(trials, -1)


def test_curves_are_the_datasets_means_and_bands(tmp_path):
    dataset = results.open(synthetic.write_sweep(tmp_path / "run", 32, seeds=3))
    found = curves.of(dataset)
    assert found["epochs"] == list(range(1, 11))
    assert [metric["name"] for metric in found["metrics"]] == ["valid_accuracy", "valid_loss", "train_loss"]
    for metric in found["metrics"]:
        own = dataset[metric["name"]]
        np.testing.assert_allclose(unpacked(metric["mean"], 32), own.mean("seed"), rtol=1e-6)
        np.testing.assert_array_equal(unpacked(metric["low"], 32), own.min("seed"))
        np.testing.assert_array_equal(unpacked(metric["high"], 32), own.max("seed"))


def test_what_does_not_fit_is_left_out_and_said_so_but_never_the_ends_of_the_objective(tmp_path, monkeypatch):
    dataset = results.open(synthetic.write_sweep(tmp_path / "run", 32, seeds=3))
    monkeypatch.setattr(curves, "BUDGET", 32 * 3 * 4)
    found = curves.of(dataset)
    assert (found["epochs"][0], found["epochs"][-1], len(found["epochs"])) == (1, 10, 4)
    assert found["left_out"] == ["valid_loss", "train_loss"]
    kept = dataset.valid_accuracy.sel(epoch=found["epochs"]).mean("seed")
    np.testing.assert_allclose(unpacked(found["metrics"][0]["mean"], 32), kept, rtol=1e-6)


@pytest.mark.parametrize("direction", ["max", "min"])
def test_the_best_so_far_only_gets_better_and_ends_at_the_best(tmp_path, direction):
    scores = [0.5, 0.9, None, 0.2, 0.7]
    grid(tmp_path, zip([0.1, 0.2, 0.3, 0.4, 0.5], scores, strict=True), direction=direction)
    dataset = results.open(tmp_path)
    found = progress.of(dataset, journal.read(tmp_path))
    expected = {"max": ([1.0, 2.0, 5.0], [0.505, 0.905, 0.905]), "min": ([1.0, 4.0, 5.0], [0.505, 0.205, 0.205])}
    assert (found["seconds"], found["best"]) == expected[direction]
    assert found["ended"] == [0, 1, 3, 4], "in the order of their ends, without the failed one"


def test_the_seconds_of_a_resumed_run_go_on(tmp_path):
    with Journal(tmp_path) as writer:
        for session in range(2):
            writer.append({"type": "run", "format": FORMAT, "objective": {"name": "score", "direction": "max"}})
            writer.append({"type": "trial", "trial": f"t{session}", "hparams": {"rate": 0.5 + session}})
            for epoch in (1, 2):
                writer.append({"type": "epoch", "epoch": epoch, "members": [[f"t{session}", 0]], "time": 1.5 * epoch,
                               "metrics": {"score": [session + 0.25 * epoch]}})  # fmt: skip
    found = progress.of(results.open(tmp_path), journal.read(tmp_path))
    assert found["seconds"] == [1.5, 3.0, 4.5, 6.0, 6.0]
    assert found["best"] == [0.25, 0.5, 1.25, 1.5, 1.5]


def test_a_trial_counts_for_the_best_so_far_once_all_its_seeds_have_a_value(tmp_path):
    with Journal(tmp_path) as writer:
        writer.append({"type": "run", "format": FORMAT, "objective": {"name": "score", "direction": "max"}})
        writer.append({"type": "trial", "trial": "a", "hparams": {"rate": 0.5}, "seeds": [0, 1]})
        for seed, value in ((0, 1.0), (1, 0.5)):
            writer.append(
                {
                    "type": "epoch",
                    "epoch": 1,
                    "members": [["a", seed]],
                    "time": 1.0 + seed,
                    "metrics": {"score": [value]},
                }
            )
    assert progress.of(results.open(tmp_path), journal.read(tmp_path))["best"] == [0.75, 0.75]


def test_settings_say_where_a_trial_has_none_and_how_labels_are_written(tmp_path):
    data = read(results.report(synthetic.write_sweep(tmp_path / "run", 32))).data
    settings = {setting["name"]: setting for setting in data["settings"]}
    optimizer, momentum = settings["optimizer"], settings["momentum.momentum"]
    assert (momentum["key"], settings["learning_rate"]["scale"]) == ('"momentum.momentum"', "log")
    for label, number in zip(optimizer["values"], momentum["values"], strict=True):
        assert (optimizer["labels"][label] == "momentum") == (number is not None)


def test_rungs_and_prunings_come_with_their_reasons(tmp_path):
    data = read(results.report(synthetic.write_sweep(tmp_path / "run", 64, rungs=(3,)))).data
    (rung,) = data["rungs"]
    stopped = [v for v in rung["verdicts"] if v["action"] == "stop"]
    (ending,) = [e for e in data["endings"] if e["status"] == "pruned"]
    assert (ending["reason"], ending["members"], ending["steps"]) == (
        "below the median at epoch 3",
        len(stopped),
        [30, 30],
    )
    assert {data["trials"]["id"][trial] for trial in ending["trials"]} == {v["trial"] for v in stopped}


# -- TOML ------------------------------------------------------------------------------------------------------------

plain = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.text(min_size=1), plain, max_size=3))
def test_toml_is_read_back_as_what_was_written(table):
    lines = [f"{asked.toml_key(name)} = {asked.toml_value(value)}" for name, value in table.items()]
    assert tomllib.loads("\n".join(lines)) == table


def test_the_head_of_a_copied_experiment_is_the_runs_own(tmp_path):
    records = journal.read(synthetic.write_sweep(tmp_path / "run", 8, seeds=2))
    head = tomllib.loads(asked.toml_head(records))
    assert head == {"replicates": 2, "experiment": records[0]["experiment"]}


def test_data_in_memory_has_no_head_since_no_file_could_name_it():
    run = {"type": "run", "experiment": {"data": "arrays", "model": "mlp"}}
    assert asked.toml_head([run, {"type": "trial", "trial": "a"}]) == ""


# -- the file ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def nasty(tmp_path):
    """A run in which everything that a user names is markup."""
    run = tmp_path / "<b>run"
    run.mkdir()
    record = synthetic.run_record(2, 1) | {"data": {"name": NASTY}}
    record["experiment"] |= {"model": NASTY, "data": NASTY}
    with Journal(run) as writer:
        writer.append(record)
        for number in range(2):
            choices = {"optimizer": [NASTY, "{{data}} <!-- \u2028"][number]}
            writer.append(
                {"type": "trial", "trial": f"{NASTY}{number}", "hparams": {NASTY: 0.5 + number}, "choices": choices}
            )
            writer.append(
                {
                    "type": "epoch",
                    "epoch": 1,
                    "members": [[f"{NASTY}{number}", 0]],
                    "metrics": {"valid_accuracy": [0.5], NASTY: [1.0]},
                }
            )
            writer.append(
                {
                    "type": "end",
                    "trial": f"{NASTY}{number}",
                    "seed": 0,
                    "status": "failed" if number else "finished",
                    "reason": NASTY,
                }
            )
    return run


def test_names_are_text_and_never_markup(nasty):
    page = read(results.report(nasty))
    assert not [tag for tag, _ in page.tags if tag in ("img", "b")]
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert NASTY in page.content["title"]
    assert page.data["settings"][0]["labels"] == [NASTY, "{{data}} <!-- \u2028"]
    assert page.data["endings"][0]["reason"] == NASTY


def test_the_page_is_one_file_that_its_own_policy_holds_to_itself(tmp_path):
    path = results.report(synthetic.write_sweep(tmp_path / "run", 16))
    page, text = read(path), path.read_text(encoding="utf-8")
    links = [value for _, attrs in page.tags for name, value in attrs.items() if name in ("src", "href", "action")]
    assert not links
    assert not re.search(
        r"@import|url\(|fetch\(|XMLHttpRequest|import\(", page.content["style"] + page.content["script"]
    )
    (policy,) = [attrs["content"] for _, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    for what in ("style", "script"):
        start = text.rindex(f"<{what}>") + len(what) + 2
        inside = text[start : text.index(f"</{what}>", start)]
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{what}-src 'sha256-{digest}'" in policy


def test_numbers_that_json_has_not_are_still_a_page(tmp_path):
    with Journal(tmp_path) as writer:
        writer.append({"type": "run", "format": FORMAT})
        writer.append({"type": "trial", "trial": "a", "hparams": {"learning_rate": 0.1}})
        writer.append({"type": "receipt", "seconds": float("nan"), "busy": float("inf")})
    assert read(results.report(tmp_path)).data["receipt"] == {"type": "receipt", "seconds": "nan", "busy": "inf"}


def test_the_file_is_replaced_whole_and_where_asked(tmp_path):
    run = synthetic.write_sweep(tmp_path / "run", 8)
    before = sorted(path.name for path in run.iterdir())
    assert results.report(run, out=tmp_path / "page.html") == tmp_path / "page.html"
    assert sorted(path.name for path in run.iterdir()) == before
    assert results.report(run) == run / "report.html"
    assert sorted(path.name for path in run.iterdir()) == sorted([*before, "report.html"])
    with pytest.raises(FileNotFoundError, match=r"no folder '.*/nowhere'; expected one that exists"):
        results.report(run, out=tmp_path / "nowhere" / "page.html")


def test_no_file_is_too_large(tmp_path):
    run = synthetic.write_sweep(tmp_path / "run", 5000, epochs=20)
    assert results.report(run).stat().st_size < 8e6


def test_the_command_writes_it_and_says_where(tmp_path, capsys):
    run = synthetic.write_sweep(tmp_path / "run", 8)
    assert cli.main(["report", str(run)]) == 0
    assert capsys.readouterr().out == f"report: {run / 'report.html'}\n"
    assert cli.main(["report", str(run), "--out", str(tmp_path / "other.html")]) == 0
    assert (tmp_path / "other.html").exists()
    assert cli.main(["report", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("jaxopt-intro: error: got ")
    assert len(error.splitlines()) == 1


def test_the_command_opens_it_or_says_that_it_cannot(tmp_path, capsys, monkeypatch):
    run, opened = synthetic.write_sweep(tmp_path / "run", 8), []
    monkeypatch.setattr("webbrowser.open", lambda url: opened.append(url) or True)
    assert cli.main(["report", str(run), "--open"]) == 0
    assert opened == [(run / "report.html").as_uri()]
    monkeypatch.setattr("webbrowser.open", lambda url: False)
    assert cli.main(["report", str(run), "--open"]) == 2
    assert "found no browser" in capsys.readouterr().err
