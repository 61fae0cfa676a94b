"""Parts of one band share a grid, parts that were played apart don't; and the mix."""

from __future__ import annotations

import numpy as np
import pytest
from clips import RATE, make_drone
from targets import target

from musicgen_bridge.match import match, mixed, shared_grid
from musicgen_bridge.match.beats import find_grid
from musicgen_bridge.match.loudness import integrated_loudness, true_peak
from musicgen_bridge.match.resample import for_analysis

WANTED = target(2, 110)
PARTS = (("drums",), ("bass",), ("chords",))


@pytest.fixture(scope="module")
def parts(band):
    """Drums, bass and chords of one band at 104, whose first bar begins at 0.31 s, each by itself."""
    return [band(21, bpm=104, roles=roles, start=0.31, seconds=8.0) for roles in PARTS]


def grid_of(audios, wanted=WANTED):
    return shared_grid(audios, RATE, [own_grid(audio) for audio in audios], wanted)


def own_grid(audio):
    return find_grid(for_analysis(audio, RATE), WANTED.bpm, WANTED.signature)


def test_the_parts_of_one_band_are_cut_as_one(parts):
    audios = [clip.audio for clip in parts]
    grid = grid_of(audios)
    assert grid is not None
    assert grid.bpm == pytest.approx(104, rel=1e-3)
    together = [match(audio, RATE, WANTED, grid) for audio in audios]
    assert len({(one.report.rate, one.report.downbeat_s) for one in together}) == 1
    (start,) = {one.report.downbeat_s for one in together}
    assert np.abs(parts[0].downbeats - start).min() < 0.005
    alone = [own_grid(audio).downbeat for audio in audios]
    assert np.ptp(alone) > 0.1  # chords between the beats mislead who hears nothing else


def test_a_part_without_a_beat_goes_along(parts):
    drone = make_drone(3)[:, : parts[0].audio.shape[1]]
    assert own_grid(drone).beatless
    grid = grid_of([parts[0].audio, drone, parts[1].audio])
    assert grid is not None
    assert match(drone, RATE, WANTED, grid).report.rate == pytest.approx(110 / 104, rel=1e-3)


@pytest.mark.parametrize("other", [{"start": 0.36}, {"bpm": 107.0}, {"bpm": 104.8}])
def test_parts_that_were_played_apart_keep_their_own(band, parts, other):
    apart = band(21, **{"bpm": 104, "roles": ("drums",), "start": 0.31, "seconds": 8.0, **other})
    assert grid_of([parts[0].audio, apart.audio]) is None


def test_one_beat_is_not_enough_and_what_is_not_matched_has_none(parts):
    drone = make_drone(3)[:, : parts[0].audio.shape[1]]
    assert grid_of([parts[0].audio, drone]) is None
    assert grid_of([clip.audio for clip in parts], target(2, 110, match=False)) is None
    assert grid_of([clip.audio for clip in parts], target(2, 110, continues=True)) is None


def test_the_mix_is_the_sum_at_the_loudness_asked_for_under_the_ceiling(parts):
    stems = [match(clip.audio, RATE, WANTED).audio.T for clip in parts]
    out = mixed(stems, WANTED)
    assert out.audio.shape == stems[0].shape
    assert integrated_loudness(out.audio, 48_000) == pytest.approx(-14, abs=0.5)
    assert true_peak(out.audio, 48_000, loop=True) <= -0.9
    plain = sum(stems)
    gain = (out.audio * plain).sum() / (plain**2).sum()
    rest = np.mean((out.audio - gain * plain) ** 2) / np.mean(out.audio**2)
    assert 10 * np.log10(rest) < -20  # but for what the limiter took off the peaks
