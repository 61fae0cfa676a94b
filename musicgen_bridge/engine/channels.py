"""The codec as a model of several channels takes it: it is mono, and the model's books alternate between them."""

from __future__ import annotations

import torch
from torch import Tensor

from musicgen_bridge.engine.codec import Codec
from musicgen_bridge.engine.take import Floats

_PIECE = 500
"""Frames that are decoded at once: a long batch would take gigabytes."""


class ChannelCodec:
    """A codec of C channels with K books, of which book k is of channel k % C."""

    def __init__(self, codec: Codec, channels: int) -> None:
        self._codec = codec
        self._channels = channels

    def encode(self, audio: Floats) -> Tensor:
        """Return the codes [B, K, T] of `audio` [B, C, N]."""
        wave = torch.from_numpy(audio).to(self._codec.quantizer.embed.device)
        apart = self._codec.encode(wave.flatten(0, 1)[:, None])  # [B * C, K / C, T]
        return apart.unflatten(0, (len(audio), -1)).transpose(1, 2).flatten(1, 2)

    def decode(self, codes: Tensor) -> Floats:
        """Return the audio [B, C, N] of `codes` [B, K, T]."""
        apart = self.apart(codes)
        stream, pieces = self._codec.stream(len(apart)), apart.split(_PIECE, dim=2)
        waves = [stream.push(piece, last=piece is pieces[-1]) for piece in pieces]
        return torch.cat(waves, dim=2).view(len(codes), self._channels, -1).cpu().numpy()

    def apart(self, codes: Tensor) -> Tensor:
        """Return each channel's codes [B * C, K / C, T] of `codes` [B, K, T]."""
        return codes.unflatten(1, (-1, self._channels)).transpose(1, 2).flatten(0, 1)
