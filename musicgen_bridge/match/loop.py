"""The seam of a loop: its tail fades into what came before its start, so that the first attack stays whole."""

from __future__ import annotations

import numpy as np

from musicgen_bridge.match.novelty import Floats
from musicgen_bridge.match.resample import Audio

PRE_ROLL = 0.02
"""Seconds before the start that a seam wants."""
_SHORTEST = 0.002
_WITHOUT_PRE_ROLL = 0.004
_FADE_OUT = 0.01


def cut_loop(audio: Audio, start: int, frames: int, sample_rate: int) -> Audio:
    """Return `frames` of `audio` [channels, n] from `start`, so that the end leads into the beginning.

    The last 20 ms cross over to the 20 ms before `start`, which by themselves run into the first sample. Where
    nothing comes before, what follows the end fades out over the first 4 ms instead, and where nothing follows
    either, the last 2 ms fade to the value of the first sample.
    """
    out = audio[:, start : start + frames].copy()
    before = min(round(PRE_ROLL * sample_rate), start, frames // 2)
    after = min(round(_WITHOUT_PRE_ROLL * sample_rate), audio.shape[1] - start - frames, frames // 2)
    shortest = round(_SHORTEST * sample_rate)
    if before >= shortest:
        out[:, -before:] = cross(out[:, -before:], audio[:, start - before : start])
    elif after >= shortest:
        out[:, :after] = cross(audio[:, start + frames : start + frames + after], out[:, :after])
    else:
        _fade_end(out, shortest, to=out[:, :1])
    return out


def cut_once(audio: Audio, start: int, frames: int, sample_rate: int) -> Audio:
    """Return `frames` of `audio` [channels, n] from `start`: the beginning as it is, the last 10 ms faded out."""
    out = audio[:, start : start + frames].copy()
    _fade_end(out, round(_FADE_OUT * sample_rate))
    return out


def cross(old: Audio, new: Audio) -> Audio:
    """Return `old` [channels, n] fading into `new` [channels, n] at a steady level.

    With weights o and f on signals of equal power whose correlation is r, the power is o^2 + f^2 + 2 r o f; dividing
    both weights by its root keeps it at 1: equal power where the two are unlike, equal gain where they are alike
    (Fink, Holters, Zölzer, "Signal-matched power-complementary cross-fading", DAFx 2016).
    """
    energy = np.sqrt(float((old**2).sum() * (new**2).sum()))
    alike = np.clip(float((old * new).sum()) / (energy + 1e-12), 0.0, 1.0)
    fade_in = _ramp(old.shape[1])
    fade_out = 1 - fade_in
    level = np.sqrt(fade_out**2 + fade_in**2 + 2 * alike * fade_out * fade_in)
    return ((old * fade_out + new * fade_in) / level).astype(np.float32)


def _fade_end(audio: Audio, length: int, to: Audio | float = 0.0) -> None:
    length = min(length, audio.shape[1])
    fade_in = _ramp(length)
    audio[:, -length:] = audio[:, -length:] * (1 - fade_in) + to * fade_in


def _ramp(length: int) -> Floats:
    """A raised cosine from 0 to 1, [length]."""
    return np.sin((np.arange(length) + 0.5) / length * np.pi / 2) ** 2
