"""The key: which of the 24 major and minor keys the pitch classes fit best."""

from __future__ import annotations

import numpy as np

from musicgen_bridge.match.chroma import chroma
from musicgen_bridge.match.novelty import Floats
from musicgen_bridge.match.resample import Audio, for_analysis

KEY_HEARD = 0.4
"""The confidence under which there is no key to speak of."""
_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
# How strongly each degree of the scale sounds: the profile "bgate" of Faraldo, Jordà and Herrera, "A multi-profile
# method for key estimation in EDM", AES Conference on Semantic Audio 2017.
_MAJOR = np.array([1.00, 0.00, 0.42, 0.00, 0.53, 0.37, 0.00, 0.77, 0.00, 0.38, 0.21, 0.30])
_MINOR = np.array([1.00, 0.00, 0.36, 0.39, 0.00, 0.38, 0.00, 0.74, 0.27, 0.00, 0.42, 0.23])
_BASS = 2.0
"""The weight of the bass, which plays roots, against all that is above it."""
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
    classes = chroma(heard).mean(axis=0)
    classes = classes[:12] + _BASS * classes[12:]
    profiles = np.array([np.roll(profile, tonic) for profile in (_MAJOR, _MINOR) for tonic in range(12)])
    fits = _standard(profiles) @ _standard(classes) / 12  # Pearson's correlation, [24]
    best = int(np.argmax(fits))
    confidence = max(float(fits[best]), 0.0) * min(1.0, float(classes.sum()) / _TONAL)
    return f"{_NAMES[best % 12]} {'major' if best < 12 else 'minor'}", confidence


def _standard(classes: Floats) -> Floats:
    """Shift and scale the last axis to mean 0 and variance 1."""
    centred = classes - classes.mean(axis=-1, keepdims=True)
    return centred / (centred.std(axis=-1, keepdims=True) + 1e-9)
