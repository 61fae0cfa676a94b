"""A small synchronous client of the OSC protocol: one UDP socket, ids, resends, and a render followed to its end."""

from __future__ import annotations

import contextlib
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Self

from pythonosc.osc_message_builder import OscMessageBuilder

from musicgen_bridge.asking.keys import Value
from musicgen_bridge.control.osc_codec import MAX_PACKET, Message, PacketError, decode
from musicgen_bridge.control.udp import LARGEST, prepare
from musicgen_bridge.errors import ArgumentError, BridgeError, InternalError, from_code
from musicgen_bridge.request import Progress

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 2.0
"""A request is sent again after this much silence, then after twice as much, and so on up to the longest pause."""
HELLO_S = 1.0
"""How long an open port may leave hello unanswered; a closed one is known at once."""
ANSWER_S = 5.0
"""How long the answer to a plain request may take."""
RESTART_S = 60.0
"""How long the daemon may be away, such as for a restart, while a job is followed."""


@dataclass(frozen=True, slots=True, order=True)
class Rendered:
    """What `/musicgen/done` says of one stem; `bpm` as a 32-bit float carries it."""

    index: int
    total: int
    path: str
    frames: int
    sample_rate: int
    bpm: float


@dataclass
class Bridge:
    """A client of one running daemon, known to it by a name of its own; use it in a `with`, or close it."""

    where: str
    version: str = ""
    instance: str = ""
    _socket: socket.socket = field(default_factory=lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    _name: str = field(default_factory=lambda: f"cli-{secrets.token_hex(8)}")
    _numbers: Iterator[int] = field(default_factory=count)

    @classmethod
    def connect(cls, host: str = "127.0.0.1", port: int = 32050, *, timeout: float = HELLO_S) -> Self:
        """Return a client that the daemon at `host` and `port` has answered within `timeout` seconds.

        Raises:
            ArgumentError: `host` is no address.
            ConnectionError: nobody answers.
            BridgeError: the daemon refuses, such as another version of the protocol.
        """
        bridge = cls(f"{host}:{port}")
        try:
            prepare(bridge._socket)
            bridge._socket.connect((host, port))
            (reply,) = bridge.request("/musicgen/hello", bridge._greeting, patience=timeout)
        except BaseException as error:
            bridge.close()
            if isinstance(error, socket.gaierror | UnicodeError):
                raise ArgumentError(f"{host} is no address of a machine; check --host") from error
            raise
        bridge.version, bridge.instance = str(pairs(reply)["version"]), str(pairs(reply)["instance"])
        return bridge

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; a job that runs goes on."""
        self._socket.close()

    @property
    def _greeting(self) -> dict[str, Value]:
        return {"proto": 1, "client": self._name}

    def new_id(self) -> str:
        """Return a request id that was never used before, by this client or another."""
        return f"{self._name}-{next(self._numbers)}"

    def request(
        self, address: str, values: Mapping[str, Value] | None = None, *, patience: float = ANSWER_S
    ) -> list[Message]:
        """Send a request and return its answer: one message, or one for each item of a list.

        A job's answer is its `/musicgen/queued`; the job goes on.

        Raises:
            ConnectionError: no answer came for `patience` seconds.
            BridgeError: the daemon refused, as its `/musicgen/fail` says.
        """
        replies = []
        for reply in self.replies(self.new_id(), address, values or {}, patience=patience):
            replies.append(reply)
            if reply.address == "/musicgen/queued":
                break
        return replies

    def render(
        self,
        values: Mapping[str, Value],
        on_progress: Callable[[Progress], None] = lambda progress: None,
        on_note: Callable[[str], None] = lambda text: None,
        *,
        address: str = "/musicgen/render",
    ) -> list[Rendered]:
        """Render and return the stems, in order; an interrupt (Ctrl-C) cancels the job and goes on its way.

        `on_note` is told what a person should know of it. With `/musicgen/record` the stem is the recording.
        `address` may be `/musicgen/trigger`, whose values hold the `slot`. A daemon that is restarted meanwhile takes
        the job up again.

        Raises:
            ConnectionError: the daemon was away for `RESTART_S`.
            BridgeError: the job failed, as its `/musicgen/fail` says.
        """
        rid = self.new_id()
        stems: list[Rendered] = []
        try:
            for reply in self.replies(rid, address, values, patience=RESTART_S):
                said: Any = reply.arguments[2:]
                match reply.address:
                    case "/musicgen/queued":
                        on_progress(Progress(fraction=0.0, eta_s=-1.0, stage="waiting"))
                    case "/musicgen/progress":
                        level = said[3] if len(said) > 3 else None
                        on_progress(Progress(fraction=said[0], eta_s=said[1], stage=said[2], level=level))
                    case "/musicgen/note":
                        on_note(said[0])
                    case "/musicgen/done":
                        stems.append(Rendered(*said))
        except KeyboardInterrupt:
            with contextlib.suppress(ConnectionError, BridgeError):
                self.request("/musicgen/cancel", {"target": rid})
            raise
        return sorted(stems)

    def send(self, rid: str, address: str, values: Mapping[str, Value]) -> None:
        """Send a request once and wait for nothing."""
        self._send(_packet(address, rid, values))

    def replies(self, rid: str, address: str, values: Mapping[str, Value], *, patience: float) -> Iterator[Message]:
        """Send a request and yield its replies up to the last; of a list or a job's stems, each item once.

        What is lost on the way does no harm: the request is sent again after a silence, under the same id and name,
        which the daemon, even one just restarted, answers with the present state.

        Raises:
            ConnectionError: nothing was heard for `patience` seconds.
            BridgeError: the daemon answered with `/musicgen/fail`.
        """
        packet, hello = _packet(address, rid, values), _packet("/musicgen/hello", self.new_id(), self._greeting)
        items: set[int] = set()
        pause, heard = FIRST_PAUSE_S, time.monotonic()
        self._send(packet)
        while True:
            reply = self._receive(rid, min(pause, max(0.0, heard + patience - time.monotonic())))
            if reply is None:
                if time.monotonic() - heard >= patience:
                    raise self._silence()
                self._send(hello)
                self._send(packet)
                pause = min(2 * pause, LONGEST_PAUSE_S)
                continue
            pause, heard = LONGEST_PAUSE_S, time.monotonic()
            if reply.address == "/musicgen/fail":
                raise _error(reply)
            index, total = _place(reply)
            if index is None or index not in items:
                yield reply
            if index is not None:
                items.add(index)
                if len(items) >= total:
                    return

    def _send(self, packet: bytes) -> None:
        # Where nobody listens, a connected socket raises ConnectionRefusedError here or in `recv`; `_receive` tells.
        with contextlib.suppress(ConnectionError):
            self._socket.send(packet)

    def _silence(self) -> ConnectionError:
        if self.instance:
            return ConnectionError(f"the daemon on {self.where} stopped answering; see its log and start it again")
        return ConnectionError(f"no daemon answers on {self.where}; run: musicgen-bridge start")

    def _receive(self, rid: str, seconds: float) -> Message | None:
        """Return the next reply under this id, or None after `seconds` without one."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                message = decode(self._socket.recv(MAX_PACKET))
            except ConnectionError:
                if not self.instance:
                    raise self._silence() from None
                time.sleep(max(0.0, until - time.monotonic()))
            except (TimeoutError, PacketError):
                continue
            else:
                if isinstance(message, Message) and message.arguments[:1] == (rid,):
                    return message
        return None


def pairs(reply: Message, begin: int = 1) -> dict[str, Any]:
    """Return the `key value` pairs of a reply: those that follow its id, or begin at a later argument."""
    return dict(zip(reply.arguments[begin::2], reply.arguments[begin + 1 :: 2], strict=False))  # type: ignore[arg-type]


def _packet(address: str, rid: str, values: Mapping[str, Value]) -> bytes:
    """Return a request as bytes; numbers that are not whole go as doubles, so that no digit of a tempo is lost.

    Raises ArgumentError where a message can't carry it.
    """
    builder = OscMessageBuilder(address)
    builder.add_arg(rid, "s")
    for key, value in values.items():
        if isinstance(value, str):
            _check_text(key, value)
        builder.add_arg(key, "s")
        builder.add_arg(value, "d" if isinstance(value, float) else None)
    packet = builder.build().dgram
    if len(packet) > LARGEST:
        raise ArgumentError(f"the request has {len(packet)} bytes and a message {LARGEST}; shorten its texts")
    return packet


def _check_text(key: str, text: str) -> None:
    """Raise ArgumentError for what ends a text in a message, or is no text: a file's name may be any bytes on Linux."""
    try:
        sound = b"\0" not in text.encode()
    except UnicodeEncodeError:
        sound = False
    if not sound:
        raise ArgumentError(f"{key} holds what is no text in UTF-8 ({text[-60:]!r}); write it anew, or rename the file")


def _place(reply: Message) -> tuple[int | None, int]:
    """Return which item a reply is, and of how many; None where more is to come in any case."""
    said: Any = reply.arguments
    match reply.address:
        case "/musicgen/queued" | "/musicgen/progress" | "/musicgen/note":
            return None, 0
        case "/musicgen/list.reply" | "/musicgen/events.reply":
            return said[1], said[2]
        case "/musicgen/done" if len(said) > 3:
            return said[2], said[3]
    return 0, 1


def _error(reply: Message) -> BridgeError:
    match reply.arguments[2:]:
        case (str(code), str(text)):
            return from_code(code, text)
        case (str(code), str(text), int(retry_ms)):
            return from_code(code, text, retry_ms)
    return InternalError(f"the daemon failed without a reason: {reply.arguments}")
