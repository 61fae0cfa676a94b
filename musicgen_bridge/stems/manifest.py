"""The sidecar beside each stem: a JSON file with everything that is needed to render the take again."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from musicgen_bridge import __version__
from musicgen_bridge.asking.build_request import make_request, wire_values
from musicgen_bridge.asking.keys import RENDER_KEYS, check_values, suggestion
from musicgen_bridge.errors import ArgumentError
from musicgen_bridge.request import Part, RenderRequest, Session
from musicgen_bridge.roots import shown
from musicgen_bridge.sidecar import FORMAT, read_sidecar


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """One stem's origin: the whole request it belongs to, which of its stems it is, and what rendered it."""

    request: RenderRequest
    part: Part
    """Its name ("" where there is but one) and its prompt; of a recording, the file's name instead."""
    index: int
    """Which of `total` stems, from 0."""
    total: int
    variation: int
    """Which of the request's variations of this part, from 0."""
    seed: int
    bpm: float
    """The stem's tempo in quarter notes a minute: the request's, or as measured where `match` is off."""
    key: str | None
    """As asked for, or as measured; for example "F# minor"."""
    fingerprint: str
    """SHA-256 of the model's weights, whose alias is `request.model`; of a recording that was fitted, of its file."""
    device: str
    dtype: str
    job: str
    created: datetime
    """With its time zone."""
    report: dict[str, Any] = field(default_factory=dict)
    """What matching measured and did: plain JSON values."""
    version: str = __version__
    """Of the package that rendered it."""

    @property
    def loops(self) -> bool:
        """Whether the stem joins its own start in the session's time."""
        return self.request.loop and (self.request.match or self.request.fill is not None)

    @property
    def seamless(self) -> bool:
        """Whether its end leads into its start: what goes on from a recording joins that instead, and fades out."""
        joins_another = self.request.continue_from is not None and self.report.get("downbeat_s") is None
        return self.loops and not joins_another


def to_json(take: Take) -> bytes:
    """Return the sidecar. The request stands there in render keys, as they go over the wire."""
    values = {name.name: getattr(take, name.name) for name in fields(take)}
    values |= {
        "format": FORMAT,
        "request": wire_values(take.request),
        "part": take.part._asdict(),
        "created": take.created.isoformat(),
        # What could not be measured (the loudness of silence) is not finite, and JSON has only null for it.
        "report": json.loads(json.dumps(take.report), parse_constant=lambda _: None),
    }
    text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode(errors="surrogatepass")  # a folder's name need not be valid Unicode


def read_take(path: Path) -> Take:
    """Return the take that a sidecar describes; `path` is one that `Roots.readable` returned.

    Raises:
        ArgumentError: it is no sidecar, of a newer layout, or has an unknown, missing or wrong field.
        PathError: it is no plain file or may not be read.
    """
    try:
        return _take(read_sidecar(path))
    except ArgumentError as error:
        raise ArgumentError(f"{shown(path)} can't be rendered again: {error.text}") from error


def _take(values: dict[str, Any]) -> Take:
    known = {entry.name for entry in fields(Take)}
    for name in values.keys() | known:
        if name not in known:
            raise ArgumentError(f'unknown field "{name}"{suggestion(name, known)}')
        if name not in values:
            raise ArgumentError(f"{name} is missing; use the file as it was written")
    return Take(
        request=_request(_typed(values, "request", dict)),
        part=_part(_typed(values, "part", dict)),
        index=_count(values, "index"),
        total=_count(values, "total"),
        variation=_count(values, "variation"),
        seed=_count(values, "seed"),
        bpm=_tempo(values),
        key=None if values["key"] is None else _typed(values, "key", str),
        fingerprint=_typed(values, "fingerprint", str),
        device=_typed(values, "device", str),
        dtype=_typed(values, "dtype", str),
        job=_typed(values, "job", str),
        created=_time(_typed(values, "created", str)),
        report=_typed(values, "report", dict),
        version=_typed(values, "version", str),
    )


def _request(values: dict[str, Any]) -> RenderRequest:
    for name in ("project", "seed", "model", "bpm", "signature", "sample_rate"):
        if name not in values:
            raise ArgumentError(f"{name} is missing in request; use the file as it was written")
    if not values.keys() & {"bars", "seconds", "beats"}:
        raise ArgumentError("bars, seconds or beats is missing in request; use the file as it was written")
    return make_request(check_values(values, RENDER_KEYS, " in request"), Session(), {})


def _part(values: dict[str, Any]) -> Part:
    if set(values) != set(Part._fields):
        raise ArgumentError("part has a name and a prompt, nothing else")
    return Part(_typed(values, "name", str), _typed(values, "prompt", str))


def _time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ArgumentError(f"created must be like 2026-01-31T12:00:00+00:00, not {text!r}")
    return moment


def _tempo(values: dict[str, Any]) -> float:
    value = _typed(values, "bpm", int | float)
    if not 0 < value < 1e6:
        raise ArgumentError(f"bpm must be a tempo above 0, not {value!r}")
    return float(value)


def _count(values: dict[str, Any], name: str) -> int:
    value = _typed(values, name, int)
    if value < 0:
        raise ArgumentError(f"{name} must be 0 or more, not {value}")
    return value


def _typed(values: dict[str, Any], name: str, kind: Any) -> Any:
    value = values[name]
    if isinstance(value, bool) or not isinstance(value, kind):
        names = {str: "text", dict: "a table", int: "a whole number"}
        raise ArgumentError(f"{name} must be {names.get(kind, 'a number')}, not {value!r:.60}")
    return value
