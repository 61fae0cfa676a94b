"""Checkpoint files to tensors under our names: the one place that knows how Hugging Face calls them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from musicgen_bridge.engine.config import DecoderConfig, ModelConfig, TextConfig
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
    query: Tensor  # [d, d]
    key_value: Tensor  # [2 * d, d]
    out: Tensor  # [d, d]


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of the decoder."""

    attention_norm: Affine
    qkv: Tensor  # [3 * d, d]
    out: Tensor  # [d, d]
    cross: CrossAttention | None
    """None in the melody family."""
    ffn_norm: Affine
    up: Tensor  # [ffn, d]
    down: Tensor  # [d, ffn]


@dataclass(frozen=True, slots=True)
class DecoderWeights:
    """The language model over codes, and what maps text and chroma into its space."""

    embedding: Tensor  # [K * (V + 1), d]
    layers: tuple[Layer, ...]
    norm: Affine
    heads: Tensor  # [K * V, d]
    text: Affine | None
    """[d, d_text]; None where both sizes are one."""
    chroma: Affine | None
    """[d, bins]; None in the text family."""


@dataclass(frozen=True, slots=True)
class TextLayer:
    """One layer of T5."""

    attention_norm: Tensor  # [d]
    qkv: Tensor  # [3 * heads * head_size, d]
    out: Tensor  # [d, heads * head_size]
    ffn_norm: Tensor  # [d]
    up: Tensor  # [ffn, d]
    down: Tensor  # [d, ffn]


@dataclass(frozen=True, slots=True)
class TextWeights:
    """The T5 encoder."""

    embedding: Tensor  # [vocab, d]
    position_bias: Tensor  # [buckets, heads]
    layers: tuple[TextLayer, ...]
    norm: Tensor  # [d]


class Checkpoint:
    """The open weight files of a folder; each tensor is read when it is asked for, straight to the device."""

    def __init__(self, files: dict[str, Any], device: torch.device, dtype: torch.dtype) -> None:
        self._files = files
        self._device = device
        self._dtype = dtype

    @classmethod
    @contextmanager
    def open(cls, folder: Path, device: torch.device, dtype: torch.dtype) -> Iterator[Checkpoint]:
        """Open a folder's safetensors, one file or shards; raises ModelError where they are missing or damaged."""
        with ExitStack() as stack:
            files: dict[str, Any] = {}
            for path in _weight_files(folder):
                try:
                    file = stack.enter_context(safe_open(path, framework="pt", device=str(device)))
                except (OSError, SafetensorError) as error:
                    raise ModelError(f"{path} can't be read ({error}): copy or download it again.") from error
                files |= dict.fromkeys(file.keys(), file)
            yield cls(files, device, dtype)

    def __call__(self, name: str, *shape: int) -> Tensor:
        """Return the tensor `name` in the engine's dtype; raises ModelError where it is missing or of another shape."""
        return self._get(name, *shape).to(self._dtype)

    def full(self, name: str, *shape: int) -> Tensor:
        """Return the tensor `name` in float32; raises ModelError as a call does."""
        return self._get(name, *shape).float()

    def codec(self) -> dict[str, Tensor]:
        """Return the codec's tensors in float32, their names without the prefix."""
        prefix = "audio_encoder."
        return {name.removeprefix(prefix): self.full(name) for name in self._files if name.startswith(prefix)}

    def _get(self, name: str, *shape: int) -> Tensor:
        if name not in self._files:
            name = _TIED.get(name, name)
        if name not in self._files:
            raise ModelError(f"The model's weights lack {name}: copy or download them again.")
        tensor: Tensor = self._files[name].get_tensor(name)
        if shape and tensor.shape != shape:
            raise ModelError(f"{name} is {list(tensor.shape)} where config.json says {list(shape)}: they don't belong.")
        return tensor


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


def decoder(read: Read, config: ModelConfig) -> DecoderWeights:
    """Return the language model's weights, with query, key and value fused and the heads stacked."""
    c, root = config.decoder, "decoder.model.decoder"
    books = range(c.codebooks)
    d_text = config.text.hidden
    return DecoderWeights(
        embedding=torch.cat([read(f"{root}.embed_tokens.{k}.weight", c.vocab + 1, c.hidden) for k in books]),
        layers=tuple(_layer(read, f"{root}.layers.{i}", c, config.family == "text") for i in range(c.layers)),
        norm=_affine(read, f"{root}.layer_norm", c.hidden),
        heads=_wide(torch.cat([read(f"decoder.lm_heads.{k}.weight", c.vocab, c.hidden) for k in books])),
        text=None if d_text == c.hidden else _affine(read, "enc_to_dec_proj", c.hidden, d_text),
        chroma=_affine(read, "audio_enc_to_dec_proj", c.hidden, config.chroma) if config.chroma else None,
    )


def _layer(read: Read, root: str, c: DecoderConfig, crosses: bool) -> Layer:
    return Layer(
        attention_norm=_affine(read, f"{root}.self_attn_layer_norm", c.hidden),
        qkv=_wide(_fused(read, f"{root}.self_attn", ("q_proj", "k_proj", "v_proj"), c.hidden, c.hidden)),
        out=read(f"{root}.self_attn.out_proj.weight", c.hidden, c.hidden),
        cross=_cross(read, root, c.hidden) if crosses else None,
        ffn_norm=_affine(read, f"{root}.final_layer_norm", c.hidden),
        up=_wide(read(f"{root}.fc1.weight", c.ffn, c.hidden)),
        down=read(f"{root}.fc2.weight", c.hidden, c.ffn),
    )


def _cross(read: Read, root: str, hidden: int) -> CrossAttention:
    return CrossAttention(
        norm=_affine(read, f"{root}.encoder_attn_layer_norm", hidden),
        query=read(f"{root}.encoder_attn.q_proj.weight", hidden, hidden),
        key_value=_fused(read, f"{root}.encoder_attn", ("k_proj", "v_proj"), hidden, hidden),
        out=read(f"{root}.encoder_attn.out_proj.weight", hidden, hidden),
    )


def text(read: Read, c: TextConfig) -> TextWeights:
    """Return the T5 encoder's weights, with query, key and value fused."""
    root, inner = "text_encoder.encoder", c.heads * c.head_size

    def layer(i: int) -> TextLayer:
        attention, ffn = f"{root}.block.{i}.layer.0", f"{root}.block.{i}.layer.1"
        return TextLayer(
            attention_norm=read(f"{attention}.layer_norm.weight", c.hidden),
            qkv=_fused(read, f"{attention}.SelfAttention", ("q", "k", "v"), inner, c.hidden),
            out=read(f"{attention}.SelfAttention.o.weight", c.hidden, inner),
            ffn_norm=read(f"{ffn}.layer_norm.weight", c.hidden),
            up=read(f"{ffn}.DenseReluDense.wi.weight", c.ffn, c.hidden),
            down=read(f"{ffn}.DenseReluDense.wo.weight", c.hidden, c.ffn),
        )

    return TextWeights(
        embedding=read("text_encoder.shared.weight", c.vocab, c.hidden),
        position_bias=read(f"{root}.block.0.layer.0.SelfAttention.relative_attention_bias.weight", c.buckets, c.heads),
        layers=tuple(layer(i) for i in range(c.layers)),
        norm=read(f"{root}.final_layer_norm.weight", c.hidden),
    )


def _affine(read: Read, name: str, *shape: int) -> Affine:
    return Affine(read(f"{name}.weight", *shape), read(f"{name}.bias", shape[0]))


def _fused(read: Read, root: str, names: tuple[str, ...], out: int, into: int) -> Tensor:
    return torch.cat([read(f"{root}.{name}.weight", out, into) for name in names])


def _wide(weight: Tensor) -> Tensor:
    """Return `weight` [out, in], out > in, laid out for a few rows: for them the CPU reads it faster by its columns."""
    return weight.t().contiguous().t() if weight.device.type == "cpu" else weight
