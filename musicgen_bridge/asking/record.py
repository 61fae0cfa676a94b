"""What a recording is asked for with: the keys of /musicgen/record, and the complete request that they make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from musicgen_bridge.asking.build_request import in_session, over
from musicgen_bridge.asking.keys import RENDER_KEYS, SESSION_KEYS, Key, Value, table
from musicgen_bridge.asking.plausible import MAX_SECONDS
from musicgen_bridge.errors import ArgumentError
from musicgen_bridge.request import RecordRequest, Session

RECORD_KEYS = table(
    *(RENDER_KEYS[name] for name in ("bars", "seconds")),
    Key("input", "s", "the device, by its name or a part of it; the setting input when left out", longest=200),
    Key("as", "s", "name of the file", longest=64),
    *(SESSION_KEYS[name] for name in ("bpm", "signature", "sample_rate", "project")),
)


def make_recording(values: Mapping[str, Value], session: Session, device: str) -> RecordRequest:
    """Return the complete request for (checked) values of `RECORD_KEYS` over the session; `device` is the usual input.

    Raises:
        ArgumentError: two lengths, one that is too long, or a signature that cannot be read.
        PathError: neither the values nor the session name a project folder.
    """
    merged: dict[str, Any] = over(values, {"bars": 4.0, "input": device})
    session = in_session(merged, session)
    request = RecordRequest(
        bpm=session.bpm,
        signature=session.signature,
        sample_rate=session.sample_rate,
        project=str(session.project),
        name=merged.pop("as", ""),
        **merged,
    )
    if (seconds := float(request.timing.duration)) > MAX_SECONDS:
        raise ArgumentError(f"{seconds:.0f} s is too long; at most {MAX_SECONDS:.0f} s are recorded at once")
    return request
