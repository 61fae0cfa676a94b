"""The downbeat: a vote among the beats of the bar, by what players do where a bar begins."""

from __future__ import annotations

import numpy as np

from musicgen_bridge.match import chroma
from musicgen_bridge.match.novelty import FRAMES, RATE, Floats, Novelty
from musicgen_bridge.match.tempo import Pulse

_SURE = 0.5
"""How fast the confidence grows with the lead: over 0.6 nine downbeats in ten are right, under 0.4 two in three."""
_EARLY = 0.02
"""Seconds by which a beat may lie before the first sample and still be heard."""
_REACH = 0.03
"""Seconds around a beat in which an onset belongs to it."""


def first_downbeat(audio: Floats, strengths: Novelty, period: float, phase: float, pulse: Pulse) -> tuple[float, float]:
    """Return the seconds of the first downbeat in mono `audio` [n] at `RATE`, and a confidence from 0 to 1.

    The pulses fall at phase + k period.

    Each slot of the bar (a pulse or, at a cost, its division) gets votes: the harmony changes there and not a pulse
    before or after, the bass enters, the level jumps, the snare answers one pulse later, and the clip begins there.
    Audio shorter than a bar has no downbeat but its first pulse. The confidence grows with the lead over the second.
    """
    divisions = pulse.split if pulse.quarters >= 1 else 1
    slots, slot = pulse.per_bar * divisions, period / divisions
    earlier = int((phase + _EARLY) // slot)
    start = phase - earlier * slot  # the earliest slot that is heard
    times = np.arange(start, len(audio) / RATE - _REACH, slot)
    if len(times) < slots:
        return phase, 0.0

    def over_bar(strength: Floats) -> Floats:
        """Mean of a strength at each slot of the bar [slots], in units of its mean over all."""
        bars = np.pad(strength, (0, -len(strength) % slots), constant_values=np.nan).reshape(-1, slots)
        return np.nanmean(bars, axis=0) / (strength.mean() + 1e-9)

    def later(profile: Floats, pulses: int) -> Floats:
        return np.roll(profile, -pulses * divisions)

    bass, treble, level = (over_bar(_at(strength, times)) for strength in strengths[1:])
    change = _harmony_change(chroma.chroma(audio), times, span=slots * slot / 2)
    harmony = over_bar(change) * min(1.0, change.mean() / 0.04)  # where little changes, it has little say
    votes = 1.5 * (harmony - 0.3 * later(harmony, 1) - 0.3 * later(harmony, -1)) + 0.5 * bass + 0.6 * level
    if pulse.per_bar in (2, 4):
        backbeat = treble - bass
        votes += sum((-1) ** (i + 1) / pulse.per_bar * later(backbeat, i) for i in range(pulse.per_bar))
    onset = _at(strengths.onsets, times)
    votes += 0.6 * (np.arange(slots) == np.argmax(onset > 0.5 * onset.mean()))
    votes -= 0.8 * (np.arange(slots) % divisions != earlier % divisions)
    second, first = np.sort(votes)[-2:] if slots > 1 else (votes[0] - 1, votes[0])
    return start + slot * int(np.argmax(votes)), float(1 - np.exp(_SURE * (second - first)))


def _at(strength: Floats, times: Floats) -> Floats:
    """Return the largest strength within `_REACH` of each of `times`."""
    reach = round(_REACH * FRAMES)
    frames = np.round(times * FRAMES).astype(int)[:, None] + np.arange(-reach, reach + 1)
    return strength[np.clip(frames, 0, len(strength) - 1)].max(axis=1)


def _harmony_change(classes: Floats, times: Floats, span: float) -> Floats:
    """Return the cosine distance between the chroma [frames, 24] `span` seconds before and after each of `times`.

    Where less than half of a span is heard on either side, 0.
    """
    total = np.vstack([np.zeros(classes.shape[1]), np.cumsum(classes, axis=0)])
    width = max(int(span * chroma.FRAMES), 2)
    here = np.clip(np.round(times * chroma.FRAMES).astype(int), 0, len(classes))
    start, end = np.maximum(here - width, 0), np.minimum(here + width, len(classes))
    before, after = total[here] - total[start], total[end] - total[here]
    norm = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    distance = np.maximum(1 - (before * after).sum(axis=1) / (norm + 1e-6), 0)
    distance[(here - start < width // 2) | (end - here < width // 2)] = 0
    return distance
