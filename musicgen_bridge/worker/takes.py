"""From what was generated or recorded to the stems of a job, and what their sidecars tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np

from musicgen_bridge.match import Grid, Matched
from musicgen_bridge.request import Part, RenderRequest
from musicgen_bridge.stems.manifest import Take


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of a take that was matched before."""

    begins_s: float | None
    """The second that its stem is to begin with; None for its first sample, or as it is found."""
    bpm: float | None
    """Its own tempo in quarter notes a minute; None where it has no beat."""
    grid: Grid | None
    """Its beats; None where they have to be looked for once more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What is to be matched, and what it came from."""

    audio: list[np.ndarray]
    """[C, N] each; those that are not `kept` are gone once they are matched."""
    sample_rate: int
    prompts: np.ndarray | None = None
    """[B, C, M]: what each goes on from, as the codec gives it back."""
    parts: Sequence[Part]
    fingerprint: str
    device: str
    dtype: str
    melody: str = ""
    """How it was found."""
    followed: tuple[np.ndarray, int] | None = None
    """The melody [C, N] and its sample rate."""
    kept: bool = True
    """Whether it is kept as the raw take; a recording lies on the disk anyway."""
    opens: bool = False
    """The first sample is a downbeat."""
    known: Known | None = None

    def hand_over(self, row: int) -> np.ndarray:
        """Return a take to whoever matches it; a recording is let go of here, since ten minutes have 200 MB."""
        return self.audio[row] if self.kept else self.audio.pop(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One stem, before it is a file."""

    audio: np.ndarray
    """[frames, channels]"""
    part: Part
    row: int
    """Which take of the batch it comes from."""
    report: dict[str, Any]
    raw: tuple[np.ndarray, int] | None


def unseparated(matched: Sequence[Matched], made: Made) -> list[Result]:
    """Return the matched takes as the stems that they are as long as nothing is separated."""
    heard = {"melody": made.melody} if made.melody else {}
    return [
        Result(
            audio=one.audio,
            part=part,
            row=row,
            report=asdict(one.report) | heard,
            raw=(made.audio[row].T, made.sample_rate) if made.kept else None,
        )
        for row, (one, part) in enumerate(zip(matched, made.parts, strict=True))
    ]


def of_mix(mix: Result, stems: Mapping[str, np.ndarray]) -> list[Result]:
    """Return the stems [channels, frames] that a mix was separated into; the first has the raw take for all."""
    return [
        replace(
            mix,
            audio=np.ascontiguousarray(stem.T),
            part=Part(f"{mix.part.name} {name}".strip(), mix.part.prompt),
            report=mix.report | {"separated": name},
            raw=mix.raw if number == 0 else None,
        )
        for number, (name, stem) in enumerate(stems.items())
    ]


def takes_of(request: RenderRequest, job: int, results: Sequence[Result], made: Made) -> list[Take]:
    """Return what the sidecars tell of the stems."""
    now = datetime.now().astimezone()
    return [
        Take(
            request=request,
            part=one.part,
            index=index,
            total=len(results),
            variation=one.row // request.best_of % request.variations,
            seed=request.seed + one.row,
            bpm=request.bpm if request.match or request.fill else one.report["bpm"] or request.bpm,
            key=one.report["key"] if request.file else request.key or one.report["key"],
            fingerprint=made.fingerprint,
            device=made.device,
            dtype=made.dtype,
            job=str(job),
            created=now,
            report=one.report,
        )
        for index, one in enumerate(results)
    ]
