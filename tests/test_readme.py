"""Every Python block of the README and of CONTRIBUTING runs as it stands, in a folder of its own."""

import re
from pathlib import Path

import matplotlib
import pytest

ROOT = Path(__file__).parents[1]


def blocks(name: str) -> list[tuple[str, str]]:
    text = (ROOT / name).read_text()
    found = re.findall(r"^#+ ([^\n]*)\n|^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    heading, pairs = name, []
    for title, code in found:
        heading = title or heading
        if code:
            pairs.append((f"{name}: {heading}", code))
    return pairs


BLOCKS = blocks("README.md") + blocks("CONTRIBUTING.md")


@pytest.mark.parametrize("code", [code for _, code in BLOCKS], ids=[title for title, _ in BLOCKS])
def test_block_runs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    matplotlib.use("agg")
    exec(compile(code, "<block>", "exec"), {"__name__": "__main__"})


def test_readme_has_its_programs():
    titles = [title for title, _ in BLOCKS]
    assert sum(title.startswith("README.md") for title in titles) == 11


def test_links_lead_somewhere():
    for name in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#]+)", (ROOT / name).read_text()):
            assert target.startswith("http") or (ROOT / target).exists(), f"{name} links to {target}"
