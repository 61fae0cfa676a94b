"""The step loop: what is known goes through the decoder at once, then one code of every book a step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from musicgen_bridge.engine.cache import Cache
from musicgen_bridge.engine.pattern import UNKNOWN, delay, first_unknown, undelay
from musicgen_bridge.engine.sampler import Draw, Sampling, guide, sample
from musicgen_bridge.engine.transformer import Condition, Transformer

GRANULES = {"cpu": 1}
"""What the length of attention is a multiple of: 256 where a device is not named.

A slice of just the positions so far is least work, but a CUDA graph, or a kernel compiled by MPS, serves one length.
"""


class Step:
    """One step with all of its state in tensors of fixed shape and place, so that a CUDA graph can hold it.

    `sequence` [B, K, S] follows the delay pattern; the codes at `position` go in, and those that come out take the
    places at the next position that are still unknown.
    """

    def __init__(
        self, model: Transformer, condition: Condition, sequence: Tensor, sampling: Sampling, cache: Cache
    ) -> None:
        self.sequence = sequence
        self.position = torch.zeros(1, dtype=torch.long, device=model.device)
        self._model = model
        self._condition = condition
        self._sampling = sampling
        self._cache = cache
        self._before = condition.prefix.shape[1]
        self._granule = GRANULES.get(model.device.type, 256)
        self._masked = condition.ragged or self._granule > 1

    def prefill(self, known: int) -> None:
        """Take in the prefix and the first `known` positions of the sequence."""
        x = torch.cat([self._condition.prefix, self._inputs(self.sequence[:, :, :known])], dim=1)  # [R, P + known, d]
        length = x.shape[1]
        if length:
            position = torch.arange(length, device=x.device)
            mask = self._model.mask(position, length, self._condition.start)
            self._model.forward(x, position, length, mask, self._cache, self._condition)
        self.position.fill_(known)

    def __call__(self, length: int, noise: Tensor | None) -> None:
        """Advance by one position; attention reads `length` positions of the sequence, or a few more, masked."""
        before, start = self._before, self._condition.start
        length = min(-(-(before + length) // self._granule) * self._granule, self._cache.data.shape[4])
        x = self._inputs(self.sequence.index_select(2, self.position))  # [R, 1, d]
        place = self.position + before
        mask = self._model.mask(place, length, start) if self._masked else None
        states = self._model.forward(x, place, length, mask, self._cache, self._condition)[:, 0]
        logits = guide(self._model.logits(states), len(self.sequence), self._sampling.guidance)  # [B, K, V]
        drawn = sample(logits, self._sampling, noise)[..., None]  # [B, K, 1]
        self.position += 1
        known = self.sequence.index_select(2, self.position)
        self.sequence.index_copy_(2, self.position, torch.where(known == UNKNOWN, drawn, known))

    def _inputs(self, codes: Tensor) -> Tensor:
        """Return the embeddings [R, T, d] of `codes` [B, K, T], which conditioned and null rows share."""
        return self._model.embed(codes).repeat(len(self._condition.prefix) // len(codes), 1, 1)


@torch.inference_mode()
def decode(
    model: Transformer,
    condition: Condition,
    codes: Tensor,
    sampling: Sampling,
    draw: Draw,
    cache: Cache,
    on_step: Callable[[], None],
) -> Tensor:
    """Return `codes` [B, K, T] with every `UNKNOWN` drawn, calling `on_step` after each step.

    `cache` holds a row for each of the condition's R, and P + T + K / channels - 1 positions.
    """
    sequence = delay(codes, model.config.channels, model.config.pad)  # [B, K, S]
    first = first_unknown(sequence)
    step = Step(model, condition, sequence, sampling, cache)
    step.prefill(first - 1)
    for position in range(first, sequence.shape[2]):
        step(position, None if sampling.greedy else draw())
        on_step()
    return undelay(sequence, model.config.channels)
