"""CUDA graphs of the step, which run where our own kernels don't, against the plain step, where there is CUDA."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from musicgen_bridge.engine import Engine, Row, Sampling
from musicgen_bridge.engine import engine as engine_module
from musicgen_bridge.errors import CancelledError, InternalError
from musicgen_bridge.settings import STARTER

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")]
ROWS = [Row("techno, 120 BPM", 1), Row("", 2)]


@pytest.mark.parametrize("sampling", [Sampling(temperature=0), Sampling(), Sampling(top_p=0.9, guidance=1.0)], ids=str)
def test_graphs_draw_the_codes_of_the_plain_step(sampling: Sampling, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine.load(STARTER, "cuda", "float32")
    graphed = engine.generate(ROWS, 12.0, sampling=sampling)  # through several lengths of attention
    plainly = engine_module.decode
    monkeypatch.setattr(engine_module, "decode", lambda *every, **rest: plainly(*every, **rest, plainly=True))
    assert np.array_equal(graphed.codes, engine.generate(ROWS, 12.0, sampling=sampling).codes)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_same_take_again_whatever_came_between(dtype: str) -> None:
    engine = Engine.load(STARTER, "cuda", dtype, fast=False)
    first = engine.generate(ROWS, 12.0, sampling=Sampling())
    engine.generate(ROWS[:1], 2.0, sampling=Sampling())
    assert np.array_equal(first.audio, engine.generate(ROWS, 12.0, sampling=Sampling()).audio)


def test_a_cancel_leaves_a_usable_engine() -> None:
    engine = Engine.load(STARTER, "cuda", "float32")
    wanted = engine.generate(ROWS, 2.0, sampling=Sampling()).codes

    def stop(done: int, total: int) -> None:
        if done == 40:
            raise CancelledError("cancelled")

    with pytest.raises(CancelledError):
        engine.generate(ROWS, 6.0, sampling=Sampling(), on_step=stop)
    assert np.array_equal(engine.generate(ROWS, 2.0, sampling=Sampling()).codes, wanted)


def test_another_buffer_of_noise_is_refused_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine.load(STARTER, "cuda", "float32")

    class Careless(engine_module.Noise):
        def __call__(self) -> torch.Tensor:
            return super().__call__().clone()

    monkeypatch.setattr(engine_module, "Noise", Careless)
    with pytest.raises(InternalError, match="another buffer"):
        engine.generate(ROWS, 2.0, sampling=Sampling())
