"""What every room's tests share: how they are spread over the cores, and a real daemon on a free port."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line sets it, before torch is first imported
os.environ.setdefault("OMP_NUM_THREADS", "1")  # each of the tests' workers and daemons has one core's share

import functools
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import hypothesis
import psutil
import pytest
from xdist.scheduler import LoadFileScheduling

from musicgen_bridge.client import Bridge, pairs

COMMAND = [sys.executable, "-m", "musicgen_bridge.cli"]
PATIENCE_S = 120.0
"""How long what must come is waited for, on however busy a machine."""
LIVE = (
    "tests/sound/test_live_sound.py",
    "tests/control/test_midi.py",
    "tests/control/test_midi_controllers.py",
    "tests/follow/test_jack.py",
    "tests/follow/test_link.py",
    "tests/follow/test_ardour.py",
    "tests/ardour/test_render.py",
)
"""Tests with sound, MIDI clock or a transport in real time: they come first, one at a time, and others give way."""

TOGETHER = "tests/panel/"
"""Tests that share one daemon and one browser."""

signal.signal(signal.SIGINT, signal.default_int_handler)  # else one behind a shell's & hands on that it is ignored
hypothesis.settings.register_profile("any machine", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("any machine")


class Spread(LoadFileScheduling):
    """pytest-xdist's files to workers, but all of the live tests to one, and those that share a daemon."""

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(TOGETHER):
            return TOGETHER
        return "live" if nodeid.startswith(LIVE) else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config, log):
    return Spread(config, log)


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: not item.nodeid.startswith(LIVE))


@functools.cache
def give_way() -> None:
    """Lower the priority of this process, and so of all that it starts, for good."""
    process = psutil.Process()
    process.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS if psutil.WINDOWS else min(process.nice() + 10, 19))


def pytest_runtest_setup(item):
    if "PYTEST_XDIST_WORKER" in os.environ and not item.nodeid.startswith(LIVE):
        give_way()


def free_port() -> int:
    """Return a port that is free for UDP and TCP at this moment."""
    with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        tcp.bind(("127.0.0.1", 0))
        udp.bind(tcp.getsockname())
        return int(tcp.getsockname()[1])


@dataclass
class Daemon:
    """A real `musicgen-bridge start` in its own process, with its own state folder and one allowed root."""

    root: Path
    state: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[str] | None = None
    ready: str = ""

    def start(self, *flags: str) -> Daemon:
        """Start it and wait for its ready line."""
        flags = ("--project", str(self.root / "song"), "--device", "cpu", *flags)
        command = [*COMMAND, "start", "--port", str(self.port), "--state", str(self.state), "--root", str(self.root)]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MUSICGEN_BRIDGE_")}
        (self.root / "song").mkdir(exist_ok=True)
        self.process = subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, text=True, env=environment)
        assert self.process.stdout is not None
        self.ready = self.process.stdout.readline()
        assert "ready" in self.ready, self.log("daemon") + self.log("worker")
        return self

    def client(self) -> Bridge:
        """Return a new client of it."""
        return Bridge.connect(port=self.port, timeout=PATIENCE_S)

    def status(self) -> dict[str, object]:
        """Return what /musicgen/status says."""
        with self.client() as bridge:
            return pairs(bridge.request("/musicgen/status")[0])

    @property
    def worker(self) -> psutil.Process:
        """The worker's process."""
        assert self.process is not None
        (child,) = psutil.Process(self.process.pid).children()
        return child

    @property
    def song(self) -> Path:
        """The project folder."""
        return self.root / "song"

    def log(self, name: str) -> str:
        """Return a log of it as text."""
        path = self.state / str(self.port) / f"{name}.log"
        return path.read_text() if path.is_file() else ""

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def kill(self) -> None:
        """Make an end of it and its worker, however they are."""
        if self.process is not None and self.process.poll() is None:
            for child in psutil.Process(self.process.pid).children():
                child.kill()
            self.process.kill()
            self.process.wait()


@pytest.fixture
def new_daemon(tmp_path):
    """Return a maker of daemons that share one root and one state folder, not started yet."""
    made: list[Daemon] = []

    def make(**changes: object) -> Daemon:
        (tmp_path / "root").mkdir(exist_ok=True)
        made.append(Daemon(tmp_path / "root", tmp_path / "state", **changes))
        return made[-1]

    yield make
    for daemon in made:
        daemon.kill()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    """One running daemon for the tests of a module."""
    folder = tmp_path_factory.mktemp("daemon")
    (folder / "root").mkdir()
    running = Daemon(folder / "root", folder / "state").start()
    yield running
    running.kill()
