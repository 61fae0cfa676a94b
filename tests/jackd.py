"""JACK's dummy driver as the MIDI system, on a server of its own, and controllers as processes of their own."""

from __future__ import annotations

import mmap
import os
import queue
import re
import struct
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import mido
import psutil

from tests.conftest import PATIENCE_S
from tests.programs import needed

API = "mido.backends.rtmidi/UNIX_JACK"


@contextmanager
def jack_server() -> Iterator[str]:
    """Run a JACK server for this process and its children; they take it for the machine's MIDI system."""
    name, before = f"test-{uuid.uuid4().hex[:8]}", mido.backend
    driver = ("-d", "dummy", "-r", "48000", "-p", "512")
    allowed = subprocess.run([needed("chrt", "util-linux"), "-f", "10", "true"], capture_output=True).returncode == 0
    mode = "--realtime" if allowed else "--no-realtime"  # if only asked for, every cycle is late
    command = [needed("jackd", "jackd2"), mode, "-n", name, *driver]
    free_places()
    changes = {"JACK_DEFAULT_SERVER": name, "JACK_NO_AUDIO_RESERVATION": "1", "MIDO_BACKEND": API}
    known = {key: os.environ.get(key) for key in changes}
    os.environ.update(changes)
    mido.set_backend(API)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        subprocess.run(
            [needed("jack_wait", "jackd2"), "-s", name, "-w", "-t", f"{PATIENCE_S:.0f}"],
            check=True,
            capture_output=True,
        )
        yield name
    finally:
        process.terminate()  # killed, it would leave its place in JACK's table of eight servers taken
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
        for left in Path("/dev/shm").glob(f"jack_*{name}*"):  # by clients that were killed
            left.unlink()
        mido.backend = before
        for key, value in known.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})


def free_places(registry: Path = Path("/dev/shm/jack-shm-registry")) -> None:
    """Free the places, of eight, that servers which were killed have left taken in JACK's table of servers.

    A place is the server's process id and its name (jack2, common/shm.h); id 0 is a free one.
    """
    if not registry.is_file():
        return
    with registry.open("r+b") as file, mmap.mmap(file.fileno(), 0) as table:
        for found in re.finditer(rb"jack-\d+:[\w-]+", table[:4096]):
            place = found.start() - 4
            (process,) = struct.unpack_from("<i", table, place)
            with suppress(psutil.NoSuchProcess):
                if psutil.Process(process).name().startswith("jackd"):
                    continue
            struct.pack_into("<i", table, place, 0)


class Controller:
    """A MIDI device in a process of its own: what it sends, and what is sent to it."""

    def __init__(self, name: str) -> None:
        command = [sys.executable, "-m", "tests.control.controller", name]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        assert self.line() == "ready"

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.strip())

    def line(self) -> str:
        """Return the next thing it says."""
        return self._lines.get(timeout=PATIENCE_S)

    def send(self, *message: int) -> None:
        """Send one message."""
        self.say(" ".join(map(str, message)))

    def hear(self) -> list[int]:
        """Return the next message that comes to it."""
        return [int(byte) for byte in self.line().split()]

    def say(self, line: str) -> None:
        """Have it do something: the bytes of a message, or `clock <bpm> <ticks>`."""
        assert self.process.stdin is not None
        print(line, file=self.process.stdin, flush=True)

    def unplug(self) -> None:
        """Make it vanish, as a device does: its ports are closed."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(PATIENCE_S)
        finally:
            self.process.kill()
