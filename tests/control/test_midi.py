"""Controllers as processes of their own on JACK's dummy driver: pads to jobs, jobs to lights, and what is unplugged."""

import time
from pathlib import Path

import pytest

from musicgen_bridge.asking.presets import shipped
from musicgen_bridge.control.controllers import Maps
from musicgen_bridge.control.midi import CLIENT, DEBOUNCE_S, Midi
from musicgen_bridge.control.midi_ports import OWN
from musicgen_bridge.errors import CancelledError
from musicgen_bridge.follow.midi_clock import START, STOP, MidiClock
from musicgen_bridge.follow.session import Follow
from musicgen_bridge.request import Progress
from tests.conftest import PATIENCE_S
from tests.jackd import Controller, jack_server

NOTE_ON, NOTE_OFF, CONTROL, PROGRAM = 0x90, 0x80, 0xB0, 0xC0
QUEUED, RENDERING, DARK = 127, 64, 0
LATER_S = DEBOUNCE_S + 0.01
"""After which a second press is one."""
GRID = """
name = "Grid"
ports = ["Grid*"]
[notes]
36 = 1
37 = 9
38 = 77
98 = "cancel"
[buttons]
40 = "tight-break"
[controls]
20 = { key = "temperature", low = 0.5, high = 1.5 }
21 = { key = "top_k", low = 0, high = 254 }
"""
PICKER = 'name = "Picker"\nports = ["Picker*"]\nnotes = { 36 = 1, 37 = 9, 99 = "picked" }\nprograms = { "0-127" = 1 }'


def until(true, what="it"):
    ending = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < ending, f"{what} never came"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def jack():
    with jack_server() as name:
        yield name


@pytest.fixture
def make_midi(jack, rig, tmp_path):
    """Return a maker of MIDI clients on the rig's loop, with the map of a grid."""
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "grid.toml").write_text(GRID)
    (tmp_path / "maps" / "picker.toml").write_text(PICKER)
    made = []

    def make(wanted="Grid*", clock=lambda port, message, at: None):
        midi = Midi(
            wanted,
            Maps(tmp_path / "maps", shipped() / "controllers"),
            send=lambda message: rig.server.on_packet(message, CLIENT),
            known=lambda request_id: rig.jobs.find(CLIENT, request_id) is not None,
            clock=clock,
        )
        rig.server.local[CLIENT] = midi.hear
        rig.on_loop(midi.open)
        made.append(midi)
        return midi

    yield make
    for midi in made:
        rig.on_loop(midi.close)


@pytest.fixture
def plug():
    """Return a maker of controllers."""
    plugged = []

    def make(name="Grid"):
        plugged.append(Controller(name))
        return plugged[-1]

    yield make
    for controller in plugged:
        controller.unplug()


@pytest.fixture
def grid(plug, make_midi):
    """One controller that is connected."""
    controller = plug()
    midi = make_midi()
    assert midi.status == f"{OWN}, Grid:out, Grid-01:in"
    return controller


def jobs(rig):
    """The open jobs, oldest first, as (owner, id)."""
    return [(job.owner, job.rid) for job in reversed(rig.on_loop(rig.jobs.listed)) if job.ended is None]


def test_a_pad_starts_its_slot_and_shows_how_it_stands(rig, udp, grid):
    udp.ask("/musicgen/subscribe", 1)
    grid.send(NOTE_ON, 36, 100)
    assert udp.hear().arguments == ("midi-1-1", 1, 0)
    assert grid.hear() == [NOTE_ON, 36, QUEUED]
    job = rig.on_loop(rig.jobs.take)
    assert (job.owner, job.rid, job.request.prompt, job.request.bars) == ("midi", "midi-1-1", "tight break", 2.0)
    rig.on_loop(rig.jobs.report, job, Progress(fraction=0.5, eta_s=1.0, stage="generating"))
    assert grid.hear() == [NOTE_ON, 36, RENDERING]
    assert udp.hear("/musicgen/progress").arguments[0] == "midi-1-1"
    rig.on_loop(rig.jobs.fail, job, CancelledError("enough"))
    assert grid.hear() == [NOTE_ON, 36, DARK]
    assert udp.hear("/musicgen/fail").arguments[0] == "midi-1-1"


def test_the_light_goes_out_with_the_last_stem(rig, grid):
    grid.send(NOTE_ON, 37, 1)
    assert grid.hear() == [NOTE_ON, 37, QUEUED]
    rig.finish(3)
    assert grid.hear() == [NOTE_ON, 37, DARK]
    grid.send(NOTE_ON, 36, 1)
    assert grid.hear() == [NOTE_ON, 36, QUEUED]  # and no second one before


def test_one_job_a_slot_and_a_new_id_for_the_next(rig, grid):
    grid.send(NOTE_ON, 36, 100)
    assert grid.hear()[2] == QUEUED
    for message in ((NOTE_OFF, 36, 64), (NOTE_ON, 36, 0), (NOTE_ON, 36, 100)):
        time.sleep(LATER_S)
        grid.send(*message)
    grid.send(NOTE_ON, 37, 100)
    assert grid.hear() == [NOTE_ON, 37, QUEUED]
    assert jobs(rig) == [("midi", "midi-1-1"), ("midi", "midi-9-1")]
    rig.finish()
    assert grid.hear() == [NOTE_ON, 36, DARK]
    time.sleep(LATER_S)
    grid.send(NOTE_ON, 36, 100)
    assert grid.hear() == [NOTE_ON, 36, QUEUED]
    assert jobs(rig) == [("midi", "midi-9-1"), ("midi", "midi-1-2")]


def test_velocity_0_starts_nothing(rig, grid):
    grid.send(NOTE_ON, 36, 0)
    grid.send(NOTE_ON, 37, 1)
    assert grid.hear() == [NOTE_ON, 37, QUEUED]
    assert jobs(rig) == [("midi", "midi-9-1")]


def test_a_bouncing_pad_is_pressed_once(rig, make_midi):
    midi = make_midi("on")
    rig.on_loop(midi.take, OWN, [NOTE_ON, 36, 100], 10.0)
    until(lambda: jobs(rig) == [("midi", "midi-1-1")])
    rig.finish()
    for at in (10.02, 10.06, 10.105):  # each within 50 ms of the one before
        rig.on_loop(midi.take, OWN, [NOTE_ON, 36, 100], at)
    rig.on_loop(midi.take, OWN, [NOTE_ON, 44, 100], 10.11)
    until(lambda: jobs(rig) == [("midi", "midi-9-1")])
    rig.on_loop(midi.take, OWN, [NOTE_ON, 36, 100], 10.16)
    until(lambda: jobs(rig) == [("midi", "midi-9-1"), ("midi", "midi-1-2")])


def test_a_mapped_note_cancels_what_midi_started(rig, udp, grid):
    udp.ask("/musicgen/render", "mine", "prompt", "dub", "bars", 1)
    for pad in (36, 37):
        grid.send(NOTE_ON, pad, 100)
        assert grid.hear() == [NOTE_ON, pad, QUEUED]
    grid.send(NOTE_ON, 98, 100)
    assert sorted((grid.hear(), grid.hear())) == [[NOTE_ON, 36, DARK], [NOTE_ON, 37, DARK]]
    assert [rid for _, rid in jobs(rig)] == ["mine"]


def test_a_knob_sets_a_default_before_the_next_job(rig, udp, grid):
    for value in range(128):
        grid.send(CONTROL, 20, value)
        grid.send(CONTROL, 21, value)
    grid.send(NOTE_ON, 37, 100)
    assert grid.hear()[2] == QUEUED
    request = rig.on_loop(rig.jobs.listed)[0].request
    assert (request.temperature, request.top_k) == (1.5, 254)
    defaults = udp.values("/musicgen/set", 1)
    assert (defaults["temperature"], defaults["top_k"]) == (1.5, 254)


def test_a_program_change_picks_what_the_pad_starts(rig, plug, make_midi):
    picker = plug("Picker")
    make_midi("picker*")
    picker.send(NOTE_ON, 99, 100)
    assert [picker.hear(), picker.hear()] == [[NOTE_ON, 36, QUEUED], [NOTE_ON, 99, QUEUED]]
    time.sleep(LATER_S)
    picker.send(PROGRAM, 8)
    assert picker.hear() == [NOTE_ON, 99, DARK]  # slot 9 has no job yet
    picker.send(NOTE_ON, 99, 100)
    assert [picker.hear(), picker.hear()] == [[NOTE_ON, 37, QUEUED], [NOTE_ON, 99, QUEUED]]
    assert jobs(rig) == [("midi", "midi-1-1"), ("midi", "midi-9-1")]


def test_a_button_is_a_pad_and_a_channel_is_kept(rig, grid):
    grid.send(CONTROL | 4, 40, 127)
    assert grid.hear() == [CONTROL | 4, 40, QUEUED]
    grid.send(CONTROL | 4, 40, 0)
    assert jobs(rig) == [("midi", "midi-tight-break-1")]
    grid.send(NOTE_ON | 9, 37, 100)
    assert grid.hear() == [NOTE_ON | 9, 37, QUEUED]


def test_a_slot_without_a_preset_lights_nothing_and_can_be_tried_again(rig, grid):
    for _ in range(2):
        grid.send(NOTE_ON, 38, 100)
        time.sleep(LATER_S)
    grid.send(NOTE_ON, 36, 100)
    assert grid.hear() == [NOTE_ON, 36, QUEUED]
    assert jobs(rig) == [("midi", "midi-1-1")]


def test_a_controller_that_returns_has_its_lights_again(rig, plug, make_midi):
    midi, first = make_midi(), plug()
    until(lambda: "Grid" in midi.status)
    first.send(NOTE_ON, 36, 100)
    assert first.hear() == [NOTE_ON, 36, QUEUED]
    first.unplug()
    until(lambda: midi.status == OWN)
    second = plug()
    assert second.hear() == [NOTE_ON, 36, QUEUED]
    rig.finish()
    assert second.hear() == [NOTE_ON, 36, DARK]
    second.send(NOTE_ON, 37, 100)
    assert second.hear() == [NOTE_ON, 37, QUEUED]


def test_jobs_of_an_earlier_daemon_keep_their_lights_and_ids(rig, plug, make_midi):
    earlier, controller = make_midi(), plug()
    until(lambda: "Grid" in earlier.status)
    controller.send(NOTE_ON, 36, 100)
    assert controller.hear() == [NOTE_ON, 36, QUEUED]
    rig.on_loop(earlier.close)
    assert controller.hear() == [NOTE_ON, 36, DARK]
    make_midi()
    assert controller.hear() == [NOTE_ON, 36, QUEUED]
    rig.finish()
    assert controller.hear() == [NOTE_ON, 36, DARK]
    controller.send(NOTE_ON, 36, 100)
    assert controller.hear() == [NOTE_ON, 36, QUEUED]
    assert jobs(rig) == [("midi", "midi-1-2")]


def test_a_clock_sets_the_session_until_a_client_tells_the_tempo(rig, udp, plug, make_midi):
    follow = Follow(("midi",), lambda: rig.desk.told_at, rig.desk.follow, rig.loop.time)
    clock = MidiClock(lambda values: follow.tell("midi", values), lambda: rig.desk.session.signature.quarters)
    controller = plug()
    make_midi(clock=clock.take)
    udp.ask("/musicgen/session", 1, "name", "no tempo")
    controller.send(START)
    controller.say("clock 187.5 270")
    assert controller.line() == "ticked"
    until(lambda: follow.source == "midi")
    followed = udp.values("/musicgen/session", 2)
    assert abs(followed["bpm"] - 187.5) < 2
    assert followed["bpm"] != 120
    assert followed["playing"] == 1
    controller.send(STOP)
    until(lambda: not rig.desk.session.playing)
    udp.ask("/musicgen/session", 3, "bpm", 97.5)
    assert follow.source == "osc"
    rig.on_loop(follow.tell, "midi", {"bpm": 133.25})
    assert udp.values("/musicgen/status", 4)["bpm"] == 97.5


def test_only_what_is_named_is_opened(make_midi, plug):
    plug("Launchpad X LPX MIDI")
    plug("Grid")
    assert make_midi("on").status == OWN
    named = make_midi("Nothing*, launchpad*")
    assert "Launchpad X LPX MIDI:out" in named.status
    assert "Grid" not in named.status
    assert make_midi("off").status == "off"


def test_without_a_midi_system_the_reason_is_told(rig, make_midi, monkeypatch):
    monkeypatch.setenv("JACK_DEFAULT_SERVER", "nobody")
    midi = make_midi()
    assert midi.status.startswith("off: ")
    rig.on_loop(midi.take, OWN, [NOTE_ON, 36, 100], 1.0)  # nothing to light, and no harm
    until(lambda: jobs(rig) == [("midi", "midi-1-1")])


def test_the_daemon_plays_along(jack, new_daemon, plug):
    """A real daemon: a pad of a real preset renders a real stem, and the clock of the controller is followed."""
    controller = plug("APC MINI")
    daemon = new_daemon().start("--midi", "apc*")
    assert daemon.status()["midi"] == "musicgen-bridge, APC MINI:out, APC MINI-01:in"
    with daemon.client() as bridge:
        bridge.request("/musicgen/set", {"bars": 1.0})
    assert daemon.status()["tempo_source"] == "osc"
    controller.say("clock 133.25 400")
    assert controller.line() == "ticked"
    until(lambda: daemon.status()["tempo_source"] == "midi")
    assert abs(float(daemon.status()["bpm"]) - 133.25) < 1.0
    controller.send(NOTE_ON, 28, 100)  # slot 29
    lights = [controller.hear()[2] for _ in range(3)]
    assert lights == [QUEUED, RENDERING, DARK]
    assert list(Path(daemon.song, "MusicGen").glob("*.wav"))
    assert daemon.end() == 0


def test_a_daemon_without_midi_starts_and_says_so(new_daemon, monkeypatch):
    monkeypatch.setenv("MIDO_BACKEND", "mido.backends.rtmidi/UNIX_JACK")
    monkeypatch.setenv("JACK_DEFAULT_SERVER", "nobody")
    assert str(new_daemon().start().status()["midi"]).startswith("off: ")
