"""The beat grid: a steady pulse fitted to the attacks of the whole clip, and its bars."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from musicgen_bridge.match.downbeat import first_downbeat
from musicgen_bridge.match.novelty import FRAMES, RATE, Floats, novelty
from musicgen_bridge.match.tempo import Pulse, Tempo, estimate_tempo
from musicgen_bridge.request import Signature

HAS_BEAT = 0.1
"""The confidence from which on music has a beat: noise, drones and pads stay under 0.05, all else over 0.15."""
_ENVELOPE = 2000.0
"""Values a second of the level in which attacks are looked for."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Where the music's beats and bars fall."""

    bpm: float
    """Quarter notes a minute."""
    bar: float
    """Seconds."""
    downbeat: float
    """Seconds of the first downbeat that is heard, perhaps a few milliseconds before the clip."""
    confidence: float
    """Of the tempo: share of the onsets' variance that the pulse explains."""

    @property
    def beatless(self) -> bool:
        """Whether the music has no beat; the grid is the session's then."""
        return self.confidence < HAS_BEAT


def find_grid(audio: Floats, session_bpm: float, signature: Signature) -> Grid:
    """Return the beat grid of mono `audio` [n] at `RATE`, peak at 1, given the session's tempo and time signature.

    Audio that has no beat, or less than four pulses, gets the session's grid.
    """
    pulse = Pulse.of(signature)
    expected = float(pulse.quarters) * 60 / session_bpm
    if len(audio) / RATE < 4 * expected:
        return Grid(session_bpm, expected * pulse.per_bar, 0.0, 0.0)
    strengths = novelty(audio)
    rough = estimate_tempo(strengths.onsets, expected, pulse)
    if rough.confidence < HAS_BEAT:
        return Grid(session_bpm, expected * pulse.per_bar, 0.0, rough.confidence)
    period, phase = _fit_onsets(strengths.onsets, rough, sixteenths=max(round(pulse.quarters * 4), 1))
    phase += _attack_delay(audio, period, phase)
    downbeat = first_downbeat(audio, strengths, period, phase, pulse)
    return Grid(60 / period * float(pulse.quarters), period * pulse.per_bar, downbeat, rough.confidence)


def _fit_onsets(onsets: Floats, rough: Tempo, sixteenths: int) -> tuple[float, float]:
    """Return period and phase (seconds) of the straight line through the onsets near the sixteenths of the grid.

    With onsets at t[i] near grid position k[i], minimise sum of w log(1 + (t - period k - phase)^2 / s^2), s = 12 ms:
    a Cauchy loss, whose least squares are reweighted by w / (1 + r^2 / s^2), so that swung or stray notes don't bend
    the line.
    """
    reach = float(np.clip(0.1 * rough.period, 0.025, 0.06))
    positions = np.arange(int((len(onsets) / FRAMES - rough.phase) / rough.period * sixteenths)) / sixteenths
    found = [
        (position, *onset)
        for position in positions
        if (onset := _onset_near(onsets, rough.phase + position * rough.period, reach))
    ]
    if len(found) < 6:
        return rough.period, rough.phase
    k, t, w = np.array(found).T
    period, phase = rough.period, rough.phase
    for _ in range(20):
        weight = w / (1 + ((t - period * k - phase) / 0.012) ** 2)
        mean_k, mean_t = np.average(k, weights=weight), np.average(t, weights=weight)
        period = (weight * (k - mean_k) * (t - mean_t)).sum() / ((weight * (k - mean_k) ** 2).sum() + 1e-12)
        phase = mean_t - period * mean_k
    if abs(period / rough.period - 1) > 0.01 or abs(phase - rough.phase) > 0.12 * rough.period:
        return rough.period, rough.phase
    return float(period), float(phase)


def _onset_near(onsets: Floats, time: float, reach: float) -> tuple[float, float] | None:
    """Return time (seconds, by a parabola through the peak) and strength of the onset within `reach` of `time`."""
    first = max(int((time - reach) * FRAMES), 1)
    last = min(int((time + reach) * FRAMES) + 1, len(onsets) - 1)
    if last - first < 3:
        return None
    peak = first + int(np.argmax(onsets[first:last]))
    before, top, after = onsets[peak - 1 : peak + 2]
    if top < 0.6:
        return None
    shift = 0.5 * (before - after) / (before - 2 * top + after + 1e-12)
    return (peak + float(np.clip(shift, -0.5, 0.5))) / FRAMES, min(float(top), 4.0)


def _attack_delay(audio: Floats, period: float, phase: float) -> float:
    """Return by how many seconds the attacks follow the grid, in the median: the onset strength alone is 5 ms coarse.

    The level of the derivative (which weighs treble) at 2 kHz shows where each rise near a beat begins.
    """
    slope = np.diff(audio, prepend=0.0) ** 2
    step = int(RATE / _ENVELOPE)
    level = np.sqrt(np.convolve(slope, np.ones(2 * step) / (2 * step), "same")[::step])
    beats = np.arange(phase, len(audio) / RATE, period)
    delays = [attack - beat for beat in beats if (attack := _attack_near(level, beat)) is not None]
    return float(np.median(delays)) if len(delays) >= max(4, 0.3 * len(beats)) else 0.004


def _attack_near(level: Floats, time: float, reach: float = 0.022) -> float | None:
    """Return when the steepest rise of `level` within `reach` of `time` begins, in seconds; None if nothing rises."""
    first = max(int((time - reach) * _ENVELOPE), 6)
    last = min(int((time + reach) * _ENVELOPE), len(level) - 6)
    if last - first < 20:
        return None
    near = level[first:last]
    steepest = int(np.argmax(near[6:] - near[:-6]))
    low = near[max(steepest - 4, 0) : steepest + 1].min()
    rise = near[steepest : steepest + 12]
    if rise.max() < 2.5 * low + 1e-4 or rise.max() < 0.25 * near.max():
        return None
    return (first + steepest + int(np.argmax(rise > low + 0.15 * (rise.max() - low)))) / _ENVELOPE
