"""Time signatures from their names, and the target of a request for so many bars."""

from __future__ import annotations

import math
from fractions import Fraction

from musicgen_bridge.match import Target
from musicgen_bridge.request import Signature


def signature(text: str) -> Signature:
    beats, unit = text.split("/")
    return Signature(int(beats), int(unit))


def exact_frames(quarters: Fraction, bpm: float, sample_rate: int) -> int:
    """Return the protocol's length."""
    return math.floor(quarters * 60 * sample_rate / Fraction(bpm) + Fraction(1, 2))


def target(bars: float = 4, bpm: float = 120.0, metre: str = "4/4", sample_rate: int = 48_000, **more) -> Target:
    """Return the target of a request for so many bars."""
    quarters = Fraction(bars) * signature(metre).quarters
    frames = exact_frames(quarters, bpm, sample_rate)
    return Target(bpm=bpm, signature=signature(metre), frames=frames, sample_rate=sample_rate, **more)
