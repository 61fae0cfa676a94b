"""Names of stems."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PureWindowsPath
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from musicgen_bridge.request import Part
from musicgen_bridge.stems.manifest import Take
from musicgen_bridge.stems.paths import MAX_NAME, slug, stem_name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dusty boom-bap break", "dusty-boom-bap-break"),
        ("  90s House!!! (deep) / dub  ", "90s-house-deep-dub"),
        ("../../etc/passwd", "etc-passwd"),
        ("Café Ünder", "café-ünder"),
        ("Cafe\u0301", "café"),
        ("夜の街 lo-fi", "夜の街-lo-fi"),
        ("हिन्दी", "हिन्दी"),
        ("🎹🎹", ""),
        ("...", ""),
        ("a\0b\nc", "a-b-c"),
        ("warm analogue pad with slow filter movement and tape", "warm-analogue-pad-with-slow-filter"),
        ("x" * 60, "x" * 40),
    ],
)
def test_slug(text: str, expected: str):
    assert slug(text) == expected


@given(st.text())
@example("\ud800ab")
@example("ŉ" * 50)
@example("𝔞" * 80 + "İ" * 50)
@example("한" * 50)
def test_a_slug_is_short_and_safe_everywhere(text: str):
    name = slug(text)
    assert len(name) <= 40
    assert len(name.encode()) <= 80
    assert not set(name) & set('<>:"/\\|?*._ \0')
    assert name.isprintable()
    assert name.strip("-") == name
    assert slug(name) == name


def test_a_name_tells_what_tempo_key_length_and_seed(make_take: Callable[..., Take]):
    assert stem_name(make_take()) == "dusty-boom-bap-break_126.5bpm_F#min_1bar_seed42"


def test_a_name_tells_part_meter_and_variation(make_take: Callable[..., Take]):
    take = make_take(
        part=Part("Drums", "tight break"),
        signature=(7, 8),
        bars=4.0,
        key="Bb major",
        variations=3,
        variation=1,
        seed=43,
    )
    assert stem_name(take) == "tight-break_drums_126.5bpm_Bbmaj_4bars_7-8_seed43_v2"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": "My Loop"}, "my-loop_126.5bpm_1bar_seed42"),
        ({"prompt": "🎹", "mode": "melody"}, "melody_126.5bpm_1bar_seed42"),
        ({"prompt": "", "mode": "unconditional"}, "unconditional_126.5bpm_1bar_seed42"),
        ({"beats": 6.5}, "dusty-boom-bap-break_126.5bpm_6.5beats_seed42"),
        ({"seconds": 2.25}, "dusty-boom-bap-break_126.5bpm_2.25s_seed42"),
        ({"prompt": "con", "bpm": 120.0}, "con_120bpm_1bar_seed42"),
    ],
)
def test_what_begins_a_name_and_how_its_length_is_told(make_take: Callable[..., Take], changes: dict, expected: str):
    assert stem_name(make_take(key=None, **changes)) == expected


@given(
    prompt=st.text(max_size=80) | st.sampled_from(["con", "NUL", "aux.wav", "com1", "  .", "名" * 90]),
    part=st.text(max_size=32) | st.just("名" * 32),
    name=st.text(max_size=64) | st.just("ǅ" * 64),
    bpm=st.floats(20, 400),
    bars=st.floats(1 / 64, 1024),
    beats=st.integers(1, 32),
    seed=st.integers(0, 2**31 - 1),
    key=st.sampled_from([None, "C# minor", "Bb major"]),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # make_take keeps nothing between examples
def test_any_name_suits_windows_macos_and_linux(
    make_take: Callable[..., Take], prompt: str, part: str, beats: int, **values: Any
):
    take = make_take(
        prompt=prompt, part=Part(part, prompt), signature=(beats, 32), variations=32, variation=31, **values
    )
    stem = stem_name(take)
    longest = f".{stem}-99999.aiff.claim"
    assert len(stem) <= MAX_NAME
    assert len(f"{stem}-99999.aiff") <= 120
    assert len(longest.encode()) <= 255
    assert not set(stem) & set('<>:"/\\|?* \0')
    assert not stem.startswith((".", "-"))
    assert not stem.endswith((".", "-"))
    assert not PureWindowsPath(f"{stem}.wav").is_reserved()
