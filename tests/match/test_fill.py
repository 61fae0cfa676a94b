"""A section made anew: the rest stays, beats meet behind it, and neither end is heard."""

from __future__ import annotations

import numpy as np
import pytest
from clips import RATE, attacks, click_train
from targets import signature

from musicgen_bridge.match.fill import FADE, Section, fill, surroundings
from musicgen_bridge.match.loudness import integrated_loudness
from musicgen_bridge.match.resample import resample

FOUR = signature("4/4")
HZ = 44_100
BPM = 112.0
BEAT = 60 / BPM
START, END = 8 * BEAT + 0.2, 16 * BEAT + 0.2
BEFORE = 4.0
"""Seconds that the model hears."""


def noise(seconds: float, rate: int) -> np.ndarray:
    return 0.003 * np.random.default_rng(3).standard_normal((1, round(seconds * rate))).astype(np.float32)


def clicks(times: np.ndarray, seconds: float) -> np.ndarray:
    train = click_train(times, seconds)
    return 0.5 * train + noise(seconds + 1, RATE)[:, : train.shape[1]]


@pytest.fixture(scope="module")
def section() -> Section:
    """Six bars of clicks in stereo, the right side softer; the third and fourth bar are to be made anew."""
    mono = resample(clicks(0.2 + BEAT * np.arange(24), 24 * BEAT + 0.5), RATE, HZ)
    return Section(audio=np.concatenate([mono, 0.5 * mono]), sample_rate=HZ, start=START, end=END)


def played(section: Section, bpm: float, gain: float = 1.0, late: float = 0.0) -> np.ndarray:
    """Return what a model heard, and clicks that it played on at a tempo of its own."""
    heard = resample(section.audio, HZ, RATE)[:1]
    first = round((START - BEFORE) * RATE)
    new = clicks(late + 60 / bpm * np.arange(12), 12 * 60 / bpm)
    return np.concatenate([heard[:, first : round(START * RATE)], gain * new], axis=1)


@pytest.fixture(scope="module")
def kept(section):
    return surroundings(section, 118.0, FOUR)


def test_tempo_is_the_recording_s_whatever_the_session_s(kept):
    assert kept.grid.bpm == pytest.approx(BPM, rel=1e-3)
    assert abs((kept.grid.downbeat - 0.2 + BEAT / 2) % BEAT - BEAT / 2) < 0.005


@pytest.mark.parametrize(("bpm", "late"), [(BPM, 0.0), (BPM, 0.02), (111.0, 0.0), (BPM, 0.2), (BPM, 0.4)])
def test_beats_meet_behind_the_section(section, kept, bpm, late):
    out, moved = fill(section, kept, played(section, bpm, late=late), RATE, BEFORE, FOUR)
    assert out.audio.shape == section.audio.T.shape
    inside = START + BEAT * np.arange(1, 8)
    assert np.abs(attacks(out.audio[:, 0], inside, HZ)).max() < 0.006
    assert moved == pytest.approx((late + BEAT / 2) % BEAT - BEAT / 2, abs=0.006)


def test_outside_of_it_no_sample_changes(section, kept):
    out, _ = fill(section, kept, played(section, 111.0), RATE, BEFORE, FOUR)
    first, last = round((START - FADE) * HZ), round(END * HZ)
    assert np.array_equal(out.audio[:first].T, section.audio[:, :first])
    assert np.array_equal(out.audio[last:].T, section.audio[:, last:])
    assert not np.array_equal(out.audio[first:last].T, section.audio[:, first:last])


@pytest.mark.parametrize("gain", [0.3, 2.0])
def test_it_is_as_loud_as_what_is_around(section, kept, gain):
    out, _ = fill(section, kept, played(section, BPM, gain=gain), RATE, BEFORE, FOUR)
    first, last = round(START * HZ), round(END * HZ)
    inside = integrated_loudness(out.audio[first:last].T, HZ)
    assert inside == pytest.approx(integrated_loudness(section.around(), HZ), abs=1.5)
    assert np.abs(out.audio).max() <= np.abs(section.audio).max() + 0.1


def test_neither_end_is_a_step():
    """A tone played on in its own phase goes on through the first end, and the second joins another phase smoothly."""
    tone = 0.3 * np.sin(2 * np.pi * 220 * np.arange(12 * RATE) / RATE)[None].astype(np.float32)
    broken = np.concatenate([tone[:, : 6 * RATE], tone[:, 6 * RATE + 37 :]], axis=1)
    section = Section(audio=broken, sample_rate=RATE, start=4.0, end=8.0)
    out, late = fill(section, surroundings(section, 120, FOUR), tone[:, : 10 * RATE], RATE, 4.0, FOUR)
    assert late == 0
    steps = np.abs(np.diff(out.audio[:, 0]))
    assert steps.max() < 1.2 * np.abs(np.diff(tone[0])).max()


def test_where_too_little_was_played_it_says_how_much(section, kept):
    short = played(section, BPM)[:, : round((BEFORE + 2.0) * RATE)]
    out, _ = fill(section, kept, short, RATE, BEFORE, FOUR)
    assert out.report.short_s == pytest.approx(END - START - 2.0, abs=0.01)
    assert np.isfinite(out.audio).all()
