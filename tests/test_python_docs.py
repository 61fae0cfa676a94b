"""docs/python.md: Audiocraft's example runs as it stands there, and the table names what there is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import musicgen_bridge
from musicgen_bridge import MusicGen, audio_read, audio_write
from musicgen_bridge.settings import STARTER

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "python.md").read_text("utf-8")
(EXAMPLE,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
ROWS = [re.split(r" *\| *", line.strip("| ")) for line in PAGE.splitlines() if line.startswith("| ")][1:]
TESTS = [row[2].strip("`") for row in ROWS]


@pytest.fixture
def bach(tmp_path: Path) -> Path:
    """A folder with the recording that the example reads: three tones of a second."""
    (tmp_path / "assets").mkdir()
    hertz = torch.tensor([262.0, 330.0, 392.0]).repeat_interleave(32_000)
    wav = 0.5 * torch.sin(2 * torch.pi * torch.cumsum(hertz / 32_000, 0))
    audio_write(tmp_path / "assets" / "bach", wav, 32_000, "mp3")
    return tmp_path


def test_the_example_runs(bach: Path) -> None:
    """The published melody model's name leads to the one that ships, as a user may configure it."""
    config = bach / "config.toml"
    config.write_text(f"[models]\n'facebook/musicgen-melody' = '{STARTER}'\n", "utf-8")
    code = f"""
from pathlib import Path
from musicgen_bridge import settings
settings.config_file = lambda: Path({str(config)!r})
{EXAMPLE}
assert list(wav.shape) == [3, 1, 8 * 32_000], wav.shape
"""
    environment = {**os.environ, "MUSICGEN_BRIDGE_DTYPE": "float32"}
    run = subprocess.run([sys.executable, "-c", code], cwd=bach, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    for index in range(3):
        wav, rate = audio_read(bach / f"{index}.wav")
        assert (list(wav.shape), rate) == ([1, 256_000], 32_000)
        assert wav.abs().max() > 0.1


def test_without_the_melody_it_runs_on_the_debug_model(bach: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bach)
    with pytest.raises(RuntimeError, match="doesn't support melody"):
        exec(EXAMPLE.replace("facebook/musicgen-melody", "debug"), {})
    words = re.sub(r"melody, sr = .*?sr\)\n", "", EXAMPLE, flags=re.DOTALL)
    exec(words.replace("facebook/musicgen-melody", "debug"), {})
    assert sorted(path.name for path in bach.glob("*.wav")) == ["0.wav", "1.wav", "2.wav"]


@pytest.mark.parametrize("test", TESTS)
def test_every_test_of_the_table_exists(test: str) -> None:
    file, name = test.split("::")
    assert f"def {name}(" in (ROOT / "tests" / file).read_text("utf-8")


def test_every_public_name_stands_in_the_table() -> None:
    table = " ".join(" ".join(row[:2]) for row in ROWS)
    public = {name for name in vars(MusicGen) if not name.startswith("_")} | {*musicgen_bridge.__all__} - {
        "MusicGen",
        "__version__",
    }
    assert {name for name in public if name not in table} == set()
