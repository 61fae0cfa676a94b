"""Musical time: the tempos and time signatures that a stem goes through, from quarter notes to seconds and frames."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple, Self


class Signature(NamedTuple):
    """A time signature: `beats` notes of 1/`unit` to the bar."""

    beats: int
    unit: int

    def __str__(self) -> str:
        return f"{self.beats}/{self.unit}"

    @property
    def quarters(self) -> Fraction:
        """Quarter notes to the bar; 7/8 has 7/2."""
        return Fraction(self.beats * 4, self.unit)


COMMON_TIME = Signature(4, 4)


class TempoPoint(NamedTuple):
    """Where tempo or time signature change."""

    quarters: float
    """Quarter notes from the stem's start; the first point lies at 0."""
    bpm: float
    """Quarter notes a minute, from here on."""
    until: float
    """The tempo that is reached at the next point, or at the stem's end; `bpm` again where it holds."""
    signature: Signature | None = None
    """A bar of this begins here; None goes on in the bars of the point before."""

    @classmethod
    def read(cls, quarters: float, bpm: float, until: float, signature: Sequence[int] | None = None) -> TempoPoint:
        """Return the point of these values as JSON holds them."""
        return cls(quarters, bpm, until, None if signature is None else Signature(*signature))

    def __str__(self) -> str:
        """As on the wire: "14 120>90 4/4"."""
        glide = "" if self.until == self.bpm else f">{_shortest(self.until)}"
        meter = "" if self.signature is None else f" {self.signature}"
        return f"{_shortest(self.quarters)} {_shortest(self.bpm)}{glide}{meter}"


class Segment(NamedTuple):
    """From one point to the next: the tempo holds, or goes from `bpm` to `until` in a straight line over time.

    With tempo b(t) = b0 + (b1 - b0) t / T the quarters are its integral, q(t) = t (b0 + b(t)) / 120, so the whole
    takes T = 120 Q / (b0 + b1) seconds, and b^2 grows in a straight line over the quarters.
    """

    start: Fraction
    """Quarter notes from the stem's start."""
    start_s: Fraction
    quarters: Fraction
    bpm: Fraction
    until: Fraction

    @property
    def seconds(self) -> Fraction:
        """How long it takes."""
        return 120 * self.quarters / (self.bpm + self.until)


@dataclass(frozen=True, slots=True)
class TempoMap:
    """The tempos and bars of a stem from its start to its end.

    Raises:
        ValueError: the first point is not at 0, the points are not in order, or one lies at the end or behind it.
    """

    points: tuple[TempoPoint, ...]
    quarters: Fraction
    """The stem's length in quarter notes."""
    segments: tuple[Segment, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_order(self.points)
        if self.points[-1].quarters >= self.quarters:
            raise ValueError(_behind_the_end(self.points[-1], f"{float(self.quarters):g} quarter notes"))
        object.__setattr__(self, "segments", tuple(_segments(self.points, self.quarters)))

    @classmethod
    def of_bars(cls, points: tuple[TempoPoint, ...], bars: Fraction) -> Self:
        """Return the map of so many bars; a part of a bar is that part of its quarter notes. Raises ValueError."""
        check_order(points)
        return cls(points, end_of_bars(points, bars))

    @classmethod
    def of_seconds(cls, points: tuple[TempoPoint, ...], seconds: Fraction) -> Self:
        """Return the map of so many seconds. Raises ValueError."""
        check_order(points)
        last = points[-1]
        *_, before = _segments(points, Fraction(last.quarters))
        left = seconds - before.start_s
        if left <= 0:
            raise ValueError(_behind_the_end(last, f"{float(seconds):g} s"))
        return cls(points, before.start + left * (before.bpm + before.until) / 120)

    def until(self, quarters: float) -> tuple[TempoPoint, ...]:
        """Return the points of the map as far as a position in quarter notes; what glides there ends at its tempo."""
        kept = [point for point in self.points if point.quarters < quarters]
        last, one = kept[-1], self.segments[len(kept) - 1]
        along = (quarters - last.quarters) / float(one.quarters)
        reached = math.sqrt(last.bpm**2 + (last.until**2 - last.bpm**2) * min(along, 1.0))
        return (*kept[:-1], last._replace(until=last.until if last.until == last.bpm else reached))

    @property
    def duration(self) -> Fraction:
        """The stem's length in seconds, exactly."""
        return self.segments[-1].start_s + self.segments[-1].seconds

    @property
    def bpm(self) -> float:
        """The mean tempo: all quarter notes over all minutes. Of one tempo that holds, that tempo to the last bit."""
        return float(60 * self.quarters / self.duration)

    @property
    def steady(self) -> bool:
        """Whether one tempo holds from start to end, in whatever bars."""
        return len({tempo for point in self.points for tempo in (point.bpm, point.until)}) == 1

    def frames(self, sample_rate: int) -> int:
        """Return the stem's length in frames: floor(duration * sample_rate + 1/2), in rational arithmetic."""
        return math.floor(self.duration * sample_rate + Fraction(1, 2))

    def seconds(self, quarters: float) -> float:
        """Return when a position in quarter notes is reached; before the start and behind the end the tempo holds."""
        index = bisect.bisect_right(self.segments, quarters, key=lambda one: float(one.start)) - 1
        one = self.segments[max(index, 0)]
        bpm, until, length = float(one.bpm), float(one.until), float(one.quarters)
        along = quarters - float(one.start)
        if along < 0:
            return float(one.start_s) + 60 * along / bpm
        if along > length:
            return float(one.start_s + one.seconds) + 60 * (along - length) / until
        root = math.sqrt(bpm**2 + (until**2 - bpm**2) * along / length)
        return float(one.start_s) + 120 * along / (bpm + root)

    def position(self, seconds: float) -> float:
        """Return the quarter notes at a moment: the inverse of `seconds`."""
        index = bisect.bisect_right(self.segments, seconds, key=lambda one: float(one.start_s)) - 1
        one = self.segments[max(index, 0)]
        bpm, until, length = float(one.bpm), float(one.until), float(one.seconds)
        along = seconds - float(one.start_s)
        if along < 0:
            return float(one.start) + along * bpm / 60
        if along > length:
            return float(one.start + one.quarters) + (along - length) * until / 60
        return float(one.start) + along * (2 * bpm + (until - bpm) * along / length) / 120


def check_order(points: Sequence[TempoPoint]) -> None:
    """Raise ValueError unless the first point lies at 0 and each further one behind the one before."""
    if not points or points[0].quarters != 0:
        raise ValueError("its first point must lie at 0, the stem's start")
    for before, point in itertools.pairwise(points):
        if point.quarters <= before.quarters:
            raise ValueError(f"its point at {_shortest(point.quarters)} must lie behind the one before")


def bar_lines(points: Sequence[TempoPoint]) -> Iterator[Fraction]:
    """Yield where bars begin, in quarter notes from the start, for ever.

    A point with a time signature begins a bar, so the bar before it may be cut short.
    """
    meters = [(Fraction(one.quarters), one.signature) for one in points if one.signature is not None]
    if not meters or meters[0][0]:
        meters.insert(0, (Fraction(0), COMMON_TIME))
    ends: list[Fraction | None] = [*(start for start, _ in meters[1:]), None]
    for (line, signature), end in zip(meters, ends, strict=True):
        while end is None or line < end:
            yield line
            line += signature.quarters


def end_of_bars(points: Sequence[TempoPoint], bars: Fraction) -> Fraction:
    """Return where so many bars end, in quarter notes from the start; a part of a bar is that part of its quarters."""
    first, then = itertools.islice(bar_lines(points), math.floor(bars), math.floor(bars) + 2)
    return first + (bars - math.floor(bars)) * (then - first)


def _segments(points: Sequence[TempoPoint], end: Fraction) -> Iterator[Segment]:
    start_s = Fraction(0)
    ends = [*(Fraction(point.quarters) for point in points[1:]), end]
    for point, then in zip(points, ends, strict=True):
        start = Fraction(point.quarters)
        segment = Segment(start, start_s, then - start, Fraction(point.bpm), Fraction(point.until))
        yield segment
        start_s += segment.seconds


def _behind_the_end(point: TempoPoint, end: str) -> str:
    return f"its point at {_shortest(point.quarters)} is not before the end, at {end}; leave it out, or ask for more"


def _shortest(number: float) -> str:
    """The fewest digits that read as the same number again."""
    return repr(float(number)).removesuffix(".0")
