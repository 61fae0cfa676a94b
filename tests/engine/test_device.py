"""What a device's memory is given back to."""

from __future__ import annotations

import platform

import psutil
import pytest

from musicgen_bridge.engine.device import trim


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone keeps it")
def test_memory_that_lies_in_pieces_goes_back_to_the_system() -> None:
    process, pieces = psutil.Process(), [bytes([n % 250 + 1]) * 100_000 for n in range(2_000)]
    pieces = pieces[::100]  # what lies between is free, but glibc keeps it, as something lies above
    kept = process.memory_info().rss
    trim()
    assert process.memory_info().rss < kept - 100_000_000
    assert len(pieces) == 20
