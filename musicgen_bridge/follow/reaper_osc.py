"""Reaper's own OSC control surface: it sends tempo and transport to a port that is set in its preferences.

The addresses are those of the Default.ReaperOSC that comes with Reaper.
"""

from __future__ import annotations

import asyncio

from musicgen_bridge.asking.keys import Value
from musicgen_bridge.control.osc_codec import Message
from musicgen_bridge.follow.osc_listener import listening
from musicgen_bridge.follow.session import Tell

PORT = 32_052
"""Where Reaper is told to send: Preferences, Control/OSC/web, OSC, device port."""


async def follow(tell: Tell, port: int = PORT) -> None:
    """Listen to Reaper for ever."""
    async with listening(port, Surface(tell).hear):
        await asyncio.Event().wait()


class Surface:
    """What Reaper has sent: the tempo only when it changes, the time all along while it plays."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._known: dict[str, Value] = {}

    def hear(self, message: Message) -> None:
        """Take in one message, and repeat the tempo as long as Reaper says anything of the transport."""
        match message.address, message.arguments:
            case "/tempo/raw", (int() | float() as bpm,):
                self._known["bpm"] = float(bpm)
            case "/play", (bool() | int() | float() as playing,):
                self._known["playing"] = bool(playing)
            case "/time", _:
                pass
            case _:
                return
        if self._known:
            self._tell(self._known)
