"""Preset files: a named, numbered part of a render request, shipped or the user's own."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musicgen_bridge.asking.keys import RENDER_KEYS, Key, Value, check_values, suggestion, table
from musicgen_bridge.errors import ArgumentError
from musicgen_bridge.shipped import shipped_folder

PRESET_KEYS = table(
    Key("slot", "i", "number by which a pad starts it", 0, 9_999),
    Key("name", "s", "name by which it is started", longest=64),
    Key("summary", "s", "one line for a person", longest=200),
    Key("role", "s", "drum loop, bass line, pad, lead, texture, fill, riser, …", longest=32),
    Key("genre", "s", "musical style", longest=32),
)


def shipped() -> Path:
    """Return the folder of the presets that come with the package."""
    return shipped_folder("presets")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One preset: what a pad or a name starts. `render` holds checked render keys."""

    slot: int
    name: str
    summary: str = ""
    role: str = ""
    genre: str = ""
    render: dict[str, Value]
    path: Path


class Presets:
    """The presets by name and by slot; of two with the same name or slot the later folder's wins."""

    def __init__(self, *folders: Path) -> None:
        """Read the TOML files of the folders in order; `problems` tells what could not be read."""
        self.problems: list[str] = []
        self._by_slot: dict[int, Preset] = {}
        for folder in folders:
            for path in sorted(folder.glob("*.toml")) if folder.is_dir() else []:
                try:
                    self._add(read_preset(path))
                except ArgumentError as error:
                    self.problems.append(error.text)

    def _add(self, preset: Preset) -> None:
        same = [slot for slot, other in self._by_slot.items() if other.name == preset.name]
        for slot in same:
            del self._by_slot[slot]
        self._by_slot[preset.slot] = preset

    def all(self) -> list[Preset]:
        """Return the presets by slot."""
        return [self._by_slot[slot] for slot in sorted(self._by_slot)]

    def find(self, slot: str | int) -> Preset:
        """Return the preset with this name or slot number ("7" and 7 alike).

        Raises:
            ArgumentError: there is none.
        """
        if isinstance(slot, int) or slot.isdecimal():
            if int(slot) in self._by_slot:
                return self._by_slot[int(slot)]
            raise ArgumentError(f"no preset has slot {slot}; /musicgen/list what presets shows those there are")
        for preset in self._by_slot.values():
            if preset.name.lower() == slot.lower():
                return preset
        near = suggestion(slot, (preset.name for preset in self._by_slot.values()))
        raise ArgumentError(f'no preset is named "{slot}"{near}; /musicgen/list what presets shows those there are')


def read_preset(path: Path) -> Preset:
    """Return the preset in a TOML file.

    Raises:
        ArgumentError: the file can't be read or a key is wrong; the text names the file.
    """
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ArgumentError(f"preset {path} can't be read: {error}") from error
    try:
        render = values.pop("render", {})
        if not isinstance(render, dict):
            raise ArgumentError("[render] must be a table of render keys")
        head: dict[str, Any] = check_values(values, PRESET_KEYS)
        if "slot" not in head or not head.get("name"):
            raise ArgumentError("slot and name are needed")
        return Preset(**head, render=check_values(render, RENDER_KEYS), path=path)
    except ArgumentError as error:
        raise ArgumentError(f"preset {path}: {error.text}") from error
