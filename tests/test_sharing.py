"""Who may be drawn with whom."""

from __future__ import annotations

import pytest

from musicgen_bridge.request import RenderRequest
from musicgen_bridge.sharing import rides


def asked(**values: object) -> RenderRequest:
    return RenderRequest(**{"project": "/p", "bars": 1.0, **values})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "values",
    [
        {"prompt": "another", "seed": 9, "bars": 16.0, "bpm": 90.0, "key": "A minor"},
        {"variations": 3, "loop": False, "format": "flac", "separate": ("drums",)},
        {"mode": "unconditional"},
    ],
    ids=str,
)
def test_what_the_model_does_not_see_may_differ(values: dict[str, object]) -> None:
    assert rides(asked(**values), asked())


@pytest.mark.parametrize(
    "values",
    [
        {"model": "small"},
        {"temperature": 0.9},
        {"top_k": 50},
        {"top_p": 0.9},
        {"guidance": 2.0},
        {"stream": True},
        {"mode": "melody", "melody": "/a.wav"},
        {"mode": "continue", "continue_from": "/a.wav"},
        {"mode": "fit", "file": "/a.wav"},
    ],
    ids=str,
)
def test_other_models_other_draws_and_recordings_wait(values: dict[str, object]) -> None:
    assert not rides(asked(**values), asked())


@pytest.mark.parametrize("mode", ["melody", "continue"])
def test_what_has_read_its_recording_may_be_joined(mode: str) -> None:
    assert rides(asked(), asked(mode=mode))
    assert not rides(asked(), asked(mode=mode, stream=True))
