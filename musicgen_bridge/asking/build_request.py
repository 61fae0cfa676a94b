"""From checked values to a complete render request, and back: what goes over what, and what the session adds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from musicgen_bridge.asking.keys import LENGTHS, NO_PROJECT, RECORDINGS, Value
from musicgen_bridge.asking.notation import parse_key, parse_parts, parse_separate, parse_signature, parse_tempo_map
from musicgen_bridge.asking.plausible import mode_of, plausible
from musicgen_bridge.errors import ArgumentError, PathError
from musicgen_bridge.request import RenderRequest, Session


def update_session(session: Session, values: Mapping[str, Value]) -> Session:
    """Return the session with these (checked) values of `SESSION_KEYS` in place.

    Raises:
        ArgumentError: the signature or key cannot be read.
    """
    changes: dict[str, Any] = dict(values)
    if "signature" in changes:
        changes["signature"] = parse_signature(changes["signature"])
    if "key" in changes:
        changes["key"] = parse_key(changes["key"])
    return replace(session, **changes)


def over(values: Mapping[str, Value], below: Mapping[str, Value]) -> dict[str, Value]:
    """Return `values` over those `below`, where a length replaces any other length, and bpm or signature a tempo map.

    Raises:
        ArgumentError: `values` holds two lengths.
    """
    given = [name for name in LENGTHS if name in values]
    if len(given) > 1:
        raise ArgumentError(f"give one length, not {' and '.join(given)}")
    replaced = set(LENGTHS) if given else set()
    if "bpm" in values or "signature" in values:
        replaced.add("tempo_map")
    return {name: value for name, value in below.items() if name not in replaced} | dict(values)


def in_session(merged: dict[str, Any], session: Session) -> Session:
    """Return the session with what a request says of tempo, rate, key and project, which `merged` then has no more.

    Raises:
        ArgumentError: the signature or key cannot be read.
        PathError: neither names a project folder.
    """
    told = ("bpm", "signature", "sample_rate", "key", "project")
    session = update_session(session, {name: merged.pop(name) for name in told if name in merged})
    if not session.project:
        raise PathError(NO_PROJECT)
    return session


def make_request(values: Mapping[str, Value], session: Session, defaults: Mapping[str, Value]) -> RenderRequest:
    """Return the complete request for (checked) `values` over `defaults` over the session.

    A length in `values` replaces one in `defaults`; with none at all it is 4 bars, or as long as the recording in the
    mode "fit". A seed is drawn when none is given and there is something to draw.

    Raises:
        ArgumentError: two lengths, no prompt where the mode needs one, too many stems, a text that cannot be read, a
            tempo map that the length does not fit.
        PathError: neither the request nor the session names a project folder.
    """
    merged: dict[str, Any] = over(values, defaults)
    if not merged.keys() & set(LENGTHS) and not merged.get("file"):
        merged["bars"] = 4.0
    merged["prompt"] = str(merged.get("prompt", "")).strip()
    session = in_session(merged, session)
    merged |= {name: merged.get(name) or None for name in RECORDINGS}
    merged["continue_from"] = merged.pop("continue")
    merged["tempo_map"] = parse_tempo_map(merged.get("tempo_map", ""), session.signature)
    merged["parts"] = parse_parts(merged.get("parts", ""))
    merged["separate"] = parse_separate(merged.get("separate", ""))
    if merged.get("loudness") == "off":
        merged["loudness"] = None
    merged.setdefault("seed", 0 if merged["file"] or merged["take"] else int.from_bytes(os.urandom(4), "big") >> 1)
    merged["mode"] = mode_of(merged)
    if merged["tempo_map"] and not merged.keys() & set(LENGTHS):
        raise ArgumentError("tempo_map needs a length; give bars, seconds or beats")
    timing = {name: getattr(session, name) for name in ("bpm", "signature", "sample_rate", "key", "project")}
    try:
        request = RenderRequest(**timing, **merged)
    except ValueError as error:
        raise ArgumentError(f"tempo_map: {error}") from error
    return plausible(request)


def wire_values(request: RenderRequest) -> dict[str, Value]:
    """Return the render keys that make this very request again: `make_request` of them equals it."""
    values: dict[str, Any] = {field.name: getattr(request, field.name) for field in fields(request)}
    values |= {
        "signature": str(request.signature),
        "tempo_map": "; ".join(map(str, request.tempo_map)),
        "continue": values.pop("continue_from"),
        "parts": "; ".join(f"{part.name}: {part.prompt}" for part in request.parts),
        "separate": ", ".join(request.separate),
        "loudness": "off" if request.loudness is None else request.loudness,
    }
    return {name: value for name, value in values.items() if value is not None and value != ""}
