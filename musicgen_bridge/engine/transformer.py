"""The decoder of MusicGen (Copet et al. 2023): a pre-norm transformer over the summed embeddings of all codebooks."""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from musicgen_bridge.engine.cache import Cache
from musicgen_bridge.engine.config import DecoderConfig
from musicgen_bridge.engine.linear import Packed
from musicgen_bridge.engine.weights import CrossAttention, DecoderWeights, Layer, unpacked


@dataclass(frozen=True, slots=True)
class Condition:
    """What the decoder hears beside its own codes: B conditioned rows, and B null rows after them where R = 2 * B.

    A prefix shorter than the longest is padded at its left, so that a row's codes follow its prefix directly and the
    row comes out as it would alone. Null rows take no part in cross-attention: over zeros its result is zero.
    """

    prefix: Tensor  # [R, P, d]; P is 0 in the text family
    start: Tensor  # [R], the position at which each row's prefix begins
    ragged: bool
    """Whether any prefix is padded."""
    cross: Tensor | None  # [L, 2, B, H, S, D], keys and values of the text
    cross_mask: Tensor | None  # [B, 1, 1, S], 0 or -inf; None where all texts are equally long


class Transformer:
    """The weights with the table of positions; all state is in the caller's `Cache`."""

    def __init__(self, weights: DecoderWeights, config: DecoderConfig, positions: int) -> None:
        self.weights = weights
        self.config = config
        self.device = weights.embedding.device
        self.dtype = weights.embedding.dtype
        self.positions = sinusoids(positions, config.hidden).to(self.device, self.dtype)
        size = config.vocab + 1
        self._shelf = torch.arange(0, config.codebooks * size, size, device=self.device)[:, None]  # [K, 1]

    def unpacked(self) -> Transformer:
        """Return the same decoder with its weights in plain order; raises torch.OutOfMemoryError."""
        if not isinstance(self.weights.heads, Packed):
            return self
        same = copy(self)
        same.weights = unpacked(self.weights)
        return same

    def embed(self, codes: Tensor) -> Tensor:
        """Return the summed embeddings [B, T, d] of `codes` [B, K, T]."""
        return F.embedding(codes + self._shelf, self.weights.embedding).sum(1)

    def forward(
        self, x: Tensor, position: Tensor, length: int, mask: Tensor | None, cache: Cache, condition: Condition
    ) -> Tensor:
        """Return the last layer's states [R, T, d] of inputs `x` [R, T, d] at `position` [T], written to the cache.

        Attention reads the first `length` positions of the cache, of which `mask` [R, 1, T, length] hides some.
        """
        place = (position - condition.start[:, None]).clamp_(min=0)  # [R, T]
        x = x + F.embedding(place, self.positions)
        for index, layer in enumerate(self.weights.layers):
            x = x + self._attend(x, layer, cache.data[index], position, length, mask)
            if layer.cross is not None and condition.cross is not None:
                keys, values = condition.cross[index]
                x[: len(keys)] += self._cross_attend(x[: len(keys)], layer.cross, keys, values, condition.cross_mask)
            h = F.layer_norm(x, (x.shape[-1],), *layer.ffn_norm)
            x = x + layer.down(F.gelu(layer.up(h)))
        return x

    def mask(self, position: Tensor, length: int, start: Tensor) -> Tensor:
        """Return 0 where queries at `position` [T] may look and -inf elsewhere, [R, 1, T, length].

        A query in the padding before `start` [R] looks at itself alone: over no key at all the softmax has no value.
        """
        key = torch.arange(length, device=self.device)
        first = torch.minimum(start[:, None], position)  # [R, T]
        seen = (key <= position[:, None]) & (key >= first[..., None])  # [R, T, length]
        mask = torch.zeros(seen.shape, device=self.device, dtype=self.dtype).masked_fill_(~seen, -math.inf)
        return mask[:, None]

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits [R, K, V], float32, of states `x` [R, d]."""
        h = F.layer_norm(x, (x.shape[-1],), *self.weights.norm)
        return self.weights.heads(h).view(len(x), self.config.codebooks, self.config.vocab).float()

    def _attend(
        self, x: Tensor, layer: Layer, kv: Tensor, position: Tensor, length: int, mask: Tensor | None
    ) -> Tensor:
        c = self.config
        h = F.layer_norm(x, (c.hidden,), *layer.attention_norm)
        qkv = layer.qkv(h).view(*x.shape[:2], 3, c.heads, c.head_size).permute(2, 0, 3, 1, 4)
        kv.index_copy_(3, position, qkv[1:])  # [2, R, H, T, D]
        keys, values = kv.narrow(3, 0, length)
        mixed = F.scaled_dot_product_attention(qkv[0], keys, values, mask)  # [R, H, T, D]
        return layer.out(mixed.transpose(1, 2).flatten(2))

    def _cross_attend(
        self, x: Tensor, cross: CrossAttention, keys: Tensor, values: Tensor, mask: Tensor | None
    ) -> Tensor:
        c = self.config
        h = F.layer_norm(x, (c.hidden,), *cross.norm)
        query = cross.query(h).view(*x.shape[:2], c.heads, c.head_size).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(query, keys, values, mask)  # [B, H, T, D]
        return cross.out(mixed.transpose(1, 2).flatten(2))


def sinusoids(positions: int, hidden: int) -> Tensor:
    """Return the table of positions [positions, hidden]: cosines, then sines, of wavelengths 2 pi to 20000 pi."""
    half = hidden // 2
    frequency = torch.exp(torch.arange(half).float() * -(math.log(10_000) / (half - 1)))
    angle = torch.arange(positions).float()[:, None] * frequency
    return torch.cat([angle.cos(), angle.sin()], dim=1)
