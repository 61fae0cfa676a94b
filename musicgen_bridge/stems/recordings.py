"""Recordings of an input, written to the project's folder of recordings."""

from __future__ import annotations

from musicgen_bridge.request import RecordRequest, Stem
from musicgen_bridge.roots import Roots
from musicgen_bridge.sidecar import STEM_FOLDER
from musicgen_bridge.stems.chunks import acid, with_chunks
from musicgen_bridge.stems.files import NewFile, appear, make_folder
from musicgen_bridge.stems.paths import slug
from musicgen_bridge.stems.write import Audio, encode_recording

RECORDING_FOLDER = "recordings"
"""Below `STEM_FOLDER`."""


def publish_recording(audio: Audio, sample_rate: int, request: RecordRequest, *, roots: Roots) -> Stem:
    """Write a recording [frames, channels] as a WAV file of 24 bits that knows its tempo, and return it.

    Raises:
        PathError: the project is gone or leads out of the roots.
        DiskError: the disk is full or may not be written; nothing half-written stays.
    """
    folder = make_folder(make_folder(roots.project(request.project), STEM_FOLDER), RECORDING_FOLDER)
    timing = request.timing
    tempo = acid(timing.quarters, request.signature, request.bpm, None, loops=request.bars is not None)
    data = with_chunks(encode_recording(audio, sample_rate, request.name or "recording"), [tempo])
    (path,) = appear(_name(request), [NewFile(folder, ".wav", data)])
    return Stem(index=0, total=1, path=str(path), frames=len(audio), sample_rate=sample_rate, bpm=request.bpm, seed=0)


def _name(request: RecordRequest) -> str:
    length = f"{request.bars:g}bars" if request.bars is not None else f"{request.seconds:g}s"
    return slug(request.name) or f"recording_{request.bpm:g}bpm_{length}"
