"""Where a model runs, how much memory there is, and what is said when there is no room."""

from __future__ import annotations

import ctypes
import gc
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
import torch

from musicgen_bridge.errors import ArgumentError, OutOfMemoryError

_MEMORY_SIGNS = ("out of memory", "DefaultCPUAllocator")


def device_called(name: str) -> torch.device:
    """Return the device called `name`; raises ArgumentError where there is none."""
    counts = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}
    there = [kind for kind, count in counts.items() if count]
    kind, _, index = (there[0] if name == "auto" else name).partition(":")
    if kind not in there or not (index or "0").isdecimal() or int(index or 0) >= counts[kind]:
        raise ArgumentError(f"There is no device {name!r} here: choose auto or one of {', '.join(there)}.")
    return torch.device(kind, int(index or 0)) if kind == "cuda" else torch.device(kind)


def leave_a_core() -> int:
    """Have torch use one thread fewer than it would, so that the daemon is heard; return how many it uses.

    Whoever sets OMP_NUM_THREADS has chosen already.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() - 1))
    return torch.get_num_threads()


def memory_of(device: torch.device) -> tuple[int, int]:
    """Return how many bytes of a device's memory are in use, by all programs, and how many it has.

    Of the CPU that is the machine's; of Apple's GPU, which has no memory of its own, what this process may use.
    """
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return total - free, total
    if device.type == "mps":
        return torch.mps.driver_allocated_memory(), torch.mps.recommended_max_memory()
    machine = psutil.virtual_memory()
    return machine.total - machine.available, machine.total


def free_memory(device: torch.device) -> int:
    """Return how many bytes of a device's memory this process may still take; what torch keeps unused is among them."""
    used, total = memory_of(device)
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
    return total - used + kept


def give_back() -> None:
    """Let the devices have what nobody holds any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
    trim()


def trim() -> None:
    """Let the system have the memory that glibc keeps in pieces between takes of many lengths: hundreds of megabytes.

    Other C libraries have no malloc_trim, and nothing happens with them.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


@contextmanager
def memory_errors() -> Iterator[None]:
    """Turn a device's running out of memory into OutOfMemoryError, and give back what failed to be used."""
    try:
        yield
        return
    except (RuntimeError, MemoryError) as error:
        # torch raises a plain RuntimeError for the CPU and for MPS
        if not isinstance(error, MemoryError) and not any(sign in str(error) for sign in _MEMORY_SIGNS):
            raise
        traceback.clear_frames(error.__traceback__)  # they hold the tensors that there was no room beside
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    raise OutOfMemoryError(
        "The device has too little memory for this: ask for fewer variations or parts, or choose a smaller model."
    )
