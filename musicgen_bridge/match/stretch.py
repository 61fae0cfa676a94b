"""Tempo without pitch: one rate for the whole clip, by Signalsmith Stretch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from python_stretch.Signalsmith import Stretch

_SEED = 0
"""The stretcher draws phases; with a seed the same take gives the same samples again."""
_BLOCK_S, _INTERVAL_S = 0.06, 0.015
"""Short enough that a drum keeps its attack, long enough for the partials of a bass."""
SMALLEST = 2e-5
"""A change of tempo that moves the end of a minute by 1 ms: what is smaller is left alone."""


def stretch(audio: NDArray[np.float32], sample_rate: int, rate: float) -> NDArray[np.float32]:
    """Return `audio` [n, channels] played `rate` times as fast; what was at t is then at t / rate."""
    if abs(rate - 1) < SMALLEST:
        return audio
    stretcher = Stretch(_SEED)
    stretcher.configure(audio.shape[1], round(_BLOCK_S * sample_rate), round(_INTERVAL_S * sample_rate))
    stretcher.setTimeFactor(rate)
    return np.asarray(stretcher.process(np.ascontiguousarray(audio.T))).T
