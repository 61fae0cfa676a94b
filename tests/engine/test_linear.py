"""The forms of a linear map against the plain product."""

from __future__ import annotations

import pytest
import torch

from musicgen_bridge.engine.linear import Dense, Halved, linear

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
    assert isinstance(half, Halved if torch.backends.quantized.engine in ("fbgemm", "x86") else Dense)


def test_another_dtype_is_computed_in() -> None:
    assert linear(torch.randn(4, 4), torch.bfloat16)(torch.randn(1, 4).bfloat16()).dtype == torch.bfloat16
