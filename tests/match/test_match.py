"""The whole pipeline: exact frames always, in time and on the beat, loud enough, and clear about bad input."""

from __future__ import annotations

import dataclasses
import json
from fractions import Fraction

import numpy as np
import pytest
from clips import RATE, attacks, click_train, make_drone
from hypothesis import given, settings
from hypothesis import strategies as st
from targets import exact_frames, signature, target

from musicgen_bridge.errors import AudioError
from musicgen_bridge.match import match, needed_seconds
from musicgen_bridge.match.loudness import integrated_loudness, true_peak

METRES = ("4/4", "3/4", "7/8", "6/8", "5/4", "5/8", "12/8", "15/16", "2/2", "1/4")
BEAT = click_train(np.arange(0.07, 2.5, 0.25), 2.5)


@settings(max_examples=40, deadline=None)
@given(
    bars=st.sampled_from([0.25, 0.5, 1, 2, 3.25, 7]),
    bpm=st.floats(20, 400),
    metre=st.sampled_from(METRES),
    rate=st.sampled_from([8_000, 11_025, 22_050, 44_100, 48_000, 88_200, 96_000, 192_000]),
    matched=st.booleans(),
    loop=st.booleans(),
    channels=st.sampled_from([1, 2]),
)
def test_the_frames_are_exact(bars, bpm, metre, rate, matched, loop, channels):
    wanted = target(bars, bpm, metre, rate, match=matched, loop=loop)
    if wanted.frames > 6 * rate:
        wanted = dataclasses.replace(wanted, frames=wanted.frames % (6 * rate) + 1)
    out = match(np.tile(BEAT, (channels, 1)), RATE, wanted)
    assert out.audio.shape == (wanted.frames, channels)
    assert out.audio.dtype == np.float32
    assert np.isfinite(out.audio).all()


@pytest.mark.parametrize("frames", [1, 2, 100, 4800])
def test_loops_of_a_tenth_of_a_second_and_less(frames):
    wanted = dataclasses.replace(target(), frames=frames)
    assert match(BEAT, RATE, wanted).audio.shape == (frames, 1)


@pytest.mark.parametrize("metre", ["4/4", "3/4", "7/8", "6/8", "5/4"])
@pytest.mark.parametrize("off", [0.82, 0.96, 1.04, 1.2])
def test_drums_land_on_the_sessions_grid(band, metre, off):
    clip = band(11, signature=metre, bpm=112.4, roles=("drums",), start=0.12)
    wanted = target(2, 112.4 / off, metre, 48_000, loudness=None)
    out = match(clip.audio, RATE, wanted)
    assert out.report.rate == pytest.approx(1 / off, rel=2e-4)
    bar = wanted.frames / 2 / 48_000
    assert np.abs(attacks(out.audio[:, 0], bar * np.arange(2), 48_000)).max() < 0.003


def test_every_beat_of_a_click_4_percent_off_lands_within_3_ms():
    clip = click_train(np.arange(0.3, 16, 60 / 124.8), 16)
    out = match(clip, RATE, target(6, 120, loudness=None))
    late = attacks(out.audio[:, 0], np.arange(24) * 0.5, 48_000)
    assert np.abs(late).max() < 0.003


def test_a_take_that_wanders_is_put_straight():
    steady = np.arange(0.3, 30, 60 / 117.0)
    played = steady + 0.02 * np.sin(steady * 2 * np.pi / 14)
    out = match(click_train(played, 30.3), RATE, target(14, 120, loudness=None))
    assert out.report.strayed_s == pytest.approx(0.02, abs=0.01)
    late = attacks(out.audio[:, 0], np.arange(1, 56) * 0.5, 48_000)
    assert np.abs(late).max() < 0.006
    assert np.quantile(np.abs(late), 0.9) < 0.004


def test_a_continuation_that_wanders_keeps_its_first_sample():
    steady = np.arange(0.0, 30, 60 / 117.0)
    played = steady + 0.02 * np.cos(steady * 2 * np.pi / 14)
    clip = click_train(played - played[0], 30)
    out = match(clip, RATE, target(12, 120, loudness=None, continues=True))
    assert out.report.strayed_s > 0.01
    late = attacks(out.audio[:, 0], np.arange(1, 48) * 0.5, 48_000)
    assert np.abs(late).max() < 0.008
    assert np.abs(late[0]) < 0.003


def test_the_cut_begins_with_the_bar(band):
    clip = band(3, bpm=118, start=-0.7)
    report = match(clip.audio, RATE, target(4, 120)).report
    assert np.abs(clip.downbeats - report.downbeat_s).min() < 0.005
    assert report.bpm == pytest.approx(118, rel=1e-3)
    assert not report.beatless
    assert report.short_s == 0


def test_the_level_the_peaks_and_the_seam(band):
    out = match(band(5, bpm=118, start=0.2).audio, RATE, target(4, 120))
    stem = out.audio.T
    assert out.report.lufs + out.report.shortfall_lu == pytest.approx(-14, abs=0.3)
    assert integrated_loudness(stem, 48_000) == pytest.approx(out.report.lufs)
    assert true_peak(np.tile(stem, 2), 48_000, loop=False) < -0.9
    step = abs(float(stem[0, 0] - stem[0, -1]))
    assert step < np.quantile(np.abs(np.diff(stem[0])), 0.999)


def test_the_same_input_gives_the_same_samples(band):
    clip = band(6, bpm=101)
    first, second = (match(clip.audio, RATE, target(3, 105)) for _ in range(2))
    assert np.array_equal(first.audio, second.audio)
    assert first.report == second.report


def test_without_match_only_rate_level_and_length_change(band):
    clip = band(6, bpm=101)
    out = match(clip.audio, RATE, target(3, 120, match=False, loop=False, sample_rate=RATE, loudness=None))
    fade = round(0.01 * RATE)
    assert np.array_equal(out.audio[:-fade, 0], clip.audio[0, : len(out.audio) - fade])
    assert (out.report.rate, out.report.downbeat_s) == (1.0, None)
    assert out.report.bpm == pytest.approx(101, rel=1e-3)


def test_a_continuation_is_cut_at_its_first_sample_but_kept_in_time(band):
    clip = band(6, bpm=101, start=-0.8)
    out = match(clip.audio, RATE, target(3, 103, continues=True, sample_rate=RATE, loudness=None))
    assert out.report.downbeat_s is None
    assert out.report.rate == pytest.approx(103 / 101, rel=1e-3)
    assert out.audio[0, 0] == pytest.approx(clip.audio[0, 0], abs=0.05)
    assert np.corrcoef(out.audio[:1600, 0], clip.audio[0, :1600])[0, 1] > 0.8
    assert abs(out.audio[-1, 0]) < 1e-3


def test_a_drone_is_not_stretched():
    drone = make_drone(4)
    out = match(drone, RATE, target(4, 126, sample_rate=RATE, loudness=None, loop=False))
    assert out.report.beatless
    assert (out.report.rate, out.report.bpm) == (1.0, 126)
    assert np.allclose(out.audio[:1000, 0], drone[0, :1000] - drone.mean(), atol=1e-6)


def test_audio_that_is_too_short_repeats_its_last_bar_in_time():
    clip = click_train(np.arange(0.1, 9, 0.5), 9)
    out = match(clip, RATE, target(8, 120, loudness=None))
    assert out.report.short_s == pytest.approx(16 - 8.9, abs=0.01)
    assert np.abs(attacks(out.audio[:, 0], np.arange(32) * 0.5, 48_000)).max() < 0.003
    assert np.abs(out.audio).reshape(8, -1).max(axis=1).min() > 0.1


def test_stereo_keeps_its_sides(band):
    clip = band(6, bpm=101)
    out = match(np.concatenate([clip.audio, 0.25 * clip.audio]), RATE, target(2, 105))
    assert np.abs(out.audio[:, 1] - 0.25 * out.audio[:, 0]).max() < 0.01


def test_silence_stays_silence():
    out = match(np.zeros((2, 4 * RATE), np.float32), RATE, target(2))
    assert out.audio.shape == (192_000, 2)
    assert not out.audio.any()
    assert (out.report.lufs, out.report.true_peak_db, out.report.key) == (None, None, None)
    assert out.report.beatless


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_audio_that_is_not_finite_is_refused(bad):
    audio = np.zeros((1, RATE), np.float32)
    audio[0, 5] = bad
    with pytest.raises(AudioError, match="not finite: render again"):
        match(audio, RATE, target())


@pytest.mark.parametrize("shape", [(1, 0), (0, 100), (100,)])
def test_empty_audio_is_refused(shape):
    with pytest.raises(AudioError, match="empty: render again"):
        match(np.zeros(shape, np.float32), RATE, target())


@pytest.mark.parametrize("samples", [1, 50, 3000])
def test_a_few_samples_are_enough(samples):
    out = match(np.full((1, samples), 0.1, np.float32), RATE, target(1))
    assert out.audio.shape == (96_000, 1)
    assert out.report.short_s > 1.8


def test_the_report_is_plain_json(band):
    report = match(band(6, bpm=101).audio, RATE, target(2, 105)).report
    values = json.loads(json.dumps(dataclasses.asdict(report), allow_nan=False))
    assert values["key"] == report.key
    assert values["rate"] == report.rate


def test_what_the_model_must_make():
    assert needed_seconds(target(4, 120)) == pytest.approx(8 * 1.05 + 2 + 0.5)
    assert needed_seconds(target(4, 120, "7/8")) == pytest.approx(7 * 1.05 + 1.75 + 0.5)
    assert needed_seconds(target(4, 120, continues=True)) == pytest.approx(8 * 1.05)
    assert needed_seconds(target(4, 120, match=False)) == pytest.approx(8.02)


def test_what_was_asked_of_the_model_is_enough(band):
    """5 % slower than the session, beginning just after a downbeat: the worst that the reserve is for."""
    wanted = target(4, 126)
    clip = band(9, bpm=120, start=-0.05, seconds=needed_seconds(wanted))
    assert match(clip.audio, RATE, wanted).report.short_s == 0


def test_the_protocols_length():
    quarters = Fraction(4) * signature("7/8").quarters
    assert len(match(BEAT, RATE, target(4, 126.5, "7/8")).audio) == exact_frames(quarters, 126.5, 48_000) == 318_735


@pytest.mark.parametrize("seed", range(4))
def test_what_opens_a_bar_is_not_searched_for_a_downbeat(band, seed):
    clip = band(seed, bpm=118, start=0.0, roles=("chords", "lead"))
    report = match(clip.audio, RATE, target(4, 120, opens=True)).report
    assert np.abs(clip.downbeats - report.downbeat_s).min() < 0.008
    assert report.downbeat_confidence == 1


def test_what_opens_a_bar_between_the_beats_opens_it_all_the_same():
    """All that is heard after the first sample is off the beat."""
    times = 0.5 * np.arange(32) + 0.19
    report = match(click_train(times, 16), RATE, target(4, 120, opens=True)).report
    assert report.downbeat_s == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_what_opens_a_bar_needs_no_further_bar_and_is_cut_from_its_first(band, seed):
    """A melody's first bar stays the first."""
    searched, opening = target(4, 120), target(4, 120, opens=True)
    assert needed_seconds(searched) - needed_seconds(opening) == pytest.approx(2.0)
    clip = band(seed, bpm=118, start=0.0, seconds=needed_seconds(opening))
    report = match(clip.audio, RATE, opening).report
    assert report.downbeat_s == pytest.approx(0, abs=0.01)
    assert report.short_s == 0
