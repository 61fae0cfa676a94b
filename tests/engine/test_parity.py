"""Our decoder against transformers' in float32: the same logits, and from the same seed the same codes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from twins import Twin, tone

from musicgen_bridge.engine import Melody, Row, Sampling
from musicgen_bridge.engine.cache import Cache
from musicgen_bridge.engine.chroma import melody_chroma
from musicgen_bridge.engine.conditioning import condition, null_chroma
from musicgen_bridge.engine.text import TextEncoder

PROMPT = "lofi hip hop, 85 bpm, piano and drums"
FRAMES = 12
SAMPLINGS = {
    "top-k": Sampling(1.0, 20, 0.0, 3.0),
    "top-p": Sampling(0.8, 0, 0.9, 3.0),
    "both, no guidance": Sampling(1.2, 30, 0.7, 1.0),
    "likeliest": Sampling(0.0, 250, 0.0, 2.0),
    "all": Sampling(1.0, 0, 0.0, 1.5),
}


def keywords(sampling: Sampling) -> dict[str, object]:
    """Return what transformers' `generate` calls it."""
    if sampling.greedy:
        return {"do_sample": False, "guidance_scale": sampling.guidance}
    return {
        "do_sample": True,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p or 1.0,
        "guidance_scale": sampling.guidance,
    }


def random_sequence(twin: Twin, length: int) -> torch.Tensor:
    c = twin.engine._decoder
    return torch.randint(0, c.vocab + 1, (1, c.codebooks, length), generator=torch.Generator().manual_seed(3))


def our_logits(twin: Twin, sequence: torch.Tensor, chroma: torch.Tensor | None) -> torch.Tensor:
    """Return the logits [2, K, T, V] after each code of `sequence` [1, K, T], conditioned and null."""
    model = twin.engine._model
    with torch.inference_mode():
        heard = condition(model, [twin.engine._text(PROMPT)], None if chroma is None else [chroma], guided=True)
        x = torch.cat([heard.prefix, model.embed(sequence).repeat(2, 1, 1)], dim=1)
        length = x.shape[1]
        position = torch.arange(length)
        cache = Cache.allocate(model.config, 2, length, model.device, model.dtype)
        states = model.forward(x, position, length, model.mask(position, length, heard.start), cache, heard)
        states = states[:, -sequence.shape[2] :]
        return model.logits(states.flatten(0, 1)).unflatten(0, states.shape[:2]).transpose(1, 2)


def their_logits(twin: Twin, sequence: torch.Tensor, chroma: torch.Tensor | None) -> torch.Tensor:
    """Return the same from transformers, which puts the null row through cross-attention."""
    model, inputs = twin.model, twin.inputs(PROMPT)
    codes = sequence[0].repeat(2, 1)
    with torch.inference_mode():
        states = model.text_encoder(**inputs).last_hidden_state
        if hasattr(model, "enc_to_dec_proj"):
            states = model.enc_to_dec_proj(states)
        states = torch.cat([states, torch.zeros_like(states)])
        if chroma is None:
            mask = torch.cat([inputs["attention_mask"], torch.zeros_like(inputs["attention_mask"])])
            out = model.decoder(codes, encoder_hidden_states=states, encoder_attention_mask=mask)
        else:
            both = torch.stack([chroma, null_chroma(*chroma.shape)])
            out = model.decoder(codes, encoder_hidden_states=torch.cat([model.audio_enc_to_dec_proj(both), states], 1))
    logits = out.logits[:, -sequence.shape[2] :]
    return logits.view(2, sequence.shape[1], *logits.shape[1:])


def test_teacher_forced_logits_are_within_a_hundred_thousandth_of_their_scale(each: Twin) -> None:
    sequence = random_sequence(each, 40)
    chroma = None
    if each.engine.family == "melody":
        pitches = torch.randint(0, 12, (each.engine._config.chroma_length,), generator=torch.Generator().manual_seed(1))
        chroma = torch.nn.functional.one_hot(pitches, 12).float()
    ours, theirs = our_logits(each, sequence, chroma), their_logits(each, sequence, chroma)
    scale = theirs.abs().max()
    assert scale > 1  # or the weights would be too small for the comparison to mean anything
    assert (theirs[0] - theirs[1]).abs().max() > 0.01 * scale  # the text is heard
    assert (ours - theirs).abs().max() < 1e-5 * scale


@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS.keys())
def test_one_seed_gives_the_codes_of_transformers(each: Twin, sampling: Sampling) -> None:
    take = each.engine.generate([Row(PROMPT, 7)], FRAMES / 50, sampling=sampling)
    assert np.array_equal(take.codes[0], each.codes(PROMPT, FRAMES, 7, **keywords(sampling)))


@pytest.mark.parametrize("seconds", [0.7, 1.0, 20.0])
def test_a_melody_gives_the_codes_of_transformers(melody: Twin, seconds: float) -> None:
    """Shorter than the prefix it repeats, longer it is cut."""
    rising = np.concatenate([tone(220 * 2 ** (step / 12), seconds / 8) for step in range(8)], axis=1)
    sampling = SAMPLINGS["top-k"]
    take = melody.engine.generate([Row(PROMPT, 5, Melody(rising, 32_000))], FRAMES / 50, sampling=sampling)
    chroma = melody_chroma(rising, 32_000)[None]
    theirs = melody.codes(PROMPT, FRAMES, 5, input_features=chroma, **keywords(sampling))
    assert np.array_equal(take.codes[0], theirs)


def test_a_continuation_gives_the_codes_of_transformers(each: Twin) -> None:
    engine, sampling = each.engine, SAMPLINGS["top-k"]
    audio = np.random.default_rng(1).normal(0, 0.1, (engine.channels, 9 * 640)).astype(np.float32)
    take = engine.generate([Row(PROMPT, 3)], FRAMES / 50, sampling=sampling, continue_from=audio)
    known = torch.from_numpy(take.codes[0][:, :9])
    channels = [each.model.audio_encoder.encode(torch.from_numpy(side)[None, None]) for side in audio]
    assert torch.equal(known, torch.stack([side.audio_codes[0, 0] for side in channels], dim=1).flatten(0, 1))
    theirs = each.codes(PROMPT, FRAMES, 3, decoder_input_ids=known, **keywords(sampling))
    assert np.array_equal(theirs[:, :9], known)
    assert np.array_equal(take.codes[0], theirs)


def test_audio_is_that_of_transformers(each: Twin) -> None:
    torch.manual_seed(11)
    lag = each.engine._decoder.lag
    theirs = each.model.generate(**each.inputs(PROMPT), max_new_tokens=FRAMES + lag, **keywords(SAMPLINGS["top-k"]))
    take = each.engine.generate([Row(PROMPT, 11)], FRAMES / 50, sampling=SAMPLINGS["top-k"])
    assert take.audio.shape == theirs.shape
    assert np.abs(take.audio - theirs.numpy()).max() < 1e-5 * theirs.abs().max()


@pytest.mark.parametrize("prompt", ["a", PROMPT, "drums " * 100])
def test_text_states_are_those_of_transformers(each: Twin, prompt: str) -> None:
    text: TextEncoder = each.engine._text
    inputs = each.inputs(prompt)
    with torch.inference_mode():
        theirs = each.model.text_encoder(**inputs).last_hidden_state[0]
        ours = text(prompt)
    assert text.tokens(prompt) == inputs["input_ids"][0].tolist()
    assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max()
