"""The tape that a take is played from: where it begins, what is lacking, how it ends."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen_bridge.sound.clock import StreamClock, plausible_latency
from musicgen_bridge.sound.player import FADE_S, Tape, spread

RATE = 1000


def ramp(first, count):
    return np.arange(first, first + count, dtype=np.float32)[:, None] / 1e6


def numbers(frames):
    return np.rint(frames[:, 0] * 1e6).astype(int).tolist()


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20), st.integers(1, 40), st.integers(0, 100))
def test_all_of_it_sounds_in_order_from_its_moment_on(pieces, block, wait):
    tape = Tape(RATE, 1)
    total = 0
    for size in pieces:
        tape.write(ramp(1 + total, size))
        total += size
    tape.start(wait / RATE)
    tape.end()
    heard = []
    while not tape.finished:
        heard += numbers(tape.read(block, len(heard) / RATE))
    assert heard[: wait + total] == [0] * wait + list(range(1, 1 + total))
    assert not any(heard[wait + total :])
    assert tape.underruns == 0


def test_nothing_sounds_before_it_is_started():
    tape = Tape(RATE, 2)
    tape.write(np.ones((10, 2), np.float32))
    assert not tape.read(5, 100.0).any()
    tape.start(100.02)
    tape.start(100.04)
    assert np.flatnonzero(tape.read(40, 100.01)[:, 1]).tolist() == list(range(30, 40))


def test_what_begins_late_stays_on_the_beat():
    tape = Tape(RATE, 1)
    tape.write(ramp(1, 100))
    tape.start(1.0)
    assert numbers(tape.read(3, 1.01)) == [11, 12, 13]


def test_each_gap_is_counted_once_and_what_comes_after_it_is_heard():
    tape = Tape(RATE, 1)
    tape.write(ramp(1, 4))
    tape.start(0.0)
    assert numbers(tape.read(6, 0.0)) == [1, 2, 3, 4, 0, 0]
    assert numbers(tape.read(6, 0.006)) == [0] * 6
    tape.write(ramp(5, 6))
    assert numbers(tape.read(6, 0.012)) == [5, 6, 7, 8, 9, 10]
    assert tape.underruns == 1
    assert not tape.finished


def test_a_stop_fades_out_and_is_the_end():
    tape = Tape(RATE, 1)
    tape.write(np.ones((1000, 1), np.float32))
    tape.start(0.0)
    tape.read(10, 0.0)
    tape.stop()
    last = tape.read(50, 0.01)[:, 0]
    fade = round(FADE_S * RATE)
    assert last[0] == 1
    assert (np.diff(last[:fade]) < 0).all()
    assert not last[fade - 1 :].any()
    assert tape.finished
    assert not tape.read(50, 0.06).any()


def test_channels_are_spread_or_mixed():
    mono, stereo = np.array([[1.0], [2.0]], np.float32), np.array([[1.0, 3.0]], np.float32)
    assert spread(mono, 2).tolist() == [[1, 1], [2, 2]]
    assert spread(stereo, 1).tolist() == [[2]]
    assert spread(stereo, 2) is stereo


@given(st.lists(st.floats(0, 0.05), min_size=3, max_size=200))
def test_late_callbacks_do_not_move_the_clock(delays):
    clock = StreamClock(48_000)
    for number, late in enumerate([0.0, *delays[:40]]):
        clock.note(512 * number, 5.0 + 512 * number / 48_000 + late)
    assert clock.moment(48_000) == pytest.approx(6.0)
    assert clock.frame(6.0) == 48_000


def test_what_was_lost_is_forgotten():
    clock = StreamClock(48_000)
    clock.note(0, 1.0)
    clock.note(512, 1.5, lost=True)
    clock.note(1024, 1.6)
    assert clock.frame(1.5) == 512


def test_a_latency_that_can_be_none_is_not_believed():
    assert plausible_latency(0.02, 0.1) == 0.02
    assert plausible_latency(89_478.0, 0.1) == 0.1
    assert plausible_latency(-1.0) == 0
