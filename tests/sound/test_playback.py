"""When a take may begin so that it won't run dry."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen_bridge.sound.playback import wait_for


@given(st.floats(0.5, 600), st.floats(0, 1), st.floats(0.05, 20), st.floats(0, 1))
def test_after_the_wait_there_is_always_enough(total, share, speed, place):
    done = share * total
    wait = wait_for(done, total, speed)
    played = place * total
    made = min(total, done + speed * (wait + played))
    assert made >= played - 1e-6


@given(st.floats(0.5, 600), st.floats(0, 0.99), st.floats(0.05, 20))
def test_it_waits_no_longer_than_it_must(total, share, speed):
    wait = wait_for(share * total, total, speed)
    if wait:
        assert share * total + speed * (wait + total) == pytest.approx(total)


def test_what_renders_faster_than_it_plays_waits_for_nothing():
    assert wait_for(0.0, 10.0, 1.0) == 0
    assert wait_for(0.0, 10.0, 0.5) == 10
    assert wait_for(10.0, 10.0, 0.5) == 0
