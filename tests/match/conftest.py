"""What the tests of session matching share: clips of a band, each made once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from clips import Clip, make_clip


@pytest.fixture(scope="session")
def band() -> Callable[..., Clip]:
    """Clips of a band, each made once."""
    made: dict[tuple, Clip] = {}

    def get(seed: int = 0, **how) -> Clip:
        key = (seed, *sorted(how.items()))
        if key not in made:
            made[key] = make_clip(seed, **how)
        return made[key]

    return get
