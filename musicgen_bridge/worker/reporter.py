"""Who asked for a job, and how far it has come: told often enough and not too often, and its end when cancelled."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from musicgen_bridge.errors import CancelledError
from musicgen_bridge.request import STAGES, Progress, Transport

PROGRESS_S = 0.1
"""The shortest time between two reports of progress."""
_SHARES = {
    "reading": 0.01,
    "conditioning": 0.02,
    "generating": 0.85,
    "decoding": 0.04,
    "matching": 0.06,
    "separating": 0.3,
    "writing": 0.02,
}
"""How much of a job's time each stage takes, about; what a progress bar is drawn from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who asked for a job: what is told of it, and what is asked back."""

    job: int = 0
    progress: Callable[[Progress], None] = lambda progress: None
    note: Callable[[str], None] = lambda text: None
    """Takes what a person should know, perhaps from another thread."""
    cancelled: Callable[[], bool] = lambda: False
    transport: Callable[[], Transport] = Transport
    """Where the session's bar lines are."""


NOBODY = Asker()


@dataclass
class Reporter:
    """Turns stages and steps into `Progress`, at most ten a second, and ends the job when it is cancelled."""

    asker: Asker
    stages: Collection[str]
    """Those that the job goes through."""
    _began: float = field(default_factory=time.monotonic)
    _told: float = 0.0
    _stage: str = "waiting"

    def stage(self, name: str) -> None:
        """A stage begins. Raises CancelledError."""
        self._stage = name
        self.step(0, 1)

    def step(self, done: int, total: int) -> None:
        """`done` of `total` steps of the stage are over. Raises CancelledError."""
        if self.asker.cancelled():
            raise CancelledError("cancelled")
        now = time.monotonic()
        if now - self._told < PROGRESS_S:
            return
        self._told = now
        shares = {name: share for name, share in _SHARES.items() if name in self.stages}
        before = sum(shares.get(name, 0.0) for name in STAGES[: STAGES.index(self._stage)])
        fraction = (before + shares[self._stage] * done / max(1, total)) / sum(shares.values())
        elapsed = now - self._began
        eta = elapsed * (1 - fraction) / fraction if fraction > 0.05 else -1.0
        self.asker.progress(Progress(fraction=fraction, eta_s=eta, stage=self._stage))


def stages_of(mode: str, *, separate: bool) -> set[str]:
    """Return the stages that a request goes through."""
    left_out = {"conditioning", "generating", "decoding"} if mode in ("fit", "recut") else set()
    return set(STAGES) - left_out - (set() if separate else {"separating"})
