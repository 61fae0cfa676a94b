"""Builds the Max for Live device and the Max patch from their sources: python max_for_live/build.py [FOLDER]"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import patches

HERE = Path(__file__).parent
NAME = "musicgen-bridge"
UNFROZEN, FROZEN = 1, 7
"""What the container's meta chunk says."""
MAIN_PATCHER = 0x11
"""The flag of the directory's first entry."""
MODIFIED = 3_660_681_600
"""2020-01-01 in seconds since 1904, for every file: the same sources give the same bytes."""


def outputs() -> dict[str, bytes]:
    """Return every built file by its name; the unfrozen device and the patch need the scripts beside them."""
    scripts = {name: (HERE / name).read_bytes() for name in (patches.CLIENT, patches.LIVE)}
    device = patches.device()
    return {
        f"{NAME}.maxpat": text(patches.plain()) + b"\n",
        f"{NAME}-unfrozen.amxd": container(UNFROZEN, text(device) + b"\n\0"),
        f"{NAME}.amxd": container(FROZEN, frozen(f"{NAME}.amxd", text(device) + b"\n\0", scripts)),
    }


def text(patcher: Mapping[str, Any]) -> bytes:
    """Return a patcher as the JSON that Max writes, indented by tabs."""
    return json.dumps(patcher, indent="\t").encode()


def container(meta: int, patch: bytes) -> bytes:
    """Return an audio effect: chunks of a name, a little-endian length and the content."""
    chunks = ((b"ampf", b"aaaa"), (b"meta", struct.pack("<I", meta)), (b"ptch", patch))
    return b"".join(name + struct.pack("<I", len(content)) + content for name, content in chunks)


def frozen(name: str, patch: bytes, scripts: Mapping[str, bytes]) -> bytes:
    """Return a frozen patch: the files one after the other, then a directory of them; all numbers big-endian."""
    files = [(name, b"JSON", MAIN_PATCHER, patch)]
    files += [(script, b"TEXT", 0, content) for script, content in scripts.items()]
    body, directory = b"", b""
    for file, kind, flag, content in files:
        directory += entry(file, kind, flag, len(content), 16 + len(body))
        body += content
    header = b"mx@c" + struct.pack(">IQ", 16, 16 + len(body))
    return header + body + field(b"dlst", directory)


def entry(name: str, kind: bytes, flag: int, size: int, offset: int) -> bytes:
    """Return a file's entry in the directory; `offset` counts from the start of the frozen patch."""
    padded = name.encode() + b"\0" * (4 - len(name) % 4)
    numbers = {b"sz32": size, b"of32": offset, b"vers": 0, b"flag": flag, b"mdat": MODIFIED}
    fields = [field(b"type", kind), field(b"fnam", padded)]
    fields += [field(key, struct.pack(">I", value)) for key, value in numbers.items()]
    return field(b"dire", b"".join(fields))


def field(name: bytes, content: bytes) -> bytes:
    """Return a field: its name, its whole length, its content."""
    return name + struct.pack(">I", 8 + len(content)) + content


def main(folder: Path) -> None:
    """Write every file into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in outputs().items():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
