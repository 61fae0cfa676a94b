"""From logits to codes: guidance, temperature, top-k, top-p, and a draw that depends on the row's seed alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Draw = Callable[[], Tensor]
"""Gives the noise [B, K, V] of a step, exponentially distributed with rate 1."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How codes are drawn; the defaults are audiocraft's."""

    temperature: float = 1.0
    """0 takes the likeliest code."""
    top_k: int = 250
    """0 is off; 1 takes the likeliest code."""
    top_p: float = 0.0
    """0 and 1 are off."""
    guidance: float = 3.0
    """Classifier-free guidance scale (Ho and Salimans 2022); 1 is off."""
    two_step: bool = False
    """Whether conditioned rows and null rows go through the decoder one after the other; the codes are the same."""

    @property
    def greedy(self) -> bool:
        """Whether the likeliest code is always taken."""
        return self.temperature == 0 or self.top_k == 1


class Noise:
    """Each row's noise from a generator of its own, so that a take does not depend on its neighbours.

    For a batch of one the draws are those of transformers' `generate` after `torch.manual_seed(seed)` on the same
    device.
    """

    def __init__(self, seeds: Sequence[int], codebooks: int, vocab: int, device: torch.device) -> None:
        self._generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self._buffer = torch.empty(len(seeds), codebooks, vocab, device=device)

    @classmethod
    def together(cls, each: Sequence[Noise]) -> Noise:
        """Return the noise of several batches as one; every row goes on from where its generator is."""
        joined = cls.__new__(cls)
        joined._generators = [generator for noise in each for generator in noise._generators]
        joined._buffer = torch.cat([noise._buffer for noise in each])
        return joined

    def __call__(self) -> Tensor:
        """Return the next noise [B, K, V], in a buffer that the next call writes again."""
        for row, generator in zip(self._buffer, self._generators, strict=True):
            row.exponential_(generator=generator)
        return above_zero(self._buffer) if self._buffer.device.type == "mps" else self._buffer


def above_zero(noise: Tensor) -> Tensor:
    """Return `noise`, changed where it is zero, as MPS makes one in thirty million (pytorch issue 192577).

    A code that was ruled out has p = 0, and argmax takes the NaN of 0 / 0 for the largest.
    """
    return noise.clamp_(min=torch.finfo(noise.dtype).tiny)


def sample(logits: Tensor, sampling: Sampling, noise: Tensor | None) -> Tensor:
    """Return codes [..., K] drawn from guided `logits` [..., K, V]; `noise` of that shape may be None if greedy.

    argmax(p / noise) with exponential noise is a draw from p, and the one that `torch.multinomial` makes of it.
    """
    if sampling.greedy or noise is None:
        return logits.argmax(-1)
    logits = logits / sampling.temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        least = logits.topk(sampling.top_k, sorted=False).values.amin(-1, keepdim=True)
        logits = logits.masked_fill(logits < least, -torch.inf)
    if 0 < sampling.top_p < 1:
        logits = _nucleus(logits, sampling.top_p)
    return (logits.softmax(-1) / noise).argmax(-1)


def guide(logits: Tensor, rows: int, guidance: float) -> Tensor:
    """Return the logits [B, K, V] of `rows` B conditioned rows, moved away from the null rows that may follow them."""
    conditioned, null = logits[:rows], logits[rows:]
    return null + (conditioned - null) * guidance if len(null) else conditioned


def _nucleus(logits: Tensor, top_p: float) -> Tensor:
    """Return `logits` [..., V] with all but the likeliest codes that together reach `top_p` at -inf."""
    ordered, order = logits.sort(dim=-1)
    dropped = ordered.softmax(-1).cumsum(-1) <= 1 - top_p
    dropped[..., -1] = False
    return logits.masked_fill(dropped.scatter(-1, order, dropped), -torch.inf)
