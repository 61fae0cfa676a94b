"""Recordings as users have them: good ones in every format, and everything that is wrong with the others."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from musicgen_bridge.errors import AudioError, PathError
from musicgen_bridge.stems.read import read_audio, read_end

Tone = Callable[..., np.ndarray]
TEN_MINUTES = 600.0


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    def write(audio: np.ndarray, name: str = "take.wav", rate: int = 48_000, subtype: str | None = None) -> Path:
        path = tmp_path / name
        soundfile.write(path, audio, rate, subtype=subtype)
        return path

    return write


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("name", "subtype", "apart"),
    [
        ("take.wav", "FLOAT", 0.0),
        ("take.wav", "PCM_16", 2**-15),
        ("take.aiff", "PCM_24", 2**-22),
        ("take.flac", "PCM_24", 2**-22),
        ("take.ogg", "VORBIS", 0.1),
        ("take.mp3", "MPEG_LAYER_III", 0.1),
        ("take.caf", "PCM_24", 2**-22),
    ],
)
def test_every_format_comes_as_float_by_channel(save, tone: Tone, name: str, subtype: str, apart: float, channels: int):
    audio = tone(24_000, channels)
    recording = read_audio(save(audio, name, subtype=subtype), max_seconds=TEN_MINUTES)
    assert recording.sample_rate == 48_000
    assert recording.audio.shape == (channels, 24_000)
    assert recording.audio.dtype == np.float32
    assert recording.audio.flags.c_contiguous
    assert np.sqrt(np.mean((recording.audio - audio.T) ** 2)) <= apart


@pytest.mark.parametrize(
    ("start", "end", "frames"),
    [
        (0.25, 0.5, slice(12_000, 24_000)),
        (0.9, None, slice(43_200, 48_000)),
        (0.0, 1.0, slice(0, 48_000)),
        (0.0, np.float32(1.0000001).item(), slice(0, 48_000)),
        (0.5, 1.0009, slice(24_000, 48_000)),
    ],
)
@pytest.mark.parametrize("name", ["take.wav", "take.flac"])
def test_a_section_is_cut_to_the_frame(save, name: str, start: float, end: float | None, frames: slice):
    ramp = np.arange(1, 48_001) / 2**16
    recording = read_audio(save(ramp, name, subtype="PCM_24"), start=start, end=end, max_seconds=1.0)
    assert np.array_equal(recording.audio[0], ramp[frames].astype(np.float32))


def test_only_the_section_is_read(save, tone: Tone):
    """What lies outside may be broken: it is never looked at."""
    audio = tone(48_000)
    audio[40_000:] = np.nan
    path = save(audio, subtype="FLOAT")
    assert read_audio(path, end=0.5, max_seconds=1.0).audio.shape == (2, 24_000)
    with pytest.raises(AudioError, match="not numbers"):
        read_audio(path, max_seconds=1.0)


def test_the_end_of_a_recording(save):
    ramp = np.arange(1, 48_001) / 2**16
    path = save(ramp, subtype="PCM_24")
    assert np.array_equal(read_end(path, seconds=0.25).audio[0], ramp[36_000:].astype(np.float32))
    assert read_end(path, seconds=5.0).audio.shape == (1, 48_000)


def test_the_end_of_three_hours_is_read_and_the_whole_is_not(tmp_path: Path):
    path = tmp_path / "set.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 1, 4_000, 0, "NONE", ""))
        file.writeframes(bytes(range(100, 150)) * 80 * 3 * 60 * 60)
    assert read_end(path, seconds=5.0).audio.shape == (1, 20_000)
    assert read_audio(path, start=9_000.0, end=9_005.0, max_seconds=TEN_MINUTES).audio.shape == (1, 20_000)
    with pytest.raises(AudioError, match="is 3:00:00 long; give melody_start and melody_end, at most 10 minutes"):
        read_audio(path, max_seconds=TEN_MINUTES)
    with pytest.raises(AudioError, match="is 3:00:00 long; cut a part out of it, at most 10 minutes"):
        read_audio(path, max_seconds=TEN_MINUTES, keys=None)
    with pytest.raises(AudioError, match=r"is 0:10:00\.5 long"):
        read_audio(path, start=10.0, end=610.5, max_seconds=TEN_MINUTES)


@pytest.mark.parametrize(("start", "end"), [(1.0, None), (5.0, 6.0), (0.5, 1.01), (0.5, 0.5), (0.6, 0.5), (-0.1, 0.5)])
def test_a_section_outside_of_the_recording(save, tone: Tone, start: float, end: float | None):
    with pytest.raises(AudioError, match=r"is 0:00:01 long, so .* is not in it; name a section inside"):
        read_audio(save(tone(48_000)), start=start, end=end, max_seconds=TEN_MINUTES)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_numbers(save, tone: Tone, value: float):
    audio = tone(4_800)
    audio[100, 1] = value
    with pytest.raises(AudioError, match="NaN or infinite"):
        read_audio(save(audio, subtype="FLOAT"), max_seconds=TEN_MINUTES)


def test_eight_channels(save, tone: Tone):
    with pytest.raises(AudioError, match="8 channels; mix it down"):
        read_audio(save(tone(4_800, 8)), max_seconds=TEN_MINUTES)


@pytest.mark.parametrize("name", ["empty.wav", "empty.aiff", "empty.flac"])
def test_a_recording_without_frames(save, name: str):
    with pytest.raises(AudioError, match=r"0 frames|can't be read"):
        read_audio(save(np.zeros((0, 2)), name), max_seconds=TEN_MINUTES)


def test_silence(save, tone: Tone):
    audio = np.concatenate([np.zeros((4_800, 2), np.float32), tone(4_800)])
    path = save(audio, subtype="FLOAT")
    assert read_audio(path, max_seconds=TEN_MINUTES).audio.shape == (2, 9_600)
    for read in (
        lambda: read_audio(path, end=0.1, max_seconds=1.0),
        lambda: read_end(save(0 * audio), seconds=1.0),
        lambda: read_end(save(0 * audio + 0.5), seconds=1.0),
    ):
        with pytest.raises(AudioError, match="silent there; choose another section or recording"):
            read()


@pytest.mark.parametrize("name", ["cut.wav", "cut.aiff", "cut.flac", "cut.mp3"])
@pytest.mark.parametrize("part", [0.9, 0.5, 0.01])
def test_a_file_cut_short(save, name: str, part: float):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (48_000, 2))
    path = save(noise, name)
    os.truncate(path, int(path.stat().st_size * part))
    with pytest.raises(AudioError, match=r"ends before its header says|can't be read as audio"):
        read_audio(path, max_seconds=TEN_MINUTES)


@pytest.mark.parametrize(
    "content", [b"", b"These are the lyrics.\n" * 100, b"RIFF", np.random.default_rng(0).bytes(5_000), b"\0" * 5_000]
)
def test_what_is_not_audio(tmp_path: Path, content: bytes):
    path = tmp_path / "lyrics.wav"
    path.write_bytes(content)
    with pytest.raises(AudioError, match="save it as WAV, FLAC or AIFF"):
        read_audio(path, max_seconds=TEN_MINUTES)


def test_a_codec_that_is_not_known(tmp_path: Path):
    fmt = struct.pack("<HHIIHH", 0x0270, 2, 48_000, 192_000, 4, 16)  # Sony ATRAC3
    body = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", 4_000) + bytes(4_000)
    path = tmp_path / "minidisc.wav"
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    with pytest.raises(AudioError, match=r"can't be read as audio .*save it as WAV"):
        read_audio(path, max_seconds=TEN_MINUTES)


@pytest.mark.parametrize("rate", [1, 3_999, 2**31 - 1])
def test_a_sample_rate_that_cannot_be_meant(save, tone: Tone, rate: int):
    with pytest.raises(AudioError, match=f"sample rate of {rate} Hz"):
        read_audio(save(tone(4_800), rate=rate), max_seconds=1e9)


def test_missing_folder_and_link(save, tone: Tone, tmp_path: Path):
    (tmp_path / "link.wav").symlink_to(save(tone(4_800)))
    for name in ("missing.wav", "", "take.wav/inside"):
        with pytest.raises(PathError, match=r"can't be opened|not a plain file|may not be read"):
            read_audio(tmp_path / name, max_seconds=1.0)
    if hasattr(os, "O_NOFOLLOW"):  # a link put there after Roots resolved the path
        with pytest.raises(PathError, match="plain file"):
            read_audio(tmp_path / "link.wav", max_seconds=1.0)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_a_fifo_put_there_after_the_check_does_not_block(tmp_path: Path):
    """In a process of its own, so that a blocked open ends the test and not the run."""
    fifo = tmp_path / "fifo.wav"
    os.mkfifo(fifo)
    script = (
        "import sys; from pathlib import Path; from musicgen_bridge.stems.read import read_audio\n"
        "from musicgen_bridge.errors import PathError\n"
        "try: read_audio(Path(sys.argv[1]), max_seconds=1.0)\n"
        "except PathError as error: print(error.text)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(fifo)], capture_output=True, text=True, timeout=60)
    assert "not a plain file" in done.stdout, done.stderr


def test_a_recording_that_may_not_be_read(unprivileged: Path, tone: Tone):
    path = unprivileged / "private.wav"
    soundfile.write(path, tone(4_800), 48_000)
    path.chmod(0)
    with pytest.raises(PathError, match="may not be read; give this user the right"):
        read_audio(path, max_seconds=1.0)


def test_what_follows_the_samples_does_not_matter(save, tone: Tone):
    """A recorder's sloppy outer size and a chunk behind the samples are common and harmless."""
    path = save(tone(4_800))
    data = bytearray(path.read_bytes() + b"junk" + struct.pack("<I", 4) + b"note")
    data[4:8] = struct.pack("<I", 0xFFFFFFF0)
    path.write_bytes(data)
    assert read_audio(path, max_seconds=1.0).audio.shape == (2, 4_800)
