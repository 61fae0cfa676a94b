"""Recordings of the user's, read for a melody or to be continued: only the part that is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from musicgen_bridge.errors import AudioError
from musicgen_bridge.roots import open_plain, shown

RATES = (4_000, 384_000)
SILENCE = 1e-4
"""-80 dBFS: a recording whose peak is lower holds nothing to follow."""
_TOLERANCE = 1e-3
"""Seconds by which a section may miss the end: clients send 32-bit floats and rounded clip lengths."""
_CUT_SHORT = re.compile(r"^ *(data|SSND) *:.*should be", re.MULTILINE)
"""libsndfile's note on a WAV or AIFF file that is shorter than it says of itself."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording or a section of one."""

    audio: NDArray[np.float32]
    """[channels, frames], one or two channels, full scale at 1, finite and not silent."""
    sample_rate: int


def read_audio(
    path: Path, *, start: float = 0.0, end: float | None = None, max_seconds: float, keys: str | None = "melody"
) -> Recording:
    """Return a recording from `start` to `end` (seconds; None is its end), at most `max_seconds` of it.

    `path` is one that `Roots.readable` returned; any format of libsndfile is read. The render keys `keys`_start and
    `keys`_end name the section, says the error's text; with None there are no such keys.

    Raises:
        PathError: it is no plain file or may not be read.
        AudioError: it is not audio, empty, cut short, silent, not finite, of more than two channels, too long, or the
            section lies outside of it.
    """
    with _opened(path) as file:
        length = file.frames / file.samplerate
        stop = length if end is None else end
        if start < 0 or start >= length or stop > length + _TOLERANCE or stop <= start:
            raise AudioError(
                f"{shown(path)} is {_clock(length)} long, so {_clock(start)} to {_clock(stop)} is not in it; "
                "name a section inside"
            )
        if stop - start > max_seconds + _TOLERANCE:
            how = f"give {keys}_start and {keys}_end" if keys else "cut a part out of it"
            raise AudioError(
                f"{shown(path)} is {_clock(stop - start)} long; {how}, at most {max_seconds / 60:g} minutes"
            )
        first = int(start * file.samplerate)
        return _read(file, path, first, min(round(stop * file.samplerate), file.frames))


def read_end(path: Path, *, seconds: float) -> Recording:
    """Return the last `seconds` of a recording, or all of a shorter one, for a take to continue; else as `read_audio`.

    Raises:
        PathError, AudioError: as `read_audio`.
    """
    with _opened(path) as file:
        return _read(file, path, max(0, file.frames - round(seconds * file.samplerate)), file.frames)


def read_raw(path: Path) -> Recording:
    """Return a take as the model made it; `path` is that of its raw take. Raises as `read_audio`."""
    with _opened(path) as file:
        found = re.fullmatch(r"divided by (\S+)", file.comment)
        raw = _read(file, path, 0, file.frames)
    return Recording(raw.audio * np.float32(found[1] if found else 1), raw.sample_rate)


@contextmanager
def _opened(path: Path) -> Iterator[soundfile.SoundFile]:
    with open_plain(path) as stream:
        try:
            with soundfile.SoundFile(stream) as file:
                check_head(file, path)
                yield file
        except soundfile.LibsndfileError as error:
            raise AudioError(
                f"{shown(path)} can't be read as audio ({error.error_string.rstrip('.')}); save it as WAV, FLAC or AIFF"
            ) from error


def check_head(file: soundfile.SoundFile, path: Path) -> None:
    """Raise AudioError where a file is empty, cut short, of more than two channels or of a rate outside `RATES`."""
    if file.frames <= 0:
        raise AudioError(f"{shown(path)} holds no sound (0 frames); record or export it again")
    if file.channels > 2:
        raise AudioError(f"{shown(path)} has {file.channels} channels; mix it down to mono or stereo")
    if not RATES[0] <= file.samplerate <= RATES[1]:
        raise AudioError(f"{shown(path)} has a sample rate of {file.samplerate} Hz; save it at 44100 or 48000")
    if _CUT_SHORT.search(file.extra_info):
        raise AudioError(_cut_short(path))


def _read(file: soundfile.SoundFile, path: Path, first: int, last: int) -> Recording:
    file.seek(first)
    audio = file.read(last - first, dtype="float32", always_2d=True)  # [frames, channels]
    if len(audio) < last - first:
        raise AudioError(_cut_short(path))
    if not np.isfinite(audio).all():
        raise AudioError(f"{shown(path)} holds samples that are not numbers (NaN or infinite); export it again")
    if np.ptp(audio, axis=0).max(initial=0.0) < 2 * SILENCE:  # nor is there sound in a DC offset
        raise AudioError(f"{shown(path)} is silent there; choose another section or recording")
    return Recording(np.ascontiguousarray(audio.T), file.samplerate)


def _cut_short(path: Path) -> str:
    return f"{shown(path)} ends before its header says; copy or export it again"


def _clock(seconds: float) -> str:
    """Return 10800 as 3:00:00 and 1.25 as 0:00:01.25."""
    whole = timedelta(seconds=int(seconds))
    return f"{whole}{f'{seconds % 1:.3f}'.rstrip('0')[1:].rstrip('.')}"
