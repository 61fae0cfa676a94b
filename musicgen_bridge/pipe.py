"""Our child processes: how each is started, a stdout that no library prints into, and the JSON lines between us."""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Any, TextIO

log = logging.getLogger(__name__)

ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin for work starve a busy machine
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",  # weights in large pages are read faster, where Linux has any
}
"""What C libraries read when a process starts or loads them; what the user has set stands."""


def command(module: str, *arguments: str) -> list[str]:
    """Return what starts a module of ours as a process of its own.

    With -P Python does not look for modules in the current folder: that may be a project of somebody else's, and a
    `numpy.py` in it would run.
    """
    return [sys.executable, "-P", "-m", f"musicgen_bridge.{module}", *arguments]


def private_stdout() -> TextIO:
    """Return our own handle of stdout and point file descriptor 1 at stderr, where a library's prints do no harm."""
    own = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    os.dup2(2, 1)
    return own


def say(**message: Any) -> None:
    """Write one line to stdout."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def heard(line: bytes, child: str) -> dict[str, Any] | None:
    """Return the message in a child's line; one that holds none, as it was printed by somebody else, is logged."""
    try:
        message = json.loads(line)
    except ValueError:
        message = None
    if isinstance(message, dict) and "is" in message:
        return message
    log.warning("the %s's process printed what is no message: %r", child, line[:200])
    return None
