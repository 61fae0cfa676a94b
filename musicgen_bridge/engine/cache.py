"""The static cache of keys and values: allocated once, written in place, read up to a length."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from musicgen_bridge.engine.config import DecoderConfig


@dataclass(frozen=True, slots=True)
class Cache:
    """Keys and values of every layer; stale contents are never read, so it serves one take after another."""

    data: Tensor  # [L, 2, R, H, S, D]

    @classmethod
    def allocate(cls, c: DecoderConfig, rows: int, length: int, device: torch.device, dtype: torch.dtype) -> Cache:
        """Return a cache for `rows` sequences of up to `length` positions."""
        shape = (c.layers, 2, rows, c.heads, length, c.head_size)
        return cls(torch.zeros(shape, device=device, dtype=dtype))

    def fits(self, rows: int, length: int) -> bool:
        """Whether the cache serves just `rows` sequences, and at least `length` positions."""
        return self.data.shape[2] == rows and self.data.shape[4] >= length
