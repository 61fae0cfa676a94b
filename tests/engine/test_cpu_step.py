"""The step on the CPU against the one that every device can run."""

from __future__ import annotations

import pytest
import torch
from twins import Twin

from musicgen_bridge.engine import Row, Sampling
from musicgen_bridge.engine.cache import Cache
from musicgen_bridge.engine.conditioning import condition, null_chroma
from musicgen_bridge.engine.cpu_step import CpuStep
from musicgen_bridge.engine.step import Step
from musicgen_bridge.engine.transformer import Condition

PROMPT = "lofi hip hop, 85 bpm"
KNOWN, FRAMES = 3, 12


def heard(twin: Twin, *, texts: int, guided: bool = True) -> Condition:
    engine = twin.engine
    chroma = [null_chroma(engine._config.chroma_length, 12)] * texts if engine.family == "melody" else None
    return condition(engine._model, [engine._text(PROMPT), None][:texts], chroma, guided)


def drawn(
    kind: type[Step], twin: Twin, hears: Condition, sampling: Sampling, rows: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the sequence [B, K, KNOWN + FRAMES] and the contents of the cache after `FRAMES` steps."""
    model, c = twin.engine._model, twin.engine._decoder
    cache = Cache.allocate(c, len(hears.prefix), hears.prefix.shape[1] + KNOWN + FRAMES, model.device, model.dtype)
    random = torch.Generator().manual_seed(1)
    sequence = torch.full((rows, c.codebooks, KNOWN + FRAMES), -1)
    sequence[:, :, :KNOWN] = torch.randint(0, c.vocab, (rows, c.codebooks, KNOWN), generator=random)
    sequence[:, 0, KNOWN + 1] = 5  # known already, as in a continuation
    step = kind(model, hears, sequence, sampling, cache)
    step.prefill(KNOWN - 1)
    for position in range(KNOWN, KNOWN + FRAMES):
        noise = torch.empty(rows, c.codebooks, c.vocab).exponential_(generator=random)
        step(step.reach(position), None if sampling.greedy else noise)
    return sequence, cache.data


@pytest.mark.parametrize("guided", [True, False])
@torch.inference_mode()
def test_it_draws_the_codes_of_the_portable_step(each: Twin, guided: bool) -> None:
    hears, sampling = heard(each, texts=1, guided=guided), Sampling(top_k=20)
    assert CpuStep.fits(each.engine._model, hears)
    (ours, our_cache), (portable, cache) = (drawn(kind, each, hears, sampling, 1) for kind in (CpuStep, Step))
    assert torch.equal(ours, portable)
    assert ours[0, 0, KNOWN + 1] == 5
    assert ours.min() >= 0
    assert (our_cache - cache).abs().max() < 1e-5 * cache.abs().max()


@torch.inference_mode()
def test_texts_of_two_lengths_are_masked_in_cross_attention(text: Twin) -> None:
    hears, sampling = heard(text, texts=2), Sampling(temperature=0)
    assert CpuStep.fits(text.engine._model, hears)
    assert hears.cross_mask is not None
    (ours, _), (portable, _) = (drawn(kind, text, hears, sampling, 2) for kind in (CpuStep, Step))
    assert torch.equal(ours, portable)


@torch.inference_mode()
def test_rows_that_hear_the_same_only_at_first_draw_the_codes_of_the_portable_step(melody: Twin) -> None:
    c, sampling = melody.engine._config, Sampling(top_k=20)
    chroma = null_chroma(c.chroma_length, 12)
    chroma[4:8] = chroma[4:8].roll(5, dims=1)  # a melody that begins and ends as no melody does
    hears = condition(melody.engine._model, [melody.engine._text(PROMPT)], [chroma], guided=True)
    assert (hears.prefix[0] == hears.prefix[1]).all(1)[:5].tolist() == [True] * 4 + [False]
    (ours, _), (portable, _) = (drawn(kind, melody, hears, sampling, 1) for kind in (CpuStep, Step))
    assert torch.equal(ours, portable)


@torch.inference_mode()
def test_padded_rows_are_left_to_the_portable_step(melody: Twin) -> None:
    assert not CpuStep.fits(melody.engine._model, heard(melody, texts=2))


def test_a_seed_gives_the_same_take_again(starter: Twin) -> None:
    takes = [starter.engine.generate([Row("drums", 4)], 0.3, sampling=Sampling()) for _ in range(2)]
    assert (takes[0].codes == takes[1].codes).all()
    assert (takes[0].audio == takes[1].audio).all()
