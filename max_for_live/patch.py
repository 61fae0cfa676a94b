"""A Max patcher in the making: boxes, cords, Live parameters, and the JSON that Max reads."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

OBJECTS: dict[str, tuple[int, list[str]]] = {
    "buffer~": (1, ["float", "bang"]),
    "conformpath": (1, ["", "int"]),
    "deferlow": (1, [""]),
    "dspstate~": (1, ["int", "float", "int", "int"]),
    "loadbang": (1, ["bang"]),
    "live.thisdevice": (1, ["bang", "int", "int"]),
    "opendialog": (1, ["", "bang"]),
    "play~": (1, ["signal", "signal", "bang"]),
    "plugin~": (2, ["signal", "signal"]),
    "plugout~": (2, ["signal", "signal"]),
    "prepend": (1, [""]),
    "dac~": (2, []),
    "sfrecord~": (2, ["signal"]),
    "udpreceive": (1, [""]),
    "udpsend": (1, []),
}
"""Inlets and the types of the outlets, by the first word of an object's text."""
CONTROLS: dict[str, tuple[int, list[str]]] = {
    "comment": (1, []),
    "live.menu": (1, ["", "", "float"]),
    "live.numbox": (1, ["", "float"]),
    "live.text": (1, ["", ""]),
    "message": (2, [""]),
    "panel": (1, []),
    "slider": (1, [""]),
    "textedit": (1, ["", "int", "", ""]),
}
"""The same for boxes that are no text objects."""

FLOAT, ENUM, BLOB = 0, 2, 3
"""Live's parameter types; its integers end at 255, so whole numbers are floats shown as integers."""
WHOLE, DECIMAL = 0, 1
"""Live's unit styles."""


class Patch:
    """Boxes and the cords between them, in the order in which they were added."""

    def __init__(self) -> None:
        self.boxes: list[dict[str, Any]] = []
        self.lines: list[dict[str, Any]] = []
        self.parameters: dict[str, list[Any]] = {}
        self._row = 0

    def new(self, text: str, outlets: int | None = None) -> str:
        """Add the object `text` and return its id; only js and route need to tell their number of outlets."""
        name = text.split()[0]
        if name == "route":
            count = len(text.split())
            inlets, types = count, [""] * count
        elif outlets is not None:
            inlets, types = 1, [""] * outlets
        else:
            inlets, types = OBJECTS[name]
        return self._add("newobj", inlets, types, text=text)

    def control(self, kind: str, at: Sequence[float] = (), **attributes: Any) -> str:
        """Add a box of the class `kind`, in presentation where `at` has its x, y, width and height; return its id."""
        inlets, types = CONTROLS[kind]
        shown = {"presentation": 1, "presentation_rect": list(map(float, at))} if at else {}
        return self._add(kind, inlets, types, **shown, **attributes)

    def parameter(
        self, kind: str, name: str, at: Sequence[float], type_: int, value: dict[str, Any], **more: Any
    ) -> str:
        """Add a control that is a parameter of the device, which Live stores, automates and maps; return its id."""
        valueof = {
            "parameter_longname": name,
            "parameter_shortname": name,
            "parameter_type": type_,
            **{f"parameter_{key}": one for key, one in value.items()},
        }
        saved = {"valueof": valueof}
        box = self.control(kind, at, parameter_enable=1, saved_attribute_attributes=saved, varname=name, **more)
        self.parameters[box] = [name, name, 0]
        return box

    def wire(self, source: str, target: str, outlet: int = 0, inlet: int = 0) -> None:
        """Draw a cord."""
        self.lines.append({"patchline": {"source": [source, outlet], "destination": [target, inlet]}})

    def chain(self, *boxes: str, outlet: int = 0) -> None:
        """Draw cords from each box to the next; `outlet` is the first one's."""
        for source, target in pairwise(boxes):
            self.wire(source, target, outlet)
            outlet = 0

    def _add(self, kind: str, inlets: int, types: list[str], **attributes: Any) -> str:
        name = f"obj-{len(self.boxes) + 1}"
        column, row = divmod(self._row, 24)
        self._row += 1
        self.boxes.append(
            {
                "box": {
                    "id": name,
                    "maxclass": kind,
                    "numinlets": inlets,
                    "numoutlets": len(types),
                    "outlettype": types,
                    "patching_rect": [20.0 + 260 * column, 20.0 + 30 * row, 220.0, 22.0],
                    **attributes,
                }
            }
        )
        return name

    def patcher(self, size: tuple[float, float], files: Sequence[str], **more: Any) -> dict[str, Any]:
        """Return the patcher as Max stores it, with the script `files` that it depends on."""
        width, height = size
        return {
            "patcher": {
                "fileversion": 1,
                "appversion": {"major": 8, "minor": 6, "revision": 5, "architecture": "x64", "modernui": 1},
                "classnamespace": "box",
                "rect": [80.0, 100.0, 1200.0, 800.0],
                "openinpresentation": 1,
                "default_fontsize": 10.0,
                "default_fontname": "Arial",
                "gridsize": [8.0, 8.0],
                "devicewidth": width,
                "openrect": [0.0, 0.0, width, height],
                "boxes": self.boxes,
                "lines": self.lines,
                "parameters": {**self.parameters, "parameterbanks": self._banks(), "inherited_shortname": 1},
                "dependency_cache": [{"name": name, "bootpath": ".", "type": "TEXT", "implicit": 1} for name in files],
                "autosave": 0,
                **more,
            }
        }

    def _banks(self) -> dict[str, Any]:
        """Return Push's banks of eight, of what its encoders can turn."""
        turned = [
            str(box["box"]["varname"]) for box in self.boxes if box["box"]["maxclass"] in ("live.numbox", "live.menu")
        ]
        banks = [turned[first : first + 8] for first in range(0, len(turned), 8)]
        return {
            str(index): {"index": index, "name": "", "parameters": bank + ["-"] * (8 - len(bank))}
            for index, bank in enumerate(banks)
        }
