"""Takes longer than the model's window, as overlapping windows that each continue the one before."""

from __future__ import annotations

from typing import NamedTuple

OVERLAP = 0.4
"""Part of a window that the next one hears again: audiocraft's stride of 18 s in 30 s."""


class Window(NamedTuple):
    """Frames [start, stop) of a take, of which those before `known` are already there."""

    start: int
    known: int
    stop: int


def windows(known: int, total: int, length: int) -> list[Window]:
    """Return the windows of at most `length` frames that bring a take from `known` frames to `total`.

    All that is known is heard where the whole take fits into one window.
    """
    overlap = int(length * OVERLAP)
    spans = []
    while known < total:
        start = max(0, known - overlap) if total > length else 0
        stop = min(start + length, total)
        spans.append(Window(start, known, stop))
        known = stop
    return spans
