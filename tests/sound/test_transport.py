"""Where bar lines fall by the clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen_bridge.request import Transport

METERS = st.sampled_from([(4, 4), (7, 8), (6, 8), (5, 4)])


@given(st.floats(20, 400), METERS, st.floats(-1e4, 1e4), st.floats(0, 1e5), st.floats(0, 100))
def test_the_first_bar_line_is_at_most_a_bar_away_and_is_one(bpm, signature, beat, at, later):
    transport = Transport(bpm=bpm, signature=signature, playing=True, beat=beat, at=at)
    line = transport.bar_line(at + later)
    bar = float(transport.signature.quarters)
    assert -1e-6 <= line - (at + later) <= bar * 60 / bpm + 1e-6
    bars = transport.beat_at(line) / bar
    assert bars == pytest.approx(round(bars), abs=1e-4)


def test_while_nothing_plays_every_moment_is_one():
    transport = Transport(beat=3.0, at=5.0)
    assert transport.bar_line(7.5) == 7.5
    assert transport.beat_at(7.5) == 3.0


def test_on_a_bar_line_it_is_that_one():
    transport = Transport(bpm=120.0, playing=True, beat=8.0, at=100.0)
    assert transport.bar_line(100.0) == 100.0
    assert transport.bar_line(100.001) == 102.0
    assert Transport.from_json(transport.to_json()) == transport
