"""The key: which major or minor profile the pitch classes of the whole take fit best."""

from __future__ import annotations

import numpy as np

from musicgen_bridge.match.chroma import chroma
from musicgen_bridge.match.novelty import Floats

NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
# The profile "bgate" of essentia's Key: pitch classes from the tonic up, after Faraldo et al., "Key Estimation in
# Electronic Dance Music", ECIR 2016, with what is rare in the scale set to 0.
_MAJOR = np.array([1.00, 0.00, 0.42, 0.00, 0.53, 0.37, 0.00, 0.77, 0.00, 0.38, 0.21, 0.30])
_MINOR = np.array([1.00, 0.00, 0.36, 0.39, 0.00, 0.38, 0.00, 0.74, 0.27, 0.00, 0.42, 0.23])
_LEAST = 0.5
"""The correlation below which a take has no key: drums, noise."""


def estimate_key(audio: Floats) -> tuple[str | None, float]:
    """Return the key of mono `audio` [n] at `novelty.RATE`, such as "F# minor", or None, and how sure that is.

    The confidence is what the best profile's correlation r1 gains on the next tonic's r2: (r1 - r2) / (1 - r2).
    """
    total = chroma(audio).sum(axis=0)
    classes = total[:12] + total[12:]
    if not classes.any():
        return None, 0.0
    # [24]: the major keys from C up, then the minor ones
    fits = np.array(
        [np.corrcoef(np.roll(profile, tonic), classes)[0, 1] for profile in (_MAJOR, _MINOR) for tonic in range(12)]
    )
    best = int(np.argmax(fits))
    if not fits[best] >= _LEAST:
        return None, 0.0
    others = np.delete(fits, [best % 12, best % 12 + 12]).max()
    mode = "major" if best < 12 else "minor"
    return f"{NAMES[best % 12]} {mode}", float(np.clip((fits[best] - others) / (1 - others), 0, 1))
