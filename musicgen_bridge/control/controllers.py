"""Map files: which pad of a controller starts which slot, which knob sets which parameter."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from musicgen_bridge.asking.keys import RENDER_KEYS, Key, Value, check, check_values, suggestion, table
from musicgen_bridge.errors import ArgumentError

NOTE, CONTROL = 0x90, 0xB0
"""Status bytes of note on and control change, without the channel (MIDI 1.0, table I)."""
CANCEL, PICKED = "cancel", "picked"
"""What a pad can do beside starting a slot: end what MIDI started, or start what the last program change picked."""
LONGEST_SLOT = 40
"""The longest name of a preset on a pad: `midi-<slot>-<n>` still is a request id."""

_HEAD = table(
    Key("name", "s", "name of the device", longest=64),
    Key("lights", "b", "whether its pads light up when the same note is sent back"),
)
_TABLES = ("notes", "buttons", "controls", "programs")

Slot = int | str


class Pad(NamedTuple):
    """What is pressed: a note, or a button that sends control changes."""

    kind: int
    """`NOTE` or `CONTROL`."""
    number: int


class Knob(NamedTuple):
    """What a control change sets: a render key, from `low` at 0 to `high` at 127."""

    key: Key
    low: float
    high: float

    def scaled(self, value: int) -> Value:
        """Return the key's value at a control change's value, 0 to 127."""
        number = self.low + (self.high - self.low) * value / 127
        return round(number) if self.key.kind == "i" else number


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerMap:
    """One controller; `ports` are patterns of its ports' names, case aside."""

    name: str
    ports: tuple[str, ...]
    lights: bool = True
    pads: Mapping[Pad, Slot]
    knobs: Mapping[int, Knob]
    """By number of the control change."""
    programs: Mapping[int, int]
    """Slot by number of the program change, 0 to 127."""

    def fit(self, port: str) -> int:
        """Return how well a port's name fits: the length of the longest pattern that it matches, 0 for none."""
        return max((len(one) for one in self.ports if matches(port, one)), default=0)


class Maps:
    """The maps of some folders; those of an earlier folder go before, then the one whose pattern fits longest."""

    def __init__(self, *folders: Path) -> None:
        """Read the TOML files; `problems` tells what could not be read."""
        self.problems: list[str] = []
        self._folders: list[list[ControllerMap]] = []
        for folder in folders:
            self._folders.append(maps := [])
            for path in sorted(folder.glob("*.toml")) if folder.is_dir() else []:
                try:
                    maps.append(read_map(path))
                except ArgumentError as error:
                    self.problems.append(error.text)

    def all(self) -> list[ControllerMap]:
        """Return every map, those that go before first."""
        return [one for maps in self._folders for one in maps]

    def find(self, port: str) -> ControllerMap | None:
        """Return the map for a port's name, or None."""
        for maps in self._folders:
            best = max(maps, key=lambda one: one.fit(port), default=None)
            if best is not None and best.fit(port):
                return best
        return None


def matches(port: str, pattern: str) -> bool:
    """Return whether a port's name fits a pattern of `*` and `?`, case aside."""
    return fnmatchcase(port.lower(), pattern.lower())


def read_map(path: Path) -> ControllerMap:
    """Return the map in a TOML file.

    Raises:
        ArgumentError: the file can't be read or something in it is wrong; the text names the file.
    """
    try:
        return _map(tomllib.loads(path.read_text("utf-8-sig")))
    except (OSError, ValueError) as error:
        raise ArgumentError(f"controller map {path} can't be read: {error}") from error
    except ArgumentError as error:
        raise ArgumentError(f"controller map {path}: {error.text}") from error


def _map(values: dict[str, Any]) -> ControllerMap:
    tables = {name: values.pop(name, {}) for name in _TABLES}
    ports = values.pop("ports", None)
    for name in values:
        if name not in _HEAD:
            raise ArgumentError(f'unknown key "{name}"{suggestion(name, (*_HEAD, *_TABLES, "ports"))}')
    head: dict[str, Any] = check_values(values, _HEAD)
    if not head.get("name") or not isinstance(ports, list) or not all(isinstance(one, str) and one for one in ports):
        raise ArgumentError('name and ports are needed, such as ports = ["Launchpad*"]')
    for name, entries in tables.items():
        if not isinstance(entries, dict):
            raise ArgumentError(f"[{name}] must be a table")
    pads = {Pad(NOTE, number): slot for number, slot in _slots("notes", tables["notes"])}
    pads |= {Pad(CONTROL, number): slot for number, slot in _slots("buttons", tables["buttons"])}
    knobs = {_number("controls", name): _knob(entry) for name, entry in tables["controls"].items()}
    for number in knobs:
        if Pad(CONTROL, number) in pads:
            raise ArgumentError(f"control {number} stands in both [buttons] and [controls]")
    programs = {number: slot for number, slot in _slots("programs", tables["programs"]) if isinstance(slot, int)}
    return ControllerMap(ports=tuple(ports), pads=pads, knobs=knobs, programs=programs, **head)


def _slots(where: str, entries: Mapping[str, Any]) -> Iterator[tuple[int, Slot]]:
    """Yield (number, slot) of each entry; `"36-43" = 1` stands for eight numbers and the slots 1 to 8."""
    for name, slot in entries.items():
        low, dash, high = name.partition("-")
        first, last = _number(where, low), _number(where, high if dash else low)
        if isinstance(slot, bool) or not isinstance(slot, int | str) or (isinstance(slot, str) and (dash or not slot)):
            raise ArgumentError(f"[{where}] {name} must be a slot's number, not {slot!r}; one number may have a name")
        if isinstance(slot, str) and (where == "programs" or len(slot.encode()) > LONGEST_SLOT):
            raise ArgumentError(
                f"[{where}] {name} must be a slot's number, or on a pad a name up to {LONGEST_SLOT} bytes"
            )
        for number in range(first, last + 1):
            yield number, slot + number - first if isinstance(slot, int) else slot


def _number(where: str, text: str) -> int:
    if not text.isdecimal() or int(text) > 127:
        raise ArgumentError(f'[{where}] "{text}" must be a number from 0 to 127, or a range such as "36-43"')
    return int(text)


def _knob(entry: Any) -> Knob:
    match entry:
        case {"key": str(name), "low": int() | float() as low, "high": int() | float() as high, **rest} if not rest:
            key = RENDER_KEYS.get(name)
            if key is None or key.kind not in "if" or key.choices:
                numbers = [one.name for one in RENDER_KEYS.values() if one.kind in "if" and not one.choices]
                raise ArgumentError(f'"{name}" is no parameter that a knob can set{suggestion(name, numbers)}')
            check(key, low), check(key, high)
            return Knob(key, low, high)
    raise ArgumentError('a control must be like { key = "temperature", low = 0.5, high = 1.5 }')
