"""Recordings from a browser are kept as they came if they can be used, and stems become WAV for one without loss."""

import io

import numpy as np
import pytest
import soundfile

from musicgen_bridge.errors import AudioError, PathError
from musicgen_bridge.stems import exchange
from musicgen_bridge.stems.exchange import as_wav, keep_upload


def encoded(tone, kind, channels=2, frames=4800):
    made = io.BytesIO()
    soundfile.write(made, tone(frames, channels), 48_000, format=kind)
    return made.getvalue()


@pytest.mark.parametrize(
    ("kind", "suffix"), [("WAV", ".wav"), ("WAVEX", ".wav"), ("FLAC", ".flac"), ("AIFF", ".aiff"), ("MP3", ".mp3")]
)
def test_a_recording_is_kept_byte_for_byte_whatever_it_is_called(project, roots, tone, kind, suffix):
    data = encoded(tone, kind)
    path = keep_upload(data, "../../Humming, at night.exe", str(project), roots)
    assert path == project / "MusicGen" / "recordings" / f"humming-at-night{suffix}"
    assert path.read_bytes() == data


def test_a_recording_without_a_name_has_one(project, roots, tone):
    assert keep_upload(encoded(tone, "WAV"), "", str(project), roots).name == "recording.wav"
    assert keep_upload(encoded(tone, "WAV"), "", str(project), roots).name == "recording-2.wav"


def test_what_cannot_be_used_is_refused_and_leaves_nothing(project, roots, tone):
    whole = encoded(tone, "AIFF")
    for data, said in (
        (b"", "save it as WAV"),
        (b"RIFF", "save it as WAV"),
        (encoded(tone, "CAF"), "save it as WAV"),
        (encoded(tone, "WAV", channels=3), "3 channels"),
        (encoded(tone, "WAV", frames=0), "0 frames"),
        (whole[: len(whole) // 2], "ends before"),
    ):
        with pytest.raises(AudioError, match=said):
            keep_upload(data, "x.wav", str(project), roots)
    assert list(project.iterdir()) == []


def test_a_project_outside_of_the_roots_gets_nothing(tmp_path, roots, tone):
    with pytest.raises(PathError):
        keep_upload(encoded(tone, "WAV"), "x.wav", str(tmp_path), roots)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_an_aiff_becomes_wav_sample_for_sample(project, tone, subtype):
    path = project / "x.aiff"
    soundfile.write(path, tone(4800), 44_100, subtype=subtype)
    heard, rate = soundfile.read(io.BytesIO(as_wav(path)))
    assert rate == 44_100
    np.testing.assert_array_equal(heard, soundfile.read(path)[0])


def test_what_is_no_audio_becomes_none(project):
    path = project / "x.aiff"
    path.write_text("no sound")
    with pytest.raises(AudioError, match="export it again"):
        as_wav(path)


def test_what_would_fill_the_memory_is_not_decoded(project, tone, monkeypatch):
    path = project / "x.aiff"
    soundfile.write(path, tone(4800, 2), 48_000)
    monkeypatch.setattr(exchange, "MAX_DECODED", 4800 * 2 * 4)
    assert as_wav(path)
    soundfile.write(path, tone(4801, 2), 48_000)
    with pytest.raises(AudioError, match="save it as WAV or FLAC"):
        as_wav(path)
