"""The batch that is under way: who is in it, who may join, and who is done."""

from __future__ import annotations

import time
from dataclasses import dataclass

from musicgen_bridge.engine import Engine, Take
from musicgen_bridge.engine.ensemble import Voice
from musicgen_bridge.engine.take import Draft
from musicgen_bridge.request import RenderRequest
from musicgen_bridge.sharing import rides
from musicgen_bridge.worker.costs import Costs, First
from musicgen_bridge.worker.line import Errand
from musicgen_bridge.worker.underway import Underway, Wanted

_SETTLED = 10
"""Steps after which a batch goes at its own pace: until then a GPU has not been waited for."""


@dataclass(slots=True, eq=False)
class Seat:
    """An errand that wants a take."""

    errand: Errand
    render: Underway
    wanted: Wanted
    voice: Voice | None = None
    """Its part of a batch, once it is in one."""

    @property
    def drawn(self) -> bool:
        """Whether a batch has drawn its take."""
        return self.voice is not None and not self.voice.left

    def tick(self) -> None:
        """Tell how far it is. Raises CancelledError."""
        done, total = (self.voice.steps - self.voice.left, self.voice.steps) if self.voice is not None else (0, 1)
        self.wanted.report.step(done, total)

    def take(self) -> Take:
        """Return the take that a batch drew."""
        assert self.voice is not None
        self.wanted.report.stage("decoding")
        return self.wanted.engine.take(self.wanted.draft, self.voice.codes)


class Batch:
    """Those that are drawn together, in the order of the line; who is drawn stays until those before it have left."""

    def __init__(self, engine: Engine, draft: Draft, costs: Costs) -> None:
        self.seats: list[Seat] = []
        self._engine = engine
        self._guided = draft.guided
        self._ensemble = engine.ensemble(draft)
        self._costs = costs
        self._since = time.perf_counter()
        self._steps = 0
        """Since somebody joined or left."""

    def allows(self, request: RenderRequest) -> bool:
        """Whether a request may join as far as can be told before it has begun."""
        if not self.seats or not rides(request, self.seats[0].errand.request):
            return False
        voice = self.seats[0].voice
        assert voice is not None
        first = First(voice.rows, voice.steps, voice.left, self._since)
        return self._costs.allow(first, self._ensemble.rows + len(request.candidates), time.perf_counter())

    def welcomes(self, seat: Seat) -> bool:
        """Whether one that has begun may join."""
        if not self.seats or not seat.wanted.shares or seat.wanted.draft.guided != self._guided:
            return False
        return self._ensemble.welcomes(self._engine.voice(seat.wanted.draft))

    def join(self, seat: Seat) -> None:
        """Take one in. Raises OutOfMemoryError."""
        seat.voice = self._engine.voice(seat.wanted.draft)
        self.seats.append(seat)
        self._ensemble.join(seat.voice)
        self._steps = 0

    def remove(self, seat: Seat) -> None:
        """Let one go, wherever it is."""
        if seat is self.seats[0]:
            self._since = time.perf_counter()  # of the next
        self.seats.remove(seat)
        if seat.voice in self._ensemble.voices:
            self._ensemble.leave(seat.voice)
            self._steps = 0

    def step(self) -> None:
        """Draw one position of all, if anybody is there. Raises OutOfMemoryError."""
        if not self._ensemble.voices:
            return
        began = time.perf_counter()
        self._ensemble.step()
        self._steps += 1
        if self._steps > _SETTLED:
            self._costs.took(self._ensemble.rows, time.perf_counter() - began)
        for voice in [voice for voice in self._ensemble.voices if not voice.left]:
            self._ensemble.leave(voice)
            self._steps = 0
