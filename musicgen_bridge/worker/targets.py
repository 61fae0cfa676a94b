"""What matching has to make of a request: its target, and of a recording how long that is and how much it needs."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from musicgen_bridge.asking.plausible import MAX_SECONDS
from musicgen_bridge.errors import AudioError
from musicgen_bridge.match import CEILING, SLOWEST, Target, bars_in, needed_seconds
from musicgen_bridge.request import RenderRequest
from musicgen_bridge.stems.read import Recording
from musicgen_bridge.worker.takes import Known

_SHORT_S = 60.0
"""So much of a recording is listened to in any case."""


def with_length(request: RenderRequest, recording: Recording) -> RenderRequest:
    """Return a request of the recording's own length where it names none: its whole bars, or every frame.

    Raises AudioError where those bars would last longer than `MAX_SECONDS`.
    """
    if request.has_length:
        return request
    if request.match:
        bpm = request.file_bpm or request.bpm
        bars = bars_in(recording.audio, recording.sample_rate, bpm, request.signature)
        request = replace(request, bars=float(bars))
    else:
        request = replace(request, seconds=recording.audio.shape[1] / recording.sample_rate)
    if request.duration > MAX_SECONDS:
        raise AudioError(
            f"the recording makes {request.duration:.0f} s of bars; give bars, for at most {MAX_SECONDS:.0f} s"
        )
    return request


def needed_of(recording: Recording, request: RenderRequest) -> np.ndarray:
    """Return as much of a recording [C, N] as can be needed: what comes later says little of the tempo at its start."""
    slower = request.bpm / request.file_bpm if request.file_bpm else 1 / SLOWEST
    seconds = max(_SHORT_S, max(1.0, slower) * needed_seconds(target_of(request)))
    return recording.audio[:, : math.ceil(seconds * recording.sample_rate)]


def target_of(request: RenderRequest, known: Known | None = None, *, opens: bool = False) -> Target:
    """Return what matching has to make of each take, of which something may be known, such as that it opens a bar."""
    begins_s = known.begins_s if known else None
    return Target(
        bpm=request.bpm,
        signature=request.signature,
        frames=request.frames,
        sample_rate=request.sample_rate,
        loop=request.loop,
        match=request.match,
        loudness=request.loudness,
        continues=request.continue_from is not None and begins_s is None,
        recorded=request.mode == "fit",
        own_bpm=known.bpm if known else request.file_bpm,
        begins_s=begins_s,
        ceiling=math.inf if request.mode == "fit" and request.loudness is None else CEILING,
        tempo_map=None if request.timing.steady else request.timing,
        opens=opens,
    )
