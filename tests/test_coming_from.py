"""The pages for who comes from Audiocraft or transformers: each block of code runs on the model that ships."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLOCKS = [
    (name, index, code)
    for name in ("coming-from-audiocraft", "coming-from-transformers")
    for index, code in enumerate(
        re.findall(r"```python\n(.*?)```", (ROOT / "docs" / f"{name}.md").read_text("utf-8"), re.DOTALL)
    )
]


@pytest.mark.parametrize(("name", "index", "code"), BLOCKS, ids=[f"{name}-{index}" for name, index, _ in BLOCKS])
def test_the_code_runs(name: str, index: int, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each holds its own assertions; what it writes goes to the folder that it runs in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUSICGEN_BRIDGE_DEVICE", "cpu")
    exec(compile(code, f"{name}.md, block {index + 1}", "exec"), {"__name__": "__main__"})
    if "audio_write(" in code:
        assert (tmp_path / "funk.wav").stat().st_size > 32_000 * 2 * 2
