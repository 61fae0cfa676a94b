"""In-fill: a section of a recording becomes what a model played on from before it, without a step at either end."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from musicgen_bridge.match.beats import Grid, find_grid
from musicgen_bridge.match.key import KEY_HEARD, key_of
from musicgen_bridge.match.loop import cross
from musicgen_bridge.match.loudness import integrated_loudness, limit, true_peak
from musicgen_bridge.match.match import CEILING, Matched, Report
from musicgen_bridge.match.resample import Audio, for_analysis, resample
from musicgen_bridge.match.stretch import block_for, stretch
from musicgen_bridge.match.tempo import Pulse
from musicgen_bridge.match.warp import warp
from musicgen_bridge.request import Signature

FADE = 0.03
"""Seconds before the section, and at its end, in which old and new fade into each other."""
_MOST_GAIN = 12.0
"""Decibels by which the new may be made louder or quieter to be as loud as what is around it."""
_AROUND = 12.0
"""Seconds on either side that are listened to for tempo, key and loudness."""
_SURE = 0.3
"""The confidence from which on a beat is not taken for what lies between two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A recording and the part of it that is made anew."""

    audio: Audio
    """[channels, n], all of the recording."""
    sample_rate: int
    start: float
    """Seconds."""
    end: float

    def around(self) -> Audio:
        """Return what stands before and behind the section [channels, n], some seconds of each."""
        first, last, reach = (round(at * self.sample_rate) for at in (self.start, self.end, _AROUND))
        return np.concatenate(
            [self.audio[:, max(0, first - reach) : first], self.audio[:, last : last + reach]], axis=1
        )


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a new section has to keep."""

    grid: Grid
    """The beats from before the section to behind it, in seconds of the recording; or the session's tempo."""
    key: str | None


def surroundings(section: Section, bpm: float, signature: Signature) -> Surroundings:
    """Return tempo and key of a recording, of which a beat is looked for near `bpm`."""
    first = max(0, round((section.start - _AROUND) * section.sample_rate))
    last = round((section.end + _AROUND) * section.sample_rate)
    grid = find_grid(for_analysis(section.audio[:, first:last], section.sample_rate), bpm, signature)
    grid = replace(grid, downbeat=grid.downbeat + first / section.sample_rate)
    key, confidence = key_of(for_analysis(section.around(), section.sample_rate))
    return Surroundings(grid, key if confidence >= KEY_HEARD else None)


def fill(
    section: Section, kept: Surroundings, audio: Audio, sample_rate: int, before: float, signature: Signature
) -> tuple[Matched, float]:
    """Return the recording with the section made anew, and by how many seconds its beats had to be moved.

    `audio` [channels, n] at `sample_rate` is what the model heard, `before` seconds of it, and then what it played on.
    Its tempo becomes the recording's, and its beats are laid on the recording's, so that they meet again behind the
    section. It is as loud as what stands around it. Outside of the section and `FADE` before it no sample changes.
    """
    heard = for_analysis(audio[:, round(before * sample_rate) :], sample_rate)
    grid = find_grid(heard, kept.grid.bpm, signature)
    timed = not grid.beatless and not kept.grid.beatless
    rate = kept.grid.bpm / grid.bpm if timed else 1.0
    block = block_for(heard)
    if timed and grid.strays:
        seconds = audio.shape[1] / sample_rate / rate
        played = warp(audio, sample_rate, lambda at: before + grid.played_at(at * rate - before), seconds, block)
    else:
        played = stretch(audio, sample_rate, rate, block)
    joint = before / rate
    late = _late(grid, rate, kept.grid, section.start, signature) if timed else 0.0
    new = resample(played, sample_rate, section.sample_rate)
    whole, missing = _laid(section, new, joint + late)
    key, confidence = key_of(for_analysis(whole, section.sample_rate))
    report = Report(
        bpm=grid.bpm,
        confidence=grid.confidence,
        beatless=grid.beatless,
        rate=rate,
        strayed_s=max((abs(stray) for _, stray in grid.strays), default=0.0),
        downbeat_s=None,
        key=key if confidence >= KEY_HEARD else None,
        key_confidence=confidence,
        lufs=integrated_loudness(whole, section.sample_rate),
        true_peak_db=true_peak(whole, section.sample_rate, loop=False),
        shortfall_lu=0.0,
        short_s=missing,
    )
    out = np.ascontiguousarray(whole.T, dtype=np.float32)
    return Matched(audio=out, report=report, grid=grid), late


def _late(grid: Grid, rate: float, kept: Grid, start: float, signature: Signature) -> float:
    """Return by how many seconds the new beats come after the recording's, as they are laid at the section's start.

    That is at most half a beat; where beats may be taken for what lies between them, half a beat is as good as none.
    """
    unit = kept.bar / Pulse.of(signature).per_bar / (1 if min(grid.confidence, kept.confidence) > _SURE else 2)
    apart = grid.downbeat / rate - (kept.downbeat - start)
    return (apart + unit / 2) % unit - unit / 2


def _laid(section: Section, new: Audio, at: float) -> tuple[Audio, float]:
    """Return the recording with `new` [channels, n] from its second `at` on in the section, and what was missing."""
    rate, old = section.sample_rate, section.audio
    first, last = round(section.start * rate), round(section.end * rate)
    fade = min(round(FADE * rate), first, (last - first) // 2)
    begin, length = round(at * rate) - fade, fade + last - first
    if len(new) != len(old):
        new = np.broadcast_to(new.mean(axis=0, keepdims=True), (len(old), new.shape[1]))
    new = np.pad(new, ((0, 0), (max(0, -begin), 0)))[:, max(0, begin) :][:, :length]
    missing = length - new.shape[1]
    new = _as_loud(np.pad(new, ((0, 0), (0, missing))), section)
    out = old.copy()
    out[:, first - fade : last] = new
    out[:, first - fade : first] = cross(old[:, first - fade : first], new[:, :fade])
    out[:, last - fade : last] = cross(new[:, length - fade :], old[:, last - fade : last])
    return out, missing / rate


def _as_loud(new: Audio, section: Section) -> Audio:
    """Return `new` as loud as what is around the section, its true peaks no higher than the recording's or -1 dBTP."""
    rate = section.sample_rate
    wanted, has = integrated_loudness(section.around(), rate), integrated_loudness(new, rate)
    if wanted is None or has is None:
        return new
    gain = float(np.clip(wanted - has, -_MOST_GAIN, _MOST_GAIN))
    ceiling = max(CEILING, min(0.0, true_peak(section.audio, rate, loop=False)))
    return limit(new * np.float32(10 ** (gain / 20)), rate, ceiling, loop=False)
