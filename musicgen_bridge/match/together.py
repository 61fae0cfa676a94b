"""Parts that were played together: one grid for all of them, and their mix."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from musicgen_bridge.match.beats import Grid, find_grid
from musicgen_bridge.match.loudness import Levelled, level
from musicgen_bridge.match.match import Target
from musicgen_bridge.match.resample import Audio, for_analysis
from musicgen_bridge.match.tempo import Pulse

_SAME_TEMPO = 0.005
_SAME_BEAT = 0.025
"""Seconds: a bass by itself is heard up to 0.012 off its band's beat, and by the end a tempo adds as much."""


def shared_grid(audios: Sequence[Audio], sample_rate: int, grids: Sequence[Grid], target: Target) -> Grid | None:
    """Return the one grid that parts [channels, n] were played on, measured on their sum; None where they were not.

    Each part's own grid is known. Those with a beat, at least two, must agree with the sum in tempo and beat from the
    start to the end of the stem; chords between the beats may take those for the beats. Beat and downbeat are then what
    the whole band says, and a part without a beat goes along. Parts that the model played apart have nothing but the
    session in common: each keeps its own grid.
    """
    beating = [grid for grid in grids if not grid.beatless]
    if not target.match or target.continues or len(beating) < 2:
        return None
    length = min(audio.shape[1] for audio in audios)
    whole = np.sum([audio[:, :length] / max(float(np.sqrt(np.mean(audio**2))), 1e-6) for audio in audios], axis=0)
    grid = find_grid(for_analysis(whole, sample_rate), target.own_bpm or target.bpm, target.signature)
    if grid.beatless:
        return None
    seconds = min(length / sample_rate, 1.05 * target.frames / target.sample_rate)
    half = grid.bar / Pulse.of(target.signature).per_bar / 2
    return grid if all(_agree(one, grid, half, seconds) for one in beating) else None


def _agree(one: Grid, band: Grid, half: float, seconds: float) -> bool:
    """Return whether the beats of a part lie on the band's, or `half` a beat (seconds) beside, until `seconds`."""
    if abs(math.log(one.bpm / band.bpm)) > _SAME_TEMPO:
        return False
    apart = (one.downbeat - band.downbeat + half / 2) % half - half / 2
    later = apart + seconds * (band.bpm / one.bpm - 1)
    return max(abs(apart), abs(later)) < _SAME_BEAT


def mixed(stems: Sequence[Audio], target: Target) -> Levelled:
    """Return the sum of stems [channels, n] at the target's loudness and under its ceiling."""
    whole = np.asarray(np.sum(stems, axis=0), np.float32)
    return level(whole, target.sample_rate, target.loudness, target.ceiling, target.loop and not target.continues)
