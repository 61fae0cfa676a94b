"""A codec's stream on CUDA: pushes that are alike as one CUDA graph, where each is some fifty launches."""

from __future__ import annotations

import torch
from torch import Tensor

from musicgen_bridge.engine.codec_stream import CodecStream
from musicgen_bridge.engine.quantizer import ResidualQuantizer


class GraphedStream:
    """Decodes as `CodecStream` does.

    It runs on the stream of the steps: their kernel takes the whole device, so on one of its own each of the codec's
    launches would wait for a step to end.
    """

    def __init__(self, stream: CodecStream, quantizer: ResidualQuantizer) -> None:
        self._stream = stream
        self._quantizer = quantizer
        self._codes: Tensor | None = None  # [B, K, k] of the pushes that are alike
        self._graph: torch.cuda.CUDAGraph | None = None
        self._audio: Tensor

    def push(self, codes: Tensor, last: bool = False) -> Tensor:
        """Take the next `codes` [B, K, k] and return the audio [B, C, n] that has become final, as `CodecStream`.

        In a graph codes are not looked at: they must lie within their codebooks.
        """
        codes = codes.to(self._quantizer.embed.device)
        if last or not self._stream.steady:
            return self._stream.push(codes, last)
        if self._codes is None or self._codes.shape != codes.shape:
            self._codes, self._graph = codes.clone(), None
            return self._stream.push(codes)  # which also readies every library for the capture
        self._codes.copy_(codes)
        if self._graph is None:
            self._graph = self._captured(self._codes)
        self._graph.replay()
        return self._audio.clone()

    def _captured(self, codes: Tensor) -> torch.cuda.CUDAGraph:
        graph, held = torch.cuda.CUDAGraph(), [each.clone() for each in self._stream.held]
        self._stream.held = held
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self._audio = self._stream.advance(self._quantizer.latents(codes))
            for to, after in zip(held, self._stream.held, strict=True):
                to.copy_(after)
        self._stream.held = held
        return graph
