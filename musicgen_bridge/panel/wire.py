"""A page's two ways to the desk: JSON lists come in as OSC messages do, and what the desk says to it streams out."""

from __future__ import annotations

import asyncio
import json
import math
import secrets
from collections.abc import AsyncIterator

from musicgen_bridge.control.osc import Server
from musicgen_bridge.control.osc_codec import MAX_PACKET, Argument, Message
from musicgen_bridge.errors import ArgumentError, AuthError

MAX_UNREAD = 4096
"""A page that leaves more messages than this unread is cut off; it connects again and asks how things stand."""


class Wire:
    """The pages that are open: each is a peer of the server inside this process, as a TCP connection is one."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._unread: dict[str, asyncio.Queue[Message | None]] = {}

    def take(self, peer: str, message: Message) -> None:
        """Hand a page's message to the desk; the answer goes into the stream. Raises AuthError for an unknown page."""
        if peer not in self._unread:
            raise AuthError("the page has lost its connection; it connects again by itself")
        self._server.on_packet(message, peer)

    async def stream(self) -> AsyncIterator[str]:
        """Yield server-sent events: first `peer`, the page's own name, then each message that the desk sends to it."""
        peer = f"page:{secrets.token_hex(16)}"
        unread = self._unread[peer] = asyncio.Queue[Message | None]()

        def hear(message: Message) -> None:
            if unread.qsize() < MAX_UNREAD:
                unread.put_nowait(message)
            else:
                self._server.local.pop(peer, None)
                unread.put_nowait(None)

        self._server.local[peer] = hear
        try:
            yield f"retry: 1000\nevent: peer\ndata: {json.dumps(peer)}\n\n"
            while (message := await unread.get()) is not None:
                yield f"data: {json.dumps([message.address, *message.arguments])}\n\n"
        finally:
            del self._unread[peer]
            self._server.local.pop(peer, None)
            self._server.on_closed(peer)

    def close(self) -> None:
        """End every stream once what was said is out."""
        for unread in self._unread.values():
            unread.put_nowait(None)


def message_of(body: bytes) -> Message:
    """Return the message that a JSON list stands for: an address, a request id, then keys and values in turn.

    Raises:
        ArgumentError: it is none; texts, numbers and booleans are all that a message holds.
    """
    if len(body) > MAX_PACKET:
        raise ArgumentError(f"a message has at most {MAX_PACKET} bytes; shorten its texts")
    try:
        listed = json.loads(body)
    except (ValueError, RecursionError):
        listed = None
    match listed:
        case [str(address), *values]:
            return Message(address, tuple(_argument(value) for value in (address, *values))[1:])
    raise ArgumentError("a message is a JSON list such as [address, id, key, value]; send one")


def _argument(value: object) -> Argument:
    match value:
        case str() if value.isascii() or value.encode(errors="replace").decode() == value:
            return value
        case bool():
            return value
        case int() if -(2**63) <= value < 2**63:
            return value
        case float() if math.isfinite(value):
            return value
    raise ArgumentError(f"{value!r:.40} can't stand in a message; send text, a finite number, true or false")
