"""The real daemon among real programs on JACK's dummy driver: takes heard and inputs recorded from the bar line on."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from musicgen_bridge.client import pairs
from musicgen_bridge.errors import BridgeError, BusyError, CancelledError
from musicgen_bridge.request import Transport
from musicgen_bridge.sound.playback import Playback
from tests.conftest import COMMAND, PATIENCE_S, free_port
from tests.jackd import jack_server
from tests.sound.conftest import BAR, BAR_FRAMES, RATE
from tests.sound.musician import RAMP

TAKE = {"prompt": "techno drum loop", "bars": 1.0, "seed": 3, "stream": True}
PERIOD = 512
"""Frames of a cycle of the JACK server."""
NEAR = 0.02 * RATE
"""How far from the bar line a sound may begin, in frames; a bar has 2.15 s."""
ATTEMPTS = 5
"""How often what a busy machine can disturb is done anew."""


def until(true, what="it"):
    ending = time.monotonic() + PATIENCE_S
    while not (found := true()):
        assert time.monotonic() < ending, f"{what} never came"
        time.sleep(0.05)
    return found


@pytest.fixture
def rolling(band):
    """The transport rolls, and the daemon has seen that it does."""
    band.master.say("roll")
    with band.daemon.client() as bridge:
        until(lambda: pairs(bridge.request("/musicgen/session")[0]).get("playing"), "the transport")
        yield
        band.master.say("halt")
        until(lambda: not pairs(bridge.request("/musicgen/session")[0]).get("playing"), "the halt")


def sounds(band):
    """Whether the ear has heard something."""
    return int(band.ear.say("quiet")) >= 0


def heard(band, folder):
    """Wait for the end of what sounds; return where the first and last sound are, their frames and samples."""
    until(lambda: int(band.ear.say("quiet")) > RATE // 2, "the end of the sound")
    frames, samples = band.heard(folder)
    loud = np.flatnonzero(samples.any(axis=0))
    return loud[0], loud[-1] + 1, frames, samples


def undisturbed(band, act):
    """Act, again if a client was too late for JACK meanwhile: what sounds then is not what was played."""
    for _ in range(ATTEMPTS):
        band.ear.say("forget")
        done = act()
        if band.ear.say("late") == "0":
            break
    return done


def off_the_bar_line(frame):
    return (frame + BAR / 2) % BAR - BAR / 2


def player(seconds, notes=None):
    """Return a player on the ear, of so many seconds at 32 kHz."""
    note = (notes if notes is not None else []).append
    return Playback(rate=32_000, channels=1, seconds=seconds, output="Ear", volume=0.0, transport=Transport, note=note)


def render(band, values, notes=None):
    with band.daemon.client() as bridge:
        return bridge.render(values, on_note=(notes if notes is not None else []).append)


class Job(threading.Thread):
    """A request that is followed on a thread of its own."""

    def __init__(self, daemon, address, values):
        super().__init__(daemon=True)
        self.bridge, self.address, self.values = daemon.client(), address, values
        self.seen, self.notes, self.files, self.error = [], [], [], None
        self.start()

    def run(self):
        try:
            self.files = self.bridge.render(self.values, self.seen.append, self.notes.append, address=self.address)
        except BridgeError as error:
            self.error = error

    def reaches(self, stage):
        return until(lambda: any(now.stage == stage for now in self.seen) or not self.is_alive(), stage)

    def ended(self):
        self.join(PATIENCE_S)
        assert not self.is_alive()
        return self


def cancel(band, job):
    """Cancel a job in its own client's name; the answer comes to that one."""
    with band.daemon.client() as other:
        newest = pairs_of(other.request("/musicgen/list", {"what": "jobs"})[0])
    job.bridge.send("cancel", "/musicgen/cancel", {"target": newest["target"]})


def pairs_of(item):
    return dict(zip(item.arguments[3::2], item.arguments[4::2], strict=True))


def recordings(band):
    return sorted(path.name for path in (band.daemon.song / "MusicGen" / "recordings").glob("*"))


# What is heard


def test_a_take_is_heard_from_the_bar_line_on_for_its_bars(band, rolling, tmp_path):
    notes = []

    def listen():
        notes.clear()
        (stem,) = render(band, TAKE, notes)
        return stem, *heard(band, tmp_path)

    stem, first, last, frames, samples = undisturbed(band, listen)
    assert stem.frames == BAR_FRAMES == soundfile.info(stem.path).frames
    assert abs(off_the_bar_line(frames[first])) < NEAR
    assert np.array_equal(samples[0], samples[1])  # a mono model on both channels
    (raw,) = (Path(stem.path).parent / ".raw").glob(f"{Path(stem.path).stem}*")
    made, rate = soundfile.read(raw, dtype="float32")
    expected = soxr.resample(made, rate, RATE, quality="HQ")[:BAR_FRAMES] * 10 ** (-6 / 20)
    found = samples[0, first : first + BAR_FRAMES]
    if not any("broke off" in note for note in notes):
        assert last - first <= BAR_FRAMES + RATE // 100
        shift = min(range(-40, 41), key=lambda by: np.abs(np.roll(found, by) - expected)[500:-1500].max())
        assert np.abs(np.roll(found, shift) - expected)[500:-1500].max() < 1e-3


def test_while_nothing_plays_it_is_heard_at_once(band, tmp_path):
    band.ear.say("forget")
    render(band, TAKE)
    first, last, *_ = heard(band, tmp_path)
    assert last - first > 0.9 * BAR_FRAMES


def test_a_take_that_nobody_asked_to_hear_is_silent(band):
    band.ear.say("forget")
    render(band, {**TAKE, "stream": False})
    assert not sounds(band)


def test_a_cancel_silences_a_take_that_renders(band, tmp_path):
    band.ear.say("forget")
    job = Job(band.daemon, "/musicgen/render", {**TAKE, "bars": 16.0})
    until(lambda: sounds(band), "the sound")
    cancel(band, job)
    assert isinstance(job.ended().error, CancelledError)
    first, last, _, samples = heard(band, tmp_path)
    assert last - first < 12 * BAR_FRAMES
    faded, before = np.abs(samples[0, last - 100 : last]).max(), np.abs(samples[0, first:last]).max()
    assert faded < 0.5 * before


def test_a_cancel_silences_a_take_that_is_done(band, tmp_path):
    band.ear.say("forget")
    with band.daemon.client() as bridge:
        rid = bridge.new_id()
        answers = list(bridge.replies(rid, "/musicgen/render", {**TAKE, "bars": 2.0}, patience=PATIENCE_S))
        over = int(band.ear.say("quiet")) > 0  # on a busy machine the sound ends with the render
        bridge.request("/musicgen/cancel", {"target": rid})
        assert answers[-1].address == "/musicgen/done"
        again = list(bridge.replies(rid, "/musicgen/render", {**TAKE, "bars": 2.0}, patience=PATIENCE_S))
    assert again[-1] == answers[-1]
    *_, samples = heard(band, tmp_path)
    assert over or np.count_nonzero(samples[0]) < 1.99 * BAR_FRAMES


def test_a_stop_silences_what_is_fed_and_ended(band, tmp_path):
    band.ear.say("forget")
    playback = player(4.0)
    playback.feed(np.full((1, 128_000), 0.25, np.float32))
    playback.end()
    until(lambda: sounds(band), "the sound")
    playback.stop()
    playback.wait()
    *_, samples = heard(band, tmp_path)
    assert 0 < np.count_nonzero(samples[0]) < 3 * RATE


def test_a_take_for_an_output_that_is_not_there_is_rendered_and_said_so(band, new_daemon):
    daemon = new_daemon().start("--output", "tape machine")
    notes = []
    with daemon.client() as bridge:
        (stem,) = bridge.render({**TAKE, "bpm": 97.5, "signature": "7/8"}, on_note=notes.append)
    assert soundfile.info(stem.path).frames == BAR_FRAMES
    (note,) = notes
    assert 'no audio output "tape machine"; there are' in note and "Ear" in note and "rendered all the same" in note


def test_a_render_without_a_daemon_is_heard_to_its_end(band, tmp_path, monkeypatch):
    band.ear.say("forget")
    monkeypatch.setenv("MUSICGEN_BRIDGE_OUTPUT", "Ear")
    asked = (
        "--bars",
        "1",
        "--bpm",
        "97.5",
        "--signature",
        "7/8",
        "--seed",
        "3",
        "--stream",
        "--port",
        str(free_port()),
    )
    command = [*COMMAND, "render", "techno drum loop", *asked, "--project", str(band.daemon.song)]
    made = subprocess.run(command, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    assert soundfile.info(made.stdout.strip()).frames == BAR_FRAMES
    first, last, *_ = heard(band, tmp_path)
    assert last - first > 0.9 * BAR_FRAMES


def test_what_breaks_off_is_told_and_goes_on(band, tmp_path):
    band.ear.say("forget")
    notes = []
    playback = player(2.0, notes)
    piece = np.full((1, 16_000), 0.25, np.float32)
    for _ in range(2):
        playback.feed(piece)
        time.sleep(0.01)
    until(lambda: int(band.ear.say("quiet")) > RATE // 4, "the end of what there was")
    playback.feed(piece)
    playback.feed(piece)
    playback.feed(piece)  # behind the end
    playback.end()
    playback.wait()
    *_, samples = heard(band, tmp_path)
    assert notes == [
        "it broke off once while it was heard, as rendering is slower than playing here; the stem is whole"
    ]
    assert 1.5 * RATE < np.count_nonzero(samples[0]) < 2.01 * RATE  # JACK may skip cycles on a busy machine


# What is recorded


def test_an_input_is_recorded_from_the_bar_line_on_to_the_frame(band, rolling):
    seen, notes = [], []

    def record():
        seen.clear()
        notes.clear()
        with band.daemon.client() as bridge:
            asked = {"bars": 2.0, "as": "my riff"}
            return bridge.render(asked, seen.append, notes.append, address="/musicgen/record")[0]

    file = undisturbed(band, record)
    audio, rate = soundfile.read(file.path, dtype="float64")
    assert (len(audio), rate, file.frames, file.bpm) == (206_769, RATE, 206_769, 97.5)
    assert soundfile.info(file.path).subtype == "PCM_24"
    frames = np.rint(audio * 2 * RAMP).astype(int)
    steps = np.diff(frames)
    assert set(np.unique((steps - 1) % PERIOD)) == {
        0
    }  # not a frame is lost, but what JACK itself skips on a busy machine
    assert np.count_nonzero(steps != 1) < 20
    assert abs(off_the_bar_line(frames[0])) < NEAR or "too busy" in notes[0]
    assert Path(file.path).parent == band.daemon.song / "MusicGen" / "recordings"
    assert Path(file.path).name.startswith("my-riff")
    assert {now.stage for now in seen} == {"waiting", "recording"}
    assert all(-60 < now.level < -6 for now in seen if now.stage == "recording" and now.level is not None)


def test_a_render_goes_on_while_an_input_is_recorded_and_a_name_is_never_taken_twice(band):
    job = Job(band.daemon, "/musicgen/render", {**TAKE, "stream": False, "bars": 4.0})
    job.reaches("generating")
    with band.daemon.client() as bridge:
        names = [
            Path(bridge.render({"seconds": 0.5, "as": "twice"}, address="/musicgen/record")[0].path).name
            for _ in range(2)
        ]
    assert names == ["twice.wav", "twice-2.wav"]
    assert len(job.ended().files) == 1


def test_a_recording_is_one_job_however_often_it_is_sent_and_there_is_one_at_a_time(band):
    with band.daemon.client() as bridge:
        rid, values = bridge.new_id(), {"seconds": 1.0, "as": "once"}
        for _ in range(3):
            bridge.send(rid, "/musicgen/record", values)
        with band.daemon.client() as other, pytest.raises(BusyError, match="a recording is being made"):
            until(lambda: "once.wav" not in recordings(band))
            other.request("/musicgen/record", {"seconds": 1.0})
        *_, done = bridge.replies(rid, "/musicgen/record", values, patience=PATIENCE_S)
    assert done.address == "/musicgen/done"
    assert [name for name in recordings(band) if name.startswith("once")] == ["once.wav"]


def test_a_cancelled_recording_keeps_nothing(band):
    before = recordings(band)
    job = Job(band.daemon, "/musicgen/record", {"seconds": 60.0, "as": "gone"})
    job.reaches("recording")
    cancel(band, job)
    assert isinstance(job.ended().error, CancelledError)
    assert recordings(band) == before
    with band.daemon.client() as bridge:
        assert bridge.render({"seconds": 0.2}, address="/musicgen/record")


def test_silence_and_clipping_are_told(band):
    silent, loud = [], []
    with band.daemon.client() as bridge:
        bridge.render({"seconds": 0.3, "input": "system"}, on_note=silent.append, address="/musicgen/record")
        band.master.say("roll")
        bridge.render({"bars": 1.0, "input": "Loud"}, on_note=loud.append, address="/musicgen/record")
        band.master.say("halt")
    assert "the recording is silent; is system the right input, and turned up?" in silent
    assert any("Loud clips in" in note for note in loud)


def test_what_was_recorded_in_the_shell_is_the_melody_of_a_render(band, rolling):
    port = ("--port", str(band.daemon.port))
    asked = ("--bars", "1", "--input", "flute", "--json", *port)
    ran = subprocess.run([*COMMAND, "record", *asked], capture_output=True, text=True)
    file = json.loads(ran.stdout)["recording"]["path"]
    assert "dB" in ran.stderr and "recording" in ran.stderr
    command = [*COMMAND, "render", "piano", "--melody", file, "--bars", "1", "--json", *port]
    made = subprocess.run(command, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout
    (stem,) = json.loads(made.stdout)["stems"]
    sidecar = json.loads(Path(stem["path"]).with_suffix(".json").read_text("utf-8"))
    assert (sidecar["request"]["mode"], sidecar["request"]["melody"]) == ("melody", file)


def test_an_input_that_is_not_there_is_told_with_those_that_are(band):
    with band.daemon.client() as bridge, pytest.raises(BridgeError, match=r'no audio input "tuba".*Microphone') as told:
        bridge.render({"bars": 1.0, "input": "tuba"}, address="/musicgen/record")
    assert told.value.code == "E_AUDIO"


def test_devices_are_listed_over_the_wire_and_in_the_shell(band):
    with band.daemon.client() as bridge:
        inputs = [pairs_of(one) for one in bridge.request("/musicgen/list", {"what": "inputs"}, patience=PATIENCE_S)]
        outputs = [pairs_of(one) for one in bridge.request("/musicgen/list", {"what": "outputs"}, patience=PATIENCE_S)]
    about = {"api": "JACK Audio Connection Kit", "rate": RATE, "default": 0}
    assert {"name": "Microphone", "channels": 1, **about} in inputs
    assert {"name": "Ear", "channels": 2, **about} in outputs
    assert [one["name"] for one in inputs if one["default"]] == ["system"]
    listed = subprocess.run([*COMMAND, "devices", "--json"], capture_output=True, text=True, check=True).stdout
    assert {(one["kind"], one["name"]) for one in json.loads(listed)["devices"]} >= {
        ("input", "Microphone"),
        ("output", "Ear"),
    }


def test_doctor_tells_which_devices_there_are_and_which_of_the_settings_are_not(band, monkeypatch, tmp_path):
    monkeypatch.setenv("MUSICGEN_BRIDGE_INPUT", "microphone")
    monkeypatch.setenv("MUSICGEN_BRIDGE_OUTPUT", "gramophone")
    told = subprocess.run([*COMMAND, "doctor", "--json", "--state", str(tmp_path)], capture_output=True, text=True)
    inputs, outputs = (one for one in json.loads(told.stdout)["findings"] if one["area"] == "audio")
    assert inputs["state"] == "ok" and "system (default)" in inputs["text"] and "Microphone" in inputs["text"]
    assert outputs["state"] == "warning" and 'no output "gramophone"; there are' in outputs["text"]
    assert outputs["advice"] == "change the setting output"


# What goes wrong


def test_a_daemon_that_is_killed_while_it_records_says_so_afterwards(band, new_daemon):
    daemon = new_daemon().start("--input", "Microphone")
    with daemon.client() as bridge:
        rid, values = bridge.new_id(), {"seconds": 60.0}
        answers = bridge.replies(rid, "/musicgen/record", values, patience=PATIENCE_S)
        assert next(answers).address == "/musicgen/queued"
        daemon.kill()
        daemon.start("--input", "Microphone")
        with pytest.raises(BridgeError, match="the daemon ended while it recorded") as told:
            list(answers)
    assert told.value.code == "E_AUDIO"
    assert not list((daemon.song / "MusicGen").rglob("*.wav"))


def test_a_device_that_vanishes_ends_the_recording_and_not_the_render(new_daemon, musicians):
    with jack_server():
        musicians("feed", "Microphone")
        musicians("ear", "Ear")
        daemon = new_daemon().start("--input", "Microphone", "--output", "Ear")

        take = Job(daemon, "/musicgen/render", {**TAKE, "bars": 8.0})
        recording = Job(daemon, "/musicgen/record", {"seconds": 60.0})
        recording.reaches("recording")
        until(lambda: "playing on Ear" in daemon.log("worker"), "the player")
    assert recording.ended().error.code == "E_AUDIO"
    assert "the input Microphone vanished" in recording.error.text
    assert not list((daemon.song / "MusicGen").glob("recordings/*"))
    (stem,) = take.ended().files
    assert Path(stem.path).is_file()
    assert any("the output Ear vanished" in note and "rendered all the same" in note for note in take.notes)
    assert daemon.status()["state"] in ("ready", "busy")


def test_without_portaudio_all_else_works_and_a_sentence_says_what_to_install(new_daemon, tmp_path, monkeypatch):
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    daemon = new_daemon().start()
    notes = []
    with daemon.client() as bridge:
        for address, values in (("/musicgen/list", {"what": "inputs"}), ("/musicgen/record", {"seconds": 1.0})):
            with pytest.raises(BridgeError, match="apt install libportaudio2") as told:
                list(bridge.replies(bridge.new_id(), address, values, patience=PATIENCE_S))
            assert told.value.code == "E_AUDIO"
        (stem,) = bridge.render(TAKE, on_note=notes.append)
    assert Path(stem.path).is_file()
    assert ["apt install libportaudio2" in note for note in notes] == [True]
