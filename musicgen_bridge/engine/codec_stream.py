"""EnCodec decoding as the codes come, equal to decoding them at once.

The decoder is a convolution, an LSTM, and an upsampler of (transposed) convolutions. The LSTM only looks back, so its
state is carried. The two others look to both sides by a known number of frames, their halo: an output is final once
that many frames follow its own, and it is computed from a segment with that many frames before and after. What the
segment's cut ends spoil lies within the halo and is dropped; at the take's true ends the segment ends there too, and
the layers mirror the signal just as they do over the whole.

At MusicGen's sizes the convolution looks 3 frames ahead and the upsampler 482 samples, 2402 samples in all, so the
first frame of audio is final with the fifth frame of codes.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from musicgen_bridge.engine.codec_config import CodecConfig
from musicgen_bridge.engine.lstm import LstmState
from musicgen_bridge.engine.quantizer import ResidualQuantizer
from musicgen_bridge.engine.seanet import Conv, ResidualLstm, full_precision, input_span


class CodecStream:
    """The decoder of one batch of takes that grow together."""

    def __init__(self, quantizer: ResidualQuantizer, decoder: nn.Sequential, config: CodecConfig, batch: int) -> None:
        self._quantizer = quantizer
        self._batch = batch
        self._entry = _Segments(decoder[:1], cast(Conv, decoder[0]).out_channels, hop=1)
        self._lstm = cast(ResidualLstm, decoder[1])
        self._state: LstmState | None = None
        self._upsampler = _Segments(decoder[2:], config.audio_channels, config.hop)
        self._ended = False

    @torch.no_grad()
    @full_precision()
    def push(self, codes: Tensor, last: bool = False) -> Tensor:
        """Take the next `codes` [B, K, k] and return the audio [B, C, n] that has become final; n may be 0.

        With `last` the take ends after these codes (k may be 0) and the rest of its T * hop samples comes out.
        Raises ValueError after the last push, and where the batch is not the stream's.
        """
        if self._ended or codes.shape[0] != self._batch:
            raise ValueError("a stream takes the codes of its own batch, and none after the last")
        self._ended = last
        return self.advance(self._quantizer.decode(codes), last)

    @torch.no_grad()
    @full_precision()
    def advance(self, latents: Tensor, last: bool = False) -> Tensor:
        """Return the audio that has become final with the codes' `latents` [B, D, k], as `push`."""
        x = self._entry.push(latents, last)
        if x.shape[-1]:
            x, self._state = self._lstm.advance(x, self._state)
        return self._upsampler.push(x, last)

    @property
    def steady(self) -> bool:
        """Whether another push that is not the last would leave as many frames held as there are now."""
        return not self._ended and self._entry.steady and self._upsampler.steady

    @property
    def held(self) -> list[Tensor]:
        """All that a push depends on beside its codes, once the stream is `steady`; it can be set."""
        assert self._entry.held is not None and self._upsampler.held is not None and self._state is not None
        return [self._entry.held, self._upsampler.held, *self._state]

    @held.setter
    def held(self, tensors: list[Tensor]) -> None:
        self._entry.held, self._upsampler.held, outputs, memories = tensors
        self._state = outputs, memories


class _Segments:
    """Layers that look `halo` frames to both sides, run over overlapping segments of a signal that still grows."""

    def __init__(self, layers: nn.Sequential, channels: int, hop: int) -> None:
        self._layers = layers
        self._channels = channels
        self._hop = hop
        # The output of frame 0 is [0, hop) and depends on input frames [start, stop).
        start, stop = input_span(layers, 0, hop)
        self._halo = max(-start, stop - 1)
        self.held: Tensor | None = None  # [B, C, n]: the halo of the next frame, then the frames not final yet
        self._done = 0  # how many of the held frames are final

    @property
    def steady(self) -> bool:
        """Whether there is a whole halo before and after the next frame."""
        return self.held is not None and (self._done, self.held.shape[-1]) == (self._halo, 2 * self._halo)

    def push(self, x: Tensor, last: bool) -> Tensor:
        """Take the frames `x` [B, C, k] and return the output [B, C', m * hop] of the m frames that are now final."""
        held = x if self.held is None else torch.cat((self.held, x), dim=-1)
        done, ready = self._done, held.shape[-1] - (0 if last else self._halo)
        if ready <= done:
            self.held = held
            return x.new_empty(x.shape[0], self._channels, 0)
        drop = max(0, ready - self._halo)
        self.held, self._done = held[..., drop:], ready - drop
        return self._layers(held)[..., done * self._hop : ready * self._hop]
