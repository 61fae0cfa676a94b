"""Draws the panels of device and patch for the docs, from the patchers: python max_for_live/drawing.py [FOLDER]"""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path
from typing import Any

import patches

DOCS = Path(__file__).parents[1] / "docs"
SCALE = 2
FILLED = {
    "Prompt": "warm synth lead over soft drums",
    "Parts": "",
    "BPM": "126.5",
    "lamp display": "busy",
    "text display": "generating, 3 s to go",
    "file display": "…/my-song/MusicGen/warm-synth-lead_126.5bpm_F#min_4bars_seed7.wav",
}
"""What the displays say in the drawing."""
STYLE = """
    .panel { fill: #d9d9d9 } .well { fill: #f4f4f4; stroke: #8a8a8a } .button { fill: #bfc4c9; stroke: #8a8a8a }
    .done { fill: #3f7fe0 } .lamp { fill: #4080f2 } text { fill: #222; font-size: 10px }"""


def draw(patcher: dict[str, Any], title: str) -> str:
    """Return the SVG of a patcher's panel."""
    width, height = patches.SIZE
    shown = [one["box"] for one in patcher["patcher"]["boxes"] if one["box"].get("presentation")]
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width * SCALE:g}"'
        ' font-family="Arial, Helvetica, sans-serif" role="img" aria-labelledby="title">',
        f'  <title id="title">{escape(title)}</title>',
        f"  <style>{STYLE}\n  </style>",
        f'  <rect class="panel" width="{width:g}" height="{height:g}" rx="4"/>',
        *(f"  {line}" for box in shown for line in drawn(box)),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def drawn(box: dict[str, Any]) -> list[str]:
    """Return the shapes of one box."""
    x, y, width, height = box["presentation_rect"]
    name = box.get("varname", "")
    match box["maxclass"]:
        case "panel":
            return [shape("lamp", x, y, width, height, 5)]
        case "comment":
            return [words(box["text"] or FILLED.get(name, ""), x + 3, y + 12)]
        case "slider":
            return [shape("well", x, y, width, height), shape("done", x, y, width * 0.6, height)]
        case "live.text":
            middle = f'text-anchor="middle" x="{x + width / 2:g}"'
            label = f'<text {middle} y="{y + height / 2 + 3.5:g}">{escape(box["text"])}</text>'
            return [shape("button", x, y, width, height, 3), label]
    return [shape("well", x, y, width, height), words(FILLED[name] if name in FILLED else first(box), x + 4, y + 11)]


def first(box: dict[str, Any]) -> str:
    """Return what a parameter shows at first."""
    value = box["saved_attribute_attributes"]["valueof"]
    (initial,) = value["parameter_initial"]
    return str(value["parameter_enum"][initial]) if "parameter_enum" in value else f"{initial:g}"


def shape(kind: str, x: float, y: float, width: float, height: float, round_: float = 1) -> str:
    """Return a rectangle."""
    return f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{round_:g}"/>'


def words(text: str, x: float, y: float) -> str:
    """Return a line of text, its base line at y."""
    return f'<text x="{x:g}" y="{y:g}">{escape(text)}</text>'


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS
    drawings = {
        "live.svg": draw(patches.device(), "The panel of the Max for Live device"),
        "max.svg": draw(patches.plain(), "The panel of the Max patch"),
    }
    for name, drawing in drawings.items():
        (folder / name).write_text(drawing, "utf-8", newline="\n")
