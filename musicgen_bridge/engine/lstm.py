"""A long short-term memory (Hochreiter and Schmidhuber 1997) on the CPU, cell by cell."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LstmState = tuple[Tensor, Tensor]
"""Outputs and memories of every layer, [L, B, C] each."""


class _Layer(NamedTuple):
    into: Tensor  # [4 * C, C_in], and its bias [4 * C]: input, forget and output gate, then the candidate
    bias: Tensor
    recurrent: Tensor  # [C, 4 * C]


class Cells:
    """What `nn.LSTM` computes, of the same weights, which must not change any more.

    torch has oneDNN put the weights in order anew at each call, which costs as much as many time steps.
    """

    def __init__(self, lstm: nn.LSTM) -> None:
        self._layers = [_layer(lstm, index) for index in range(lstm.num_layers)]

    def __call__(self, x: Tensor, state: LstmState | None) -> tuple[Tensor, LstmState]:
        """Return the last layer's outputs [T, B, C] of `x` [T, B, C_in] after `state`, and the state after them."""
        size, rows = len(self._layers[0].recurrent), x.shape[1]
        if state is None:
            state = (x.new_zeros(len(self._layers), rows, size), x.new_zeros(len(self._layers), rows, size))
        outputs, memories = [], state[1].clone()
        for layer, output, memory in zip(self._layers, state[0], memories, strict=True):
            x = _advance(layer, x, output, memory)
            outputs.append(x[-1])
        return x, (torch.stack(outputs), memories)


def _layer(lstm: nn.LSTM, index: int) -> _Layer:
    """Return a layer with its gates in our order; torch's is input, forget, candidate, output."""

    def ordered(name: str) -> Tensor:
        gate: Tensor = getattr(lstm, f"{name}_l{index}").detach()
        first, forget, candidate, output = gate.chunk(4)
        return torch.cat([first, forget, output, candidate])

    bias = ordered("bias_ih") + ordered("bias_hh")
    return _Layer(ordered("weight_ih"), bias, ordered("weight_hh").t().contiguous())


def _advance(layer: _Layer, x: Tensor, output: Tensor, memory: Tensor) -> Tensor:
    """Return the outputs [T, B, C] of `x` [T, B, C_in] after `output` [B, C]; writes `memory` [B, C]."""
    size = len(layer.recurrent)
    every = F.linear(x, layer.into, layer.bias)  # [T, B, 4 * C]
    outputs = every.new_empty(*x.shape[:2], size)
    for gates, place in zip(every.unbind(), outputs.unbind(), strict=True):
        gates.addmm_(output, layer.recurrent)
        opened, forget, shown = gates[:, : 3 * size].sigmoid_().split(size, dim=1)
        memory.mul_(forget).addcmul_(opened, gates[:, 3 * size :].tanh_())
        output = torch.mul(shown, memory.tanh(), out=place)
    return outputs
