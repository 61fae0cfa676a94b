"""Our child processes: how each is started, pipes that no library gets hold of, and the JSON lines between us."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

if TYPE_CHECKING:
    from asyncio.subprocess import Process

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


def private_pipes() -> tuple[BinaryIO, TextIO]:
    """Begin as a child: leave Ctrl-C to the parent, and return our own handles of stdin and stdout.

    File descriptor 0 holds nothing from then on, and 1 is stderr, where a library's prints do no harm. On Windows
    whoever asks anything of a pipe that a thread is reading waits until something comes, and C libraries do that to
    stdin while they are loaded (https://github.com/numpy/numpy/issues/24290).
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stdin, stdout = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return stdin, stdout


def say(**message: Any) -> None:
    """Write one line to stdout."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def tell(child: Process | None, **message: Any) -> None:
    """Write one line to a child's stdin; to one that is not there, or goes, it is lost."""
    if child is not None and child.stdin is not None and not child.stdin.is_closing():
        child.stdin.write(json.dumps(message).encode() + b"\n")


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
