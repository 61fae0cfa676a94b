"""The two patches that are built: the Max for Live device and the plain Max patch, of the same panel and client."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from patch import BLOB, DECIMAL, ENUM, FLOAT, WHOLE, Patch

CLIENT, LIVE = "musicgen_client.js", "musicgen_live.js"
PORT = 32050
PRESETS = Path(__file__).parents[1] / "presets"
SIZE = (570.0, 169.0)
RIGHT = 448
AUDIO_EFFECT = int.from_bytes(b"aaaa", "big")
LAMP = {
    "ready": "0.25 0.75 0.35 1.",
    "busy": "0.25 0.5 0.95 1.",
    "loading": "0.95 0.75 0.2 1.",
    "gone": "0.55 0.55 0.55 1.",
}
MELODY_PARTS = ("lead", "all", "vocals", "bass", "other", "drums")
SIGNATURES = ("4/4", "3/4", "5/4", "6/8", "7/8", "9/8", "12/8")


def preset_names() -> list[str]:
    """Return the names of the presets that come with the package, by slot."""
    presets = [tomllib.loads(path.read_text("utf-8")) for path in PRESETS.glob("*.toml")]
    return [preset["name"] for preset in sorted(presets, key=lambda preset: int(preset["slot"]))]


class Panel:
    """The client, its sockets, its display and the controls that both patches have."""

    def __init__(self, patch: Patch) -> None:
        self.patch = patch
        self.client = patch.new(f"js {CLIENT}", outlets=4)
        self.display = patch.new("route lamp text progress file show")
        self._sockets()
        self._lamp()
        self._texts()
        self.prompt = self._words("prompt", "Prompt", (8, 30, 196, 50))
        self.parts = self._words("parts", "Parts", (8, 96, 196, 20))
        self.menu("preset", "Preset", ["none", *preset_names()], (8, 132, 196, 15), self.client)
        self.numbox("bars", "Bars", (212, 30, 48, 15), 0, 64, 4, self.client)
        self.numbox("variations", "Variations", (268, 30, 48, 15), 1, 8, 1, self.client)
        self.numbox("seed", "Seed", (212, 64, 48, 15), 0, 9999, 0, self.client)
        self.numbox("guidance", "Guidance", (268, 64, 48, 15), 0, 20, 0, self.client, DECIMAL)
        self.numbox("best_of", "Best of", (330, 30, 48, 15), 1, 8, 1, self.client)
        self.patch.chain(self.button("Mix", (386, 30, 48, 15), toggle=True), patch.new("prepend mix"), self.client)
        self.menu("melody_part", "Melody part", list(MELODY_PARTS), (330, 64, 104, 15), self.client)
        self._nudges()
        self.message_button("Cancel", (RIGHT, 52, 114, 16), "cancel", self.client)
        self.message_button("Show file", (RIGHT, 96, 114, 16), "show", self.client)

    def _nudges(self) -> None:
        self.label("Move the take", (330, 98, 104))
        for y, by, beats, ms in ((98, "Beat", 1, 0), (115, "10 ms", 0, 10)):
            self.message_button(f"{by} earlier", (330, y, 50, 15), f"nudge {beats} {ms}", self.client, f"< {by}")
            self.message_button(f"{by} later", (384, y, 50, 15), f"nudge {-beats} {-ms}", self.client, f"{by} >")

    def _sockets(self) -> None:
        patch = self.patch
        receive = patch.new("udpreceive @defer 1")
        patch.wire(self.client, patch.new(f"udpsend 127.0.0.1 {PORT}"), 0)
        patch.wire(self.client, receive, 1)
        patch.wire(receive, self.client)
        patch.wire(self.client, self.display, 2)

    def _lamp(self) -> None:
        patch = self.patch
        panel = patch.control("panel", (8, 4, 10, 10), rounded=10, bgfillcolor=[0.55, 0.55, 0.55, 1.0])
        states = patch.new(f"route {' '.join(LAMP)}")
        patch.wire(self.display, states, 0)
        for outlet, colour in enumerate(LAMP.values()):
            says = patch.control("message", text=f"bgfillcolor {colour}")
            patch.chain(states, says, panel, outlet=outlet)
        self._shown("lamp", (22, 0, 60, 18), 0)

    def _texts(self) -> None:
        patch = self.patch
        self._shown("text", (84, 0, 478, 18), 1)
        bar = patch.control(
            "slider", (RIGHT, 74, 114, 12), orientation=1, size=101.0, ignoreclick=1, varname="progress"
        )
        patch.wire(self.display, bar, 2)
        self._shown("file", (8, 150, 554, 18), 3)
        patch.wire(self.display, patch.control("message", text="; max launchbrowser $1"), 4)

    def _shown(self, name: str, at: tuple[float, ...], outlet: int) -> None:
        words = self.patch.control("comment", at, text="", varname=f"{name} display")
        self.patch.chain(self.display, self.patch.new("prepend set"), words, outlet=outlet)

    def label(self, text: str, at: tuple[float, ...]) -> None:
        """Add a label above a control."""
        self.patch.control("comment", (at[0] - 3, at[1] - 16, max(at[2], 60) + 6, 18), text=text)

    def _words(self, key: str, name: str, at: tuple[float, ...]) -> str:
        self.label(name, at)
        patch = self.patch
        box = patch.parameter("textedit", name, at, BLOB, {"invisible": 1}, outputmode=1, keymode=1, text="")
        patch.chain(box, patch.new("route text"), patch.new(f"prepend {key}"), self.client)
        return box

    def menu(self, key: str, name: str, items: list[str], at: tuple[float, ...], target: str) -> None:
        """Add a menu whose chosen word goes to `target`."""
        self.label(name, at)
        value = {"enum": items, "mmax": len(items) - 1, "initial": [0], "initial_enable": 1}
        box = self.patch.parameter("live.menu", name, at, ENUM, value)
        self.patch.chain(box, self.patch.new(f"prepend {key}"), target, outlet=1)

    def numbox(
        self,
        key: str,
        name: str,
        at: tuple[float, ...],
        low: float,
        high: float,
        first: float,
        target: str,
        style: int = WHOLE,
    ) -> None:
        """Add a number that goes to `target`."""
        self.label(name, at)
        value = {"mmin": low, "mmax": high, "initial": [first], "initial_enable": 1, "unitstyle": style}
        box = self.patch.parameter("live.numbox", name, at, FLOAT, value)
        self.patch.chain(box, self.patch.new(f"prepend {key}"), target)

    def button(self, name: str, at: tuple[float, ...], *, toggle: bool = False, says: str = "") -> str:
        """Add a button that says its name or something shorter; if no toggle, it gives what is not 0 when pressed."""
        value, text = {"enum": ["off", "on"], "mmax": 1}, says or name
        box = self.patch.parameter("live.text", name, at, ENUM, value, mode=int(toggle), text=text, texton=text)
        if toggle:
            return box
        pressed = self.patch.new("route 0")
        self.patch.wire(box, pressed)
        return pressed

    def message_button(self, name: str, at: tuple[float, ...], message: str, target: str, says: str = "") -> None:
        """Add a button that sends a message."""
        pressed = self.button(name, at, says=says)
        self.patch.chain(pressed, self.patch.control("message", text=message), target, outlet=1)

    def asking_button(self, name: str, at: tuple[float, ...], message: str, target: str) -> None:
        """Add a button that has both texts told, and then sends a message."""
        patch = self.patch
        each = patch.new("t b b b", outlets=3)
        patch.wire(self.button(name, at), each, 1)
        patch.wire(each, self.parts, 2)
        patch.wire(each, self.prompt, 1)
        patch.chain(each, patch.control("message", text=message), target)

    def begin(self, first: str, *others: str) -> None:
        """Have `first` start the client, and `others`, once everything is loaded."""
        patch = self.patch
        start = patch.control("message", text="start")
        later = patch.new("deferlow")
        rate = patch.new("dspstate~")
        patch.chain(patch.new(first), later, start, self.client)
        for other in others:
            patch.wire(start, other)
        patch.wire(later, rate)
        patch.chain(rate, patch.new("prepend sample_rate"), self.client, outlet=1)

    def player(self, name: str, left_and_right: str) -> str:
        """Add the preview, a buffer and its Play button, and return the buffer."""
        patch = self.patch
        buffer = patch.new(f"buffer~ {name}")
        play = patch.new(f"play~ {name} 2")
        patch.wire(self.button("Play", (RIGHT, 118, 54, 16), toggle=True), play)
        for channel in (0, 1):
            patch.wire(play, left_and_right, channel, channel)
        return buffer


def device() -> dict[str, Any]:
    """Return the patcher of the Max for Live audio effect."""
    patch = Patch()
    panel = Panel(patch)
    live = patch.new(f"js {LIVE}", outlets=3)
    panel.menu("melody", "Melody", ["none", "clip", "recording"], (212, 98, 104, 15), live)
    panel.menu("place", "Place", ["slot", "arrangement", "preview"], (212, 132, 104, 15), live)
    panel.asking_button("Generate", (RIGHT, 30, 114, 18), "generate", live)
    panel.asking_button("Fill loop", (330, 134, 104, 15), "fill", live)
    panel.begin("live.thisdevice", live)
    patch.wire(live, panel.client, 0)
    patch.wire(live, panel.display, 1)
    patch.wire(panel.client, live, 3)

    incoming, outgoing, recorder = patch.new("plugin~"), patch.new("plugout~"), patch.new("sfrecord~ 2")
    for channel in (0, 1):
        patch.wire(incoming, outgoing, channel, channel)
        patch.wire(incoming, recorder, channel, channel)
    audio = patch.new("route record preview")
    patch.wire(live, audio, 2)
    patch.wire(audio, recorder, 0)
    patch.wire(audio, panel.player("---musicgen", outgoing), 1)
    patch.chain(panel.button("Record", (RIGHT + 60, 118, 54, 16), toggle=True), patch.new("prepend record"), live)
    return patch.patcher(SIZE, (CLIENT, LIVE), latency=0, project=_project())


def plain() -> dict[str, Any]:
    """Return the plain Max patch, whose session is typed in."""
    patch = Patch()
    panel = Panel(patch)
    panel.numbox("bpm", "BPM", (212, 98, 48, 15), 20, 400, 120, panel.client, DECIMAL)
    panel.menu("signature", "Signature", list(SIGNATURES), (268, 98, 48, 15), panel.client)
    panel.asking_button("Generate", (RIGHT, 30, 114, 18), "generate", panel.client)
    panel.begin("loadbang")
    _chooser(panel, "Folder", (212, 117, 104, 15), "opendialog fold", "project")
    _chooser(panel, "Melody", (212, 134, 50, 15), "opendialog sound", "melody")
    panel.message_button("No melody", (266, 134, 50, 15), "melody", panel.client)
    stem, heard = patch.new("route stem"), patch.control("message", text="replace $1")
    patch.chain(panel.client, stem, heard, panel.player("musicgen", patch.new("dac~")), outlet=3)
    return patch.patcher(SIZE, (CLIENT,))


def _chooser(panel: Panel, name: str, at: tuple[float, ...], dialog: str, key: str) -> None:
    patch = panel.patch
    asked = [patch.new("t b", outlets=1), patch.new(dialog), patch.new("conformpath slash boot")]
    patch.chain(panel.button(name, at), *asked, patch.new(f"prepend {key}"), panel.client, outlet=1)


def _project() -> dict[str, Any]:
    """Return what Max notes of the project that a device is; `amxdtype` is what Live goes by."""
    return {
        "version": 1,
        "creationdate": 3590052493,
        "modificationdate": 3590052493,
        "viewrect": [0.0, 0.0, 300.0, 500.0],
        "autoorganize": 1,
        "hideprojectwindow": 1,
        "showdependencies": 1,
        "autolocalize": 0,
        "contents": {"patchers": {}, "code": {}},
        "layout": {},
        "searchpath": {},
        "detailsvisible": 0,
        "amxdtype": AUDIO_EFFECT,
        "readonly": 0,
        "devpathtype": 0,
        "devpath": ".",
        "sortmode": 0,
        "viewmode": 0,
        "includepackages": 0,
    }
