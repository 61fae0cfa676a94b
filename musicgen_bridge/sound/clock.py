"""When a stream's frames sound: from PortAudio's jittery word to a straight line."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

_LOOKED_BACK = 16
"""Callbacks: a fraction of a second, in which two clocks part by far less than a millisecond."""
_LONGEST_LATENCY_S = 2.0
"""What is beyond is no latency: over JACK PortAudio may tell nonsense."""


class StreamClock:
    """The moments, by `time.perf_counter`, of a stream's frames at `rate` Hz.

    A callback may come late and never early, so of the lines through the latest callbacks, all of one slope, the
    earliest is the true one.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._starts: deque[float] = deque(maxlen=_LOOKED_BACK)

    def note(self, frame: int, moment: float, *, lost: bool = False) -> None:
        """Take in that a frame sounds, or sounded, at about `moment`.

        Where frames before it were `lost`, what was noted so far counts no more: it says too early a moment.
        """
        start = moment - frame / self._rate
        if lost:  # never empty, as another thread may look at it
            self._starts = deque([start], maxlen=_LOOKED_BACK)
        else:
            self._starts.append(start)

    def moment(self, frame: int) -> float:
        """Return when a frame sounds; at least one was noted."""
        return min(self._starts) + frame / self._rate

    def frame(self, moment: float) -> int:
        """Return the frame that sounds at a moment, perhaps one before the stream."""
        return round((moment - min(self._starts)) * self._rate)


def heard_at(times: Any, usual: float) -> float:
    """Return when the first frame of a callback's output sounds; `usual` is the stream's latency in seconds."""
    return time.perf_counter() + plausible_latency(times.outputBufferDacTime - times.currentTime, usual)


def caught_at(times: Any, usual: float) -> float:
    """Return when the first frame of a callback's input sounded; `usual` is the stream's latency in seconds."""
    return time.perf_counter() - plausible_latency(times.currentTime - times.inputBufferAdcTime, usual)


def plausible_latency(latency: float, usual: float = 0.0) -> float:
    """Return the latency if it can be one, else the `usual`; in seconds."""
    return latency if 0 <= latency < _LONGEST_LATENCY_S else usual
