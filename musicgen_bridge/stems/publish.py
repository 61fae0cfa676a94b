"""A matched take becomes a stem: its file, its sidecar and the raw take appear together in the project folder."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np

from musicgen_bridge.errors import DiskError, InternalError
from musicgen_bridge.request import RenderRequest, Stem
from musicgen_bridge.roots import Roots
from musicgen_bridge.sidecar import STEM_FOLDER
from musicgen_bridge.stems.files import NewFile, appear, disk_errors, make_folder
from musicgen_bridge.stems.manifest import Take, to_json
from musicgen_bridge.stems.paths import RAW_FOLDER, stem_name
from musicgen_bridge.stems.write import Audio, encode_raw, encode_stem


def publish(
    audio: Audio, take: Take, *, roots: Roots, raw: tuple[Audio, int] | None = None, folder: str = STEM_FOLDER
) -> Stem:
    """Write a stem to `folder` below its request's project and return what stands there.

    `audio` is [frames, channels] at the request's rate and exact length; `raw`, where there is one, is the take as the
    model made it, [frames, channels] and its sample rate, kept so that a downbeat can be moved without rendering
    again. Raw take and sidecar appear before the stem: a stem in the folder always has both.

    Raises:
        PathError: the project is gone or leads out of the roots.
        DiskError: the disk is full or may not be written; nothing half-written stays.
        InternalError: the length is not exact or a sample is not finite.
    """
    request = take.request
    if len(audio) != request.frames or not np.isfinite(audio).all():
        raise InternalError(f"the take has {len(audio)} frames; {request.frames}, all finite, were due")
    place = make_folder(roots.project(request.project), folder)
    files = [
        NewFile(place, ".json", to_json(take)),
        NewFile(place, f".{request.format}", encode_stem(audio, take)),
    ]
    if raw is not None:
        files.insert(0, NewFile(make_folder(place, RAW_FOLDER), ".flac", encode_raw(*raw)))
    path = appear(stem_name(take), files)[-1]
    return Stem(
        index=take.index,
        total=take.total,
        path=str(path),
        frames=len(audio),
        sample_rate=request.sample_rate,
        bpm=take.bpm,
        seed=take.seed,
    )


def publish_all(
    stems: Iterable[tuple[Audio, Take, tuple[Audio, int] | None]], *, roots: Roots, folder: str = STEM_FOLDER
) -> list[Stem]:
    """Write the stems of a request, each as `publish` does with its raw take: all of them, or none stays behind.

    Raises as `publish`.
    """
    published: list[Stem] = []
    with ExitStack() as failed:
        for audio, take, raw in stems:
            published.append(publish(audio, take, roots=roots, raw=raw, folder=folder))
            failed.callback(_take_back, Path(published[-1].path), raw is not None)
        failed.pop_all()
    return published


def _take_back(stem: Path, raw: bool) -> None:
    files = [stem, stem.with_suffix(".json")]
    if raw:
        files.append(stem.parent / RAW_FOLDER / f"{stem.stem}.flac")
    for file in files:
        with suppress(OSError):
            file.unlink()


def space_for(request: RenderRequest) -> int:
    """Return the bytes that a request's stems need at most: stereo, with their raw takes half as long again."""
    stem = request.frames * 2 * request.bits // 8
    raw = int(request.duration * 1.5 + 10) * 32_000 * 2 * 3
    return request.stems * (stem + raw + 65_536)


def check_space(folder: Path, needed: int) -> None:
    """Raise DiskError unless the project `folder` takes `needed` bytes of stems; PathError if that is gone."""
    place = folder / STEM_FOLDER
    asked = place if place.is_dir() else folder
    with disk_errors(asked):
        free = shutil.disk_usage(folder).free
        if not os.access(asked, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            raise PermissionError(errno.EACCES, "may not be written")
    if free < needed:
        raise DiskError(
            f"the stems need {needed / 1e6:.0f} MB and {free / 1e6:.0f} MB are free at {folder}; "
            "free some space or choose another project folder"
        )
