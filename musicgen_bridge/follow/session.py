"""Which source's tempo the session has: what a client says explicitly, else the first of the list that is alive."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from musicgen_bridge.asking.keys import SESSION_KEYS, Value, check_values
from musicgen_bridge.asking.notation import parse_signature
from musicgen_bridge.errors import ArgumentError

log = logging.getLogger(__name__)

EXPLICIT = "osc"
"""The source's name while the tempo is what a client said with /musicgen/session."""
TOLD_S = 30.0
"""For how long after a client was last heard the tempo that it told goes before all others: a lease of the protocol."""
FRESH_S = 5.0
"""After how long without its tempo a source gives way to those behind it; each source repeats it more often."""

Tell = Callable[[Mapping[str, Value]], None]
"""Takes what a source knows, as on the wire: the session's `bpm`, `signature`, `playing`, `beat`, `sample_rate`."""
Source = Callable[[Tell], Awaitable[None]]
"""Follows one program until it is cancelled; waits for a program that is not there."""


class Follow:
    """The sources in their order, and who of them sets the session's tempo at the moment."""

    def __init__(
        self,
        order: Sequence[str],
        told_at: Callable[[], float],
        update: Callable[[Mapping[str, Value]], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`told_at` tells when the client was last heard that told the tempo; `update` changes the session; both
        and `now` in seconds of one clock.
        """
        self._order, self._told_at, self._update, self._now = tuple(order), told_at, update, now
        self._heard: dict[str, float] = {}  # source -> when it last told a tempo
        self._leader, self._led_at = EXPLICIT, -math.inf
        self._tasks: list[asyncio.Task[None]] = []

    def open(self, sources: Mapping[str, Source]) -> None:
        """Begin to follow those of `sources` that are in the order; needs the running loop."""
        for name in self._order:
            if name in sources:
                self._tasks.append(asyncio.create_task(self._run(name, sources[name])))

    async def close(self) -> None:
        """Follow nobody any more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def source(self) -> str:
        """Who set the session's tempo last."""
        return EXPLICIT if self._told_at() >= self._led_at else self._leader

    def tell(self, source: str, values: Mapping[str, Value]) -> None:
        """Take in what a source knows; what can't be true is refused whole."""
        if source not in self._order:
            return
        try:
            values = check_values(values, SESSION_KEYS)
            if "signature" in values:
                parse_signature(str(values["signature"]))
        except ArgumentError as error:
            log.warning("what %s says is refused: %s", source, error.text)
            return
        now = self._now()
        if "bpm" in values:
            self._heard[source] = now
        if self._leads(source, now):
            if "bpm" in values:
                self._leader, self._led_at = source, now
            self._update(values)

    def _leads(self, source: str, now: float) -> bool:
        before = self._order[: self._order.index(source)]
        alive = any(now - self._heard.get(name, -math.inf) < FRESH_S for name in before)
        return not alive and now - self._told_at() >= TOLD_S

    async def _run(self, name: str, source: Source) -> None:
        try:
            await source(lambda values: self.tell(name, values))
        except ImportError as error:
            log.warning("%s can't be followed, %s: pip install 'musicgen-bridge[%s]'", name, error, name)
        except Exception:
            log.exception("%s is not followed any more", name)
