"""A band on JACK's dummy driver: who keeps the bars, inputs and an output, each a process of its own."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Daemon
from tests.jackd import jack_server

BPM, BEATS, UNIT = 97.5, 7, 8
RATE = 48_000
BAR = BEATS * 4 / UNIT * 60 / BPM * RATE
"""Frames, not whole ones."""
BAR_FRAMES = 103_385


class Musician:
    """One program on JACK."""

    def __init__(self, role: str, name: str, *words: object) -> None:
        command = [sys.executable, "-m", "tests.sound.musician", role, name, *map(str, words)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._hear() == ["ready"]

    def say(self, *words: object) -> str:
        """Have it do something, wait until it is done, and return what it says."""
        assert self.process.stdin is not None
        print(*words, file=self.process.stdin, flush=True)
        done, answer = self._hear()
        assert done == "done"
        return answer

    def _hear(self) -> list[str]:
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@dataclass
class Band:
    """Who keeps the bars, who listens, and a daemon that follows their transport."""

    daemon: Daemon
    master: Musician
    ear: Musician

    def heard(self, folder: Path) -> tuple[np.ndarray, np.ndarray]:
        """Return what the ear heard since it forgot: the transport's frames [n], and samples [2, n]."""
        self.ear.say("write", folder / "heard.npz")
        with np.load(folder / "heard.npz") as held:
            return held["frames"], held["samples"]


@pytest.fixture
def musicians():
    """Return a maker of musicians, who go when the test does."""
    made = []

    def make(*words):
        made.append(Musician(*words))
        return made[-1]

    yield make
    for musician in made:
        musician.end()


@pytest.fixture(scope="module")
def band(tmp_path_factory):
    """A band, one for the tests of a module."""
    folder = tmp_path_factory.mktemp("band")
    (folder / "root").mkdir()
    with jack_server():
        playing = [
            Musician("master", "daw", BPM, BEATS, UNIT),
            Musician("ear", "Ear"),
            Musician("feed", "Microphone"),
            Musician("feed", "Loud", 400),
            Musician("flute", "Flute"),
        ]
        daemon = Daemon(folder / "root", folder / "state")
        try:
            daemon.start("--follow", "jack", "--input", "microphone", "--output", "ear", "--volume", "-6")
            yield Band(daemon, playing[0], playing[1])
        finally:
            daemon.kill()
            for musician in playing:
                musician.end()
