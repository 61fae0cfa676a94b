"""The sidecar beside a stem as plain values: what reads it without knowing of audio, such as the daemon."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from musicgen_bridge.errors import ArgumentError
from musicgen_bridge.roots import open_plain

STEM_FOLDER = "MusicGen"
"""Below the project: the only place that is written to."""
FORMAT = 1
"""Version of the sidecar's layout; it rises when an older reader would misread a newer file."""
MAX_BYTES = 1 << 20


def read_sidecar(path: Path) -> dict[str, Any]:
    """Return a sidecar's fields but `format`, unchecked; `path` is one that `Roots.readable` returned.

    Raises:
        ArgumentError: it is no sidecar, or one of a newer layout.
        PathError: it is no plain file or may not be read.
    """
    with open_plain(path) as file:
        data = file.read(MAX_BYTES)  # what is cut off here can't be parsed
    try:
        values = json.loads(data)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict) or "format" not in values or "request" not in values:
        raise ArgumentError("it is not a take; name the .json file beside a stem")
    if values.pop("format") != FORMAT:
        raise ArgumentError(f"its layout is not {FORMAT}; use the version of musicgen-bridge that wrote it")
    return values
