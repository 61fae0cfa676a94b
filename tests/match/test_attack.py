"""Attacks are found where they begin, struck or swelling, alone or over what was there before."""

from __future__ import annotations

import numpy as np
import pytest
from clips import RATE as CLIP_RATE
from clips import click_train, make_clip, make_drone

from musicgen_bridge.match.attack import attack_delay
from musicgen_bridge.match.novelty import RATE
from musicgen_bridge.match.resample import for_analysis

BEATS = 0.31 + 0.5 * np.arange(14)


def swelling(rise: float, over: float = 0.0) -> np.ndarray:
    """Notes on `BEATS` whose amplitude grows linearly in `rise` seconds, over a held fifth of amplitude `over`."""
    time = np.arange(8 * RATE) / RATE
    audio = over * (np.sin(2 * np.pi * 131 * time) + np.sin(2 * np.pi * 196 * time))
    for index, beat in enumerate(BEATS):
        since = np.maximum(time - beat, 0)
        pitch = 262 * 2 ** ((index * 5 % 12) / 12)
        audio += 0.5 * np.minimum(since / rise, 1) * np.exp(-since / 0.15) * np.sin(2 * np.pi * pitch * since)
    return audio + 1e-3 * np.random.default_rng(0).standard_normal(len(audio))


@pytest.mark.parametrize("rise", [0.002, 0.008, 0.02, 0.03])
@pytest.mark.parametrize("over", [0.0, 0.3])
@pytest.mark.parametrize("off", [-0.009, 0.0, 0.012])
def test_begin_not_steepest(rise: float, over: float, off: float) -> None:
    assert attack_delay(swelling(rise, over), BEATS - off) == pytest.approx(off, abs=max(0.002, rise / 5))


def test_clicks_are_found_to_the_millisecond() -> None:
    audio = for_analysis(click_train(BEATS, 8.0), CLIP_RATE)
    assert attack_delay(audio, BEATS + 0.007) == pytest.approx(-0.007, abs=0.001)


def test_loose_players_are_heard_together() -> None:
    late = np.random.default_rng(1).normal(0, 0.004, len(BEATS))
    audio = for_analysis(click_train(BEATS + late, 8.0), CLIP_RATE)
    assert attack_delay(audio, BEATS) == pytest.approx(0, abs=0.003)


def test_beats_without_an_attack_do_not_count() -> None:
    audio = for_analysis(click_train(BEATS[::3], 8.0), CLIP_RATE)
    assert attack_delay(audio, BEATS - 0.01) == pytest.approx(0.01, abs=0.001)
    assert attack_delay(audio, BEATS[1:3]) is None


@pytest.mark.parametrize("audio", [np.zeros(8 * RATE), for_analysis(make_drone(3, 8.0), CLIP_RATE), np.zeros(100)])
def test_nothing_begins_where_nothing_changes(audio: np.ndarray) -> None:
    assert attack_delay(audio, BEATS) is None


def test_a_band_without_drums_in_the_median() -> None:
    late = []
    for seed in range(12):
        clip = make_clip(seed, roles=("bass", "chords", "lead"), start=0.2, human=0.002, seconds=10.0)
        late.append(attack_delay(for_analysis(clip.audio, CLIP_RATE), clip.beats))
    assert np.abs(late).max() < 0.006
    assert np.median(np.abs(late)) < 0.002
