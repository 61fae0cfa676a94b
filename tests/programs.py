"""Programs beside Python that tests drive, as apt brings them."""

from __future__ import annotations

import os
import shutil
import sys

import pytest


def needed(name: str, package: str) -> str:
    """Return the path of a program; without it the test fails in CI on Linux, else it is skipped."""
    path = shutil.which(name)
    if path is None:
        reason = f"{name} is missing: sudo apt-get install -y {package}"
        pytest.fail(reason) if os.environ.get("CI") == "true" and sys.platform == "linux" else pytest.skip(reason)
    return path
