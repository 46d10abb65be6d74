"""The report in a real browser: how fast it opens, what it asks for, and what its reader can do without a mouse."""

from __future__ import annotations

import json
import re
import tomllib

import pytest

from jaxopt_intro import results, sweep
from jaxopt_intro.experiment import Experiment, files
from jaxopt_intro.journal import Journal
from tests import chromium, synthetic

pytestmark = pytest.mark.skipif(bool(chromium.no_browser()), reason=chromium.no_browser())

NASTY = "</script><img src=x onerror=alert(1)>"
KEPT = "[...document.querySelectorAll('#table tbody tr')].map((row) => Number(row.dataset.trial))"


@pytest.fixture(scope="module")
def browser():
    with chromium.Browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Reports of sweeps of 32, 500 and 5,000 trials, by their number."""
    folder = tmp_path_factory.mktemp("pages")
    made = {
        32: synthetic.write_sweep(folder / "32", 32, seeds=3),
        500: synthetic.write_sweep(folder / "500", 500, epochs=20, rungs=(3, 9)),
        5000: synthetic.write_sweep(folder / "5000", 5000, epochs=20, optimizers=("adam", "lion", "momentum", "sgd")),
    }
    return {number: results.report(run) for number, run in made.items()}


@pytest.fixture
def page(browser, pages):
    """The report of 32 trials, fresh, in a wide and light window."""
    browser.size(1280, 900)
    browser.scheme("light")
    browser.open(pages[32])
    browser.run("localStorage.clear()")
    browser.open(pages[32])
    yield browser
    assert browser.messages == [], "no error and no warning in the console"


def text(browser, selector):
    return browser.run(f"document.querySelector({json.dumps(selector)}).textContent")


def focus(selector, condition):
    """The script that focuses the first of the elements for which a condition on `own` holds, and returns its id."""
    found = f"[...document.querySelectorAll({json.dumps(selector)})].find((own) => {condition})"
    return f"(() => {{ const found = {found}; found.focus(); return found.id; }})()"


def painted(browser, plot):
    """A picture's pixels as text, so that a change shows."""
    return browser.run(f"document.querySelector('#{plot} canvas').toDataURL()")


@pytest.mark.parametrize("number", [32, 500, 5000])
def test_it_opens_fast_and_asks_for_nothing_but_itself(browser, pages, number):
    seconds = min(browser.open(pages[number]) for _ in range(3))
    assert seconds < 2.0
    assert browser.requests == [pages[number].as_uri()]
    assert browser.messages == []
    assert text(browser, "#count") == f"{number:,} of {number:,} trials shown"


def test_a_real_sweep_has_its_best_first_and_its_toml_trains_that_trial_again(browser, tmp_path):
    asked = {
        "experiment": {"data": "digits", "model": "linear", "epochs": 2},
        "numbers": {"learning_rate": {"log_uniform": [1e-3, 1.0]}, "momentum.momentum": 0.5},
        "choices": {"optimizer": ["momentum", "sgd"]},
        "search": {"points": {"learning_rate": 3}},
    }
    trials = files.trials_of(files.space_of(asked), asked["search"])
    experiment = Experiment(**asked["experiment"])
    dataset = sweep(experiment, trials, replicates=2, directory=tmp_path / "run")
    browser.open(results.report(tmp_path / "run"))
    top = results.top(dataset, 1).iloc[0]
    (tmp_path / "copied.toml").write_text(browser.run("toml(state.kept[0])"))
    tables = files.read(tmp_path / "copied.toml")
    (again,) = files.trials_of(files.space_of(tables), tables.get("search", {}))
    found = sweep(files.from_mapping(tables["experiment"]), [again], tables["replicates"], tmp_path / "again")
    assert found.trial.item() == top["trial"], "the id is a hash of all settings"
    assert results.top(found, 1).iloc[0]["valid_accuracy"] == pytest.approx(top["valid_accuracy"], abs=1e-6)
    assert top["trial"] in text(browser, "#table tbody tr")


def test_a_brush_filters_table_curves_and_the_other_pictures(page):
    before = {plot: painted(page, plot) for plot in ("curves-plot", "lines-plot", "parallel-plot")}
    cells = page.run("document.querySelectorAll('#map .cell title').length")
    box = page.run("document.querySelector('[data-brush=learning_rate]').getBoundingClientRect().toJSON()")
    page.drag(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.95, box["y"] + box["height"] * 0.55)
    kept = page.run("[...state.kept]")
    rates = page.run("[...state.kept].map((trial) => axes.get('learning_rate').values[trial])")
    assert 0 < len(kept) < 32
    assert max(rates) < 0.02, "the lower half of a logarithmic axis from 1e-4 to 1"
    assert page.run(KEPT) == kept[:25]
    assert text(page, "#count") == f"{len(kept)} of 32 trials shown"
    assert "learning_rate from" in text(page, "#filter-words")
    for plot, pixels in before.items():
        assert painted(page, plot) != pixels, plot
    assert page.run("document.querySelectorAll('#map .cell title').length") == cells
    page.run("document.getElementById('clear').click()")
    page.drawn()
    assert len(page.run("[...state.kept]")) == 32
    assert painted(page, "curves-plot") == before["curves-plot"]


def test_sliders_and_boxes_filter_without_a_mouse(page):
    page.run("document.querySelector('#filters summary').focus()")
    page.key("Enter")
    assert page.run("document.getElementById('filters').open")
    lower = page.run(focus("#filters input[type=range]", "own.getAttribute('aria-label') === 'learning_rate: from'"))
    for _ in range(10):
        page.key("ArrowRight")
    page.drawn()
    known = page.run("[...axes.get('learning_rate').known]")
    assert sorted(page.run("[...state.kept].map((trial) => axes.get('learning_rate').values[trial])")) == known[10:]
    assert page.run(f"document.getElementById('{lower}').getAttribute('aria-valuetext')")
    page.run(focus("#filters input[type=checkbox]", "own.closest('fieldset').textContent.startsWith('optimizer')"))
    page.key(" ")
    page.drawn()
    assert page.run("[...state.kept].every((trial) => axes.get('optimizer').values[trial] !== 0)")


@pytest.mark.parametrize("name", ["learning_rate", "optimizer", "valid_accuracy"])
def test_the_table_is_sorted_by_a_column_with_the_keyboard(page, name):
    page.run(focus("#table th button", f"own.textContent === '{name}'"))
    axis = f"axes.get('{name}')"
    values = f"{KEPT}.map((trial) => label({axis}, {axis}.values[trial])).filter((own) => own !== 'none')"
    if name != "optimizer":
        values = f"{KEPT}.map((trial) => {axis}.values[trial]).filter((own) => own === own)"
    page.key("Enter")
    up = page.run(values)
    assert up == sorted(up)
    assert len(set(up)) > 1
    assert page.run("document.activeElement.closest('th').getAttribute('aria-sort')") == "ascending"
    page.key("Enter")
    down = page.run(values)
    assert down == sorted(down, reverse=True)
    assert page.run("document.activeElement.closest('th').getAttribute('aria-sort')") == "descending"


def test_a_pinned_trial_is_drawn_in_all_pictures(page):
    empty = page.run("document.querySelectorAll('#curves-plot canvas')[1].toDataURL()")
    page.run("document.querySelector('#table .pin').focus()")
    page.key("Enter")
    page.drawn()
    assert page.run("document.querySelector('#table .pin').getAttribute('aria-pressed')") == "true"
    for plot in ("curves-plot", "parallel-plot", "lines-plot"):
        assert page.run(f"document.querySelectorAll('#{plot} canvas')[1].toDataURL()") != empty, plot
    page.key("Enter")
    page.drawn()
    assert page.run("document.querySelectorAll('#curves-plot canvas')[1].toDataURL()") == empty


@pytest.mark.parametrize("row", [0, 3, 20])
def test_the_copied_toml_is_valid_and_has_the_settings_of_its_row(page, row):
    page.run("navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); }")
    page.run(f"document.querySelectorAll('#table .copy')[{row}].focus()")
    page.key("Enter")
    page.wait("window.copied")
    tables = tomllib.loads(page.run("window.copied"))
    trial = page.run(KEPT)[row]
    data = page.run("data")
    for setting in data["settings"]:
        value = setting["values"][trial]
        own = tables["choices" if setting["choice"] else "numbers"]
        if value is None:
            assert setting["name"] not in own
        else:
            assert own[setting["name"]] == ([setting["labels"][value]] if setting["choice"] else value)
    assert tables["experiment"] == data["experiment"]
    assert tables["replicates"] == 3
    assert data["trials"]["id"][trial] in text(page, "#said")
    assert tomllib.loads(text(page, "#toml")) == tables


def test_the_heat_map_is_walked_with_arrows_and_enter_filters(page):
    page.run("document.querySelector('#map .cell[tabindex=\"0\"]').focus()")
    for key in ("ArrowRight", "ArrowUp", "ArrowRight"):
        page.key(key)
    number = page.run("Number(document.activeElement.dataset.number)")
    assert number == 12, "two to the right and one row up, in rows of 10"
    best = page.run("Number(document.querySelector('#map .cell.best').dataset.number)")
    page.run(
        f"document.querySelector('#map .cell.best').focus(); document.querySelector('[data-number=\"{best}\"]').focus()"
    )
    page.key("Enter")
    page.drawn()
    kept = page.run("[...state.kept].map((trial) => trials.rank[trial])")
    assert kept[0] == 1
    assert len(kept) < 6


def test_dark_follows_the_reader_and_the_switch_is_remembered(page, pages):
    def background():
        return page.run("getComputedStyle(document.body).backgroundColor")

    light, pixels = background(), painted(page, "parallel-plot")
    page.scheme("dark")
    page.drawn()
    dark = background()
    assert dark != light
    assert painted(page, "parallel-plot") != pixels, "the pictures change too"
    assert text(page, "#theme") == "Light mode"
    page.run("document.getElementById('theme').focus()")
    page.key("Enter")
    assert background() == light
    page.open(pages[32])
    assert background() == light
    page.run("localStorage.clear()")


CONTRAST = """(() => {
  const linear = (own) => own <= 0.04045 ? own / 12.92 : ((own + 0.055) / 1.055) ** 2.4;
  const light = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map((own) => linear(Number(own) / 255))
    .reduce((sum, own, at) => sum + own * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (node) => {
    const colour = getComputedStyle(node).backgroundColor;
    return colour === "rgba(0, 0, 0, 0)" ? behind(node.parentElement) : colour;
  };
  const nodes = document.querySelectorAll("p, h1, h2, td, th button, dt, dd, label, summary, li, code");
  return [...nodes].filter((node) => node.offsetParent && node.textContent.trim()).map((node) => {
    const [a, b] = [light(getComputedStyle(node).color), light(behind(node))].sort((x, y) => y - x);
    return [(a + 0.05) / (b + 0.05), node.textContent.slice(0, 40)];
  }).sort(([a], [b]) => a - b)[0];
})()"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read(page, scheme):
    """WCAG 2.2, success criterion 1.4.3: a contrast of at least 4.5."""
    page.scheme(scheme)
    page.drawn()
    least, where = page.run(CONTRAST)
    assert least >= 4.5, where


@pytest.mark.parametrize("number", [32, 500, 5000])
def test_a_phone_needs_no_scrolling_sideways(browser, pages, number):
    browser.size(360, 740)
    browser.open(pages[number])
    browser.run("document.querySelectorAll('details').forEach((own) => { own.open = true; })")
    browser.drawn()
    assert browser.run("document.documentElement.scrollWidth") == 360
    outside = """[...document.querySelectorAll('body *')].filter((node) => !node.closest('.scroller, pre, .aside, svg')
      && node.getBoundingClientRect().right > 361).map((node) => node.outerHTML.slice(0, 80))"""
    assert browser.run(outside) == []
    browser.size(1280, 900)


def test_every_control_is_reached_by_tab_and_shows_it(page):
    page.run("document.activeElement.blur(); scrollTo(0, 0)")
    seen = []
    for _ in range(16):
        page.key("Tab")
        own = "document.activeElement"
        name, outline = page.run(f"[{own}.id || {own}.className, getComputedStyle({own}).outlineStyle]")
        seen.append(name)
        assert outline == "solid", name
    assert {"theme", "sort-0", "sort-1"} <= set(seen)
    assert "pin" in " ".join(seen)


def test_rungs_and_failures_are_shown_with_their_reasons(browser, pages):
    browser.open(pages[500])
    assert "below the median at epoch 3" in text(browser, "#rungs")
    entered = [
        int(row)
        for row in browser.run(
            "[...document.querySelectorAll('#rungs tbody tr')].map((row) => row.children[2].textContent)"
        )
    ]
    assert entered[0] > entered[1] > 0
    assert "a loss or parameter became NaN or infinite" in text(browser, "#endings")
    assert re.search(r"learning_rate 0\.4\d* to 0\.9\d*", text(browser, "#endings")), "where the failures lie"
    assert "73,911 examples/s" in text(browser, "#receipt")


def test_names_that_are_markup_stay_text(browser, tmp_path):
    run = tmp_path / "run"
    record = synthetic.run_record(40, 1)
    record["experiment"] |= {"model": NASTY}
    with Journal(run) as writer:
        writer.append(record)
        for number in range(40):
            trial = f"{number}{NASTY}"
            hparams = {NASTY: 0.5 + number, "l2": 1.0 + number % 3}
            writer.append(
                {
                    "type": "trial",
                    "trial": trial,
                    "hparams": hparams,
                    "choices": {"optimizer": ["adam", NASTY][number % 2]},
                }
            )
            writer.append(
                {
                    "type": "epoch",
                    "epoch": 1,
                    "members": [[trial, 0]],
                    "metrics": {"valid_accuracy": [0.01 * number], NASTY: [1.0]},
                }
            )
            status = "failed" if number < 3 else "finished"
            writer.append({"type": "end", "trial": trial, "seed": 0, "status": status, "reason": NASTY})
    (run / "experiment.toml").write_text(f"# {NASTY}\n")
    browser.open(results.report(run))
    assert browser.run("document.querySelectorAll('img').length") == 0
    assert browser.messages == []
    assert len(browser.requests) == 1
    assert NASTY in text(browser, "#table tbody")
    assert NASTY in text(browser, "#endings")
    tables = tomllib.loads(browser.run("toml(state.kept[0])"))
    assert tables["choices"] == {"optimizer": [NASTY]}
    assert tables["numbers"] == {NASTY: 39.5, "l2": 1.0}


def test_a_running_sweep_reloads_and_finds_its_way_back(browser, tmp_path):
    run = synthetic.write_sweep(tmp_path / "run", 200, seeds=2, until=0.5)
    path = results.write_report(run, running=True)
    path.write_text(path.read_text().replace('"reload":15', '"reload":1.5'))  # so that no test waits for 15 s
    browser.open(path)
    browser.run("window.before = true; setFilter('l2', {low: 1e-5, high: Infinity}); pin(3)")
    browser.wait(f"!window.before && {chromium.READY}")
    browser.run("document.getElementById('pause').click(); window.before = true")
    assert browser.run("[state.filters.get('l2').low, ...state.pinned]") == [1e-5, 3]
    browser.run("new Promise((done) => setTimeout(done, 2000))")
    assert browser.run("window.before"), "paused"
    assert "Running" in text(browser, "#state")


def test_a_run_without_any_score_still_opens(browser, tmp_path):
    with Journal(tmp_path / "run") as writer:
        writer.append(synthetic.run_record(1, 1))
        writer.append({"type": "trial", "trial": "a", "hparams": {"learning_rate": 0.1}})
    browser.open(results.report(tmp_path / "run"))
    assert browser.messages == []
    assert "No trial has a score yet" in text(browser, "#verdict")
