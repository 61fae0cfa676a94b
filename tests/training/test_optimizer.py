"""The optimizer must do what its paper says, and the schedule must end low."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from training.optimizer import Optimizer, orthogonalize, trapezoid


@pytest.mark.parametrize("shape", [(64, 64), (256, 64), (64, 256)])
def test_updates_are_nearly_orthogonal(shape):
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalize(torch.randn(3, *shape)))
    assert values.quantile(0.05) > 0.4
    assert values.max() < 1.4


def test_it_fits_a_line_through_a_deep_net():
    torch.manual_seed(0)
    blocks = nn.Sequential(nn.Linear(16, 16, bias=False), nn.GELU(), nn.Linear(16, 16, bias=False))
    model = nn.Sequential(blocks, nn.Linear(16, 1))
    optimizer = Optimizer(model, blocks)
    x = torch.randn(256, 16)
    y = x[:, :1] * 2 + 1
    losses = []
    for step in range(200):
        loss = (model(x) - y).pow(2).mean()
        loss.backward()
        optimizer.step(trapezoid(step, step / 200, warm=10))
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 50


def run(optimizer: Optimizer, model: nn.Module, steps: int) -> torch.Tensor:
    """Take steps towards magnitudes, whose gradients have full rank, and return all weights."""
    x = torch.randn(256, 16, generator=torch.Generator().manual_seed(1))
    for _ in range(steps):
        (model(x) - x.abs()).pow(2).mean().backward()
        optimizer.step(1.0)
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_a_run_goes_on_from_its_moments():
    torch.manual_seed(0)
    blocks = nn.Sequential(nn.Linear(16, 16, bias=False), nn.GELU(), nn.Linear(16, 16, bias=False))
    model = nn.Sequential(blocks, nn.Linear(16, 16))
    optimizer = Optimizer(model, blocks)
    run(optimizer, model, 20)
    ends = []
    for keep in (True, False):
        twin = copy.deepcopy(model)
        resumed = Optimizer(twin, twin[0])
        if keep:
            resumed.load(optimizer.state())
        ends.append(run(resumed, twin, 1))
    unbroken = run(optimizer, model, 1)
    assert (ends[0] - unbroken).norm() < 0.1 * (ends[1] - unbroken).norm()


def test_the_schedule_rises_holds_and_falls():
    assert trapezoid(0, 0.0) < 0.01
    assert trapezoid(1000, 0.3) == 1
    assert trapezoid(1000, 0.7) == pytest.approx(0.51)
    assert trapezoid(1000, 1.0) == pytest.approx(0.02)
