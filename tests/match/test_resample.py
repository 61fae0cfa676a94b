"""Resampling: pure tones stay pure, and the analysis hears one channel."""

from __future__ import annotations

import numpy as np
import pytest
import soxr
from clips import RATE

from musicgen_bridge.match.resample import for_analysis, pieces, resample, resampled


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000, 96_000, 192_000])
def test_a_tone_stays_pure_and_in_place(rate):
    tone = np.sin(2 * np.pi * 997 * np.arange(2 * RATE) / RATE)[None].astype(np.float32)
    out = resample(tone, RATE, rate)[0]
    ideal = np.sin(2 * np.pi * 997 * np.arange(len(out)) / rate)
    inside = slice(rate // 2, -rate // 2)
    assert len(out) == 2 * rate
    assert np.abs(out - ideal)[inside].max() < 1e-5


def test_the_same_rate_is_left_alone():
    audio = np.random.default_rng(0).standard_normal((2, 100)).astype(np.float32)
    assert resample(audio, RATE, RATE) is audio


def test_the_analysis_hears_mono_at_its_own_rate():
    left = np.sin(2 * np.pi * 300 * np.arange(RATE) / RATE)
    heard = for_analysis(np.stack([0.1 * left, 0.3 * left]).astype(np.float32), RATE)
    assert heard.shape == (16_000,)
    assert np.abs(heard).max() == pytest.approx(1.0)
    assert not for_analysis(np.zeros((1, RATE), np.float32), RATE).any()


def test_channels_of_opposite_polarity_are_heard():
    left = np.sin(2 * np.pi * 300 * np.arange(RATE) / RATE).astype(np.float32)
    hiss = 1e-4 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    heard = for_analysis(np.stack([0.3 * left + hiss, -0.3 * left]), RATE)
    assert abs(np.corrcoef(heard, for_analysis(left[None], RATE))[0, 1]) > 0.999


@pytest.mark.parametrize(("rate", "new_rate"), [(44_100, 352_800), (48_000, 16_000), (44_100, 48_000)])
def test_in_pieces_it_is_to_the_sample_what_it_is_as_a_whole(rate, new_rate):
    audio = np.random.default_rng(0).standard_normal((2, 300_000)).astype(np.float32)
    parts = list(resampled(pieces(audio[:, :777], audio[:, 777:]), rate, new_rate, 2, np.float32))
    assert len(parts) > 2
    assert np.array_equal(np.concatenate(parts, axis=1).T, soxr.resample(audio.T, rate, new_rate, quality="HQ"))
