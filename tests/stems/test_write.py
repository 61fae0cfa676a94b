"""Samples as bytes: exact, dithered where need be, and readable by others."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from wavinfo import WavInfoReader

from musicgen_bridge.errors import ArgumentError
from musicgen_bridge.stems.manifest import Take
from musicgen_bridge.stems.write import encode_raw, encode_stem, quantise

MakeTake = Callable[..., Take]
Tone = Callable[..., np.ndarray]
EVERY_FORMAT = [
    ("wav", 16),
    ("wav", 24),
    ("wav", 32),
    ("flac", 16),
    ("flac", 24),
    ("aiff", 16),
    ("aiff", 24),
    ("aiff", 32),
]


def opened(data: bytes) -> soundfile.SoundFile:
    return soundfile.SoundFile(io.BytesIO(data))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("kind", "bits"), EVERY_FORMAT)
def test_every_format_holds_the_exact_samples(make_take: MakeTake, tone: Tone, kind: str, bits: int, channels: int):
    take = make_take(format=kind, bits=bits, sample_rate=44_100)
    audio = tone(take.request.frames, channels)
    with opened(encode_stem(audio, take)) as file:
        assert (file.format, file.samplerate, file.channels) == (kind.upper(), 44_100, channels)
        assert file.subtype == ("FLOAT" if (kind, bits) == ("wav", 32) else f"PCM_{bits}")
        assert file.frames == take.request.frames
        read = file.read(dtype="float64", always_2d=True)
        off = np.abs(read - audio).max() * 2.0 ** (bits - 1)  # in steps; dither adds one
        assert off <= (0 if file.subtype == "FLOAT" else 1.5 if bits == 16 else 0.5)


def test_flac_has_no_32_bits(make_take: MakeTake, tone: Tone):
    with pytest.raises(ArgumentError, match="choose bits 16 or 24, or the format wav"):
        encode_stem(tone(10), make_take(format="flac", bits=32))


@pytest.mark.parametrize(("kind", "bits"), EVERY_FORMAT)
def test_the_same_take_gives_the_same_bytes(make_take: MakeTake, tone: Tone, kind: str, bits: int):
    take = make_take(format=kind, bits=bits)
    once = encode_stem(tone(4_800), take)
    np.random.seed(7)  # the state of others
    assert encode_stem(tone(4_800), take) == once


def test_each_stem_of_a_request_has_a_dither_of_its_own(make_take: MakeTake, tone: Tone):
    first, second = (
        opened(encode_stem(tone(4_800), make_take(bits=16, index=index))).read(dtype="int16") for index in (0, 1)
    )
    assert not np.array_equal(first, second)


def test_beyond_full_scale_is_clipped_but_not_wrapped(make_take: MakeTake):
    audio = np.array([[1.5], [1.0], [-1.0], [-1.5]], np.float32)
    with opened(encode_stem(audio, make_take(bits=24))) as file:
        assert file.read(dtype="int32").tolist() == [(2**23 - 1) << 8] * 2 + [-(2**31)] * 2
    with opened(encode_stem(audio, make_take(bits=32))) as file:
        assert file.read(dtype="float32").tolist() == [1.5, 1.0, -1.0, -1.5]


@given(arrays(np.float32, (20, 2), elements=st.floats(-1, 1 - 2**-15, width=32)), st.sampled_from([16, 24, 32]))
def test_quantised_samples_are_the_nearest_steps(audio: np.ndarray, bits: int):
    steps = quantise(audio, bits).astype(np.float64) / 2.0**31
    assert np.abs(steps - audio).max() <= 2.0**-bits
    assert not (quantise(audio, bits) & ((1 << (32 - bits)) - 1)).any()


@pytest.mark.parametrize("level", [0.1, 0.25, 0.5])
def test_dither_keeps_levels_below_a_step_and_its_noise_does_not_change_with_them(level: float):
    """Rounding alone would lose them; the error's variance is rounding's 1/12 and 1/12 for each uniform part."""
    audio = np.full((200_000, 1), level / 2**15, np.float32)
    steps = quantise(audio, 16, np.random.PCG64(0)) / 2.0**16
    assert steps.mean() == pytest.approx(level, abs=0.01)
    assert steps.var() == pytest.approx(3 / 12, abs=0.01)
    assert quantise(audio, 16).std() == 0


@pytest.mark.parametrize("dithered", [False, True])
def test_samples_are_quantised_alike_in_any_pieces(monkeypatch: pytest.MonkeyPatch, dithered: bool):
    audio = np.random.default_rng(2).uniform(-1, 1, (100, 2)).astype(np.float32)
    whole = quantise(audio, 16, np.random.PCG64(0) if dithered else None)
    monkeypatch.setattr("musicgen_bridge.stems.write._AT_ONCE", 7)
    assert np.array_equal(quantise(audio, 16, np.random.PCG64(0) if dithered else None), whole)


@pytest.mark.parametrize("kind", ["wav", "flac", "aiff"])
def test_every_format_says_in_words_what_it_is(make_take: MakeTake, tone: Tone, kind: str):
    take = make_take(format=kind, prompt="Café 夜 break", signature=(7, 8), bars=2.0)
    with opened(encode_stem(tone(100), take)) as file:
        said = file.copy_metadata()
    assert said["title"] == "Café 夜 break"
    assert said["comment"] == "126.5 BPM, 7/8, F# minor, seed 42, model starter"
    if kind != "aiff":  # libsndfile writes an AIFF's APPL chunk but does not read it back
        assert said["software"].startswith("musicgen-bridge")


def chunk_names(data: bytes) -> set[bytes]:
    return {chunk.ident for chunk in WavInfoReader(io.BytesIO(data)).main_list if hasattr(chunk, "ident")}


@pytest.mark.parametrize("bits", [16, 24, 32])
@pytest.mark.parametrize(
    ("changes", "loops"),
    [
        ({}, True),
        ({"loop": False}, False),
        ({"match": False}, False),
        ({"bars": 1.75}, True),
        ({"continue_from": "/song/verse.wav"}, False),
        ({"continue_from": "/song/verse.wav", "report": {"downbeat_s": 0.5}}, True),  # cut anew, from another beat
    ],
)
def test_a_wav_has_tempo_and_origin_and_if_it_loops_a_loop(
    make_take: MakeTake, tone: Tone, bits: int, changes: dict[str, Any], loops: bool
):
    take = make_take(bits=bits, **changes)
    frames = take.request.frames
    data = encode_stem(tone(frames), take)
    info = WavInfoReader(io.BytesIO(data))
    assert {b"bext", b"acid"} <= chunk_names(data)
    assert info.bext is not None
    assert info.bext.description == "Dusty boom-bap break | 126.5 BPM, 4/4, F# minor, seed 42, model starter"
    assert info.data.frame_count == frames
    assert (info.smpl is not None) == loops
    if info.smpl is not None:
        assert info.smpl.sample_loops[0].end == frames - 1


def test_a_wav_along_a_tempo_map_has_its_mean_and_is_not_warped(make_take: MakeTake, tone: Tone):
    take = make_take(bars=2.0, tempo_map=((0.0, 120.0, 120.0), (4.0, 100.0, 100.0, (4, 4))))
    data = encode_stem(tone(take.request.frames), take)
    with opened(data) as file:
        log = " ".join(file.extra_info.split())
    for line in ("OneShot", "Beats : 0", "Meter : 4/4", "Tempo : 109.09"):
        assert line in log, log
    assert WavInfoReader(io.BytesIO(data)).bext.description.endswith(
        "mean 109.091 BPM, 4/4, F# minor, seed 42, model starter"
    )
    assert WavInfoReader(io.BytesIO(data)).smpl is not None
    steady = make_take(bars=2.0, tempo_map=((0.0, 120.0, 120.0, (3, 4)), (3.0, 120.0, 120.0, (5, 4))))
    with opened(encode_stem(tone(steady.request.frames), steady)) as file:
        assert "Beats : 8" in " ".join(file.extra_info.split())


def test_a_raw_take_comes_back_whole(tone: Tone):
    audio = tone(32_000, level=0.9)
    with opened(encode_raw(audio, 32_000)) as file:
        assert (file.format, file.subtype, file.samplerate) == ("FLAC", "PCM_24", 32_000)
        assert np.abs(file.read() - audio).max() <= 2.0**-24
        assert file.comment == "divided by 1"


def test_a_raw_take_beyond_full_scale_is_turned_down_not_clipped(tone: Tone):
    audio = tone(32_000, level=1.3)
    with opened(encode_raw(audio, 32_000)) as file:
        scale = float(file.comment.removeprefix("divided by "))
        assert scale == pytest.approx(1.3, rel=1e-3)
        assert np.abs(file.read() * scale - audio).max() <= 2.0**-22
