"""Whole takes with the step as one kernel of our own, where there is a GPU that takes it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from musicgen_bridge.engine import Engine, Melody, Row, Sampling, kernels
from musicgen_bridge.engine import engine as engine_module
from musicgen_bridge.engine.fused import FusedStep
from musicgen_bridge.errors import ArgumentError, CancelledError
from musicgen_bridge.settings import STARTER

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available() or not kernels.available(torch.device("cuda:0")),
        reason="needs CUDA, Ampere or later",
    ),
]


def test_renders_with_the_kernel_and_gives_the_same_take_again(monkeypatch: pytest.MonkeyPatch) -> None:
    launches = []
    plainly = FusedStep.__call__
    monkeypatch.setattr(FusedStep, "__call__", lambda *of: (launches.append(1), plainly(*of))[1])
    tune = Melody(np.sin(np.arange(96_000) * 0.05, dtype=np.float32)[None], 48_000)
    rows = [Row("techno, 120 BPM", 1, tune), Row("", 2)]
    engine = Engine.load(STARTER, "cuda", "float16")
    first = engine.generate(rows, 12.0, sampling=Sampling())
    assert len(launches) >= 12 * engine.frame_rate
    long = engine.generate(rows[:1], 34.0, sampling=Sampling(guidance=1.0))  # through more than one window
    assert long.audio.shape[-1] == 34 * 32_000
    again = engine.generate(rows, 12.0, sampling=Sampling())
    assert np.array_equal(first.audio, again.audio)
    assert np.isfinite(first.audio).all()
    assert np.abs(first.audio).max() > 0.01


def test_off_is_the_portable_path_and_begins_with_the_same_codes() -> None:
    takes = [
        Engine.load(STARTER, "cuda", "float16", fast=fast).generate(
            [Row("techno, 120 BPM", 1)], 1.0, sampling=Sampling(temperature=0)
        )
        for fast in (True, False)
    ]
    assert (takes[0].codes == takes[1].codes)[..., :4].mean() > 0.8  # until rounding once decides a close call


def test_a_cancel_leaves_a_usable_engine() -> None:
    engine = Engine.load(STARTER, "cuda", "float16")
    wanted = engine.generate([Row("techno", 1)], 2.0, sampling=Sampling()).codes

    def stop(done: int, total: int) -> None:
        if done == 40:
            raise CancelledError("cancelled")

    with pytest.raises(CancelledError):
        engine.generate([Row("techno", 1)], 6.0, sampling=Sampling(), on_step=stop)
    assert np.array_equal(engine.generate([Row("techno", 1)], 2.0, sampling=Sampling()).codes, wanted)


def test_two_steps_are_one_to_the_kernel() -> None:
    engine = Engine.load(STARTER, "cuda", "float16")
    rows = [Row("techno, 120 BPM", 1), Row("", 2)]
    known = np.sin(np.arange(16_000) * 0.05, dtype=np.float32)[None] * 0.3
    one, two = (
        engine.generate(rows, 1.0, sampling=Sampling(two_step=two_step), continue_from=known).codes
        for two_step in (False, True)
    )
    assert np.array_equal(one, two)


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_the_plain_step_runs_on_the_same_weights(monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    engine = Engine.load(STARTER, "cuda", dtype)
    fused = engine.generate([Row("techno", 1)], 0.5, sampling=Sampling(temperature=0)).codes
    decode = engine_module.decode
    monkeypatch.setattr(engine_module, "decode", lambda *every, **rest: decode(*every, **rest, plainly=True))
    plain = engine.generate([Row("techno", 1)], 0.5, sampling=Sampling(temperature=0)).codes
    assert (fused == plain)[..., :4].mean() > 0.8  # until rounding once decides a close call


def test_in_int8_the_weights_are_bytes_and_a_take_is_the_same_again() -> None:
    engine = Engine.load(STARTER, "cuda", "int8")
    assert engine.dtype == torch.int8
    packed = engine._model.weights.layers[0].up.packed  # type: ignore[attr-defined]
    assert packed.dtype == torch.uint8
    first, again = (engine.generate([Row("techno, 120 BPM", 1)], 4.0, sampling=Sampling()) for _ in range(2))
    assert np.array_equal(first.codes, again.codes)
    assert np.isfinite(first.audio).all()
    assert np.abs(first.audio).max() > 0.01


def test_without_our_kernels_there_is_no_int8() -> None:
    with pytest.raises(ArgumentError, match="without our kernels: leave dtype at auto"):
        Engine.load(STARTER, "cuda", "int8", fast=False)
