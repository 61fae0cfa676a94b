"""Loudness and true peak: the gain to so many LUFS, and a limiter that a loop can go round in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyloudnorm
import sf_limiter
import soxr

from musicgen_bridge.match.resample import Audio

MOST_LIMITING = 9.0
"""Decibels that the limiter may take off a peak: more would cost the drums their punch."""
_METER_RATE = 48_000
"""The rate for which BS.1770 gives its filters: measured at 8 kHz, pyloudnorm's would be 0.2 dB off."""
_LONG_ENOUGH = 3.0
_AROUND = 0.5
"""Seconds of the loop's other end that the limiter hears before the start and after the end."""
_TRUE_PEAK_RATES = {8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000}
"""Where sf-limiter sees true peaks, and above 176.4 kHz; at other rates it sees samples."""


@dataclass(frozen=True, slots=True)
class Levelled:
    """Audio at its final level, and what a meter says of it."""

    audio: Audio
    """[channels, n]"""
    lufs: float | None
    """Integrated loudness of the audio going round; None for silence."""
    true_peak_db: float | None
    """dBTP; None for silence."""
    shortfall: float
    """LU that are missing from the target because its peaks would have to be limited too far."""


def level(audio: Audio, sample_rate: int, lufs: float | None, ceiling: float, loop: bool) -> Levelled:
    """Return `audio` [channels, n] at `lufs` (None: as loud as it is), its true peak at most `ceiling` dBTP.

    Limiting makes it quieter, so the gain is raised again by what is missing, up to three times.
    """
    measured = integrated_loudness(audio, sample_rate)
    if measured is None:
        return Levelled(audio, None, None, 0.0)
    target = measured if lufs is None else lufs
    most = 0.0 if lufs is None else ceiling + MOST_LIMITING - true_peak(audio, sample_rate, loop)
    gain = min(target - measured, most)
    for _ in range(4):
        out = limit(audio * np.float32(10 ** (gain / 20)), sample_rate, ceiling, loop)
        reached = integrated_loudness(out, sample_rate)
        missing = target - (reached if reached is not None else target)
        if missing < 0.1 or gain >= most:
            break
        gain = min(gain + missing, most)
    return Levelled(out, reached, true_peak(out, sample_rate, loop), 0.0 if lufs is None else max(0.0, missing))


def integrated_loudness(audio: Audio, sample_rate: int) -> float | None:
    """Return the loudness in LUFS of `audio` [channels, n] played round and round; None under the gate of -70 LUFS.

    ITU-R BS.1770-4 with the filters of the standard ("DeMan"), over at least 3 s, since a gating block lasts 0.4 s.
    """
    rounds = max(1, int(np.ceil(_LONG_ENOUGH * sample_rate / audio.shape[1])))
    frames = np.tile(audio, rounds).T.astype(np.float64)  # [n, channels]
    if sample_rate != _METER_RATE:
        frames = soxr.resample(frames, sample_rate, _METER_RATE, quality="HQ")
    with np.errstate(divide="ignore", invalid="ignore"):
        lufs = float(pyloudnorm.Meter(_METER_RATE, filter_class="DeMan").integrated_loudness(frames))
    return lufs if np.isfinite(lufs) else None


def true_peak(audio: Audio, sample_rate: int, loop: bool) -> float:
    """Return the true peak in dBTP of `audio` [channels, n], in a loop over the seam too; -200 for silence.

    ITU-R BS.1770-4, annex 2, but at 384 kHz where the standard asks for 192: a partial at 16 kHz may stand 0.3 dB over
    its values at 192 kHz, and less than 0.1 dB over these.
    """
    edge = round(0.1 * sample_rate)
    padded = np.pad(audio, ((0, 0), (edge, edge)), mode="wrap" if loop else "constant")
    times = int(np.clip(np.ceil(384_000 / sample_rate), 2, 8))
    finer = soxr.resample(padded.T, sample_rate, times * sample_rate, quality="HQ")
    return 20 * float(np.log10(np.abs(finer).max() + 1e-10))


def limit(audio: Audio, sample_rate: int, ceiling: float, loop: bool) -> Audio:
    """Return `audio` [channels, n] with its true peaks at or under `ceiling` dBTP; what is under it stays as it is.

    A loop is limited together with its other end on either side, so that the gain too goes round without a step. The
    limiter aims 0.15 dB lower, and what still stands out lowers the whole.
    """
    if true_peak(audio, sample_rate, loop) <= ceiling:
        return audio
    around = round(_AROUND * sample_rate)
    limited, _ = sf_limiter.limit(
        np.pad(audio, ((0, 0), (around, around)), mode="wrap" if loop else "constant"),
        sample_rate,
        threshold_dBFS=min(ceiling - 0.15, 0.0),
        attack_ms=2.0,
        hold_ms=5.0,
        release_ms=60.0,
        true_peak=sample_rate in _TRUE_PEAK_RATES or sample_rate >= 176_400,
    )
    out = limited[:, around:-around]
    over = max(0.0, true_peak(out, sample_rate, loop) - ceiling)
    return out * np.float32(10 ** (-over / 20))
