"""The chroma against transformers' feature extractor, against known notes, and on recordings that have no melody."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import MusicgenMelodyFeatureExtractor

from musicgen_bridge.engine.chroma import chroma_filters, chroma_window, melody_chroma
from musicgen_bridge.errors import AudioError

RATE = 32_000
C_MAJOR = {0: 261.63, 2: 293.66, 4: 329.63, 5: 349.23, 7: 392.00, 9: 440.00, 11: 493.88}


def notes(pitches: list[float], sample_rate: int, seconds: float = 0.6) -> np.ndarray:
    """Return one sine with two overtones after another, [1, N]."""
    time = np.arange(int(seconds * sample_rate)) / sample_rate
    return np.concatenate(
        [sum(0.3 / n * np.sin(2 * np.pi * n * hz * time) for n in (1, 2, 3)) for hz in pitches], dtype=np.float32
    )[None]


def reference(audio: np.ndarray, num_chroma: int = 12) -> torch.Tensor:
    extractor = MusicgenMelodyFeatureExtractor(num_chroma=num_chroma, feature_size=num_chroma)
    return extractor(audio.mean(0), sampling_rate=RATE, return_tensors="pt")["input_features"][0]


@pytest.mark.parametrize("samples", [1, 4_000, 16_383, 16_384, 16_385, 100_001, 320_000])
def test_noise_of_any_length_equals_the_reference(samples: int) -> None:
    audio = np.random.default_rng(samples).normal(0, 0.1, (1, samples)).astype(np.float32)
    audio[0, 0] = 0.5
    assert torch.equal(melody_chroma(audio, RATE), reference(audio))


def test_notes_and_silence_equal_the_reference() -> None:
    audio = np.concatenate([notes([*C_MAJOR.values()], RATE), np.zeros((1, 60_000), np.float32)], axis=1)
    chroma = melody_chroma(audio, RATE)
    assert torch.equal(chroma, reference(audio))
    assert chroma[-1, 0] == 1  # silence after a melody reads as a C


def test_more_classes_equal_the_reference() -> None:
    audio = notes([*C_MAJOR.values()], RATE)
    assert torch.equal(melody_chroma(audio, RATE, num_chroma=24), reference(audio, 24))


@pytest.mark.parametrize(("pitch_class", "hz"), C_MAJOR.items())
@pytest.mark.parametrize("sample_rate", [22_050, 44_100, 48_000, 96_000])
def test_a_note_is_its_pitch_class_at_any_rate(pitch_class: int, hz: float, sample_rate: int) -> None:
    stereo = np.repeat(notes([hz], sample_rate, seconds=2.0), 2, axis=0)
    chroma = melody_chroma(stereo, sample_rate)
    assert chroma.shape == (1 + 64_000 // 4_096, 12)
    assert chroma.dtype == torch.float32
    assert (chroma.argmax(-1) == pitch_class).all()


def test_each_frequency_belongs_to_the_classes_around_it() -> None:
    filters = chroma_filters(12)
    assert filters.shape == (12, 8_193)
    bin_of_a440 = round(440 * 16_384 / RATE)
    assert filters[:, bin_of_a440].argmax() == 9
    assert filters[9, bin_of_a440] > 10 * filters[11, bin_of_a440]


@pytest.mark.parametrize(
    "audio",
    [np.zeros((1, 0)), np.zeros((2, 50_000)), np.full((1, 50_000), 5e-5), np.array([[0.1, np.nan, 0.1]])],
    ids=["empty", "zeros", "below -80 dBFS", "nan"],
)
def test_a_recording_without_a_melody_is_refused(audio: np.ndarray) -> None:
    with pytest.raises(AudioError, match=r"choose another"):
        melody_chroma(audio.astype(np.float32), RATE)


def test_a_window_starts_where_it_should_and_repeats_a_short_melody() -> None:
    chroma = torch.arange(10.0)[:, None]
    assert chroma_window(chroma, 0, 4).flatten().tolist() == [0, 1, 2, 3]
    assert chroma_window(chroma, 1.024, 4).flatten().tolist() == [8, 9, 0, 1]
    assert chroma_window(chroma, 12.8, 3).flatten().tolist() == [0, 1, 2]
    assert chroma_window(chroma, 0.07, 1).item() == 1  # the nearer of 0 and 0.128 s
