"""Music along a tempo map: each beat where the map has it, the pitch as it was, no gap and no click at the joins."""

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
from musicgen_bridge.match.warp import straight_pieces, warp
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
def test_a_known_time_is_heard_where_it_should_be(name, block):
    tempo_map = MAPS[name]
    places = np.arange(0, float(tempo_map.quarters) + 1e-9, 1 / 16)
    sources, wanted = 0.3 + places * 0.55, np.array([tempo_map.seconds(place) for place in places])
    out, start = warp(click_train(sources[::8], sources[-1] + 0.5), RATE, sources, wanted, block)
    assert np.abs(attacks(out[0], start + wanted[:-8:8])).max() < 0.002


def test_one_line_is_one_stretch():
    clicks = click_train(np.arange(0.1, 6, 0.5), 6)
    out, start = warp(clicks, RATE, np.array([0.5, 1.0, 5.0]), np.array([0.0, 0.4, 3.6]), DRUM_BLOCK)
    assert np.array_equal(out, stretch(clicks, RATE, 1.25, DRUM_BLOCK))
    assert start == pytest.approx(0.4)


def test_the_fewest_lines_that_stay_near():
    sources = np.linspace(0, 10, 400)
    places = sources + 0.02 * np.sin(sources)
    kept = straight_pieces(sources, places, 0.001)
    assert np.abs(np.interp(sources, sources[kept], places[kept]) - places).max() < 0.001
    assert len(kept) < 30
    assert straight_pieces(sources, 3 * sources, 0.001) == [0, 399]


@pytest.mark.parametrize("name", MAPS)
def test_a_tone_keeps_its_pitch_and_has_no_hole_and_no_click(name):
    tempo_map, hertz = MAPS[name], 220.0
    seconds = float(tempo_map.duration)
    places = np.arange(0, float(tempo_map.quarters) + 1e-9, 1 / 16)
    tone = 0.5 * np.sin(2 * np.pi * hertz * np.arange(int((seconds + 2) * RATE)) / RATE)[None].astype(np.float32)
    sources = 0.5 + places * seconds / float(tempo_map.quarters)
    out, _ = warp(tone, RATE, sources, np.array([tempo_map.seconds(place) for place in places]), TONAL_BLOCK)
    heard = out[0, RATE:-RATE].astype(np.float64)
    spectrum = np.abs(np.fft.rfft(heard * np.hanning(len(heard))))
    assert np.argmax(spectrum) * RATE / len(heard) == pytest.approx(hertz, abs=1)
    assert np.abs(np.diff(heard)).max() < 1.5 * 0.5 * 2 * np.pi * hertz / RATE
    level = np.sqrt(np.convolve(heard**2, np.ones(480) / 480, "valid"))
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
