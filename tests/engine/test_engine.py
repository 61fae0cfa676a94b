"""The engine as the worker calls it: takes of a length, melodies, windows, continuation, cancel and refusals."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from twins import Twin, tone

from musicgen_bridge.engine import Engine, Melody, Row, Sampling, Take
from musicgen_bridge.engine.chroma import melody_chroma
from musicgen_bridge.errors import ArgumentError, AudioError, CancelledError, ModelError, OutOfMemoryError

PROMPT = "lofi hip hop, 85 bpm, piano"
SAMPLING = Sampling(top_k=50)


def take(engine: Engine, *rows: Row, seconds: float = 0.3, **kwargs: object) -> Take:
    return engine.generate(rows or [Row(PROMPT, 1)], seconds, sampling=SAMPLING, **kwargs)


def scale(first: float, semitones: list[int], seconds: float = 0.25) -> Melody:
    return Melody(np.concatenate([tone(first * 2 ** (step / 12), seconds) for step in semitones], axis=1), 32_000)


RISING, FALLING = scale(261.63, [0, 2, 4, 5, 7]), scale(261.63, [7, 5, 4, 2, 0])


def noise(engine: Engine, samples: int) -> np.ndarray:
    """Return a recording to go on from."""
    return np.random.default_rng(8).normal(0, 0.2, (engine.channels, samples)).astype(np.float32)


def test_words_are_known_or_not(starter: Twin) -> None:
    known = [starter.engine.knows(prompt) for prompt in ("techno", "kazoo, techno", "緩やかな", "qwertz", "")]
    assert known == [True, True, False, False, False]


@pytest.mark.parametrize("seconds", [0.02, 0.3, 0.307, 1.0])
def test_a_take_has_the_length_and_channels_asked_for(each: Twin, seconds: float) -> None:
    result = take(each.engine, Row(PROMPT, 1), Row("", 2), seconds=seconds)
    assert result.audio.shape == (2, each.engine.channels, int(seconds * 32_000 + 0.5))
    assert result.audio.dtype == np.float32
    assert np.isfinite(result.audio).all()
    assert result.prompt.shape == (2, each.engine.channels, 0)


def test_a_seed_gives_the_same_take_and_another_seed_another(each: Twin) -> None:
    first, again, other = (take(each.engine, Row(PROMPT, seed)).audio for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("name", ["melody", "starter"])
def test_two_melodies_give_two_results(name: str, request: pytest.FixtureRequest) -> None:
    """transformers 5.0 to 5.18 ignored the melody without a word."""
    engine = request.getfixturevalue(name).engine
    takes = [take(engine, Row(PROMPT, 1, each)).codes for each in (RISING, FALLING, None)]
    assert not any(np.array_equal(a, b) for a, b in ((takes[0], takes[1]), (takes[0], takes[2]), (takes[1], takes[2])))


def test_rows_of_a_batch_are_what_they_are_alone(each: Twin) -> None:
    melody = RISING if each.engine.family == "melody" else None
    rows = [Row(PROMPT, 1), Row("drums", 2, melody), Row("", 3), Row("", 4, melody)]
    together = take(each.engine, *rows)
    for row, codes in zip(rows, together.codes, strict=True):
        assert np.array_equal(take(each.engine, row).codes[0], codes)


def test_rows_without_prompt_and_melody_pay_for_no_null_row(either: Twin) -> None:
    take(either.engine, Row("", 1), Row("", 2))
    assert either.engine._cache.data.shape[2] == 2
    take(either.engine, Row("", 1), Row("drums", 2))
    assert either.engine._cache.data.shape[2] == 4


def test_a_melody_of_another_rate_and_in_stereo_is_the_same_melody(melody: Twin) -> None:
    audio = np.repeat(np.concatenate([tone(hz, 0.5, 48_000) for hz in (261.63, 329.63, 392.0)], axis=1), 2, axis=0)
    same = Melody(np.concatenate([tone(hz, 0.5) for hz in (261.63, 329.63, 392.0)], axis=1), 32_000)
    assert torch.equal(melody_chroma(audio, 48_000), melody_chroma(same.audio, 32_000))  # or the rest shows nothing
    one, two = (take(melody.engine, Row("", 1, each)).codes for each in (Melody(audio, 48_000), same))
    assert np.array_equal(one, two)


def test_the_text_family_refuses_a_melody_and_says_who_follows_one(text: Twin) -> None:
    with pytest.raises(ModelError, match="MusicGen-Melody"):
        take(text.engine, Row(PROMPT, 1, RISING))


def test_the_window_is_what_the_model_was_trained_on(text: Twin, melody: Twin, starter: Twin) -> None:
    assert text.engine.max_duration == 30
    assert melody.engine.max_duration == pytest.approx(12 * 4096 / 32_000)
    assert starter.engine.max_duration == pytest.approx(195 * 4096 / 32_000)


@pytest.mark.parametrize("seconds", [1.52, 1.54, 5.0])
def test_a_take_beyond_the_window_has_every_frame(melody: Twin, seconds: float) -> None:
    """Its window is 76 frames; each later one hears the last 30 of the one before."""
    calls: list[tuple[int, int]] = []
    result = take(melody.engine, Row(PROMPT, 1, RISING), seconds=seconds, on_step=lambda *call: calls.append(call))
    frames = round(seconds * 50)
    assert result.codes.shape == (1, 4, frames)
    assert result.audio.shape == (1, 1, frames * 640)
    assert np.isfinite(result.audio).all()
    assert calls == [(step + 1, len(calls)) for step in range(len(calls))]
    short = take(melody.engine, Row(PROMPT, 1, RISING), seconds=min(seconds, 1.52))
    assert np.array_equal(result.codes[:, :, :76], short.codes)


def test_a_take_beyond_thirty_seconds(text: Twin) -> None:
    result = take(text.engine, seconds=31)
    assert result.codes.shape == (1, 4, 1550)
    assert result.audio.shape == (1, 1, 31 * 32_000)
    assert np.isfinite(result.audio).all()


def test_later_windows_hear_the_melody_from_where_they_are(melody: Twin) -> None:
    """Two melodies that are one for as long as the first window lasts part after it."""
    early, late = [0, 0, 0, 0, 4, 4, 4, 4], [7, 7, 7, 7, 2, 2, 2, 2]
    one, two = (Row("", 1, scale(261.63, early + rest)) for rest in (late, late[::-1]))
    codes, other = (take(melody.engine, row, seconds=3).codes for row in (one, two))
    assert np.array_equal(codes[:, :, :76], other[:, :, :76])
    assert not np.array_equal(codes[:, :, 76:], other[:, :, 76:])


def test_a_continuation_gives_the_new_part_and_what_it_joins(each: Twin) -> None:
    audio = noise(each.engine, 20 * 640 + 77)  # what lacks to whole frames is cut at the start
    result = take(each.engine, Row(PROMPT, 1), Row(PROMPT, 2), continue_from=audio)
    assert result.audio.shape == (2, each.engine.channels, 9_600)
    assert result.prompt.shape == (2, each.engine.channels, 20 * 640)
    assert np.array_equal(result.codes[0][:, :20], result.codes[1][:, :20])
    assert not np.array_equal(result.codes[0][:, 20:], result.codes[1][:, 20:])
    cut = take(each.engine, Row(PROMPT, 1), Row(PROMPT, 2), continue_from=audio[:, 77:])
    assert np.array_equal(cut.codes, result.codes)


def test_what_is_continued_matters(each: Twin) -> None:
    audio = noise(each.engine, 20 * 640)
    one, two = (take(each.engine, continue_from=each_audio) for each_audio in (audio, audio[:, ::-1]))
    assert not np.array_equal(one.audio, two.audio)


def test_a_continuation_of_other_channels_is_brought_to_the_model_s(text: Twin, stereo: Twin) -> None:
    left = noise(text.engine, 20 * 640)
    both = np.concatenate([left, left])
    mono = [take(text.engine, continue_from=audio).codes for audio in (left, both)]
    wide = [take(stereo.engine, continue_from=audio).codes for audio in (left, both)]
    assert np.array_equal(*mono)
    assert np.array_equal(*wide)


@pytest.mark.parametrize(("frames", "before"), [(64, 10), (70, 11), (32, 5)])
def test_the_melody_of_a_continuation_begins_with_the_new_part(melody: Twin, frames: int, before: int) -> None:
    """A frame of chroma lasts 6.4 frames of codes; before the new part the melody's end is heard."""
    chroma = torch.eye(12)  # twelve frames, each of another pitch class
    heard = melody.engine._at([chroma], -frames)
    assert heard is not None
    assert torch.equal(heard[0], chroma.roll(before, dims=0))


def test_a_long_continuation_of_a_short_window(melody: Twin) -> None:
    """70 frames are known, of which the windows that follow hear 30."""
    result = take(melody.engine, Row("", 1, RISING), seconds=2, continue_from=noise(melody.engine, 70 * 640))
    assert result.codes.shape == (1, 4, 170)
    assert result.audio.shape == (1, 1, 64_000)


@pytest.mark.parametrize(
    "audio", [np.zeros((1, 0)), np.zeros((1, 639)), np.full((1, 6400), np.nan)], ids=["empty", "short", "not finite"]
)
def test_a_recording_that_cannot_be_continued_is_refused(text: Twin, audio: np.ndarray) -> None:
    with pytest.raises(AudioError, match="continue"):
        take(text.engine, continue_from=audio.astype(np.float32))


def test_each_row_may_go_on_from_a_recording_of_its_own(each: Twin) -> None:
    audio = np.stack([noise(each.engine, 6400), noise(each.engine, 6400)[:, ::-1]])
    together = take(each.engine, Row(PROMPT, 1), Row(PROMPT, 2), continue_from=audio)
    for row, (seed, one) in enumerate(zip((1, 2), audio, strict=True)):
        assert np.array_equal(take(each.engine, Row(PROMPT, seed), continue_from=one).codes[0], together.codes[row])


def test_codes_are_the_audio_of_a_take_and_audio_the_codes_it_went_on_from(each: Twin) -> None:
    audio = noise(each.engine, 6400)
    result = take(each.engine, continue_from=audio)
    whole = np.concatenate([result.prompt, result.audio], axis=2)
    assert np.array_equal(each.engine.decode(result.codes), whole)
    assert np.array_equal(each.engine.encode(audio[None]), result.codes[:, :, :10])


def test_a_stereo_model_s_books_are_left_and_right_in_turn(stereo: Twin) -> None:
    audio = noise(stereo.engine, 6400)
    codes = stereo.engine.encode(np.stack([audio, audio[::-1]]))
    assert codes.shape == (2, 8, 10)
    assert not np.array_equal(codes[0, ::2], codes[0, 1::2])
    assert np.array_equal(codes[0, ::2], codes[1, 1::2])
    decoded = stereo.engine.decode(codes)
    assert np.array_equal(decoded[0], decoded[1, ::-1])


@pytest.mark.parametrize("shape", [(1, 1, 0), (1, 2, 6400), (1, 6400)])
def test_what_the_codec_can_t_encode_is_refused(text: Twin, shape: tuple[int, ...]) -> None:
    with pytest.raises(AudioError, match=r"\[B, 1, N\]"):
        text.engine.encode(np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    ("shape", "code"), [((1, 3, 5), 0), ((4, 5), 0), ((1, 4, 0), 0), ((1, 4, 5), 1 << 20), ((1, 4, 5), -1)]
)
def test_codes_of_another_model_are_refused(text: Twin, shape: tuple[int, ...], code: int) -> None:
    with pytest.raises(ArgumentError, match="Codes"):
        text.engine.decode(np.full(shape, code))


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_a_take_needs_a_length_and_a_row(text: Twin, seconds: float) -> None:
    with pytest.raises(ArgumentError):
        take(text.engine, seconds=seconds)
    with pytest.raises(ArgumentError):
        text.engine.generate([], 1.0, sampling=SAMPLING)


def test_a_prompt_longer_than_t5_reads_is_refused(text: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("musicgen_bridge.engine.text.MAX_TOKENS", 8)  # the starter's words never reach 512
    with pytest.raises(ArgumentError, match="shorten"):
        take(text.engine, Row("tight techno drum loop, 126 BPM, in F minor", 1))


def test_the_steps_are_told(either: Twin) -> None:
    told: list[tuple[int, int]] = []
    take(either.engine, on_step=lambda *call: told.append(call))
    steps = 15 + 3  # frames, and the lag of the last book
    assert told == [(step + 1, steps) for step in range(steps)]


@pytest.mark.parametrize("at", [1, 7])
def test_a_cancelled_take_leaves_the_engine_as_it_was(either: Twin, at: int) -> None:
    def cancel(done: int, total: int) -> None:
        if done == at:
            raise CancelledError("cancelled")

    wanted = take(either.engine, Row("drums", 5)).audio
    cache = either.engine._cache
    with pytest.raises(CancelledError):
        take(either.engine, Row("a very different and longer prompt", 9), on_step=cancel)
    assert np.array_equal(take(either.engine, Row("drums", 5)).audio, wanted)
    assert either.engine._cache is cache


LONG = np.broadcast_to(np.float32(0.1), (1, 32_000 * 1_200))
TOO_MUCH: dict[str, Callable[[Engine], object]] = {
    "many rows": lambda one: one.generate([Row("drums", seed) for seed in range(800)], 30, sampling=Sampling()),
    "a long recording": lambda one: one.draft([Row("drums", 5)], 1, sampling=Sampling(), continue_from=LONG),
}


@pytest.mark.skipif(sys.platform != "linux", reason="the size of a process is read from /proc")
@pytest.mark.parametrize("ask", TOO_MUCH.values(), ids=TOO_MUCH)
def test_too_little_memory_is_told_and_the_engine_lives(text: Twin, ask: Callable[[Engine], object]) -> None:
    import resource

    wanted = take(text.engine, Row("drums", 5)).audio
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size + (256 << 20), limits[1]))
    try:
        with pytest.raises(OutOfMemoryError, match="fewer"):
            ask(text.engine)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    assert np.array_equal(take(text.engine, Row("drums", 5)).audio, wanted)


def test_warming_up_leaves_a_working_engine(either: Twin) -> None:
    either.engine.warm_up()
    assert take(either.engine).audio.any()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_takes_the_likeliest_codes_that_the_cpu_takes(each: Twin) -> None:
    engine = Engine.load(each.folder, "cuda", "float32")
    rows, greedy = [Row(PROMPT, 1), Row("drums", 2), Row("", 3)], Sampling(temperature=0)
    ours, cpu = (one.generate(rows, 0.5, sampling=greedy) for one in (engine, each.engine))
    assert np.array_equal(ours.codes, cpu.codes)
    assert np.abs(ours.audio - cpu.audio).max() < 1e-3
