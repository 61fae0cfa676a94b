"""The LSTM on the CPU against torch's."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from musicgen_bridge.engine.lstm import Cells
from musicgen_bridge.engine.seanet import ResidualLstm


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("rows", [1, 3])
@torch.no_grad()
def test_it_is_torchs_from_any_state(layers: int, rows: int) -> None:
    lstm, x = nn.LSTM(24, 24, layers), torch.randn(11, rows, 24)
    cells, state = Cells(lstm), (torch.randn(layers, rows, 24), torch.randn(layers, rows, 24))
    before = [each.clone() for each in state]
    for begin in (None, state):
        (ours, after), (theirs, wanted) = cells(x, begin), lstm(x, begin)
        for one, other in zip((ours, *after), (theirs, *wanted), strict=True):
            assert one.shape == other.shape
            assert (one - other).abs().max() < 1e-6
    assert all(torch.equal(one, other) for one, other in zip(state, before, strict=True))


@torch.no_grad()
def test_in_pieces_it_is_what_it_is_at_once() -> None:
    cells, x = Cells(nn.LSTM(16, 16, 2)), torch.randn(9, 2, 16)
    first, state = cells(x[:4], None)
    rest, end = cells(x[4:], state)
    at_once, wanted = cells(x, None)
    assert (torch.cat([first, rest]) - at_once).abs().max() < 1e-6
    assert all((one - other).abs().max() < 1e-6 for one, other in zip(end, wanted, strict=True))


def test_while_it_is_trained_it_is_torchs() -> None:
    """The cells hold the weights in an order of their own, which a later change would not reach."""
    layer, x = ResidualLstm(8, 1), torch.randn(1, 8, 5)
    layer(x).sum().backward()
    assert layer.lstm.weight_hh_l0.grad is not None
    with torch.no_grad():
        layer(x)
        layer.lstm.weight_hh_l0.mul_(3)
        changed = layer(x)
        layer.requires_grad_(False)
        assert (layer(x) - changed).abs().max() < 1e-6
