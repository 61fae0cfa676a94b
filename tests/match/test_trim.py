"""Where the cut begins, and what fills up audio that is too short."""

from __future__ import annotations

import numpy as np
import pytest
from clips import RATE, attacks, click_train

from musicgen_bridge.match.trim import cut, first_bar, lengthen


@pytest.mark.parametrize(
    ("downbeat", "length", "expected"),
    [
        (0.3, 9.0, 0.3),
        (0.01, 11.0, 2.01),  # the second bar has a pre-roll, and all of it is there
        (0.01, 10.0, 0.01),  # it is not: rather no pre-roll than music that is missing
        (-0.015, 9.9, -0.015),
        (-0.015, 10.0, 1.985),
    ],
)
def test_the_first_bar(downbeat, length, expected):
    assert first_bar(downbeat, bar=2.0, span=8.0, length=length) == pytest.approx(expected)


def test_what_is_missing_repeats_the_last_bar_in_time():
    beat = 60 / 103.7  # a bar is no whole number of frames
    audio = click_train(np.arange(0, 7, beat), 7)
    out = lengthen(audio, 30 * RATE, 4 * beat * RATE, RATE)
    assert out.shape == (1, 30 * RATE)
    untouched = 7 * RATE - int(np.ceil(4 * beat * RATE))
    assert np.array_equal(out[:, :untouched], audio[:, :untouched])
    assert np.abs(attacks(out[0], np.arange(1, int(29 / beat)) * beat)).max() < 0.001


def test_half_a_frame_a_bar_never_adds_up():
    bar = 2400.5
    audio = click_train(np.arange(13) * bar / RATE, 13 * bar / RATE)
    out = lengthen(audio, int(200 * bar), bar, RATE)
    assert np.abs(attacks(out[0], np.arange(1, 199) * bar / RATE)).max() < 0.0005


def test_less_than_a_bar_is_followed_by_silence():
    out = lengthen(np.ones((2, 1000), np.float32), 5000, 1001, RATE)
    assert out.shape == (2, 5000)
    assert out[:, :500].min() == 1
    assert not out[:, 1000:].any()


def test_enough_audio_is_left_alone():
    audio = np.ones((1, 1000), np.float32)
    assert lengthen(audio, 1000, 100, RATE) is audio


def test_a_cut_has_its_frames_and_says_what_was_missing():
    audio = click_train(np.arange(0.1, 4, 0.5), 4)
    whole, missing = cut(audio, RATE, 0.1, 2 * RATE, 2.0, seamless=True)
    assert (whole.shape, missing) == ((1, 2 * RATE), 0)
    short, missing = cut(audio, RATE, 0.1, 8 * RATE, 2.0, seamless=True)
    assert (short.shape, missing) == ((1, 8 * RATE), pytest.approx(4.1))
    early, missing = cut(audio, RATE, -0.01, 2 * RATE, 2.0, seamless=False)
    assert (early.shape, missing) == ((1, 2 * RATE), 0)
    assert attacks(early[0], np.array([0.11]))[0] == pytest.approx(0, abs=0.001)
