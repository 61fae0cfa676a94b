"""Takes that join a batch under way and leave it, each beside what it is alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from twins import STARTER, Twin, tone

from musicgen_bridge.engine import Engine, Melody, Row, Sampling
from musicgen_bridge.engine.ensemble import Ensemble, Voice
from musicgen_bridge.engine.take import Draft

SAMPLING = Sampling(temperature=0.9, top_k=40, guidance=2.5)
TUNE = Melody(np.concatenate([tone(hz, 0.2) for hz in (261.63, 329.63, 392.0)], axis=1), 32_000)


def draft(engine: Engine, *rows: Row, seconds: float, sampling: Sampling = SAMPLING, known: int = 0) -> Draft:
    audio = np.random.default_rng(8).normal(0, 0.2, (engine.channels, known * 640)).astype(np.float32)
    return engine.draft(rows, seconds, sampling=sampling, continue_from=audio if known else None)


def alone(engine: Engine, *rows: Row, **keys: object) -> Tensor:
    return engine.codes(draft(engine, *rows, **keys))


def together(
    engine: Engine, drafts: list[Draft], joins: list[int], leaves: dict[int, int] | None = None
) -> list[Voice]:
    """Draw drafts in one ensemble, each joining before a step; `leaves` tells who goes before which one."""
    ensemble, voices = engine.ensemble(drafts[0]), [engine.voice(each) for each in drafts]
    waiting = dict(enumerate(joins))
    step = 0
    while waiting or ensemble.voices:
        for index in [index for index, at in waiting.items() if at <= step]:
            ensemble.join(voices[index])
            del waiting[index]
        for index in [index for index, at in (leaves or {}).items() if at == step]:
            ensemble.leave(voices[index])
        if ensemble.voices:
            ensemble.step()
        for voice in [voice for voice in ensemble.voices if not voice.left]:
            ensemble.leave(voice)
        step += 1
    return voices


def same(voices: list[Voice], wanted: list[Tensor]) -> bool:
    return all(torch.equal(voice.codes, each) for voice, each in zip(voices, wanted, strict=True))


@pytest.mark.parametrize("joins", [[0, 0, 1], [0, 7, 13], [0, 3, 26]])
def test_who_joins_is_what_it_is_alone_and_so_are_the_others(each: Twin, joins: list[int]) -> None:
    """Prompts of several lengths, the shortest take in the middle, and of the last two rows."""
    engine = each.engine
    tune = TUNE if engine.family == "melody" else None
    asked = [
        ([Row("slow ambient pad, 70 bpm, F minor", 1, tune)], 0.5),
        ([Row("drums", 2)], 0.15),
        ([Row("a", 3), Row("", 4)], 0.3),
    ]
    drafts = [draft(engine, *rows, seconds=seconds) for rows, seconds in asked]
    wanted = [alone(engine, *rows, seconds=seconds) for rows, seconds in asked]
    assert same(together(engine, drafts, joins), wanted)


def test_who_goes_before_its_end_leaves_the_others_as_they_are(either: Twin) -> None:
    engine = either.engine
    rows = [Row("pad", 1), Row("drums", 2), Row("bass line", 3)]
    drafts = [draft(engine, row, seconds=0.5) for row in rows]
    voices = together(engine, drafts, [0, 2, 4], leaves={0: 9, 1: 12})
    assert [voice.left > 0 for voice in voices] == [True, True, False]
    assert torch.equal(voices[2].codes, alone(engine, rows[2], seconds=0.5))


def test_one_after_another_without_an_end(text: Twin) -> None:
    """Whoever begins as the others are half done: the batch never ends, and its cache stays short."""
    engine = text.engine
    rows = [Row("pad", seed) for seed in range(6)]
    drafts = [draft(engine, row, seconds=0.4) for row in rows]
    voices = together(engine, drafts, [0, 12, 24, 36, 48, 60])
    assert same(voices, [alone(engine, row, seconds=0.4) for row in rows])
    assert engine._cache.data.shape[4] == 256


def test_a_recording_is_gone_on_from_in_company(either: Twin) -> None:
    engine = either.engine
    first, second = Row("pad", 1), Row("drums", 2)
    drafts = [draft(engine, first, seconds=0.4, known=10), draft(engine, second, seconds=0.4)]
    wanted = [alone(engine, first, seconds=0.4, known=10), alone(engine, second, seconds=0.4)]
    assert same(together(engine, drafts, [0, 5]), wanted)


@pytest.mark.parametrize("sampling", [Sampling(temperature=0), Sampling(guidance=1), Sampling(top_p=0.8, top_k=0)])
def test_other_ways_to_draw(either: Twin, sampling: Sampling) -> None:
    engine = either.engine
    rows = [Row("pad", 1), Row("" if sampling.guidance == 1 else "drums", 2)]
    drafts = [draft(engine, row, seconds=0.3, sampling=sampling) for row in rows]
    wanted = [alone(engine, row, seconds=0.3, sampling=sampling) for row in rows]
    assert same(together(engine, drafts, [0, 4]), wanted)


def test_a_draft_becomes_the_audio_that_generate_gives(each: Twin) -> None:
    engine = each.engine
    row = Row("lofi hip hop", 5)
    asked = draft(engine, row, seconds=0.31)
    (voice,) = together(engine, [asked], [0])
    whole = engine.generate([row], 0.31, sampling=SAMPLING)
    assert np.array_equal(engine.take(asked, voice.codes).audio, whole.audio)


def test_it_counts_its_rows_and_steps(text: Twin) -> None:
    engine = text.engine
    ensemble: Ensemble = engine.ensemble(draft(engine, Row("a", 1), seconds=0.2))
    voices = [engine.voice(draft(engine, Row("a", 1), Row("b", 2), seconds=0.2)) for _ in range(2)]
    ensemble.join(voices[0])
    ensemble.step()
    ensemble.join(voices[1])
    assert (ensemble.rows, voices[0].steps, voices[0].left, voices[1].left) == (4, 13, 12, 13)
    assert ensemble.welcomes(voices[1])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_on_cuda_too_who_joins_begins_with_the_codes_it_has_alone(dtype: str) -> None:
    engine, greedy = Engine.load(STARTER, "cuda", dtype), Sampling(temperature=0)
    rows = [Row("techno, 120 BPM", 1), Row("slow pad", 2)]
    voices = together(engine, [draft(engine, row, seconds=1.0, sampling=greedy) for row in rows], [0, 20])
    for voice, row in zip(voices, rows, strict=True):
        wanted = alone(engine, row, seconds=1.0, sampling=greedy)
        assert (voice.codes == wanted).float().mean() > 0.25  # until rounding once decides a close call
