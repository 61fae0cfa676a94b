"""The chunks by which DAWs and samplers know a WAV file's tempo, loop and origin: acid, smpl and bext."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from datetime import datetime
from fractions import Fraction

from riffy import BextMetadata

from musicgen_bridge.pitch import tonic
from musicgen_bridge.request import Signature

Chunk = tuple[bytes, bytes | memoryview]
"""A RIFF chunk: its name of four letters and its payload."""

MIDDLE_C = 60
_ONE_SHOT, _ROOT_SET, _STRETCH = 0x01, 0x02, 0x04


def with_chunks(wav: bytes, extra: Sequence[Chunk]) -> bytes:
    """Return the WAV file with more chunks between its `fmt ` and its samples, where EBU Tech 3285 wants `bext`.

    `PEAK` goes: libsndfile puts the time of writing there, and the same take must give the same bytes. riffy writes
    chunks too, but takes only integer samples and only whole files on the disk.
    """
    first, *rest = _split(wav)
    chunks = [first, *extra, *(chunk for chunk in rest if chunk[0] != b"PEAK")]
    # Size and payload, padded to an even length; the outer size counts all but "RIFF" and itself.
    body = [
        part for name, data in chunks for part in (name, struct.pack("<I", len(data)), data, b"\0" * (len(data) % 2))
    ]
    return b"".join([b"RIFF", struct.pack("<I", 4 + sum(map(len, body))), b"WAVE", *body])


def _split(wav: bytes) -> list[Chunk]:
    chunks: list[Chunk] = []
    at, whole = 12, memoryview(wav)
    while at + 8 <= len(wav):
        name, size = struct.unpack_from("<4sI", wav, at)
        chunks.append((name, whole[at + 8 : at + 8 + size]))
        at += 8 + size + size % 2
    return chunks


def root_note(key: str | None) -> int | None:
    """Return the MIDI note of a key's tonic at or above middle C; None without a key. "F# minor" is 66."""
    return MIDDLE_C + tonic(key) if key else None


def acid(quarters: Fraction, signature: Signature, bpm: float, key: str | None, *, loops: bool) -> Chunk:
    """Return the chunk by which ACID, Live, Reaper and others warp a loop.

    It counts whole quarter notes at `bpm` a minute. A length that is none (a bar of 7/8), like a stem that does not
    loop, is marked as a one-shot instead: a rounded count would have the DAW stretch it.

    Layout as libsndfile reads it (`wav_read_acid_chunk`): flags, root note, 2 unknown, beats, meter, tempo.
    """
    root = root_note(key)
    loops = loops and quarters.denominator == 1
    flags = (_STRETCH if loops else _ONE_SHOT) | (_ROOT_SET if root is not None else 0)
    beats = int(quarters) if loops else 0
    root = MIDDLE_C if root is None else root
    return b"acid", struct.pack("<IHHfIHHf", flags, root, 0x8000, 0.0, beats, signature.unit, signature.beats, bpm)


def smpl(frames: int, sample_rate: int, key: str | None) -> Chunk:
    """Return the chunk by which samplers loop the whole file for ever; its last frame is inclusive.

    Layout: RIFF MIDI sample semantics, Multimedia Programming Interface and Data Specifications, new media types 1994.
    """
    root = root_note(key)
    period = round(1e9 / sample_rate)  # nanoseconds
    head = (0, 0, period, MIDDLE_C if root is None else root, 0, 0, 0, 1, 0)
    loop = (0, 0, 0, frames - 1, 0, 0)
    return b"smpl", struct.pack("<9I6I", *head, *loop)


def bext(description: str, created: datetime) -> Chunk:
    """Return the Broadcast Wave chunk (EBU Tech 3285): ASCII, of which 256 characters describe the stem."""
    data = BextMetadata(
        description=description.encode("ascii", "replace").decode(),
        originator="musicgen-bridge",
        origination_date=f"{created:%Y-%m-%d}",
        origination_time=f"{created:%H:%M:%S}",
        version=1,
    )
    return b"bext", data.to_chunk_bytes()
