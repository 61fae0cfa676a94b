"""A generated take becomes exactly the wanted bars, at the session's tempo, on its downbeat, at its loudness."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musicgen_bridge.errors import AudioError
from musicgen_bridge.match.beats import Grid, find_grid
from musicgen_bridge.match.key import estimate_key
from musicgen_bridge.match.loop import SEAM_S, SLOW_SEAM_S, ending, seam
from musicgen_bridge.match.loudness import loudness, normalise, true_peak
from musicgen_bridge.match.novelty import RATE, Floats
from musicgen_bridge.match.resample import resample
from musicgen_bridge.match.stretch import stretch
from musicgen_bridge.match.trim import filled, first_cut
from musicgen_bridge.request import Signature

Audio = NDArray[np.float32]

SPARE = 1.05
"""How much more than its length a take needs: the model may play 5 % slower than the session."""
SPARE_S = 0.5
_SHORTEST_S = 2.0
"""Less than this says nothing about tempo."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a stem has to be."""

    bpm: float
    """Quarter notes a minute."""
    signature: Signature
    frames: int
    sample_rate: int
    loop: bool = True
    match: bool = True
    """False leaves tempo and downbeat as they are: the stem begins with the take's first sample."""
    loudness: float | None = -14.0
    """LUFS; None leaves the level alone, but for what is above the ceiling."""
    ceiling: float = -1.0
    """dBTP."""
    continues: bool = False
    """The take goes on from a recording: its first sample is the join and stays the first."""

    @property
    def seconds(self) -> float:
        """The stem's length."""
        return self.frames / self.sample_rate

    @property
    def bar(self) -> float:
        """Seconds of a bar."""
        return float(self.signature.quarters) * 60 / self.bpm


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was measured in the take, and what was done to it."""

    bpm: float | None
    """The take's own tempo in quarter notes a minute; None where it has no beat."""
    confidence: float
    """Of the tempo: share of the onsets' variance that the beat explains, 0 to 1."""
    rate: float
    """How many times as fast the take plays in the stem."""
    start_s: float
    """Seconds into the take at which the stem begins."""
    short_s: float
    """Seconds that the take was too short for, filled by its last bar."""
    key: str | None
    key_confidence: float
    lufs: float | None
    """None for silence."""
    true_peak: float
    """dBTP."""
    shortfall: float
    """LU by which the stem stayed below the wanted loudness."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """A stem's audio, float32 [frames, channels], always exactly as long as its target, and how it came about."""

    audio: Audio
    report: Report


def needed_seconds(target: Target) -> float:
    """Return how long a take the model must make: with room for its tempo, its downbeat and the seam."""
    return target.seconds * SPARE + target.bar + SPARE_S if target.match else target.seconds + SPARE_S


def match(audio: NDArray, sample_rate: int, target: Target) -> Matched:
    """Return the stem that a take `audio` [channels, n] at `sample_rate` becomes; the same take gives the same stem.

    Raises:
        AudioError: a sample is not finite, or there is none.
    """
    take = np.ascontiguousarray(np.asarray(audio, np.float32).T)  # [n, channels]
    if not take.size or not np.isfinite(take).all():
        raise AudioError("the model made no usable sound; render again with another seed or a lower temperature")
    mono = _analysed(take, sample_rate)
    heard = _grid(mono, target)
    grid = heard if target.match else None
    rate = target.bpm / grid.bpm if grid else 1.0
    fade = SLOW_SEAM_S if target.match and grid is None else SEAM_S
    start = _start(grid, target, rate, len(take) / sample_rate, fade)
    stretched = resample(stretch(take, sample_rate, rate), sample_rate, target.sample_rate)
    first = round(start / rate * target.sample_rate)
    full = filled(stretched, first + target.frames, round(target.bar * target.sample_rate))
    stem = _cut(full, first, min(fade, target.seconds / 4), target)
    level = loudness(stem, target.sample_rate)
    wanted = level if target.loudness is None else target.loudness
    stem = normalise(stem, target.sample_rate, wanted, target.ceiling)
    return Matched(audio=stem, report=_report(stem, target, heard, mono, rate, start, len(stretched) - first))


def _analysed(take: Audio, sample_rate: int) -> Floats:
    """Return the take as the analysis takes it: mono [n] at `RATE`, its peak at 1."""
    mono = resample(take.mean(axis=1, keepdims=True), sample_rate, RATE)[:, 0].astype(np.float64)
    return mono / max(float(np.abs(mono).max()), 1e-9)


def _grid(mono: Floats, target: Target) -> Grid | None:
    """Return the take's beats and bars, or None where it has none."""
    if len(mono) < _SHORTEST_S * RATE or not mono.any():
        return None
    grid = find_grid(mono, target.bpm, target.signature)
    return None if grid.beatless else grid


def _start(grid: Grid | None, target: Target, rate: float, length: float, fade: float) -> float:
    """Return the seconds into the take at which the stem begins."""
    if target.continues or not target.match:
        return 0.0
    if grid is None:
        return fade if fade + target.seconds <= length else 0.0
    return first_cut(grid.downbeat, grid.bar, length, target.seconds * rate, SEAM_S * rate)


def _cut(full: Audio, first: int, fade: float, target: Target) -> Audio:
    if target.loop and not target.continues:
        return seam(full, first, target.frames, round(fade * target.sample_rate), target.sample_rate)
    return ending(full[first : first + target.frames], target.sample_rate)


def _report(
    stem: Audio, target: Target, grid: Grid | None, mono: Floats, rate: float, start: float, left: int
) -> Report:
    level = loudness(stem, target.sample_rate)
    key, key_confidence = estimate_key(mono)
    wanted = target.loudness if target.loudness is not None and math.isfinite(level) else level
    return Report(
        bpm=grid.bpm if grid else None,
        confidence=grid.confidence if grid else 0.0,
        rate=rate,
        start_s=start,
        short_s=max(0.0, (target.frames - left) / target.sample_rate),
        key=key,
        key_confidence=key_confidence,
        lufs=level if math.isfinite(level) else None,
        true_peak=true_peak(stem, target.sample_rate),
        shortfall=max(0.0, wanted - level) if math.isfinite(level) else 0.0,
    )
