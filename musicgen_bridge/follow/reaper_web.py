"""Reaper's web interface, asked over HTTP for its position; the tempo is how far the beats move in how much time.

The answer's format is that of Reaper's own source of it (reaper-plugins/reaper_csurf/csurf_www.cpp, BEATPOS):
playstate, seconds, full beats, measures, beats since the measure, time signature. A beat is one of the signature's
unit, as Reaper's SDK says of TimeMap2_timeToBeats; which note the full beats count it leaves open: they aren't read.
"""

from __future__ import annotations

import asyncio
import http.client
import logging
import re
from dataclasses import dataclass

from musicgen_bridge.asking.keys import Value
from musicgen_bridge.asking.notation import parse_signature
from musicgen_bridge.errors import ArgumentError
from musicgen_bridge.follow.session import Tell
from musicgen_bridge.request import Signature

log = logging.getLogger(__name__)

PORT = 8080
"""Where Reaper's web interface listens unless told otherwise."""
ASK_S = 0.25
AGAIN_S = 2.0
"""How long until a Reaper that is not there, or has gone, is asked again."""
LONGEST = 4096  # bytes; BEATPOS is a line of some 100
_NUMBER = r"(-?\d{1,15}\.\d{1,20})"
_ANSWER = re.compile(rf"BEATPOS\t([01256])\t{_NUMBER}\t{_NUMBER}\t(-?\d{{1,9}})\t{_NUMBER}\t(\d{{1,3}})\t(\d{{1,3}})\n")
LEAST_BEATS = 1e-3
"""The least movement that a tempo is read from: fifteen decimals tell it to within a millionth."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where Reaper's transport is: seconds, measures from the project's start, beats of the signature's unit."""

    playing: bool
    seconds: float
    measure: int
    beats: float
    signature: Signature


def read_position(text: str) -> Position:
    """Return what an answer to BEATPOS says.

    Raises:
        ArgumentError: it is no such answer.
    """
    found = _ANSWER.fullmatch(text)
    if found is None:
        raise ArgumentError(f"this is no answer of Reaper's to BEATPOS: {text[:80]!r}")
    state, seconds, _, measure, beats, upper, lower = found.groups()
    signature = parse_signature(f"{upper}/{lower}")
    return Position(bool(int(state) & 1), float(seconds), int(measure), float(beats), signature)


def tempo_between(before: Position, after: Position) -> float | None:
    """Return the quarter notes a minute between two positions of one bar or of neighbours in the same signature.

    None where the two say nothing of it: the transport stands, has jumped further, or the signature has changed.
    """
    bars = after.measure - before.measure
    if after.signature != before.signature or abs(bars) > 1:
        return None
    beats = bars * after.signature.beats + after.beats - before.beats
    seconds = after.seconds - before.seconds
    if abs(beats) < LEAST_BEATS or seconds * beats <= 0:
        return None
    return round(beats * 4 / after.signature.unit / seconds * 60, 4)


async def follow(tell: Tell, port: int = PORT) -> None:
    """Ask Reaper four times a second, for ever."""
    song, complained = Song(tell), False
    while True:
        try:
            song.hear(read_position(await asyncio.to_thread(_ask, port)))
            await asyncio.sleep(ASK_S)
            continue
        except (OSError, http.client.HTTPException):
            pass
        except ArgumentError as error:
            if not complained:
                log.warning("%s; on port %d must be Reaper's web interface, without a password", error.text, port)
            complained = True
        song = Song(tell)
        await asyncio.sleep(AGAIN_S)


def _ask(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=AGAIN_S)
    try:
        connection.request("GET", "/_/BEATPOS")
        answer = connection.getresponse()
        text = answer.read(LONGEST).decode("ascii", "replace")
        return text if answer.status == http.client.OK else f"{answer.status} {answer.reason}"
    finally:
        connection.close()


class Song:
    """What Reaper's answers tell; there is a tempo once the transport or the cursor has moved a little."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._before: Position | None = None
        self._bpm: float | None = None

    def hear(self, now: Position) -> None:
        """Take in one answer; the tempo is repeated while all stands, and unknown again after a jump."""
        if self._before is not None and now != self._before:
            self._bpm = tempo_between(self._before, now)
        self._before = now
        quarters = (now.measure * now.signature.beats + now.beats) * 4 / now.signature.unit
        values: dict[str, Value] = {"signature": str(now.signature), "playing": now.playing, "beat": quarters}
        self._tell(values if self._bpm is None else {"bpm": self._bpm, **values})
