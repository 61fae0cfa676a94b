"""What is asked of the engine and what comes of it: rows, the draft that they become, and the take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from musicgen_bridge.engine.sampler import Noise, Sampling
from musicgen_bridge.engine.windows import Window

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Melody:
    """A recording whose melody is followed; where it is shorter than the take, it repeats."""

    audio: Floats  # [C, N]
    sample_rate: int


@dataclass(frozen=True, slots=True)
class Row:
    """One take of a batch; without prompt and melody it is unconditional."""

    prompt: str
    seed: int
    melody: Melody | None = None


@dataclass(frozen=True, slots=True)
class Take:
    """What came of a batch of B rows."""

    audio: Floats  # [B, C, N], the new part alone
    prompt: (
        Floats  # [B, C, M], the continued recording as the codec gives it back, up to the first new sample; or M = 0
    )
    codes: NDArray[np.int64]  # [B, K, T], of both


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """A batch of B rows, conditioned and not drawn yet."""

    texts: list[Tensor | None]  # [S, d_text] each
    chromas: list[Tensor | None]  # [T, bins] each
    known: Tensor  # [B, K, P], the codes of what is gone on from
    samples: int
    """Of the new part."""
    windows: list[Window]
    guided: bool
    sampling: Sampling
    draw: Noise
