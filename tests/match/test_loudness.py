"""Loudness against the standard's own figures, true peaks by another oversampling, and the limiter that goes round."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pyloudnorm
import pytest
from clips import RATE, make_clip
from scipy.signal import resample_poly

from musicgen_bridge.match.loudness import integrated_loudness, level, limit, true_peak


def tone(frequency: float, db: float, rate: int, seconds: float = 3.0, channels: int = 2) -> np.ndarray:
    wave = 10 ** (db / 20) * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)
    return np.tile(wave, (channels, 1)).astype(np.float32)


def oversampled_peak(loop: np.ndarray) -> float:
    """True peak in dBTP of a loop between its neighbours, eight times oversampled by scipy."""
    several = resample_poly(np.tile(loop, 3).astype(np.float64), 8, 1, axis=1)
    middle = several[:, 8 * loop.shape[1] : 16 * loop.shape[1]]
    return 20 * np.log10(np.abs(middle).max())


@pytest.mark.parametrize("rate", [8_000, 32_000, 44_100, 48_000, 50_000, 96_000, 192_000])
def test_the_standards_tone_measures_the_same_at_every_rate(rate):
    """BS.1770: 997 Hz at 0 dBFS in one channel is -3.01 LUFS; EBU Tech 3341, case 1: -23 dBFS in both is -23 LUFS."""
    assert integrated_loudness(tone(997, 0, rate, channels=1), rate) == pytest.approx(-3.01, abs=0.05)
    assert integrated_loudness(tone(1000, -23, rate), rate) == pytest.approx(-23, abs=0.1)


@pytest.mark.parametrize("seconds", [0.01, 0.1, 0.39, 0.5])
def test_a_loop_measures_like_itself_going_round(seconds):
    loop = tone(500, -20, 48_000, seconds)
    loop[:, loop.shape[1] // 3 :] *= 0.02  # a beat and a rest: where a gating block begins matters
    around = integrated_loudness(np.tile(loop, round(10 / seconds)), 48_000)
    assert integrated_loudness(loop, 48_000) == pytest.approx(around, abs=0.15)


def test_silence_has_no_loudness():
    silence = np.zeros((2, 4800), np.float32)
    assert integrated_loudness(silence, 48_000) is None
    levelled = level(silence, 48_000, -14, -1, loop=True)
    assert (levelled.lufs, levelled.true_peak_db, levelled.shortfall) == (None, None, 0)
    assert not levelled.audio.any()


def test_a_true_peak_between_the_samples_is_seen():
    """A quarter of the rate, 45 degrees off: samples at -3.01 dB, the wave at 0."""
    wave = np.sin(np.pi / 2 * np.arange(48_000) + np.pi / 4)[None].astype(np.float32)
    assert 20 * np.log10(np.abs(wave).max()) == pytest.approx(-3.01, abs=0.01)
    assert true_peak(wave, 48_000, loop=True) == pytest.approx(0, abs=0.1)


def test_a_true_peak_over_the_seam_is_seen():
    wave = 0.1 * np.ones((1, 4800), np.float32)
    wave[0, 0], wave[0, -1] = 0.9, 0.9
    assert true_peak(wave, 48_000, loop=True) > true_peak(wave, 48_000, loop=False) + 0.3


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000, 50_000, 192_000])
def test_a_loops_peaks_stay_under_the_ceiling_over_the_seam_too(rate):
    spectrum = np.fft.rfft(0.2 * np.random.default_rng(0).standard_normal((2, rate // 2)))
    spectrum[:, 8000:] = 0  # 16 kHz, the model's band, in steps of 2 Hz
    loop = np.fft.irfft(spectrum, rate // 2)
    loop /= 5 * loop.std()
    loop[:, :20] += 1.5 * np.hanning(40)[20:]  # the loudest place is where the loop closes
    loop[:, -20:] += 1.5 * np.hanning(40)[:20]
    limited = limit(loop.astype(np.float32), rate, -1, loop=True)
    assert oversampled_peak(limited) < -0.9
    assert np.abs(limited).max() > 0.7
    assert limited.shape == loop.shape


def test_a_rate_at_which_the_limiter_sees_samples_only_keeps_the_ceiling_too():
    """A quarter of the rate, 45 degrees off: each peak stands 3 dB over its samples."""
    wave = 1.2 * np.sin(np.pi / 2 * np.arange(50_000) + np.pi / 4)[None].astype(np.float32)
    assert oversampled_peak(limit(wave, 50_000, -1, loop=True)) < -0.95


def test_the_limiters_gain_goes_round_without_a_step():
    loop = tone(300, -9, 48_000, seconds=1)
    loop[:, :2000] *= 4  # loud where it begins: the gain must be down already where it ends
    gain = np.abs(limit(loop, 48_000, -1, loop=True)).max(axis=0) / (np.abs(loop).max(axis=0) + 1e-9)
    clear = np.abs(loop[0]) > 0.05
    first, last = gain[:200][clear[:200]], gain[-96:][clear[-96:]]
    assert last[-1] == pytest.approx(first[0], abs=0.05)
    assert gain[24_040] == pytest.approx(1, abs=0.02)


def test_the_limiter_delays_nothing_and_leaves_quiet_places_alone():
    audio = tone(300, -12, 48_000, seconds=2)
    audio[:, 48_000:48_010] *= 6
    limited = limit(audio, 48_000, -1, loop=True)
    assert np.abs(limited - audio)[:, :40_000].max() < 1e-3
    assert limit(tone(300, -12, 48_000), 48_000, -1, loop=True) is not None


@pytest.mark.parametrize("roles", [("drums",), ("chords",), ("drums", "bass", "chords", "lead")])
@pytest.mark.parametrize("lufs", [-9.0, -14.0, -23.0])
def test_the_target_is_met_or_the_shortfall_told(roles, lufs):
    audio = make_clip(5, bpm=110, roles=roles, seconds=6).audio
    levelled = level(audio, RATE, lufs, -1, loop=True)
    reached = integrated_loudness(levelled.audio, RATE)
    assert levelled.lufs == pytest.approx(reached)
    assert reached + levelled.shortfall == pytest.approx(lufs, abs=0.3)
    assert levelled.shortfall < 0.1 or lufs > -20
    assert oversampled_peak(levelled.audio) < -0.9


def test_a_sparse_click_falls_short_rather_than_being_crushed():
    clicks = np.zeros((1, 4 * RATE), np.float32)
    clicks[0, ::RATE] = 0.5
    clicks += 1e-3 * np.random.default_rng(0).standard_normal(clicks.shape).astype(np.float32)
    levelled = level(clicks, RATE, -14, -1, loop=True)
    assert levelled.shortfall > 3
    assert levelled.lufs + levelled.shortfall == pytest.approx(-14, abs=0.1)


def test_without_a_target_only_peaks_change():
    quiet = tone(300, -30, 48_000)
    assert np.array_equal(level(quiet, 48_000, None, -1, loop=True).audio, quiet)
    loud = level(tone(300, 3, 48_000), 48_000, None, -1, loop=True)
    assert loud.true_peak_db <= -0.99
    assert loud.shortfall == 0


@pytest.mark.parametrize("seconds", [3.04, 3.06, 17.0])
def test_the_loudness_is_pyloudnorms_to_the_last_digit(seconds):
    audio = np.random.default_rng(1).standard_normal((2, round(seconds * 48_000))).astype(np.float32)
    audio *= np.exp(-2 * (np.arange(audio.shape[1]) / 48_000 % 2)).astype(np.float32)  # so that the gates matter
    meter = pyloudnorm.Meter(48_000, filter_class="DeMan")
    assert integrated_loudness(audio, 48_000) == meter.integrated_loudness(audio.T.astype(np.float64))


@pytest.mark.parametrize("meter", [integrated_loudness, lambda audio, rate: true_peak(audio, rate, loop=True)])
def test_a_long_recording_is_not_copied_to_be_measured(meter):
    audio = np.tile(tone(440, -12, 48_000, 30.0), 8)
    tracemalloc.start()
    try:
        meter(audio, 48_000)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < audio.nbytes / 2
