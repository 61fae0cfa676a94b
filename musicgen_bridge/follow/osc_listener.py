"""A UDP port of our own on which another program's OSC comes in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from musicgen_bridge.control.osc_codec import Message, PacketError, decode, messages
from musicgen_bridge.control.udp import prepare

log = logging.getLogger(__name__)

AGAIN_S = 2.0


class _Listener(asyncio.DatagramProtocol):
    def __init__(self, heard: Callable[[Message], None]) -> None:
        self._heard = heard

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        try:
            packet = decode(data)
        except PacketError:
            return
        for _, message in messages(packet):
            self._heard(message)

    def error_received(self, exc: Exception) -> None:
        """Nobody listens where we asked; ask again next time."""


@asynccontextmanager
async def listening(port: int, heard: Callable[[Message], None]) -> AsyncIterator[asyncio.DatagramTransport]:
    """Hold a port of 127.0.0.1 and call with each message; while another program has the port, wait for it."""
    loop, told = asyncio.get_running_loop(), False
    while True:
        try:
            transport, _ = await loop.create_datagram_endpoint(lambda: _Listener(heard), ("127.0.0.1", port))
            prepare(transport.get_extra_info("socket"))
            break
        except OSError as error:
            if not told:
                log.warning("port %d can't be had yet: %s", port, error)
            told = True
            await asyncio.sleep(AGAIN_S)
    try:
        yield transport
    finally:
        transport.close()
