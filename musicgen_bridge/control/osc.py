"""The sockets: OSC over UDP and TCP on one port, nothing in them ever waiting for a client; and the timetags' clock."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import heapq
import logging
import socket
import time
from collections.abc import Callable
from itertools import count
from typing import cast

from musicgen_bridge.control.osc_codec import IMMEDIATELY, MAX_PACKET, Bundle, Message, PacketError, decode, encode
from musicgen_bridge.control.udp import prepare
from musicgen_bridge.errors import TimeError

log = logging.getLogger(__name__)

RECEIVE_BUFFER = 4 * 2**20
"""Asked of the system for UDP, in bytes; its default holds only 92 datagrams of 1 KB."""
MAX_UNREAD = 2**20
"""A TCP client that leaves more than this unread, in bytes, is cut off."""
MAX_CONNECTIONS = 64
"""With one more, the TCP connection that has been silent longest is closed."""
MAX_AHEAD_S = 60.0
"""How far ahead a timetag may lie."""
_TRIES = 8
_NTP_TO_UNIX_S = 2_208_988_800  # 70 years with 17 leap days

Packet = Message | Bundle


class Server:
    """One port, UDP and TCP, open from `serve` to `close`; a peer is written "udp:127.0.0.1:9001" or "tcp:…"."""

    def __init__(self) -> None:
        self.port = 0
        self.bad_packets = 0
        """How many packets could not be parsed."""
        self.receive_buffer = 0
        """What the system gave of `RECEIVE_BUFFER`, as it tells it."""
        self.on_packet: Callable[[Packet, str], None] = lambda packet, sender: None
        """Called with each packet and its sender."""
        self.on_closed: Callable[[str], None] = lambda sender: None
        """Called with a TCP peer that has gone."""
        self.local: dict[str, Callable[[Message], None]] = {}
        """Peers inside this process, by name: they hear the messages themselves."""
        self.streams: dict[str, _Stream] = {}
        """The open TCP connections, the one silent longest first."""
        self._datagrams = _Datagrams(self)
        self._listener: asyncio.Server | None = None

    def receive(self, data: bytes, sender: str) -> None:
        """Take in the bytes of one packet."""
        try:
            packet = decode(data)
        except PacketError as error:
            self.refuse(sender, error)
            return
        self.on_packet(packet, sender)

    def refuse(self, sender: str, why: object) -> None:
        """Count a packet that gets no answer."""
        self.bad_packets += 1
        log.debug("bad packet from %s: %s", sender, why)

    def send(self, to: str, message: Message) -> None:
        """Send a message to a peer; to one that has gone, or does not read, it is lost."""
        if hear := self.local.get(to):
            hear(message)
            return
        transport, _, where = to.partition(":")
        data = encode(message)
        if transport == "udp":
            self._datagrams.send(data, where)
        elif stream := self.streams.get(to):
            stream.send(data)

    async def close(self) -> None:
        """Close the port and every connection, as soon as what was sent is out."""
        if self._listener is not None:
            self._listener.close()
        for stream in list(self.streams.values()):
            stream.close()
        self._datagrams.close()
        await asyncio.sleep(0)

    async def _open(self, host: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        family, _, _, _, address = (await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM))[0]
        host = str(address[0])
        self._listener = await loop.create_server(lambda: _Stream(self), host, port)
        self.port = self._listener.sockets[0].getsockname()[1]
        receiver = socket.socket(family, socket.SOCK_DGRAM)
        try:
            receiver.setblocking(False)
            with contextlib.suppress(OSError):  # some systems refuse what is more than they give
                receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            prepare(receiver)
            receiver.bind((host, self.port))
            await loop.create_datagram_endpoint(lambda: self._datagrams, sock=receiver)
        except BaseException:
            self._listener.close()
            receiver.close()
            raise
        self.receive_buffer = receiver.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


async def serve(host: str = "127.0.0.1", port: int = 32050) -> Server:
    """Open UDP and TCP on one port, 0 for any that is free.

    Raises:
        OSError: the port is taken, on either, or the host is no address of this machine.
    """
    server = Server()
    for last in (*[False] * (_TRIES - 1), True):
        try:
            await server._open(host, port)
            break
        except OSError as error:  # what is free for TCP may be taken for UDP: of any, there is another
            if last or port or error.errno != errno.EADDRINUSE:
                raise
    return server


class _Datagrams(asyncio.DatagramProtocol):
    """The UDP half."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None
        self._full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._server.receive(data, f"udp:{addr[0]}:{addr[1]}")

    def error_received(self, exc: Exception) -> None:
        log.debug("udp: %s", exc)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False

    def send(self, data: bytes, where: str) -> None:
        host, _, port = where.rpartition(":")
        if self._transport is not None and not self._transport.is_closing() and not self._full:
            # asyncio on Windows knows an address of IPv6 by its four parts.
            self._transport.sendto(data, (host, int(port), 0, 0) if ":" in host else (host, int(port)))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class _Stream(asyncio.Protocol):
    """One TCP connection: packets, each behind its length as an int32."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._transport: asyncio.Transport
        self._peer = ""
        self._unread = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        name = transport.get_extra_info("peername")
        if name is None:  # it has gone already
            self._transport.abort()
            return
        self._peer = f"tcp:{name[0]}:{name[1]}"
        self._transport.set_write_buffer_limits(MAX_UNREAD)
        streams = self._server.streams
        if len(streams) >= MAX_CONNECTIONS:
            next(iter(streams.values())).cut("too many connections")
        streams[self._peer] = self

    def data_received(self, data: bytes) -> None:
        self._server.streams[self._peer] = self._server.streams.pop(self._peer, self)  # the last one heard
        self._unread += data
        while len(self._unread) >= 4 and not self._transport.is_closing():
            size = int.from_bytes(self._unread[:4], "big", signed=True)
            if not 0 < size <= MAX_PACKET:
                self._server.refuse(self._peer, f"a frame of {size} bytes")
                self.cut("nothing behind a wrong length can be read")
                return
            if len(self._unread) < 4 + size:
                return
            packet = bytes(self._unread[4 : 4 + size])
            del self._unread[: 4 + size]
            self._server.receive(packet, self._peer)

    def pause_writing(self) -> None:
        self.cut(f"it has left {MAX_UNREAD} bytes unread")

    def connection_lost(self, exc: Exception | None) -> None:
        if self._server.streams.get(self._peer) is self:
            del self._server.streams[self._peer]
        self._server.on_closed(self._peer)

    def send(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(len(data).to_bytes(4, "big") + data)

    def cut(self, why: str) -> None:
        log.info("%s is cut off: %s", self._peer, why)
        self._server.streams.pop(self._peer, None)
        self._transport.abort()

    def close(self) -> None:
        self._transport.close()


def is_due(timetag: int) -> bool:
    """Return whether a timetag means now: immediately, or a time that has passed.

    Raises:
        TimeError: it lies more than `MAX_AHEAD_S` ahead.
    """
    ahead = _seconds_ahead(timetag)
    if ahead > MAX_AHEAD_S:
        raise TimeError(f"the timetag lies {ahead:.0f} s ahead; send it at most {MAX_AHEAD_S:.0f} s before its time")
    return ahead <= 0


def _seconds_ahead(timetag: int) -> float:
    return 0.0 if timetag <= IMMEDIATELY else timetag / 2**32 - _NTP_TO_UNIX_S - time.time()


class Timers:
    """What waits for its timetag: one heap and one timer of the loop; what is due together runs as it came."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = count()
        self._handle: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, timetag: int, call: Callable[[], None]) -> None:
        """Call at the timetag, which is at most `MAX_AHEAD_S` ahead."""
        heapq.heappush(self._heap, (timetag, next(self._numbers), call))
        self._arm()

    def clear(self) -> None:
        """Forget all that waits."""
        self._heap.clear()
        self._arm()

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._heap:
            loop = asyncio.get_running_loop()
            self._handle = loop.call_at(loop.time() + _seconds_ahead(self._heap[0][0]), self._run)

    def _run(self) -> None:
        while self._heap and _seconds_ahead(self._heap[0][0]) <= 0:
            heapq.heappop(self._heap)[2]()
        self._arm()
