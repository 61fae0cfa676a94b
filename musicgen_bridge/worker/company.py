"""Serves the line: one render after the other, and whoever may rides along in the batch that is under way.

Who is first in line is promised that it takes at most `costs.SLOWEST` times as long as it would alone; who waits joins
as soon as that promise allows it. Whoever is drawn waits for those before it, and then is matched and written in its
turn: so nobody is overtaken, and nobody waits for another's matching longer than in a line without company.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from weakref import WeakKeyDictionary

from musicgen_bridge.engine import Engine, Take
from musicgen_bridge.errors import CancelledError, OutOfMemoryError
from musicgen_bridge.worker.batch import Batch, Seat
from musicgen_bridge.worker.costs import Costs, measured
from musicgen_bridge.worker.line import Errand, Line
from musicgen_bridge.worker.worker import Worker

log = logging.getLogger(__name__)


class Company:
    """What the worker's process does with its line."""

    def __init__(self, worker: Worker, line: Line, measure: Callable[[Engine], Costs] = measured) -> None:
        self._worker = worker
        self._line = line
        self._measure = measure
        self._costs: WeakKeyDictionary[Engine, Costs] = WeakKeyDictionary()
        self._at_hand: Errand | None = None
        """The one that is read, matched or written while the others wait."""
        self._batch: Batch | None = None
        self._next: Seat | None = None
        """The one that has begun and could not join."""

    def warm_up(self) -> None:
        """Load the settings' model and ready it. Raises ModelError, ArgumentError, OutOfMemoryError."""
        self._cost(self._worker.warm_up())

    def serve(self, errand: Errand) -> None:
        """Do an errand, and those that join it; each is told how it ended."""
        self._next = self._begun(errand)
        while self._next is not None:
            seat, self._next = self._next, None
            if seat.wanted.shares:
                self._together(seat)
            else:
                self._by_itself(seat)

    def _cost(self, engine: Engine) -> Costs:
        if engine not in self._costs:
            self._costs[engine] = self._measure(engine)
        return self._costs[engine]

    def _begun(self, errand: Errand) -> Seat | None:
        """Bring an errand to where it wants a take of the model's; None if it needs none, or has failed."""
        self._at_hand = errand
        try:
            asker = replace(errand.asker, cancelled=lambda: self._cancelled(errand))
            render = self._worker.begin(errand.request, asker)
            if render.wanted is not None:
                return Seat(errand, render, render.wanted)
            errand.done(render.stems)
        except Exception as error:
            errand.failed(error)
        finally:
            self._at_hand = None
        return None

    def _finish(self, seat: Seat, take: Callable[[], Take]) -> None:
        """Bring an errand to its end; raises OutOfMemoryError, all else is told."""
        self._at_hand = seat.errand
        try:
            seat.render.finish(take)
            seat.errand.done(seat.render.stems)
        except OutOfMemoryError:
            raise
        except Exception as error:
            seat.errand.failed(error)
        finally:
            self._at_hand = None

    def _by_itself(self, seat: Seat) -> None:
        """Draw a take alone."""
        try:
            self._finish(seat, seat.wanted.drawn)
        except OutOfMemoryError as error:
            self._again([seat], error)

    def _together(self, seat: Seat) -> None:
        """Draw a take and those that join it, and bring all of them to their ends."""
        try:
            self._draw(seat)
        except OutOfMemoryError as error:
            seats = self._unended(seat)
            self._again(seats, error.with_traceback(None))  # whose frames hold the batch
        except Exception as error:
            for each in self._unended(seat):
                each.errand.failed(error)
        finally:
            self._batch = None

    def _unended(self, seat: Seat) -> list[Seat]:
        """Give up the batch that was begun for one; return who was in it."""
        batch, self._batch = self._batch, None
        seats = batch.seats if batch is not None else [seat]
        for each in seats:
            each.voice = None
        return seats

    def _draw(self, seat: Seat) -> None:
        """Step by step, until everybody has left."""
        engine, draft = seat.wanted.engine, seat.wanted.draft
        costs = self._cost(engine)
        batch = self._batch = Batch(engine, draft, costs)
        self._join(batch, seat)
        while batch.seats:
            began = time.perf_counter()
            joined = self._admit(batch)
            batch.step()
            for each in self._seats():
                self._tick(each)
            if joined:
                costs.joined((time.perf_counter() - began) / joined)
            while batch.seats and batch.seats[0].drawn:
                first = batch.seats[0]
                batch.remove(first)
                self._end(first, first.take)

    def _admit(self, batch: Batch) -> int:
        """Have those join who may; return how many did."""
        joined = 0
        while self._next is None and (errand := self._line.get_if(lambda one: batch.allows(one.request))) is not None:
            seat = self._begun(errand)
            if seat is None:
                continue
            if batch.welcomes(seat):
                log.info("job %d joins job %d", errand.job, batch.seats[0].errand.job)
                self._join(batch, seat)
                joined += 1
            else:
                self._next = seat
        return joined

    def _join(self, batch: Batch, seat: Seat) -> None:
        batch.join(seat)
        try:
            seat.wanted.report.stage("generating")
        except CancelledError as error:
            self._drop(seat, error)

    def _tick(self, seat: Seat) -> None:
        """Tell how far one is, and let it go if it is cancelled."""
        try:
            seat.tick()
        except CancelledError as error:
            self._drop(seat, error)

    def _end(self, seat: Seat, take: Callable[[], Take]) -> None:
        """Bring an errand to its end, whatever it is."""
        try:
            self._finish(seat, take)
        except OutOfMemoryError as error:
            seat.errand.failed(error)

    def _again(self, seats: list[Seat], error: OutOfMemoryError) -> None:
        """Begin errands anew, one by one and with no other model in memory; if that is how it was, it has failed."""
        for seat in seats:
            seat.render.stop()
        heard = any(seat.wanted.on_audio for seat in seats)
        freed = self._worker.models.unload(but=seats[0].errand.request.model)
        if heard or (len(seats) == 1 and not freed):
            for seat in seats:
                seat.errand.failed(error)
            return
        for errand in [seat.errand for seat in seats]:
            if (anew := self._begun(errand)) is not None:
                self._end(anew, anew.wanted.drawn)

    def _seats(self) -> list[Seat]:
        """Return everybody who has begun and is not at hand."""
        waiting = [self._next] if self._next is not None else []
        return [*(self._batch.seats if self._batch is not None else []), *waiting]

    def _cancelled(self, errand: Errand) -> bool:
        """Whether an errand is; while it is at hand, others that are do not wait for its end."""
        if errand is self._at_hand:
            for seat in [seat for seat in self._seats() if seat.errand.asker.cancelled()]:
                self._drop(seat, CancelledError("cancelled"))
        return errand.asker.cancelled()

    def _drop(self, seat: Seat, error: Exception) -> None:
        if seat is self._next:
            self._next = None
        elif self._batch is not None:
            self._batch.remove(seat)
        seat.render.stop()
        seat.errand.failed(error)
