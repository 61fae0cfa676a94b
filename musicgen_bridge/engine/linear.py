"""Linear maps, each in the form that its device reads fastest: a step reads every weight and computes little."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from musicgen_bridge.engine import kernels

Linear = Callable[[Tensor], Tensor]
"""[..., in] to [..., out]."""


def linear(weight: Tensor, dtype: torch.dtype, packed: bool = False) -> Linear:
    """Return the map x ↦ x Wᵀ of `weight` [out, in], for x of `dtype`.

    A weight that is stored in float16 stays so where the CPU can multiply it with float32: nothing is lost, and half as
    many bytes are read. `packed` asks for the order that our kernels read, where the weight has a size that allows it.
    """
    if packed and kernels.packable(*weight.shape):
        return Packed(weight.to(dtype))
    if (weight.dtype, dtype, weight.device.type) == (torch.float16, torch.float32, "cpu") and _HAS_FBGEMM:
        return Halved(weight)
    return Dense(weight.to(dtype))


class Dense:
    """The plain map."""

    def __init__(self, weight: Tensor) -> None:
        wide = weight.device.type == "cpu" and weight.shape[0] > weight.shape[1]
        # For a few rows the CPU reads a wide weight faster by its columns.
        self.weight = weight.t().contiguous().t() if wide else weight

    def __call__(self, x: Tensor) -> Tensor:
        """Return x Wᵀ."""
        return F.linear(x, self.weight)


class Packed:
    """The map of a weight that lies in the order of our kernels; called outside them, it is put in order first."""

    def __init__(self, weight: Tensor) -> None:
        self.packed = kernels.pack(weight)

    @property
    def weight(self) -> Tensor:
        """The weight [out, in]."""
        return kernels.unpack(self.packed)

    def __call__(self, x: Tensor) -> Tensor:
        """Return x Wᵀ."""
        return F.linear(x, self.weight)


class Halved:
    """The map of a float16 weight [out, in] on float32, through FBGEMM."""

    def __init__(self, weight: Tensor) -> None:
        self._packed = torch.ops.quantized.linear_prepack_fp16(weight.float(), None)

    def __call__(self, x: Tensor) -> Tensor:
        """Return x Wᵀ, summed in float32."""
        product: Tensor = torch.ops.quantized.linear_dynamic_fp16(x, self._packed)
        return product


_HAS_FBGEMM = torch.backends.quantized.engine in ("fbgemm", "x86")
