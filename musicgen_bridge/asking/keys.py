"""The keys of the wire's requests, one table each: type, range, meaning; parsing, presets, flags and docs use them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from musicgen_bridge.asking.plausible import MAX_SECONDS, MAX_STEMS, MODES
from musicgen_bridge.errors import ArgumentError
from musicgen_bridge.request import MELODY_PARTS, SOURCES

Value = str | int | float | bool
"""What a key can hold once it has been read from the wire."""

Kind = Literal["s", "i", "f", "b"]

LENGTHS = ("bars", "seconds", "beats")
RECORDINGS = ("melody", "continue", "file", "take", "fill")
"""The render keys that name a recording or a stem, by its absolute path."""


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
    Key("shift_beats", "f", "by how many quarter notes what it plays comes earlier; negative is later", -64, 64),
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

MELODY_KEYS = {name: RENDER_KEYS[name] for name in ("melody", "melody_start", "melody_end", "melody_part")}
"""The render keys that say what is followed."""

NO_PROJECT = "no project folder: send /musicgen/session with project, or give project with the request"
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return ' (did you mean "x"?)' for the known word nearest to this one, or nothing."""
    import difflib  # only where something is wrong: the command line starts faster without it

    spelt = {name.casefold(): name for name in known}
    asked = word.casefold()
    holding = [name for name in spelt if asked and asked in name]
    near = difflib.get_close_matches(asked, spelt, n=1, cutoff=0.6) or holding
    return f' (did you mean "{spelt[near[0]]}"?)' if near else ""


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
    reach = f" from {key.low:.10g} to {key.high:.10g}" if key.low is not None and key.high is not None else ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ArgumentError(f"{key.name} must be a number{reach}, not {value!r}")
    if not math.isfinite(value):
        raise ArgumentError(f"{key.name} must be a finite number{reach}")
    if key.choices and value not in key.choices:
        raise ArgumentError(f"{key.name} must be one of {listed(key.choices)}, not {value:.10g}")
    if (key.low is not None and value < key.low) or (key.high is not None and value > key.high):
        raise ArgumentError(f"{key.name} must be{reach}, not {value:.10g}")
    if key.kind == "i" and value != int(value):
        raise ArgumentError(f"{key.name} must be a whole number, not {value:g}")
    return int(value) if key.kind == "i" else float(value)


def _check_string(key: Key, value: object) -> str:
    if not isinstance(value, str):
        raise ArgumentError(f"{key.name} must be text, not {value!r}")
    if len(value) > key.longest:
        raise ArgumentError(f"{key.name} is {len(value)} characters long; at most {key.longest} are taken")
    if any(ord(c) < 32 and c not in "\t\n" for c in value):
        raise ArgumentError(f"{key.name} holds a control character")
    if key.choices and value not in key.choices:
        raise ArgumentError(
            f"{key.name} must be one of {listed(key.choices)}, not {value!r}"
            + suggestion(value, (str(choice) for choice in key.choices))
        )
    return value


def _check_flag(key: Key, value: object) -> bool:
    if isinstance(value, str) and value.lower() in _TRUE + _FALSE:
        return value.lower() in _TRUE
    if isinstance(value, bool | int | float) and value in (0, 1):
        return bool(value)
    raise ArgumentError(f"{key.name} must be 1 or 0, not {value!r}")


def listed(choices: Iterable[object]) -> str:
    """Return the choices with commas between them."""
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
