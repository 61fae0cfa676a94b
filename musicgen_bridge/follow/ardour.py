"""Ardour, whose Lua hook ardour_scripts/musicgen-bridge_follow.lua tells tempo, meter, transport and rate by OSC.

Of Ardour's own surfaces OSC tells neither tempo nor meter, and WebSockets the tempo without the meter.
"""

from __future__ import annotations

import asyncio

from musicgen_bridge.control.osc_codec import Message
from musicgen_bridge.follow.osc_listener import listening
from musicgen_bridge.follow.session import Tell

PORT = 32_053
"""Where the hook sends."""


async def follow(tell: Tell, port: int = PORT) -> None:
    """Listen to Ardour's hook for ever."""

    def hear(message: Message) -> None:
        if message.address != "/ardour/session":
            return
        match message.arguments:
            case float() as bpm, int() as beats, int() as unit, bool() as playing, float() as beat, int() as rate:
                tempo = round(bpm, 4)  # a beat is a whole number of Ardour's ticks: 97.5 comes as 97.499999913637
                signature = f"{beats}/{unit}"
                tell({"bpm": tempo, "signature": signature, "playing": playing, "beat": beat, "sample_rate": rate})

    async with listening(port, hear):
        await asyncio.Event().wait()
