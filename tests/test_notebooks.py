"""The course: each notebook is its text, executed; it can be read, its links lead somewhere, and it runs."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import jupytext
import pytest

HERE = Path(__file__).parents[1] / "notebooks"
TEXTS = sorted(HERE.glob("[0-9][0-9]_*.py"))
QUICK = ["03_losses"]
"""Those that are executed with the other tests; `pytest -m long` executes all."""
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
ARXIV = re.compile(r"https://arxiv\.org/abs/\d{4}\.\d{4,5}")

every = pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def execute():
    spec = importlib.util.spec_from_file_location("execute", HERE / "execute.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def prose(notebook):
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def committed(text):
    return jupytext.read(text.with_suffix(".ipynb"))


def test_there_are_twelve():
    assert [path.stem[:2] for path in TEXTS] == [f"{n:02}" for n in range(1, 13)]


@every
def test_a_notebook_is_its_text_executed_from_top_to_bottom(text, execute):
    written, notebook = execute.read(text), committed(text)
    assert [(c.cell_type, c.source) for c in notebook.cells] == [(c.cell_type, c.source) for c in written.cells]
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    kinds = {output.output_type for cell in code for output in cell.outputs}
    assert "error" not in kinds
    assert any("image/png" in output.get("data", {}) for cell in code for output in cell.outputs), "no figure"


@every
def test_what_is_committed_can_be_handed_on(text):
    raw = text.with_suffix(".ipynb").read_text()
    assert len(raw) < 2_000_000
    outputs = json.dumps([c.get("outputs", []) for c in json.loads(raw)["cells"]])
    for secret in ("/root/", "/home/", "/tmp/", "Traceback", "Warning"):
        assert secret not in outputs
    for cell in committed(text).cells:
        if "not-committed" in cell.metadata.get("tags", []):
            assert cell.outputs == []


@every
def test_a_notebook_opens_with_what_is_learned_and_ends_with_exercises(text, execute):
    notebook = execute.read(text)
    first, install, sizes = notebook.cells[:3]
    assert first.source.startswith(f"# {int(text.stem[:2])}. ")
    assert "\n- " in first.source, "a list of what is learned"
    assert 'importlib.util.find_spec("jaxopt_intro")' in install.source
    assert 'SIZE = os.environ.get("JAXOPT_INTRO_SIZE", "small")' in sizes.source
    assert any("assert " in cell.source for cell in notebook.cells if cell.cell_type == "code")
    last = prose(notebook).split("\n## ")[-1]
    assert last.startswith("Exercises")
    count = len(re.findall(r"<details>\s*<summary>Solution \d</summary>", last))
    assert 3 <= count <= 6
    assert last.count("</details>") == count
    assert execute.solutions(notebook), "no solution has code"


@every
def test_links_lead_somewhere(text, execute):
    for link in LINK.findall(prose(execute.read(text))):
        if link.startswith("https://arxiv.org/"):
            assert ARXIV.fullmatch(link), link
        elif not link.startswith(("https://", "#")):
            assert (HERE / link.partition("#")[0]).exists(), link


def test_the_list_of_the_lecture_leads_to_headings(execute):
    texts = {path.stem: prose(execute.read(path)) for path in TEXTS}
    rows = (HERE / "README.md").read_text()
    for name in texts:
        assert f"({name}.ipynb)" in rows
    for link in LINK.findall(rows):
        assert link.startswith("https://") or (HERE / link.partition("#")[0]).exists(), link


@pytest.mark.parametrize("name", QUICK)
def test_a_notebook_runs(name, execute, monkeypatch):
    run(name, execute, monkeypatch)


@pytest.mark.long
@every
def test_every_notebook_runs(text, execute, monkeypatch):
    run(text.stem, execute, monkeypatch)


def run(name, execute, monkeypatch):
    monkeypatch.setenv("JAXOPT_INTRO_SIZE", "small")
    monkeypatch.setenv("XLA_FLAGS", "")  # a reader has one device, and programs as fast as they come
    notebook = execute.execute(HERE / f"{name}.py", timeout=600)
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
