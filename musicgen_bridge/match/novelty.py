"""Onset strength: how suddenly the sound grows, in all bands, in the bass, in the treble and in level."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RATE = 16_000
"""The sample rate that the analysis works at, in Hz."""
HOP = 80
FRAMES = RATE / HOP
"""Frames a second of the onset strength."""
_WINDOW = 1024
_BANDS = 40
_BLOCK = 512
"""Frames that are transformed at once."""
_LAG = 3
"""Frames over which growth is measured: 15 ms, an attack's length."""


class Novelty(NamedTuple):
    """Onset strengths [n] at `FRAMES` a second, each non-negative and of unit RMS; 0 between onsets."""

    onsets: Floats
    bass: Floats
    treble: Floats
    level: Floats


def spectrogram(audio: Floats, window: int, hop: int) -> Iterator[NDArray[np.float32]]:
    """Yield the magnitudes [frames, window // 2 + 1] of centred Hann windows over `audio` [n], a hop apart, in blocks.

    Those of ten minutes at once would be larger than the recording.
    """
    padded = np.pad(audio.astype(np.float32), window // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    taper = np.hanning(window).astype(np.float32)
    for first in range(0, len(frames), _BLOCK):
        yield np.abs(scipy.fft.rfft(frames[first : first + _BLOCK] * taper, axis=1))


def novelty(audio: Floats) -> Novelty:
    """Return the onset strengths of mono `audio` [n] at `RATE`, peak at 1.

    The growth of the logarithmic band energies over 15 ms. For `onsets` each band is compared with the largest of its
    neighbours before, so that vibrato makes no onsets (SuperFlux: Böck and Widmer, DAFx 2013).
    """
    weights, centres = _filterbank()
    bands = np.concatenate([block @ weights for block in spectrogram(audio, _WINDOW, HOP)])
    bands = np.log1p(1000 / _WINDOW * bands)  # [n, bands]
    before = np.pad(bands, ((_LAG, 0), (0, 0)), mode="edge")[:-_LAG]
    growth = np.maximum(bands - before, 0)
    widest = np.maximum(before, np.maximum(np.roll(before, 1, axis=1), np.roll(before, -1, axis=1)))
    strict = np.maximum(bands - widest, 0)
    onsets = _peaks(strict.sum(axis=1)) + 0.5 * _peaks(growth.sum(axis=1))
    return Novelty(
        onsets=scipy.ndimage.gaussian_filter1d(onsets, 0.8),
        bass=_peaks(growth[:, centres < 180].sum(axis=1)),
        treble=_peaks(growth[:, centres > 900].sum(axis=1)),
        level=_level_jumps(audio, len(bands)),
    )


def _filterbank() -> tuple[NDArray[np.float32], Floats]:
    """Return triangular filters [bins, bands], geometrically spaced, never narrower than a bin, and their centres."""
    low, high = 30.0, 7500.0
    bins = np.fft.rfftfreq(_WINDOW, 1 / RATE)
    edges = np.geomspace(low, high, _BANDS + 2)
    edges = np.maximum(edges, low + np.arange(_BANDS + 2) * bins[1])
    rise = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rise, fall)).astype(np.float32), edges[1:-1]


def _peaks(strength: NDArray) -> Floats:
    """Take away the mean of the second around each frame, clip at 0, and scale to unit RMS."""
    above = np.maximum(strength - scipy.ndimage.uniform_filter1d(strength, int(FRAMES)), 0).astype(np.float64)
    return _unit(above)


def _level_jumps(audio: Floats, frames: int) -> Floats:
    """How far the RMS level (25 ms) grows within the 30 ms after each frame, in the same scale as the others."""
    power = scipy.ndimage.uniform_filter1d(audio**2, 400)[::HOP]
    level = np.sqrt(np.maximum(power, 0))
    level = np.pad(level, (0, frames + 6), mode="edge")[: frames + 6]
    return _unit(np.maximum(level[6:] - level[:-6], 0))


def _unit(strength: Floats) -> Floats:
    return strength / (np.sqrt(np.mean(strength**2)) + 1e-9)
