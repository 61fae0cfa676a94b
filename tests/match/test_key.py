"""The key of chords, of a band, and of what has none."""

from __future__ import annotations

import numpy as np
import pytest
from clips import MAJOR, MINOR, NAMES, RATE, click_train, make_clip

from musicgen_bridge.match import estimate_key


def cadence(tonic: int, scale: tuple[int, ...], degrees: tuple[int, ...]) -> np.ndarray:
    """Chords of half a second over their roots; [1, n]."""
    time = np.arange(RATE // 2) / RATE
    chords = []
    for degree in degrees:
        thirds = [scale[(degree + third) % 7] + 12 * ((degree + third) // 7) for third in (0, 2, 4)]
        notes = [48 + tonic + thirds[0] - 12] + [60 + tonic + note for note in thirds]
        partials = [
            np.sin(2 * np.pi * part * 440 * 2 ** ((note - 69) / 12) * time) / part
            for note in notes
            for part in (1, 2, 3)
        ]
        chords.append(np.sum(partials, axis=0) * np.minimum(1, (time[-1] - time) / 0.02))
    return 0.05 * np.concatenate(chords * 3)[None].astype(np.float32)


@pytest.mark.parametrize("tonic", range(12))
def test_a_cadence_in_every_key(tonic):
    assert estimate_key(cadence(tonic, MAJOR, (0, 3, 4, 0)), RATE)[0] == f"{NAMES[tonic]} major"
    name, confidence = estimate_key(cadence(tonic, MINOR, (0, 3, 4, 0)), RATE)
    assert name == f"{NAMES[tonic]} minor"
    assert 0.6 < confidence <= 1


def test_stereo_and_other_rates_change_nothing():
    audio = cadence(2, MAJOR, (0, 3, 4, 0))
    assert estimate_key(np.concatenate([audio, audio]), RATE)[0] == "D major"
    assert estimate_key(audio, RATE * 9 // 8)[0] == "E major"  # played 9/8 faster: a whole tone up


def test_bands_mostly_have_the_key_they_play_in():
    clips = [make_clip(seed, bpm=100 + seed, roles=("drums", "bass", "chords")) for seed in range(12)]
    found = [estimate_key(clip.audio, RATE)[0] for clip in clips]
    assert sum(name == clip.key for name, clip in zip(found, clips, strict=True)) >= 10


def test_of_two_keys_with_the_same_notes_it_is_the_one_that_the_music_begins_in():
    """A minor and C major by the same four chords, a second each, from another one on."""
    assert estimate_key(cadence(9, MINOR, (0, 0, 5, 5, 2, 2, 6, 6)), RATE)[0] == "A minor"
    assert estimate_key(cadence(0, MAJOR, (0, 0, 4, 4, 5, 5, 3, 3)), RATE)[0] == "C major"


def test_drums_clicks_noise_and_silence_have_none():
    noise = np.random.default_rng(0).standard_normal((1, 5 * RATE)).astype(np.float32)
    for audio in (
        make_clip(1, roles=("drums",)).audio,
        click_train(np.arange(0, 7, 0.5), 8),
        noise,
        np.zeros((1, RATE), np.float32),
    ):
        assert estimate_key(audio, RATE)[1] < 0.4
