"""Muon for the blocks' matrices and AdamW for everything else, with one trapezoidal schedule."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import nn

# Newton-Schulz quintic of Jordan et al. (2024), https://kellerjordan.github.io/posts/muon/
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalize(gradients: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """Return the nearest semi-orthogonal matrices of [N, rows, columns], roughly: singular values 0.7 to 1.2."""
    a, b, c = COEFFICIENTS
    x = gradients.bfloat16()
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return (x.mT if tall else x).to(gradients.dtype)


class Muon:
    """Momentum whose update is orthogonalized; matrices of one shape go together."""

    def __init__(
        self, matrices: Iterable[nn.Parameter], rate: float, momentum: float = 0.95, decay: float = 0.01
    ) -> None:
        groups: dict[torch.Size, list[torch.Tensor]] = {}
        for matrix in matrices:
            groups.setdefault(matrix.shape, []).append(matrix)
        self.groups = list(groups.values())
        self.buffers = [torch.zeros(len(g), *g[0].shape, device=g[0].device) for g in self.groups]
        self.rate, self.momentum, self.decay = rate, momentum, decay

    @torch.no_grad()
    def step(self, scale: float) -> None:
        """Update every matrix with its gradient at `scale` times the rate."""
        for group, buffer in zip(self.groups, self.buffers, strict=True):
            gradients = torch.stack([cast(torch.Tensor, matrix.grad) for matrix in group])
            buffer.lerp_(gradients, 1 - self.momentum)
            updates = gradients.lerp(buffer, self.momentum)
            n, rows, columns = updates.shape
            if rows == 3 * columns:  # queries, keys and values are three matrices
                updates = orthogonalize(updates.reshape(3 * n, columns, columns)).reshape(n, rows, columns)
            else:
                updates = orthogonalize(updates) * max(1, rows / columns) ** 0.5
            torch._foreach_mul_(group, 1 - self.rate * scale * self.decay)
            torch._foreach_add_(group, list(updates.unbind(0)), alpha=-self.rate * scale)


class Optimizer:
    """Both optimizers; `step` takes the schedule's factor."""

    def __init__(self, model: nn.Module, blocks: nn.Module, muon_rate: float = 0.02, adam_rate: float = 2e-3) -> None:
        matrices = [p for p in blocks.parameters() if p.ndim == 2]
        chosen = {id(p) for p in matrices}
        self.rest = [p for p in model.parameters() if p.requires_grad and id(p) not in chosen]
        self.parameters = [*matrices, *self.rest]
        fused = self.rest[0].device.type == "cuda"
        self.adam = torch.optim.AdamW(self.rest, adam_rate, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.0, fused=fused)
        self.muon = Muon(matrices, muon_rate)
        self.adam_rate = adam_rate

    def step(self, scale: float) -> None:
        """Clip to norm 1, update at `scale` times the rates, and drop the gradients."""
        nn.utils.clip_grad_norm_(self.parameters, 1.0, foreach=True)
        for group in self.adam.param_groups:
            group["lr"] = self.adam_rate * scale
        self.adam.step()
        self.muon.step(scale)
        for parameter in self.parameters:
            parameter.grad = None

    def state(self) -> dict[str, torch.Tensor]:
        """Return the moments in bfloat16 and AdamW's count of steps, as `load` takes them."""
        state = {f"muon.{i}": buffer.bfloat16() for i, buffer in enumerate(self.muon.buffers)}
        for i, moments in self.adam.state_dict()["state"].items():
            state |= {f"adam.{i}.{name}": m if name == "step" else m.bfloat16() for name, m in moments.items()}
        return state

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from the moments that `state` gave for a model of the same shapes."""
        for i, buffer in enumerate(self.muon.buffers):
            buffer.copy_(state[f"muon.{i}"])
        own = self.adam.state_dict()
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in state.items():
            if name.startswith("adam."):
                _, parameter, moment = name.split(".")
                moments.setdefault(int(parameter), {})[moment] = value
        self.adam.load_state_dict({**own, "state": moments})


def trapezoid(step: int, progress: float, warm: int = 150, hold: float = 0.4) -> float:
    """Return the schedule's factor: up over `warm` steps, flat, then linearly down to 2 % from `hold` of the way on."""
    down = 1.0 if progress < hold else 1 - 0.98 * (progress - hold) / (1 - hold)
    return min(1.0, (step + 1) / warm) * max(down, 0.02)
