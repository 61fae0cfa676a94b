"""The tempo of a jittering clock, on recorded kinds of jitter; tests/control/test_midi.py follows a real one."""

import random
from fractions import Fraction

import pytest

from musicgen_bridge.follow.midi_clock import CLOCK, CONTINUE, POSITION, START, STOP, MidiClock, fit


class Stand:
    """A clock that is fed, and what it tells."""

    def __init__(self, bar=Fraction(4)):
        self.told = []
        self.clock = MidiClock(self.told.append, lambda: bar)
        self.now = 50.0

    def tick(self, bpm, count, jitter=lambda: 0.0, port="A"):
        for _ in range(count):
            self.now += 60 / bpm / 24
            self.clock.take(port, [CLOCK], self.now + jitter())

    def send(self, *message, port="A"):
        self.clock.take(port, list(message), self.now)

    @property
    def tempos(self):
        return [values["bpm"] for values in self.told if "bpm" in values]


@pytest.fixture
def stand():
    return Stand()


def noise(seed, spread):
    draw = random.Random(seed)
    return lambda: draw.uniform(0, spread)


def test_nothing_is_said_before_two_bars(stand):
    stand.tick(133.25, 192)
    assert stand.tempos == []
    stand.tick(133.25, 1)
    assert stand.tempos == [133.25]


@pytest.mark.parametrize(("bar", "ticks"), [(Fraction(7, 2), 193), (Fraction(6), 289), (Fraction(11, 2), 265)])
def test_two_bars_are_those_of_the_session_s_meter(bar, ticks):
    stand = Stand(bar)
    stand.tick(120, ticks - 1)
    assert stand.tempos == []
    stand.tick(120, 1)
    assert stand.tempos == [120.0]


@pytest.mark.parametrize("bpm", [20.0, 62.5, 97.3, 133.25, 187.77, 399.99])
def test_an_even_clock_is_told_exactly(stand, bpm):
    stand.tick(bpm, 400)
    assert set(stand.tempos) == {bpm}


@pytest.mark.parametrize("seed", range(5))
def test_jitter_of_5_ms_is_averaged_out(stand, seed):
    stand.tick(133.25, 24 * 64, noise(seed, 0.005))
    assert all(abs(bpm - 133.25) < 0.15 for bpm in stand.tempos)
    assert all(abs(bpm - 133.25) <= 0.011 for bpm in stand.tempos[-8:])
    assert all(round(bpm, 2) == bpm for bpm in stand.tempos)


def test_ticks_that_come_by_the_audio_block_are_averaged_out(stand):
    block = 512 / 48_000
    for _ in range(24 * 64):
        stand.now += 60 / 97.3 / 24
        stand.clock.take("A", [CLOCK], stand.now // block * block + block)
    assert all(abs(bpm - 97.3) <= 0.011 for bpm in stand.tempos[-8:])


def test_a_new_tempo_is_found_within_four_bars(stand):
    stand.tick(120, 24 * 100, noise(1, 0.002))
    stand.tick(121, 24 * 16 + 24, noise(2, 0.002))
    assert abs(stand.tempos[-1] - 121) < 0.1


def test_silence_begins_anew(stand):
    stand.tick(120, 200)
    stand.now += 1
    stand.tick(90, 193)
    assert stand.tempos == [120.0, 90.0]


def test_the_transport_is_told_with_its_position(stand):
    stand.send(START)
    assert stand.told == [{"playing": True, "beat": 0.0}]
    stand.tick(120, 193)
    assert stand.told[-1] == {"bpm": 120.0, "playing": True, "beat": 8.0}
    stand.send(STOP)
    assert (stand.told[-1]["playing"], round(stand.told[-1]["beat"])) == (False, 8)
    stand.send(POSITION, 0x10, 0x01)
    assert stand.told[-1] == {"beat": 36.0}  # 144 sixteenths
    stand.send(CONTINUE)
    assert stand.told[-1] == {"playing": True, "beat": 36.0}


def test_a_second_clock_is_left_aside_until_the_first_is_silent(stand):
    for _ in range(300):
        stand.tick(120, 1)
        stand.send(CLOCK, port="B")
    assert set(stand.tempos) == {120.0}
    stand.now += 1
    stand.tick(90, 193, port="B")
    assert stand.tempos[-1] == 90.0


def test_what_is_no_clock_is_passed_over(stand):
    for message in ([0xFE], [0xF1, 3], [0xFF], [POSITION, 1]):
        stand.send(*message)
    assert stand.told == []


def test_the_line_is_the_one_of_least_squares():
    slope, error = fit([1.0, 3.0, 4.0])
    assert slope == pytest.approx(1.5)
    assert error == pytest.approx((1 / 6 / 1 / 2) ** 0.5)
