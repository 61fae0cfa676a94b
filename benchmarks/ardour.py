"""From Ardour and back: its tempo followed, its recording taken as melody, the stem placed and bounced by it.

uv run python benchmarks/ardour.py [--bpm 97.5] [--signature 7/8] [--bars 2] [--at 3]

Needs Ardour 7 (sudo apt-get install ardour) and no sound card: Ardour runs without a window, as ardour7-lua, on its
own dummy backend, whose device Loopback gives back to the inputs what is played. Everything happens in a temporary
folder. No other Ardour with the hook may run meanwhile. Exits with 1 where something is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import correlate

from musicgen_bridge.asking.keys import Value
from musicgen_bridge.client import Bridge, pairs

ROOT = Path(__file__).resolve().parents[1]
HOOK = ROOT / "ardour_scripts" / "musicgen-bridge_follow.lua"
RATE = 48_000
SUPERCLOCK = 282_240_000
"""What Ardour 7 counts a second in, in a session's file."""
PATIENCE_S = 30.0
LOOP = """
io.stdout:setvbuf("full")
for line in io.stdin:lines() do
  local chunk, wrong = load(line)
  local said = chunk and table.pack(pcall(chunk)) or {n = 2, false, wrong}
  for i = 1, said.n do said[i] = tostring(said[i]) end
  io.write("\\n> ", table.concat(said, "\\t", 1, said.n), "\\n")
  io.flush()
end
"""
"""Run in Ardour's own Lua: a line from stdin is done, and what it returned is told after "> "."""


class Ardour:
    """Ardour without a window, and its Lua to steer it by; its settings lie in `folder`."""

    def __init__(self, folder: Path) -> None:
        loop = folder / "loop.lua"
        loop.write_text(LOOP)
        self.environment = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder / "config")}
        self.environment["XDG_CACHE_HOME"] = str(folder / "cache")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(["ardour7-lua", loop], text=True, env=self.environment, **pipes)
        self._turn = threading.Lock()
        self.do('assert(AudioEngine:set_backend("None (Dummy)", "", "")):set_device_name("Loopback")')

    def do(self, line: str) -> list[str]:
        """Have Lua do one line; return what it returns, as text."""
        with self._turn:
            print(line.replace("\n", " "), file=self._process.stdin, flush=True)
            for answer in self._process.stdout:
                if answer.startswith("> "):
                    done, *values = answer[2:].rstrip("\n").split("\t")
                    assert done == "true", answer
                    return values
        raise AssertionError(f"Ardour ended at: {line}")

    def close(self) -> None:
        """Close the session and end."""
        if self._process.poll() is None:
            self.do("if Session then close_session() end")
            self._process.stdin.close()
            self._process.wait(PATIENCE_S)
        self._process.stdout.close()

    def new_session(self, folder: Path, bpm: float, signature: str) -> None:
        """Make a session of one tempo and meter with the tracks Voice, mono, Singer and Stem, stereo."""
        beats, unit = signature.split("/")
        self.do(f'Session = assert(create_session("{folder}", "{folder.name}", {RATE}))')
        self.do("map = Temporal.TempoMap.write_copy() start = Temporal.timepos_t(0)")
        self.do(f"map:set_tempo(Temporal.Tempo({bpm}, {bpm}, 4), start)")
        self.do(f"map:set_meter(Temporal.Meter({beats}, {unit}), start) Temporal.TempoMap.update(map)")
        for name, channels in (("Voice", 1), ("Singer", 2), ("Stem", 2)):  # Voice hears the first output
            self.do(
                f'Session:new_audio_track({channels}, 2, nil, 1, "{name}", ARDOUR.PresentationInfo.max_order,'
                " ARDOUR.TrackMode.Normal, true)"
            )
        self.do("AudioEngine:start(false)")

    def save(self) -> None:
        """Save the session and close it."""
        self.do('Session:save_state("")')
        self.do("close_session() Session = nil")

    def open(self, folder: Path) -> None:
        """Open a session."""
        self.do(f'Session = assert(load_session("{folder}", "{folder.name}"))')
        self.do("AudioEngine:start(false)")

    def mute(self, track: str) -> None:
        """Mute a track."""
        control = f'Session:route_by_name("{track}"):mute_control()'
        self.do(f"{control}:set_value(1, PBD.GroupControlDisposition.NoGroup)")
        until(lambda: self.do(f"return {control}:get_value()") == ["1.0"], f"{track} muted")

    def load_hook(self, port: int | None = None) -> None:
        """Load the hook that a user adds in Ardour's script manager, sending to its own port or another."""
        text = HOOK.read_text()
        path = Path(self.environment["HOME"]) / HOOK.name
        path.write_text(text if port is None else text.replace("32053", str(port)))
        self.do(f'ardour = function() end dofile("{path}") hook = factory()')

    @contextmanager
    def ticking(self) -> Iterator[None]:
        """Call the hook ten times a second meanwhile, as Ardour's window does."""
        ended = threading.Event()

        def tick() -> None:
            while not ended.wait(0.1):
                self.do("hook()")

        thread = threading.Thread(target=tick)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def roll(self) -> None:
        """Start the transport."""
        self.do("Session:request_roll(ARDOUR.TransportRequestSource.TRS_UI)")

    def stop(self) -> None:
        """Stop the transport."""
        self.do("Session:request_stop(false, false, ARDOUR.TransportRequestSource.TRS_UI)")


@dataclass(frozen=True)
class Bars:
    """Bars of one tempo and meter, in frames of the session."""

    bpm: float
    signature: str

    def frames(self, bars: float) -> int:
        """Return how many frames so many bars have, to the nearest."""
        beats, unit = map(int, self.signature.split("/"))
        return int(bars * beats * 4 / unit * 60 * RATE / self.bpm + 0.5)


def sung(frames: int, notes: int) -> np.ndarray:
    """Return a melody [T] of so many notes, each a decaying tone with two overtones."""
    scale = [0, 3, 7, 10, 12, 7, 5, 3, 8, 12, 15, 12, 7, 2]
    edges = np.linspace(0, frames, notes + 1).astype(int)
    parts = []
    for note, (begin, end) in enumerate(pairwise(edges)):
        t = np.arange(end - begin) / RATE
        hertz = 220 * 2 ** (scale[note % len(scale)] / 12)
        tone = sum(np.sin(2 * np.pi * hertz * k * t) / k for k in (1, 2, 3))
        parts.append(0.3 * tone * np.exp(-4 * t) * np.minimum(1, 200 * t))
    return np.concatenate(parts).astype(np.float32)


def until(wanted: Callable[[], bool], what: str) -> None:
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE_S
    while not wanted():
        assert time.monotonic() < end, f"waited in vain for: {what}"
        time.sleep(0.1)


def record(ardour: Ardour, frames: int, meanwhile: Callable[[], None]) -> Path:
    """Record on the track Voice what comes in while the session plays from its start for so many frames."""

    def played() -> int:
        return int(ardour.do("return Session:transport_sample()")[0])

    ardour.do('track = Session:route_by_name("Voice"):to_track()')
    ardour.do("track:rec_enable_control():set_value(1, PBD.GroupControlDisposition.NoGroup)")
    ardour.do("Session:maybe_enable_record(false)")
    ardour.roll()
    until(lambda: played() > frames // 2, "half of the recording")
    meanwhile()
    until(lambda: played() > frames, "the recording")
    ardour.stop()
    until(lambda: ardour.do("return track:playlist():region_list():size()") == ["1"], "the recorded region")
    ardour.do("track:rec_enable_control():set_value(0, PBD.GroupControlDisposition.NoGroup)")
    source = "region:source(0):to_filesource():path()"
    (path,) = ardour.do(f"for region in track:playlist():region_list():iter() do return {source} end")
    return Path(path)


def locate(recording: np.ndarray, wave: np.ndarray) -> tuple[int, float]:
    """Return where in a recording [T] the wave begins, and how far the two differ at most from there to its end."""
    offset = int(np.argmax(correlate(recording, wave, mode="valid")))
    return offset, float(np.abs(recording[offset : offset + len(wave)] - wave).max())


def place(session: Path, track: str, wave: Path, at: int, end: int) -> None:
    """Put a file on a track of a closed session at the frame `at`, and end the session at the frame `end`."""
    file, info = session / f"{session.name}.ardour", soundfile.info(wave)
    root = ET.parse(file).getroot()
    shutil.copy(wave, session / "interchange" / session.name / "audiofiles" / wave.name)
    number = int(root.attrib["id-counter"])
    root.set("id-counter", str(number + 10))
    region = {"name": wave.stem, "id": str(number), "type": "audio", "channels": str(info.channels), "start": "a0"}
    region["length"] = f"a{info.frames * SUPERCLOCK // RATE}@a{at * SUPERCLOCK // RATE}"
    region |= {"opaque": "1", "fade-in-active": "0", "fade-out-active": "0", "scale-amplitude": "1"}
    for channel in range(info.channels):
        source = {"name": wave.name, "type": "audio", "flags": "", "id": str(number + 1 + channel), "origin": ""}
        ET.SubElement(root.find("Sources"), "Source", source | {"channel": str(channel), "gain": "1"})
        region |= {f"source-{channel}": source["id"], f"master-source-{channel}": source["id"]}
    route = next(one for one in root.iter("Route") if one.get("name") == track)
    playlist = next(one for one in root.iter("Playlist") if one.get("id") == route.get("audio-playlist"))
    ET.SubElement(playlist, "Region", region)
    places = root.find("Locations")
    for one in places.findall("Location[@name='session']"):
        places.remove(one)
    span = {"name": "session", "id": str(number + 9), "start": "a0", "end": f"a{end * SUPERCLOCK // RATE}"}
    ET.SubElement(places, "Location", span | {"flags": "IsSessionRange"})
    ET.ElementTree(root).write(file, encoding="UTF-8", xml_declaration=True)


def bounce(session: Path, environment: dict[str, str]) -> np.ndarray:
    """Have ardour7-export bounce the session; return what its master bus plays, [T, 2].

    Now and then Ardour 7.3's exporter corrupts its own heap, even with an empty session; then it is run again.
    """
    out = session / "bounce.wav"
    command = ["ardour7-export", "-b", "float", "-o", str(out), str(session), session.name]
    for _ in range(10):
        out.unlink(missing_ok=True)
        exported = subprocess.run(command, capture_output=True, env=environment, timeout=120, check=False)
        if exported.returncode >= 0:  # it was not killed
            break
    exported.check_returncode()
    samples, rate = soundfile.read(out, dtype="float32", always_2d=True)
    assert rate == RATE
    return samples


@contextmanager
def following_daemon(folder: Path) -> Iterator[Bridge]:
    """Run a daemon on the starter model that follows Ardour, with this project folder; yield a client."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "musicgen_bridge.cli", "start", "--port", str(port), "--project", str(folder)]
    flags = ["--state", str(folder.parent / "state"), "--device", "cpu", "--midi", "off", "--follow", "ardour"]
    process = subprocess.Popen([*command, *flags], stdout=subprocess.PIPE, text=True)
    try:
        assert "ready" in process.stdout.readline(), "the daemon did not come up"
        with Bridge.connect(port=port) as bridge:
            yield bridge
    finally:
        process.terminate()
        process.wait(60)


@dataclass
class Proof:
    """What was measured, and what of it is wrong."""

    wrong: list[str] = field(default_factory=list)

    def show(self, what: str, measured: object, right: bool) -> None:
        """Print one line, and note it where it is not right."""
        print(f"{what:<46} {measured}{'' if right else '   WRONG'}", flush=True)
        if not right:
            self.wrong.append(what)


def prove(folder: Path, bars: Bars, length: float, at: int) -> list[str]:
    """Go the whole way in an empty folder with a stem of so many bars, placed at bar `at`; return what is wrong."""
    proof, song, wave, line = Proof(), folder / "song", sung(bars.frames(length), 14), bars.frames(at - 1)
    soundfile.write(folder / "sung.wav", wave, RATE, subtype="FLOAT")
    with closing(Ardour(folder)) as ardour:
        ardour.new_session(song, bars.bpm, bars.signature)
        ardour.save()
        place(song, "Singer", folder / "sung.wav", bars.frames(1), line)  # not at once: Ardour fades in when it starts
        ardour.open(song)
        ardour.load_hook()
        here = ardour.do(f"return Temporal.TempoMap.read():bbt_at(Temporal.timepos_t({line}))")
        proof.show(f"frame {line} in Ardour's tempo map", *here, here == [f"{at}|1|0"])
        with following_daemon(song) as bridge:
            with ardour.ticking():
                follow(bridge, bars, proof)
                ardour.mute("Voice")
                recording = record(ardour, bars.frames(1) + len(wave) + RATE // 2, lambda: see_it_play(bridge, proof))
            heard, _ = soundfile.read(recording, dtype="float32")
            begin, error = locate(heard, wave)
            proof.show("recorded on the track Voice", recording.relative_to(song), heard.ndim == 1)
            proof.show("recorded and played differ at most by", error, error == 0)
            section = {"melody_start": begin / RATE, "melody_end": (begin + len(wave)) / RATE}
            asked = {"prompt": "warm strings", "bars": length, "seed": 7, "melody": str(recording), **section}
            stem = render(bridge, asked, bars, proof)
        ardour.mute("Singer")
        ardour.save()
    place(song, "Stem", stem, line, bars.frames(at + length + 1))
    measure(bounce(song, ardour.environment), stem, line, bars, proof)
    return proof.wrong


def follow(bridge: Bridge, bars: Bars, proof: Proof) -> None:
    """See that the daemon has tempo, meter and sample rate from Ardour, that stands."""
    until(lambda: pairs(bridge.request("/musicgen/status")[0])["tempo_source"] == "ardour", "Ardour's tempo")
    session = pairs(bridge.request("/musicgen/session")[0])
    proof.show("the daemon follows Ardour, quarters a minute", session["bpm"], session["bpm"] == bars.bpm)
    proof.show("time signature", session["signature"], session["signature"] == bars.signature)
    proof.show("sample rate", session["sample_rate"], session["sample_rate"] == RATE)
    proof.show("playing", bool(session["playing"]), not session["playing"])


def see_it_play(bridge: Bridge, proof: Proof) -> None:
    """See that the daemon's transport moves with Ardour's."""
    session = pairs(bridge.request("/musicgen/session")[0])
    moving = bool(session["playing"]) and session["beat"] > 0
    proof.show("playing while it records, at quarter note", f"{session['beat']:.2f}", moving)


def render(bridge: Bridge, asked: Mapping[str, Value], bars: Bars, proof: Proof) -> Path:
    """Render with the melody, and without it; neither request says tempo, meter or rate."""
    (stem,) = bridge.render(asked)
    (plain,) = bridge.render({key: value for key, value in asked.items() if not key.startswith("melody")})
    path, frames = Path(stem.path), bars.frames(float(asked["bars"]))
    proof.show("stem", path.name, path.parent.name == "MusicGen")
    proof.show("its frames at 48 kHz", stem.frames, (stem.frames, stem.sample_rate) == (frames, RATE))
    sidecar = json.loads(path.with_suffix(".json").read_text())["request"]
    proof.show("mode", sidecar["mode"], (sidecar["mode"], sidecar["melody"]) == ("melody", asked["melody"]))
    with_it, without = soundfile.read(path)[0], soundfile.read(plain.path)[0]
    apart = float(np.sqrt(np.mean((with_it - without) ** 2) / np.mean(without**2)))
    proof.show("without the melody another take, RMS apart", f"{apart:.2f} of its own", apart > 0.1)
    return path


def measure(bounced: np.ndarray, stem: Path, line: int, bars: Bars, proof: Proof) -> None:
    """Compare a bounce [T, 2] with the stem that stands at the frame `line`."""
    wave, _ = soundfile.read(stem, dtype="float32", always_2d=True)
    bar = bars.frames(1_000_000) / 1_000_000
    sounding = np.flatnonzero(wave.any(axis=1))
    heard = np.flatnonzero(bounced.any(axis=1))
    onset, end = heard[0] - sounding[0], heard[-1] + len(wave) - sounding[-1]
    proof.show("bounced by ardour7-export, frames", len(bounced), len(bounced) > end)
    proof.show("onset of the stem in the bounce, bar", f"{onset / bar + 1:.6f} (frame {onset})", onset == line)
    length = end - onset
    proof.show("its length, bars", f"{length / bar:.6f} ({length} frames)", length == len(wave))
    error = float(np.abs(bounced[line : line + len(wave)] - wave).max())
    proof.show("bounce and stem differ at most by", error, error < 2**-23)


def main() -> None:
    """Prove it, and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bpm", type=float, default=97.5)
    parser.add_argument("--signature", default="7/8")
    parser.add_argument("--bars", type=float, default=2)
    parser.add_argument("--at", type=int, default=3)
    options = parser.parse_args()
    if missing := [name for name in ("ardour7-lua", "ardour7-export") if shutil.which(name) is None]:
        sys.exit(f"{', '.join(missing)} can't be found; sudo apt-get install ardour")
    with tempfile.TemporaryDirectory() as folder:
        wrong = prove(Path(folder).resolve(), Bars(options.bpm, options.signature), options.bars, options.at)
    sys.exit(f"wrong: {', '.join(wrong)}" if wrong else 0)


if __name__ == "__main__":
    main()
