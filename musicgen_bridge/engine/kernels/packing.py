"""The order in which a kernel reads a weight: as the registers of a tensor core's operand hold it."""

from __future__ import annotations

from torch import Tensor


def packable(out: int, into: int) -> bool:
    """Whether a weight [out, into] divides into the operand's tiles."""
    return out % 8 == 0 and into % 64 == 0


def pack(weight: Tensor) -> Tensor:
    """Return `weight` [..., N, K] as [..., N / 8, K / 32, 8, 4, 8]: eight outputs, four lanes of eight k each."""
    *batch, n, k = weight.shape
    return weight.view(*batch, n // 8, 8, k // 32, 4, 8).transpose(-4, -3).contiguous()


def unpack(packed: Tensor) -> Tensor:
    """Return the weight [..., N, K] that `pack` took."""
    *batch, n, k, _, _, _ = packed.shape
    return packed.transpose(-4, -3).reshape(*batch, n * 8, k * 32)
