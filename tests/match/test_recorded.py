"""A musician's own recording is matched like a take, but its first bar stays the first, and its samples may stay."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from clips import click_train, make_drone
from targets import signature, target

from musicgen_bridge.match import bars_in, match

RATE = 32_000


def loop(band, bars=4, **more):
    """Return a clip of whole bars, cut on its downbeats."""
    clip = band(3, bpm=118, start=0.0, **more)
    first, last = (round(clip.downbeats[at] * RATE) for at in (0, bars))
    return clip.audio[:, first:last]


def test_the_first_bar_stays_the_first(band):
    audio = np.concatenate([loop(band, 4), loop(band, 4)], axis=1)
    wanted = target(4, 118, loudness=None)
    assert match(audio, RATE, wanted).report.downbeat_s > 1.5  # of a take: there is a run-up to its second bar
    assert match(audio, RATE, target(4, 118, loudness=None, recorded=True)).report.downbeat_s < 0.01


@pytest.mark.parametrize("length", [RATE // 2 + 1, RATE, 2 * RATE])
def test_without_match_and_loop_every_sample_stays(length):
    audio = np.random.default_rng(0).normal(0, 0.3, (2, RATE)).astype(np.float32)  # peaks above full scale
    wanted = target(sample_rate=RATE, recorded=True, match=False, loop=False, loudness=None, ceiling=math.inf)
    wanted = dataclasses.replace(wanted, frames=length)
    out = match(audio, RATE, wanted)
    kept = min(length, RATE)
    assert np.array_equal(out.audio[:kept].T, audio[:, :kept])
    assert not out.audio[kept:].any()
    assert out.report.short_s == (length - kept) / RATE


@pytest.mark.parametrize(("metre", "bpm"), [("4/4", 118.0), ("7/8", 97.5), ("3/4", 140.0)])
@pytest.mark.parametrize("extra", [0.0, 0.4, -0.02])
def test_whole_bars_are_counted(band, metre, bpm, extra):
    clip = band(3, signature=metre, bpm=bpm, start=0.3, seconds=16)
    bar = np.diff(clip.downbeats)[0]
    end = clip.downbeats[0] + (4 + extra) * bar
    assert bars_in(clip.audio[:, : round(end * RATE)], RATE, bpm * 1.05, signature(metre)) == 4


@pytest.mark.parametrize("bars", [2, 3])
@pytest.mark.parametrize("loudest", [0, 1, 2, 3])
def test_a_loop_begins_with_its_bar_whatever_its_accents(bars, loudest):
    beat = 60 / 118
    clip = 0.3 * click_train(np.arange(4 * bars) * beat, 4 * bars * beat)
    for bar in range(bars):
        at = round((4 * bar + loudest) * beat * RATE)
        clip[:, at : at + 3_000] *= 3
    wanted = target(bars, 110, loudness=None, recorded=True)
    report = match(clip, RATE, wanted).report
    assert bars_in(clip, RATE, 110, signature("4/4")) == bars
    assert abs(report.downbeat_s) < 0.01
    assert report.short_s < 0.01
    longer = np.concatenate([np.zeros((1, RATE // 4), np.float32), clip], axis=1)  # no loop: it begins on no beat
    assert abs(match(longer, RATE, wanted).report.downbeat_s) > 0.2


@pytest.mark.parametrize("bars", [2, 4])
@pytest.mark.parametrize("eighth", [3, 5])
def test_a_loop_begins_with_its_bar_though_the_bass_comes_between_the_beats(bars, eighth):
    beat = 60 / 118
    clip = 0.3 * click_train(np.arange(8 * bars) * beat / 2, 4 * bars * beat)
    time = np.arange(RATE // 5) / RATE
    kick = 0.8 * np.sin(2 * np.pi * 60 * time) * np.exp(-18 * time)
    for bar in range(bars):
        at = round((4 * bar + eighth / 2) * beat * RATE)
        clip[:, at : at + len(kick)] += kick.astype(np.float32)
    report = match(clip, RATE, target(bars, 110, loudness=None, recorded=True)).report
    assert abs(report.downbeat_s) < 0.01
    assert report.short_s < 0.01


def test_without_a_beat_the_session_s_bars_count_and_less_than_one_is_one():
    assert bars_in(make_drone(1), RATE, 120, signature("4/4")) == 8
    assert bars_in(make_drone(1, 1.5), RATE, 120, signature("4/4")) == 1


def test_a_tempo_that_is_known_may_be_far_from_the_session_s():
    clip = click_train(np.arange(0.05, 12, 60 / 84), 12)
    assert match(clip, RATE, target(4, 126)).report.bpm != pytest.approx(84, rel=0.01)
    out = match(clip, RATE, target(4, 126, recorded=True, own_bpm=84))
    assert (out.report.bpm, out.report.rate) == (pytest.approx(84, rel=1e-3), pytest.approx(1.5, rel=1e-3))


def test_a_drone_whose_tempo_is_known_is_stretched():
    out = match(make_drone(4), RATE, target(4, 126, recorded=True, own_bpm=84))
    assert out.report.beatless
    assert out.report.rate == 1.5


@pytest.mark.parametrize(("gain", "offset"), [(1.0, 0.0), (0.4, 0.5), (0.4, -0.5), (1e-3, 0.0), (1e-3, 2e-3)])
def test_neither_an_offset_nor_a_faint_level_is_heard_in_the_stem(band, gain, offset):
    audio = loop(band, 4)
    wanted = target(4, 126.5, recorded=True)
    clean = match(audio, RATE, wanted)
    out = match((gain * audio + offset).astype(np.float32), RATE, wanted)
    assert out.report.lufs == pytest.approx(clean.report.lufs, abs=0.2)
    assert out.report.bpm == pytest.approx(clean.report.bpm, rel=1e-3)
    assert np.abs(out.audio.mean()) < 1e-3


def test_an_offset_of_the_model_s_is_not_heard_in_the_stem_either(band):
    audio = loop(band, 4)
    clean, out = (match(each, RATE, target(4, 126.5)) for each in (audio, 0.4 * audio + np.float32(0.1)))
    assert out.report.lufs == pytest.approx(clean.report.lufs, abs=0.2)
    assert np.abs(out.audio.mean()) < 1e-3


def test_what_a_model_leaves_silent_is_not_made_loud(band):
    faint = 1e-3 * loop(band, 4)
    assert np.abs(match(faint, RATE, target(4, 126.5)).audio).max() < 1e-3
