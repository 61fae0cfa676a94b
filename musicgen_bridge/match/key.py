"""The key: which of the 24 major and minor keys the pitch classes fit best."""

from __future__ import annotations

import numpy as np

from musicgen_bridge.match.chroma import FRAMES, chroma
from musicgen_bridge.match.novelty import Floats
from musicgen_bridge.match.resample import Audio, for_analysis
from musicgen_bridge.pitch import PITCH_CLASSES

KEY_HEARD = 0.4
"""The confidence under which there is no key to speak of."""
# How often each degree of the scale is heard: Albrecht and Shanahan, "The Use of Large Corpora to Train a New Type of
# Key-Finding Algorithm", Music Perception 31 (1), 2013.
_MAJOR = np.array([0.238, 0.006, 0.111, 0.006, 0.137, 0.094, 0.016, 0.214, 0.009, 0.080, 0.008, 0.081])
_MINOR = np.array([0.220, 0.006, 0.104, 0.123, 0.019, 0.103, 0.012, 0.214, 0.062, 0.022, 0.061, 0.052])
_BASS, _FIRST_BASS = 2.0, 4.0
"""The weight of the bass, which plays roots, against all that is above it; and in the opening."""
_OPENING, _OPENING_S = 0.5, 1.0
"""The weight of the opening against the whole, and its seconds: music mostly begins on its tonic, which is all that
tells a minor key from its relative major where both have the same notes."""
_SOUNDS = 0.3
"""The share of the median frame's chroma from which on the music has begun."""
_TONAL = 20.0
"""The summed chroma of a frame from which on the music is all tones; drums alone have about 5."""


def estimate_key(audio: Audio, sample_rate: int) -> tuple[str, float]:
    """Return the key, such as "F# minor", and a confidence from 0 to 1, of `audio` [channels, n].

    The confidence is the correlation of pitch classes and profile, times how tonal the sound is: music with chords
    has about 0.85, drums alone under 0.4, silence 0.
    """
    return key_of(for_analysis(audio, sample_rate))


def key_of(heard: Floats) -> tuple[str, float]:
    """Return key and confidence, as `estimate_key`, of mono `heard` [n] at 16 kHz, peak at 1."""
    frames = chroma(heard)
    classes = _fold(frames, _BASS)
    level = frames.sum(axis=1)
    begins = int(np.argmax(level > _SOUNDS * np.median(level)))
    opening = _fold(frames[begins : begins + round(_OPENING_S * FRAMES)], _FIRST_BASS)
    evidence = classes / (classes.sum() + 1e-9) + _OPENING * opening / (opening.sum() + 1e-9)
    profiles = np.array([np.roll(profile, tonic) for profile in (_MAJOR, _MINOR) for tonic in range(12)])
    fits = _standard(profiles) @ _standard(evidence) / 12  # Pearson's correlation, [24]
    best = int(np.argmax(fits))
    confidence = max(float(fits[best]), 0.0) * min(1.0, float(classes.sum()) / _TONAL)
    return f"{PITCH_CLASSES[best % 12]} {'major' if best < 12 else 'minor'}", confidence


def _fold(frames: Floats, bass: float) -> Floats:
    """Return the mean of chroma frames [n, 24] by pitch class [12], the bass weighted."""
    mean = frames.mean(axis=0)
    return mean[:12] + bass * mean[12:]


def _standard(classes: Floats) -> Floats:
    """Shift and scale the last axis to mean 0 and variance 1."""
    centred = classes - classes.mean(axis=-1, keepdims=True)
    return centred / (centred.std(axis=-1, keepdims=True) + 1e-9)
