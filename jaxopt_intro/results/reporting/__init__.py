"""One HTML file that tells what a sweep found: no request leaves it, and nothing has to be installed to read it.

`verdict` says it in words, `payload` gathers the numbers behind the pictures, `page/` is what draws them: an HTML
template, a style sheet and plain JavaScript, put together here.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import re
from importlib import resources
from pathlib import Path
from typing import Any

import xarray as xr

from jaxopt_intro import journal
from jaxopt_intro.results import dataset as datasets
from jaxopt_intro.results.reporting import payload, verdict

NAME = "report.html"
SCRIPTS = (
    "base.js", "state.js", "chart.js", "parallel.js", "filters.js", "table.js", "curves.js", "map.js", "lines.js",
    "facts.js", "main.js",
)  # fmt: skip
RELOAD_SECONDS = 15


def report(run: str | os.PathLike[str] | xr.Dataset, *, out: str | os.PathLike[str] | None = None) -> Path:
    """Writes what a run found as one HTML file, also while the run goes on; such a page reloads itself.

    Args:
        run: The run's directory, or what `results.open` made of it.
        out: The file to write; `report.html` in the run by default.

    Returns:
        The file.

    Raises:
        FileNotFoundError: The directory is no run, or there is no folder to write `out` to.
        ValueError: The journal is damaged, of a newer format, or has no trial yet.

    Examples:
        >>> import tempfile
        >>> directory = tempfile.mkdtemp()
        >>> with journal.Journal(directory) as writer:
        ...     writer.append({"type": "run", "format": journal.FORMAT})
        ...     writer.append({"type": "trial", "trial": "a1", "hparams": {"learning_rate": 0.1}})
        >>> report(directory).read_text().startswith("<!doctype html>")
        True
    """
    run = datasets.directory_of(run)
    records = journal.read(run)
    path = Path(run) / NAME if out is None else Path(out)
    return _write(records, run, path, running=not _over(records) and journal.writer(run) is not None)


def write_report(run: str | os.PathLike[str], *, running: bool, out: str | os.PathLike[str] | None = None) -> Path:
    """Writes the report as `report` does, for a caller who knows whether the run goes on: the sweep itself.

    It takes about as long as reading the journal (5,000 trials of 20 epochs: a second or two), so call it now and then.

    Args:
        run: The run's directory.
        running: Whether the page should say so, and reload itself.
        out: The file to write; `report.html` in the run by default.

    Returns:
        The file.

    Raises:
        FileNotFoundError: The directory is no run, or there is no folder to write `out` to.
        ValueError: The journal is damaged, of a newer format, or has no trial yet.

    Examples:
        >>> import tempfile
        >>> directory = tempfile.mkdtemp()
        >>> with journal.Journal(directory) as writer:
        ...     writer.append({"type": "run", "format": journal.FORMAT})
        ...     writer.append({"type": "trial", "trial": "a1", "hparams": {"learning_rate": 0.1}})
        ...     page = write_report(directory, running=True).read_text()
        >>> 'http-equiv="refresh"' in page
        True
    """
    path = Path(run) / NAME if out is None else Path(out)
    return _write(journal.read(run), run, path, running=running)


def _over(records: list[dict[str, Any]]) -> bool:
    """Whether every member has ended and the receipt is written."""
    asked = {(r["trial"], seed) for r in records if r["type"] == "trial" for seed in r.get("seeds", [0])}
    ended = {(r["trial"], r["seed"]) for r in records if r["type"] == "end"}
    return asked <= ended and any(r["type"] == "receipt" for r in records)


def _write(records: list[dict[str, Any]], run: str | os.PathLike[str], path: Path, *, running: bool) -> Path:
    dataset = datasets.from_records(records, os.fspath(run))
    found = verdict.of(dataset, records, Path(run), running=running)
    data = payload.of(dataset, records, Path(run), running=running)
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"got {str(path)!r} for the report, but there is no folder {str(path.parent)!r}; expected one that exists. "
            "Make it first."
        )
    unfinished = path.with_name(path.name + ".tmp")  # in the same folder, so that the rename is atomic
    unfinished.write_text(_page(found, data, running=running), encoding="utf-8")
    unfinished.replace(path)
    return path


def _page(found: verdict.Verdict, data: dict[str, Any], *, running: bool) -> str:
    """Fills the template in one pass, so that nothing that a user named can stand for a place in it."""
    style = _file("style.css")
    script = '"use strict";\n' + "\n".join(_file(name) for name in SCRIPTS)
    lines = "\n".join(f'<p class="{kind}">{html.escape(text)}</p>' for kind, text in found.lines)
    refresh = f'<noscript><meta http-equiv="refresh" content="{RELOAD_SECONDS}"></noscript>'
    parts = {
        "title": html.escape(found.title),
        "state": html.escape(found.state),
        "kind": found.kind,
        "verdict": lines,
        "refresh": refresh if running else "",
        "policy": f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}",
        "style": style,
        "script": script,
        "data": _json({**data, "reload": RELOAD_SECONDS if running else 0}),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _file("report.html"))


def _file(name: str) -> str:
    return (resources.files(__name__) / "page" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """What the page's policy names a style or script by, so that no other runs."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _json(value: Any) -> str:
    """JSON inside of HTML: no character of it can end the script element or begin a comment."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
