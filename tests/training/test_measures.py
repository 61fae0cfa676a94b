"""The measures must tell right from wrong on sounds whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from training import measures
from training.measures import SAMPLE_RATE

RNG = np.random.default_rng(0)


def clicks(bpm: float, seconds: float = 8) -> np.ndarray:
    x = np.zeros(int(seconds * SAMPLE_RATE), np.float32)
    burst = (RNG.normal(size=800) * np.exp(-np.arange(800) / 100)).astype(np.float32)
    for beat in np.arange(0, seconds - 0.1, 60 / bpm):
        x[int(beat * SAMPLE_RATE) :][:800] += burst
    return x


def triads(roots: tuple[int, ...], third: int) -> np.ndarray:
    t = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    chords = [sum(np.sin(2 * np.pi * 220 * 2 ** ((r + i - 9) / 12) * t) for i in (0, third, 7)) for r in roots]
    return np.concatenate(chords).astype(np.float32) / 4


@pytest.mark.parametrize("bpm", [70, 97, 128, 174])
def test_tempo(bpm):
    found = measures.detect_tempo(clicks(bpm)) / bpm
    assert any(abs(found / ratio - 1) < 0.02 for ratio in measures.TEMPO_RATIOS)


def test_key():
    assert measures.detect_key(triads((0, 5, 7, 0), 4)) == (0, False)
    assert measures.detect_key(triads((2, 7, 9, 2), 3)) == (2, True)


def test_matching_brings_a_clip_to_the_sessions_tempo():
    found = measures.tempo_after_matching(clicks(122, 10), 120)
    assert found == pytest.approx(120, rel=0.002)


def test_distances_vanish_on_equals_and_grow_with_noise():
    x = triads((0, 5), 4)
    noisy = x + 0.05 * RNG.normal(size=len(x)).astype(np.float32)
    assert measures.mel_distance(x, x) == 0
    assert measures.mel_distance(x, noisy) > 1
    assert measures.si_sdr(x, 0.5 * x) > 60
    assert measures.si_sdr(x, noisy) == pytest.approx(10 * np.log10((x**2).mean() / 0.05**2), abs=1)
    assert measures.chroma_cosine(x, x) == pytest.approx(1, abs=1e-3)
    assert measures.chroma_cosine(x, triads((1, 6), 4)) < 0.4
