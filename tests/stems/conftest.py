"""A project folder below an allowed root, and takes to write into it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from musicgen_bridge.request import Part, RenderRequest
from musicgen_bridge.roots import Roots
from musicgen_bridge.stems.manifest import Take
from tests import rights


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "music" / "song"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def roots(project: Path) -> Roots:
    return Roots.of([project.parent])


@pytest.fixture
def make_take(project: Path) -> Callable[..., Take]:
    """Returns a function: a take of one bar by default; any field of Take or RenderRequest may be given."""

    def make(**changes: Any) -> Take:
        request: dict[str, Any] = {
            "project": str(project),
            "prompt": "Dusty boom-bap break",
            "bars": 1.0,
            "bpm": 126.5,
            "seed": 42,
        }
        take: dict[str, Any] = {
            "index": 0,
            "total": 1,
            "variation": 0,
            "seed": 42,
            "key": "F# minor",
            "fingerprint": "ab" * 32,
            "device": "cpu",
            "dtype": "float32",
            "job": "job-1",
            "created": datetime(2026, 1, 31, 12, 30, 5, tzinfo=UTC),
            "report": {"lufs": -14.02, "beatless": False},
        }
        for name, value in changes.items():
            known = name in Take.__dataclass_fields__ and name != "bpm"
            (take if known else request)[name] = value
        if "beats" in request or "seconds" in request:
            del request["bars"]
        made = RenderRequest(**request)
        return Take(**{"request": made, "part": Part("", made.prompt), "bpm": made.bpm, **take})

    return make


@pytest.fixture
def tone() -> Callable[..., np.ndarray]:
    """Returns a function: [frames, channels] of a sine of 220 Hz at 48 kHz, the channels a quarter period apart."""

    def make(frames: int, channels: int = 2, level: float = 0.5) -> np.ndarray:
        at = np.arange(frames)[:, None] / 48_000 - np.arange(channels) / 880
        return (level * np.sin(2 * np.pi * 220 * at)).astype(np.float32)

    return make


@pytest.fixture
def unprivileged(project: Path) -> Iterator[Path]:
    """An open folder, and no right to pass by rights; after `project`, which root's stand-in could not make."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        folder.chmod(0o777)
        try:
            with rights.unprivileged():
                yield folder
        finally:
            for inner in folder.rglob("*"):
                inner.chmod(0o700)
