"""Sample rates: from the model's to the session's, and down to what the analysis listens to."""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

from musicgen_bridge.match import novelty

Audio = NDArray[np.float32]
"""[channels, n]"""
_CANCELLED = 0.01
"""Power of the channels' mean, as a share of theirs, under which it is not what a listener hears."""


def resample(audio: Audio, rate: int, new_rate: int) -> Audio:
    """Return `audio` [channels, n] at `new_rate` Hz: linear phase, 28 bits, no delay (libsoxr's VHQ)."""
    if rate == new_rate:
        return audio
    return np.ascontiguousarray(soxr.resample(audio.T, rate, new_rate, quality="VHQ").T, dtype=np.float32)


def for_analysis(audio: Audio, rate: int) -> novelty.Floats:
    """Return `audio` [channels, n] as the analysis wants it: mono [n] at 16 kHz, its peak at 1, silence left at 0.

    Where the channels cancel each other, as of opposite polarity, the loudest is heard in place of their mean.
    """
    mean, power = audio.mean(axis=0, dtype=np.float64), np.mean(np.square(audio, dtype=np.float64), axis=1)
    if np.mean(mean**2) < _CANCELLED * power.mean():
        mean = audio[int(np.argmax(power))].astype(np.float64)
    mono = soxr.resample(mean, rate, novelty.RATE, quality="HQ")
    return mono / max(np.abs(mono).max(initial=0.0), 1e-9)
