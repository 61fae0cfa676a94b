"""What of a request goes together: its mode, and what can't be asked for at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from musicgen_bridge.errors import ArgumentError
from musicgen_bridge.request import Mode, RenderRequest

MODES: tuple[str, ...] = get_args(Mode)
MAX_SECONDS = 600.0
"""The longest stem."""
SHORTEST_BEFORE_S = 0.5
"""How much must stand before a section that is made anew."""
MAX_STEMS = 32
"""The most stems of one request: parts times variations."""


def mode_of(merged: Mapping[str, Any]) -> str:
    """Infer the mode from the values of a request, or check the one that was named against them.

    Raises:
        ArgumentError: they don't go together.
    """
    worded = bool(merged.get("prompt") or merged["parts"])
    mode = merged.get("mode")
    if mode is None:
        if merged["take"]:
            return "recut"
        if merged["file"]:
            return "fit"
        if merged["fill"]:
            return "fill"
        if merged["continue_from"]:
            return "continue"
        return "melody" if merged["melody"] else "text" if worded else "unconditional"
    needs = {
        "text": ("prompt", worded),
        "melody": ("melody", merged["melody"]),
        "continue": ("continue", merged["continue_from"]),
        "fit": ("file", merged["file"]),
        "recut": ("take", merged["take"]),
        "fill": ("fill", merged["fill"]),
    }
    if mode in needs and not needs[mode][1]:
        raise ArgumentError(f"mode {mode} needs {needs[mode][0]}")
    if mode == "unconditional" and (worded or merged["melody"]):
        raise ArgumentError("mode unconditional takes neither prompt, parts nor melody")
    for other in ("fit", "recut", "fill"):
        name, given = needs[other]
        if mode != other and given:
            raise ArgumentError(f"mode {mode} takes no {name}; leave out one of the two")
    return str(mode)


def plausible(request: RenderRequest) -> RenderRequest:
    """Return the request if its parts go together.

    Raises:
        ArgumentError: they don't; the text says which, and what to do.
    """
    if not 1 <= request.stems <= MAX_STEMS:
        raise ArgumentError(
            f"parts, variations, mix and what is separated make {request.stems} stems; "
            f"at most {MAX_STEMS} are rendered at once"
        )
    if len(request.candidates) > MAX_STEMS:
        raise ArgumentError(
            f"best_of, parts and variations make {len(request.candidates)} takes; at most {MAX_STEMS} are made at once"
        )
    if request.mix and not request.parts[1:] and not request.separate:
        raise ArgumentError("mix sums parts, or what is separated; ask for some")
    if request.has_length:
        _check_length(request)
    if request.melody_end is not None and request.melody_end <= request.melody_start:
        raise ArgumentError("melody_end must lie behind melody_start")
    if request.file_end is not None and request.file_end <= request.file_start:
        raise ArgumentError("file_end must lie behind file_start")
    generated = (request.prompt, request.melody, request.continue_from, request.parts, request.candidates[1:])
    if request.file and any(generated):
        raise ArgumentError("file is a recording of your own: leave out prompt, melody, continue, parts and variations")
    if request.stream and request.file:
        raise ArgumentError("stream plays what is generated, and with file nothing is; leave one of them out")
    if request.fill:
        _check_fill(request)
    if request.stream and request.best_of > 1:
        raise ArgumentError(
            "stream plays a take before it is known which is the best; leave out one of stream, best_of"
        )
    if request.take and (any(generated[:2]) or any(generated[3:]) or request.separate or request.stream):
        raise ArgumentError("take is a stem that is there: leave out what asks for another, separate and stream")
    if (request.shift_beats or request.shift_ms) and not request.take:
        raise ArgumentError("shift_beats and shift_ms move an earlier take; name its file with take")
    if request.bits == 32 and request.format == "flac":
        raise ArgumentError("flac takes 16 or 24 bits; choose wav or aiff for 32")
    return request


def _check_fill(request: RenderRequest) -> None:
    others = (request.continue_from, request.parts, request.separate, request.stream, request.tempo_map)
    if any(others) or request.best_of > 1:
        raise ArgumentError(
            "fill goes with none of continue, parts, best_of, separate, stream and tempo_map; leave them out"
        )
    if request.fill_end is None or request.fill_end <= request.fill_start:
        raise ArgumentError("fill needs a section; give fill_start, and fill_end behind it")
    if request.fill_start < SHORTEST_BEFORE_S:
        raise ArgumentError(
            f"the model goes on from what stands before the section; fill_start is at least {SHORTEST_BEFORE_S}"
        )


def _check_length(request: RenderRequest) -> None:
    if request.duration > MAX_SECONDS:
        raise ArgumentError(f"{request.duration:.0f} s is too long; at most {MAX_SECONDS:.0f} s are rendered at once")
    if request.frames < request.sample_rate // 20:
        raise ArgumentError(f"{request.frames} frames is too short; at least 50 ms are rendered")
