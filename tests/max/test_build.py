"""The built files are what the sources give, sound to a reader that knows nothing of the builder, and plain ES5."""

import json
import re
import subprocess
import sys

import pytest

from tests.max import amxd
from tests.max.conftest import DEVICES

SCRIPTS = sorted(path.name for path in DEVICES.glob("*.js"))
BUILT = ("musicgen-bridge.amxd", "musicgen-bridge-unfrozen.amxd", "musicgen-bridge.maxpat")


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rebuilt")
    subprocess.run([sys.executable, str(DEVICES / "build.py"), str(folder)], check=True)
    return folder


@pytest.mark.parametrize("name", BUILT)
def test_the_committed_files_are_what_the_sources_give(rebuilt, name):
    assert sorted(path.name for path in rebuilt.iterdir()) == sorted(BUILT)
    assert (rebuilt / name).read_bytes() == (DEVICES / name).read_bytes(), "run: python max_for_live/build.py"


@pytest.mark.parametrize("name", BUILT[:2])
def test_both_devices_are_read_back(name):
    device = amxd.read((DEVICES / name).read_bytes())
    assert device.kind == "aaaa"
    assert device.patcher["project"]["amxdtype"] == int.from_bytes(b"aaaa", "big")
    assert device.frozen == ("unfrozen" not in name)
    if device.frozen:
        assert device.files == {script: (DEVICES / script).read_bytes() for script in SCRIPTS}
        assert {moment.year for moment in device.modified} == {2020}
    assert device.patcher == amxd.read((DEVICES / BUILT[1]).read_bytes()).patcher


@pytest.mark.parametrize("cut", [1, 7, 100])
def test_the_reader_refuses_a_damaged_device(cut):
    for name in BUILT[:2]:
        data = (DEVICES / name).read_bytes()
        with pytest.raises((AssertionError, ValueError, KeyError)):
            amxd.read(data[:-cut])
        with pytest.raises((AssertionError, ValueError, KeyError)):
            amxd.read(data[:24] + data[24 + cut :])


def both():
    device = amxd.read((DEVICES / BUILT[0]).read_bytes()).patcher
    return [device, json.loads((DEVICES / BUILT[2]).read_text("utf-8"))["patcher"]]


@pytest.mark.parametrize("patcher", both(), ids=["device", "patch"])
def test_every_parameter_has_a_name_of_its_own_and_a_place_on_the_panel(patcher):
    boxes = [one["box"] for one in patcher["boxes"]]
    parameters = [box for box in boxes if box.get("parameter_enable")]
    names = [box["saved_attribute_attributes"]["valueof"]["parameter_longname"] for box in parameters]
    assert len(set(names)) == len(names)
    assert set(names) >= {"Prompt", "Preset", "Bars", "Variations", "Parts", "Seed", "Guidance", "Generate", "Cancel"}
    assert {key for key in patcher["parameters"] if key.startswith("obj-")} == {box["id"] for box in parameters}
    for box in boxes:
        if box.get("presentation"):
            x, y, width, height = box["presentation_rect"]
            assert x >= 0 and y >= 0 and x + width <= patcher["devicewidth"] and y + height <= 169, box["id"]


@pytest.mark.parametrize("patcher", both(), ids=["device", "patch"])
def test_no_control_lies_on_another(patcher):
    shown = [one["box"] for one in patcher["boxes"] if one["box"].get("presentation")]
    solid = [box for box in shown if box["maxclass"] != "comment"]
    for at, one in enumerate(solid):
        for other in solid[at + 1 :]:
            (ax, ay, aw, ah), (bx, by, bw, bh) = one["presentation_rect"], other["presentation_rect"]
            apart = ax + aw <= bx or bx + bw <= ax or ay + ah <= by or by + bh <= ay
            assert apart, (one["varname"], other["varname"])


def test_the_presets_on_the_menu_are_those_that_come_along():
    from musicgen_bridge.asking.presets import Presets, shipped

    for patcher in both():
        (menu,) = [one["box"] for one in patcher["boxes"] if one["box"].get("varname") == "Preset"]
        items = menu["saved_attribute_attributes"]["valueof"]["parameter_enum"]
        assert items == ["none", *(preset.name for preset in Presets(shipped()).all())]


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_scripts_are_es5(name):
    code = re.sub(r"//[^\n]*|\"(\\.|[^\"\n])*\"", '""', (DEVICES / name).read_text("utf-8"))
    assert not re.findall(r"\b(?:let|const|class|async|await|yield|import|export|of)\b|=>|`|\.\.\.", code)
    assert code.isascii()


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_helper_takes_a_message_s_name(name):
    """Max calls the function that a message names, so what a control sends must be a handler or no function at all."""
    code = (DEVICES / name).read_text("utf-8")
    functions = set(re.findall(r"^function (\w+)", code, re.MULTILINE))
    handlers = {"start", "generate", "cancel", "show", "anything", "notifydeleted", "record", "melody", "place", "stem"}
    handlers |= {"fill", "take", "nudge"}
    sent = {
        one["box"]["text"].split()[1]
        for patcher in both()
        for one in patcher["boxes"]
        if one["box"].get("text", "").startswith("prepend")
    }
    assert functions & (sent | {"bpm", "signature", "beat", "playing", "project", "name", "loop_beats"}) <= handlers


def test_the_drawings_in_the_docs_are_of_these_panels(tmp_path):
    subprocess.run([sys.executable, str(DEVICES / "drawing.py"), str(tmp_path)], check=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["live.svg", "max.svg"]
    for fresh in tmp_path.iterdir():
        assert fresh.read_text("utf-8") == (DEVICES.parent / "docs" / fresh.name).read_text("utf-8")
