"""What Windows refuses as long as another program, such as a virus scanner, has the file open."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

PATIENCE_S = 2.0
"""How long it is tried."""
_PAUSE_S = 0.05

P = ParamSpec("P")
T = TypeVar("T")


def patiently(do: Callable[P, T], *args: P.args, **more: P.kwargs) -> T:
    """Return what `do` does, tried again for `PATIENCE_S` while it raises PermissionError."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return do(*args, **more)
        except PermissionError:
            if time.monotonic() >= until:
                raise
        time.sleep(_PAUSE_S)
