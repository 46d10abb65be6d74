"""A run in a notebook: its table with small curves, and a bar while it goes on."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from jaxopt_intro.results.progress import Progress, advance, lines
from jaxopt_intro.results.ranking import top

WIDE, HIGH = 90, 22  # of a small curve, in pixels
EVERY = 0.5  # seconds between two pictures of a bar


class Table(NamedTuple):
    """The best trials of a run, which a notebook shows with their learning curves; `print` gives plain text.

    Attributes:
        dataset: What `results.open` returned.
        k: How many trials at most.
    """

    dataset: xr.Dataset
    k: int

    def __repr__(self) -> str:
        return f"{_caption(self)}\n{top(self.dataset, self.k).to_string(float_format='{:.4g}'.format)}"

    def _repr_html_(self) -> str:
        found = top(self.dataset, self.k)
        head = "".join(f"<th>{html.escape(str(name))}</th>" for name in ("rank", *found, "curve"))
        curves = _curves(self.dataset, found["trial"].tolist())
        rows = [
            "<tr>"
            + "".join(f"<td>{html.escape(_cell(value))}</td>" for value in (rank, *row))
            + f"<td>{curve}</td></tr>"
            for (rank, row), curve in zip(found.iterrows(), curves, strict=True)
        ]
        caption = f'<caption style="text-align: left">{html.escape(_caption(self))}</caption>'
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def table(dataset: xr.Dataset, k: int = 10) -> Table:
    """Returns the best trials as a notebook shows them: a row each, with its learning curve.

    Args:
        dataset: What `results.open` returned.
        k: How many trials at most.

    Returns:
        The last expression of a cell is shown as a table; `print(...)` is plain text.

    Raises:
        ValueError: `k < 1`.
    """
    top(dataset, k)  # now, and not when the notebook asks for its picture
    return Table(dataset, k)


def _caption(asked: Table) -> str:
    total, objective = asked.dataset.sizes["trial"], asked.dataset.attrs["objective"]
    seeds = f", mean over {asked.dataset.sizes['seed']} seeds" if asked.dataset.sizes["seed"] > 1 else ""
    changed = f" ({asked.dataset.attrs['changed']})" if asked.dataset.attrs.get("changed") else ""
    return f"the best {min(asked.k, total)} of {total} trials, by {objective}{seeds}{changed}"


def _cell(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else f"{value:.4g}"
    return str(value)


def _curves(dataset: xr.Dataset, trials: list[str]) -> list[str]:
    """The objective of each trial over the epochs as inline SVG, all on one scale."""
    values = dataset[dataset.attrs["objective"]].sel(trial=trials).transpose("trial", "seed", "epoch").values
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(1)
    mean = np.where(known.any(1), total / np.maximum(known.sum(1), 1), np.nan)
    finite = mean[np.isfinite(mean)]
    low, span = (finite.min(), np.ptp(finite)) if len(finite) else (0.0, 0.0)
    return [_svg(curve, float(low), float(span) or 1.0) for curve in mean]


def _svg(curve: np.ndarray, low: float, span: float) -> str:
    at = np.flatnonzero(np.isfinite(curve))
    across = 2 + (WIDE - 4) * at / max(len(curve) - 1, 1)
    down = 2 + (HIGH - 4) * (1 - (curve[at] - low) / span)
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True))
    dot = f'<circle cx="{across[-1]:.1f}" cy="{down[-1]:.1f}" r="2" fill="currentColor"/>' if len(at) else ""
    return (
        f'<svg width="{WIDE}" height="{HIGH}" role="img" aria-label="learning curve">'
        f'<polyline points="{points}" fill="none" stroke="currentColor" stroke-width="1.3"/>{dot}</svg>'
    )


def listener() -> Callable[[Mapping[str, Any]], None] | None:
    """Returns a listener for `sweep` that shows a live bar in the cell, or None where there is no notebook.

    Examples:
        >>> listener() is None
        True
    """
    if "IPython" not in sys.modules:
        return None
    from IPython.core.getipython import get_ipython

    return Bar() if hasattr(get_ipython(), "kernel") else None


class Bar:
    """A bar in a notebook's cell, told of every record of a run."""

    def __init__(self) -> None:
        from IPython.display import HTML, display

        self._html, self._progress, self._doing = HTML, Progress(), "starting"
        self._shown = time.monotonic()
        self._handle: Any = display(HTML(self._text()), display_id=True)

    def __call__(self, record: Mapping[str, Any]) -> None:
        """Takes a record of the journal, or progress."""
        self._progress = advance(self._progress, [record])
        doing = {"progress": record.get("text", ""), "epoch": "training", "receipt": ""}.get(
            record["type"], self._doing
        )
        news, self._doing = doing != self._doing, doing
        if news or record["type"] == "receipt" or time.monotonic() - self._shown > EVERY:
            self._shown = time.monotonic()
            self._handle.update(self._html(self._text()))

    def _text(self) -> str:
        words = "<br>".join(
            map(html.escape, [self._doing, *lines(self._progress)] if self._doing else lines(self._progress))
        )
        return f'<progress value="{self._progress.share:.4f}" max="1" style="width: 20em"></progress><br>{words}'
