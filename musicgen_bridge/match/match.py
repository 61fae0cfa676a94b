"""Session matching: what the model played becomes exact bars at the session's tempo, sample rate and loudness."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from musicgen_bridge.errors import AudioError
from musicgen_bridge.match.beats import Grid, find_grid
from musicgen_bridge.match.key import KEY_HEARD, key_of
from musicgen_bridge.match.loop import PRE_ROLL
from musicgen_bridge.match.loudness import Levelled, level
from musicgen_bridge.match.resample import Audio, for_analysis, resample
from musicgen_bridge.match.stretch import block_for, stretch
from musicgen_bridge.match.tempo import Pulse
from musicgen_bridge.match.trim import cut, first_bar, keep
from musicgen_bridge.match.warp import along
from musicgen_bridge.request import Signature
from musicgen_bridge.tempo_map import TempoMap, TempoPoint

STRETCHES_WELL = 1.2
"""How many times as fast or slow as it was played music still sounds as if it had been played so."""

CEILING = -1.0
"""dBTP."""
_QUIET = 0.01
"""The peak under which what is recorded is brought to full scale first: no loudness is measured under -70 LUFS."""
ON_BEAT = 0.03
"""Seconds that a beat may lie beside where a recording begins, for the two to be one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What the session wants."""

    bpm: float
    """Quarter notes a minute."""
    signature: Signature
    frames: int
    """The exact length of the output at `sample_rate`."""
    sample_rate: int
    loop: bool = True
    """The end leads into the beginning; else the end fades out and the beginning is left alone."""
    match: bool = True
    """False keeps the music's own tempo and cuts from its first sample."""
    loudness: float | None = -14.0
    """LUFS; None leaves the level alone, except for peaks above the ceiling."""
    ceiling: float = CEILING
    """dBTP."""
    continues: bool = False
    """The first sample joins another recording: no search for a downbeat, and no seam that would change it."""
    recorded: bool = False
    """A musician's own recording: its first bar stays the first, and with neither `match` nor `loop` every sample."""
    own_bpm: float | None = None
    """The music's own tempo where it is known, else it is looked for near the session's."""
    begins_s: float | None = None
    """The second of the audio that the output begins with, where it is known; else a downbeat is looked for."""
    tempo_map: TempoMap | None = None
    """Where the session's tempo varies; `bpm` is its mean then, and `signature` the one that it begins with."""
    opens: bool = False
    """The music is known to begin a bar with its first sample: no downbeat is looked for, and that bar is the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was heard and what was done about it; plain JSON values."""

    bpm: float
    """The music's own tempo in quarter notes a minute; the session's where it has no beat."""
    confidence: float
    """Of the tempo, 0 to 1."""
    beatless: bool
    rate: float
    """How much faster the music is played now: 1 is untouched."""
    strayed_s: float
    """By how much its beats stray from a steady pulse at most, 0 where hardly; with `match` they are put right."""
    downbeat_s: float | None
    """Where in the model's audio the cut begins; None where no downbeat was looked for."""
    key: str | None
    """Such as "F# minor"; None where no tones are heard."""
    key_confidence: float
    lufs: float | None
    """None for silence."""
    true_peak_db: float | None
    shortfall_lu: float
    """How far the loudness stays under the target, to spare the peaks."""
    short_s: float
    """Seconds that the model's audio was too short, filled by repeating its last bar."""
    downbeat_confidence: float = 0.0
    """From 0 to 1; 0 where no downbeat was looked for."""
    warning: str | None = None
    """What may be heard of the stretch, in a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """A stem, ready to be written."""

    audio: Audio
    """[frames, channels], always exactly as many frames as the target's."""
    report: Report
    grid: Grid
    """Where the beats of what was matched were heard."""


def needed_seconds(target: Target) -> float:
    """Return how much the model must generate for `target`: the length, and a reserve for what matching takes away.

    5 % for a slower tempo and half a second for the music to begin; where a downbeat is looked for, also a bar.
    """
    seconds = target.frames / target.sample_rate
    if not target.match:
        return seconds + PRE_ROLL
    if target.continues:
        return 1.05 * seconds
    return 1.05 * seconds + 0.5 + (0 if target.opens else _bar_seconds(target))


def match(audio: Audio, sample_rate: int, target: Target, grid: Grid | None = None) -> Matched:
    """Return `audio` [channels, n] at `sample_rate` Hz as exact bars of the session.

    Its beats are looked for unless their `grid` is known. Deterministic: the same audio and target give the same
    samples. Raises AudioError if the audio is empty or not finite.
    """
    _check(audio)
    audio = _prepared(audio, target)
    grid, block, key = _heard(audio, sample_rate, target, grid)
    timed = target.match and (target.own_bpm is not None or not grid.beatless)
    rate = target.bpm / grid.bpm if timed else 1.0
    start = _start(grid, rate, audio.shape[1] / sample_rate, target)
    seamless = target.loop and not target.continues

    # One name for all: of a long recording each stage is let go of as soon as the next one is there.
    begins, missing = start or 0.0, 0.0
    if timed and (target.tempo_map is not None or grid.strays):
        first, quarter = begins * rate, 60 / grid.bpm
        join = grid.played_at(first) - first if target.continues else 0.0  # the first sample stays the first
        audio, begins, missing = along(
            audio,
            sample_rate,
            _tempo_map(target),
            lambda at: grid.played_at(first + at * quarter) - join,
            grid.bar,
            block,
        )
    else:
        audio = stretch(audio, sample_rate, rate, block)
    audio = resample(audio, sample_rate, target.sample_rate)
    if target.recorded and not target.match and not target.loop:
        audio, short = keep(audio, target.sample_rate, target.frames)
    else:
        audio, short = cut(audio, target.sample_rate, begins, target.frames, grid.bar / rate, seamless)
    levelled = level(audio, target.sample_rate, target.loudness, target.ceiling, seamless)
    return Matched(
        audio=np.ascontiguousarray(levelled.audio.T, dtype=np.float32),
        report=_report(grid, rate, start, short + missing, key, levelled, _warning(target, grid, timed)),
        grid=grid,
    )


def _heard(audio: Audio, sample_rate: int, target: Target, grid: Grid | None) -> tuple[Grid, float, tuple[str, float]]:
    """Return the grid of `audio` [channels, n], unless it is known, the block that suits it, and its key."""
    heard = for_analysis(audio, sample_rate)
    grid = grid or find_grid(heard, target.own_bpm or target.bpm, target.signature)
    if target.opens and not grid.beatless:
        grid = _opened(grid)
    return grid, block_for(heard), key_of(heard)


def bars_in(audio: Audio, sample_rate: int, bpm: float, signature: Signature) -> int:
    """Return how many whole bars `audio` [channels, n] holds from its first downbeat on, at least 1.

    `bpm` is the tempo near which its own is looked for. A twentieth of the last bar may be missing.
    """
    grid = find_grid(for_analysis(audio, sample_rate), bpm, signature)
    seconds = audio.shape[1] / sample_rate
    return max(1, int((seconds - max(_downbeat(grid, seconds, signature), 0.0)) / grid.bar + 0.05))


def _downbeat(grid: Grid, seconds: float, signature: Signature) -> float:
    """Return the second of a recording's first downbeat; one that lasts whole bars and begins on a beat begins a bar.

    That is how loops are cut, and in a bar or two there is little else to tell the downbeat by: what was heard as one
    may as well lie between the beats, on a division of the pulse.
    """
    pulse = Pulse.of(signature)
    beat = grid.bar / pulse.per_bar / (pulse.split if pulse.quarters >= 1 else 1)
    first = (grid.downbeat + beat / 2) % beat - beat / 2
    rest = (seconds + grid.bar / 2) % grid.bar - grid.bar / 2
    whole = seconds > grid.bar / 2 and abs(rest) < 0.01 * grid.bar
    return first if whole and abs(first) < ON_BEAT else grid.downbeat


def _prepared(audio: Audio, target: Target) -> Audio:
    """Return audio without its DC offset, which would click and cost headroom, a recording loud enough for a meter.

    A take of the model's that is so quiet is meant to be silent.
    """
    if not (target.match or target.loop or target.loudness is not None):
        return audio
    audio = audio - audio.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
    peak = float(np.abs(audio).max())
    quiet = target.recorded and target.loudness is not None and 0 < peak < _QUIET
    return audio / np.float32(peak) if quiet else audio


def _opened(grid: Grid) -> Grid:
    """Return the grid of music that begins a bar with its first sample: the sixteenth there is the downbeat.

    Where none is, its attacks tell nothing of the beat, and the sample itself is.
    """
    sixteenth = 15 / grid.bpm
    first = (grid.downbeat + sixteenth / 2) % sixteenth - sixteenth / 2
    return replace(grid, downbeat=first if abs(first) < ON_BEAT else 0.0, sure=1.0)


def _check(audio: Audio) -> None:
    if audio.ndim != 2 or audio.size == 0:
        raise AudioError("The model's audio is empty: render again, and longer.")
    if not np.isfinite(audio).all():
        raise AudioError("The model's audio is not finite: render again with another seed or a lower guidance.")


def _start(grid: Grid, rate: float, seconds: float, target: Target) -> float | None:
    """Return at which second of the stretched audio to cut, or None for its first sample."""
    if target.begins_s is not None:
        return grid.steady_at(target.begins_s) / rate
    if not target.match or target.continues or grid.beatless:
        return None
    if target.recorded:
        return _downbeat(grid, seconds, target.signature) / rate
    if target.opens:
        return grid.downbeat / rate
    span = target.frames / target.sample_rate
    return first_bar(grid.downbeat / rate, grid.bar / rate, span, seconds / rate)


def _tempo_map(target: Target) -> TempoMap:
    """Return the session's tempo map, which has one point where its tempo holds."""
    quarters = Fraction(target.frames, target.sample_rate) * Fraction(target.bpm) / 60
    return target.tempo_map or TempoMap((TempoPoint(0.0, target.bpm, target.bpm),), quarters)


def _bar_seconds(target: Target) -> float:
    return float(target.signature.quarters) * 60 / target.bpm


def _report(
    grid: Grid,
    rate: float,
    start: float | None,
    short: float,
    key: tuple[str, float],
    levelled: Levelled,
    warning: str | None,
) -> Report:
    name, confidence = key
    return Report(
        bpm=grid.bpm,
        confidence=grid.confidence,
        beatless=grid.beatless,
        rate=rate,
        strayed_s=max((abs(late) for _, late in grid.strays), default=0.0),
        downbeat_s=None if start is None else grid.played_at(start * rate),
        key=name if confidence >= KEY_HEARD else None,
        key_confidence=confidence,
        lufs=levelled.lufs,
        true_peak_db=levelled.true_peak_db,
        shortfall_lu=levelled.shortfall,
        short_s=short,
        downbeat_confidence=0.0 if start is None else grid.sure,
        warning=warning,
    )


def _warning(target: Target, grid: Grid, timed: bool) -> str | None:
    """Say so where a tempo map asks for more than stretching does well."""
    if target.tempo_map is None:
        return None
    if not timed:
        return "The music has no beat, or match is off: it does not follow the tempo map."
    tempos = [tempo for point in target.tempo_map.points for tempo in (point.bpm, point.until)]
    slowest, fastest = min(tempos) / grid.bpm, max(tempos) / grid.bpm
    if slowest * STRETCHES_WELL >= 1 and fastest <= STRETCHES_WELL:
        return None
    return (
        f"The music was played at {grid.bpm:.4g} and follows the tempo map from {min(tempos):.4g} to "
        f"{max(tempos):.4g}: so much stretching can be heard. Render slow and fast parts by themselves."
    )
