"""Recordings that a browser sends and stems that it plays: what comes is checked and kept, what it can't decode is WAV.

Kept as it came, byte for byte, where libsndfile reads it: nothing is lost between the recording and the model.
"""

from __future__ import annotations

import io
from pathlib import Path

import soundfile

from musicgen_bridge.errors import AudioError
from musicgen_bridge.roots import Roots, open_plain
from musicgen_bridge.sidecar import STEM_FOLDER
from musicgen_bridge.stems.files import NewFile, appear, make_folder
from musicgen_bridge.stems.paths import slug
from musicgen_bridge.stems.read import check_head
from musicgen_bridge.stems.recordings import RECORDING_FOLDER

_SUFFIXES = {"WAV": ".wav", "WAVEX": ".wav", "FLAC": ".flac", "AIFF": ".aiff", "MP3": ".mp3", "OGG": ".ogg"}

MAX_DECODED = 1 << 28
"""Bytes of samples that a recording may have to be turned into WAV: some 20 minutes of stereo at 48 kHz."""


def keep_upload(data: bytes, name: str, project: str, roots: Roots) -> Path:
    """Write a recording, as it came, to the project's folder of recordings and return its path.

    Raises:
        AudioError: libsndfile does not read it, or it is in another format than WAV, FLAC, AIFF, MP3 or Ogg.
        PathError: the project is gone or leads out of the roots.
        DiskError: the disk is full or may not be written; nothing half-written stays.
    """
    named = Path(name)
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            check_head(file, named)
            suffix = _SUFFIXES[file.format]
    except (soundfile.LibsndfileError, KeyError):
        raise AudioError("this can't be read as audio; save it as WAV, FLAC, AIFF, MP3 or Ogg") from None
    folder = make_folder(make_folder(roots.project(project), STEM_FOLDER), RECORDING_FOLDER)
    (path,) = appear(slug(named.stem) or "recording", [NewFile(folder, suffix, data)])
    return path


def as_wav(path: Path) -> bytes:
    """Return a recording as a WAV file of 32-bit floats, which every browser decodes.

    Raises:
        PathError: it is no plain file or may not be read.
        AudioError: it is no audio, or longer than memory should be spent on: a small file may hold hours of silence.
    """
    made = io.BytesIO()
    try:
        with open_plain(path) as stream, soundfile.SoundFile(stream) as file:
            check_head(file, path)
            if file.frames * file.channels * 4 > MAX_DECODED:
                raise AudioError(f"{path.name} is too long to be played here; save it as WAV or FLAC")
            soundfile.write(made, file.read(dtype="float32"), file.samplerate, format="WAV", subtype="FLOAT")
    except soundfile.LibsndfileError:
        raise AudioError(f"{path.name} can't be read as audio; export it again") from None
    return made.getvalue()
