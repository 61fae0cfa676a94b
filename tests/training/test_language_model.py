"""The trainable model must be the stock one: the same logits, the same file; and its clock is right from the start."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from training import metronome
from training.checkpoint import codec_config, load_model, save_checkpoint
from training.decoder import corrupt
from training.model import BOOKS, CODES, PREFIX, LanguageModel, Size, delay, sample
from training.prompts import PHASES, WORDS
from training.render import CHROMA_FRAMES
from training.scores import BAR_FRAMES

SMALL = Size(layers=2, feed_forward=256)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A fresh, small model as a checkpoint folder."""
    from transformers import EncodecModel

    torch.manual_seed(0)
    model = LanguageModel(SMALL)
    metronome.install(model)
    path = tmp_path_factory.mktemp("checkpoint") / "new"
    assert save_checkpoint(model, EncodecModel(codec_config()), path) == sum(f.stat().st_size for f in path.iterdir())
    return path


@pytest.fixture(scope="module")
def stock(folder):
    from transformers import MusicgenMelodyForConditionalGeneration

    return MusicgenMelodyForConditionalGeneration.from_pretrained(folder).eval()


@pytest.mark.parametrize("prompt", ["dark techno at 128 in F minor", ""])
def test_logits_are_those_of_transformers(folder, stock, tokenizer, prompt):
    model = load_model(folder)
    ids = torch.tensor([tokenizer.encode(prompt).ids] * 2)
    chroma = torch.randint(12, (2, CHROMA_FRAMES))
    inputs, _ = delay(torch.randint(CODES, (2, BOOKS, 40)))
    with torch.inference_mode():
        theirs = stock(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            input_features=functional.one_hot(chroma, 12).float(),
            decoder_input_ids=inputs.reshape(2 * BOOKS, -1),
        ).logits
        # rows that go without leading words, as the empty prompt does, are padded to one shape
        missing = WORDS + 1 - ids.shape[1]
        padded = functional.pad(ids, (missing, 0), value=3)
        present = functional.pad(torch.ones_like(ids), (missing, 0))
        text = model.describe(padded, present, torch.ones(2))
        ours = model.logits(model(inputs, text, chroma, torch.full((2,), missing)))
    theirs = theirs[:, -inputs.shape[2] :].view(2, BOOKS, -1, CODES).transpose(1, 2)
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-4)


def test_sampling_agrees_with_a_step_by_step_reading(folder, tokenizer):
    model = load_model(folder)
    ids = torch.tensor([tokenizer.encode("house, 120 bpm").ids])
    chroma = torch.randint(12, (1, CHROMA_FRAMES))
    codes = sample(model, ids, chroma, 12, guidance=2.0, top_k=1)
    assert codes.shape == (1, BOOKS, 12)
    inputs, labels = delay(codes)
    present = torch.ones_like(ids)
    with torch.inference_mode():
        heard, null = (
            model.logits(model(inputs, model.describe(ids, present, torch.full((1,), keep)), c, torch.zeros(1).long()))
            for keep, c in ((1.0, chroma), (0.0, torch.zeros_like(chroma)))
        )
    best = (null + 2 * (heard - null)).argmax(-1).transpose(1, 2)
    assert bool((best == labels)[labels >= 0].all())


def test_the_delay_pattern_is_musicgens():
    codes = torch.arange(3 * BOOKS).view(1, BOOKS, 3)
    inputs, labels = delay(codes)
    assert labels[0, 1].tolist() == [-100, 3, 4, 5, -100, -100]
    assert inputs[0, 1].tolist() == [CODES, CODES, 3, 4, 5, CODES]


@pytest.mark.parametrize("bar", [BAR_FRAMES[0], 100, 141, BAR_FRAMES[-1]])
def test_a_fresh_model_knows_where_in_the_bar_it_is(tokenizer, bar):
    torch.manual_seed(0)
    model = LanguageModel(Size(layers=1))
    metronome.install(model)
    ids = torch.tensor([tokenizer.encode(f"house, {round(12_000 / bar)} bpm, in C minor").ids])
    words = tokenizer.encode(f"house, {round(12_000 / bar)} bpm, in C minor").tokens
    place = CHROMA_FRAMES + words.index(f"bar{bar}p0")
    with torch.inference_mode():
        text = model.describe(ids, torch.ones_like(ids), torch.ones(1))
        melody = model.chroma(functional.one_hot(torch.zeros(1, CHROMA_FRAMES).long(), 12).float())
        codes = model.embed_codes(torch.randint(CODES, (1, BOOKS, 400)))
        x = torch.cat([melody, text, codes], 1) + model.positions[: PREFIX + 400]
        block = model.blocks[0]
        heads = model.size.heads
        q, k, _ = block.qkv(block.norm1(x)).view(1, len(x[0]), 3, heads, -1).permute(2, 0, 3, 1, 4)[:, 0, 0]
        scores = (q @ k.T / math.sqrt(k.shape[1])).masked_fill(torch.ones(len(q), len(q)).triu(1).bool(), -torch.inf)
        on = scores.softmax(-1)[PREFIX:, place : place + PHASES].numpy()
    angles = np.arange(PHASES) * 2 * math.pi / PHASES
    found = np.angle((on * np.exp(1j * angles)).sum(1))
    off = np.angle(np.exp(1j * (found - 2 * math.pi * np.arange(400) / bar))) / (2 * math.pi) * PHASES
    assert on.sum(1).mean() > 0.9
    assert np.sqrt(np.mean(off**2)) < 1.3  # sixteenth notes; a stopped clock is 4.6 off


def test_corruption_spares_rows_that_are_continued():
    torch.manual_seed(0)
    codes = torch.randint(CODES, (64, BOOKS, 100))
    spared = torch.arange(64) % 2 == 0
    spoiled = corrupt(codes, spared, progress=0.0)
    same = (spoiled == codes).flatten(1).all(1)
    deaf = (spoiled == CODES).flatten(1).all(1)
    assert bool(same[spared].all())
    assert not bool(deaf[spared].any())
    assert 0 < int(deaf.sum()) < 32
