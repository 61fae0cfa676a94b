"""The beat grid: a steady pulse fitted to the attacks of the whole clip, and its bars."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from musicgen_bridge.match.attack import attack_delay
from musicgen_bridge.match.downbeat import first_downbeat
from musicgen_bridge.match.novelty import FRAMES, RATE, Floats, novelty
from musicgen_bridge.match.tempo import Pulse, Tempo, estimate_tempo
from musicgen_bridge.request import Signature

HAS_BEAT = 0.1
"""The confidence from which on music has a beat: noise, drones and pads stay under 0.05, all else over 0.15."""
_STRAYS = 0.01
"""Seconds beside a steady pulse from which on the beats are followed: those of steady bands stay within 0.006."""
_AT_ONCE = (4.0, 8)
"""Seconds and pulses in which a wandering pulse is taken for a straight one, whichever is longer."""

Strays = tuple[tuple[float, float], ...]
"""Where music does not keep its tempo: seconds of a steady pulse, and how many seconds later it is played there."""


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
    strays: Strays = ()
    """Empty where the music keeps its tempo."""
    sure: float = 0.0
    """Of the downbeat, 0 to 1: how far it leads over the other beats of the bar."""

    @property
    def beatless(self) -> bool:
        """Whether the music has no beat; the grid is the session's then."""
        return self.confidence < HAS_BEAT

    def played_at(self, steady: float) -> float:
        """Return the second at which the music plays what the steady pulse has at second `steady`."""
        return _played_at(steady, self.strays)

    def steady_at(self, played: float) -> float:
        """Return the second of the steady pulse that the music plays at second `played`: `played_at` the other way."""
        steady = played
        for _ in range(3):  # it strays by milliseconds in seconds: each round gains two digits
            steady += played - self.played_at(steady)
        return steady


def _played_at(steady: float, strays: Strays) -> float:
    if not strays:
        return steady
    seconds, late = zip(*strays, strict=True)
    return steady + float(np.interp(steady, seconds, late))


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
    sixteenths = max(round(pulse.quarters * 4), 1)
    period, phase = _fit_onsets(strengths.onsets, rough, sixteenths)
    strays = _strays(strengths.onsets, replace(rough, period=period, phase=phase), sixteenths)
    phase += _attack_delay(audio, period, phase, strays, pulse)
    downbeat, sure = first_downbeat(audio, strengths, period, phase, pulse)
    bpm = 60 / period * float(pulse.quarters)
    return Grid(bpm, period * pulse.per_bar, downbeat, rough.confidence, strays, sure)


def _strays(onsets: Floats, steady: Tempo, sixteenths: int) -> Strays:
    """Return where and how much the music strays from its `steady` pulse; nothing if hardly.

    Every second a straight line is fitted to the onsets of some seconds around it; its middle tells by how much they
    are late there, and at the ends the line itself.
    """
    seconds, pulses = _AT_ONCE
    span = max(seconds, pulses * steady.period)
    found: list[tuple[float, float]] = []
    begins = np.arange(0, len(onsets) / FRAMES - span, 1.0)
    for index, begin in enumerate(begins):
        piece = onsets[int(begin * FRAMES) : int((begin + span) * FRAMES)]
        here = replace(steady, phase=(steady.phase - begin) % steady.period)
        period, phase = _fit_onsets(piece, here, sixteenths, leeway=0.03)
        wanted = [0.0, span / 2, span][index > 0 : 3 if index == len(begins) - 1 else 2]
        for at in wanted:
            found.append((begin + at, phase + period * (at - here.phase) / steady.period - at))
    return tuple(found) if max((abs(late) for _, late in found), default=0.0) > _STRAYS else ()


def _fit_onsets(onsets: Floats, rough: Tempo, sixteenths: int, leeway: float = 0.01) -> tuple[float, float]:
    """Return period and phase (seconds) of the straight line through the onsets near the sixteenths of the grid.

    A line whose period is further than `leeway` from the `rough` one, as a share, is not believed.

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
    if abs(period / rough.period - 1) > leeway or abs(phase - rough.phase) > 0.12 * rough.period:
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


def _attack_delay(audio: Floats, period: float, phase: float, strays: Strays, pulse: Pulse) -> float:
    """Return by how many seconds the attacks follow the grid: the onset strength alone tells where they are steepest.

    The pulse's divisions are heard too, since a part may leave out the beats; but no finer ones, which may be swung.
    """
    beat = period / (pulse.split if pulse.quarters >= 1 else 1)
    beats = np.array([_played_at(at, strays) for at in np.arange(phase, len(audio) / RATE, beat)])
    delay = attack_delay(audio, beats)
    return 0.004 if delay is None else delay
