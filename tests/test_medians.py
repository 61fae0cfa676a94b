"""Running medians against scipy's filter of planes."""

from __future__ import annotations

import numpy as np
import pytest
import scipy

from musicgen_bridge.medians import running_median


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("axis", "shape"), [(0, (9, 1)), (1, (1, 15)), (1, (1, 31)), (0, (17, 1))])
@pytest.mark.parametrize("size", [(40, 50), (5, 3), (1, 60)])
def test_they_are_those_of_scipys_filter(dtype: type, axis: int, shape: tuple[int, int], size: tuple[int, int]) -> None:
    plane = np.random.default_rng(1).normal(size=size).astype(dtype)
    before = plane.copy()
    medians = running_median(plane, shape[axis], axis)
    assert medians.dtype == dtype
    assert np.array_equal(medians, scipy.ndimage.median_filter(plane, shape))
    assert np.array_equal(plane, before)
