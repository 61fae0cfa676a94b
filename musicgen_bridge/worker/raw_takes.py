"""An earlier take that is cut anew: what the model made, where its stem began, and what can be made of it now."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from musicgen_bridge.errors import ArgumentError, PathError
from musicgen_bridge.match import FASTEST, SLOWEST, Grid
from musicgen_bridge.request import RenderRequest
from musicgen_bridge.roots import Roots, shown
from musicgen_bridge.stems.manifest import read_take
from musicgen_bridge.stems.paths import RAW_FOLDER
from musicgen_bridge.stems.read import Recording, read_raw
from musicgen_bridge.worker.takes import Known, Made

_EARLY = 0.05
"""Seconds before a raw take at which its first downbeat may lie."""


def recut(request: RenderRequest, roots: Roots) -> Made:
    """Return the raw take of the stem that a request of the mode "recut" names, and where the new stem begins in it.

    Raises:
        PathError: there is no such stem, sidecar or raw take.
        AudioError: the raw take can't be read.
        ArgumentError: the sidecar can't be read, or what is asked for lies outside of the raw take.
    """
    assert request.take is not None
    path = roots.readable(request.take)
    take = read_take(roots.readable(str(path.with_suffix(".json"))))
    raw = _raw_take(path, roots)
    try:
        known = _known(request, take.report, raw.audio.shape[1] / raw.sample_rate)
    except (KeyError, TypeError) as error:
        raise ArgumentError(f"{shown(path)} can't be cut anew: its report lacks {error}; render it again") from error
    return Made(
        audio=[raw.audio],
        sample_rate=raw.sample_rate,
        parts=(take.part,),
        fingerprint=take.fingerprint,
        device=take.device,
        dtype=take.dtype,
        known=known,
    )


def _raw_take(path: Path, roots: Roots) -> Recording:
    raw = path.parent / RAW_FOLDER / f"{path.stem}.flac"
    if not raw.exists():
        raise PathError(
            f"{shown(path)} has no raw take in {RAW_FOLDER}; keep that folder with the stems, or render again"
        )
    return read_raw(roots.readable(str(raw)))


def _known(request: RenderRequest, report: dict[str, Any], seconds: float) -> Known:
    """Return where the stem begins in `seconds` of a raw take, and its tempo. Raises ArgumentError."""
    bpm = None if report["beatless"] else float(report["bpm"])
    rate = request.bpm / bpm if bpm is not None and request.match else 1.0
    before = float(report["rate"])  # a fit may end a little beyond the tempos that were looked at
    slowest, fastest = min(SLOWEST, before), max(FASTEST, before)
    if not slowest - 1e-6 <= rate <= fastest + 1e-6 and bpm is not None:
        raise ArgumentError(
            f"the take was played at {bpm:.5g}; it can be cut anew at {slowest * bpm:.5g} to {fastest * bpm:.5g}: "
            "name such a tempo"
        )
    beat = 60 / request.bpm
    shift = request.shift_beats * beat + request.shift_ms / 1000  # seconds of the stem
    began = report["downbeat_s"]
    grid = _grid(request, report)
    if began is None and not shift:
        return Known(begins_s=None, bpm=bpm, grid=grid)
    begins = (began or 0.0) + shift * rate
    bar = float(request.signature.quarters) * beat
    longest = (seconds - begins) / rate + max(bar, report["short_s"] / rate)
    late = request.duration > longest + 1e-3
    if begins < min(-_EARLY, began or 0.0) or (late and shift):
        least, most = min(0.0, -(began or 0.0) / rate), longest - request.duration + shift
        raise ArgumentError(_range_of(least, most, beat) if most > least else _longest(longest + shift - least, bar))
    if late:
        raise ArgumentError(_longest(longest, bar))
    return Known(begins_s=begins, bpm=bpm, grid=grid)


def _range_of(least: float, most: float, beat: float) -> str:
    """Say between which shifts, in seconds of the stem, the raw take can be cut; rounded to the inside."""
    beats = f"{math.ceil(100 * least / beat) / 100 + 0.0:g} to {math.floor(100 * most / beat) / 100 + 0.0:g} beats"
    milliseconds = f"{math.ceil(1000 * least)} to {math.floor(1000 * most)} ms"
    return f"what the model played is enough for a shift of {beats} ({milliseconds}; more is earlier): ask for these"


def _longest(seconds: float, bar: float) -> str:
    return f"what the model played is enough for {math.floor(100 * seconds / bar) / 100:g} bars: ask for no more"


def _grid(request: RenderRequest, report: dict[str, Any]) -> Grid | None:
    """Return the beats as they were found; of a take that wanders, the report does not tell them all."""
    if report["strayed_s"]:
        return None
    bpm = request.bpm if report["beatless"] else float(report["bpm"])
    bar = float(request.signature.quarters) * 60 / bpm
    return Grid(bpm, bar, report["downbeat_s"] or 0.0, float(report["confidence"]))
