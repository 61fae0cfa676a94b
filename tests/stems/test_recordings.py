"""Recordings as files: where they lie, what they hold, and that none takes another's place."""

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from musicgen_bridge.errors import PathError
from musicgen_bridge.request import RecordRequest
from musicgen_bridge.roots import Roots
from musicgen_bridge.stems.recordings import publish_recording


@pytest.fixture
def song(tmp_path):
    folder = tmp_path.resolve() / "song"
    folder.mkdir()
    return folder


def publish(song, name="", **changes):
    request = RecordRequest(**{"bars": 2.0, "bpm": 97.5, "project": str(song), "input": "Mic", "name": name} | changes)
    audio = np.sin(np.arange(9600, dtype=np.float32) / 20)[:, None] * [0.5, 0.25]
    return audio, publish_recording(audio.astype(np.float32), 48_000, request, roots=Roots.of([song.parent]))


def test_a_recording_is_wav_of_24_bits_to_the_sample(song):
    audio, stem = publish(song, "My Riff!")
    assert stem.path == str(song / "MusicGen" / "recordings" / "my-riff.wav")
    assert (stem.index, stem.total, stem.frames, stem.sample_rate, stem.bpm) == (0, 1, 9600, 48_000, 97.5)
    assert soundfile.info(stem.path).subtype == "PCM_24"
    read, _ = soundfile.read(stem.path)
    np.testing.assert_allclose(read, audio, atol=2**-23)
    assert [path.name for path in (song / "MusicGen" / "recordings").iterdir()] == ["my-riff.wav"]


def test_bars_know_their_tempo_for_the_daw(song):
    _, stem = publish(song)
    data = Path(stem.path).read_bytes()
    beats, _, _, bpm = struct.unpack_from("<IHHf", data, data.index(b"acid") + 8 + 12)
    assert (beats, bpm) == (8, 97.5)


def test_no_recording_takes_another_s_place(song):
    paths = [publish(song)[1].path for _ in range(2)]
    assert [path.rpartition("/")[2] for path in paths] == [
        "recording_97.5bpm_2bars.wav",
        "recording_97.5bpm_2bars-2.wav",
    ]


def test_a_folder_outside_of_the_roots_is_refused(song, tmp_path_factory):
    with pytest.raises(PathError):
        publish(song, project=str(tmp_path_factory.mktemp("elsewhere").resolve()))
