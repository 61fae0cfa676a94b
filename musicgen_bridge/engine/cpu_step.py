"""The step on a CPU, where many an op takes longer to be called than to compute: few ops, and views made together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional as F

from musicgen_bridge.engine.cache import Cache
from musicgen_bridge.engine.pattern import UNKNOWN
from musicgen_bridge.engine.sampler import Sampling
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

    def __init__(
        self, model: Transformer, condition: Condition, sequence: Tensor, sampling: Sampling, cache: Cache
    ) -> None:
        super().__init__(model, condition, sequence, sampling, cache)
        keys, values = cache.data.unbind(1)  # [L, R, H, S, D]
        self._keys = keys.flatten(1, 2).mT  # [L, R * H, D, S]
        self._values = values.flatten(1, 3).unbind(0)  # [R * H * S, D] of each layer
        shape = values.shape[1:4]
        places = torch.arange(shape.numel()).view(shape)  # of the values that each row and head reads
        same = (condition.prefix == condition.prefix[:1]).all(2).all(0).long().cumprod(0)  # [P]
        alike = int(same.sum())  # positions, at which all rows have heard the same
        places[:, :, :alike] = places[:1, :, :alike]
        self._places = places.flatten(0, 1)  # [R * H, S]
        self._rows = torch.arange(len(self._places))
        self._scale = model.config.head_size**-0.5

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
        column, weights = length - self._before, self._model.weights
        x = self._entry(column - 1, length - 1)  # [R, d]
        now = self._cache.data.select(4, length - 1).unbind(0)  # [2, R, H, D] of each layer
        keys = self._keys.narrow(3, 0, length).unbind(0)
        places = self._places.narrow(1, 0, length).reshape(-1)
        bags = self._rows * length  # where each row's and head's places begin
        for index, layer in enumerate(weights.layers):
            query = self._query(x, layer, now[index])
            shares = torch.bmm(query, keys[index]).softmax(2)  # [R * H, 1, length]
            # sums of values, each with its share: torch reads them so faster than in a product of matrices
            mixed = torch.embedding_bag(self._values[index], places, bags, False, 0, False, shares.view(-1))[0]
            x += layer.out(mixed.view(x.shape))
            if layer.cross is not None and self._condition.cross is not None:
                cross = self._condition.cross[index]
                x[: cross.shape[1]] += self._cross_attend(x[: cross.shape[1]], layer.cross, *cross)
            h = torch.layer_norm(x, x.shape[1:], *layer.ffn_norm)
            x += layer.down(F.gelu(layer.up(h)))
        known = self.sequence.select(2, column)
        known.copy_(torch.where(known == UNKNOWN, self._draw(x, noise), known))

    def _entry(self, column: int, place: int) -> Tensor:
        """Return what goes in at a column of the sequence, in the cache at `place`: [R, d]."""
        x = self._inputs(self.sequence.narrow(2, column, 1))[:, 0]
        return x + self._model.positions[place]  # no row is padded, so all begin at 0

    def _query(self, x: Tensor, layer: Layer, now: Tensor) -> Tensor:
        """Return what asks the keys [R * H, 1, D], and put the new key and value into the cache at `now`."""
        c = self._model.config
        h = torch.layer_norm(x, x.shape[1:], *layer.attention_norm)
        qkv = layer.qkv(h).view(len(x), 3, c.heads, c.head_size)
        now.copy_(qkv[:, 1:].transpose(0, 1))
        return (qkv.select(1, 0) * self._scale).view(-1, 1, c.head_size)

    def _cross_attend(self, x: Tensor, cross: CrossAttention, keys: Tensor, values: Tensor) -> Tensor:
        c = self._model.config
        query = cross.query(torch.layer_norm(x, x.shape[1:], *cross.norm)).view(len(x), c.heads, 1, c.head_size)
        mixed = F.scaled_dot_product_attention(query, keys, values, self._condition.cross_mask)  # [B, H, 1, D]
        return cross.out(mixed.reshape(x.shape))
