"""MIDI clock: 24 ticks a quarter note that jitter by milliseconds, and a tempo that does not."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from fractions import Fraction
from statistics import fmean
from typing import NamedTuple

from musicgen_bridge.follow.session import Tell

CLOCK, START, CONTINUE, STOP, POSITION = 0xF8, 0xFA, 0xFB, 0xFC, 0xF2
"""Status bytes (MIDI 1.0 specification, system real time and song position pointer)."""
TICKS = 24
"""Ticks a quarter note."""
BARS = 2
"""The fewest bars of the session's meter that a tempo is taken from, and never less than `QUARTERS`."""
QUARTERS = 8
LONGEST = 64 * TICKS
"""The most ticks that are looked back at while the tempo stays the same."""
GAP_S = 0.5
"""A longer silence begins anew: at 20 quarter notes a minute a tick lasts 0.125 s."""
SIGMAS = 5.0
"""By how many standard errors the latest bars must differ from all for the tempo to have changed."""


class Line(NamedTuple):
    """A straight line through ticks: seconds a tick, and the standard error of that."""

    slope: float
    error: float


def fit(times: Sequence[float]) -> Line:
    """Return the least-squares line through the arrival times in seconds of at least three ticks in a row.

    With x = 0 … n-1 and Sxx = n(n²-1)/12: slope = Σ(x - x̄)t / Sxx, error² = Σ residual² / (n-2) / Sxx.
    """
    count = len(times)
    middle, mean = (count - 1) / 2, fmean(times)
    sxx = count * (count * count - 1) / 12
    slope = sum((x - middle) * (t - mean) for x, t in enumerate(times)) / sxx
    residual = sum((t - mean - slope * (x - middle)) ** 2 for x, t in enumerate(times))
    return Line(slope, math.sqrt(residual / (count - 2) / sxx))


class MidiClock:
    """The clock of one port at a time: the first that ticks, until it is silent."""

    def __init__(self, tell: Tell, bar: Callable[[], Fraction] = lambda: Fraction(4)) -> None:
        """`bar` tells the session's quarter notes to the bar."""
        self._tell, self._bar = tell, bar
        self._port = ""
        self._times: deque[float] = deque(maxlen=LONGEST)
        self._ticked = 0
        """Ticks in a row."""
        self._last = -math.inf
        self._count = 0
        """Ticks since the start of the song."""
        self._playing = False

    def take(self, port: str, message: Sequence[int], at: float) -> None:
        """Take in a system message of a port that arrived at `at`, in seconds of any steady clock."""
        if port != self._port and at - self._last < GAP_S:
            return
        if port != self._port or (message[0] == CLOCK and at - self._last >= GAP_S):
            self._port = port
            self._begin_anew()
        match list(message):
            case [status] if status == CLOCK:
                self._tick(at)
            case [status] if status in (START, CONTINUE):
                self._count = 0 if status == START else self._count
                self._transport(playing=True)
            case [status] if status == STOP:
                self._transport(playing=False)
            case [status, low, high] if status == POSITION:
                self._count = (low + 128 * high) * TICKS // 4  # in sixteenths
                self._tell({"beat": self._count / TICKS})

    def _transport(self, *, playing: bool) -> None:
        self._playing = playing
        self._begin_anew()  # hosts shift the clock's phase when they start and stop
        self._tell({"playing": playing, "beat": self._count / TICKS})

    def _begin_anew(self) -> None:
        self._times.clear()
        self._ticked = 0

    def _tick(self, at: float) -> None:
        self._last = at
        self._times.append(at)
        self._ticked += 1
        beat = self._count / TICKS  # the first tick after a start is the start
        self._count += self._playing
        fewest = math.ceil(max(Fraction(QUARTERS), BARS * self._bar()) * TICKS) + 1
        if self._ticked >= fewest and (self._ticked - fewest) % TICKS == 0:
            self._tell({"bpm": self._tempo(fewest), "playing": self._playing, "beat": beat})

    def _tempo(self, fewest: int) -> float:
        """Return the tempo in quarter notes a minute to the nearest 0.01, and forget what was before a change."""
        times = list(self._times)
        whole, latest = fit(times), fit(times[-fewest:])
        if abs(latest.slope - whole.slope) > SIGMAS * latest.error:
            self._times = deque(times[-fewest:], maxlen=LONGEST)
            whole = latest
        return round(60 / (TICKS * whole.slope), 2)
