"""A render on its way: it stops where it needs the model, so that several can be drawn at once."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np

from musicgen_bridge.engine import Engine, Take
from musicgen_bridge.engine.take import Draft
from musicgen_bridge.request import Stem
from musicgen_bridge.worker.reporter import Reporter


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """A take of the model's that a render waits for."""

    engine: Engine
    draft: Draft
    report: Reporter
    on_audio: Callable[[np.ndarray], None] | None
    """Hears the take while it grows."""

    @property
    def shares(self) -> bool:
        """Whether it may be drawn with others: it is of one window, and nobody listens."""
        return self.on_audio is None and len(self.draft.windows) == 1

    def drawn(self) -> Take:
        """Return the take, drawn by itself."""
        self.report.stage("generating")
        codes = self.engine.codes(self.draft, on_step=self.report.step, on_audio=self.on_audio)
        self.report.stage("decoding")
        return self.engine.take(self.draft, codes)


class Underway:
    """A render that has come to where it needs a take, or to its end."""

    def __init__(self, stages: Generator[Wanted, Take, list[Stem]]) -> None:
        """Raises whatever `stages` raises; it wants one take at most."""
        self.wanted: Wanted | None = None
        self.stems: list[Stem] = []
        """Once it wants nothing."""
        self._stages = stages
        self._until_wanted(lambda: next(stages))

    def finish(self, take: Callable[[], Take]) -> None:
        """Go on to the end with what `take` gives; raises what it or the rest of the render raises."""
        try:
            taken = take()
        except BaseException as error:
            self._stages.throw(error)
            raise
        self._until_wanted(lambda: self._stages.send(taken))

    def stop(self) -> None:
        """Go no further."""
        self._stages.close()

    def _until_wanted(self, step: Callable[[], Wanted]) -> None:
        try:
            self.wanted = step()
        except StopIteration as ended:
            self.wanted, self.stems = None, ended.value
