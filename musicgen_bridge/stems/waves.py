"""Audio files of any name and place, for those who call from Python: wav, mp3, flac and ogg."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from musicgen_bridge.errors import AudioError
from musicgen_bridge.patience import patiently
from musicgen_bridge.stems.files import NewFile, disk_errors, staged

Floats = NDArray[np.float32]
Samples = Floats | NDArray[np.int16]

_KINDS = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_24"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "ogg": ("OGG", "VORBIS"),
}
_MP3_RATES = ((32_000, 32, 320), (16_000, 8, 160), (0, 8, 64))
"""Sample rate from which on, and the least and most kbit/s there: MPEG 1, 2 and 2.5, layer III."""
_VORBIS_RATES = (64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 500)
"""Nominal kbit/s of Vorbis' qualities 0 to 10, for stereo at 44.1 kHz."""
_BLOCK = 65_536
"""Frames written at once: libsndfile's Vorbis encoder keeps what it is given on the stack."""


@dataclass(frozen=True)
class AudioFileInfo:
    """What the head of a file says: Hz, seconds, channels."""

    sample_rate: int
    duration: float
    channels: int


def file_info(path: Path) -> AudioFileInfo:
    """Return what a file says of itself; raises AudioError where it is no audio, FileNotFoundError where none is."""
    with _opened(path) as file:
        return AudioFileInfo(file.samplerate, file.frames / file.samplerate, file.channels)


def read_part(path: Path, seek_time: float, duration: float) -> tuple[Floats, int]:
    """Return [C, N] of a file from `seek_time` on, and its rate; `duration` of it, or all if that is not above 0.

    Both are in seconds and count whole frames, rounded down. Raises as `file_info`.
    """
    with _opened(path) as file:
        rate = file.samplerate
        file.seek(min(int(rate * seek_time), file.frames))
        audio = file.read(int(rate * duration) if duration > 0 else -1, dtype="float32", always_2d=True)
    return np.ascontiguousarray(audio.T), rate


def encode_wave(samples: Samples, sample_rate: int, kind: str, mp3_rate: int, ogg_rate: int | None) -> bytes:
    """Return `samples` [N, C] as a file of the kind wav (16 bits), flac (24), mp3 or ogg (Vorbis), rates in kbit/s.

    MP3 has a constant rate, Vorbis a quality whose nominal rate is the one asked for. Raises RuntimeError on another
    kind, AudioError where a kind has no such sample rate or number of channels.
    """
    if kind not in _KINDS:
        raise RuntimeError(f"Invalid format {kind}. Only {', '.join(_KINDS)} are supported.")
    container, subtype = _KINDS[kind]
    options: dict[str, float | str] = {}
    if kind == "mp3":
        least, most = next((low, high) for start, low, high in _MP3_RATES if sample_rate >= start)
        options = {
            "bitrate_mode": "CONSTANT",
            "compression_level": float(np.clip((most - mp3_rate) / (most - least), 0, 1)),
        }
    elif kind == "ogg" and ogg_rate is not None:
        quality = np.interp(ogg_rate, _VORBIS_RATES, np.linspace(0, 1, len(_VORBIS_RATES)))
        options = {"compression_level": float(1 - quality)}
    memory = io.BytesIO()  # libsndfile is silent on a disk that fills up while it closes a file
    try:
        with soundfile.SoundFile(
            memory, "w", sample_rate, samples.shape[1], subtype, format=container, **options
        ) as file:
            for first in range(0, len(samples), _BLOCK):
                file.write(samples[first : first + _BLOCK])
    except soundfile.LibsndfileError as error:
        raise AudioError(
            f"{kind} can't hold {samples.shape[1]} channels at {sample_rate} Hz ({error.error_string.rstrip('.')}); "
            "convert the audio or choose wav"
        ) from error
    return memory.getvalue()


def put(path: Path, data: bytes) -> None:
    """Write a file whole, in the place of one of that name: the caller named it. Raises DiskError or PathError."""
    with disk_errors(path), staged(NewFile(path.parent, path.suffix, data)) as temporary:
        patiently(temporary.replace, path)


def _opened(path: Path) -> soundfile.SoundFile:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        return soundfile.SoundFile(path)
    except soundfile.LibsndfileError as error:
        raise AudioError(
            f"{path} can't be read as audio ({error.error_string.rstrip('.')}); save it as WAV, FLAC, MP3 or OGG"
        ) from error
