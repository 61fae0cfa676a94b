"""Tempo maps: from quarter notes to seconds and back, bars across changes of meter, and frames to the last bit."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen_bridge.request import RenderRequest
from musicgen_bridge.tempo_map import Signature, TempoMap, TempoPoint, bar_lines

TEMPO = st.floats(20, 400)


@st.composite
def maps(draw: st.DrawFn) -> TempoMap:
    """Up to five points, some of them gliding, some jumping."""
    steps = draw(st.lists(st.floats(0.125, 16), min_size=1, max_size=5))
    places = [0.0, *itertools.accumulate(steps)]
    points = []
    for place in places[:-1]:
        bpm = draw(TEMPO)
        points.append(TempoPoint(place, bpm, draw(st.one_of(st.just(bpm), TEMPO))))
    return TempoMap(tuple(points), Fraction(places[-1]))


def integrated(tempo_map: TempoMap, till_s: float, steps: int = 20_000) -> float:
    """The quarter notes until a moment: the sum of tempo times time, by the definition of a straight glide."""
    quarters = 0.0
    for one in tempo_map.segments:
        length = min(float(one.seconds), till_s - float(one.start_s))
        for step in range(steps if length > 0 else 0):
            share = (step + 0.5) / steps * length / float(one.seconds)
            quarters += (float(one.bpm) + float(one.until - one.bpm) * share) / 60 * length / steps
    return quarters


@given(bars=st.integers(1, 64), beats=st.integers(1, 32), bpm=TEMPO, rate=st.integers(8_000, 192_000))
def test_one_point_has_the_length_of_the_protocol(bars, beats, bpm, rate):
    plain = RenderRequest(project="/p", bars=bars, signature=(beats, 8), bpm=bpm, sample_rate=rate)
    mapped = RenderRequest(
        project="/p", bars=bars, tempo_map=((0.0, bpm, bpm, (beats, 8)),), sample_rate=rate, signature=(1, 1), bpm=20
    )
    wanted = math.floor(Fraction(bars) * Fraction(beats, 2) * 60 * rate / Fraction(bpm) + Fraction(1, 2))
    assert plain.frames == mapped.frames == wanted
    assert (mapped.bpm, mapped.signature, mapped.quarters) == (bpm, plain.signature, plain.quarters)


def test_the_frames_of_steps_are_rational():
    # 14 quarters at 97.5 and 16 at 120: (14 / 97.5 + 16 / 120) * 60 s = 16.615384...
    points = ((0.0, 97.5, 97.5, (7, 8)), (14.0, 120.0, 120.0, (4, 4)))
    made = RenderRequest(project="/p", bars=8, tempo_map=points, sample_rate=48_000)
    assert made.quarters == 30
    assert made.frames == math.floor((Fraction(14 * 600, 975) + 8) * 48_000 + Fraction(1, 2)) == 797_538
    assert made.bpm == pytest.approx(30 * 60 / (14 * 60 / 97.5 + 8))


def test_a_glide_takes_its_quarters_at_the_mean_of_both_tempos():
    # Reaper's: tempo in a straight line over time, so 16 quarters from 120 to 90 take 16 * 60 / 105 s.
    made = RenderRequest(project="/p", beats=16, tempo_map=((0.0, 120.0, 90.0),), sample_rate=44_100)
    assert made.frames == math.floor(Fraction(16 * 60 * 44_100, 105) + Fraction(1, 2))
    assert made.timing.seconds(8) == pytest.approx(960 / (120 + math.sqrt(11_250)))
    assert integrated(made.timing, made.timing.seconds(8)) == pytest.approx(8, abs=1e-6)


@given(tempo_map=maps(), share=st.floats(-0.2, 1.2))
def test_seconds_and_quarters_are_inverse(tempo_map, share):
    quarters = share * float(tempo_map.quarters)
    assert tempo_map.position(tempo_map.seconds(quarters)) == pytest.approx(quarters, abs=1e-7)


@given(tempo_map=maps())
def test_time_never_runs_back_and_ends_at_the_duration(tempo_map):
    places = [float(tempo_map.quarters) * step / 50 for step in range(-5, 56)]
    assert all(a < b for a, b in itertools.pairwise(map(tempo_map.seconds, places)))
    assert tempo_map.seconds(0) == 0
    assert tempo_map.seconds(float(tempo_map.quarters)) == pytest.approx(float(tempo_map.duration))


@given(tempo_map=maps())
def test_each_length_makes_the_same_map(tempo_map):
    points, seconds = tempo_map.points, tempo_map.duration
    assert TempoMap.of_seconds(points, seconds) == tempo_map
    assert TempoMap.of_bars(points, tempo_map.quarters / 4) == tempo_map  # 4/4 from end to end


def test_a_meter_begins_a_bar_and_cuts_the_one_before_short():
    points = (
        TempoPoint(0.0, 90.0, 90.0, Signature(3, 4)),
        TempoPoint(3.0, 100.0, 100.0),
        TempoPoint(7.0, 100.0, 100.0, Signature(7, 8)),
    )
    lines = list(itertools.islice(bar_lines(points), 6))
    assert lines == [0, 3, 6, 7, Fraction(21, 2), 14]
    assert TempoMap.of_bars(points, Fraction(4)).quarters == Fraction(21, 2)
    assert TempoMap.of_bars(points, Fraction(9, 2)).quarters == Fraction(21, 2) + Fraction(7, 4)


def test_before_the_start_and_behind_the_end_the_tempo_holds():
    tempo_map = TempoMap((TempoPoint(0.0, 60.0, 120.0),), Fraction(3))
    assert tempo_map.seconds(-1) == -1
    assert tempo_map.seconds(5) == pytest.approx(2 + 1)
    assert (tempo_map.position(-1), tempo_map.position(3)) == (-1, pytest.approx(5))


def test_steady_is_one_tempo_in_whatever_bars():
    bars = (TempoPoint(0.0, 90.0, 90.0, Signature(3, 4)), TempoPoint(3.0, 90.0, 90.0, Signature(4, 4)))
    assert TempoMap(bars, Fraction(7)).steady
    assert not TempoMap((TempoPoint(0.0, 90.0, 91.0),), Fraction(7)).steady


@given(maps(), st.floats(0.01, 0.99))
def test_as_far_as_it_goes_a_part_of_a_map_runs_as_the_whole(tempo_map, share):
    end = Fraction(share) * tempo_map.quarters
    part = TempoMap(tempo_map.until(float(end)), end)
    for quarters in (share * float(end), float(end)):
        assert part.seconds(quarters) == pytest.approx(tempo_map.seconds(quarters), rel=1e-6)
