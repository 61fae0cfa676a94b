"""The step on a CPU, where many an op takes longer to be called than to compute: few ops, and views made together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional as F

from musicgen_bridge.engine.pattern import UNKNOWN
from musicgen_bridge.engine.step import Step
from musicgen_bridge.engine.transformer import Condition, Transformer
from musicgen_bridge.engine.weights import CrossAttention, Layer


@contextmanager
def _without_onednn() -> Iterator[None]:
    """Have GELU be torch's own: for a few rows oneDNN's takes several times as long to be called."""
    set_flags = torch.backends.mkldnn.set_flags
    before = set_flags(_enabled=False, _fp32_precision=None)[0]
    try:
        yield
    finally:
        set_flags(_enabled=before, _fp32_precision=None)


class CpuStep(Step):
    """The same step as its base's; it knows its position as a number, and a row is a vector [d] from end to end."""

    @staticmethod
    def fits(model: Transformer, condition: Condition) -> bool:
        """Whether the step is on the CPU and no row of it is padded."""
        return model.device.type == "cpu" and not condition.ragged

    def reach(self, position: int) -> int:
        """Return how much of the cache attention reads up to a position of the sequence: no more than there is."""
        return self._before + position

    @_without_onednn()
    def __call__(self, length: int, noise: Tensor | None) -> None:
        """Advance by one position; attention reads the cache up to `length`, which `reach` gives."""
        column, cache, weights = length - self._before, self._cache.data, self._model.weights
        x = self._entry(column - 1, length - 1)  # [R, d]
        past = cache.narrow(4, 0, length).flatten(0, 1).unbind(0)  # keys, values, keys, … [R, H, length, D]
        now = cache.select(4, length - 1).unbind(0)  # [2, R, H, D] of each layer
        for index, layer in enumerate(weights.layers):
            x += self._attend(x, layer, now[index], past[2 * index], past[2 * index + 1])
            if layer.cross is not None and self._condition.cross is not None:
                keys, values = self._condition.cross[index]
                x[: len(keys)] += self._cross_attend(x[: len(keys)], layer.cross, keys, values)
            h = torch.layer_norm(x, x.shape[1:], *layer.ffn_norm)
            x += layer.down(F.gelu(layer.up(h)))
        known = self.sequence.select(2, column)
        known.copy_(torch.where(known == UNKNOWN, self._draw(x, noise), known))

    def _entry(self, column: int, place: int) -> Tensor:
        """Return what goes in at a column of the sequence, in the cache at `place`: [R, d]."""
        x = self._inputs(self.sequence.narrow(2, column, 1))[:, 0]
        return x + F.embedding((place - self._condition.start).clamp_(min=0), self._model.positions)

    def _attend(self, x: Tensor, layer: Layer, now: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        c = self._model.config
        h = torch.layer_norm(x, x.shape[1:], *layer.attention_norm)
        qkv = layer.qkv(h).view(len(x), 3, c.heads, c.head_size).transpose(0, 1)  # [3, R, H, D]
        now.copy_(qkv[1:])
        mixed = F.scaled_dot_product_attention(qkv[0].unsqueeze(2), keys, values)  # [R, H, 1, D]
        return layer.out(mixed.reshape(x.shape))

    def _cross_attend(self, x: Tensor, cross: CrossAttention, keys: Tensor, values: Tensor) -> Tensor:
        c = self._model.config
        query = cross.query(torch.layer_norm(x, x.shape[1:], *cross.norm)).view(len(x), c.heads, 1, c.head_size)
        mixed = F.scaled_dot_product_attention(query, keys, values, self._condition.cross_mask)  # [B, H, 1, D]
        return cross.out(mixed.reshape(x.shape))
