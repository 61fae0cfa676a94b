"""The keys of the wire's requests, one table each: type, range, meaning; parsing, presets, flags and docs use them."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from musicgen_bridge.errors import ArgumentError, PathError
from musicgen_bridge.plausible import MAX_SECONDS, MAX_STEMS, MODES, mode_of, plausible
from musicgen_bridge.request import MELODY_PARTS, SOURCES, Part, RenderRequest, Session, Signature
from musicgen_bridge.tempo_map import TempoPoint, check_order

Value = str | int | float | bool
"""What a key can hold once it has been read from the wire."""

Kind = Literal["s", "i", "f", "b"]

MAX_TEMPO_SPAN = 4
"""How many times as fast as its slowest tempo a tempo map may become."""
LENGTHS = ("bars", "seconds", "beats")


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a request.

    `kind` is s, i, f or b (a flag: a boolean, 0 or 1, or a word such as "true"); `low` and `high` are inclusive.
    """

    name: str
    kind: Kind
    doc: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str | int, ...] = ()
    longest: int = 4096
    """The most characters of a string."""


def table(*keys: Key) -> dict[str, Key]:
    """Return the keys by name, in the order given."""
    return {key.name: key for key in keys}


SESSION_KEYS = table(
    Key("bpm", "f", "tempo in quarter notes a minute", 20, 400),
    Key("signature", "s", 'time signature, such as "7/8"', longest=8),
    Key("sample_rate", "i", "sample rate of the stems in Hz", 8_000, 192_000),
    Key("project", "s", "absolute folder of the project; stems go to its MusicGen folder"),
    Key("key", "s", 'key, such as "F# minor"; "" for none', longest=16),
    Key("playing", "b", "whether the transport runs"),
    Key("beat", "f", "position of the transport in quarter notes", -1e9, 1e9),
    Key("name", "s", "name of the project", longest=200),
)

RENDER_KEYS = table(
    Key("prompt", "s", "what it should sound like", longest=1000),
    Key("bars", "f", "length in bars", 1 / 64, 1024),
    Key("seconds", "f", "length in seconds", 0.05, MAX_SECONDS),
    Key("beats", "f", "length in quarter notes", 1 / 64, 4096),
    *(SESSION_KEYS[name] for name in ("bpm", "signature")),
    Key("tempo_map", "s", 'changes of tempo, before bpm: "0 97.5 7/8; 14 120>90 4/4"', longest=16_000),
    *(SESSION_KEYS[name] for name in ("sample_rate", "key", "project")),
    Key("mode", "s", "inferred when left out", choices=MODES),
    Key("melody", "s", "absolute path of a recording whose melody is followed"),
    Key("melody_start", "f", "where the melody begins, in seconds into the recording", 0, 86_400),
    Key("melody_end", "f", "where the melody ends, in seconds into the recording", 0, 86_400),
    Key(
        "melody_part", "s", "what of the recording is the melody; lead is all but drums and bass", choices=MELODY_PARTS
    ),
    Key("continue", "s", "absolute path of a recording that is continued"),
    Key("continue_seconds", "f", "how much of its end the model hears", 0.1, 20),
    Key("file", "s", "absolute path of a recording that is brought to the session; nothing is generated then"),
    Key("file_start", "f", "where the recording is taken from, in seconds", 0, 86_400),
    Key("file_end", "f", "where the recording is taken to, in seconds", 0, 86_400),
    Key("file_bpm", "f", "the recording's own tempo; else it is looked for from 0.8 to 1.25 of the session's", 20, 400),
    Key("fill", "s", "absolute path of a recording of which a section is made anew; the rest of it stays"),
    Key("fill_start", "f", "where that section begins, in seconds", 0, 86_400),
    Key("fill_end", "f", "where it ends, in seconds", 0, 86_400),
    Key("take", "s", "absolute path of an earlier stem that is cut anew from its raw take; nothing is generated then"),
    Key("shift_beats", "f", "how many quarter notes later in its raw take it begins; negative is earlier", -64, 64),
    Key("shift_ms", "f", "the same in milliseconds; both add up", -30_000, 30_000),
    Key("variations", "i", "how many takes of the same prompt, as one batch", 1, MAX_STEMS),
    Key("best_of", "i", "how many takes are made of each stem, of which the best is kept", 1, MAX_STEMS),
    Key("parts", "s", 'one stem each: "drums: tight break; bass: sub"'),
    Key("separate", "s", f"split the result into these stems, which are the result then: {', '.join(SOURCES)}"),
    Key("mix", "b", "the sum of the parts, or of what is separated, as one more stem"),
    Key("loop", "b", "made to loop without a seam"),
    Key("match", "b", "brought to the session's tempo and downbeat; false leaves the model's own"),
    Key("model", "s", "alias of a configured model", longest=64),
    Key("seed", "i", "the same seed gives the same take; drawn when left out", 0, 2**31 - 1),
    Key("temperature", "f", "0 always takes the likeliest; above 1 is wilder", 0, 3),
    Key("top_k", "i", "how many candidates a step; 0 is all", 0, 4096),
    Key("top_p", "f", "share of probability kept a step; 0 is off", 0, 1),
    Key("guidance", "f", "guidance scale: how closely prompt and melody are followed; 1 is off", 1, 20),
    Key("loudness", "f", 'integrated loudness in LUFS; "off" leaves the level alone', -60, 0),
    Key("format", "s", "file format", choices=("wav", "flac", "aiff")),
    Key("bits", "i", "bits a sample; 32 is floating point", choices=(16, 24, 32)),
    Key("name", "s", "begins the file name instead of the prompt", longest=64),
    Key("stream", "b", "play as it renders"),
)

FIT_KEYS = {
    name: RENDER_KEYS[name]
    for name in (
        *("file", "file_start", "file_end", "file_bpm", "bars", "seconds", "beats", "bpm", "signature", "tempo_map"),
        *("sample_rate", "project", "separate", "mix", "loop", "match", "loudness", "format", "bits", "name"),
    )
}
"""The render keys that concern a recording: those of the mode "fit"."""

NO_PROJECT = "no project folder: send /musicgen/session with project, or give project with the request"
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_NUMBER = r"(\d+\.?\d*(?:[eE][+-]?\d+)?)"
_TEMPO_POINT = re.compile(rf"{_NUMBER}\s+{_NUMBER}(?:\s*>\s*{_NUMBER})?(?:\s+(\d{{1,2}}/\d{{1,2}}))?")
_KEY_NAME = re.compile(r"([A-Ga-g])([#b♯♭]?)\s*(major|minor|maj|min|m)?", re.IGNORECASE)


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return ' (did you mean "x"?)' for the known word nearest to this one, or nothing."""
    import difflib  # only where something is wrong: the command line starts faster without it

    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f' (did you mean "{near[0]}"?)' if near else ""


def check(key: Key, value: object) -> Value:
    """Return `value` as the key's type.

    A whole float stands for an int and a number for a flag, as Max and Pd send them.

    Raises:
        ArgumentError: the type, range or choice is wrong; the text names the key.
    """
    match key.kind:
        case "s":
            return _check_string(key, value)
        case "b":
            return _check_flag(key, value)
    if key.name == "loudness" and value == "off":
        return "off"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ArgumentError(f"{key.name} must be a number, not {value!r}")
    if not math.isfinite(value):
        raise ArgumentError(f"{key.name} must be a finite number")
    if key.kind == "i":
        if value != int(value):
            raise ArgumentError(f"{key.name} must be a whole number, not {value:g}")
        value = int(value)
    if key.choices and value not in key.choices:
        raise ArgumentError(f"{key.name} must be one of {_listed(key.choices)}, not {value:g}")
    if (key.low is not None and value < key.low) or (key.high is not None and value > key.high):
        raise ArgumentError(f"{key.name} must be from {key.low:g} to {key.high:g}, not {value:g}")
    return value if key.kind == "i" else float(value)


def _check_string(key: Key, value: object) -> str:
    if not isinstance(value, str):
        raise ArgumentError(f"{key.name} must be text, not {value!r}")
    if len(value) > key.longest:
        raise ArgumentError(f"{key.name} is {len(value)} characters long; at most {key.longest} are taken")
    if any(ord(c) < 32 and c not in "\t\n" for c in value):
        raise ArgumentError(f"{key.name} holds a control character")
    if key.choices and value not in key.choices:
        raise ArgumentError(
            f"{key.name} must be one of {_listed(key.choices)}, not {value!r}"
            + suggestion(value, (str(choice) for choice in key.choices))
        )
    return value


def _check_flag(key: Key, value: object) -> bool:
    if isinstance(value, str) and value.lower() in _TRUE + _FALSE:
        return value.lower() in _TRUE
    if isinstance(value, bool | int | float) and value in (0, 1):
        return bool(value)
    raise ArgumentError(f"{key.name} must be 1 or 0, not {value!r}")


def _listed(choices: Iterable[object]) -> str:
    return ", ".join(str(choice) for choice in choices)


def check_values(values: Mapping[str, object], keys: Mapping[str, Key], where: str = "") -> dict[str, Value]:
    """Return the values, each as its key's type.

    Raises:
        ArgumentError: a key is unknown or a value wrong; the text names it and, for a key, the nearest known one.
    """
    for name in values:
        if name not in keys:
            raise ArgumentError(f'unknown key "{name}"{where}{suggestion(name, keys)}')
    return {name: check(keys[name], value) for name, value in values.items()}


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
            raise ArgumentError(f"separate takes {_listed(SOURCES)}, not {name!r}{suggestion(name, SOURCES)}")
    return tuple(names)


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


def make_request(values: Mapping[str, Value], session: Session, defaults: Mapping[str, Value]) -> RenderRequest:
    """Return the complete request for (checked) `values` over `defaults` over the session.

    A length in `values` replaces one in `defaults`; with none at all it is 4 bars, or as long as
    the recording in the mode "fit". A seed is drawn when none is given and there is something to draw.

    Raises:
        ArgumentError: two lengths, no prompt where the mode needs one, too many stems, a text that cannot be read, a
            tempo map that the length does not fit.
        PathError: neither the request nor the session names a project folder.
    """
    merged: dict[str, Any] = over(values, defaults)
    if not merged.keys() & set(LENGTHS) and not merged.get("file"):
        merged["bars"] = 4.0

    timing: dict[str, Value] = {
        name: merged.pop(name) for name in ("bpm", "signature", "sample_rate", "key") if name in merged
    }
    session = update_session(session, timing)
    project = merged.pop("project", session.project)
    if not project:
        raise PathError(NO_PROJECT)
    merged["continue_from"] = merged.pop("continue", None) or None
    merged["melody"] = merged.get("melody") or None
    merged["file"] = merged.get("file") or None
    merged["take"] = merged.get("take") or None
    merged["fill"] = merged.get("fill") or None
    merged["tempo_map"] = parse_tempo_map(merged.get("tempo_map", ""), session.signature)
    merged["parts"] = parse_parts(merged.get("parts", ""))
    merged["separate"] = parse_separate(merged.get("separate", ""))
    if merged.get("loudness") == "off":
        merged["loudness"] = None
    merged.setdefault("seed", 0 if merged["file"] or merged["take"] else int.from_bytes(os.urandom(4), "big") >> 1)
    merged["mode"] = mode_of(merged)
    if merged["tempo_map"] and not merged.keys() & set(LENGTHS):
        raise ArgumentError("tempo_map needs a length; give bars, seconds or beats")
    try:
        request = RenderRequest(
            project=project,
            bpm=session.bpm,
            signature=session.signature,
            sample_rate=session.sample_rate,
            key=session.key,
            **merged,
        )
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
