"""Weights rounded to float16 and int8 on the CPU: how far that goes, and that a take stays the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_parity import our_logits, random_sequence
from twins import STARTER, Twin

from musicgen_bridge.engine import Engine, Row, Sampling
from musicgen_bridge.engine.linear import roundings

BOUNDS = {"float16": (torch.float16, 2e-3), "int8": (torch.int8, 0.1)}
"""The weights' dtype, and the RMS of what logits are off, as a part of their own."""


@pytest.fixture(params=BOUNDS)
def dtype(request: pytest.FixtureRequest) -> str:
    if request.param not in roundings():
        pytest.skip("this CPU can't multiply it with float32")
    return request.param


def test_logits_stay_within_the_bound_of_float32(text: Twin, dtype: str) -> None:
    kind, bound = BOUNDS[dtype]
    rounded = Engine.load(text.folder, "cpu", dtype)
    assert rounded.dtype == kind
    assert rounded._model.dtype == torch.float32
    sequence = random_sequence(text, 40)
    exact = our_logits(text, sequence, None)
    close = our_logits(Twin(text.folder, text.model, rounded, text.tokenizer), sequence, None)
    assert 0 < (exact - close).square().mean().sqrt() < bound * exact.square().mean().sqrt()


def test_a_take_is_the_same_again_and_beside_another(dtype: str) -> None:
    engine, sampling = Engine.load(STARTER, "cpu", dtype), Sampling()
    row, other = Row("drums", 4), Row("piano", 5)
    alone, again = (engine.generate([row], 0.3, sampling=sampling) for _ in range(2))
    assert np.array_equal(alone.audio, again.audio)
    assert np.array_equal(engine.generate([row, other], 0.3, sampling=sampling).codes[:1], alone.codes)


def test_auto_is_float16_where_the_cpu_can_and_float32_where_it_can_not() -> None:
    assert Engine.load(STARTER, "cpu").dtype == (torch.float16 if "float16" in roundings() else torch.float32)
