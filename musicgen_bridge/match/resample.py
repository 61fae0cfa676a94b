"""Sample rates: soxr at its best, whose ripple and aliasing lie below 24 bits."""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray


def resample(audio: NDArray, rate: int, wanted: int) -> NDArray[np.float32]:
    """Return `audio` [n, channels] of `rate` Hz at `wanted` Hz, as float32."""
    if rate == wanted:
        return audio.astype(np.float32, copy=False)
    return soxr.resample(audio, rate, wanted, quality="VHQ").astype(np.float32, copy=False)
