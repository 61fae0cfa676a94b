"""Learning a controller: its pads and knobs are asked for, and its map file is written."""

from __future__ import annotations

import contextlib
import queue
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from musicgen_bridge.control.controllers import CANCEL, CONTROL, NOTE, Pad, Slot, matches
from musicgen_bridge.control.midi_ports import OWN, Ports
from musicgen_bridge.errors import ArgumentError, DiskError, ExistsError

PATIENCE_S = 60.0
START_MIDI = "connect the controller and " + (
    "load ALSA's sequencer (sudo modprobe snd-seq)" if sys.platform == "linux" else "start the system's MIDI service"
)
SILENT = f"nothing came for {PATIENCE_S:.0f} s; see that the controller is connected and no other program has it"


def run(folder: Path, tell: Callable[[str], None]) -> Path:
    """Learn the controller whose pad is pressed first, and return the map file in `folder`.

    Raises:
        ArgumentError: this machine has no MIDI system, or nothing was pressed for a while.
        ExistsError: this controller's map is there already.
        DiskError: it can't be written.
    """
    heard: queue.Queue[tuple[str, list[int]]] = queue.Queue()
    ports = Ports(lambda port, message, at: heard.put((port, message)), lambda port: True, lambda port: False)
    try:
        ports.open()
    except (OSError, ImportError) as error:
        why = str(error).rstrip(".") or type(error).__name__
        raise ArgumentError(f"this machine has no MIDI system: {why}; {START_MIDI}, then learn again") from error
    with contextlib.closing(ports):
        tell(f"Connected: {', '.join(name for name in ports.inputs if name != OWN) or 'no controller yet'}")
        port, first = _first_press(ports, heard)
        name = device(port)
        path = folder / f"{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-') or 'controller'}.toml"
        if path.exists():
            raise ExistsError(f"{path} is there already; move it away to learn {name} again")
        text = learn(name, f"{_literal(name)}*", _from(port, first, heard), tell, lights=_has_output(name))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        raise DiskError(f"{path} can't be written ({error}); allow it or name another folder with --presets") from error
    return path


def _first_press(ports: Ports, heard: queue.Queue[tuple[str, list[int]]]) -> tuple[str, list[int]]:
    """Wait for a pad of any controller, also of one that is only now connected."""
    for _ in range(int(PATIENCE_S)):
        with contextlib.suppress(queue.Empty):
            while True:
                port, message = heard.get(timeout=1.0)
                if port != OWN and _presses(message):
                    return port, message
        ports.poll()
    raise ArgumentError(SILENT)


def _from(port: str, first: list[int], heard: queue.Queue[tuple[str, list[int]]]) -> Iterator[list[int]]:
    yield first
    with contextlib.suppress(queue.Empty):
        while True:
            source, message = heard.get(timeout=PATIENCE_S)
            if source == port:
                yield message


def _has_output(name: str) -> bool:
    import mido

    return any(matches(port, f"{_literal(name)}*") for port in mido.get_output_names())


def device(port: str) -> str:
    """Return the device's name in a port's, as ALSA ("nanoKONTROL2:MIDI 1 24:0") and Windows ("MPK mini 1") make it."""
    return re.sub(r"\s+\d+$", "", port.partition(":")[0]).strip()


def _literal(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)


LEARNED = (("temperature", 0.5, 1.5), ("guidance", 1.0, 8.0), ("variations", 1, 8))
"""The parameters that are asked for, with their ranges."""


def learn(name: str, pattern: str, presses: Iterator[list[int]], tell: Callable[[str], None], *, lights: bool) -> str:
    """Ask for the pads, the pad that cancels and the knobs of a controller, and return its map file.

    `presses` yields MIDI messages as they come. A pad pressed twice ends the pads, or stands for none.

    Raises:
        ArgumentError: the messages ended too early.
    """
    tell("Press the pads in the order of the slots, 1, 2, 3, …; press the last one again when that is all.")
    pads: list[Pad] = []
    while (pad := _pressed(presses)) not in pads:
        pads.append(pad)
        tell(f"  slot {len(pads)}: {_said(pad)}")
    tell("Press the pad that cancels, or one of a slot if none should.")
    cancel = _pressed(presses)
    knobs: dict[int, tuple[str, float, float]] = {}
    for key, low, high in LEARNED:
        tell(f"Turn the knob for {key}, or press a pad to leave it out.")
        if (number := _turned(presses, {*knobs, *(pad.number for pad in (*pads, cancel) if pad.kind == CONTROL)})) >= 0:
            knobs[number] = (key, low, high)
            tell(f"  {key}: control {number}")
    slots: dict[Pad, Slot] = {pad: at for at, pad in enumerate(pads, start=1)}
    if cancel not in slots:
        slots[cancel] = CANCEL
    return _written(name, pattern, lights, slots, knobs)


def _presses(message: list[int]) -> Pad | None:
    match message:
        case [status, number, value] if status & 0xF0 == NOTE and value:
            return Pad(NOTE, number)
        case [status, number, 127] if status & 0xF0 == CONTROL:
            return Pad(CONTROL, number)
    return None


def _pressed(messages: Iterator[list[int]]) -> Pad:
    for message in messages:
        if pad := _presses(message):
            return pad
    raise ArgumentError(SILENT)


def _turned(messages: Iterator[list[int]], known: set[int]) -> int:
    """Return the number of the control that is turned, -1 when a pad is pressed instead."""
    for message in messages:
        match message:
            case [status, number, value] if status & 0xF0 == CONTROL and number not in known:
                return number
            case [status, _, value] if status & 0xF0 == NOTE and value:
                return -1
            case [status, _, 127] if status & 0xF0 == CONTROL:
                return -1
    raise ArgumentError(SILENT)


def _said(pad: Pad) -> str:
    return f"{'note' if pad.kind == NOTE else 'control'} {pad.number}"


def _written(
    name: str,
    pattern: str,
    lights: bool,
    slots: Mapping[Pad, Slot],
    knobs: Mapping[int, tuple[str, float, float]],
) -> str:
    lines = [f"name = {_quoted(name)}", f"ports = [{_quoted(pattern)}]", f"lights = {str(lights).lower()}"]
    for title, kind in (("notes", NOTE), ("buttons", CONTROL)):
        entries = [f"{pad.number} = {_quoted(slot) if isinstance(slot, str) else slot}"
                   for pad, slot in slots.items() if pad.kind == kind]  # fmt: skip
        lines += ["", f"[{title}]", *entries] if entries else []
    if knobs:
        lines += ["", "[controls]"]
        lines += [f'{at} = {{ key = "{key}", low = {low}, high = {high} }}' for at, (key, low, high) in knobs.items()]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{"".join(c for c in escaped if c.isprintable())}"'
