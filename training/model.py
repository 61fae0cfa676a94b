"""MusicGen-Melody's language model as one trainable module, with a batched sampler and export to the stock layout."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional
from transformers import T5Config, T5EncoderModel

from training.prompts import WORDS, vocabulary
from training.render import CHROMA_FRAMES

CODES, BOOKS = 1024, 4
PREFIX = CHROMA_FRAMES + WORDS + 1
"""Chroma, then text: the audio's first frame stands at this position."""


@dataclass(frozen=True, slots=True)
class Size:
    """Width, layers, heads and feed-forward width of the decoder; width, layers and heads of the T5 encoder."""

    width: int = 256
    layers: int = 8
    heads: int = 4
    feed_forward: int = 1024
    text_width: int = 128
    text_layers: int = 2
    text_heads: int = 4
    words: int = len(vocabulary())

    def t5(self) -> T5Config:
        """Return the text encoder's configuration."""
        return T5Config(
            vocab_size=self.words, d_model=self.text_width, d_kv=self.text_width // self.text_heads,
            d_ff=4 * self.text_width, num_layers=self.text_layers, num_decoder_layers=self.text_layers,
            num_heads=self.text_heads, feed_forward_proj="relu", dropout_rate=0.0, decoder_start_token_id=0,
            pad_token_id=0, eos_token_id=1, is_encoder_decoder=True, use_cache=False,
        )  # fmt: skip


def positions(count: int, width: int) -> torch.Tensor:
    """Return MusicGen's sinusoids of shape [count, width]: all cosines, then all sines."""
    rates = torch.exp(torch.arange(width // 2).float() * -(math.log(10_000) / (width // 2 - 1)))
    angles = torch.arange(count).float()[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], 1)


def delay(codes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs and labels [B, K, T + K - 1] of codes [B, K, T]: book k is k late; no code is label -100."""
    batch, books, frames = codes.shape
    late = codes.new_full((batch, books, frames + books - 1), CODES)
    for k in range(books):
        late[:, k, k : k + frames] = codes[:, k]
    start = late.new_full((batch, books, 1), CODES)
    return torch.cat([start, late[:, :, :-1]], 2), late.masked_fill(late == CODES, -100)


class Block(nn.Module):
    """One pre-norm layer: causal self-attention, then GELU; linear layers have no bias."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        d = size.width
        self.heads = size.heads
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.out = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
        self.up, self.down = nn.Linear(d, size.feed_forward, bias=False), nn.Linear(size.feed_forward, d, bias=False)

    def forward(self, x: torch.Tensor, cache: torch.Tensor | None = None, at: int = 0) -> torch.Tensor:
        """Map [B, S, d] to [B, S, d]; `cache` [2, B, H, max, d/H] holds keys and values before position `at`."""
        b, s, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, s, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        if cache is not None:
            cache[0, :, :, at : at + s], cache[1, :, :, at : at + s] = k, v
            k, v = cache[:, :, :, : at + s].unbind(0)
        attended = functional.scaled_dot_product_attention(q, k, v, is_causal=s > 1)
        x = x + self.out(attended.transpose(1, 2).reshape(b, s, d))
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


class LanguageModel(nn.Module):
    """Chroma and text in front, four delayed books of codes behind, one set of logits a book."""

    positions: torch.Tensor

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size
        d = size.width
        self.text_encoder = T5EncoderModel(size.t5())
        self.text, self.chroma = nn.Linear(size.text_width, d), nn.Linear(12, d)
        self.embed = nn.Parameter(torch.randn(BOOKS, CODES + 1, d) * 0.02)
        self.heads = nn.Parameter(torch.randn(BOOKS, CODES, d) * 0.02)
        blocks = [Block(size) for _ in range(size.layers)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(d)
        self.register_buffer("positions", positions(2048, d), persistent=False)
        for block in blocks:
            for linear in (block.qkv, block.out, block.up, block.down):
                nn.init.normal_(linear.weight, std=0.02)

    def describe(self, words: torch.Tensor, present: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        """Return states [B, W, d] of ids [B, W], zero where not `present` [B, W] or not in a row to `keep` [B]."""
        states = self.text_encoder(input_ids=words, attention_mask=present).last_hidden_state
        return self.text(states) * (present * keep[:, None])[..., None].to(states.dtype)

    def embed_codes(self, codes: torch.Tensor) -> torch.Tensor:
        """Return the summed embeddings [B, T, d] of codes [B, K, T]."""
        offsets = torch.arange(BOOKS, device=codes.device) * (CODES + 1)
        return functional.embedding(codes + offsets[None, :, None], self.embed.flatten(0, 1)).sum(1)

    def forward(
        self, codes: torch.Tensor, text: torch.Tensor, chroma: torch.Tensor, dropped: torch.Tensor
    ) -> torch.Tensor:
        """Return hidden states [B, T, d] of delayed codes [B, K, T] behind chroma classes [B, 235] and text [B, W, d].

        `dropped` [B] says how many leading text states a row goes without; its audio then stands that much earlier.
        """
        melody = self.chroma(functional.one_hot(chroma, 12).to(self.chroma.weight.dtype))
        x = torch.cat([melody, text.to(melody.dtype), self.embed_codes(codes).to(melody.dtype)], 1)
        here = torch.arange(x.shape[1], device=x.device)
        source = (here + (here >= CHROMA_FRAMES) * dropped[:, None]).clamp(max=x.shape[1] - 1)  # [B, S]
        x = x.gather(1, source[..., None].expand(-1, -1, x.shape[2])) + self.positions[: x.shape[1]]
        for block in self.blocks:
            x = block(x)
        audio = torch.arange(PREFIX, x.shape[1], device=x.device) - dropped[:, None]  # [B, T]
        return self.norm(x.gather(1, audio[..., None].expand(-1, -1, x.shape[2])))

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return logits [B, T, K, V] of hidden states [B, T, d]."""
        return functional.linear(hidden, self.heads.flatten(0, 1)).unflatten(-1, (BOOKS, CODES))


@torch.inference_mode()
def sample(
    model: LanguageModel,
    words: torch.Tensor,
    chroma: torch.Tensor,
    frames: int,
    guidance: float = 3.0,
    temperature: float = 1.0,
    top_k: int = 50,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Return codes [B, K, frames] for ids [B, W] and chroma classes [B, 235]; the null row has no text and chroma 0."""
    batch, device = len(words), words.device
    keep = torch.cat([torch.ones(batch, device=device), torch.zeros(batch, device=device)])
    text = model.describe(words.repeat(2, 1), torch.ones_like(words).repeat(2, 1), keep)
    classes = torch.cat([chroma, torch.zeros_like(chroma)])
    prefix = torch.cat([model.chroma(functional.one_hot(classes, 12).to(text.dtype)), text], 1)
    width, heads = model.size.width, model.size.heads
    room = prefix.shape[1] + frames + BOOKS
    cache = torch.zeros(len(model.blocks), 2, 2 * batch, heads, room, width // heads, device=device, dtype=text.dtype)
    codes = torch.full((batch, BOOKS, frames + BOOKS), CODES, device=device)
    x, at = prefix + model.positions[: prefix.shape[1]], 0
    for step in range(frames + BOOKS):
        for i, block in enumerate(model.blocks):
            x = block(x, cache[i], at)
        at += x.shape[1]
        if step:
            scores = model.logits(model.norm(x[:, -1:]))[:, 0].float()  # [2B, K, V]
            scores = (scores[batch:] + guidance * (scores[:batch] - scores[batch:])) / temperature
            if top_k:
                scores = scores.masked_fill(scores < scores.topk(top_k).values[..., -1:], -torch.inf)
            noise = torch.empty_like(scores).exponential_(generator=generator)
            drawn = (scores.softmax(-1) / noise).argmax(-1)  # [B, K]
            for k in range(BOOKS):
                if 0 <= step - 1 - k < frames:
                    codes[:, k, step] = drawn[:, k]
        x = model.embed_codes(codes[:, :, step : step + 1].repeat(2, 1, 1)).to(text.dtype) + model.positions[at]
    return torch.stack([codes[:, k, 1 + k : 1 + k + frames] for k in range(BOOKS)], 1)


def stock_views(model: LanguageModel) -> dict[str, torch.Tensor]:
    """Return views of the weights under MusicgenMelodyForConditionalGeneration's names (without the codec's)."""
    tied = "encoder.embed_tokens.weight"
    state = {f"text_encoder.{k}": v for k, v in model.text_encoder.state_dict().items() if k != tied}
    for name, linear in (("enc_to_dec_proj", model.text), ("audio_enc_to_dec_proj", model.chroma)):
        state |= {f"{name}.weight": linear.weight, f"{name}.bias": linear.bias}
    root = "decoder.model.decoder"
    for k in range(BOOKS):
        state[f"{root}.embed_tokens.{k}.weight"] = model.embed[k]
        state[f"decoder.lm_heads.{k}.weight"] = model.heads[k]
    state |= {f"{root}.layer_norm.weight": model.norm.weight, f"{root}.layer_norm.bias": model.norm.bias}
    for i, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        layer = f"{root}.layers.{i}"
        for name, weight in zip("qkv", block.qkv.weight.chunk(3), strict=True):
            state[f"{layer}.self_attn.{name}_proj.weight"] = weight
        state[f"{layer}.self_attn.out_proj.weight"] = block.out.weight
        state[f"{layer}.fc1.weight"], state[f"{layer}.fc2.weight"] = block.up.weight, block.down.weight
        for name, norm in (("self_attn_layer_norm", block.norm1), ("final_layer_norm", block.norm2)):
            state |= {f"{layer}.{name}.weight": norm.weight, f"{layer}.{name}.bias": norm.bias}
    return {name: weight.detach() for name, weight in state.items()}
