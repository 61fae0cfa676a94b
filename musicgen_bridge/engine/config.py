"""What a checkpoint's config.json says about the model: one frozen tree for both families."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from musicgen_bridge.engine import chroma
from musicgen_bridge.errors import ModelError

Family = Literal["text", "melody"]
Json = dict[str, Any]

_FAMILIES: dict[str, Family] = {"musicgen": "text", "musicgen_melody": "melody"}
_SECONDS = 30.0
"""The length of the crops that MusicGen was trained on (Copet et al. 2023)."""


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """The language model over codes."""

    hidden: int
    layers: int
    heads: int
    ffn: int
    vocab: int
    codebooks: int
    channels: int
    """Of the audio; a stereo model has its codebooks interleaved left, right."""

    @property
    def head_size(self) -> int:
        """Channels of one attention head."""
        return self.hidden // self.heads

    @property
    def lag(self) -> int:
        """Steps from the first to the last code of a frame."""
        return self.codebooks // self.channels - 1

    @property
    def pad(self) -> int:
        """The code that stands where the delay pattern has none, also the first of every sequence."""
        return self.vocab


@dataclass(frozen=True, slots=True)
class TextConfig:
    """The T5 encoder."""

    hidden: int
    layers: int
    heads: int
    head_size: int
    ffn: int
    vocab: int
    buckets: int
    max_distance: int
    epsilon: float


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A whole checkpoint."""

    family: Family
    decoder: DecoderConfig
    text: TextConfig
    codec: Json
    """The `audio_encoder` section as it stands."""
    chroma: int
    """Pitch classes of the melody; 0 in the text family."""
    chroma_length: int
    """Frames of chroma in the prefix; 0 in the text family."""
    opens_on_downbeat: bool
    """Whether all that it was trained on begins a bar, which published models don't say; a key of this project's."""

    @property
    def window(self) -> float:
        """Seconds that the model was trained to hear at once."""
        if self.family == "text":
            return _SECONDS
        return min(_SECONDS, self.chroma_length * chroma.HOP / chroma.SAMPLE_RATE)


def parse(values: Json) -> ModelConfig:
    """Return the config that the JSON object `values` describes; raises ModelError where this engine can't run it."""
    kind = values.get("model_type")
    if kind not in _FAMILIES:
        known = " or ".join(_FAMILIES)
        raise ModelError(f"The model is of type {kind!r}: choose one whose config.json has model_type {known}.")
    family = _FAMILIES[kind]
    try:
        return ModelConfig(
            family=family,
            decoder=_decoder(values["decoder"]),
            text=_text(values["text_encoder"]),
            codec=values["audio_encoder"],
            chroma=values["num_chroma"] if family == "melody" else 0,
            chroma_length=values["chroma_length"] if family == "melody" else 0,
            opens_on_downbeat=values.get("opens_on_downbeat") is True,
        )
    except KeyError as error:
        raise ModelError(f"The model's config.json lacks {error}: copy or download it again.") from error


def _decoder(section: Json) -> DecoderConfig:
    _only(section, "activation_function", "gelu")
    config = DecoderConfig(
        hidden=section["hidden_size"],
        layers=section["num_hidden_layers"],
        heads=section["num_attention_heads"],
        ffn=section["ffn_dim"],
        vocab=section["vocab_size"],
        codebooks=section["num_codebooks"],
        channels=section.get("audio_channels", 1),
    )
    _only(section, "pad_token_id", config.pad)
    _only(section, "bos_token_id", config.pad)
    if config.hidden % (2 * config.heads) or config.codebooks % config.channels:
        raise ModelError("The decoder's sizes don't divide into heads or channels: choose another model.")
    return config


def _text(section: Json) -> TextConfig:
    _only(section, "model_type", "t5")
    _only(section, "feed_forward_proj", "relu")
    return TextConfig(
        hidden=section["d_model"],
        layers=section["num_layers"],
        heads=section["num_heads"],
        head_size=section["d_kv"],
        ffn=section["d_ff"],
        vocab=section["vocab_size"],
        buckets=section["relative_attention_num_buckets"],
        max_distance=section.get("relative_attention_max_distance", 128),
        epsilon=section.get("layer_norm_epsilon", 1e-6),
    )


def _only(section: Json, key: str, wanted: object) -> None:
    value = section.get(key, wanted)
    if value != wanted:
        raise ModelError(f"The model has {key} = {value!r} where only {wanted!r} is supported: choose another model.")
