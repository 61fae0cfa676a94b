"""Guidance in two steps: the conditioned rows go through the decoder first, then the null rows.

Audiocraft's `two_step_cfg` (`LMModel._sample_next_token`). It reads the weights twice where one batch reads them once,
and has half of the activations at a time.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from musicgen_bridge.engine.cache import Cache
from musicgen_bridge.engine.transformer import Condition, Transformer


class TwoPasses(Transformer):
    """The same decoder, which takes the rows of a batch in two passes."""

    def __init__(self, model: Transformer, rows: int) -> None:
        """`rows` B are the conditioned ones; null rows may follow them."""
        vars(self).update(vars(model))
        self._rows = rows

    def forward(
        self, x: Tensor, position: Tensor, length: int, mask: Tensor | None, cache: Cache, condition: Condition
    ) -> Tensor:
        """Return the states [R, T, d] of all rows, as `Transformer.forward`."""
        states = []
        for part in (slice(0, self._rows), slice(self._rows, len(x))):
            if len(x[part]):
                own = None if mask is None else mask[part]
                heard = replace(condition, prefix=condition.prefix[part], start=condition.start[part])
                heard = heard if part.start == 0 else replace(heard, cross=None, cross_mask=None)
                states.append(super().forward(x[part], position, length, own, Cache(cache.data[:, :, part]), heard))
        return torch.cat(states)
