"""Tempo: the pulse that explains the onsets best, near the tempo that the session has."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import numpy as np

from musicgen_bridge.match.novelty import FRAMES, Floats
from musicgen_bridge.request import Signature

SLOWEST, FASTEST = 0.8, 1.25
"""How far from the session's tempo the music may be."""
_PRIOR = 0.8
"""Standard deviation, in octaves, of the music's tempo around the session's."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """What a listener taps to a time signature."""

    quarters: Fraction
    """The length of one tap in quarter notes."""
    split: int
    """Into how many a tap divides: 2, or 3 in a compound metre."""
    per_bar: int

    @classmethod
    def of(cls, signature: Signature) -> Pulse:
        """Return the pulse of a signature: quarters in n/4 and n/2, dotted quarters in 6/8, eighths in 7/8.

        A metre in eighths (or shorter) whose beats don't group in threes is additive, 2+2+3: no pulse but its own
        unit fits into the bar.
        """
        beats, unit = signature
        if unit <= 4:
            return cls(Fraction(1), 2, beats * 4 // unit)
        if beats % 3 == 0 and beats > 3:
            return cls(Fraction(12, unit), 3, beats // 3)
        return cls(Fraction(4, unit), 2, beats)


@dataclass(frozen=True, slots=True)
class Tempo:
    """A steady pulse in the analysed audio."""

    period: float
    """Seconds from one pulse to the next."""
    phase: float
    """Seconds of the first pulse, in 0 to `period`."""
    confidence: float
    """Share of the onsets' variance that the pulse explains beyond chance: 0 no beat, 1 a metronome."""


def estimate_tempo(onsets: Floats, session_period: float, pulse: Pulse) -> Tempo:
    """Return the pulse of `onsets` [n at `FRAMES`], whose period in the session's tempo is `session_period` seconds.

    Candidates come from the periodicity of the whole clip, and each is then fitted as a train of pulses.
    """
    periods = session_period / np.exp(np.arange(np.log(SLOWEST), np.log(FASTEST), 0.001))
    prior = np.exp(-0.5 * (np.log2(periods / session_period) / _PRIOR) ** 2)
    strength = periodicity(onsets, periods, pulse) * prior
    candidates = _best_apart(strength, periods, count=4)
    fits = []
    for candidate in candidates:
        period, phase, score = _fit_train(onsets, candidate, pulse.split)
        fits.append((max(score, 0.0) * float(np.interp(-period, -periods, strength)), period, phase))
    _, period, phase = max(fits, default=(0.0, session_period, 0.0))
    return Tempo(period=period, phase=phase, confidence=_explained(onsets, period * FRAMES))


def _explained(onsets: Floats, period: float) -> float:
    """Return the share of the variance of `onsets` that lies in their fold on `period` frames, beyond chance.

    Over k periods, even noise keeps 1 / k of its variance when it is folded.
    """
    chance = period / len(onsets)
    share = _fold(onsets, period).var() / (onsets.var() + 1e-9)
    return float(np.clip((share - chance) / max(1 - chance, 1e-9), 0, 1))


def periodicity(onsets: Floats, periods: Floats, pulse: Pulse) -> Floats:
    """Return how periodic the onsets are at each of `periods` (seconds a pulse).

    The sum of the Fourier magnitude at the pulse and its divisions, which is sharp in tempo because the whole clip
    must stay in phase, and of the autocorrelation at one pulse and at one and two bars, which knows of rhythm.
    """
    size = 1 << 17
    centred = (onsets - onsets.mean()) * np.sqrt(np.hanning(len(onsets)))
    magnitude = np.abs(np.fft.rfft(centred, size)) / (np.abs(centred).sum() + 1e-9)
    frequency = np.arange(len(magnitude)) * FRAMES / size
    out = np.zeros(len(periods))
    for multiple, weight in ((1, 1.0), (pulse.split, 0.8), (2 * pulse.split, 0.5)):
        out += weight * np.interp(multiple / periods, frequency, magnitude)

    power = np.abs(np.fft.rfft(centred, 2 * len(onsets))) ** 2
    correlation = np.fft.irfft(power)[: len(onsets)]
    correlation = np.maximum(correlation / (correlation[0] + 1e-9), 0)
    for pulses in {1, 2, pulse.per_bar, 2 * pulse.per_bar}:
        lag = pulses * periods * FRAMES
        known = lag < 0.8 * len(onsets)
        out[known] += 0.4 * np.interp(lag[known], np.arange(len(onsets)), correlation)
    return out


def _best_apart(strength: Floats, periods: Floats, count: int) -> list[float]:
    """Return the periods of the `count` strongest candidates that are at least 3 % apart."""
    left = strength.copy()
    best: list[float] = []
    while len(best) < count and left.max() > 0:
        best.append(float(periods[int(np.argmax(left))]))
        left[np.abs(np.log(periods / best[-1])) < 0.03] = 0
    return best


def _fit_train(onsets: Floats, period: float, split: int) -> tuple[float, float, float]:
    """Return the period and phase (seconds) and score of the best pulse train within 1.2 % of `period`.

    Each of four rounds looks at 25 periods and narrows the search by five: the last step is 0.001 %.
    """
    span = 0.012
    for _ in range(4):
        tried = period * (1 + np.linspace(-span, span, 25))
        period = float(tried[int(np.argmax([_train_score(onsets, one * FRAMES, split)[0] for one in tried]))])
        span /= 5
    score, phase = _train_score(onsets, period * FRAMES, split)
    return period, phase / FRAMES, score


def _train_score(onsets: Floats, period: float, split: int) -> tuple[float, float]:
    """Return the best score of a train of pulses `period` frames apart, and its phase in frames.

    Onsets count in full on the pulse, by half on its division and by a quarter on the next finer one; what falls on
    the other division (thirds where the pulse halves, halves where it has thirds) counts against.
    """
    profile = _fold(onsets, period)
    scores = profile @ _trains(len(profile), split)
    best = int(np.argmax(scores))
    return float(scores[best]), best * period / len(profile)


@cache
def _trains(phases: int, split: int) -> Floats:
    """Return what a fold's phases count in the train that begins with each of them, a circulant [phases, phases]."""
    halves, thirds, quarters, sixths = [1 / 2], [1 / 3, 2 / 3], [1 / 4, 3 / 4], [1 / 6, 5 / 6]
    division, finer, other = (halves, quarters, thirds) if split == 2 else (thirds, sixths, halves)
    counts = np.eye(1, phases)[0]
    for parts, weight in ((division, 0.5), (finer, 0.25), (other, -0.6)):
        for part in parts:
            counts[round(part * phases)] += weight / len(parts)
    phase = np.arange(phases)
    return counts[(phase[:, None] - phase) % phases]


def _fold(onsets: Floats, period: float) -> Floats:
    """Return the mean onset strength at 12 to 96 phases of `period` frames, as a pulsar's light is folded.

    Each frame is shared by its two nearest phases; 2, 3, 4 and 6 divide their number.
    """
    phases = 12 * int(np.clip(period // 12, 1, 8))
    place = np.arange(len(onsets)) / period % 1 * phases
    left = np.minimum(place.astype(int), phases - 1)
    share = place - left
    at = np.concatenate([left, (left + 1) % phases])
    weight = np.concatenate([1 - share, share])
    total = np.bincount(at, weight * np.tile(onsets, 2), phases)
    return total / np.maximum(np.bincount(at, weight, phases), 1e-9)
