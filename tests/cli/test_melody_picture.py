"""The picture of a melody: its bars are the notes that were played, and the command that draws it."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile

from musicgen_bridge.asking.keys import Value
from musicgen_bridge.cli.melody_picture import picture, to_svg
from musicgen_bridge.errors import AudioError, ModelError, PathError
from musicgen_bridge.pitch import PITCH_CLASSES
from musicgen_bridge.settings import Settings
from tests.cli.shell import run

RATE = 44_100
TUNE = ("E", "B", "G#", "F")
SECONDS = 1.5
"""Of each note."""


@pytest.fixture
def tune(tmp_path: Path) -> Path:
    """Four notes over a low drone in C, which the lead leaves out."""
    times = np.arange(round(SECONDS * RATE)) / RATE
    pitches = [440 * 2 ** ((60 + PITCH_CLASSES.index(note) - 69) / 12) for note in TUNE]
    lead = np.concatenate([0.15 * np.sin(2 * np.pi * pitch * times) for pitch in pitches])
    drone = 0.6 * np.sin(2 * np.pi * 130.81 * np.arange(len(lead)) / RATE)
    path = tmp_path / "my <tune>.wav"
    soundfile.write(path, np.stack([lead + drone] * 2, axis=1), RATE)
    return path


def bars(svg: bytes) -> list[tuple[str, float]]:
    """Return the note and the second of each bar, from its tooltip."""
    titles = [one.text or "" for one in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}title")]
    return [(name, float(at)) for name, at in (re.fullmatch(r"(\S+), (\S+) s", one).groups() for one in titles)]


def test_a_class_that_goes_on_is_one_bar_at_its_place() -> None:
    svg = to_svg(np.array([4, 4, 11, 4]), 0.5, 1.9, 10.0, "a <b> & c")
    assert bars(svg) == [("E", 10.0), ("B", 11.0), ("E", 11.5)]
    drawn = [one for one in ElementTree.fromstring(svg) if one.get("rx")]
    lengths = [float(one.get("width")) for one in drawn]
    assert lengths == pytest.approx([1200 / 1.9, 600 / 1.9, 1200 * 0.4 / 1.9], abs=0.01)
    assert float(drawn[1].get("y")) < float(drawn[0].get("y"))  # B stands above E
    assert "a <b> & c" in [one.text for one in ElementTree.fromstring(svg)]


def test_the_command_draws_the_tune_beside_the_recording(tune: Path) -> None:
    ran = run("chroma", tune)
    assert ran.returncode == 0, ran.stderr
    path = Path(ran.stdout.strip())
    assert path == tune.with_name("my <tune>.melody.svg")
    found = bars(path.read_bytes())
    assert [name for name, _ in found] == list(TUNE)
    assert np.abs(np.array([at for _, at in found]) - SECONDS * np.arange(4)).max() < 0.2


def drawn(recording: Path, out: Path | None = None, **values: Value) -> Path:
    return picture(Settings(), {"melody": str(recording), **values}, out)


def test_another_part_and_section_in_another_folder(tune: Path) -> None:
    path = drawn(tune, tune.parent / "new", melody_part="all", melody_start=1.5, melody_end=3.0)
    assert path.parent == tune.parent / "new"
    assert {name for name, _ in bars(path.read_bytes())} == {"C"}  # the drone is louder


def test_nothing_is_overwritten(tune: Path) -> None:
    mine = tune.with_name("my <tune>.melody.svg")
    mine.write_text("mine")
    assert drawn(tune, melody_start=4.6).name == "my <tune>.melody-2.svg"
    assert mine.read_text() == "mine"


def test_what_is_no_melody_is_refused(tune: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"hf download|models pull"):
        drawn(tune, melody_part="vocals")
    with pytest.raises(PathError):
        drawn(tmp_path / "nowhere.wav")
    with pytest.raises(AudioError):
        drawn(tune, melody_start=7.0)
