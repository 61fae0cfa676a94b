"""The `audio_encoder` section of a MusicGen config.json, checked against what this codec can do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from musicgen_bridge.errors import ModelError

# What is understood, and what transformers' EncodecConfig takes where a config.json leaves it out.
_UNDERSTOOD: dict[str, tuple[Any, Any]] = {
    "model_type": ("encodec", "encodec"),
    "norm_type": ("weight_norm", "weight_norm"),
    "normalize": (False, False),
    "chunk_length_s": (None, None),
    "use_causal_conv": (False, True),
    "use_conv_shortcut": (False, True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecConfig:
    """Sizes of an EnCodec, under the names and with the defaults of transformers' EncodecConfig."""

    sampling_rate: int = 24_000
    audio_channels: int = 1
    target_bandwidths: tuple[float, ...] = (1.5, 3.0, 6.0, 12.0, 24.0)
    """Kilobits a second."""
    hidden_size: int = 128
    num_filters: int = 32
    num_residual_layers: int = 1
    upsampling_ratios: tuple[int, ...] = (8, 5, 4, 2)
    kernel_size: int = 7
    last_kernel_size: int = 7
    residual_kernel_size: int = 3
    dilation_growth_rate: int = 2
    compress: int = 2
    num_lstm_layers: int = 2
    codebook_size: int = 1024
    pad_mode: str = "reflect"
    """What is heard before the start and after the end: the mirrored signal, or with "constant" zeros."""

    @classmethod
    def from_json(cls, section: Mapping[str, Any]) -> Self:
        """Return the sizes that `section` states; raises ModelError where it asks for another kind of codec."""
        for key, (wanted, default) in _UNDERSTOOD.items():
            value = section.get(key, default)
            if value != wanted:
                raise ModelError(
                    f"The audio codec has {key} = {value!r} where only {wanted!r} is supported: "
                    "choose a checkpoint with MusicGen's 32 kHz EnCodec."
                )
        codebook_dim = section.get("codebook_dim")
        config = cls(**{field.name: section[field.name] for field in fields(cls) if field.name in section})
        if config.pad_mode not in ("reflect", "constant"):
            raise ModelError(
                f"The audio codec has pad_mode = {config.pad_mode!r}: choose one with reflect or constant."
            )
        if codebook_dim not in (None, config.hidden_size):
            raise ModelError(
                f"The audio codec has codebook_dim = {codebook_dim} and hidden_size = {config.hidden_size}: "
                "choose a checkpoint where they are equal."
            )
        return config

    @property
    def hop(self) -> int:
        """Samples to a frame of codes."""
        return math.prod(self.upsampling_ratios)

    @property
    def frame_rate(self) -> int:
        """Frames of codes a second."""
        return math.ceil(self.sampling_rate / self.hop)

    @property
    def codebooks(self) -> int:
        """How many codebooks the highest bandwidth pays for."""
        bits = math.ceil(math.log2(self.codebook_size))
        return int(1000 * self.target_bandwidths[-1] // (self.frame_rate * bits))
