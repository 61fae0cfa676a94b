"""A take that is heard while it grows: its codes go through the codec as they come, beside the take itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from musicgen_bridge.engine.channels import ChannelCodec
from musicgen_bridge.engine.codec import Codec

EVERY = 10
"""Frames of codes that are decoded at once: a fifth of a second."""


class Live:
    """Hands on the first row's audio as soon as it is final; the take itself is decoded anew, as one batch.

    So the same request gives the same samples, whether somebody listens or not.
    """

    def __init__(
        self, codec: Codec, channels: int, before: int, samples: int, on_audio: Callable[[NDArray[np.float32]], None]
    ) -> None:
        """`on_audio` is given [channels, n] of at most `samples`; the first `before` frames of codes are not new."""
        self._stream, self._on_audio = codec.stream(channels, alike=True), on_audio
        self._channels = ChannelCodec(codec, channels)
        self._skip, self._left = before * codec.hop, samples
        self._heard = 0  # frames of codes

    def from_frame(self, start: int) -> Callable[[Tensor], None]:
        """Return what takes the codes [B, K, T] from frame `start` on, all that there are so far, now and again."""

        def hear(codes: Tensor) -> None:
            if start + codes.shape[2] - self._heard >= EVERY:
                self._push(codes[0, :, self._heard - start :], last=False)

        return hear

    def end(self, codes: Tensor) -> None:
        """Take all the codes [B, K, T] of the take: there are no more."""
        self._push(codes[0, :, self._heard :], last=True)

    def _push(self, new: Tensor, *, last: bool) -> None:
        self._heard += new.shape[1]
        audio = self._stream.push(self._channels.apart(new[None]), last=last)[:, 0]  # [C, n]
        skipped = min(self._skip, audio.shape[1])
        audio = audio[:, skipped : skipped + self._left]
        self._skip -= skipped
        self._left -= audio.shape[1]
        if audio.shape[1]:
            self._on_audio(audio.cpu().numpy())
