"""Music along a tempo map: each beat where the map has it, the pitch as it was, no hole and no click."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from clips import RATE, attacks, click_train, make_drone
from targets import target

from musicgen_bridge.match import Matched, match
from musicgen_bridge.match.loudness import integrated_loudness, true_peak
from musicgen_bridge.match.stretch import DRUM_BLOCK, TONAL_BLOCK, stretch
from musicgen_bridge.match.warp import _turns, warp
from musicgen_bridge.tempo_map import Signature, TempoMap, TempoPoint

STEP = (TempoPoint(0.0, 97.5, 97.5, Signature(7, 8)), TempoPoint(14.0, 120.0, 120.0, Signature(4, 4)))
SLOWER = (TempoPoint(0.0, 120.0, 90.0),)
BOTH = (TempoPoint(0.0, 100.0, 110.0), TempoPoint(8.0, 110.0, 95.0), TempoPoint(20.0, 104.0, 104.0))
HUMAN = tuple(TempoPoint(float(beat), bpm, bpm) for beat, bpm in enumerate((100.0, 97.3, 104.1, 101.2, 98.8) * 6))
MAPS = {
    "a step": TempoMap(STEP, Fraction(30)),
    "a glide": TempoMap(SLOWER, Fraction(32)),
    "glides and a step": TempoMap(BOTH, Fraction(28)),
    "a tempo a beat": TempoMap(HUMAN, Fraction(30)),
}


def follow(name: str, audio: np.ndarray, **more) -> Matched:
    """Match audio to a map."""
    tempo_map = MAPS[name]
    signature = str(tempo_map.points[0].signature or "4/4")
    wanted = target(1, tempo_map.bpm, signature, 48_000, **more)
    frames = tempo_map.frames(48_000)
    return match(audio, RATE, dataclasses.replace(wanted, frames=frames, tempo_map=tempo_map))


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("off", [0.96, 1.0, 1.05])
def test_every_beat_lands_on_the_map(name, off):
    tempo_map = MAPS[name]
    beats = int(tempo_map.quarters)
    times = 0.4 + 60 / (tempo_map.bpm * off) * np.arange(beats + 6)
    audio = click_train(times, times[-1] + 0.4)
    out = follow(name, audio, loudness=None)
    assert out.audio.shape == (tempo_map.frames(48_000), 1)
    wanted = np.array([tempo_map.seconds(beat) for beat in range(beats)])
    assert np.abs(attacks(out.audio[:, 0], wanted, 48_000)).max() < 0.003
    assert out.report.short_s == 0


@pytest.mark.parametrize("block", [DRUM_BLOCK, TONAL_BLOCK])
@pytest.mark.parametrize("name", MAPS)
def test_a_click_is_heard_when_the_curve_says(name, block):
    tempo_map = MAPS[name]
    beats = np.arange(int(tempo_map.quarters))
    clicks = click_train(0.3 + beats * 0.55, 0.55 * len(beats) + 0.5)
    out = warp(clicks, RATE, lambda now: 0.3 + 0.55 * tempo_map.position(now - 0.1), float(tempo_map.duration), block)
    assert out.shape == (1, round(float(tempo_map.duration) * RATE))
    heard = np.array([0.1 + tempo_map.seconds(beat) for beat in beats])
    assert np.abs(attacks(out[0], heard)).max() < 0.002


def test_at_its_own_pace_music_is_left_as_it_is(band):
    audio = band(1, seconds=4.0).audio
    out = warp(audio, RATE, lambda now: now, 4.0, TONAL_BLOCK)
    assert np.abs(out - audio)[:, RATE // 5 : -RATE // 5].max() < 1e-4


def test_outside_of_the_audio_is_silence():
    out = warp(np.ones((1, RATE), np.float32), RATE, lambda now: now - 2, 5.0, DRUM_BLOCK)
    assert not out[:, : int(1.9 * RATE)].any()
    assert out[:, int(2.2 * RATE) : int(2.8 * RATE)].min() > 0.5
    assert not out[:, int(3.1 * RATE) :].any()


@pytest.mark.parametrize("samples", [1, 10, 700])
def test_hardly_any_audio_is_bent_too(samples):
    out = warp(np.ones((2, samples), np.float32), RATE, lambda now: 0.8 * now, 0.1, TONAL_BLOCK)
    assert out.shape == (2, RATE // 10)
    assert np.isfinite(out).all()


def test_channels_stay_together():
    clicks = click_train(np.arange(0.1, 3, 0.3), 3)
    out = warp(np.concatenate([clicks, -0.5 * clicks]), RATE, lambda now: 1.1 * now, 2.5, DRUM_BLOCK)
    assert np.abs(out[1] + 0.5 * out[0]).max() < 1e-5


def test_at_one_rate_a_click_lands_where_the_library_puts_it():
    clicks = click_train(np.arange(0.1, 6, 0.43), 6)
    ours = warp(clicks, RATE, lambda now: 1.07 * now, 5.5, DRUM_BLOCK)
    theirs = stretch(clicks, RATE, 1.07, DRUM_BLOCK)
    times = np.arange(0.1, 5.5, 0.43) / 1.07
    assert np.abs(attacks(ours[0], times) - attacks(theirs[0], times)).max() < 0.001


def test_all_hops_at_once_give_what_one_bin_after_the_other_gives():
    rng = np.random.default_rng(1)
    hops, bins = 7, 30
    links = (rng.normal(size=(4, hops, bins)) + 1j * rng.normal(size=(4, hops, bins))).astype(np.complex64)
    links[0, :, :1], links[1, :, -1:], links[2, :, :4], links[3, :, -4:] = 0, 0, 0, 0
    links[:, 3, 10] = 0  # nothing is known of this one
    before = np.exp(1j * rng.normal(size=bins)).astype(np.complex64)
    slow = np.zeros((hops, bins), np.complex64)
    for hop in range(hops):
        above = before if hop == 0 else slow[hop - 1]
        for at in range(bins):
            known = [(slow[hop], at - 1), (above, at + 1), (slow[hop], at - 4), (above, at + 4)]
            turn = sum(links[n, hop, at] * turns[i] for n, (turns, i) in enumerate(known) if 0 <= i < bins)
            slow[hop, at] = turn / abs(turn) if abs(turn) > 1e-6 else 1
    assert np.abs(_turns(links, before) - slow).max() < 1e-4


@pytest.mark.parametrize("name", MAPS)
def test_a_chord_stays_pure_and_level_along_a_map(name):
    tempo_map, partials = MAPS[name], (220.0, 261.6, 329.6)
    seconds = float(tempo_map.duration)
    time = np.arange(int((seconds + 1) * RATE)) / RATE
    chord = sum(0.2 * np.sin(2 * np.pi * partial * time) for partial in partials)[None].astype(np.float32)
    pace = seconds / float(tempo_map.quarters)
    heard = warp(chord, RATE, lambda now: pace * tempo_map.position(now), seconds, TONAL_BLOCK)[0, RATE:-RATE]
    power = np.abs(np.fft.rfft(heard * np.blackman(len(heard)))) ** 2
    frequency = np.fft.rfftfreq(len(heard), 1 / RATE)
    near = np.any([np.abs(frequency - partial) < 7 for partial in partials], axis=0)
    assert 10 * np.log10(power[~near].sum() / power.sum()) < -30
    level = np.sqrt(np.convolve(heard.astype(np.float64) ** 2, np.ones(3200) / 3200, "valid"))
    assert 20 * np.log10(level.min() / np.median(level)) > -3


def test_a_loop_along_a_map_has_its_level_its_peaks_and_its_seam(band):
    clip = band(5, bpm=104, start=0.2, seconds=24.0)
    out = follow("glides and a step", clip.audio)
    stem = out.audio.T
    assert out.report.lufs + out.report.shortfall_lu == pytest.approx(-14, abs=0.3)
    assert integrated_loudness(stem, 48_000) == pytest.approx(out.report.lufs)
    assert true_peak(np.tile(stem, 2), 48_000, loop=False) < -0.9
    assert abs(float(stem[0, 0] - stem[0, -1])) < np.quantile(np.abs(np.diff(stem[0])), 0.999)
    assert out.report.warning is None


def test_music_that_is_too_short_goes_on_in_time():
    tempo_map = MAPS["a glide"]
    out = follow("a glide", click_train(np.arange(0.4, 12, 60 / 103), 12), loudness=None)
    assert out.report.short_s == pytest.approx(0.4 + 32 * 60 / 103 - 12, abs=0.05)
    wanted = np.array([tempo_map.seconds(beat) for beat in range(32)])
    assert np.abs(attacks(out.audio[:, 0], wanted, 48_000)).max() < 0.003


def test_a_continuation_follows_the_map_from_its_first_sample():
    tempo_map = MAPS["a step"]
    clip = click_train(np.arange(0, 18, 60 / 108), 18)
    out = follow("a step", clip, loudness=None, continues=True)
    assert out.report.downbeat_s is None
    wanted = np.array([tempo_map.seconds(beat) for beat in range(1, 30)])
    assert np.abs(attacks(out.audio[:, 0], wanted, 48_000)).max() < 0.003


def test_what_has_no_beat_is_left_alone_and_says_so():
    out = follow("a glide", make_drone(4, 30.0), loudness=None)
    assert out.report.rate == 1
    assert "no beat" in out.report.warning


def test_a_map_that_goes_too_far_is_followed_and_says_so():
    points = (TempoPoint(0.0, 80.0, 80.0), TempoPoint(8.0, 150.0, 150.0))
    tempo_map = TempoMap(points, Fraction(24))
    times = np.arange(0.4, 24, 60 / tempo_map.bpm)
    wanted = target(1, tempo_map.bpm, "4/4", 48_000, loudness=None)
    out = match(
        click_train(times, 24), RATE, dataclasses.replace(wanted, frames=tempo_map.frames(48_000), tempo_map=tempo_map)
    )
    assert "from 80 to 150" in out.report.warning
    beats = np.array([tempo_map.seconds(beat) for beat in range(24)])
    assert np.abs(attacks(out.audio[:, 0], beats, 48_000)).max() < 0.003
