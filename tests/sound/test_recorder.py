"""What a recorder cuts out of what it catches, and what it says of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen_bridge.request import Transport
from musicgen_bridge.sound.recorder import SETTLE_S, Catch, remarks

RATE = 48_000


def caught(blocks, late=lambda number: 0.0, begun=10.0):
    """Return a catch of blocks of 512 frames whose samples are their own numbers."""
    catch = Catch(RATE)
    for number in range(blocks):
        frames = np.arange(512 * number, 512 * (number + 1), dtype=np.float32)[:, None]
        catch.take(frames, begun + 512 * number / RATE + late(number))
    return catch


@given(st.floats(20, 400), st.sampled_from([(4, 4), (7, 8), (3, 4)]), st.floats(-100, 1000))
def test_the_cut_begins_at_the_first_bar_line_after_the_stream_has_settled(bpm, signature, beat):
    transport = Transport(bpm=bpm, signature=signature, playing=True, beat=beat, at=8.0)
    first = caught(40, late=lambda number: 0.004 * (number % 3)).start(transport)
    bar = float(transport.signature.quarters)
    beats = transport.beat_at(10.0 + first / RATE) / bar
    assert abs(beats - round(beats)) * bar * 60 / bpm < 1 / RATE + 1e-6
    assert SETTLE_S * RATE - 1 <= first <= (SETTLE_S + bar * 60 / bpm) * RATE + 1


def test_while_nothing_plays_it_begins_at_once():
    assert caught(2).start(Transport()) == pytest.approx(SETTLE_S * RATE, abs=1)


def test_a_cut_is_exact():
    cut = caught(10).cut(700, 1000)
    assert cut[:, 0].tolist() == list(range(700, 1700))


def test_the_level_is_the_peak_since_it_was_last_asked():
    catch = Catch(RATE)
    catch.take(np.array([[0.1], [-0.5]], np.float32), 0.0)
    assert catch.level() == pytest.approx(-6.02, abs=0.01)
    assert catch.level() == pytest.approx(-138.5, abs=0.1)


def test_silence_clipping_and_gaps_are_told():
    quiet = np.full((100, 2), 5e-5, np.float32)
    assert ["is Mic the right input" in text for text in remarks(quiet, "Mic", 0)] == [True]
    loud = np.zeros((100, 2), np.float32)
    loud[3:5], loud[8, 1] = 1.0, -1.0
    assert ["Mic clips in 3 frames" in text for text in remarks(loud, "Mic", 0)] == [True]
    assert ["lost something of Mic (2 gaps)" in text for text in remarks(loud / 2, "Mic", 2)] == [True]
    assert remarks(loud / 2, "Mic", 0) == []
