"""A strict reader of Max for Live devices, written from the format's description and not from what builds them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1904, 1, 1, tzinfo=UTC)


@dataclass
class Reader:
    """Bytes that are taken from the front, each exactly once."""

    data: bytes
    at: int = 0

    def take(self, count: int) -> bytes:
        assert 0 <= count <= len(self.data) - self.at, "the file ends too early"
        self.at += count
        return self.data[self.at - count : self.at]

    def expect(self, wanted: bytes) -> None:
        found = self.take(len(wanted))
        assert found == wanted, f"{found!r} stands where {wanted!r} should"

    def number(self, order: str, size: int = 4) -> int:
        return int.from_bytes(self.take(size), order)

    @property
    def ended(self) -> bool:
        return self.at == len(self.data)


@dataclass
class Device:
    """What a file holds: its kind, the patcher, and, if frozen, the files in it by name."""

    kind: str
    meta: int
    patcher: dict
    files: dict[str, bytes]
    modified: set[datetime]

    @property
    def frozen(self) -> bool:
        return bool(self.files)


def read(data: bytes) -> Device:
    """Return the device in the bytes of an .amxd file; an AssertionError says what is wrong with them."""
    reader = Reader(data)
    reader.expect(b"ampf")
    assert reader.number("little") == 4
    kind = reader.take(4).decode("ascii")
    assert kind in ("aaaa", "mmmm", "iiii"), "neither audio effect, MIDI effect nor instrument"
    reader.expect(b"meta")
    assert reader.number("little") == 4
    meta = reader.number("little")
    reader.expect(b"ptch")
    patch = reader.take(reader.number("little"))
    assert reader.ended, "bytes behind the patch"
    if patch[:4] != b"mx@c":
        return Device(kind, meta, _patcher(patch), {}, set())
    main, files, modified = _frozen(patch)
    return Device(kind, meta, _patcher(main), files, modified)


def _patcher(data: bytes) -> dict:
    assert data.endswith(b"\0") and data.count(b"\0") == 1, "the patcher does not end in one NUL"
    return json.loads(data[:-1])["patcher"]


def _frozen(patch: bytes) -> tuple[bytes, dict[str, bytes], set[datetime]]:
    reader = Reader(patch)
    reader.expect(b"mx@c")
    assert reader.number("big") == 16, "the header's length"
    directory = Reader(patch, reader.number("big", 8))
    directory.expect(b"dlst")
    assert directory.number("big") == len(patch) - directory.at + 8, "the directory's length"
    main, files, modified, end = b"", {}, set(), 16
    while not directory.ended:
        start = directory.at
        directory.expect(b"dire")
        entry = _fields(Reader(directory.take(directory.number("big") - 8)))
        assert directory.at > start
        offset, size = entry["of32"], entry["sz32"]
        assert offset == end, "a gap between the files"
        end = offset + size
        content = patch[offset:end]
        name = entry["fnam"].rstrip(b"\0").decode()
        modified.add(EPOCH + timedelta(seconds=entry["mdat"]))
        if entry["flag"] == 0x11:
            assert not main and entry["type"] == b"JSON"
            main = content
        else:
            assert entry["flag"] == 0 and name not in files
            files[name] = content
    assert end == int.from_bytes(patch[8:16], "big"), "a gap before the directory"
    return main, files, modified


def _fields(reader: Reader) -> dict:
    fields: dict = {}
    while not reader.ended:
        name = reader.take(4).decode("ascii")
        content = reader.take(reader.number("big") - 8)
        assert name not in fields
        fields[name] = content if name in ("type", "fnam") else int.from_bytes(content, "big")
    assert set(fields) == {"type", "fnam", "sz32", "of32", "vers", "flag", "mdat"}
    assert len(fields["fnam"]) % 4 == 0 and fields["fnam"].endswith(b"\0")
    return fields
