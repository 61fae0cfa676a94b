"""Scores tell better takes from worse ones."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from clips import RATE, make_drone
from targets import target

from musicgen_bridge.match import match, melody_fit, score
from musicgen_bridge.match.score import Scores, key_fit


@pytest.fixture(scope="module")
def report(band):
    return match(band(6, bpm=101).audio, RATE, target(2, 101)).report


def test_a_take_nearer_the_session_s_tempo_is_better(report):
    near, far = (score(dataclasses.replace(report, rate=rate), matched=True).tempo for rate in (1.01, 1.15))
    assert 1 >= near > 0.9 > far


def test_a_beat_is_better_than_none(report):
    drone = match(make_drone(2), RATE, target(2, 101)).report
    one, other = score(report, matched=True), score(drone, matched=True)
    assert one.tempo > other.tempo and one.downbeat > other.downbeat == 0
    assert one.total > other.total


def test_what_was_not_asked_for_does_not_count(report):
    assert score(report, matched=False) == Scores(tempo=None, downbeat=None, key=None, melody=None)
    assert score(report, matched=False).total == 0
    assert score(report, matched=False, melody=0.6).total == 0.6


@pytest.mark.parametrize(
    ("wanted", "heard", "fit"),
    [
        ("Bb minor", "A# minor", 1.0),
        ("C major", "G major", 0.5),
        ("C major", "F major", 0.5),
        ("C major", "A minor", 0.3),
        ("A minor", "C major", 0.3),
        ("C major", "C minor", 0.2),
        ("C major", "D major", 0.0),
        ("C major", "G minor", 0.0),
        ("C major", None, 0.0),
    ],
)
def test_keys_by_mirex(wanted, heard, fit):
    assert key_fit(wanted, heard) == fit


def test_the_key_asked_for_is_better_the_surer_it_is(report):
    sure = dataclasses.replace(report, key="A# minor", key_confidence=0.8)
    assert score(sure, matched=True, key="Bb minor").key == 0.8
    assert score(sure, matched=True, key="C major").key == 0
    assert score(sure, matched=True).key is None


def tune(pitches, rate=RATE, seconds=0.5):
    times = np.arange(round(seconds * rate)) / rate
    notes = [np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * times) for pitch in pitches]
    return (0.5 * np.concatenate(notes))[None].astype(np.float32)


def test_the_same_tune_elsewhere_fits_and_another_does_not():
    melody = tune([60, 64, 67, 65], 44_100)
    assert melody_fit(tune([72, 76, 79, 77]), RATE, melody, 44_100) > 0.9
    assert melody_fit(tune([61, 66, 70, 68]), RATE, melody, 44_100) < 0.3
    assert melody_fit(tune([72, 76, 79, 77] * 2), RATE, melody, 44_100) > 0.85  # a short melody begins again
    assert melody_fit(np.zeros((1, RATE), np.float32), RATE, melody, 44_100) == 0
