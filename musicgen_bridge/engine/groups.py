"""A batch with more rows, or more words, than the kernel takes at once: a launch a step for each group of takes."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from musicgen_bridge.engine.cache import Cache
from musicgen_bridge.engine.fused import MOST_ROWS, FusedStep
from musicgen_bridge.engine.sampler import Sampling
from musicgen_bridge.engine.step import Step
from musicgen_bridge.engine.transformer import Condition, Transformer


def takes_at_once(model: Transformer, condition: Condition, batch: int) -> int:
    """Return how many of a batch's takes the kernel advances in one launch; 0 where it takes none of them."""
    most = min(batch, MOST_ROWS * batch // len(condition.prefix))
    for size in range(most, 0, -1):
        if all(FusedStep.fits(model, _part(condition, rows)) for rows in _groups(condition, batch, size)):
            return size
    return 0


class FusedGroups:
    """Steps as `Step` does, the takes in groups of `size` after each other; the prefill is of all at once."""

    def __init__(
        self,
        model: Transformer,
        condition: Condition,
        sequence: Tensor,
        sampling: Sampling,
        cache: Cache,
        size: int,
    ) -> None:
        """Raises InternalError where the kernel does not compile."""
        batch = len(sequence)
        self._whole = Step(model, condition, sequence, sampling, cache)
        self._size = size
        self._steps = [
            FusedStep(model, _part(condition, rows), takes, sampling, cache, rows)
            for rows, takes in zip(_groups(condition, batch, size), sequence.split(size), strict=True)
        ]

    def prefill(self, known: int) -> None:
        """Take in the prefix and the first `known` positions of the sequence."""
        self._whole.prefill(known)

    def reach(self, position: int) -> int:
        """Return `position`: the kernel reads no more of the cache than it must."""
        return position

    def __call__(self, length: int, noise: Tensor | None) -> None:
        """Advance by one position, `length` - 1."""
        draws = noise.split(self._size) if noise is not None else [None] * len(self._steps)
        for step, draw in zip(self._steps, draws, strict=True):
            step(length, draw)


def _groups(condition: Condition, batch: int, size: int) -> list[Tensor]:
    """Return each group's rows of the condition: its takes' own, then their null rows."""
    takes = torch.arange(batch, device=condition.prefix.device).split(size)
    return [torch.cat([group, group + batch]) if len(condition.prefix) > batch else group for group in takes]


def _part(condition: Condition, rows: Tensor) -> Condition:
    """Return the condition of some rows."""
    cross, mask = condition.cross, condition.cross_mask
    takes = rows if cross is None else rows[rows < cross.shape[2]]
    return replace(
        condition,
        prefix=condition.prefix[rows],
        start=condition.start[rows],
        cross=cross[:, :, takes] if cross is not None else None,
        cross_mask=mask[takes] if mask is not None else None,
    )
