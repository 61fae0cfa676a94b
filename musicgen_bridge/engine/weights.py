"""A checkpoint's tensors, under the names of Hugging Face's layout, to those that the engine computes with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from musicgen_bridge.engine.config import DecoderConfig, ModelConfig, TextConfig
from musicgen_bridge.engine.kernels import packable
from musicgen_bridge.engine.linear import Linear, Packed, Rounding, linear

Read = Callable[..., Tensor]
"""A tensor by its name in the checkpoint and its shape."""


class Affine(NamedTuple):
    """A linear map [out, in] with its bias [out], or a layer norm's scale and shift [d]."""

    weight: Tensor
    bias: Tensor


@dataclass(frozen=True, slots=True)
class CrossAttention:
    """The attention of one layer to the text."""

    norm: Affine
    query: Linear  # d to d
    key_value: Linear  # d to 2 * d
    out: Linear  # d to d


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of the decoder."""

    attention_norm: Affine
    qkv: Linear  # d to 3 * d
    out: Linear  # d to d
    cross: CrossAttention | None
    """None in the melody family."""
    ffn_norm: Affine
    up: Linear  # d to ffn
    down: Linear  # ffn to d


@dataclass(frozen=True, slots=True)
class DecoderWeights:
    """The language model over codes, and what maps text and chroma into its space."""

    embedding: Tensor  # [K * (V + 1), d]
    layers: tuple[Layer, ...]
    norm: Affine
    heads: Linear  # d to K * V
    text: Affine | None
    """[d, d_text]; None where both sizes are one."""
    chroma: Affine | None
    """[d, bins]; None in the text family."""


@dataclass(frozen=True, slots=True)
class TextLayer:
    """One layer of T5."""

    attention_norm: Tensor  # [d]
    qkv: Linear  # d to 3 * heads * head_size
    out: Linear  # heads * head_size to d
    ffn_norm: Tensor  # [d]
    up: Linear  # d to ffn
    down: Linear  # ffn to d


@dataclass(frozen=True, slots=True)
class TextWeights:
    """The T5 encoder."""

    embedding: Tensor  # [vocab, d]
    position_bias: Tensor  # [buckets, heads]
    layers: tuple[TextLayer, ...]
    norm: Tensor  # [d]


class _Cast:
    """Reads what a checkpoint stores into what a model of one dtype computes with."""

    def __init__(self, read: Read, dtype: torch.dtype, packed: bool = False, rounding: Rounding = "none") -> None:
        self._read = read
        self._dtype = dtype
        self._packed = packed
        self._rounding: Rounding = rounding

    def tensor(self, name: str, *shape: int) -> Tensor:
        return self._read(name, *shape).to(self._dtype)

    def affine(self, name: str, *shape: int) -> Affine:
        return Affine(self.tensor(f"{name}.weight", *shape), self.tensor(f"{name}.bias", shape[0]))

    def linear(self, root: str, names: Iterable[str], out: int, into: int) -> Linear:
        """Return the maps `names` of one shape, stacked to one."""
        return linear(self._stacked(root, names, out, into), self._dtype, self._packed, self._rounding)

    def normed(self, norm: str, root: str, names: Iterable[str], out: int, into: int) -> tuple[Affine, Linear]:
        """Return a layer norm and the maps behind it."""
        affine, weight = self.affine(norm, into), self._stacked(root, names, out, into)
        if self._packed and packable(*weight.shape):
            return folded(affine, weight, self._dtype, self._rounding)
        return affine, linear(weight, self._dtype, self._packed, self._rounding)

    def _stacked(self, root: str, names: Iterable[str], out: int, into: int) -> Tensor:
        return torch.cat([self._read(f"{root}.{name}.weight", out, into) for name in names])


def folded(norm: Affine, weight: Tensor, dtype: torch.dtype, rounding: Rounding = "none") -> tuple[Affine, Packed]:
    """Return a layer norm and the map behind it with the norm's scale and shift [d] moved into the map [out, d].

    W (g x + b) = (W g) x + W b. So our kernels take the sums of W x before they know x's mean and deviation.
    """
    scale, shift = (each.float() for each in norm)
    wide = weight.float()
    plain = Affine(torch.ones_like(norm.weight), torch.zeros_like(norm.bias))
    scaled = wide * scale
    return plain, Packed(scaled if rounding == "int8" else scaled.to(dtype), wide @ shift, rounding)


def unpacked(weights: DecoderWeights) -> DecoderWeights:
    """Return the weights with what a step reads in plain order, for which packed maps are copied."""

    def plain(each: Linear) -> Linear:
        return each.unpacked() if isinstance(each, Packed) else each

    def cross(each: CrossAttention) -> CrossAttention:
        return replace(each, query=plain(each.query), out=plain(each.out))

    layers = (
        replace(
            layer,
            qkv=plain(layer.qkv),
            out=plain(layer.out),
            cross=layer.cross and cross(layer.cross),
            up=plain(layer.up),
            down=plain(layer.down),
        )
        for layer in weights.layers
    )
    return replace(weights, layers=tuple(layers), heads=plain(weights.heads))


def decoder(
    read: Read, config: ModelConfig, dtype: torch.dtype, packed: bool = False, rounding: Rounding = "none"
) -> DecoderWeights:
    """Return the language model's weights, with query, key and value fused and the heads stacked.

    `packed` has the maps lie in the order of our kernels; `rounding` is what they are rounded to.
    """
    cast, c, root = _Cast(read, dtype, packed, rounding), config.decoder, "decoder.model.decoder"
    books = [cast.tensor(f"{root}.embed_tokens.{k}.weight", c.vocab + 1, c.hidden) for k in range(c.codebooks)]
    norm, heads = cast.normed(f"{root}.layer_norm", "decoder.lm_heads", map(str, range(c.codebooks)), c.vocab, c.hidden)
    d_text = config.text.hidden
    return DecoderWeights(
        embedding=torch.cat(books),
        layers=tuple(_layer(cast, f"{root}.layers.{i}", c, config.family == "text") for i in range(c.layers)),
        norm=norm,
        heads=heads,
        text=None if d_text == c.hidden else cast.affine("enc_to_dec_proj", c.hidden, d_text),
        chroma=cast.affine("audio_enc_to_dec_proj", c.hidden, config.chroma) if config.chroma else None,
    )


def _layer(cast: _Cast, root: str, c: DecoderConfig, crosses: bool) -> Layer:
    attention, three = f"{root}.self_attn", ("q_proj", "k_proj", "v_proj")
    attention_norm, qkv = cast.normed(f"{attention}_layer_norm", attention, three, c.hidden, c.hidden)
    ffn_norm, up = cast.normed(f"{root}.final_layer_norm", root, ["fc1"], c.ffn, c.hidden)
    return Layer(
        attention_norm=attention_norm,
        qkv=qkv,
        out=cast.linear(attention, ["out_proj"], c.hidden, c.hidden),
        cross=_cross(cast, root, c.hidden) if crosses else None,
        ffn_norm=ffn_norm,
        up=up,
        down=cast.linear(root, ["fc2"], c.hidden, c.ffn),
    )


def _cross(cast: _Cast, root: str, hidden: int) -> CrossAttention:
    attention = f"{root}.encoder_attn"
    return CrossAttention(
        norm=cast.affine(f"{attention}_layer_norm", hidden),
        query=cast.linear(attention, ["q_proj"], hidden, hidden),
        key_value=cast.linear(attention, ("k_proj", "v_proj"), hidden, hidden),
        out=cast.linear(attention, ["out_proj"], hidden, hidden),
    )


def text(read: Read, c: TextConfig) -> TextWeights:
    """Return the T5 encoder's weights, with query, key and value fused; it runs once a prompt, so in float32."""
    cast, root = _Cast(read, torch.float32), "text_encoder.encoder"
    bias = f"{root}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    return TextWeights(
        embedding=cast.tensor("text_encoder.shared.weight", c.vocab, c.hidden),
        position_bias=cast.tensor(bias, c.buckets, c.heads),
        layers=tuple(_text_layer(cast, f"{root}.block.{i}", c) for i in range(c.layers)),
        norm=cast.tensor(f"{root}.final_layer_norm.weight", c.hidden),
    )


def _text_layer(cast: _Cast, root: str, c: TextConfig) -> TextLayer:
    attention, ffn, inner = f"{root}.layer.0", f"{root}.layer.1", c.heads * c.head_size
    return TextLayer(
        attention_norm=cast.tensor(f"{attention}.layer_norm.weight", c.hidden),
        qkv=cast.linear(f"{attention}.SelfAttention", "qkv", inner, c.hidden),
        out=cast.linear(f"{attention}.SelfAttention", "o", c.hidden, inner),
        ffn_norm=cast.tensor(f"{ffn}.layer_norm.weight", c.hidden),
        up=cast.linear(f"{ffn}.DenseReluDense", ["wi"], c.ffn, c.hidden),
        down=cast.linear(f"{ffn}.DenseReluDense", ["wo"], c.hidden, c.ffn),
    )
