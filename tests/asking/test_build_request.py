"""Requests built from checked values: what goes over what, what is refused, and back into their own wire form."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen_bridge.asking.build_request import make_request, over, update_session, wire_values
from musicgen_bridge.asking.keys import RENDER_KEYS, SESSION_KEYS, check_values
from musicgen_bridge.errors import ArgumentError, PathError
from musicgen_bridge.request import RenderRequest, Session, Signature
from musicgen_bridge.tempo_map import TempoPoint

HERE = Session(project="/music/song")


def request(**values):
    return make_request(check_values(values, RENDER_KEYS), HERE, {})


@pytest.mark.parametrize(
    ("bars", "signature", "bpm", "rate", "frames"),
    [
        (4, (7, 8), 126.5, 48_000, 318_735),  # 14 quarters: 318735.18
        (8, (4, 4), 120.0, 44_100, 705_600),
        (1, (4, 4), 133.25, 48_000, 86_454),  # 86454.03
        (1, (3, 4), 97.0, 44_100, 81_835),  # 81835.05
        (0.5, (5, 8), 60.0, 8_000, 10_000),
        (1, (1, 4), 400.0, 8_001, 1_200),  # 1200.15
        (1, (1, 32), 64.0, 8_192, 960),
    ],
)
def test_frames_are_those_of_the_protocol(bars, signature, bpm, rate, frames):
    made = RenderRequest(project="/p", bars=bars, signature=signature, bpm=bpm, sample_rate=rate)
    assert made.frames == frames


@given(
    bars=st.floats(0.25, 64),
    beats=st.integers(1, 32),
    unit=st.sampled_from([1, 2, 4, 8, 16, 32]),
    bpm=st.floats(20, 400),
    rate=st.integers(8_000, 192_000),
)
def test_frames_are_the_nearest_whole_number(bars, beats, unit, bpm, rate):
    made = RenderRequest(project="/p", bars=bars, signature=(beats, unit), bpm=bpm, sample_rate=rate)
    wanted = bars * beats * 4 / unit * 60 * rate / bpm
    assert abs(made.frames - wanted) <= 0.5 + 1e-9 * wanted


def test_a_half_frame_rounds_up():
    def frames(quarters: float) -> int:
        return RenderRequest(project="/p", beats=quarters, bpm=60.0, sample_rate=1).frames

    assert (frames(1), frames(0.5)) == (1, 1)
    assert frames(2.5) == 3  # where Python's round gives 2


def test_beats_and_seconds_are_lengths_too():
    assert request(beats=3.0, bpm=90.0, prompt="x").frames == 96_000
    assert request(seconds=1.5, bpm=91.7, prompt="x").frames == 72_000


def test_a_length_goes_over_any_other_length():
    assert over({"beats": 3.0}, {"bars": 2.0, "seed": 1}) == {"beats": 3.0, "seed": 1}
    assert over({"seed": 2}, {"bars": 2.0, "seed": 1}) == {"bars": 2.0, "seed": 2}
    with pytest.raises(ArgumentError, match="give one length"):
        over({"bars": 1.0, "seconds": 1.0}, {})


def test_a_tempo_or_meter_goes_over_a_tempo_map():
    below = {"tempo_map": "0 90; 4 100", "bpm": 95.0, "beats": 8.0}
    assert "tempo_map" not in over({"bpm": 100.0}, below)
    assert "tempo_map" not in over({"signature": "3/4"}, below)
    assert over({"seed": 1, "bars": 2.0}, below)["tempo_map"] == "0 90; 4 100"
    assert over({"bpm": 100.0, "tempo_map": "0 70"}, below)["tempo_map"] == "0 70"


def test_a_tempo_map_goes_before_bpm_and_begins_in_the_sessions_meter():
    session = update_session(HERE, {"signature": "7/8", "bpm": 90.0})
    made = make_request(
        {"prompt": "x", "bars": 5.0, "bpm": 60.0, "tempo_map": "0 100; 7 120>80 ; 14 90 3/4;"}, session, {}
    )
    assert made.tempo_map == (
        TempoPoint(0.0, 100.0, 100.0, Signature(7, 8)),
        TempoPoint(7.0, 120.0, 80.0),
        TempoPoint(14.0, 90.0, 90.0, Signature(3, 4)),
    )
    assert (made.quarters, made.signature) == (17, Signature(7, 8))
    assert made.duration == pytest.approx(60 * (7 / 100 + 7 / 100 + 3 / 90))
    assert made.bpm == pytest.approx(17 * 60 / made.duration)


def test_a_length_given_replaces_the_default_one():
    made = make_request({"seconds": 2.0, "prompt": "x"}, HERE, {"bars": 8.0})
    assert (made.bars, made.seconds) == (None, 2.0)
    assert make_request({"prompt": "x"}, HERE, {}).bars == 4


def test_defaults_lie_over_the_session_and_values_over_both():
    session = update_session(HERE, {"bpm": 90.0, "signature": "3/4"})
    made = make_request({"prompt": "x", "bpm": 126.5}, session, {"bpm": 100.0, "guidance": 5.0})
    assert (made.bpm, made.guidance, made.signature) == (126.5, 5.0, Signature(3, 4))


@pytest.mark.parametrize(
    ("values", "mode"),
    [
        ({}, "unconditional"),
        ({"prompt": "dub"}, "text"),
        ({"parts": "drums; bass"}, "text"),
        ({"melody": "/a.wav"}, "melody"),
        ({"prompt": "dub", "melody": "/a.wav"}, "melody"),
        ({"continue": "/a.wav", "prompt": "dub"}, "continue"),
    ],
)
def test_the_mode_is_inferred(values, mode):
    assert request(**values).mode == mode


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"bar": 4}, 'unknown key "bar" (did you mean "bars"?)'),
        ({"bars": "four"}, "bars must be a number"),
        ({"bars": math.nan}, "bars must be a finite number"),
        ({"bars": 4, "beats": 4}, "give one length"),
        ({"bpm": 3159345}, "bpm must be from 20 to 400"),
        ({"variations": 1.5}, "variations must be a whole number"),
        ({"top_k": True}, "top_k must be a number"),
        ({"signature": "4/5"}, "signature must be like"),
        ({"signature": "0/4"}, "signature must be like"),
        ({"key": "H minor"}, "key must be like"),
        ({"format": "mp3"}, "format must be one of wav, flac, aiff"),
        ({"format": "wave"}, '(did you mean "wav"?)'),
        ({"format": "flac", "bits": 32}, "flac takes 16 or 24"),
        ({"bits": 20}, "bits must be one of 16, 24, 32"),
        ({"loop": 2}, "loop must be 1 or 0"),
        ({"loudness": "loud"}, "loudness must be a number"),
        ({"mode": "melody"}, "mode melody needs melody"),
        ({"mode": "continue"}, "mode continue needs continue"),
        ({"mode": "text"}, "mode text needs prompt"),
        ({"mode": "unconditional", "prompt": "x"}, "unconditional takes neither"),
        ({"parts": ": nothing"}, "parts must be like"),
        ({"parts": "a: x; A: y"}, "same name twice"),
        ({"parts": "a; b; c", "variations": 12}, "36 stems"),
        ({"bars": 1000, "bpm": 20}, "too long"),
        ({"melody": "/a.wav", "melody_start": 4, "melody_end": 4}, "melody_end must lie behind"),
        ({"separate": "drums, horns"}, "separate takes drums, bass, other, vocals, not 'horns'"),
        ({"separate": "vocal"}, 'did you mean "vocals"'),
        ({"separate": "drums, bass", "variations": 17}, "34 stems"),
        ({"mode": "fit"}, "mode fit needs file"),
        ({"mode": "text", "prompt": "x", "file": "/a.wav"}, "mode text takes no file"),
        ({"file": "/a.wav", "prompt": "x"}, "leave out prompt"),
        ({"file": "/a.wav", "melody": "/b.wav"}, "leave out prompt"),
        ({"file": "/a.wav", "variations": 2}, "leave out prompt"),
        ({"file": "/a.wav", "file_start": 4, "file_end": 4}, "file_end must lie behind"),
        ({"file": "/a.wav", "seconds": 601}, "seconds must be from"),
        ({"prompt": "a\x00b"}, "control character"),
        ({"prompt": "x" * 1001}, "at most 1000"),
        ({"prompt": 7}, "prompt must be text"),
        ({"tempo_map": "0 90; 4"}, "tempo_map must be like"),
        ({"tempo_map": "0 90 4/4 x"}, "tempo_map must be like"),
        ({"tempo_map": "-1 90"}, "tempo_map must be like"),
        ({"tempo_map": "0 9"}, "bpm must be from 20 to 400, not 9"),
        ({"tempo_map": "0 90>500"}, "bpm must be from 20 to 400, not 500"),
        ({"tempo_map": "0 90 4/5"}, "signature must be like"),
        ({"tempo_map": "1 90"}, "tempo_map: its first point must lie at 0"),
        ({"tempo_map": "0 90; 4 80; 4 70"}, "its point at 4 must lie behind the one before"),
        ({"tempo_map": "0 90; 16 80", "bars": 4}, "its point at 16 is not before the end, at 16 quarter notes; leave"),
        ({"tempo_map": "0 60; 4 80", "seconds": 4}, "its point at 4 is not before the end, at 4 s; leave it out"),
        ({"tempo_map": "0 60; 1 300", "bars": 1}, "from 60 to 300; more than 4 times as fast"),
        ({"tempo_map": "0 60", "file": "/a.wav"}, "tempo_map needs a length"),
    ],
)
def test_a_mistake_is_named(values, said):
    with pytest.raises(ArgumentError) as caught:
        request(**values)
    assert said in caught.value.text


def test_without_a_project_the_error_says_how_to_name_one():
    with pytest.raises(PathError, match="/musicgen/session"):
        make_request({"prompt": "x"}, Session(), {})


def test_only_what_is_generated_can_be_heard_as_it_renders():
    with pytest.raises(ArgumentError, match="stream plays"):
        request(file="/tmp/x.wav", stream=True)


def test_rows_are_parts_times_variations():
    made = request(parts="drums: a; bass: b", variations=2)
    assert [row.name for row in made.rows] == ["drums", "drums", "bass", "bass"]


def test_a_recording_is_fitted_as_long_as_it_is_unless_a_length_is_given():
    made = request(file="/a.wav")
    assert (made.mode, made.has_length, made.seed) == ("fit", False, 0)
    assert request(file="/a.wav", bars=2).frames == 192_000
    assert request(prompt="x").bars == 4.0


def test_what_is_separated_stands_once():
    assert request(prompt="x", separate="Drums, bass,drums").separate == ("drums", "bass")


def test_a_seed_is_drawn_when_none_is_given():
    assert len({request(prompt="x").seed for _ in range(8)}) > 1
    assert request(prompt="x", seed=7).seed == 7


@pytest.mark.parametrize(
    "values",
    [
        {"prompt": "x", "bars": 4.0, "bpm": 126.123456789, "key": "F# minor", "loudness": "off"},
        {"parts": "drums: tight; bass: sub", "variations": 3, "signature": "7/8", "match": False},
        {"continue": "/a b/ü.wav", "continue_seconds": 3.5, "seconds": 2.0, "format": "flac", "bits": 16},
        {"prompt": "x", "separate": "vocals, drums"},
        {"prompt": "x", "bars": 4.25, "tempo_map": "0 97.51234567 7/8; 7 120>90; 10.1 33.3333333333333333 3/4"},
        {"prompt": "x", "seconds": 7.3, "tempo_map": "0 120.1>60"},
        {"file": "/m.wav"},
        {"file": "/m.wav", "file_start": 1.5, "file_end": 9.0, "separate": "drums", "match": False, "loop": False},
        {"melody": "/m.wav", "melody_start": 1.5, "melody_end": 9.0, "name": "lead", "top_p": 0.9},
    ],
)
def test_a_request_survives_its_wire_form(values):
    made = request(**values)
    assert make_request(check_values(wire_values(made), RENDER_KEYS), Session(), {}) == made
    assert RenderRequest.from_json(made.to_json()) == made


def test_every_render_key_is_a_field_or_renamed():
    fields = set(RenderRequest.__dataclass_fields__) - {"continue_from"} | {"continue"}
    assert fields == set(RENDER_KEYS)
    assert set(SESSION_KEYS) == set(Session.__dataclass_fields__)


@pytest.mark.parametrize(("typed", "prompt", "mode"), [("  ", "", "unconditional"), (" pad\n", "pad", "text")])
def test_a_prompt_of_blanks_is_none(typed, prompt, mode):
    made = request(prompt=typed, bars=1.0)
    assert (made.prompt, made.mode) == (prompt, mode)
