"""The sidecar: what is written comes back equal, and what was tampered with is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from musicgen_bridge.errors import ArgumentError, PathError
from musicgen_bridge.request import Part
from musicgen_bridge.stems.manifest import Take, read_take, to_json

MakeTake = Callable[..., Take]
PROMPTS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=60).map(str.strip).filter(bool)
"""As requests hold them: without spaces around them, and with something in between."""


@pytest.fixture
def reread(tmp_path: Path) -> Callable[[Take], Take]:
    def read(take: Take) -> Take:
        path = tmp_path / "take.json"
        path.write_bytes(to_json(take))
        return read_take(path)

    return read


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"prompt": "夜の街 “lo-fi”\tbreak", "name": "x", "key": None},
        {"signature": (7, 8), "bars": 2.5, "bpm": 133.33333333333334, "loop": False, "loudness": None, "match": False},
        {"beats": 6.5, "format": "flac", "bits": 16, "top_p": 0.9, "temperature": 0.0},
        {"seconds": 1 / 3, "mode": "unconditional", "prompt": ""},
        {"mode": "melody", "melody": "/m/a.wav", "melody_start": 1.5, "melody_end": 9.25},
        {"bars": 3.5, "tempo_map": ((0.0, 97.5, 97.5, (7, 8)), (3.3, 1e2 / 3, 90.0))},
        {"mode": "continue", "continue_from": "/m/a.wav", "continue_seconds": 3.0},
        {
            "parts": (Part("drums", "tight break: 90s"), Part("bass", "sub")),
            "variations": 3,
            "index": 4,
            "total": 6,
            "variation": 1,
            "part": Part("bass", "sub"),
            "seed": 2**31 - 1,
        },
    ],
    ids=lambda changes: ",".join(changes) or "plain",
)
def test_a_take_comes_back_equal(make_take: MakeTake, reread: Callable[[Take], Take], changes: dict[str, Any]):
    take = make_take(**changes)
    assert reread(take) == take


@given(
    bars=st.floats(0.5, 16),
    bpm=st.floats(20, 400),
    temperature=st.floats(0, 3),
    seed=st.integers(0, 2**31 - 1),
    prompt=PROMPTS,
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_take_comes_back_equal(make_take: MakeTake, reread: Callable[[Take], Take], **values: Any):
    take = make_take(**values)
    again = reread(take)
    assert again == take
    assert again.request.frames == take.request.frames


def test_the_file_is_plain_json_for_people(make_take: MakeTake):
    values = json.loads(to_json(make_take(prompt="Café", signature=(7, 8))))
    assert values["format"] == 1
    assert values["version"]
    assert values["request"]["signature"] == "7/8"
    assert values["request"]["prompt"] == "Café"
    assert values["fingerprint"] == "ab" * 32
    assert values["created"] == "2026-01-31T12:30:05+00:00"
    assert "Café".encode() in to_json(make_take(prompt="Café"))


def test_what_is_not_finite_in_a_report_becomes_null(make_take: MakeTake, reread: Callable[[Take], Take]):
    take = make_take(report={"lufs": -math.inf, "nested": [{"peak": math.nan}, 1.5]})
    assert reread(take).report == {"lufs": None, "nested": [{"peak": None}, 1.5]}


def test_a_folder_whose_name_is_no_unicode_comes_back(make_take: MakeTake, reread: Callable[[Take], Take]):
    take = make_take(project="/music/caf\udce9")
    assert reread(take).request.project == "/music/caf\udce9"


def change(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    *folders, name = path.split(".")

    def apply(values: dict[str, Any]) -> None:
        for folder in folders:
            values = values[folder]
        if value is ...:
            del values[name]
        else:
            values[name] = value

    return apply


@pytest.mark.parametrize(
    ("tamper", "says"),
    [
        (change("format", 2), "layout is not 1; use the version"),
        (change("format", ...), "not a take; name the .json file"),
        (change("request", ...), "not a take; name the .json file"),
        (change("fingerprints", "x"), 'unknown field "fingerprints".*did you mean "fingerprint"'),
        (change("seed", ...), "seed is missing; use the file as it was written"),
        (change("index", "0"), "index must be a whole number, not '0'"),
        (change("index", True), "index must be a whole number"),
        (change("total", -1), "total must be 0 or more"),
        (change("bpm", 0), "bpm must be"),
        (change("bpm", None), "bpm must be a number"),
        (change("bpm", 10**400), "bpm must be"),
        (change("key", 3), "key must be text"),
        (change("report", []), "report must be a table"),
        (change("part", {"name": "x"}), "part has a name and a prompt"),
        (change("part", ["drums", "x"]), "part must be a table"),
        (change("created", "yesterday"), "created must be like"),
        (change("created", "2026-01-31T12:00:00"), "created must be like"),
        (change("request", []), "request must be a table"),
        (change("request.bpm", ...), "bpm is missing in request"),
        (change("request.seed", ...), "seed is missing in request"),
        (change("request.bars", ...), "bars, seconds or beats is missing"),
        (change("request.beats", 4), "one length"),
        (change("request.bmp", 120), 'unknown key "bmp" in request.*did you mean "bpm"'),
        (change("request.bits", 12), "bits must be one of"),
        (change("request.format", "mp3"), "format must be one of"),
        (change("request.bpm", "fast"), "bpm must be a number"),
        (change("request.signature", "4/0"), "signature must be like"),
        (change("request.bars", 1e9), "bars must be from"),
        (change("request.parts", [["drums", "x"]]), "parts must be text"),
        (change("request.project", 5), "project must be text"),
    ],
)
def test_a_changed_file_is_refused_with_its_name(make_take: MakeTake, tmp_path: Path, tamper: Any, says: str):
    values = json.loads(to_json(make_take()))
    tamper(values)
    path = tmp_path / "tampered.json"
    path.write_text(json.dumps(values))
    with pytest.raises(ArgumentError, match=f"tampered.json can't be rendered again: .*{says}"):
        read_take(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"RIFF\x24\0\0\0WAVEfmt ",
        b"[]",
        b"null",
        b"{",
        b"[" * 100_000,
        b"9" * 5_000,
        b'{"format": 1}',
        b" " * 2**21,
    ],
    ids=["empty", "wav", "list", "null", "open", "deep", "digits", "short", "large"],
)
def test_what_is_no_sidecar(tmp_path: Path, content: bytes):
    path = tmp_path / "other.json"
    path.write_bytes(content)
    with pytest.raises(ArgumentError, match=r"not a take; name the \.json file beside a stem"):
        read_take(path)


def test_a_sidecar_that_is_not_there(tmp_path: Path):
    with pytest.raises(PathError, match="can't be opened; name a plain file that exists"):
        read_take(tmp_path / "missing.json")


def test_whether_a_take_loops(make_take: MakeTake):
    assert make_take().loops
    assert not make_take(loop=False).loops
    assert not make_take(match=False).loops
