"""The chunks of a WAV file, read back by wavinfo and libsndfile, which know nothing of our code."""

from __future__ import annotations

import io
import re
import struct
from datetime import UTC, datetime
from fractions import Fraction

import numpy as np
import pytest
import soundfile
from wavinfo import WavInfoReader

from musicgen_bridge.request import Signature
from musicgen_bridge.stems.chunks import Chunk, acid, bext, root_note, smpl, with_chunks

NOON = datetime(2026, 1, 31, 12, 30, 5, tzinfo=UTC)


def wav(*extra: Chunk, subtype: str = "PCM_24", frames: int = 101) -> bytes:
    memory = io.BytesIO()
    soundfile.write(memory, np.linspace(-0.5, 0.5, frames), 48_000, format="WAV", subtype=subtype)
    return with_chunks(memory.getvalue(), extra)


def log(data: bytes) -> str:
    """What libsndfile says of a file, chunk by chunk."""
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        return re.sub(" +", " ", file.extra_info)


def names(data: bytes) -> list[bytes]:
    return [chunk.ident for chunk in WavInfoReader(io.BytesIO(data)).main_list]


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("frames", [1, 100, 101])
def test_samples_stay_as_they_were(subtype: str, frames: int):
    plain, extended = wav(subtype=subtype, frames=frames), wav((b"odd ", b"abc"), subtype=subtype, frames=frames)
    assert np.array_equal(soundfile.read(io.BytesIO(plain))[0], soundfile.read(io.BytesIO(extended))[0])
    assert len(extended) % 2 == 0
    assert struct.unpack_from("<I", extended, 4)[0] == len(extended) - 8
    assert not re.search(r"\(should be|unknown marker", log(extended).replace("*** odd : 3 (unknown marker)", ""))


def test_chunks_stand_between_format_and_samples_in_the_order_given():
    data = wav(bext("", NOON), (b"abcd", b"12"), subtype="FLOAT")
    assert names(data) == [b"fmt ", b"bext", b"abcd", b"fact", b"data"]


def test_a_chunk_of_odd_length_hides_none_behind_it():
    data = with_chunks(wav((b"odd ", b"abc")), [(b"next", b"1")])
    assert names(data) == [b"fmt ", b"next", b"odd ", b"data"]


def test_the_time_of_writing_is_nowhere_in_it():
    memory = io.BytesIO()
    soundfile.write(memory, np.zeros(10), 48_000, format="WAV", subtype="FLOAT")
    assert b"PEAK" in memory.getvalue()
    assert b"PEAK" not in with_chunks(memory.getvalue(), [])


def test_acid_tells_tempo_meter_beats_and_key_of_a_loop():
    said = log(wav(acid(Fraction(16), Signature(4, 4), 126.5, "F# minor", loops=True)))
    assert "acid : 24" in said
    for line in ("Loop", "StretchOn", "Root note : 0x42", "Beats : 16", "Meter : 4/4", "Tempo : 126.5"):
        assert line in said, said


@pytest.mark.parametrize(
    ("quarters", "loops", "beats", "kind"),
    [
        (Fraction(14), True, 14, "Loop"),
        (Fraction(7, 2), True, 0, "OneShot"),
        (Fraction(14), False, 0, "OneShot"),
    ],
)
def test_acid_counts_whole_quarter_notes_or_none(quarters: Fraction, loops: bool, beats: int, kind: str):
    said = log(wav(acid(quarters, Signature(7, 8), 90.0, None, loops=loops)))
    for line in (kind, f"Beats : {beats}", "Meter : 7/8", "Tempo : 90", "RootNoteInvalid"):
        assert line in said, said


def test_smpl_loops_the_whole_file_to_its_last_frame():
    data = wav(smpl(101, 48_000, "A major"))
    info = WavInfoReader(io.BytesIO(data)).smpl
    assert info is not None
    assert info.sample_period_ns == 20_833
    assert info.midi_note == 69
    (loop,) = info.sample_loops
    assert (loop.start, loop.end, loop.loop_type, loop.repetition_count) == (0, 100, 0, 0)


def test_bext_tells_what_by_whom_and_when():
    info = WavInfoReader(io.BytesIO(wav(bext("Café loop, 126.5 BPM", NOON)))).bext
    assert info is not None
    assert info.description == "Caf? loop, 126.5 BPM"
    assert info.originator == "musicgen-bridge"
    assert (info.originator_date, info.originator_time) == ("2026-01-31", "12:30:05")
    assert info.version == 1


def test_a_long_description_is_cut_at_256():
    name, data = bext("x" * 1_000, NOON)
    assert (name, len(data)) == (b"bext", 602)
    info = WavInfoReader(io.BytesIO(wav((name, data)))).bext
    assert info is not None
    assert info.description == "x" * 256


@pytest.mark.parametrize(
    ("key", "note"),
    [
        ("C major", 60),
        ("F# minor", 66),
        ("Bb major", 70),
        ("B minor", 71),
        ("Cb major", 71),
        ("B# minor", 60),
        (None, None),
    ],
)
def test_root_note(key: str | None, note: int | None):
    assert root_note(key) == note
