"""Linear maps, each in the form that its device reads fastest: a step reads every weight and computes little."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from musicgen_bridge.engine import kernels
from musicgen_bridge.errors import ArgumentError

Linear = Callable[[Tensor], Tensor]
"""[..., in] to [..., out]."""

Rounding = Literal["none", "float16", "int8"]
"""To what the CPU rounds a weight before it multiplies it with float32, or our kernels one that they multiply with
float16."""

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "int8": torch.int8}
_FLOAT16_MAX = 65504.0
_SMALL = 2**20
"""Weights up to which threads would not be worth waking."""


@cache
def roundings() -> tuple[Rounding, ...]:
    """Return to what weights may be rounded on this CPU, which then multiplies them with float32 faster."""
    if torch.backends.quantized.engine not in ("fbgemm", "x86"):
        return ("none",)
    there = torch.cpu.get_capabilities()
    # Without these instructions FBGEMM adds pairs of products in 16 bits, which overflow.
    exact = there.get("avx512_vnni") or there.get("avx_vnni")
    return ("none", "float16", "int8") if exact else ("none", "float16")


def computed(name: str, device: torch.device, fast: bool = True) -> tuple[torch.dtype, Rounding]:
    """Return what the dtype called `name` computes in, and what its weights are rounded to.

    auto is float16 on CUDA, in which MusicGen was trained, and on a CPU that multiplies such weights with float32;
    elsewhere it is float32. Without our kernels, which are `fast`, there is no int8 on CUDA. Raises ArgumentError.
    """
    can: tuple[Rounding, ...] = roundings() if device.type == "cpu" else ("none",)
    if fast and kernels.available(device):
        can = ("none", "int8")
    if name == "auto":
        name = "float16" if device.type == "cuda" or "float16" in can else "float32"
    if name == "int8" and name not in can:
        off = "" if fast else " without our kernels"
        raise ArgumentError(f"There is no int8 on this machine's {device.type}{off}: leave dtype at auto.")
    if name not in DTYPES:
        raise ArgumentError(f"There is no dtype {name!r}: choose auto or one of {', '.join(DTYPES)}.")
    for rounding in can:
        if rounding == name:
            return torch.float32 if device.type == "cpu" else torch.float16, rounding
    return DTYPES[name], "none"


def linear(weight: Tensor, dtype: torch.dtype, packed: bool = False, rounding: Rounding = "none") -> Linear:
    """Return the map x ↦ x Wᵀ of `weight` [out, in], for x of `dtype`.

    A weight that is stored in float16 stays so where the CPU can multiply it with float32: nothing is lost, and half as
    many bytes are read. `packed` asks for the order that our kernels read, where the weight has a size that allows it;
    `rounding` is one of `roundings`, for float32 on the CPU, or int8 for packed weights.
    """
    if packed and kernels.packable(*weight.shape):
        return Packed(weight if rounding == "int8" else weight.to(dtype), rounding=rounding)
    if (dtype, weight.device.type) == (torch.float32, "cpu"):
        if rounding == "int8":
            return Quantized(weight)
        halves = weight.dtype == torch.float16 or (rounding == "float16" and weight.abs().max() <= _FLOAT16_MAX)
        if halves and "float16" in roundings():
            return (SmallHalved if weight.numel() <= _SMALL else Halved)(weight)
    return Dense(weight.to(dtype))


class Dense:
    """The plain map x Wᵀ + b."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        wide = weight.device.type == "cpu" and weight.shape[0] > weight.shape[1]
        # For a few rows the CPU reads a wide weight faster by its columns.
        self.weight = weight.t().contiguous().t() if wide else weight
        self.bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        """Return x Wᵀ + b."""
        return F.linear(x, self.weight, self.bias)


class Packed:
    """The map x Wᵀ + b of a weight in the order of our kernels; called outside them, it is put in order first."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None, rounding: Rounding = "none") -> None:
        """`bias` [out] is float32; of `rounding` int8 alone means something."""
        self.int8 = rounding == "int8"
        self.packed = kernels.pack_int8(weight) if self.int8 else kernels.pack(weight)
        self.bias = bias

    @property
    def weight(self) -> Tensor:
        """The weight [out, in] that is multiplied with; float16 where it is kept in int8."""
        return kernels.unpack_int8(self.packed) if self.int8 else kernels.unpack(self.packed)

    def unpacked(self) -> Dense:
        """Return the same map in plain order, a copy."""
        weight = self.weight
        return Dense(weight, None if self.bias is None else self.bias.to(weight.dtype))

    def __call__(self, x: Tensor) -> Tensor:
        """Return x Wᵀ + b."""
        return self.unpacked()(x)


@contextmanager
def _undeprecated() -> Iterator[None]:
    """Silence what torch says once of FBGEMM's entries: they are there in every version that pyproject.toml allows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Halved:
    """The map of a float16 weight [out, in] on float32, through FBGEMM; a float32 weight is rounded to float16."""

    def __init__(self, weight: Tensor) -> None:
        self._packed = torch.ops.quantized.linear_prepack_fp16(weight.float(), None)

    def __call__(self, x: Tensor) -> Tensor:
        """Return x Wᵀ, summed in float32."""
        product: Tensor = torch.ops.quantized.linear_dynamic_fp16.default(x, self._packed)
        return product


class SmallHalved:
    """The same through FBGEMM's older entry, which uses one thread but takes 10 us less to be called."""

    def __init__(self, weight: Tensor) -> None:
        with _undeprecated():
            self._packed = torch.fbgemm_pack_gemm_matrix_fp16(weight.float())
            self(torch.zeros(1, weight.shape[1]))

    def __call__(self, x: Tensor) -> Tensor:
        """Return x Wᵀ, summed in float32."""
        return torch.fbgemm_linear_fp16_weight_fp32_activation(x, self._packed, None)


class Quantized:
    """The map of an int8 weight [out, in] on float32, through FBGEMM, in integers (Dettmers et al. 2022, LLM.int8()).

    Each row of the weight has its own scale, and so has each row of x: a take does not depend on its neighbours in the
    batch, as it would with torch's dynamic quantization, whose scale is the whole batch's.
    """

    def __init__(self, weight: Tensor) -> None:
        scale = (weight.float().abs().amax(1) / 127).clamp_(min=1e-12)  # [out]
        zeros = torch.zeros(len(weight), dtype=torch.long)
        with _undeprecated():
            whole = torch.quantize_per_channel(weight.float(), scale, zeros, 0, torch.qint8)
            self._packed = torch.ops.quantized.linear_prepack(whole, None)
        self._multiply = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32.default

    def __call__(self, x: Tensor) -> Tensor:
        """Return x Wᵀ."""
        largest = torch.linalg.vector_norm(x, torch.inf, -1, keepdim=True).clamp_(min=1e-12)  # [..., 1]
        product: Tensor = self._multiply(x / largest, 1 / 127, 128, self._packed)  # 1 to 255, 128 for zero
        return product.mul_(largest)
