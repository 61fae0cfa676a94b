"""What a step takes with so many rows, measured, and whether one more would slow the first in line too much."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import dataclass, field

from musicgen_bridge.engine import Engine, Row, Sampling
from musicgen_bridge.errors import OutOfMemoryError
from musicgen_bridge.sharing import MOST_ROWS

log = logging.getLogger(__name__)

SLOWEST = 1.25
"""How many times as long as alone the first in line may take, from the moment that it is the first."""
_MEASURED_S = 0.25
"""How long each number of rows is measured, about."""
_WEIGHT = 0.02
"""Of one step beside those measured before."""


@dataclass
class Costs:
    """Of one model, on one device."""

    steps: dict[int, float]
    """Seconds by the number of rows."""
    join: float = 0.0
    """Seconds for which everybody waits when somebody joins."""

    def took(self, rows: int, seconds: float) -> None:
        """Take in what one step took."""
        if rows in self.steps:
            self.steps[rows] += _WEIGHT * (seconds - self.steps[rows])

    def joined(self, seconds: float) -> None:
        """Take in how long everybody waited for one to join."""
        self.join = max(self.join / 2, seconds)

    def allow(self, first: First, rows: int, now: float) -> bool:
        """Whether the first in line can have so many rows beside it, its own counted, until it is done."""
        if rows not in self.steps or first.rows not in self.steps:
            return False
        alone = first.steps * self.steps[first.rows]
        return now - first.since + self.join + first.left * self.steps[rows] <= SLOWEST * alone


@dataclass
class First:
    """Who is first in line: its rows, its steps in all and those left, and since when it is the first."""

    rows: int
    steps: int
    left: int
    since: float = field(default_factory=time.perf_counter)


def measured(engine: Engine) -> Costs:
    """Return what steps of one to `MOST_ROWS` rows take, as far as memory goes; also readies the device for each.

    What somebody's joining takes is first that of as many as may join at once, until it is seen.
    """
    steps: dict[int, float] = {}
    join = 0.0
    with suppress(OutOfMemoryError):
        for rows in range(1, MOST_ROWS + 1):
            steps[rows], join = _step_and_join_s(engine, rows)
    log.info("milliseconds a step of %s, by rows: %s", engine.name, {n: round(1000 * s, 2) for n, s in steps.items()})
    return Costs(steps, join)


def _step_and_join_s(engine: Engine, rows: int) -> tuple[float, float]:
    began = time.perf_counter()
    prompts = [f"warm house chords with a rolling bass, {120 + row} BPM" for row in range(rows)]  # as long as most are
    draft = engine.draft([Row(prompt, 0) for prompt in prompts], 1.0, sampling=Sampling())
    ensemble = engine.ensemble(draft)
    ensemble.join(engine.voice(draft))
    engine.wait()
    join = time.perf_counter() - began
    ensemble.step()
    engine.wait()
    times: list[float] = []
    while len(times) < 12 and sum(times) < _MEASURED_S:
        began = time.perf_counter()
        ensemble.step()
        engine.wait()
        times.append(time.perf_counter() - began)
    return min(times), join  # the cheapest step: whatever else the machine does only adds
