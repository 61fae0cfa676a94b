"""Where to cut: on a downbeat with room before it for the seam, and whole bars again where the take is too short."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from musicgen_bridge.match.loop import weights

Audio = NDArray[np.float32]


def first_cut(downbeat: float, bar: float, length: float, wanted: float, before: float) -> float:
    """Return the seconds at which to cut a take of `length` seconds so that `wanted` seconds follow.

    It is the earliest downbeat (`downbeat` plus whole bars) with `before` seconds before it, if enough follows, else
    the earliest one at all.
    """
    start = downbeat % bar
    if start + 0.02 >= bar:
        start -= bar  # heard in the first milliseconds, as much as a frame of analysis early
    start = max(start, 0.0)
    roomy = start if start >= before else start + bar
    return roomy if roomy + wanted <= length else start


def filled(audio: Audio, frames: int, bar: int) -> Audio:
    """Return `audio` [n, channels] with at least `frames` frames, its last whole bar repeated as often as it takes.

    A take shorter than a bar is followed by silence.
    """
    missing = frames - len(audio)
    if missing <= 0:
        return audio
    if len(audio) < bar:
        return np.pad(audio, ((0, missing), (0, 0)))
    whole = len(audio) // bar * bar
    again = audio[whole - bar : whole]
    fade = min(len(audio) - whole, bar // 16)
    joined = audio[: whole + fade].copy()
    if fade:
        out, into = weights(joined[whole:], again[:fade])
        joined[whole:] = joined[whole:] * out + again[:fade] * into
    times = -(-(frames - whole) // bar)
    tail = np.tile(again, (times, 1))[fade:]
    return np.concatenate([joined, tail])
