"""What is asked for and what comes back: a session, a render request, a stem, an event; all frozen, all plain JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, NamedTuple, Self

from musicgen_bridge.tempo_map import COMMON_TIME, TempoMap, TempoPoint
from musicgen_bridge.tempo_map import Signature as Signature

Mode = Literal["text", "melody", "continue", "unconditional", "fit", "recut", "fill"]
Format = Literal["wav", "flac", "aiff"]


class Part(NamedTuple):
    """One stem of a request in parts: its name and what it should sound like."""

    name: str
    prompt: str


SOURCES = ("drums", "bass", "other", "vocals")
"""What a mix can be separated into; other is whatever is none of the rest."""
MELODY_PARTS = ("lead", "all", *SOURCES)
"""What of a recording can be its melody: the lead is all but drums and bass."""


class _Json:
    """Frozen dataclasses to and from plain JSON objects."""

    def to_json(self) -> dict[str, Any]:
        """Return a dictionary of JSON values; tuples become lists."""
        return json.loads(json.dumps(dataclasses.asdict(self)))  # type: ignore[call-overload]

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Return the object that `to_json` wrote; a field that this version does not know raises TypeError."""
        return cls(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session(_Json):
    """The DAW's session as it now stands: what a render takes where it does not say otherwise."""

    bpm: float = 120.0
    """Quarter notes a minute."""
    signature: Signature = COMMON_TIME
    sample_rate: int = 48_000
    project: str | None = None
    """Absolute folder; stems go to its `MusicGen` folder."""
    key: str | None = None
    """For example "F# minor"."""
    playing: bool = False
    beat: float = 0.0
    """Position of the transport in quarter notes."""
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "signature", Signature(*self.signature))


@dataclass(frozen=True, slots=True, kw_only=True)
class Transport(_Json):
    """Where the session's transport is, and where its bar lines fall, by the clock `time.perf_counter`.

    That clock is one for all processes of a machine. Bars are counted from quarter note 0.
    """

    bpm: float = 120.0
    signature: Signature = COMMON_TIME
    playing: bool = False
    beat: float = 0.0
    """Position in quarter notes at the moment `at`."""
    at: float = 0.0
    """Seconds."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "signature", Signature(*self.signature))

    def beat_at(self, moment: float) -> float:
        """Return the position in quarter notes at another moment; it stands while nothing plays."""
        return self.beat + (moment - self.at) * self.bpm / 60 if self.playing else self.beat

    def bar_line(self, moment: float) -> float:
        """Return when the first bar line at or after `moment` is reached; `moment` itself while nothing plays."""
        if not self.playing:
            return moment
        bar = float(self.signature.quarters)
        line = math.ceil(self.beat_at(moment) / bar - 1e-9) * bar
        return self.at + (line - self.beat) * 60 / self.bpm


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRequest(_Json):
    """A recording of an input, to be used as a melody; exactly one of `bars` and `seconds` is set."""

    bars: float | None = None
    seconds: float | None = None
    bpm: float = 120.0
    signature: Signature = COMMON_TIME
    sample_rate: int = 48_000
    """The one to record at where the device has it."""
    project: str
    """Absolute folder."""
    input: str
    """Name of the device, or part of it; "default" is the system's."""
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "signature", Signature(*self.signature))

    @property
    def timing(self) -> TempoMap:
        """The one tempo from start to end."""
        points = (TempoPoint(0.0, self.bpm, self.bpm, self.signature),)
        if self.bars is not None:
            return TempoMap.of_bars(points, Fraction(self.bars))
        return TempoMap.of_seconds(points, Fraction(self.seconds or 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderRequest(_Json):
    """One render, complete: nothing is looked up any more, so that the same request gives the same take again.

    Exactly one of `bars`, `seconds` and `beats` is set; in the mode "fit" perhaps none: as long as the recording is.
    """

    prompt: str = ""
    mode: Mode = "text"
    bars: float | None = None
    seconds: float | None = None
    beats: float | None = None
    """Quarter notes."""
    bpm: float = 120.0
    """Where there is a tempo map, its mean."""
    signature: Signature = COMMON_TIME
    """Where there is a tempo map, the one that it begins with."""
    tempo_map: tuple[TempoPoint, ...] = ()
    """Where tempo and time signature change; empty where both hold."""
    sample_rate: int = 48_000
    key: str | None = None
    project: str
    """Absolute folder."""
    melody: str | None = None
    """Absolute path of the recording whose melody is followed."""
    melody_start: float = 0.0
    """Seconds into the recording."""
    melody_end: float | None = None
    """Seconds into the recording; None is its end."""
    melody_part: str = "lead"
    """What of the recording is the melody: one of `MELODY_PARTS`."""
    continue_from: str | None = None
    """Absolute path of the recording that is continued (the wire's `continue`)."""
    continue_seconds: float = 5.0
    """How much of its end the model hears."""
    file: str | None = None
    """Absolute path of the recording that is brought to the session instead of a take of the model's: mode "fit"."""
    file_start: float = 0.0
    """Seconds into the recording."""
    file_end: float | None = None
    """Seconds into the recording; None is its end."""
    file_bpm: float | None = None
    """Its own tempo where that is known, in quarter notes a minute; else it is looked for near the session's."""
    fill: str | None = None
    """Absolute path of the recording of which a section is made anew: mode "fill"."""
    fill_start: float = 0.0
    """Seconds into the recording at which that section begins."""
    fill_end: float | None = None
    """Seconds into the recording at which it ends."""
    take: str | None = None
    """Absolute path of an earlier stem, or of its sidecar, which is cut anew from its raw take: mode "recut"."""
    shift_beats: float = 0.0
    """By how many quarter notes later than that stem the new one begins in the raw take; negative is earlier."""
    shift_ms: float = 0.0
    """The same in milliseconds of the new stem; both add up."""
    variations: int = 1
    best_of: int = 1
    """How many takes are made of each stem, of which the one that fits best is kept."""
    mix: bool = False
    """Whether the sum of the parts, or of what is separated, is a stem too, behind them."""
    parts: tuple[Part, ...] = ()
    separate: tuple[str, ...] = ()
    """Names of `SOURCES`: these are the stems then, instead of their mix."""
    loop: bool = True
    match: bool = True
    """False leaves the model's own tempo and downbeat; the length is exact all the same."""
    model: str = "starter"
    seed: int = 0
    temperature: float = 1.0
    top_k: int = 250
    top_p: float = 0.0
    """0 is off."""
    guidance: float = 3.0
    loudness: float | None = -14.0
    """LUFS; None leaves the level alone."""
    format: Format = "wav"
    bits: int = 24
    name: str = ""
    stream: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "signature", Signature(*self.signature))
        object.__setattr__(self, "parts", tuple(Part(*part) for part in self.parts))
        object.__setattr__(self, "separate", tuple(self.separate))
        object.__setattr__(self, "tempo_map", tuple(TempoPoint.read(*point) for point in self.tempo_map))
        if self.tempo_map:
            object.__setattr__(self, "signature", self.tempo_map[0].signature or COMMON_TIME)
            object.__setattr__(self, "bpm", self.timing.bpm)

    @property
    def has_length(self) -> bool:
        """Whether it says how long its stems are."""
        return any(length is not None for length in (self.bars, self.seconds, self.beats))

    @property
    def recordings(self) -> tuple[str, ...]:
        """The recordings and stems that are read for it: absolute paths."""
        named = (self.melody, self.continue_from, self.file, self.take, self.fill)
        return tuple(path for path in named if path is not None)

    @property
    def needs_demucs(self) -> bool:
        """Whether it can't be done without; a lead is found by other means too."""
        return bool(self.separate) or (self.melody is not None and self.melody_part in SOURCES)

    @property
    def floating(self) -> bool:
        """Whether its files hold floating-point samples, which may exceed full scale."""
        return self.format == "wav" and self.bits == 32

    @property
    def timing(self) -> TempoMap:
        """The tempos and bars from the stem's start to its end.

        Raises:
            ValueError: it has no length, or a tempo map that does not fit it.
        """
        points = self.tempo_map or (TempoPoint(0.0, self.bpm, self.bpm, self.signature),)
        if self.bars is not None:
            return TempoMap.of_bars(points, Fraction(self.bars))
        if self.beats is not None:
            return TempoMap(points, Fraction(self.beats))
        if self.seconds is not None:
            return TempoMap.of_seconds(points, Fraction(self.seconds))
        raise ValueError("a request has bars, beats or seconds")

    @property
    def quarters(self) -> Fraction:
        """The length in quarter notes."""
        return self.timing.quarters

    @property
    def frames(self) -> int:
        """The exact length of each stem in frames at `sample_rate`."""
        return self.timing.frames(self.sample_rate)

    @property
    def duration(self) -> float:
        """The length of each stem in seconds, before it is rounded to a frame."""
        return float(self.timing.duration)

    @property
    def rows(self) -> tuple[Part, ...]:
        """One (name, prompt) for each stem, in the order of their index: all variations of a part, then the next."""
        parts = self.parts or (Part("", self.prompt),)
        return tuple(part for part in parts for _ in range(self.variations))

    @property
    def candidates(self) -> tuple[Part, ...]:
        """One (name, prompt) for each take that is made: all candidates of a row, then the next row's."""
        return tuple(row for row in self.rows for _ in range(self.best_of))

    @property
    def stems(self) -> int:
        """How many stems there will be."""
        return len(self.rows) * max(1, len(self.separate)) + self.mix * self.variations


@dataclass(frozen=True, slots=True, kw_only=True)
class Stem(_Json):
    """One file that lies complete in the project folder."""

    index: int
    total: int
    path: str
    frames: int
    sample_rate: int
    bpm: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress(_Json):
    """How far a job has come."""

    fraction: float
    """0 to 1."""
    eta_s: float
    """Seconds until it is done, as far as can be told; -1 when it can't."""
    stage: str
    """One of `STAGES` or `RECORDING_STAGES`."""
    level: float | None = None
    """Of a recording: the input's peak in dBFS since the last report."""


RECORDING_STAGES = ("waiting", "recording")
"""What a recording goes through: it waits for its device and the bar line."""
STAGES = ("waiting", "reading", "conditioning", "generating", "decoding", "matching", "separating", "writing")
"""What a job goes through, in order; each is a word that a person may read."""
