"""A section of a recording that is made anew: what the model hears of it, and what becomes of what it plays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from musicgen_bridge.asking.plausible import MAX_SECONDS
from musicgen_bridge.errors import AudioError, BridgeError
from musicgen_bridge.match import FASTEST, Section, Surroundings, fill, surroundings
from musicgen_bridge.match.resample import resample
from musicgen_bridge.request import RenderRequest
from musicgen_bridge.roots import Roots, shown
from musicgen_bridge.stems.manifest import read_take
from musicgen_bridge.stems.read import SILENCE, Recording, read_audio
from musicgen_bridge.worker.takes import Made, Result

_RESERVE_S = 1.0
"""For beats that come late: half of a slow one, and some."""


@dataclass(frozen=True, slots=True)
class Filling:
    """The recording, what the new section has to keep of it, and the request with all of that."""

    request: RenderRequest
    section: Section
    kept: Surroundings

    @property
    def seconds(self) -> float:
        """How much the model has to play, however slowly."""
        return FASTEST * (self.section.end - self.section.start) + _RESERVE_S

    def heard(self, sample_rate: int, most: float) -> np.ndarray:
        """Return what stands before the section [C, N] at the model's rate, `most` seconds of it at most.

        Raises AudioError where that is silent.
        """
        before = min(self.request.continue_seconds, most, self.section.start)
        first, last = (round(at * self.section.sample_rate) for at in (self.section.start - before, self.section.start))
        audio = self.section.audio[:, first:last]
        if np.abs(audio).max(initial=0.0) < SILENCE:
            raise AudioError("it is silent before the section: begin it where something sounds, or render a take")
        return resample(audio, self.section.sample_rate, sample_rate)

    def results(self, made: Made, step: Callable[[int, int], None]) -> list[Result]:
        """Return the recording with each take of `made` in it.

        `step` is told the takes that are done and their total; what it raises ends the job.
        """
        assert made.prompts is not None
        results = []
        for row, (prompt, audio) in enumerate(zip(made.prompts, made.audio, strict=True)):
            played = np.concatenate([prompt, audio], axis=1)
            before = prompt.shape[1] / made.sample_rate
            matched, late = fill(self.section, self.kept, played, made.sample_rate, before, self.request.signature)
            report = asdict(matched.report) | {"late_s": late}
            results.append(Result(audio=matched.audio, part=made.parts[row], row=row, report=report, raw=None))
            step(row + 1, len(made.audio))
        return results


def begin_fill(request: RenderRequest, roots: Roots) -> Filling:
    """Return what a request of the mode "fill" is about; its tempo and key become the recording's where one is heard.

    A stem is known by its sidecar: its bars, tempo and loop stay exactly what they are.

    Raises PathError or AudioError where the recording can't be read, or ends before the section does.
    """
    assert request.fill is not None and request.fill_end is not None
    path = roots.readable(request.fill)
    recording = read_audio(path, max_seconds=MAX_SECONDS, keys=None)
    length = recording.audio.shape[1] / recording.sample_rate
    if request.fill_end > length + 1e-3:
        raise AudioError(f"{shown(path)} is {length:.3f} s long; fill_end lies behind its end: end the section inside")
    section = Section(
        audio=recording.audio,
        sample_rate=recording.sample_rate,
        start=request.fill_start,
        end=min(request.fill_end, length),
    )
    stem = _stem(path, roots, recording)
    timing = stem or replace(request, bars=None, beats=None, seconds=length)
    kept = surroundings(section, timing.bpm, timing.signature)
    if not request.match:
        kept = replace(kept, grid=replace(kept.grid, confidence=0.0))  # as if no beat were heard: nothing is stretched
    whole = replace(
        request,
        bars=timing.bars,
        beats=timing.beats,
        seconds=timing.seconds,
        signature=timing.signature,
        sample_rate=recording.sample_rate,
        bpm=stem.bpm if stem else kept.grid.bpm,
        key=request.key or (stem.key if stem else None) or kept.key,
        loop=stem is not None and stem.loop and stem.continue_from is None,
        loudness=None,
    )
    return Filling(whole, section, kept)


def _stem(path: Path, roots: Roots, recording: Recording) -> RenderRequest | None:
    """Return the request of a stem in the session's time that is as long as it was; None for any other recording."""
    sidecar = path.with_suffix(".json")
    if not sidecar.is_file():
        return None
    try:
        request = read_take(roots.readable(str(sidecar))).request
    except BridgeError:  # a file of somebody else's
        return None
    same = (request.frames, request.sample_rate) == (recording.audio.shape[1], recording.sample_rate)
    return request if same and request.match and not request.tempo_map else None
