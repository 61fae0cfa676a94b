"""The slow, obvious decode that the fast one is tested against: one row, no cache, the whole sequence at each step."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from musicgen_bridge.engine.config import ModelConfig
from musicgen_bridge.engine.pattern import UNKNOWN
from musicgen_bridge.engine.sampler import Draw, Sampling
from musicgen_bridge.engine.weights import Affine, DecoderWeights


def decode(
    weights: DecoderWeights,
    config: ModelConfig,
    sequence: Tensor,
    text: Tensor | None,
    chroma: Tensor | None,
    sampling: Sampling,
    draw: Draw,
) -> Tensor:
    """Return `sequence` [K, S] with every `UNKNOWN` drawn; `draw` gives the noise [K, V] of a step.

    `text` [S_text, d_text] is None for no prompt, `chroma` [C, bins] None in the text family alone.
    """
    sequence = sequence.clone()
    conditioned = heard(weights, config, text, chroma)
    null = heard(weights, config, None if text is None else torch.zeros_like(text), _null(chroma), silent=True)
    for position in range(1, sequence.shape[1]):
        unknown = sequence[:, position] == UNKNOWN
        if unknown.any():
            towards = logits(weights, config, sequence[:, :position], conditioned)[-1]  # [K, V]
            away = logits(weights, config, sequence[:, :position], null)[-1]
            drawn = _draw(away + (towards - away) * sampling.guidance, sampling, draw)
            sequence[unknown, position] = drawn[unknown]
    return sequence


def heard(
    weights: DecoderWeights, config: ModelConfig, text: Tensor | None, chroma: Tensor | None, silent: bool = False
) -> Tensor:
    """Return what the decoder hears [N, d]: chroma, then text, whose states are all zero if `silent` or absent."""
    words = torch.zeros(1, config.decoder.hidden) if text is None else _project(text, weights.text)
    words = words * (not silent)
    return words if chroma is None else torch.cat([_project(chroma, weights.chroma), words])


def logits(weights: DecoderWeights, config: ModelConfig, codes: Tensor, heard: Tensor) -> Tensor:
    """Return the logits [T, K, V] that follow each of `codes` [K, T]; the melody family has `heard` before them."""
    c = config.decoder
    books = weights.embedding.view(c.codebooks, c.vocab + 1, c.hidden)
    x = torch.stack([book[code] for book, code in zip(books, codes, strict=True)]).sum(0)  # [T, d]
    if config.family == "melody":
        x = torch.cat([heard, x])
    x = x + _positions(len(x), c.hidden)
    causal = torch.ones(len(x), len(x), dtype=torch.bool).tril()
    for layer in weights.layers:
        query, key, value = layer.qkv(_norm(x, layer.attention_norm)).chunk(3, dim=1)
        x = x + layer.out(_attend(query, key, value, causal, c.heads))
        if layer.cross is not None:
            query = layer.cross.query(_norm(x, layer.cross.norm))
            key, value = layer.cross.key_value(heard).chunk(2, dim=1)
            everywhere = torch.ones(len(x), len(heard), dtype=torch.bool)
            x = x + layer.cross.out(_attend(query, key, value, everywhere, c.heads))
        h = layer.up(_norm(x, layer.ffn_norm))
        x = x + layer.down(h * (1 + torch.erf(h / math.sqrt(2))) / 2)
    return weights.heads(_norm(x, weights.norm))[-codes.shape[1] :].view(-1, c.codebooks, c.vocab)


def _attend(query: Tensor, key: Tensor, value: Tensor, seen: Tensor, heads: int) -> Tensor:
    """Return softmax(q kᵀ / √D) v of each head, [T, d], where query t sees the keys of `seen` [T, S]."""
    mixed = []
    for q, k, v in zip(query.chunk(heads, 1), key.chunk(heads, 1), value.chunk(heads, 1), strict=True):
        score = (q @ k.T / math.sqrt(q.shape[1])).masked_fill(~seen, -math.inf)
        mixed.append(score.softmax(1) @ v)
    return torch.cat(mixed, dim=1)


def _draw(logits: Tensor, sampling: Sampling, draw: Draw) -> Tensor:
    """Return one code [K] for each row of `logits` [K, V], candidate by candidate."""
    if sampling.greedy:
        return logits.argmax(1)
    chosen = []
    for row, noise in zip(logits / sampling.temperature, draw(), strict=True):
        order = row.argsort(descending=True)
        order = order[: sampling.top_k] if sampling.top_k else order
        share = row[order].softmax(0)
        if 0 < sampling.top_p < 1:
            before = share.cumsum(0) - share
            order = order[(before < sampling.top_p)]
        chosen.append(order[(row[order].softmax(0) / noise[order]).argmax()])
    return torch.stack(chosen)


def _norm(x: Tensor, affine: Affine) -> Tensor:
    mean, variance = x.mean(1, keepdim=True), x.var(1, keepdim=True, correction=0)
    return (x - mean) / (variance + 1e-5).sqrt() * affine.weight + affine.bias


def _project(x: Tensor, affine: Affine | None) -> Tensor:
    return x if affine is None else x @ affine.weight.T + affine.bias


def _null(chroma: Tensor | None) -> Tensor | None:
    """Return the chroma of no melody: the first pitch class in every frame."""
    return None if chroma is None else torch.eye(chroma.shape[1])[0].expand(len(chroma), -1)


def _positions(length: int, hidden: int) -> Tensor:
    """Return cos(t / w), then sin(t / w), for wavelengths w growing by one factor from 1 to 10000."""
    w = 10_000 ** (torch.arange(hidden // 2) / (hidden // 2 - 1))
    angle = torch.arange(length)[:, None] / w
    return torch.cat([angle.cos(), angle.sin()], dim=1)
