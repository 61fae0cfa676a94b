"""A while without the right to pass by rights, which root has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

NOBODY = 65_534


@contextmanager
def unprivileged() -> Iterator[None]:
    """Have root take on another user for the while; skips the test where there are no POSIX rights."""
    if os.name == "nt":
        pytest.skip("POSIX rights")
    mine = os.geteuid()
    if mine == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(mine)
