"""The beat grid: downbeats of bands in every metre, and beats that stay with the players."""

from __future__ import annotations

import numpy as np
import pytest
from clips import RATE, attacks, click_train, random_clip
from targets import signature

from musicgen_bridge.match.beats import find_grid
from musicgen_bridge.match.resample import for_analysis


def grid_of(clip, off: float = 1.0):
    return find_grid(for_analysis(clip.audio, RATE), clip.bpm * off, signature(clip.signature))


@pytest.mark.parametrize("metre", ["4/4", "3/4", "6/8", "7/8", "5/4"])
def test_most_downbeats_are_found(metre):
    """Eight of ten clips with drums; two of five would be luck in no metre here."""
    clips = [random_clip(seed, metre, drums=True) for seed in range(60, 70)]
    right = [np.abs(clip.downbeats - grid_of(clip).downbeat).min() < 0.05 for clip in clips]
    assert sum(right) >= 8


@pytest.mark.parametrize("start", [0.0, 0.13, -0.9])
def test_the_downbeat_is_found_wherever_the_clip_begins(band, start):
    clip = band(3, bpm=104, start=start)
    grid = grid_of(clip, off=1.03)
    assert grid.downbeat == pytest.approx(clip.downbeats[0], abs=0.004)
    assert grid.bar == pytest.approx(4 * 60 / 104, rel=1e-4)


def test_beats_lie_on_the_attacks_to_the_end(band):
    clip = band(3, bpm=97.3, roles=("drums",), start=0.05)
    grid = grid_of(clip)
    kicks = np.arange(grid.downbeat, 15.9, grid.bar)
    assert np.abs(attacks(clip.audio[0], kicks)).max() < 0.003


def test_swing_bends_no_grid(band):
    clip = band(2, bpm=92, swing=0.64, human=0.003)
    assert grid_of(clip).bpm == pytest.approx(92, rel=3e-4)


@pytest.mark.parametrize("bpm", [84.0, 128.0])
def test_a_tempo_that_wanders_is_followed(bpm):
    steady = np.arange(0.2, 29.8, 60 / bpm)
    played = steady + 0.025 * np.sin(steady * 2 * np.pi / 15)
    grid = find_grid(for_analysis(click_train(played, 30), RATE), bpm, signature("4/4"))
    beats = np.array([grid.played_at(grid.downbeat + index * 60 / grid.bpm) for index in range(-3, len(played) + 3)])
    missed = [np.abs(beats - beat).min() for beat in played]
    assert max(missed) < 0.008
    straight = grid.downbeat + 60 / grid.bpm * np.arange(-3, len(played) + 3)
    assert max(np.abs(straight - beat).min() for beat in played) > 0.015


def test_a_band_that_keeps_its_tempo_is_left_on_its_line():
    for seed in range(80, 92):
        clip = random_clip(seed, seconds=24.0)
        grid = grid_of(clip)
        assert grid.strays == ()
        assert grid.played_at(3.21) == 3.21
