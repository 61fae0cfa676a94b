"""Bars and frames: where in the audio the cut begins, and what stands in for music that is missing."""

from __future__ import annotations

import numpy as np

from musicgen_bridge.match.loop import PRE_ROLL, cut_loop, cut_once
from musicgen_bridge.match.resample import Audio


def first_bar(downbeat: float, bar: float, span: float, length: float) -> float:
    """Return the second at which to cut `span` seconds out of `length`, on a downbeat.

    That is the first one, or the second where the first has no pre-roll for the loop's seam and the music lasts long
    enough. The first may lie some milliseconds before the audio: the result is negative then.
    """
    if downbeat < PRE_ROLL and downbeat + bar + span <= length:
        return downbeat + bar
    return downbeat


def cut(audio: Audio, sample_rate: int, start: float, frames: int, bar: float, seamless: bool) -> tuple[Audio, float]:
    """Return `frames` of `audio` [channels, n] from `start` seconds, exactly, and how many seconds were missing.

    What lies before the audio is silence; what lies behind it repeats the last `bar` (seconds).
    """
    first = round(start * sample_rate)
    if first < 0:
        audio, first = np.pad(audio, ((0, 0), (-first, 0))), 0
    missing = max(0, first + frames - audio.shape[1])
    audio = lengthen(audio, first + frames, bar * sample_rate, sample_rate)
    cut_out = cut_loop if seamless else cut_once
    return cut_out(audio, first, frames, sample_rate), missing / sample_rate


def keep(audio: Audio, sample_rate: int, frames: int) -> tuple[Audio, float]:
    """Return the first `frames` of `audio` [channels, n] as they are, then silence, and how many seconds are that."""
    missing = max(0, frames - audio.shape[1])
    return np.pad(audio[:, :frames], ((0, 0), (0, missing))), missing / sample_rate


def lengthen(audio: Audio, frames: int, bar: float, sample_rate: int) -> Audio:
    """Return `audio` [channels, n], if it is shorter, lengthened to `frames`; a bar has `bar` frames, not always whole.

    The last whole bar goes round, cut as a loop: beat and level go on, where silence would leave a hole in every
    repetition. Audio shorter than a bar is followed by silence.
    """
    have = audio.shape[1]
    if have >= frames:
        return audio
    whole = int(np.ceil(bar))
    if whole > have:
        ending = cut_once(audio, 0, have, sample_rate)
        return np.pad(ending, ((0, 0), (0, frames - have)))
    start = have - whole
    rounds = int(np.ceil((frames - start) / bar))
    edges = np.floor(np.arange(rounds + 1) * bar + 0.5).astype(int)  # so that rounding never adds up
    bars = [cut_loop(audio, start, int(length), sample_rate) for length in np.diff(edges)]
    return np.concatenate([audio[:, :start], *bars], axis=1)[:, :frames]
