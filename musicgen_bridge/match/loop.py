"""Where a loop meets itself: its tail fades into what was heard just before its start, so its first attack is whole."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Audio = NDArray[np.float32]

SEAM_S = 0.02
"""The crossfade of a seam; also the pre-roll that it needs before the start."""
SLOW_SEAM_S = 0.25
"""The same for what has no beat: pads and drones meet themselves slowly."""
_SHORT_S = 0.004
"""The crossfade where nothing precedes the start: long enough against a click, short enough for an attack."""
_OUT_S = 0.005
"""The fade at the end of what does not loop."""


def seam(audio: Audio, start: int, length: int, fade: int, sample_rate: int) -> Audio:
    """Return `length` frames of `audio` [n, channels] from `start`, joined to loop.

    The last `fade` frames turn into those before `start`. Where too few precede it, the first frames grow out of those
    that follow the end instead; where none follow either, the end fades out.
    """
    loop = audio[start : start + length].copy()
    if start >= fade:
        out, into = weights(loop[-fade:], audio[start - fade : start])
        loop[-fade:] = loop[-fade:] * out + audio[start - fade : start] * into
        return loop
    after = audio[start + length : start + length + round(_SHORT_S * sample_rate)]
    if not len(after):
        return ending(loop, sample_rate)
    out, into = weights(after, loop[: len(after)])
    loop[: len(after)] = after * out + loop[: len(after)] * into
    return loop


def ending(audio: Audio, sample_rate: int) -> Audio:
    """Return `audio` [n, channels] with its last 5 ms faded out."""
    fade = min(round(_OUT_S * sample_rate), len(audio))
    audio = audio.copy()
    audio[len(audio) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)[:, None]
    return audio


def weights(old: Audio, new: Audio) -> tuple[Audio, Audio]:
    """Return the weights [n, 1] of a crossfade that keeps the power, whatever the two have in common.

    For signals of equal power and correlation r, o^2 + i^2 + 2 r o i is the power of o old + i new; dividing both
    weights by its root makes it 1: equal gain for r = 1, equal power for r = 0.
    """
    power = np.sqrt(float((old**2).sum()) * float((new**2).sum()))
    r = float(np.clip((old * new).sum() / (power + 1e-12), 0, 1))
    t = (np.arange(len(old)) + 0.5) / len(old)
    into = np.sin(t * np.pi / 2) ** 2
    out = 1 - into
    scale = np.sqrt(into**2 + out**2 + 2 * r * into * out)
    return (out / scale)[:, None].astype(np.float32), (into / scale)[:, None].astype(np.float32)
