"""Time-stretching: where attacks land, how pure tones stay, and that nothing is left to chance."""

from __future__ import annotations

import numpy as np
import pytest
from clips import RATE, attacks, click_train, make_clip

from musicgen_bridge.match.resample import for_analysis
from musicgen_bridge.match.stretch import DRUM_BLOCK, TONAL_BLOCK, block_for, stretch


@pytest.mark.parametrize("block", [DRUM_BLOCK, TONAL_BLOCK])
@pytest.mark.parametrize("rate", [0.8, 0.96, 1.04, 1.25])
def test_a_click_at_t_lands_at_t_over_rate(rate, block):
    times = np.arange(0.1, 5.8, 0.43)
    out = stretch(click_train(times, 6), RATE, rate, block)
    assert out.shape == (1, round(6 * RATE / rate))
    assert np.abs(attacks(out[0], times / rate)).max() < 0.0015


def test_the_pitch_stays():
    tone = np.sin(2 * np.pi * 220 * np.arange(4 * RATE) / RATE)[None].astype(np.float32)
    out = stretch(tone, RATE, 1.1, TONAL_BLOCK)[0, RATE:-RATE]
    spectrum = np.abs(np.fft.rfft(out * np.hanning(len(out))))
    assert np.argmax(spectrum) * RATE / len(out) == pytest.approx(220, abs=0.5)


def test_long_blocks_keep_a_chord_apart_where_short_ones_smear_it():
    time = np.arange(6 * RATE) / RATE
    partials = (220.0, 261.6, 329.6)
    chord = sum(np.sin(2 * np.pi * partial * time) for partial in partials)[None].astype(np.float32)

    def beside(block: float) -> float:
        out = stretch(chord, RATE, 0.9, block)[0, RATE:-RATE]
        power = np.abs(np.fft.rfft(out * np.blackman(len(out)))) ** 2
        frequency = np.fft.rfftfreq(len(out), 1 / RATE)
        near = np.any([np.abs(frequency - partial) < 7 for partial in partials], axis=0)
        return 10 * np.log10(power[~near].sum() / power.sum())

    assert beside(TONAL_BLOCK) < -50
    assert beside(DRUM_BLOCK) > -30


def test_two_runs_give_the_same_samples(band):
    clip = band(1, seconds=4.0)
    first, second = (stretch(clip.audio, RATE, 1.07, TONAL_BLOCK) for _ in range(2))
    assert np.array_equal(first, second)


def test_channels_stay_together():
    clicks = click_train(np.arange(0.1, 3, 0.3), 3)
    out = stretch(np.concatenate([clicks, -0.5 * clicks]), RATE, 1.1, DRUM_BLOCK)
    assert np.abs(out[1] + 0.5 * out[0]).max() < 0.02


@pytest.mark.parametrize("length", [1, 10, 700])
def test_hardly_any_audio_is_stretched_too(length):
    out = stretch(np.ones((2, length), np.float32), RATE, 0.8, TONAL_BLOCK)
    assert out.shape[0] == 2
    assert abs(out.shape[1] - length / 0.8) <= 0.5
    assert np.isfinite(out).all()


def test_drums_alone_get_short_blocks():
    def block(*roles: str) -> float:
        return block_for(for_analysis(make_clip(7, bpm=118, roles=roles, seconds=8).audio, RATE))

    assert block("drums") == DRUM_BLOCK
    for roles in (("bass",), ("chords",), ("drums", "lead"), ("drums", "bass", "chords", "lead")):
        assert block(*roles) == TONAL_BLOCK
