"""What is refused for a moment is tried again, and what is refused for good is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from musicgen_bridge import patience
from musicgen_bridge.patience import patiently


def in_use(times: int) -> Iterator[None]:
    for _ in range(times):
        yield


def test_a_file_in_use_is_there_when_it_is_let_go(tmp_path: Path) -> None:
    held = in_use(2)

    def rename(to: Path) -> Path:
        for _ in held:
            raise PermissionError(13, "The process cannot access the file", str(to))
        return to

    assert patiently(rename, tmp_path) == tmp_path


def test_what_stays_refused_is_told_at_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PATIENCE_S", 0.2)
    tries: list[str] = []

    def refuse(name: str) -> None:
        tries.append(name)
        raise PermissionError(13, "Access is denied", name)

    with pytest.raises(PermissionError, match="Access is denied"):
        patiently(refuse, "take.wav")
    assert len(tries) > 1


def test_another_failure_is_told_at_once(tmp_path: Path) -> None:
    missing = in_use(1)
    with pytest.raises(FileNotFoundError):
        patiently(lambda: [(tmp_path / "gone.wav").stat() for _ in missing])
    assert list(missing) == []
