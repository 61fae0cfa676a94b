"""Text and chroma to what the decoder hears: keys and values to attend to, or a prefix before the codes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from musicgen_bridge.engine.transformer import Condition, Transformer
from musicgen_bridge.engine.weights import Affine


def condition(
    model: Transformer, texts: Sequence[Tensor | None], chromas: Sequence[Tensor] | None, guided: bool
) -> Condition:
    """Return what B rows hear, with their null rows if `guided`.

    `texts` are states [S, d_text], None for no prompt; `chromas` [C, bins], one for each row, are None in the text
    family and `null_chroma` for no melody.
    """
    states = [_project(text, model.weights.text, model) for text in texts]  # [S, d] each
    rows = len(states) * (2 if guided else 1)
    if chromas is None:
        cross, mask = _cross(model, states) if any(text is not None for text in texts) else (None, None)
        prefix = torch.zeros(rows, 0, model.config.hidden, device=model.device, dtype=model.dtype)
        return Condition(prefix, torch.zeros(rows, dtype=torch.long, device=model.device), False, cross, mask)
    heard = [torch.cat([_chroma(chroma, model), text]) for chroma, text in zip(chromas, states, strict=True)]
    if guided:
        heard += [
            torch.cat([_chroma(null_chroma(*chroma.shape), model), torch.zeros_like(text)])
            for chroma, text in zip(chromas, states, strict=True)
        ]
    longest = max(map(len, heard))
    start = torch.tensor([longest - len(row) for row in heard], device=model.device)
    prefix = torch.stack([F.pad(row, (0, 0, longest - len(row), 0)) for row in heard])
    return Condition(prefix, start, len(set(map(len, heard))) > 1, None, None)


def null_chroma(length: int, bins: int) -> Tensor:
    """Return the chroma [length, bins] that stands for no melody: the first pitch class throughout."""
    return F.one_hot(torch.zeros(length, dtype=torch.long), bins).float()


def _project(text: Tensor | None, projection: Affine | None, model: Transformer) -> Tensor:
    """Return text in the decoder's space [S, d]; no prompt is one token of zeros, as an empty text is masked to be."""
    if text is None:
        return torch.zeros(1, model.config.hidden, device=model.device, dtype=model.dtype)
    text = text.to(model.device, model.dtype)
    return text if projection is None else F.linear(text, *projection)


def _chroma(chroma: Tensor, model: Transformer) -> Tensor:
    assert model.weights.chroma is not None
    return F.linear(chroma.to(model.device, model.dtype), *model.weights.chroma)  # [C, d]


def _cross(model: Transformer, states: list[Tensor]) -> tuple[Tensor, Tensor | None]:
    """Return the keys and values [L, 2, B, H, S, D] of every layer, and the mask [B, 1, 1, S] that hides padding."""
    c = model.config
    lengths = torch.tensor([len(row) for row in states], device=model.device)
    padded = pad_sequence(states, batch_first=True)  # [B, S, d]
    shape = (*padded.shape[:2], 2, c.heads, c.head_size)
    crosses = [layer.cross for layer in model.weights.layers if layer.cross is not None]
    kv = [cross.key_value(padded).view(shape).permute(2, 0, 3, 1, 4) for cross in crosses]
    hidden = torch.arange(padded.shape[1], device=model.device) >= lengths[:, None]  # [B, S]
    if not bool(hidden.any()):
        return torch.stack(kv), None
    mask = torch.zeros(hidden.shape, device=model.device, dtype=model.dtype).masked_fill_(hidden, -math.inf)
    return torch.stack(kv), mask[:, None, None]
