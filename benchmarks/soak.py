"""A day on stage in minutes: clients that ask, err, cancel and vanish, and a daemon and worker that are killed.

uv run python benchmarks/soak.py [--minutes 10] [--clients 3] [--device cpu] [--seed 1] [--calm]

Prints memory, open files and threads of daemon and worker each minute, then what became of every accepted take; exits
with 1 where one was lost, a stem is not whole, or something was answered wrongly.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import soundfile

from musicgen_bridge.asking.keys import Value
from musicgen_bridge.client import Bridge, Rendered
from musicgen_bridge.errors import BridgeError

WORKER_LIVES_S, DAEMON_LIVES_S = (20.0, 45.0), (100.0, 160.0)
"""For how long each is left alone before kill -9, at least and at most."""
PATIENCE_S = 120.0
WRONG: tuple[tuple[dict[str, Value], str], ...] = (
    ({"prompt": "x", "bars": 0}, "E_ARGS"),
    ({"prompt": "x", "bars": 1000.0}, "E_ARGS"),
    ({"prompt": "x" * 1001}, "E_ARGS"),
    ({"prompt": "x", "bmp": 120}, "E_ARGS"),
    ({"prompt": "x", "signature": "7-8"}, "E_ARGS"),
    ({"prompt": "x", "sample_rate": 44.1}, "E_ARGS"),
    ({"prompt": "x", "variations": 99}, "E_ARGS"),
    ({"prompt": "x", "bars": 1.0, "seconds": 1.0}, "E_ARGS"),
    ({"prompt": "x", "project": "/"}, "E_PATH"),
    ({"prompt": "x", "melody": "/etc/hostname"}, "E_PATH"),
    ({"prompt": "x", "melody": "{song}/nothing.wav"}, "E_PATH"),
    ({"prompt": "x", "bars": 1.0, "melody": "{song}/text.wav"}, "E_AUDIO"),
    ({"prompt": "x", "bars": 1.0, "model": "nobody"}, "E_MODEL"),
    ({"prompt": "x", "bars": 1.0, "separate": "drums"}, "E_MODEL"),
)


@dataclass
class Show:
    """The daemon, its folders, and what has happened so far."""

    folder: Path
    device: str
    rng: random.Random
    port: int = 0
    process: subprocess.Popen[str] | None = None
    over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    stems: list[str] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    """The request ids that were answered with /musicgen/queued."""

    @property
    def song(self) -> Path:
        """The project's folder."""
        return self.folder / "song"

    def start(self) -> None:
        """Start the daemon and wait until it is ready."""
        where = ("--port", str(self.port), "--state", str(self.folder / "state"), "--midi", "off")
        what = ("--device", self.device, "--project", str(self.song), "--root", str(self.folder))
        command = [sys.executable, "-P", "-m", "musicgen_bridge.cli", "start", *where, *what]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        if "ready" not in self.process.stdout.readline():
            sys.exit("the daemon did not come up")

    def processes(self) -> list[psutil.Process | None]:
        """Return the daemon and its worker, None for one that is not there at this moment."""
        try:
            daemon = psutil.Process(self.process.pid if self.process else 0)
            return [daemon, *daemon.children(), None][:2]
        except psutil.NoSuchProcess:
            return [None, None]

    def count(self, what: str) -> None:
        """Count something that happened."""
        with self.lock:
            self.counts[what] += 1

    def blame(self, what: str) -> None:
        """Note something that must not happen."""
        with self.lock:
            self.wrong.append(what)


class Client:
    """One client: whatever it does next is drawn."""

    def __init__(self, show: Show, seed: int) -> None:
        self.show, self.rng = show, random.Random(seed)
        self.acts: tuple[tuple[int, Callable[[Bridge], None]], ...] = (
            (6, self.render),
            (2, self.cancel),
            (3, self.err),
            (1, self.vanish),
            (1, self.twice),
            (2, self.fit),
            (1, self.babble),
        )

    def run(self) -> None:
        """Act until the show is over."""
        weights, acts = zip(*self.acts, strict=True)
        while not self.show.over.is_set():
            (act,) = self.rng.choices(acts, weights)
            try:
                with Bridge.connect(port=self.show.port, timeout=PATIENCE_S) as bridge:
                    act(bridge)
                self.show.count(act.__name__)
            except ConnectionError:
                self.show.count("no daemon")
                time.sleep(0.5)
            except Exception as error:
                self.show.blame(f"{act.__name__}: {error!r}")

    def values(self) -> dict[str, Value]:
        """Return a request that can be rendered."""
        rng = self.rng
        return {
            "prompt": rng.choice(("techno drums", "warm pad", "basse funky", "緩やかなピアノ", "")),
            "bars": rng.choice((0.5, 1.0, 2.0)),
            "bpm": rng.choice((60.0, 97.5, 126.5, 174.0, 400.0)),
            "signature": rng.choice(("4/4", "3/4", "7/8")),
            "sample_rate": rng.choice((44_100, 48_000, 96_000)),
            "format": rng.choice(("wav", "flac", "aiff")),
            "variations": rng.choice((1, 1, 1, 2)),
            "loop": rng.random() < 0.5,
        }

    def render(self, bridge: Bridge) -> None:
        """Ask and look at what came."""
        values = self.values()
        self._follow(bridge, bridge.new_id(), "/musicgen/render", values)

    def fit(self, bridge: Bridge) -> None:
        """Bring an earlier stem to another tempo."""
        with self.show.lock:
            stems = list(self.show.stems)
        if stems:
            values = {key: value for key, value in self.values().items() if key not in ("prompt", "variations")}
            values["file"] = self.rng.choice(stems)
            self._follow(bridge, bridge.new_id(), "/musicgen/fit", values)

    def cancel(self, bridge: Bridge) -> None:
        """Ask, and think better of it."""
        rid, patience = bridge.new_id(), self.rng.random() * 3
        later = threading.Timer(patience, bridge.send, (bridge.new_id(), "/musicgen/cancel", {"target": rid}))
        later.start()
        values = self.values()
        self._follow(bridge, rid, "/musicgen/render", values, ("E_CANCELLED",))
        later.cancel()
        later.join()

    def err(self, bridge: Bridge) -> None:
        """Ask for what can't be."""
        values, code = self.rng.choice(WRONG)
        song = str(self.show.song)
        asked = {key: value.format(song=song) if isinstance(value, str) else value for key, value in values.items()}
        try:
            bridge.render(asked)
        except BridgeError as error:
            if error.code not in (code, "E_BUSY"):
                self.show.blame(f"{values} was answered with {error.code} {error.text}")
        else:
            self.show.blame(f"{values} was rendered")

    def vanish(self, bridge: Bridge) -> None:
        """Ask, and never be seen again."""
        bridge.send(bridge.new_id(), "/musicgen/render", self.values())

    def twice(self, bridge: Bridge) -> None:
        """Ask the same thing under the same id over and over: one job."""
        rid, values = bridge.new_id(), self.values()
        for _ in range(5):
            bridge.send(rid, "/musicgen/render", values)
        self._follow(bridge, rid, "/musicgen/render", values)

    def babble(self, bridge: Bridge) -> None:
        """Send what is no message, and more pings than anybody reads."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            for _ in range(100):
                out.sendto(self.rng.randbytes(self.rng.randint(0, 2000)), ("127.0.0.1", self.show.port))
        for _ in range(300):
            bridge.send(bridge.new_id(), "/musicgen/ping", {})

    def _follow(
        self,
        bridge: Bridge,
        rid: str,
        address: str,
        values: dict[str, Value],
        codes: tuple[str, ...] = (),
    ) -> None:
        """Follow a job to its end, and look at its stems."""
        accepted = False
        try:
            for reply in bridge.replies(rid, address, values, patience=PATIENCE_S):
                said: Any = reply.arguments[2:]
                if not accepted and reply.address in ("/musicgen/queued", "/musicgen/progress"):
                    accepted = True
                    with self.show.lock:
                        self.show.accepted.append(rid)
                if reply.address == "/musicgen/done":
                    self._look(Rendered(*said), frames_of(values))
        except BridgeError as error:
            self.show.count(error.code)
            died = error.code == "E_INTERNAL" and "died twice" in error.text
            if error.code not in (*codes, "E_BUSY", "E_AUDIO") and not died:
                self.show.blame(f"{address} {values} failed: {error.code} {error.text}")

    def _look(self, stem: Rendered, frames: int) -> None:
        problem = flaw(Path(stem.path), frames)
        if problem:
            self.show.blame(f"{stem.path}: {problem}")
        with self.show.lock:
            self.show.stems.append(stem.path)


def frames_of(values: dict[str, Value]) -> int:
    """Return floor(B n 4/d 60 rate / N + 1/2): docs/protocol.md."""
    beats, unit = map(int, str(values["signature"]).split("/"))
    minutes = Fraction(str(values["bars"])) * Fraction(4 * beats, unit) / Fraction(str(values["bpm"]))
    return int(minutes * 60 * int(values["sample_rate"]) + Fraction(1, 2))


def flaw(path: Path, frames: int | None = None) -> str:
    """Return what is wrong with a stem, or nothing."""
    try:
        audio, _ = soundfile.read(path)
        json.loads(path.with_suffix(".json").read_text("utf-8"))
    except (OSError, ValueError, soundfile.SoundFileError) as error:
        return f"not whole: {error}"
    if frames is not None and len(audio) != frames:
        return f"{len(audio)} frames, not {frames}"
    return "" if np.isfinite(audio).all() else "not finite"


def kill(show: Show) -> None:
    """Kill the worker now and then, and the daemon, which is started again."""
    now = time.monotonic()
    due = {0: now + show.rng.uniform(*DAEMON_LIVES_S), 1: now + show.rng.uniform(*WORKER_LIVES_S)}
    while not show.over.wait(0.5):
        for which, lives in ((0, DAEMON_LIVES_S), (1, WORKER_LIVES_S)):
            victim = show.processes()[which]
            if time.monotonic() < due[which] or victim is None:
                continue
            due[which] = time.monotonic() + show.rng.uniform(*lives)
            show.count(("daemon killed", "worker killed")[which])
            victim.kill()
            if which == 0 and show.process is not None:
                show.process.wait()
                show.start()


def row(show: Show, minute: float) -> str:
    """Return a row of the table: megabytes, open files and threads of daemon and worker."""
    cells = []
    for process in show.processes():
        try:
            assert process is not None
            files = process.num_handles() if psutil.WINDOWS else process.num_fds()
            cells.append(f"{process.memory_info().rss >> 20:6d} MB {files:4d} {process.num_threads():4d}")
        except (AssertionError, psutil.Error):
            cells.append(f"{'not there':>19}")
    with show.lock:
        return f"{minute:6.1f}  {cells[0]}   {cells[1]}   {len(show.stems):5d}  {sum(show.counts.values()):6d}"


def judge(show: Show) -> int:
    """Say what became of every accepted take; return how much is wrong."""
    (path,) = show.folder.glob("state/*/journal.sqlite3")
    with sqlite3.connect(path) as journal:
        rows = journal.execute("SELECT rid, state, stems, error FROM jobs").fetchall()
    known = {json.loads(rid) for rid, *_ in rows}
    lost = [rid for rid in show.accepted if rid not in known] + [rid for rid, state, *_ in rows if state == "queued"]
    lost += [rid for rid, state, *_ in rows if state == "running"]
    told = [Path(stem["path"]) for _, state, stems, _ in rows if state == "done" for stem in json.loads(stems)]
    halves = [f"{path}: {flaw(path)}" for path in told if flaw(path)]
    lying = {path for path in (show.song / "MusicGen").iterdir() if path.is_file()}
    sounds = {path for path in lying if path.suffix != ".json" and not path.name.startswith(".")}
    hidden = [path.name for path in lying if path.name.startswith(".")]
    halves += [f"{path}: {flaw(path)}" for path in sounds - set(told) if flaw(path)]
    states = Counter(state for _, state, *_ in rows)
    codes = Counter(json.loads(error)[0] for *_, error in rows if error and json.loads(error))
    for what, found in (
        ("jobs in the journal", f"{len(rows)}: {dict(states)}, {dict(codes)}"),
        ("what happened", dict(show.counts)),
        ("accepted takes lost", len(lost)),
        ("stems told", len(told)),
        ("stems that no job tells of", len(sounds - set(told))),
        ("files not whole", len(halves)),
        ("hidden files left by kills", len(hidden)),
        ("wrong answers", len(show.wrong)),
    ):
        print(f"{what:<28}{found}")
    for problem in (*map(str, lost), *halves, *show.wrong):
        print(f"  {problem}")
    return len(lost) + len(halves) + len(show.wrong)


def main() -> int:
    """Run the show and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--clients", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--calm", action="store_true", help="nobody is killed, to see what grows")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
        probe.close()
        show = Show(Path(folder).resolve(), options.device, random.Random(options.seed), port)
        show.song.mkdir()
        (show.song / "text.wav").write_text("no audio")
        show.start()
        threads = [threading.Thread(target=Client(show, options.seed + n).run) for n in range(options.clients)]
        if not options.calm:
            threads.append(threading.Thread(target=kill, args=(show,)))
        print("minute  daemon: memory, files, threads; worker's   stems    acts", flush=True)
        began = time.monotonic()
        for thread in threads:
            thread.start()
        while (passed := time.monotonic() - began) < 60 * options.minutes:
            print(row(show, passed / 60), flush=True)
            time.sleep(min(60.0, 60 * options.minutes - passed))
        show.over.set()
        for thread in threads:
            thread.join()
        assert show.process is not None
        show.process.send_signal(signal.SIGTERM)
        if code := show.process.wait(10 * PATIENCE_S):
            show.blame(f"the daemon ended with {code}")
        return min(1, judge(show))


if __name__ == "__main__":
    sys.exit(main())
