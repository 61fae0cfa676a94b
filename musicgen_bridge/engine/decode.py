"""The step loop: what is known goes through the decoder at once, then one code of every book a step."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from musicgen_bridge.engine.cache import Cache
from musicgen_bridge.engine.cpu_step import CpuStep
from musicgen_bridge.engine.fused import FusedStep
from musicgen_bridge.engine.graphs import GraphedStep, Pace
from musicgen_bridge.engine.groups import FusedGroups, takes_at_once
from musicgen_bridge.engine.pattern import delay, first_unknown, undelay
from musicgen_bridge.engine.sampler import Draw, Sampling
from musicgen_bridge.engine.step import Step
from musicgen_bridge.engine.transformer import Condition, Transformer
from musicgen_bridge.engine.two_step import TwoPasses

REPEATABLE = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
"""The kinds of attention that give the same result twice; in float16 on an H100 cuDNN's does not."""


class Advance:
    """The steps of one batch, in the form that is fastest where the model is.

    On CUDA a step is our own kernel where it takes the model, in groups of takes where it does not take the batch at
    once; else it is a CUDA graph. `plainly` runs it as other devices do.
    """

    def __init__(
        self,
        model: Transformer,
        condition: Condition,
        sequence: Tensor,
        sampling: Sampling,
        cache: Cache,
        *,
        plainly: bool = False,
    ) -> None:
        on_cuda = model.device.type == "cuda"
        batch = len(sequence)
        size = takes_at_once(model, condition, batch) if on_cuda and not plainly else 0
        self.fused = size > 0
        if on_cuda and not size:
            with suppress(torch.OutOfMemoryError):  # then each step puts its weights in order
                model = model.unpacked()
        if sampling.two_step and not size:  # in the kernel it would save nothing
            model = TwoPasses(model, batch)
        self._step: Step | FusedStep | FusedGroups
        self._run: Callable[[int, Tensor | None], None]
        if not size:
            lean = not plainly and not sampling.two_step and CpuStep.fits(model, condition)
            kind = CpuStep if lean else Step
            self._step = plain = kind(model, condition, sequence, sampling, cache)
            self._run = GraphedStep(plain) if on_cuda and not plainly else plain
        elif size == batch:
            self._run = self._step = FusedStep(model, condition, sequence, sampling, cache)
        else:
            self._run = self._step = FusedGroups(model, condition, sequence, sampling, cache, size)
        self._pace = Pace() if on_cuda else None

    def prefill(self, known: int) -> None:
        """Take in the prefix and the first `known` positions of the sequence."""
        self._step.prefill(known)

    def resume(self, known: int) -> None:
        """Go on after `known` positions: the cache holds them, and the prefix, already."""
        if isinstance(self._step, Step):
            self._step.position.fill_(known)

    def __call__(self, position: int, noise: Tensor | None) -> None:
        """Draw what is unknown at a position of the sequence, the one after the last."""
        self._run(self._step.reach(position), noise)
        if self._pace is not None:
            self._pace()


@torch.inference_mode()
@sdpa_kernel(REPEATABLE)
def decode(
    model: Transformer,
    condition: Condition,
    codes: Tensor,
    sampling: Sampling,
    draw: Draw,
    cache: Cache,
    on_step: Callable[[], None],
    *,
    plainly: bool = False,
    on_codes: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """Return `codes` [B, K, T] with every `UNKNOWN` drawn, calling `on_step` after each step.

    `on_codes` is given the frames [B, K, t] that are whole so far, after each step that has completed one.
    `cache` holds a row for each of the condition's R, and P + T + K / channels - 1 positions. `plainly` is `Advance`'s.
    """
    sequence = delay(codes, model.config.channels, model.config.pad)  # [B, K, S]
    first, lag = first_unknown(sequence), model.config.lag
    advance = Advance(model, condition, sequence, sampling, cache, plainly=plainly)
    advance.prefill(first - 1)
    for position in range(first, sequence.shape[2]):
        advance(position, None if sampling.greedy else draw())
        on_step()
        if on_codes is not None and position > lag:
            on_codes(undelay(sequence[:, :, : position + 1], model.config.channels))
    return undelay(sequence, model.config.channels)
