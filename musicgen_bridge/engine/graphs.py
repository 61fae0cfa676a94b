"""CUDA graphs of the step: one launch where there were hundreds, so that a step takes what the device takes."""

from __future__ import annotations

from collections import deque

import torch
from torch import Tensor

from musicgen_bridge.engine.step import Step
from musicgen_bridge.errors import InternalError

AHEAD = 8
"""How many steps the host may be before the device: enough to keep it busy, few enough for a cancel."""


class GraphedStep:
    """Steps as `Step` does, replayed from a graph for each length that attention reads.

    The first step of a length runs plainly, which also readies every library for the capture; capturing runs nothing.
    """

    def __init__(self, step: Step) -> None:
        self._step = step
        self._noise: Tensor | None = None
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}

    def __call__(self, length: int, noise: Tensor | None) -> None:
        """Advance by one position. Raises InternalError where `noise` is not the buffer of the first step."""
        if graph := self._graphs.get(length):
            if noise is not self._noise:
                raise InternalError("a graph was captured for another buffer of noise")
            graph.replay()
            return
        self._step(length, noise)
        self._noise = noise
        self._graphs[length] = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graphs[length], capture_error_mode="thread_local"):
            self._step(length, noise)


class Pace:
    """Holds the host back to `AHEAD` steps before the device: a cancel and the progress mean what has been done."""

    def __init__(self) -> None:
        self._steps: deque[torch.cuda.Event] = deque()

    def __call__(self) -> None:
        """Note a step that was launched, and wait for the one `AHEAD` steps before it."""
        event = torch.cuda.Event()
        event.record()
        self._steps.append(event)
        if len(self._steps) > AHEAD:
            self._steps.popleft().synchronize()
