"""One step of the decoder, with all of its state in tensors that stay where they are."""

from __future__ import annotations

import torch
from torch import Tensor

from musicgen_bridge.engine.cache import Cache
from musicgen_bridge.engine.pattern import UNKNOWN
from musicgen_bridge.engine.sampler import Sampling, guide, sample
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

    def reach(self, position: int) -> int:
        """Return how much of the cache attention reads up to a position of the sequence; what is too much is masked."""
        length = -(-(self._before + position) // self._granule) * self._granule
        return min(length, self._cache.data.shape[4])

    def __call__(self, length: int, noise: Tensor | None) -> None:
        """Advance by one position; attention reads the cache up to `length`, which `reach` gives."""
        before, start = self._before, self._condition.start
        x = self._inputs(self.sequence.index_select(2, self.position))  # [R, 1, d]
        place = self.position + before
        mask = self._model.mask(place, length, start) if self._masked else None
        states = self._model.forward(x, place, length, mask, self._cache, self._condition)[:, 0]
        drawn = self._draw(states, noise)[..., None]  # [B, K, 1]
        self.position += 1
        known = self.sequence.index_select(2, self.position)
        self.sequence.index_copy_(2, self.position, torch.where(known == UNKNOWN, drawn, known))

    def _draw(self, states: Tensor, noise: Tensor | None) -> Tensor:
        """Return codes [B, K] drawn after `states` [R, d]."""
        logits = guide(self._model.logits(states), len(self.sequence), self._sampling.guidance)  # [B, K, V]
        return sample(logits, self._sampling, noise)

    def _inputs(self, codes: Tensor) -> Tensor:
        """Return the embeddings [R, T, d] of `codes` [B, K, T], which conditioned and null rows share."""
        return self._model.embed(codes).repeat(len(self._condition.prefix) // len(codes), 1, 1)
