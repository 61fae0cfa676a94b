"""The step loop against the slow reference decode, and against itself in other company."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from twins import Twin

from musicgen_bridge.engine import Sampling, decode, reference, step
from musicgen_bridge.engine.cache import Cache
from musicgen_bridge.engine.conditioning import condition, null_chroma
from musicgen_bridge.engine.cpu_step import CpuStep
from musicgen_bridge.engine.pattern import UNKNOWN, delay, undelay

FRAMES = 10
SAMPLING = Sampling(temperature=0.9, top_k=40, top_p=0.95, guidance=2.5)
PROMPTS = ["a", "slow ambient pad, 70 bpm, F minor", "", "drums"]


class Noises:
    """The same noise for a batch and for each of its rows alone."""

    def __init__(self, twin: Twin, rows: int) -> None:
        c = twin.engine._decoder
        shape = (FRAMES + c.lag, rows, c.codebooks, c.vocab)
        self.all = torch.empty(shape).exponential_(generator=torch.Generator().manual_seed(5))

    def row(self, index: int) -> Iterator[Tensor]:
        return iter(self.all[:, index])


def run(twin: Twin, prompts: list[str], codes: Tensor, noise: Iterator[Tensor], chromas: list[Tensor] | None) -> Tensor:
    """Return the codes that the fast decode draws for rows of `prompts`."""
    model, c = twin.engine._model, twin.engine._decoder
    with torch.inference_mode():
        texts = [twin.engine._text(prompt) if prompt else None for prompt in prompts]
        heard = condition(model, texts, chromas, guided=True)
        length = heard.prefix.shape[1] + codes.shape[2] + c.lag
        cache = Cache.allocate(c, 2 * len(prompts), length, model.device, model.dtype)
        return decode.decode(model, heard, codes, SAMPLING, lambda: next(noise), cache, lambda: None)


def unknown(twin: Twin, rows: int, known: int = 0) -> Tensor:
    """Return codes [rows, K, FRAMES], random up to `known` and `UNKNOWN` from there."""
    c = twin.engine._decoder
    codes = torch.randint(0, c.vocab, (rows, c.codebooks, FRAMES), generator=torch.Generator().manual_seed(2))
    codes[:, :, known:] = UNKNOWN
    return codes


def chromas(twin: Twin, rows: int) -> list[Tensor] | None:
    """Return a chroma for each row, the last of no melody, or None in the text family."""
    if twin.engine.family == "text":
        return None
    length = twin.engine._config.chroma_length
    pitches = torch.randint(0, 12, (rows, length), generator=torch.Generator().manual_seed(4))
    return [*torch.nn.functional.one_hot(pitches, 12).float()[:-1], null_chroma(length, 12)]


@pytest.fixture(params=["text", "stereo", "melody"])
def tiny(request: pytest.FixtureRequest) -> Twin:
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("known", [0, 1, 4])
def test_each_row_of_a_batch_is_what_the_reference_draws_for_it_alone(tiny: Twin, known: int) -> None:
    """Prompts of several lengths and none, with and without codes to go on from."""
    engine, rows = tiny.engine, len(PROMPTS)
    codes, noises, pitches = unknown(tiny, rows, known), Noises(tiny, rows), chromas(tiny, rows)
    drawn = run(tiny, PROMPTS, codes, iter(noises.all), pitches)
    c = engine._decoder
    assert drawn.min() >= 0
    assert drawn.max() < c.vocab
    for index, prompt in enumerate(PROMPTS):
        noise = noises.row(index)
        slow = reference.decode(
            engine._model.weights,
            engine._config,
            delay(codes[index : index + 1], c.channels, c.pad)[0],
            engine._text(prompt) if prompt else None,
            pitches[index] if pitches else None,
            SAMPLING,
            noise.__next__,
        )
        assert torch.equal(drawn[index], undelay(slow[None], c.channels)[0])


def test_a_row_does_not_depend_on_its_neighbours(tiny: Twin) -> None:
    rows = len(PROMPTS)
    codes, noises, pitches = unknown(tiny, rows), Noises(tiny, rows), chromas(tiny, rows)
    together = run(tiny, PROMPTS, codes, iter(noises.all), pitches)
    for index, prompt in enumerate(PROMPTS):
        own = [pitches[index]] if pitches else None
        alone = run(tiny, [prompt], codes[:1], (noise[None] for noise in noises.row(index)), own)
        assert torch.equal(together[index], alone[0])


def test_masked_lengths_as_a_graph_needs_them_change_nothing(tiny: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
    codes, noises, pitches = unknown(tiny, 2), Noises(tiny, 2), chromas(tiny, 2)
    exact = run(tiny, ["a", "a"], codes, iter(noises.all), pitches)
    monkeypatch.setitem(step.GRANULES, "cpu", 8)
    monkeypatch.setattr(CpuStep, "fits", lambda model, condition: False)
    assert torch.equal(run(tiny, ["a", "a"], codes, iter(noises.all), pitches), exact)


def test_known_codes_stay_and_are_heard(tiny: Twin) -> None:
    noises, pitches = Noises(tiny, 1), chromas(tiny, 1)
    codes = unknown(tiny, 1, 6)
    other = codes.clone()
    other[:, :, :6] = other[:, :, :6].flip(2)
    drawn, drawn_other = (run(tiny, ["a"], each, iter(noises.all), pitches) for each in (codes, other))
    assert torch.equal(drawn[:, :, :6], codes[:, :, :6])
    assert not torch.equal(drawn[:, :, 6:], drawn_other[:, :, 6:])


def test_the_prompt_is_heard(tiny: Twin) -> None:
    codes, noises, pitches = unknown(tiny, 1), Noises(tiny, 1), chromas(tiny, 1)
    piano, drums, nothing = (run(tiny, [each], codes, iter(noises.all), pitches) for each in ("piano", "drums", ""))
    assert not torch.equal(piano, drums)
    assert not torch.equal(piano, nothing)
