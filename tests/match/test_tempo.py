"""Tempo: pulses of time signatures, and the tempo of bands, clicks and drones."""

from __future__ import annotations

import numpy as np
import pytest
from clips import RATE, click_train, make_drone, random_clip
from targets import signature

from musicgen_bridge.match.beats import find_grid
from musicgen_bridge.match.resample import for_analysis
from musicgen_bridge.match.tempo import Pulse


@pytest.mark.parametrize(
    ("metre", "quarters", "split", "per_bar"),
    [
        ("4/4", 1, 2, 4),
        ("3/4", 1, 2, 3),
        ("5/4", 1, 2, 5),
        ("2/2", 1, 2, 4),
        ("1/1", 1, 2, 4),
        ("6/8", 1.5, 3, 2),
        ("12/8", 1.5, 3, 4),
        ("9/16", 0.75, 3, 3),
        ("3/8", 0.5, 2, 3),
        ("5/8", 0.5, 2, 5),
        ("7/8", 0.5, 2, 7),
        ("15/16", 0.75, 3, 5),
        ("7/16", 0.25, 2, 7),
    ],
)
def test_the_pulse_of_a_signature_fills_its_bar(metre, quarters, split, per_bar):
    pulse = Pulse.of(signature(metre))
    assert (float(pulse.quarters), pulse.split, pulse.per_bar) == (quarters, split, per_bar)
    assert pulse.quarters * pulse.per_bar == signature(metre).quarters


@pytest.mark.parametrize("metre", ["4/4", "3/4", "6/8", "7/8", "5/4"])
@pytest.mark.parametrize("drums", [True, False])
def test_the_tempo_is_found_within_20_percent_of_the_session(metre, drums):
    for seed, off in enumerate((0.83, 0.96, 1.03, 1.2)):
        clip = random_clip(40 + seed, metre, drums=drums)
        grid = find_grid(for_analysis(clip.audio, RATE), clip.bpm / off, signature(metre))
        assert grid.bpm == pytest.approx(clip.bpm, rel=0.002), (seed, off)
        assert not grid.beatless


def test_a_click_is_followed_to_a_hundredth_of_a_percent():
    clip = click_train(np.arange(0.2, 16, 60 / 127.3), 16)
    grid = find_grid(for_analysis(clip, RATE), 120, signature("4/4"))
    assert grid.bpm == pytest.approx(127.3, rel=1e-4)
    assert grid.confidence > 0.9


def test_what_has_no_beat_is_called_beatless():
    rng = np.random.default_rng(3)
    noise = rng.standard_normal((1, 8 * RATE)).astype(np.float32)
    random_clicks = click_train(np.cumsum(rng.exponential(0.3, 40))[:30], 16)
    silence = np.zeros((1, 8 * RATE), np.float32)
    for audio in (noise, random_clicks, silence, make_drone(0), make_drone(5)):
        grid = find_grid(for_analysis(audio, RATE), 110, signature("4/4"))
        assert grid.beatless
        assert grid.bpm == 110


@pytest.mark.parametrize("bpm", [20, 60, 250, 400])
@pytest.mark.parametrize("metre", ["4/4", "7/8", "12/8"])
def test_extreme_sessions_get_a_grid(bpm, metre):
    clip = click_train(np.arange(0.1, 12, 0.5), 12)
    grid = find_grid(for_analysis(clip, RATE), bpm, signature(metre))
    assert 0.78 < grid.bpm / bpm < 1.28
    assert -0.02 <= grid.downbeat < 1.3 * float(signature(metre).quarters) * 60 / bpm
