"""The order in which a kernel reads a weight: as the registers of a tensor core's operand hold it."""

from __future__ import annotations

from torch import Tensor


def packable(out: int, into: int) -> bool:
    """Whether a weight [out, into] divides into the operand's tiles."""
    return out % 8 == 0 and into % 64 == 0


def pack(weight: Tensor) -> Tensor:
    """Return `weight` [..., N, K] as [..., N / 8, K / 32, 8, 4, 2, 2, 2]: eight outputs, four lanes of eight k each.

    Of a lane's four pairs of k the two in the middle change places: the first two that come are one product's.
    """
    *batch, n, k = weight.shape
    tiles = weight.view(*batch, n // 8, 8, k // 32, 4, 2, 2, 2)
    return tiles.transpose(-6, -5).transpose(-3, -2).contiguous()


def unpack(packed: Tensor) -> Tensor:
    """Return the weight [..., N, K] that `pack` took."""
    *batch, n, k, _, _, _, _, _ = packed.shape
    return packed.transpose(-3, -2).transpose(-6, -5).reshape(*batch, n * 8, k * 32)
