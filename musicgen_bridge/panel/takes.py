"""The takes of a project as the page lists them: read from their sidecars, whoever asked for them."""

from __future__ import annotations

import heapq
from pathlib import Path
from typing import Any

from musicgen_bridge.asking.build_request import wire_values
from musicgen_bridge.errors import BridgeError
from musicgen_bridge.roots import Roots
from musicgen_bridge.sidecar import STEM_FOLDER
from musicgen_bridge.stems.manifest import Take, read_take

LISTED = 100
"""The most takes of a list, the newest."""


def takes_in(project: str, roots: Roots) -> list[dict[str, Any]]:
    """Return the newest takes of a project folder, newest first; a sidecar that can't be read is left out.

    Raises:
        PathError: the folder is none that may be used.
    """
    sidecars = [path for path in (roots.project(project) / STEM_FOLDER).glob("*.json") if path.is_file()]
    newest = heapq.nlargest(LISTED, sidecars, key=lambda path: path.stat().st_mtime)
    found = []
    for path in newest:
        try:
            take = read_take(roots.readable(str(path)))
            found.append(_described(roots.readable(str(path.with_suffix(f".{take.request.format}"))), take))
        except BridgeError:
            continue
    return found


def take_at(stem: str, roots: Roots) -> dict[str, Any]:
    """Return the take that a stem is.

    Raises:
        PathError, ArgumentError: it or its sidecar is none that may be read; a recording has no sidecar.
    """
    path = roots.readable(stem)
    return _described(path, read_take(roots.readable(str(path.with_suffix(".json")))))


def _described(path: Path, take: Take) -> dict[str, Any]:
    request = take.request
    return {
        "path": str(path),
        "name": path.name,
        "prompt": take.part.prompt or request.prompt,
        "part": take.part.name,
        "index": take.index,
        "total": take.total,
        "seed": take.seed,
        "bpm": take.bpm,
        "key": take.key,
        "signature": str(request.signature),
        "quarters": float(request.quarters),
        "bar": float(request.signature.quarters),
        "frames": request.frames,
        "sample_rate": request.sample_rate,
        "mode": request.mode,
        "model": request.model,
        "loops": take.loops,
        "created": take.created.isoformat(),
        "warning": take.report.get("warning"),
        "request": wire_values(request),
    }
