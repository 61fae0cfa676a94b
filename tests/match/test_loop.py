"""The loop's seam: no click, no hole, and a first attack as it was played."""

from __future__ import annotations

import numpy as np
import pytest
from clips import RATE

from musicgen_bridge.match.loop import cut_loop, cut_once


def jump(loop: np.ndarray) -> float:
    """The step from the last sample to the first, in units of the largest step inside."""
    return abs(loop[0, 0] - loop[0, -1]) / np.abs(np.diff(loop[0])).max()


def tone(frequency: float = 110.3, seconds: float = 3.0) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * np.arange(int(seconds * RATE)) / RATE)[None].astype(np.float32)


@pytest.mark.parametrize(("start", "end"), [(5000, 60_000), (0, 60_000), (0, 96_000), (40, 95_990)])
def test_no_click_wherever_the_cut_is(start, end):
    """With pre-roll, with a post-roll only, with neither."""
    audio = tone()
    plain = audio[:, start:end]
    loop = cut_loop(audio, start, end - start, RATE)
    assert loop.shape == plain.shape
    assert jump(loop) < 1.5
    assert abs(plain[0, 0] - plain[0, -1]) > 0.05


def test_the_first_attack_is_untouched_where_there_is_pre_roll():
    audio = tone() + np.random.default_rng(0).standard_normal((1, 3 * RATE)).astype(np.float32) * 0.1
    loop = cut_loop(audio, 3000, RATE, RATE)
    tail = round(0.02 * RATE)
    assert np.array_equal(loop[:, :-tail], audio[:, 3000 : 3000 + RATE - tail])
    assert abs(loop[0, -1] - audio[0, 2999]) < 1e-3


@pytest.mark.parametrize("alike", [True, False])
def test_the_level_holds_through_the_seam(alike):
    """Noise fades into other noise or, a whole period later, into itself, without a dip or a bump."""
    rng = np.random.default_rng(1)
    period = rng.standard_normal((1, RATE))
    audio = np.tile(period, 2) if alike else rng.standard_normal((1, 2 * RATE))
    loop = cut_loop(audio.astype(np.float32), RATE // 2, RATE, RATE)
    seam = loop[0, -round(0.02 * RATE) :]
    assert 20 * np.log10(seam.std() / loop[0, : RATE // 2].std()) == pytest.approx(0, abs=0.8)


def test_tiny_loops():
    loop = cut_loop(tone(), 1000, 50, RATE)
    assert loop.shape == (1, 50)
    assert np.isfinite(loop).all()
    assert cut_loop(tone(), 0, 1, RATE).shape == (1, 1)


def test_played_once_the_beginning_stays_and_the_end_fades():
    audio = tone()
    once = cut_once(audio, 100, RATE, RATE)
    fade = round(0.01 * RATE)
    assert np.array_equal(once[:, :-fade], audio[:, 100 : 100 + RATE - fade])
    assert abs(once[0, -1]) < 1e-4
