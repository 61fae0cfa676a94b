"""The demonstration: a daemon of its own on the embedded model, and a DAW's part played over UDP beside it."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from musicgen_bridge.asking.keys import Value
from musicgen_bridge.cli.console import table
from musicgen_bridge.client import RESTART_S, Bridge, pairs
from musicgen_bridge.control.replies import DONE, PROGRESS, QUEUED
from musicgen_bridge.daemon import read_token
from musicgen_bridge.errors import InternalError
from musicgen_bridge.pipe import command

if TYPE_CHECKING:
    import numpy as np

FIELDS = {reply.address: [field.name for field in reply.fields] for reply in (QUEUED, PROGRESS, DONE)}
BPM, RATE = "126.5", 48_000
BEATS = 8
"""Length of the recordings: two bars of 4/4."""
TUNE = ((0, 62), (1, 65), (2, 69), (2.5, 67), (3, 65), (4, 64), (5, 67), (6, 70), (6.5, 69), (7, 67))
RIFF = (
    (0, 38),
    (0.75, 50),
    (1.5, 45),
    (2, 41),
    (2.75, 53),
    (3.5, 48),
    (4, 38),
    (5.5, 45),
    (6, 43),
    (6.75, 55),
    (7, 48),
)
"""Notes as (beat, MIDI number): a tune in D minor, and a bass riff under it."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One render of the demonstration: what is asked, in which signature, and how many bars."""

    title: str
    beats: int
    unit: int
    bars: int
    keys: Mapping[str, Value]

    @property
    def frames(self) -> int:
        """floor(B * n * 4/d * 60 * rate / N + 1/2), worked out here and not by the code that is shown."""
        quarters = Fraction(self.bars * self.beats * 4, self.unit)
        return math.floor(quarters * 60 * RATE / Fraction(BPM) + Fraction(1, 2))


def run(project: Path) -> int:
    """Play the demonstration in a project folder, which is created, and return 0 if every stem has its exact length."""
    project = project.resolve()
    project.mkdir(parents=True, exist_ok=True)
    tune = _recording(project / "recorded tune.wav", TUNE)
    riff = _recording(project / "recorded riff.wav", RIFF)
    shots = (
        Shot("text", 7, 8, 4, {"prompt": "tight funk drum break with rimshots", "seed": 1}),
        Shot("melody", 4, 4, 4, {"prompt": "warm synth lead over soft drums", "melody": str(tune), "seed": 2}),
        Shot("continuation", 4, 4, 2, {"prompt": "bass riff with drums", "continue": str(riff), "seed": 3}),
    )
    with _daemon(project.parent) as bridge:
        results = [_play(bridge, shot, project) for shot in shots]
    say("")
    table(
        ("render", "frames", "expected", "LUFS", "seconds", "file"), [result.row(project.parent) for result in results]
    )
    return 0 if all(result.right for result in results) else 1


def say(line: str) -> None:
    """Print one line of what happens, at once."""
    print(line, flush=True)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a shot: the stem's path, its frames as its header gives them, its loudness, how long it took."""

    shot: Shot
    path: Path
    frames: int
    lufs: float | None
    seconds: float

    @property
    def right(self) -> bool:
        """Whether the stem is exactly as long as it should be."""
        return self.frames == self.shot.frames

    def row(self, below: Path) -> tuple[object, ...]:
        """The line of the final table."""
        mark = "" if self.right else "  WRONG"
        lufs = "silent" if self.lufs is None else f"{self.lufs:.1f}"
        path = self.path.relative_to(below)
        return self.shot.title, self.frames, f"{self.shot.frames}{mark}", lufs, f"{self.seconds:.1f}", path


def _play(bridge: Bridge, shot: Shot, project: Path) -> Result:
    """Tell the session, render, and read back what lies in the project folder."""
    import soundfile

    session: dict[str, Value] = {
        "bpm": float(BPM),
        "signature": f"{shot.beats}/{shot.unit}",
        "sample_rate": RATE,
        "project": str(project),
    }
    say(f"\n{shot.title}, {shot.bars} bars of {shot.beats}/{shot.unit} at {BPM} BPM, {RATE} Hz")
    _exchange(bridge, "/musicgen/session", session)
    began = time.monotonic()
    done = _exchange(bridge, "/musicgen/render", {"bars": shot.bars, **shot.keys})
    seconds = time.monotonic() - began
    path = Path(str(done[4]))
    info = soundfile.info(path)
    if (info.samplerate, info.subtype) != (RATE, "PCM_24"):
        raise InternalError(f"{path} is {info.samplerate} Hz {info.subtype}; please report this")
    sidecar = json.loads(path.with_suffix(".json").read_text("utf-8"))
    return Result(shot, path, info.frames, sidecar["report"]["lufs"], seconds)


def _exchange(bridge: Bridge, address: str, values: Mapping[str, Value]) -> tuple[object, ...]:
    """Send a request, print it and each reply that says something new, and return the last reply's arguments."""
    say(f"  → {address}  {_short(values)}")
    began, stage = time.monotonic(), ""
    said: tuple[object, ...] = ()
    for reply in bridge.replies(bridge.new_id(), address, values, patience=RESTART_S):
        said = reply.arguments
        if reply.address == PROGRESS.address:
            if said[-1] == stage:
                continue
            stage = str(said[-1])
        names = FIELDS.get(reply.address)
        shown = dict(zip(names, said, strict=True)) if names else pairs(reply)
        say(f"  ← {reply.address}  {_short(shown)}  ({time.monotonic() - began:.2f} s)")
    return said


def _short(values: Mapping[str, object]) -> str:
    shown = {name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in values.items()}
    shown = {name: text if len(text) <= 64 else f"…{text[-63:]}" for name, text in shown.items() if text}
    return "  ".join(f"{name} {text}" for name, text in shown.items() if name != "id")


@contextmanager
def _daemon(root: Path) -> Iterator[Bridge]:
    """Run a daemon on a free port, with settings and state of its own, and yield its client once it is ready."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        config = Path(folder) / "config.toml"
        config.touch()
        flags = {"config": config, "state": folder, "root": root, "port": port, "model": "starter"}
        start = command("cli", "start", *(part for name, value in flags.items() for part in (f"--{name}", str(value))))
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MUSICGEN_BRIDGE_")}
        say("starting a daemon on the embedded model")
        daemon = subprocess.Popen(start, stdout=subprocess.PIPE, text=True, encoding="utf-8", env=clean)
        try:
            assert daemon.stdout is not None
            ready = daemon.stdout.readline().strip()
            if not ready:
                raise InternalError(f"the daemon ended with exit code {daemon.wait()} before it was ready")
            say(ready)
            with Bridge.connect(port=port) as bridge:
                yield bridge
                bridge.request("/musicgen/drain", {"token": read_token(Path(folder) / str(port))})
                daemon.wait(timeout=60)
        finally:
            daemon.kill()
            daemon.wait()


def _recording(path: Path, notes: Sequence[tuple[float, int]]) -> Path:
    """Write what an instrument might have played to the session's click, unless it lies there from an earlier run."""
    import numpy as np
    import soundfile

    if not path.exists():
        beat = RATE * 60 / float(BPM)  # in samples
        sound = np.zeros(round(BEATS * beat) + RATE)
        for at, note in notes:
            start = round(at * beat)
            sound[start : start + RATE] += pluck(440 * 2 ** ((note - 69) / 12))
        soundfile.write(path, 0.3 * sound[: round(BEATS * beat)], RATE, subtype="PCM_24")
    return path


def pluck(frequency: float) -> np.ndarray:
    """Return a second of a plucked string [RATE]: harmonics at 1/k, the higher the sooner they fade."""
    import numpy as np

    t = np.arange(RATE) / RATE
    harmonics = range(1, min(12, int(RATE / 2 / frequency)))
    tone = sum(np.exp(-3 * t * k**0.7) * np.sin(2 * np.pi * k * frequency * t) / k for k in harmonics)
    return tone * np.minimum(1, t / 0.003) * np.minimum(1, (1 - t) / 0.02)
