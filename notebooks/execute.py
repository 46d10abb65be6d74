"""Makes the notebooks from their texts, executed, with the outputs that are committed.

python notebooks/execute.py                  all of them
python notebooks/execute.py 03_losses        one
JAXOPT_INTRO_SIZE=full python notebooks/execute.py --no-write 03_losses

The text, `NAME.py`, is what is edited. The solutions of the exercises are run after the cells, in the same kernel, so
that they stay right; their outputs are not kept, nor those of cells with the tag `not-committed`.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

HERE = Path(__file__).parent
NOT_COMMITTED = "not-committed"
SOLUTION = re.compile(r"<details>.*?</details>", re.DOTALL)
CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)


def texts(names: list[str] | None = None) -> list[Path]:
    """The texts of the notebooks, all or those of some names."""
    every = sorted(HERE.glob("[0-9][0-9]_*.py"))
    if not names:
        return every
    known = {path.stem: path for path in every}
    for name in names:
        if Path(name).stem not in known:
            raise ValueError(f"got {name!r}; expected some of {', '.join(known)}.")
    return [known[Path(name).stem] for name in names]


def solutions(notebook: Any) -> list[str]:
    """The code of the solutions that are folded away."""
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return [code for folded in SOLUTION.findall(prose) for code in CODE.findall(folded)]


def read(path: Path) -> Any:
    """The notebook of a text, without outputs. What would change with each making is left out."""
    notebook = jupytext.read(path)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
    jupytext_version = notebook.metadata.get("jupytext", {})
    notebook.metadata["jupytext"] = {"formats": jupytext_version.get("formats", "ipynb,py:percent")}
    return notebook


def execute(path: Path, timeout: float = 3600.0) -> Any:
    """Runs a notebook, and its solutions.

    Args:
        path: Its text.
        timeout: How many seconds a cell may take.

    Returns:
        The notebook with its outputs.

    Raises:
        CellExecutionError: A cell, or a solution, raised an error.
    """
    notebook = read(path)
    os.environ.pop("MPLBACKEND", None)  # the kernel's own shows figures
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # no alarms of XLA's about a slow machine
    written = len(notebook.cells)
    notebook.cells += [nbformat.v4.new_code_cell(code) for code in solutions(notebook)]
    where = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=timeout, kernel_name="python3", resources=where).execute()
    del notebook.cells[written:]
    return _cleaned(notebook)


def _cleaned(notebook: Any) -> Any:
    """Without the times of a run, and without what must not be handed on."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code" and NOT_COMMITTED in cell.metadata.get("tags", []):
            cell.outputs = []
    notebook.metadata["language_info"] = {"name": "python"}
    return notebook


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="03_losses, …: all of them without a name")
    parser.add_argument("--no-write", action="store_true", help="execute, and leave the files as they are")
    asked = parser.parse_args()
    failed = 0
    for path in texts(asked.names):
        begin = time.perf_counter()
        try:
            notebook = execute(path)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            print(f"{path.stem}: failed\n{error}", flush=True)
            failed += 1
            continue
        if not asked.no_write:
            nbformat.write(notebook, path.with_suffix(".ipynb"))
        print(f"{path.stem}: {time.perf_counter() - begin:.0f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
