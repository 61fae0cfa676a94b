"""Loudness and true peak: the gain to so many LUFS, and a limiter that a loop can go round in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import scipy
import sf_limiter
from numpy.typing import NDArray

from musicgen_bridge.match.resample import Audio, pieces, resampled

MOST_LIMITING = 9.0
"""Decibels that the limiter may take off a peak: more would cost the drums their punch."""
_METER_RATE = 48_000
"""The rate for which BS.1770 gives its filters: measured at 8 kHz, pyloudnorm's would be 0.2 dB off."""
_SILENT, _FAINTER = -70.0, 10.0
"""LUFS, and LU under the loudness of all blocks, from which on a gating block counts."""
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
    peak = true_peak(audio, sample_rate, loop)
    most = 0.0 if lufs is None else ceiling + MOST_LIMITING - peak
    gain = min(target - measured, most)
    for _ in range(4):
        out = audio  # lets go of what the round before made
        out, highest = _limited(audio * np.float32(10 ** (gain / 20)), peak + gain, sample_rate, ceiling, loop)
        reached = integrated_loudness(out, sample_rate)
        missing = target - (reached if reached is not None else target)
        if missing < 0.1 or gain >= most:
            break
        gain = min(gain + missing, most)
    return Levelled(out, reached, highest, 0.0 if lufs is None else max(0.0, missing))


def integrated_loudness(audio: Audio, sample_rate: int) -> float | None:
    """Return the loudness in LUFS of `audio` [channels, n] played round and round; None under the gate of -70 LUFS.

    ITU-R BS.1770-4 with the filters of the standard ("DeMan"), over at least 3 s, since a gating block lasts 0.4 s.
    """
    rounds = max(1, int(np.ceil(_LONG_ENOUGH * sample_rate / audio.shape[1])))
    parts = pieces(*[audio] * rounds)
    if sample_rate != _METER_RATE:
        parts = resampled(parts, sample_rate, _METER_RATE, len(audio), np.float64)
    power = _block_power(parts, len(audio))
    loudness = _lufs(power)
    gate = _SILENT
    if (loudness >= gate).any():
        gate = max(gate, float(_lufs(power.compress(loudness >= gate, axis=1).mean(axis=1))) - _FAINTER)
    heard = loudness > gate
    return float(_lufs(power.compress(heard, axis=1).mean(axis=1))) if heard.any() else None


def _lufs(power: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the loudness of mean squares [channels, ...], of which left and right count alike."""
    with np.errstate(divide="ignore"):
        return np.asarray(-0.691 + 10 * np.log10(power.sum(axis=0)))


def _block_power(parts: Iterable[NDArray], channels: int) -> NDArray[np.float64]:
    """Return the mean squares [channels, blocks] of `parts` [channels, n] at 48 kHz in a meter's gating blocks.

    The figures are pyloudnorm's, whose own meter wants the whole at once, three times over.
    """
    import pyloudnorm  # and with it scipy.signal, which takes a second

    meter = pyloudnorm.Meter(_METER_RATE, filter_class="DeMan")
    filters = list(meter._filters.values())
    states = [np.zeros((channels, 2)) for _ in filters]
    size, step = meter.block_size, 1 - meter.overlap
    power: list[NDArray[np.float64]] = []

    def measure(block: NDArray) -> None:
        power.append(1 / (size * _METER_RATE) * np.square(block).sum(axis=1))

    def bounds() -> tuple[int, int]:
        return int(size * (len(power) * step) * _METER_RATE), int(size * (len(power) * step + 1) * _METER_RATE)

    kept, begin, end = np.empty((channels, 0)), 0, 0
    for part in parts:
        weighted = part
        for index, one in enumerate(filters):
            weighted, states[index] = scipy.signal.lfilter(one.b, one.a, weighted, zi=states[index])
            weighted = one.passband_gain * weighted
        kept, end = np.concatenate([kept, weighted], axis=1), end + part.shape[1]
        while bounds()[1] <= end:
            measure(kept[:, bounds()[0] - begin : bounds()[1] - begin])
        kept, begin = kept[:, bounds()[0] - begin :], bounds()[0]
    blocks = round((end / _METER_RATE - size) / (size * step)) + 1
    if len(power) < blocks:  # the last one ends less than half a step behind the end
        measure(kept)
    return np.stack(power[:blocks], axis=1)


def true_peak(audio: Audio, sample_rate: int, loop: bool) -> float:
    """Return the true peak in dBTP of `audio` [channels, n], in a loop over the seam too; -200 for silence.

    ITU-R BS.1770-4, annex 2, but at 384 kHz where the standard asks for 192: a partial at 16 kHz may stand 0.3 dB over
    its values at 192 kHz, and less than 0.1 dB over these.
    """
    times = int(np.clip(np.ceil(384_000 / sample_rate), 2, 8))
    parts = pieces(*_around(audio, round(0.1 * sample_rate), loop))
    finer = resampled(parts, sample_rate, times * sample_rate, len(audio), np.float32)
    peak = max(np.abs(piece).max() for piece in finer)
    return 20 * float(np.log10(peak + 1e-10))


def _around(audio: Audio, edge: int, loop: bool) -> tuple[Audio, Audio, Audio]:
    """Return what is heard in `edge` frames before `audio` [channels, n], itself, and what is heard behind it."""
    if not loop:
        silence = np.zeros((len(audio), edge), np.float32)
        return silence, audio, silence
    frames = np.arange(edge)
    return audio[:, (frames - edge) % audio.shape[1]], audio, audio[:, frames % audio.shape[1]]


def limit(audio: Audio, sample_rate: int, ceiling: float, loop: bool) -> Audio:
    """Return `audio` [channels, n] with its true peaks at or under `ceiling` dBTP; what is under it stays as it is.

    A loop is limited together with its other end on either side, so that the gain too goes round without a step. The
    limiter aims 0.15 dB lower, and what still stands out lowers the whole.
    """
    return _limited(audio, true_peak(audio, sample_rate, loop), sample_rate, ceiling, loop)[0]


def _limited(audio: Audio, peak: float, sample_rate: int, ceiling: float, loop: bool) -> tuple[Audio, float]:
    """Return `audio`, whose true peak in dBTP is known, limited, and the true peak that it has then."""
    if peak <= ceiling:
        return audio, peak
    around = round(_AROUND * sample_rate)
    audio = np.concatenate(_around(audio, around, loop), axis=1)
    out = sf_limiter.limit(
        audio,
        sample_rate,
        threshold_dBFS=min(ceiling - 0.15, 0.0),
        attack_ms=2.0,
        hold_ms=5.0,
        release_ms=60.0,
        true_peak=sample_rate in _TRUE_PEAK_RATES or sample_rate >= 176_400,
    )[0]
    out = out[:, around:-around]
    highest = true_peak(out, sample_rate, loop)
    over = max(0.0, highest - ceiling)
    out *= np.float32(10 ** (-over / 20))
    return out, highest - over
