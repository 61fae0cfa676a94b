"""What a model hears of a melody, as a picture: the loudest of twelve pitch classes, about eight times a second."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from musicgen_bridge.asking.keys import MELODY_KEYS, Value, check_values
from musicgen_bridge.asking.plausible import MAX_SECONDS
from musicgen_bridge.engine.chroma import HOP, SAMPLE_RATE, melody_chroma
from musicgen_bridge.engine.demucs_weights import load_demucs
from musicgen_bridge.engine.separation import melody_of
from musicgen_bridge.pitch import PITCH_CLASSES
from musicgen_bridge.request import SOURCES
from musicgen_bridge.roots import Roots
from musicgen_bridge.settings import Settings, demucs_folder
from musicgen_bridge.stems.files import NewFile, appear, disk_errors
from musicgen_bridge.stems.read import read_audio

_ROW, _LEFT, _TOP, _WIDTH = 20, 40, 34, 1200
_BLACK = {1, 3, 6, 8, 10}


def picture(settings: Settings, given: Mapping[str, Value], out: Path | None) -> Path:
    """Write the melody that the render keys `given` name to an SVG file, in the folder `out` or beside the recording.

    Raises:
        BridgeError: the melody can't be read, the part takes a Demucs that isn't there, or the file can't be written.
    """
    values = check_values(given, MELODY_KEYS)
    named = Path(str(values["melody"])).expanduser().resolve()
    path = Roots.of([*settings.roots, named.parent]).readable(str(named))
    part, end = str(values.get("melody_part", "lead")), values.get("melody_end")
    demucs = load_demucs(demucs_folder(settings)) if part in SOURCES or (settings.demucs and part != "all") else None
    data = draw(path, float(values.get("melody_start", 0)), None if end is None else float(end), part, demucs)
    folder = path.parent if out is None else out.resolve()
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return appear(f"{path.stem}.melody", [NewFile(folder, ".svg", data)])[0]


def draw(path: Path, start: float, end: float | None, part: str, demucs: Any | None) -> bytes:
    """Return the melody of a recording from `start` to `end` (seconds; None is its end) as SVG.

    `path` is one that `Roots.readable` returned; `part` and `demucs` are as for `melody_of`.

    Raises:
        PathError, AudioError: the recording can't be read, or has no melody.
        ModelError: a part is asked for that takes Demucs.
    """
    recording = read_audio(path, start=start, end=end, max_seconds=MAX_SECONDS)
    audio, how = melody_of(recording.audio, recording.sample_rate, demucs, part)
    loudest = melody_chroma(audio, recording.sample_rate).argmax(dim=1).numpy()
    seconds = recording.audio.shape[1] / recording.sample_rate
    return to_svg(loudest, HOP / SAMPLE_RATE, seconds, start, f"{path.name} ({how})")


def to_svg(classes: NDArray[np.int64], step: float, seconds: float, start: float, title: str) -> bytes:
    """Return pitch classes [T], one each `step` seconds, as SVG; the time that is shown begins at `start`.

    C is at the bottom. A class that goes on is one bar, whose tooltip tells its name and time.
    """
    wide = _WIDTH / seconds
    high = _TOP + 12 * _ROW
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 10} {high + 26}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="{_LEFT}" y="20" font-size="14">{escape(title)}</text>',
    ]
    for note, name in enumerate(PITCH_CLASSES):
        top = high - (note + 1) * _ROW
        shade = "#eceff1" if note in _BLACK else "#f8f9fa"
        lines.append(f'<rect x="{_LEFT}" y="{top}" width="{_WIDTH}" height="{_ROW}" fill="{shade}"/>')
        lines.append(f'<text x="{_LEFT - 8}" y="{top + 14}" text-anchor="end">{name}</text>')
    at = 0
    for note, run in itertools.groupby(classes.tolist()):
        first, at = at * step, at + len(list(run))
        last = min(at * step, seconds)
        if last > first:
            x, y, width = _LEFT + first * wide, high - (note + 1) * _ROW + 2, (last - first) * wide
            lines.append(
                f'<rect x="{x:.2f}" y="{y}" width="{width:.2f}" height="{_ROW - 4}" rx="3" fill="#1f6f8b">'
                f"<title>{PITCH_CLASSES[note]}, {start + first:.2f} s</title></rect>"
            )
    every = next((one for one in (1, 2, 5, 10, 30, 60) if seconds / one <= 20), 120)
    for tick in range(-(-int(start * 1000) // (every * 1000)) * every, int(start + seconds) + 1, every):
        x = _LEFT + (tick - start) * wide
        if x >= _LEFT:
            lines.append(f'<path d="M{x:.2f} {_TOP}V{high + 5}" stroke="#b0bec5"/>')
            lines.append(f'<text x="{x:.2f}" y="{high + 20}" text-anchor="middle">{tick} s</text>')
    return "\n".join([*lines, "</svg>\n"]).encode()
