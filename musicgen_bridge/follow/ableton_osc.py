"""AbletonOSC, a remote script for Live: asked for tempo, meter and transport over its two fixed UDP ports.

The addresses are those of https://github.com/ideoforms/AbletonOSC.
"""

from __future__ import annotations

import asyncio

from musicgen_bridge.asking.keys import Value
from musicgen_bridge.control.osc_codec import Message, encode
from musicgen_bridge.follow.osc_listener import listening
from musicgen_bridge.follow.session import Tell

ASKED, ANSWERED = 11_000, 11_001
"""Where Live is asked, and where it answers whoever asked."""
ASK_S = 0.5
_GET = "/live/song/get/"
_QUESTIONS = ("signature_numerator", "signature_denominator", "is_playing", "current_song_time", "tempo")
_QUERIES = [encode(Message(_GET + what)) for what in _QUESTIONS]


async def follow(tell: Tell, asked: int = ASKED, answered: int = ANSWERED) -> None:
    """Ask Live twice a second, for ever."""
    song = Song(tell)
    async with listening(answered, song.hear) as transport:
        while True:
            for query in _QUERIES:
                transport.sendto(query, ("127.0.0.1", asked))
            await asyncio.sleep(ASK_S)


class Song:
    """Live's answers since the last tempo, which is asked for last."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._known: dict[str, float] = {}

    def hear(self, message: Message) -> None:
        """Take in one answer, such as /live/song/get/tempo 120.0."""
        what = message.address.removeprefix(_GET)
        match message.arguments:
            case (bool() | int() | float() as number,) if what in _QUESTIONS:
                self._known[what] = float(number)
        if what == "tempo" and "tempo" in self._known:
            self._tell(self._values())

    def _values(self) -> dict[str, Value]:
        known = self._known
        values: dict[str, Value] = {"bpm": known["tempo"]}
        if {"signature_numerator", "signature_denominator"} <= known.keys():
            values["signature"] = f"{known['signature_numerator']:.0f}/{known['signature_denominator']:.0f}"
        if "is_playing" in known:
            values["playing"] = bool(known["is_playing"])
        if "current_song_time" in known:
            values["beat"] = known["current_song_time"]
        return values
