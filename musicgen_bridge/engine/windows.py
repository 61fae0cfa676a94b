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


class Span(NamedTuple):
    """How long a window is and by how much each goes on from the one before, in seconds."""

    window: float
    stride: float | None = None
    """None leaves `OVERLAP` of a window."""

    def frames(self, rate: float) -> tuple[int, int | None]:
        """Return the length of a window and the overlap of two, in frames at `rate`."""
        length = int(self.window * rate)
        return length, None if self.stride is None else length - int(self.stride * rate)


def windows(known: int, total: int, length: int, overlap: int | None = None) -> list[Window]:
    """Return the windows of at most `length` frames that bring a take from `known` frames to `total`.

    Each hears the last `overlap` frames of what is known, by default `OVERLAP` of a window; all that is known where the
    whole take fits into one window.
    """
    overlap = int(length * OVERLAP) if overlap is None else overlap
    spans = []
    while known < total:
        start = max(0, known - overlap) if total > length else 0
        stop = min(start + length, total)
        spans.append(Window(start, known, stop))
        known = stop
    return spans
