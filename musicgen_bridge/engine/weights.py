"""Checkpoint files to tensors under our names: the one place that knows how Hugging Face calls them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from musicgen_bridge.engine.config import DecoderConfig, ModelConfig, TextConfig
from musicgen_bridge.engine.linear import Linear, linear
from musicgen_bridge.errors import ModelError

Read = Callable[..., Tensor]
"""A tensor by its name in the checkpoint and its shape."""

_TIED = {"text_encoder.shared.weight": "text_encoder.encoder.embed_tokens.weight"}
"""Tensors of two names, of which a checkpoint may have kept the other."""


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


class Checkpoint:
    """The open weight files of a folder; each tensor is read when it is asked for, straight to the device."""

    def __init__(self, files: dict[str, Any]) -> None:
        self._files = files

    @classmethod
    @contextmanager
    def open(cls, folder: Path, device: torch.device) -> Iterator[Checkpoint]:
        """Open a folder's safetensors, one file or shards; raises ModelError where they are missing or damaged."""
        with ExitStack() as stack:
            files: dict[str, Any] = {}
            for path in _weight_files(folder):
                try:
                    file = stack.enter_context(safe_open(path, framework="pt", device=str(device)))
                except (OSError, SafetensorError) as error:
                    raise ModelError(f"{path} can't be read ({error}): copy or download it again.") from error
                files |= dict.fromkeys(file.keys(), file)
            yield cls(files)

    def __call__(self, name: str, *shape: int) -> Tensor:
        """Return the tensor `name` as it is stored; raises ModelError where it is missing or of another shape."""
        name = name if name in self._files else _TIED.get(name, name)
        if name not in self._files:
            raise ModelError(f"The model's weights lack {name}: copy or download them again.")
        tensor: Tensor = self._files[name].get_tensor(name)
        if shape and tensor.shape != shape:
            raise ModelError(f"{name} is {list(tensor.shape)} where config.json says {list(shape)}: they don't belong.")
        return tensor

    def codec(self) -> dict[str, Tensor]:
        """Return the codec's tensors, their names without the prefix."""
        prefix = "audio_encoder."
        return {name.removeprefix(prefix): self(name) for name in self._files if name.startswith(prefix)}


def _weight_files(folder: Path) -> list[Path]:
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if not index.is_file():
        raise ModelError(
            f"{folder} has no model.safetensors: download the model with its safetensors (pickled .bin files are "
            "not read, because they can run code)."
        )
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise ModelError(f"{index} can't be read ({error}): copy or download it again.") from error
    return [folder / Path(name).name for name in names]


class _Cast:
    """Reads what a checkpoint stores into what a model of one dtype computes with."""

    def __init__(self, read: Read, dtype: torch.dtype, packed: bool = False) -> None:
        self._read = read
        self._dtype = dtype
        self._packed = packed

    def tensor(self, name: str, *shape: int) -> Tensor:
        return self._read(name, *shape).to(self._dtype)

    def affine(self, name: str, *shape: int) -> Affine:
        return Affine(self.tensor(f"{name}.weight", *shape), self.tensor(f"{name}.bias", shape[0]))

    def linear(self, root: str, names: Iterable[str], out: int, into: int) -> Linear:
        """Return the maps `names` of one shape, stacked to one."""
        weight = torch.cat([self._read(f"{root}.{name}.weight", out, into) for name in names])
        return linear(weight, self._dtype, self._packed)


def decoder(read: Read, config: ModelConfig, dtype: torch.dtype, packed: bool = False) -> DecoderWeights:
    """Return the language model's weights, with query, key and value fused and the heads stacked.

    `packed` has the maps lie in the order of our kernels.
    """
    cast, c, root = _Cast(read, dtype, packed), config.decoder, "decoder.model.decoder"
    books = [cast.tensor(f"{root}.embed_tokens.{k}.weight", c.vocab + 1, c.hidden) for k in range(c.codebooks)]
    heads = map(str, range(c.codebooks))
    d_text = config.text.hidden
    return DecoderWeights(
        embedding=torch.cat(books),
        layers=tuple(_layer(cast, f"{root}.layers.{i}", c, config.family == "text") for i in range(c.layers)),
        norm=cast.affine(f"{root}.layer_norm", c.hidden),
        heads=cast.linear("decoder.lm_heads", heads, c.vocab, c.hidden),
        text=None if d_text == c.hidden else cast.affine("enc_to_dec_proj", c.hidden, d_text),
        chroma=cast.affine("audio_enc_to_dec_proj", c.hidden, config.chroma) if config.chroma else None,
    )


def _layer(cast: _Cast, root: str, c: DecoderConfig, crosses: bool) -> Layer:
    return Layer(
        attention_norm=cast.affine(f"{root}.self_attn_layer_norm", c.hidden),
        qkv=cast.linear(f"{root}.self_attn", ("q_proj", "k_proj", "v_proj"), c.hidden, c.hidden),
        out=cast.linear(f"{root}.self_attn", ["out_proj"], c.hidden, c.hidden),
        cross=_cross(cast, root, c.hidden) if crosses else None,
        ffn_norm=cast.affine(f"{root}.final_layer_norm", c.hidden),
        up=cast.linear(root, ["fc1"], c.ffn, c.hidden),
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
