"""A device or patch that runs in node, on a strict stub of Max and Live, against the real daemon."""

from __future__ import annotations

import json
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.conftest import PATIENCE_S, Daemon
from tests.max import amxd
from tests.programs import needed

ROOT = Path(__file__).parents[2]
DEVICES = ROOT / "max_for_live"
STUBS = Path(__file__).parent / "stubs"


@pytest.fixture(scope="session")
def node() -> str:
    return needed("node", "nodejs")


@pytest.fixture(scope="session")
def daemon(tmp_path_factory):
    """One running daemon for all of these tests."""
    folder = tmp_path_factory.mktemp("daemon")
    (folder / "root").mkdir()
    running = Daemon(folder / "root", folder / "state").start()
    yield running
    running.kill()


class Running:
    """A patch in the stub: commands go in, events come out, and an error is kept until the end."""

    def __init__(self, node: str, options: Path) -> None:
        self.events: list[dict] = []
        self.mark = 0
        self._heard = threading.Condition()
        self._process = subprocess.Popen(
            [node, str(STUBS / "host.js"), str(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout:
            with self._heard:
                self.events.append(json.loads(line))
                self._heard.notify_all()

    def tell(self, do: str, **values) -> None:
        """Do something to the patch, and forget for `wait` what came before it."""
        self.mark = len(self.events)
        self._process.stdin.write(json.dumps({"do": do, **values}) + "\n")
        self._process.stdin.flush()
        self.wait(event="did", what=do)

    def touch(self, name: str, value=1) -> None:
        """Turn, type into or press a control."""
        self.tell("touch", name=name, value=value)

    def find(self, since: int = 0, **wanted) -> list[dict]:
        """Return the events that hold all of `wanted`."""
        return [one for one in self.events[since:] if wanted.items() <= one.items()]

    @property
    def told(self) -> str:
        """The latest events, without the lamp's."""
        lamp = ("lamp display", "colour")
        return "\n".join(str(one) for one in self.events[-200:] if one.get("what") not in lamp)

    def wait(self, **wanted) -> dict:
        """Return the first event since the last command that holds all of `wanted`."""
        with self._heard:
            came = self._heard.wait_for(lambda: self.find(self.mark, **wanted), PATIENCE_S)
            assert came, f"{wanted} never came; only: {self.told}"
            return self.find(self.mark, **wanted)[0]

    def shows(self, what: str, *value) -> list[dict]:
        """Wait until the display shows a value."""
        return self.wait(event="shown", what=what, value=list(value))

    def says(self, part: str) -> str:
        """Wait until the line of text holds `part`, and return it."""
        with self._heard:
            texts = lambda: [  # noqa: E731
                " ".join(map(str, one["value"]))
                for one in self.find(self.mark, event="shown", what="text display")
                if part in " ".join(map(str, one["value"]))
            ]
            assert self._heard.wait_for(texts, PATIENCE_S), f"{part!r} was never said; only: {self.told}"
            return texts()[0]

    def sent(self, address: str) -> list[dict]:
        """Return the pairs of every message to `address`, once where it was sent again for want of a reply."""
        found = {one["arguments"][0]: one["arguments"][1:] for one in self.find(event="sent", address=address)}
        return [dict(zip(pairs[::2], pairs[1::2], strict=True)) for pairs in found.values()]

    def close(self) -> None:
        """End it, and fail if the patch did anything that Max or Live does not have."""
        if self._process.poll() is None:
            self.tell("close")
            self._process.stdin.close()
        self._process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        assert not self.find(event="error"), self.find(event="error")[0]["text"]

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def unpacked(tmp_path) -> Path:
    """The frozen device's patcher and scripts, as they come out of the file."""
    device = amxd.read((DEVICES / "musicgen-bridge.amxd").read_bytes())
    folder = tmp_path / "device"
    folder.mkdir()
    (folder / "device.json").write_text(json.dumps({"patcher": device.patcher}), "utf-8")
    for name, content in device.files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def run(node, tmp_path):
    """Return a function that runs a patcher in a folder with options for the stub."""
    made: list[Running] = []

    def make(patcher: Path, **options) -> Running:
        path = tmp_path / f"options-{len(made)}.json"
        path.write_text(json.dumps({"patcher": str(patcher), "folder": str(patcher.parent), **options}), "utf-8")
        made.append(Running(node, path))
        return made[-1]

    yield make
    try:
        for running in made:
            running.close()
    finally:
        for running in made:
            running.kill()


@pytest.fixture
def device(run, unpacked):
    """Return a function that loads the device into a set; the options are those of the stub of Live."""

    def make(daemon, *, tempo: float = 126.5, buttons: str = "bang", played: Path | None = None, draws=(), **live):
        song = {"file_path": str(daemon.song / "my set.als"), "tempo": tempo, "signature_numerator": 7}
        song |= {"signature_denominator": 8, **live.pop("song", {})}
        stub = {"buttons": buttons, "played": str(played or ""), "draws": list(draws), "live": {"song": song, **live}}
        return run(unpacked / "device.json", port=daemon.port, **stub)

    return make


@pytest.fixture
def tune(tmp_path) -> Path:
    """A recording of four seconds, 44.1 kHz, stereo: a rising tune, loud enough to be followed."""
    rate = 44_100
    t = np.arange(rate) / rate
    notes = [0.4 * np.sin(2 * np.pi * 440 * 2 ** (step / 12) * t) * np.exp(-2 * t) for step in (0, 3, 7, 10)]
    sound = np.concatenate(notes)
    soundfile.write(tmp_path / "tune.wav", np.stack([sound, sound], axis=1), rate)
    return tmp_path / "tune.wav"
