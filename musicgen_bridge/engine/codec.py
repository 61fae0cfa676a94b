"""EnCodec at 32 kHz: audio to codebooks of codes and back, equal to transformers' EncodecModel.

Défossez et al. 2022, "High Fidelity Neural Audio Compression"; the non-causal variant that MusicGen generates for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from musicgen_bridge.engine.codec_config import CodecConfig
from musicgen_bridge.engine.codec_graph import GraphedStream
from musicgen_bridge.engine.codec_stream import CodecStream
from musicgen_bridge.engine.quantizer import ResidualQuantizer
from musicgen_bridge.engine.seanet import build_decoder, build_encoder, full_precision
from musicgen_bridge.errors import AudioError, ModelError


class Codec(nn.Module):
    """A loaded EnCodec: `encode`, `decode` at once, or `stream` as the codes come."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = build_encoder(config)
        self.decoder = build_decoder(config)
        self.quantizer = ResidualQuantizer(config.codebooks, config.codebook_size, config.hidden_size)

    @classmethod
    def load(
        cls,
        tensors: Mapping[str, Tensor],
        config: Mapping[str, Any],
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> Codec:
        """Return the codec of a checkpoint, ready on `device`.

        `tensors` are the checkpoint's with their `audio_encoder.` prefix removed, `config` its `audio_encoder`
        section. Raises ModelError where either is not a MusicGen codec's.
        """
        with torch.device("meta"):
            codec = cls(CodecConfig.from_json(config))
        state = _plain_weights(tensors, codec.codebooks)
        try:
            codec.load_state_dict(state, assign=True)
        except RuntimeError as error:
            raise ModelError(
                f"The codec's weights do not fit its config; download the checkpoint again ({error})."
            ) from error
        return codec.to(device, dtype).requires_grad_(False).eval()

    @property
    def sample_rate(self) -> int:
        """Samples a second."""
        return self.config.sampling_rate

    @property
    def frame_rate(self) -> int:
        """Frames of codes a second."""
        return self.config.frame_rate

    @property
    def channels(self) -> int:
        """Channels of the audio."""
        return self.config.audio_channels

    @property
    def codebooks(self) -> int:
        """Codes in a frame."""
        return self.config.codebooks

    @property
    def codebook_size(self) -> int:
        """Entries of a codebook."""
        return self.config.codebook_size

    @property
    def hop(self) -> int:
        """Samples to a frame."""
        return self.config.hop

    @torch.no_grad()
    @full_precision()
    def encode(self, audio: Tensor) -> Tensor:
        """Return the codes [B, K, ceil(N / hop)], int64, of `audio` [B, C, N] at `sample_rate`.

        Raises AudioError on an empty recording or one of another number of channels.
        """
        if audio.shape[1] != self.channels or not audio.shape[2]:
            raise AudioError(
                f"The codec takes {self.channels} channels of at least one sample, and was given "
                f"{audio.shape[1]} of {audio.shape[2]}: choose another recording."
            )
        return self.quantizer.encode(self.encoder(audio.to(self.quantizer.embed)))

    @torch.no_grad()
    @full_precision()
    def decode(self, codes: Tensor) -> Tensor:
        """Return the audio [B, C, T * hop] of `codes` [B, K, T]."""
        return self.decoder(self.quantizer.decode(codes))

    def stream(self, batch: int, *, alike: bool = False) -> CodecStream | GraphedStream:
        """Return a decoder that takes the codes of `batch` takes in pieces and gives what `decode` would.

        `alike` says that there will be many pieces of one length; on CUDA those are a graph.
        """
        stream = CodecStream(self.quantizer, self.decoder, self.config, batch)
        return GraphedStream(stream, self.quantizer) if alike and self.quantizer.embed.is_cuda else stream


def _plain_weights(tensors: Mapping[str, Tensor], codebooks: int) -> dict[str, Tensor]:
    """Return a checkpoint's tensors under our names, float32, with each weight norm w = g * v / |v| folded.

    Accepts the names of torch's old weight norm (weight_g, weight_v) and of its new one (original0, original1).
    """
    state: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.startswith("quantizer."):
            continue
        stem, _, leaf = name.replace(".layers.", ".").replace(".conv.", ".").rpartition(".")
        stem = stem.removesuffix(".parametrizations.weight")
        state[f"{stem}.{_WEIGHT_NORM.get(leaf, leaf)}"] = tensor.float()
    for stem in [name.removesuffix(".direction") for name in state if name.endswith(".direction")]:
        direction = state.pop(f"{stem}.direction")
        length = torch.linalg.vector_norm(direction, dim=(1, 2), keepdim=True)
        state[f"{stem}.weight"] = direction * (state.pop(f"{stem}.magnitude") / length)
    try:
        books = [tensors[f"quantizer.layers.{book}.codebook.embed"] for book in range(codebooks)]
    except KeyError as error:
        raise ModelError(f"The checkpoint lacks the codec's {error}: download it again.") from error
    state["quantizer.embed"] = torch.stack(books).float()
    return state


_WEIGHT_NORM = {
    "weight_g": "magnitude",
    "original0": "magnitude",
    "weight_v": "direction",
    "original1": "direction",
}
