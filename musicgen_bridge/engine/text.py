"""The T5 encoder, equal to transformers' T5EncoderModel, whose import alone would take six seconds."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F

from musicgen_bridge.engine.config import TextConfig
from musicgen_bridge.engine.weights import TextWeights
from musicgen_bridge.errors import ArgumentError, ModelError

MAX_TOKENS = 512
"""The longest text that T5 was trained on (Raffel et al. 2020)."""

_NOBODYS = "\U0010ffff"
"""A character that no text holds, so that no vocabulary does."""


class TextEncoder:
    """Prompts to hidden states, one prompt at a time: nothing is padded, so no prompt depends on its neighbours."""

    def __init__(self, tokenizer: Tokenizer, weights: TextWeights, config: TextConfig) -> None:
        self._tokenizer = tokenizer
        self._weights = weights
        self._config = config

    def __call__(self, prompt: str) -> Tensor:
        """Return the states [S, d_text] of `prompt`; raises ArgumentError where it has more than `MAX_TOKENS`."""
        ids = self.tokens(prompt)
        return encode(self._weights, self._config, torch.tensor(ids, device=self._weights.embedding.device))

    def knows(self, prompt: str) -> bool:
        """Return whether any word of `prompt` has a token of its own; all others are one and the same to the model."""
        return bool(set(self.tokens(prompt)) - set(self.tokens(_NOBODYS)))

    def tokens(self, prompt: str) -> list[int]:
        """Return the token ids of `prompt`, the end of sequence included. Raises ArgumentError where it is too long."""
        ids: list[int] = self._tokenizer.encode(prompt).ids
        if len(ids) > MAX_TOKENS:
            raise ArgumentError(f"The prompt has {len(ids)} tokens and the model reads {MAX_TOKENS}: shorten it.")
        return ids


def load_tokenizer(folder: Path, config: TextConfig) -> Tokenizer:
    """Return a folder's tokenizer without the padding and truncation that its file may ask for.

    Raises ModelError where there is no tokenizer.json, or one of another vocabulary.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ModelError(
            f"{folder} has no tokenizer.json: open it with transformers' AutoTokenizer and save_pretrained it "
            "there, or copy the one of t5-base."
        )
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises nothing more particular
        raise ModelError(f"{path} can't be read ({error}): copy or download it again.") from error
    if tokenizer.get_vocab_size() > config.vocab:
        raise ModelError(f"{path} has more tokens than the model's {config.vocab}: they don't belong together.")
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def encode(weights: TextWeights, config: TextConfig, ids: Tensor) -> Tensor:
    """Return the states [S, d] of token `ids` [S] (Raffel et al. 2020; attention is not scaled by the head size)."""
    x = weights.embedding[ids]
    bias = _position_bias(weights.position_bias, len(ids), config)  # [H, S, S]
    for layer in weights.layers:
        h = F.rms_norm(x, (config.hidden,), layer.attention_norm, config.epsilon)
        qkv = layer.qkv(h).view(len(ids), 3, config.heads, config.head_size)
        query, key, value = qkv.permute(1, 2, 0, 3)  # [H, S, D]
        mixed = (query @ key.mT + bias).softmax(-1) @ value
        x = x + layer.out(mixed.transpose(0, 1).flatten(1))
        h = F.rms_norm(x, (config.hidden,), layer.ffn_norm, config.epsilon)
        x = x + layer.down(F.relu(layer.up(h)))
    return F.rms_norm(x, (config.hidden,), weights.norm, config.epsilon)


def _position_bias(table: Tensor, length: int, config: TextConfig) -> Tensor:
    """Return the attention bias [H, S, S] of a `table` [buckets, H].

    Half of the buckets are for keys after the query. In each half, distances below a half of it have a bucket each;
    farther ones share the rest in steps that grow by one factor, up to `max_distance`.
    """
    index = torch.arange(length, device=table.device)
    offset = index[None, :] - index[:, None]  # key minus query
    half = config.buckets // 2
    exact = half // 2
    distance = offset.abs()
    growth = torch.log(distance.clamp(min=1).float() / exact) / math.log(config.max_distance / exact)
    far = (exact + (growth * (half - exact)).long()).clamp(max=half - 1)
    bucket = torch.where(distance < exact, distance, far) + (offset > 0) * half
    return table[bucket].permute(2, 0, 1)
