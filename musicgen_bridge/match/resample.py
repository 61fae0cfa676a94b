"""Sample rates: from the model's to the session's, and down to what the analysis listens to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import soxr
from numpy.typing import DTypeLike, NDArray

from musicgen_bridge.match import novelty

Audio = NDArray[np.float32]
"""[channels, n]"""
_CANCELLED = 0.01
"""Power of the channels' mean, as a share of theirs, under which it is not what a listener hears."""
_PIECE = 1 << 18
"""Frames that are worked on at once where what is made of them need not be kept whole: ten minutes are 200 MB."""


def resample(audio: Audio, rate: int, new_rate: int) -> Audio:
    """Return `audio` [channels, n] at `new_rate` Hz: linear phase, 28 bits, no delay (libsoxr's VHQ)."""
    if rate == new_rate:
        return audio
    return np.ascontiguousarray(soxr.resample(audio.T, rate, new_rate, quality="VHQ").T, dtype=np.float32)


def pieces(*parts: Audio) -> Iterator[Audio]:
    """Yield audio [channels, n], one part behind the other, in pieces."""
    for part in parts:
        for first in range(0, part.shape[1], _PIECE):
            yield part[:, first : first + _PIECE]


def resampled(parts: Iterable[Audio], rate: int, new_rate: int, channels: int, dtype: DTypeLike) -> Iterator[NDArray]:
    """Yield what `parts` [channels, n] make one behind the other, at `new_rate` Hz (libsoxr's HQ).

    To the sample what soxr.resample makes of the whole: both run through the same filters.
    """
    stream = soxr.ResampleStream(rate, new_rate, channels, dtype, "HQ")
    for part in parts:
        ready = stream.resample_chunk(np.ascontiguousarray(part.T, dtype)).T
        if ready.size:
            yield ready
    yield stream.resample_chunk(np.empty((0, channels), dtype), last=True).T


def for_analysis(audio: Audio, rate: int) -> novelty.Floats:
    """Return `audio` [channels, n] as the analysis wants it: mono [n] at 16 kHz, its peak at 1, silence left at 0.

    Where the channels cancel each other, as of opposite polarity, the loudest is heard in place of their mean.
    """
    mean, power = 0.0, np.zeros(len(audio))
    for piece in pieces(audio):
        mean += float((piece.mean(axis=0, dtype=np.float64) ** 2).sum())
        power += np.square(piece, dtype=np.float64).sum(axis=1)
    if mean < _CANCELLED * power.mean():
        audio = audio[int(np.argmax(power))][None]
    heard = (piece.mean(axis=0, dtype=np.float64, keepdims=True) for piece in pieces(audio))
    mono = np.concatenate(list(resampled(heard, rate, novelty.RATE, 1, np.float64)), axis=1)[0]
    return mono / max(np.abs(mono).max(initial=0.0), 1e-9)
