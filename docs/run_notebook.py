"""Runs demo.ipynb and writes it back with its pictures, without sound: python docs/run_notebook.py."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

NOTEBOOK = Path(__file__).with_name("demo.ipynb")


def executed(folder: Path) -> NotebookNode:
    """Return the notebook, run by a kernel of its own in `folder`; raises CellExecutionError where a cell fails."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.update(outputs=[], execution_count=None)
    metadata = dict(notebook.metadata)
    client = NotebookClient(
        notebook, kernel_name="python3", resources={"metadata": {"path": str(folder)}}, record_timing=False
    )
    client.execute(env={**os.environ, "IPYTHONDIR": str(folder / ".ipython")})
    notebook.metadata = NotebookNode(metadata)  # the kernel has put this Python's version there
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if _is_kept(output)]
    return notebook


def _is_kept(output: NotebookNode) -> bool:
    """Neither a player nor what a library tells on stderr, as matplotlib does where it first looks for fonts."""
    return "<audio" not in output.get("data", {}).get("text/html", "") and output.get("name") != "stderr"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(executed(Path(folder)), NOTEBOOK)
