"""Chroma: how strongly each of the twelve pitch classes sounds, in the bass and above it, drums left out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from musicgen_bridge.match.novelty import RATE, Floats, spectrogram
from musicgen_bridge.medians import running_median

HOP = 320
FRAMES = RATE / HOP
"""Frames a second of the chroma."""
_WINDOW = 4096
_LOW, _BASS, _HIGH = 60.0, 230.0, 2000.0


def chroma(audio: Floats) -> Floats:
    """Return [frames, 24] at `FRAMES` a second: pitch classes from C above 230 Hz, then from C below it.

    `audio` is mono [n] at `RATE`, peak at 1. A median over 180 ms removes what doesn't last (drums), the median over
    15 bins what isn't a peak (noise); compare Fitzgerald, "Harmonic/percussive separation using median filtering",
    DAFx 2010.
    """
    bins = np.fft.rfftfreq(_WINDOW, 1 / RATE)
    kept = (bins > _LOW) & (bins < _HIGH)
    bins = bins[kept]
    magnitudes = np.concatenate([block[:, kept] for block in spectrogram(audio, _WINDOW, HOP)])
    energy = np.log1p(300 / _WINDOW * magnitudes)  # [frames, bins]
    lasting = running_median(energy, 9, axis=0)
    peaks = np.maximum(lasting - running_median(lasting, 15, axis=1), 0)
    return (peaks @ _to_pitch_classes(bins)).astype(np.float64)


def _to_pitch_classes(bins: NDArray) -> NDArray[np.float32]:
    """Return the matrix [bins, 24] that adds each bin to the nearest pitch class of its register."""
    pitches = np.round(69 + 12 * np.log2(bins / 440)).astype(int)  # MIDI notes
    columns = pitches % 12 + 12 * (bins < _BASS)
    return np.eye(24, dtype=np.float32)[columns]
