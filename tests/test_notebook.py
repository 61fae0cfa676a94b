"""docs/demo.ipynb: it runs from beginning to end, writes what it says, and stands there as it last ran."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import nbformat
import pytest
import torch
from nbformat import NotebookNode

from musicgen_bridge import audio_read

ROOT = Path(__file__).parents[1]
COMMITTED = nbformat.read(ROOT / "docs" / "demo.ipynb", as_version=4)
RATE = 32_000
AUDIO = {".wav", ".flac", ".mp3", ".ogg"}

spec = importlib.util.spec_from_file_location("run_notebook", ROOT / "docs" / "run_notebook.py")
assert spec is not None and spec.loader is not None
run_notebook = importlib.util.module_from_spec(spec)
spec.loader.exec_module(run_notebook)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("notebook")


@pytest.fixture(scope="module")
def ran(folder: Path) -> NotebookNode:
    """The notebook as it ran in the folder; a cell that fails raises here."""
    return run_notebook.executed(folder)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cell: NotebookNode) -> list[str]:
    """What a cell put out: the kinds of its pictures, and its words with the numbers that another CPU may change."""
    return [re.sub(r"[\d.]+", "0", output.get("text", "")) or " ".join(sorted(output.data)) for output in cell.outputs]


def test_every_cell_runs_in_order(ran: NotebookNode) -> None:
    cells = code_cells(ran)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert [cell.id for cell in cells if any(output.output_type == "error" for output in cell.outputs)] == []


def test_it_stands_there_as_it_ran(ran: NotebookNode) -> None:
    """Each cell puts out words and pictures of the same kinds; numbers and pixels are those of one CPU."""
    now = {cell.id: (cell.execution_count, shown(cell)) for cell in code_cells(ran)}
    then = {cell.id: (cell.execution_count, shown(cell)) for cell in code_cells(COMMITTED)}
    assert then == now, "run: python docs/run_notebook.py"
    assert sum("image/png" in kinds for _, outputs in then.values() for kinds in outputs) == 9


def test_nothing_of_a_machine_and_no_sound_stands_in_it() -> None:
    text = (ROOT / "docs" / "demo.ipynb").read_text("utf-8")
    assert len(text) < 200_000
    assert "<audio" not in text and "<IPython" not in text
    assert set(COMMITTED.metadata) == {"kernelspec", "language_info"}
    assert set(COMMITTED.metadata.language_info) == {"name"}
    assert [cell.id for cell in COMMITTED.cells if cell.metadata] == []


@pytest.mark.usefixtures("ran")
def test_the_files_are_written(folder: Path) -> None:
    names = {path.relative_to(folder).as_posix() for path in folder.glob("**/*") if path.suffix in AUDIO}
    assert names == {
        "tune.wav",
        "takes/temperature-0.3.wav",
        "takes/temperature-1.0.wav",
        "takes/temperature-1.8.wav",
        "takes/continued.flac",
        "takes/continued.mp3",
        "takes/continued.ogg",
    }
    for name in names:
        wav, rate = audio_read(folder / name)
        assert (list(wav.shape), rate) == ([1, 3 * RATE], RATE), name
        assert wav.abs().max() > 0.1, name


@pytest.mark.usefixtures("ran")
def test_another_temperature_is_another_take(folder: Path) -> None:
    cold, usual, hot = (audio_read(folder / "takes" / f"temperature-{value}.wav")[0] for value in (0.3, 1.0, 1.8))
    assert not torch.allclose(cold, usual, atol=0.05)
    assert not torch.allclose(usual, hot, atol=0.05)
