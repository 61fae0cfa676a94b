"""The order in which a kernel reads a weight: as the registers of a tensor core's operand hold it."""

from __future__ import annotations

import torch
from torch import Tensor

_BRICK = 64
"""Of k, which a warp takes at once and which have one scale in int8."""


def packable(out: int, into: int) -> bool:
    """Whether a weight [out, into] divides into the operand's tiles."""
    return out % 8 == 0 and into % _BRICK == 0


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


def pack_int8(weight: Tensor) -> Tensor:
    """Return `weight` [N, K] rounded to bricks [N / 8, K / 64, 16 + 512] of bytes, each 64 k of an output by one scale.

    A brick is the scales of its eight outputs, float16, and then, for each lane, its sixteen weights in `pack`'s order
    with 128 added. A scale has seven bits at most, so that 1152 times it is a float16: then the kernel makes a float16
    of a byte with one fused multiply-add. The error is at most half a scale, 1/254 to 1/250 of the largest of the 64,
    beside a float16's own.
    """
    n, k = weight.shape
    groups = weight.float().view(n, k // _BRICK, _BRICK)
    scale = (groups.abs().amax(-1) * (2**24 / 127)).ceil()  # in the least steps of a float16
    mantissa, exponent = torch.frexp(scale)
    scale = torch.ldexp((mantissa * 2**7).ceil(), exponent - 7 - 24).clamp(max=56)  # [N, K / 64]
    rounded = (groups / scale.clamp(min=2**-24)[..., None]).round_().clamp_(-127, 127) + 128
    lanes = pack(rounded.to(torch.uint8).view(n, k)).view(n // 8, k // _BRICK, 2, 8, 4, 8)
    scales = scale.half().view(n // 8, 8, -1).transpose(1, 2).contiguous()
    return torch.cat([scales.view(torch.uint8), lanes.permute(0, 1, 3, 4, 2, 5).flatten(2)], dim=2)


def unpack_int8(packed: Tensor) -> Tensor:
    """Return the weight [N, K], float16, that the kernel computes with where it is given `pack_int8`'s bricks."""
    n, bricks, _ = packed.shape
    scale = packed[..., :16].contiguous().view(torch.float16).transpose(1, 2).reshape(8 * n, bricks, 1)
    lanes = packed[..., 16:].view(n, bricks, 8, 4, 2, 8).permute(0, 1, 4, 2, 3, 5)
    rounded = unpack(lanes.reshape(n, 2 * bricks, 8, 4, 2, 2, 2)).view(8 * n, bricks, _BRICK)
    return ((rounded.float() - 128) * scale).half().view(8 * n, -1)
