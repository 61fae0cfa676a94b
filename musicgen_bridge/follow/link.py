"""Ableton Link: the tempo that programs on a network share, once another of them is there."""

from __future__ import annotations

import asyncio

from musicgen_bridge.follow.session import Tell

LOOK_S = 0.25
QUANTUM = 4.0
"""Quarter notes to the bar of Link's phase; it tells no meter."""


async def follow(tell: Tell) -> None:
    """Follow the Link session of this network for ever; alone in it there is nothing to follow.

    Raises:
        ImportError: the extra `link` is not installed.
    """
    import link

    peer = link.Link(120.0)  # whoever joins a session takes over its tempo
    peer.startStopSyncEnabled = True
    peer.enabled = True
    try:
        while True:
            if peer.numPeers():  # on the wire a beat is a whole number of microseconds: 133.25 comes as 133.25012
                state = peer.captureSessionState()
                beat = state.beatAtTime(peer.clock().micros(), QUANTUM)
                tell({"bpm": round(state.tempo(), 2), "playing": state.isPlaying(), "beat": beat})
            await asyncio.sleep(LOOK_S)
    finally:
        peer.enabled = False
