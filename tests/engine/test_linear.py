"""The forms of a linear map against the plain product."""

from __future__ import annotations

import pytest
import torch

from musicgen_bridge.engine.linear import Dense, SmallHalved, computed, linear, roundings
from musicgen_bridge.errors import ArgumentError

needs_int8 = pytest.mark.skipif("int8" not in roundings(), reason="needs FBGEMM and a CPU with VNNI")
SHAPES = [(96, 32), (32, 96), (32, 32)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("stored", [torch.float32, torch.float16])
def test_a_map_is_the_product_in_float32(shape: tuple[int, int], stored: torch.dtype) -> None:
    weight, x = torch.randn(shape).to(stored), torch.randn(2, 3, shape[1])
    wanted = x.double() @ weight.double().T
    assert (linear(weight, torch.float32)(x) - wanted).abs().max() < 1e-6 * wanted.abs().max()


def test_only_what_is_stored_in_half_precision_stays_so() -> None:
    assert isinstance(linear(torch.randn(4, 4), torch.float32), Dense)
    assert isinstance(linear(torch.randn(4, 4).bfloat16(), torch.float32), Dense)
    half = linear(torch.randn(4, 4).half(), torch.float32)
    assert isinstance(half, SmallHalved if torch.backends.quantized.engine in ("fbgemm", "x86") else Dense)


def test_another_dtype_is_computed_in() -> None:
    assert linear(torch.randn(4, 4), torch.bfloat16)(torch.randn(1, 4).bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("shape", [*SHAPES, (2048, 1024)])
def test_a_weight_rounded_to_float16_is_multiplied_in_float32(shape: tuple[int, int]) -> None:
    """Both entries of FBGEMM, the one for small weights and the other."""
    weight, x = torch.randn(shape), torch.randn(2, 3, shape[1])
    wanted = x.double() @ weight.half().double().T
    product = linear(weight, torch.float32, rounding="float16")(x)
    error = (product - wanted).abs().max() / wanted.abs().max()
    assert error < (2e-6 if "float16" in roundings() else 1e-3)


def test_what_is_not_there_is_refused() -> None:
    cuda = torch.device("cuda")
    with pytest.raises(ArgumentError, match="no int8 on this machine's cuda without our kernels"):
        computed("int8", cuda, fast=False)
    with pytest.raises(ArgumentError, match="no int8 on this machine's mps: leave"):
        computed("int8", torch.device("mps"))
    with pytest.raises(ArgumentError, match="no dtype 'int4': choose auto or one of float32"):
        computed("int4", cuda, fast=False)
    assert computed("auto", cuda, fast=False) == (torch.float16, "none")


def test_a_weight_beyond_float16_is_not_rounded() -> None:
    assert isinstance(linear(torch.full((4, 4), 7e4), torch.float32, rounding="float16"), Dense)


@needs_int8
@pytest.mark.parametrize("shape", SHAPES)
def test_int8_rounds_each_row_by_its_own_scale(shape: tuple[int, int]) -> None:
    """Half a step of 1 / 127 of the largest, of the row of x and of the row of the weight."""
    weight, x = torch.randn(shape), torch.randn(2, 3, shape[1]) * torch.tensor([[1.0], [1e-3], [1e3]])
    error = (linear(weight, torch.float32, rounding="int8")(x) - x @ weight.T).abs()
    size_x, size_w = x.abs().amax(-1, keepdim=True), weight.abs().amax(-1)
    most = (x.abs().sum(-1, keepdim=True) * size_w + size_x * weight.abs().sum(-1)) / 254
    assert error.max() > 0
    assert (error <= 1.1 * most).all()


@needs_int8
def test_in_int8_a_row_is_what_it_is_alone() -> None:
    product = linear(torch.randn(64, 32), torch.float32, rounding="int8")
    x = torch.randn(5, 32) * torch.tensor([1.0, 100, 1e-2, 0, 7])[:, None]
    assert torch.equal(product(x), torch.cat([product(row[None]) for row in x]))
    assert not product(x)[3].any()
