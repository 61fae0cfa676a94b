"""Map files: the shipped ones, what a file may say, which one a port gets, and one that is learned from the pads."""

import subprocess
import sys
from pathlib import Path

import pytest

from musicgen_bridge.asking.presets import shipped
from musicgen_bridge.control.controllers import CANCEL, CONTROL, NOTE, Maps, Pad, matches, read_map
from musicgen_bridge.control.learn import device, learn, run
from musicgen_bridge.errors import ArgumentError
from tests.conftest import COMMAND, PATIENCE_S
from tests.jackd import Controller, jack_server

SHIPPED = Maps(shipped() / "controllers")
PORTS = {
    "musicgen-bridge": "DAW, Max or another program",
    "Launchpad X:Launchpad X LPX MIDI In 24:1": "Novation Launchpad",
    "Launchpad Mini MK3 LPMiniMK3 MIDI Out": "Novation Launchpad",
    "Launchpad X:Launchpad X LPX DAW In 24:0": "Keyboard",
    "APC MINI 1": "Akai APC mini",
    "APC mini mk2 Control": "Akai APC mini",
    "MPK mini 3:MPK mini 3 MIDI 1 20:0": "Akai MPK mini",
    "nanoKONTROL2 SLIDER/KNOB": "Korg nanoKONTROL2",
    "Ableton Push 2 User Port": "Ableton Push",
    "MIDIIN2 (Ableton Push 2) 3": "Ableton Push",
    "Keystation 49 MK3": "Keyboard",
}


@pytest.fixture
def write(tmp_path):
    def make(text, name="mine"):
        path = tmp_path / f"{name}.toml"
        path.write_text(f'name = "Mine"\nports = ["Grid*"]\n{text}', "utf-8")
        return path

    return make


def test_every_shipped_map_can_be_read():
    assert SHIPPED.problems == []
    assert {one.name for one in SHIPPED.all()} == set(PORTS.values())


@pytest.mark.parametrize("port", PORTS)
def test_a_port_gets_the_map_of_its_device(port):
    assert SHIPPED.find(port).name == PORTS[port]


def test_the_grids_have_a_slot_on_every_pad():
    for name in ("Novation Launchpad", "Akai APC mini", "Ableton Push"):
        (grid,) = [one for one in SHIPPED.all() if one.name == name]
        assert sorted(slot for slot in grid.pads.values() if isinstance(slot, int)) == list(range(1, 65))


def test_a_map_says_what_pads_and_knobs_do(write):
    found = read_map(
        write(
            'lights = false\n[notes]\n"36-38" = 5\n40 = "Tight break"\n41 = "cancel"\n[buttons]\n41 = 9\n'
            '[controls]\n7 = { key = "top_k", low = 10, high = 137 }\n8 = { key = "guidance", low = 8, high = 1 }\n'
            '[programs]\n"0-1" = 3\n'
        )
    )
    assert found.pads == {
        Pad(NOTE, 36): 5,
        Pad(NOTE, 37): 6,
        Pad(NOTE, 38): 7,
        Pad(NOTE, 40): "Tight break",
        Pad(NOTE, 41): CANCEL,
        Pad(CONTROL, 41): 9,
    }
    assert [found.knobs[7].scaled(value) for value in (0, 64, 127)] == [10, 74, 137]
    assert [found.knobs[8].scaled(value) for value in (0, 127)] == [8.0, 1.0]
    assert (found.programs, found.lights) == ({0: 3, 1: 4}, False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[nots]\n1 = 1", "notes"),
        ("[notes]\n128 = 1", "0 to 127"),
        ("[notes]\nC3 = 1", "0 to 127"),
        ("[notes]\n1 = true", "slot's number"),
        ('[notes]\n"1-4" = "cancel"', "slot's number"),
        ('[programs]\n1 = "cancel"', "slot's number"),
        (f'[notes]\n1 = "{"x" * 41}"', "40 bytes"),
        ("notes = 3", "table"),
        ('[controls]\n1 = { key = "temprature", low = 0, high = 1 }', "temperature"),
        ('[controls]\n1 = { key = "prompt", low = 0, high = 1 }', "prompt"),
        ('[controls]\n1 = { key = "temperature", low = 0, high = 9 }', "temperature must be from 0 to 3"),
        ('[controls]\n1 = { key = "temperature" }', "low"),
        ('[buttons]\n1 = 1\n[controls]\n1 = { key = "temperature", low = 0, high = 1 }', "both"),
        ("[notes", "can't be read"),
    ],
)
def test_a_wrong_map_is_told_with_its_file(write, text, said):
    with pytest.raises(ArgumentError) as caught:
        read_map(write(text))
    assert said in caught.value.text
    assert "mine.toml" in caught.value.text


def test_a_map_may_begin_with_the_mark_that_windows_editors_put_there(write):
    path = write("")
    path.write_text(f"\ufeff{path.read_text('utf-8')}", "utf-8")
    assert read_map(path).name == "Mine"


def test_the_user_s_maps_go_before_the_shipped_ones(write, tmp_path):
    write('[notes]\n1 = 1\n[broken]\nx = "y"', "broken")
    (tmp_path / "apc.toml").write_text('name = "My APC"\nports = ["apc*"]\n')
    maps = Maps(tmp_path, shipped() / "controllers")
    assert maps.find("APC MINI").name == "My APC"
    assert maps.find("MPK mini 3").name == "Akai MPK mini"
    assert len(maps.problems) == 1


def test_patterns_leave_case_aside():
    assert matches("APC MINI", "apc*")
    assert not matches("My APC MINI", "apc*")


@pytest.mark.parametrize(
    ("port", "name"), [("nanoKONTROL2:nano MIDI 1 24:0", "nanoKONTROL2"), ("MPK mini 1", "MPK mini"), ("Grid", "Grid")]
)
def test_the_device_s_name_is_found_in_the_port_s(port, name):
    assert device(port) == name


def note(number):
    return [0x99, number, 90]


def control(number, value):
    return [0xB0, number, value]


def test_a_learned_map_says_what_was_pressed(tmp_path):
    pressed = [
        note(36), [0x89, 36, 0], [0x99, 36, 0], note(37), control(20, 127), control(20, 0), control(20, 127),
        note(50),
        control(20, 127),  # a button: temperature is left out
        control(7, 63), control(7, 64), control(7, 65),
        control(7, 66), control(8, 1),
    ]  # fmt: skip
    said = []
    text = learn('Odd "grid" [2]', "Odd*", iter(pressed), said.append, lights=True)
    (tmp_path / "odd.toml").write_text(text)
    found = read_map(tmp_path / "odd.toml")
    assert (found.name, found.ports, found.lights) == ('Odd "grid" [2]', ("Odd*",), True)
    assert found.pads == {Pad(NOTE, 36): 1, Pad(NOTE, 37): 2, Pad(CONTROL, 20): 3, Pad(NOTE, 50): CANCEL}
    assert {number: knob.key.name for number, knob in found.knobs.items()} == {7: "guidance", 8: "variations"}
    assert "  slot 3: control 20" in said


def test_learning_ends_when_nothing_comes():
    with pytest.raises(ArgumentError, match="nothing came"):
        learn("Grid", "Grid*", iter([note(36)]), lambda line: None, lights=False)


@pytest.mark.skipif(sys.platform != "linux" or Path("/dev/snd/seq").exists(), reason="there is a MIDI system")
def test_learning_without_a_midi_system_says_what_to_start(tmp_path, monkeypatch):
    monkeypatch.delenv("MIDO_BACKEND", raising=False)
    with pytest.raises(
        ArgumentError, match=r"no MIDI system: .*; connect .* \(sudo modprobe snd-seq\), then learn again"
    ):
        run(tmp_path, lambda line: None)


def test_learn_asks_a_real_controller_and_the_map_is_found(tmp_path):
    with jack_server():
        grid = Controller("Fancy Grid")
        command = [*COMMAND, "learn", "--presets", str(tmp_path)]
        learning = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert "Fancy Grid:out" in learning.stdout.readline()
        answers = (
            ((0x90, 36, 100), "slot 1: note 36"),
            ((0x90, 37, 100), "slot 2: note 37"),
            ((0x90, 37, 100), "Press the pad that cancels"),
            ((0x90, 38, 100), "Turn the knob for temperature"),
            ((0x90, 36, 100), "Turn the knob for guidance"),
            ((0xB0, 2, 6), "Turn the knob for variations"),
            ((0xB0, 3, 7), "fancy-grid.toml"),
        )
        for message, answer in answers:
            grid.send(*message)
            assert next(line for line in learning.stdout if answer in line)
        assert learning.wait(PATIENCE_S) == 0
        found = Maps(tmp_path / "controllers").find("Fancy Grid:out")
        assert found.pads == {Pad(NOTE, 36): 1, Pad(NOTE, 37): 2, Pad(NOTE, 38): CANCEL}
        assert found.knobs.keys() == {2, 3}
        assert found.lights
        again = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        again.stdout.readline()
        grid.send(0x90, 36, 100)
        _, complaint = again.communicate(timeout=PATIENCE_S)
        assert again.returncode == 1
        assert "fancy-grid.toml is there already" in complaint
        grid.unplug()
