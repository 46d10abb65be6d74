"""A run in a notebook: a table with curves that are the data's, and a bar that a cell shows."""

from __future__ import annotations

import re
import sys
import types
from xml.etree import ElementTree

import numpy as np
import pytest

from jaxopt_intro import Experiment, Space, log_uniform, results, sweep
from jaxopt_intro.journal import Journal
from jaxopt_intro.results import notebook
from tests.journals import RATES, diverges, grid_trials, run_record, trial, write


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    trials = grid_trials(rates=RATES[1::2], seeds=(0, 1))
    return results.open(write(tmp_path_factory.mktemp("run"), trials, fails=diverges))


def parsed(table):
    return ElementTree.fromstring(table._repr_html_())


def test_the_table_is_what_top_says(dataset):
    html, found = parsed(results.table(dataset, 5)), results.top(dataset, 5)
    rows = html.findall("tbody/tr")
    assert [row.findall("td")[1].text for row in rows] == found["trial"].tolist()
    assert [th.text for th in html.findall("thead/tr/th")] == ["rank", *found.columns, "curve"]
    assert html.find("caption").text == "the best 5 of 32 trials, by valid_accuracy, mean over 2 seeds"
    assert found["trial"].iloc[0] in repr(results.table(dataset, 5))


def test_the_curves_are_the_means_on_one_scale(dataset):
    rows = parsed(results.table(dataset, 32)).findall("tbody/tr")
    trials = results.top(dataset, 32)["trial"].tolist()
    points = [np.array([p.split(",") for p in r.find(".//polyline").get("points").split()], float) for r in rows]
    means = [dataset.valid_accuracy.sel(trial=t).mean("seed").values for t in trials]
    means = [mean[np.isfinite(mean)] for mean in means]
    heights = np.concatenate([p[:, 1] for p in points])
    values = np.concatenate(means)
    assert [len(p) for p in points] == [len(m) for m in means]
    assert np.corrcoef(heights, values)[0, 1] == pytest.approx(-1.0, abs=1e-3), "SVG counts downwards"
    assert 2.0 <= heights.min() < heights.max() <= notebook.HIGH - 2


def test_text_is_escaped_and_an_empty_run_has_no_curve(tmp_path):
    with Journal(tmp_path) as journal:
        journal.append(run_record())
        for label in ("<script>", "a&b"):
            journal.append(trial({"learning_rate": 0.5}, {"optimizer": label}))
    html = results.table(results.open(tmp_path))._repr_html_()
    assert "<script>" not in html
    assert [row.findall("td")[2].text for row in ElementTree.fromstring(html).findall("tbody/tr")] == [
        "<script>",
        "a&b",
    ]
    with pytest.raises(ValueError, match="got k=0"):
        results.table(results.open(tmp_path), 0)


class Display:
    """What IPython would show."""

    def __init__(self, monkeypatch, shell):
        pytest.importorskip("IPython")
        import IPython.core.getipython
        import IPython.display

        self.shown = []
        monkeypatch.setattr(IPython.core.getipython, "get_ipython", lambda: shell)
        monkeypatch.setattr(IPython.display, "display", lambda html, display_id: self.update(html) or self)

    def update(self, html):
        self.shown.append(html.data)


def test_a_bar_is_for_a_kernel_only(monkeypatch):
    assert notebook.listener() is None
    Display(monkeypatch, types.SimpleNamespace())  # IPython on a terminal has no kernel
    assert notebook.listener() is None
    monkeypatch.delitem(sys.modules, "IPython")
    assert notebook.listener() is None


def test_the_bar_follows_the_records(monkeypatch):
    display = Display(monkeypatch, types.SimpleNamespace(kernel=object()))
    listen = notebook.listener()
    listen({"type": "directory", "path": "runs/x"})
    listen(run_record() | {"experiment": {"epochs": 2}})
    listen(trial({"learning_rate": 0.1}, {"optimizer": "<b>"}, name="a"))
    listen({"type": "progress", "group": "", "text": "compiling", "done": 0, "total": 2})
    assert "compiling" in display.shown[-1]
    for epoch in (1, 2):
        metrics = {"valid_accuracy": [0.25 * epoch]}
        listen({"type": "epoch", "epoch": epoch, "members": [["a", 0]], "metrics": metrics, "time": 2.0 * epoch})
    listen({"type": "end", "trial": "a", "seed": 0, "status": "finished", "step": 2, "epoch": 2})
    shown = len(display.shown)
    assert shown <= 4, "not a picture for every record"
    listen({"type": "receipt", "seconds": 5.0})
    assert len(display.shown) == shown + 1
    last = display.shown[-1]
    assert re.search(r'<progress value="1.0000"', last)
    assert "best valid_accuracy of a member 0.5000: &lt;b&gt;, learning_rate 0.1" in last
    assert "finished after 5 s" in last


def test_the_bar_follows_a_sweep(monkeypatch, tmp_path):
    display = Display(monkeypatch, types.SimpleNamespace(kernel=object()))
    trials = Space(learning_rate=log_uniform(1e-3, 1e-1)).grid(2)
    found = sweep(Experiment(data="digits", model="linear", epochs=1), trials, directory=tmp_path / "run")
    assert "2 of 2 members ended, 2 of 2 epochs" in display.shown[-1]
    assert f"best valid_accuracy of a member {found.score.max().item():.4f}" in display.shown[-1]
