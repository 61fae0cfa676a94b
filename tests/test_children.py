"""Processes of our own started in a folder of somebody else's: nothing that lies there runs."""

from __future__ import annotations

import contextlib
import json
import subprocess
from pathlib import Path

import pytest

import musicgen_bridge
from musicgen_bridge.errors import AudioError
from musicgen_bridge.pipe import command
from musicgen_bridge.ports import audio_devices

PACKAGE = Path(musicgen_bridge.__file__).parent
PLANTED = ("numpy", "torch", "soundfile", "sounddevice", "soxr", "click", "musicgen_bridge")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current folder: a project with modules in it that leave a trace when they run."""
    for name in PLANTED:
        (tmp_path / f"{name}.py").write_text("import pathlib\npathlib.Path(__file__).with_suffix('.ran').touch()\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_processes_run_no_module_of_the_project(project: Path) -> None:
    order = json.dumps({"do": "start", "settings": {"model": "nowhere"}})  # which ends a worker once it has torch
    for process in ("worker", "sound.player", "sound.recorder", "cli"):
        subprocess.run(command(process), input=f"{order}\n", text=True, capture_output=True, check=False)
    with contextlib.suppress(AudioError):  # no PortAudio here
        audio_devices("input")
    assert list(project.glob("*.ran")) == []


def test_no_process_is_started_in_another_way() -> None:
    assert [path.name for path in PACKAGE.rglob("*.py") if "sys.executable" in path.read_text("utf-8")] == ["pipe.py"]
