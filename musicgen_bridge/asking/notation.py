"""Texts that stand for more: time signatures, keys, tempo maps, parts, what a mix is separated into."""

from __future__ import annotations

import re

from musicgen_bridge.asking.keys import SESSION_KEYS, check, listed, suggestion
from musicgen_bridge.errors import ArgumentError
from musicgen_bridge.request import SOURCES, Part, Signature
from musicgen_bridge.tempo_map import TempoPoint, check_order

MAX_TEMPO_SPAN = 4
"""How many times as fast as its slowest tempo a tempo map may become."""

_NUMBER = r"(\d+\.?\d*(?:[eE][+-]?\d+)?)"
_TEMPO_POINT = re.compile(rf"{_NUMBER}\s+{_NUMBER}(?:\s*>\s*{_NUMBER})?(?:\s+(\d{{1,2}}/\d{{1,2}}))?")
_KEY_NAME = re.compile(r"([A-Ga-g])([#b♯♭]?)\s*(major|minor|maj|min|m)?", re.IGNORECASE)


def parse_signature(text: str) -> Signature:
    """Return the time signature that "7/8" stands for.

    Raises:
        ArgumentError: it is not beats/unit with 1-32 beats of a whole to 1/32 note.
    """
    found = re.fullmatch(r"\s*(\d{1,2})\s*/\s*(\d{1,2})\s*", text)
    if found is None or not 1 <= int(found[1]) <= 32 or int(found[2]) not in (1, 2, 4, 8, 16, 32):
        raise ArgumentError(f'signature must be like "4/4" or "7/8", not {text!r}')
    return Signature(int(found[1]), int(found[2]))


def parse_tempo_map(text: str, signature: Signature) -> tuple[TempoPoint, ...]:
    """Return the points of "0 97.5 7/8; 14 120>90 4/4": quarter notes from the stem's start, tempo, time signature.

    "120>90" goes from 120 to 90, which it reaches at the next point or at the stem's end. The first point's time
    signature is `signature` where it names none; a further one's goes on in the bars before.

    Raises:
        ArgumentError: a point can't be read, or they are not in order; the text says which.
    """
    points: list[TempoPoint] = []
    for piece in filter(None, (piece.strip() for piece in text.split(";"))):
        found = _TEMPO_POINT.fullmatch(piece)
        if found is None:
            raise ArgumentError(f'tempo_map must be like "0 97.5 7/8; 14 120>90 4/4", not {piece!r}')
        place, bpm, until, meter = found.groups()
        tempo = float(check(SESSION_KEYS["bpm"], float(bpm)))
        last = float(check(SESSION_KEYS["bpm"], float(until))) if until else tempo
        standing = signature if not points else None
        points.append(TempoPoint(float(place), tempo, last, parse_signature(meter) if meter else standing))
    if points:
        try:
            check_order(points)
        except ValueError as error:
            raise ArgumentError(f"tempo_map: {error}") from error
    tempos = [tempo for point in points for tempo in (point.bpm, point.until)]
    if points and max(tempos) > MAX_TEMPO_SPAN * min(tempos):
        raise ArgumentError(
            f"tempo_map goes from {min(tempos):g} to {max(tempos):g}; more than {MAX_TEMPO_SPAN} times as fast can't "
            "be stretched, so render in two"
        )
    return tuple(points)


def parse_key(text: str) -> str | None:
    """Return a key in one spelling, "F# minor"; None for an empty text.

    Raises:
        ArgumentError: it is no key.
    """
    if not text.strip():
        return None
    found = _KEY_NAME.fullmatch(text.strip())
    if found is None:
        raise ArgumentError(f'key must be like "F minor" or "Bb major", not {text!r}')
    accidental = found[2].replace("♯", "#").replace("♭", "b").replace("B", "b")
    minor = found[3] == "m" or (found[3] or "").lower() in ("minor", "min")
    return f"{found[1].upper()}{accidental} {'minor' if minor else 'major'}"


def parse_parts(text: str) -> tuple[Part, ...]:
    """Return the parts in "drums: tight break; bass: sub"; a part without a prompt is prompted by its name.

    Raises:
        ArgumentError: a part has no name or a name stands twice.
    """
    parts = []
    for piece in filter(None, (piece.strip() for piece in text.split(";"))):
        name, _, prompt = (half.strip() for half in piece.partition(":"))
        if not name or len(name) > 32:
            raise ArgumentError(f'parts must be like "drums: tight break; bass: sub", not {piece!r}')
        parts.append(Part(name, prompt or name))
    if len({part.name.lower() for part in parts}) < len(parts):
        raise ArgumentError("parts holds the same name twice")
    return tuple(parts)


def parse_separate(text: str) -> tuple[str, ...]:
    """Return the names in "drums, bass", each once; raises ArgumentError for any but drums, bass, other, vocals."""
    names = dict.fromkeys(filter(None, (name.strip().lower() for name in text.split(","))))
    for name in names:
        if name not in SOURCES:
            raise ArgumentError(f"separate takes {listed(SOURCES)}, not {name!r}{suggestion(name, SOURCES)}")
    return tuple(names)
