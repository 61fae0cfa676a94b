"""Loudness and true peak of a loop: as it sounds when it goes round, so its end counts as what precedes its start."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pyloudnorm
import sf_limiter
import soxr
from numpy.typing import NDArray

Audio = NDArray[np.float32]

QUIETEST = -70.0
"""LUFS; the absolute gate of ITU-R BS.1770-4, below which nothing is measured."""
_STEADY_S = 3.0
"""A loop is repeated to at least this length: the gate needs blocks of 400 ms."""
_LIMITED_BELOW = 0.15
"""dB; the limiter lands a little above the ceiling that it is given."""
_LIMITER_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000)
_ROUNDS = 4
_MOST_LIMITING = 4.0
"""LU of gain beyond what the level asks; more would only flatten the take."""


def loudness(audio: Audio, sample_rate: int) -> float:
    """Return the integrated loudness of the loop `audio` [n, channels] in LUFS (BS.1770-4); -inf for silence."""
    times = math.ceil(_STEADY_S * sample_rate / len(audio)) + 1
    meter = pyloudnorm.Meter(sample_rate, filter_class="DeMan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # silence is a division by zero there
        measured = float(meter.integrated_loudness(np.tile(audio, (times, 1)).astype(np.float64)))
    return measured if measured > QUIETEST else -math.inf


def true_peak(audio: Audio, sample_rate: int) -> float:
    """Return the true peak of the loop `audio` [n, channels] in dBTP: 4 times oversampled, across its seam."""
    edge = min(len(audio), sample_rate // 10)
    around = np.concatenate([audio[-edge:], audio, audio[:edge]])
    peak = float(np.abs(soxr.resample(around, sample_rate, 4 * sample_rate, quality="VHQ")).max())
    return 20 * math.log10(max(peak, 1e-9))


def normalise(audio: Audio, sample_rate: int, wanted: float, ceiling: float) -> Audio:
    """Return `audio` [n, channels] at `wanted` LUFS and below `ceiling` dBTP; silence stays as it is.

    Gain, then a limiter, and both again until the limited loop is as loud as wanted, at most `_ROUNDS` times: where
    peaks leave no room for it, it stays quieter.
    """
    level = loudness(audio, sample_rate)
    if not math.isfinite(level):
        return audio
    gain = wanted - level
    limited = audio
    for _ in range(_ROUNDS):
        limited = _limit(audio * np.float32(10 ** (gain / 20)), sample_rate, ceiling)
        missing = wanted - loudness(limited, sample_rate)
        if abs(missing) < 0.1 or gain + missing > wanted - level + _MOST_LIMITING:
            break
        gain += missing
    excess = true_peak(limited, sample_rate) - ceiling
    return limited * np.float32(10 ** (-max(excess, 0.0) / 20))


def _limit(audio: Audio, sample_rate: int, ceiling: float) -> Audio:
    """Return `audio` with what is above `ceiling` dBTP turned down smoothly, across the seam too."""
    if true_peak(audio, sample_rate) <= ceiling:
        return audio
    n = len(audio)
    round_about, _ = sf_limiter.limit(
        np.tile(audio, (3, 1)),
        sample_rate,
        threshold_dBFS=min(ceiling - _LIMITED_BELOW, 0.0),
        attack_ms=2.0,
        hold_ms=5.0,
        release_ms=60.0,
        axis=0,
        true_peak=sample_rate in _LIMITER_RATES or sample_rate >= 176_400,
    )
    return np.ascontiguousarray(round_about[n : 2 * n])
