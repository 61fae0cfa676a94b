"""The line in the worker: what one thread is told, and the other does one after the other."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from musicgen_bridge.request import RenderRequest, Stem
from musicgen_bridge.worker.reporter import Asker


@dataclass(frozen=True, slots=True, eq=False)
class Errand:
    """A render that was asked for, and whoever is told of it and of its end."""

    request: RenderRequest
    asker: Asker
    done: Callable[[list[Stem]], None]
    failed: Callable[[BaseException], None]
    """Exactly one of `done` and `failed` is called, once."""

    @property
    def job(self) -> int:
        """Its number."""
        return self.asker.job


@dataclass(frozen=True, slots=True)
class Unload:
    """A model is to leave memory, or every one."""

    model: str | None


class Line:
    """First in, first out, but for what is withdrawn."""

    def __init__(self) -> None:
        self._waiting: deque[Errand | Unload] = deque()
        self._changed = threading.Condition()

    def put(self, what: Errand | Unload) -> None:
        """Stand at the end."""
        with self._changed:
            self._waiting.append(what)
            self._changed.notify()

    def get(self, timeout: float | None) -> Errand | Unload | None:
        """Return the first, as soon as there is one; None where there is none for so many seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting, timeout)
            return self._waiting.popleft() if self._waiting else None

    def get_if(self, fits: Callable[[Errand], bool]) -> Errand | None:
        """Return the first if it is a render that fits; nobody is overtaken."""
        with self._changed:
            first = self._waiting[0] if self._waiting else None
            if isinstance(first, Errand) and fits(first):
                self._waiting.popleft()
                return first
            return None

    def withdraw(self, job: int) -> Errand | None:
        """Take a render out of the line, if it still waits."""
        with self._changed:
            for errand in self._waiting:
                if isinstance(errand, Errand) and errand.job == job:
                    self._waiting.remove(errand)
                    return errand
            return None
