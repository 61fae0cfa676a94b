"""From a packet to its handler: checked whole, handled in the order it came, and every failure answered."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from musicgen_bridge.asking.keys import Value
from musicgen_bridge.control.commands import Request, read
from musicgen_bridge.control.osc import Packet, Timers, is_due
from musicgen_bridge.control.osc_codec import IMMEDIATELY, Message, messages
from musicgen_bridge.errors import ArgumentError, BridgeError, BusyError, InternalError

log = logging.getLogger(__name__)

MAX_WAITING = 1024
"""The most requests in line, and the most that wait for their timetags."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request and who sent it."""

    request: Request
    sender: str

    @property
    def values(self) -> dict[str, Value]:
        """The request's values, of its keys' types."""
        return self.request.values

    def ident(self, name: str) -> str | int:
        """Return the value of an `IdKey` that the command requires."""
        value = self.request.values[name]
        assert isinstance(value, str | int)
        return value


class Intake:
    """The line of requests, the timetags' clock, and the one place where a failure becomes an answer."""

    def __init__(
        self,
        handle: Callable[[Call], Awaitable[None] | None],
        fail: Callable[[Call | Message, str, BridgeError], None],
    ) -> None:
        """`handle` may answer at once or wait for the disk; `fail` answers the sender of a call, or of a message that
        could not be read as one.
        """
        self._handle, self._fail = handle, fail
        self._line: asyncio.Queue[Call] = asyncio.Queue(MAX_WAITING)
        self._timers = Timers()

    def take(self, packet: Packet, sender: str) -> None:
        """Take in a packet: all of its messages are checked before the first is handled; one wrong stops them all."""
        timed = list(messages(packet))
        calls: list[tuple[int, Call]] = []
        for timetag, message in timed:
            with self._answering(message, sender):
                calls.append((IMMEDIATELY if is_due(timetag) else timetag, Call(read(message), sender)))
        for timetag, call in calls:
            with self._answering(call, sender):
                if len(calls) < len(timed):
                    raise ArgumentError("another message of this bundle is wrong, so none was run; mend it, send again")
                self._admit(timetag, call)

    async def serve(self) -> None:
        """Handle the calls in line, one after the other, for ever."""
        while True:
            call = await self._line.get()
            with self._answering(call, call.sender):
                answer = self._handle(call)
                if answer is not None:
                    await answer

    def close(self) -> None:
        """Forget what waits for its timetag."""
        self._timers.clear()

    def _admit(self, timetag: int, call: Call) -> None:
        if timetag == IMMEDIATELY:
            self._line_up(call)
        elif len(self._timers) < MAX_WAITING:
            self._timers.add(timetag, lambda: self._line_up(call))
        else:
            raise BusyError(f"{MAX_WAITING} requests wait for their timetags; send this one later", retry_ms=1000)

    def _line_up(self, call: Call) -> None:
        with self._answering(call, call.sender):
            if call.request.command.at_once:
                self._handle(call)
            elif not self._line.full():
                self._line.put_nowait(call)
            else:
                raise BusyError(f"{MAX_WAITING} requests are in line; send this one again later", retry_ms=200)

    @contextlib.contextmanager
    def _answering(self, asked: Call | Message, sender: str) -> Iterator[None]:
        """The choke point: whatever goes wrong inside is answered with /musicgen/fail."""
        try:
            yield
        except BridgeError as error:
            self._fail(asked, sender, error)
        except Exception:
            log.exception("a request of %s failed", sender)
            mistake = InternalError("the daemon made a mistake; send again, and report it with the daemon's log")
            self._fail(asked, sender, mistake)
