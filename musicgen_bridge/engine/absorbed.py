"""Cross-attention folded into two small maps a take, since the text of a take does not change."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from musicgen_bridge.engine import kernels
from musicgen_bridge.engine.config import DecoderConfig
from musicgen_bridge.engine.transformer import Condition, Transformer

TEXTS = (32, 64, 128)
"""Tokens to which all of a batch's texts are padded; more of them take the plain step."""
HEAD, WARPS = 64, 8
"""As in kernels/shape.cuh: a head's channels, and the warps that compute."""


def _heard(condition: Condition) -> list[int]:
    """Return how many tokens each of the B takes hears of its text; the variations of one prompt share a text."""
    assert condition.cross is not None
    batch, length = condition.cross.shape[2], condition.cross.shape[4]
    mask = condition.cross_mask
    heard: list[int] = [length] * batch if mask is None else (mask[:, 0, 0] == 0).sum(1).tolist()
    return heard


def _one_text(condition: Condition) -> bool:
    cross = condition.cross
    assert cross is not None
    return bool((cross == cross[:, :, :1]).all())


def tokens_of(condition: Condition) -> int:
    """Return how many tokens the texts of a batch have together."""
    heard = _heard(condition)
    return max(heard) if _one_text(condition) else sum(heard)


def texts(c: DecoderConfig) -> list[int]:
    """Return those of `TEXTS` of which all heads together have whole tiles, and whole chunks where a head has two."""
    whole = [size for size in TEXTS if kernels.packable(c.hidden, c.heads * size)]
    return [size for size in whole if size <= HEAD or c.heads % WARPS == 0]


def _padded(c: DecoderConfig, tokens: int) -> int:
    """Return the size that `tokens` are padded to."""
    return next(size for size in texts(c) if size >= tokens)


def _by_warps(maps: Tensor, tokens: int) -> Tensor:
    """Return maps [H * T, d] in the order in which each warp's parts of the chunks are one head's."""
    if tokens <= HEAD:
        return maps
    parts = maps.view(-1, WARPS, tokens // HEAD, HEAD, maps.shape[1])
    return parts.transpose(1, 2).reshape(maps.shape)


def absorb(model: Transformer, condition: Condition) -> tuple[dict[str, Tensor], Tensor, int]:
    """Return cross-attention as two packed maps, the tokens [R, 2] that each row hears, and how many T there are.

    The maps are [L, H * T, d] and [L, d, H * T]: scores = h (Wqᵀ K / √D), to the base 2, and output = p (V Woᵀ).
    """
    c, device = model.config, model.device
    rows = len(condition.prefix)
    hears = torch.zeros(rows, 2, dtype=torch.int32, device=device)
    crosses = [layer.cross for layer in model.weights.layers if layer.cross is not None]
    names = ("queries", "values", "queries_fold")
    if not crosses:
        return dict.fromkeys(names, torch.empty(0, device=device)), hears, 0
    if condition.cross is None:
        tokens = _padded(c, 0)
        nothing = torch.zeros(c.layers * c.heads * tokens * c.hidden, dtype=model.dtype, device=device)
        return dict.fromkeys(names, nothing), hears, tokens
    heard = _heard(condition)
    lengths = torch.tensor(heard, dtype=torch.int32, device=device)
    if _one_text(condition):
        cross = condition.cross[:, :, 0, :, : max(heard)]  # [L, 2, H, T, D]
    else:  # one behind the other
        hears[: len(heard), 0] = lengths.cumsum(0) - lengths
        cross = torch.cat([condition.cross[:, :, take, :, :length] for take, length in enumerate(heard)], dim=3)
    hears[: len(heard), 1] = hears[: len(heard), 0] + lengths
    tokens = _padded(c, cross.shape[3])
    cross = torch.nn.functional.pad(cross, (0, 0, 0, tokens - cross.shape[3]))
    keys, vals = cross[:, 0] * (HEAD**-0.5 * math.log2(math.e)), cross[:, 1]  # [L, H, T, D]
    query = (layer.query.weight.view(c.heads, HEAD, c.hidden) for layer in crosses)  # type: ignore[attr-defined]
    out = (layer.out.weight.view(c.hidden, c.heads, HEAD) for layer in crosses)  # type: ignore[attr-defined]

    def absorbed(of: Tensor, weight: Tensor) -> Tensor:
        return _by_warps(torch.bmm(of, weight).flatten(0, 1), tokens)  # [H * T, d]

    queries = torch.stack([absorbed(k, w) for k, w in zip(keys, query, strict=True)])
    values = torch.stack([absorbed(v, w.permute(1, 2, 0)).t() for v, w in zip(vals, out, strict=True)])
    # As `weights.folded` does, but for all layers at once: a take waits for this.
    scale, shift = (torch.stack(each) for each in zip(*(layer.norm for layer in crosses), strict=True))  # [L, d]
    behind = torch.bmm(queries, shift[..., None], out_dtype=torch.float32)  # [L, H * T, 1]
    queries.mul_(scale[:, None])
    fold = torch.cat([queries.sum(2, keepdim=True, dtype=torch.float32), behind], dim=2)
    return dict(zip(names, (kernels.pack(queries), kernels.pack(values), fold), strict=True)), hears, tokens
