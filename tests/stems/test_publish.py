"""A take becomes a stem in a real project folder, whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from musicgen_bridge.errors import DiskError, InternalError, PathError
from musicgen_bridge.request import Part
from musicgen_bridge.roots import Roots
from musicgen_bridge.stems.manifest import Take, read_take
from musicgen_bridge.stems.publish import check_space, publish, publish_all, space_for
from musicgen_bridge.stems.read import read_audio

MakeTake = Callable[..., Take]
Tone = Callable[..., np.ndarray]
NAME = "dusty-boom-bap-break_126.5bpm_F#min_1bar_seed42"


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_stem_with_its_sidecar_and_its_raw_take(project: Path, roots: Roots, make_take: MakeTake, tone: Tone):
    take = make_take()
    audio = tone(take.request.frames)
    stem = publish(audio, take, roots=roots, raw=(tone(70_000, 1), 32_000))
    assert stem.path == str(project / "MusicGen" / f"{NAME}.wav")
    assert (stem.index, stem.total, stem.seed, stem.bpm) == (0, 1, 42, 126.5)
    assert (stem.frames, stem.sample_rate) == (91_067, 48_000)  # floor(4 * 60 * 48000 / 126.5 + 1/2)
    assert files(project / "MusicGen") == {f"{NAME}.wav", f"{NAME}.json", f".raw/{NAME}.flac"}
    recording = read_audio(roots.readable(stem.path), max_seconds=60.0)
    assert recording.audio.shape == (2, stem.frames)
    assert np.abs(recording.audio.T - audio).max() <= 2.0**-24
    assert read_take(Path(stem.path).with_suffix(".json")) == take
    assert soundfile.info(project / "MusicGen" / ".raw" / f"{NAME}.flac").frames == 70_000


@pytest.mark.parametrize(("kind", "bits"), [("wav", 16), ("flac", 24), ("aiff", 24)])
def test_every_format_has_its_suffix(
    project: Path, roots: Roots, make_take: MakeTake, tone: Tone, kind: str, bits: int
):
    take = make_take(format=kind, bits=bits)
    stem = publish(tone(take.request.frames), take, roots=roots)
    assert files(project / "MusicGen") == {f"{NAME}.{kind}", f"{NAME}.json"}
    assert soundfile.info(stem.path).format == kind.upper()


def test_the_same_take_again_stands_beside_the_first_and_is_the_same(
    project: Path, roots: Roots, make_take: MakeTake, tone: Tone
):
    take = make_take(bits=16)
    first, second = (publish(tone(take.request.frames), take, roots=roots).path for _ in range(2))
    assert Path(second).name == f"{NAME}-2.wav"
    assert Path(first).read_bytes() == Path(second).read_bytes()
    assert len(files(project / "MusicGen")) == 4


def test_stems_in_parts_stand_side_by_side(project: Path, roots: Roots, make_take: MakeTake, tone: Tone):
    parts = (Part("drums", "tight break"), Part("bass", "sub"))
    for index, part in enumerate(parts):
        take = make_take(parts=parts, part=part, index=index, total=2)
        publish(tone(take.request.frames), take, roots=roots)
    assert {name for name in files(project / "MusicGen") if name.endswith(".wav")} == {
        "tight-break_drums_126.5bpm_F#min_1bar_seed42.wav",
        "sub_bass_126.5bpm_F#min_1bar_seed42.wav",
    }


def test_nothing_of_the_users_is_touched(project: Path, roots: Roots, make_take: MakeTake, tone: Tone):
    folder = project / "MusicGen"
    (folder / ".raw").mkdir(parents=True)
    mine = [folder / f"{NAME}.wav", folder / f"{NAME}-2.json", folder / ".raw" / f"{NAME}-3.flac"]
    for path in mine:
        path.write_bytes(b"mine")
    take = make_take()
    stem = publish(tone(take.request.frames), take, roots=roots, raw=(tone(100), 32_000))
    assert Path(stem.path).name == f"{NAME}-4.wav"
    assert all(path.read_bytes() == b"mine" for path in mine)


@pytest.mark.parametrize("difference", [-1, 1, -91_067])
def test_a_length_that_is_not_exact_is_our_mistake(
    project: Path, roots: Roots, make_take: MakeTake, tone: Tone, difference: int
):
    take = make_take()
    with pytest.raises(InternalError, match=f"{91_067 + difference} frames; 91067"):
        publish(tone(take.request.frames + difference), take, roots=roots)
    assert files(project) == set()


def test_a_take_that_is_not_finite_is_our_mistake(project: Path, roots: Roots, make_take: MakeTake, tone: Tone):
    take = make_take()
    audio = tone(take.request.frames)
    audio[5, 1] = np.nan
    with pytest.raises(InternalError, match="all finite"):
        publish(audio, take, roots=roots)
    assert files(project) == set()


@pytest.mark.parametrize(
    ("broken", "error", "says"),
    [
        ("outside", PathError, "outside of the allowed folders"),
        ("missing", PathError, "does not exist"),
        ("link", PathError, "leads out of the project"),
        ("raw link", PathError, "leads out of the project"),
        ("file", PathError, "is not a folder"),
    ],
)
def test_a_project_that_cannot_be_written_below(
    project: Path, tmp_path: Path, roots: Roots, make_take: MakeTake, tone: Tone, broken: str, error: Any, says: str
):
    outside = tmp_path.resolve() / "outside"
    outside.mkdir()
    take = make_take(project={"outside": str(outside), "missing": str(project / "x")}.get(broken, str(project)))
    if broken == "link":
        (project / "MusicGen").symlink_to(outside, target_is_directory=True)
    if broken == "raw link":
        (project / "MusicGen").mkdir()
        (project / "MusicGen" / ".raw").symlink_to(outside, target_is_directory=True)
    if broken == "file":
        (project / "MusicGen").write_bytes(b"")
    with pytest.raises(error, match=says):
        publish(tone(take.request.frames), take, roots=roots, raw=(tone(100), 32_000))
    assert files(outside) == set()
    assert files(project) <= {"MusicGen"}


def test_a_project_without_the_right_to_write(unprivileged: Path, make_take: MakeTake, tone: Tone):
    project = unprivileged / "song"
    project.mkdir()
    project.chmod(0o555)
    take = make_take(project=str(project))
    with pytest.raises(DiskError, match="may not be written; allow it or choose another project folder"):
        publish(tone(take.request.frames), take, roots=Roots.of([unprivileged]))


FILL_UP = """
import resource, sys
from datetime import UTC, datetime
from pathlib import Path
import numpy as np
from musicgen_bridge.errors import DiskError
from musicgen_bridge.roots import Roots
from musicgen_bridge.stems.manifest import read_take
from musicgen_bridge.stems.publish import publish
take = read_take(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
audio = np.full((take.request.frames, 2), 0.1, np.float32)
try: publish(audio, take, roots=Roots.of([take.request.project]), raw=(audio[:1000], 32_000))
except DiskError as error: print(error.text)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit to the size of files")
def test_a_disk_that_fills_up_half_way_keeps_nothing(project: Path, roots: Roots, make_take: MakeTake, tone: Tone):
    """Raw take and sidecar go through, the stem does not: none of the three stays."""
    take = make_take()
    stem = publish(tone(take.request.frames), take, roots=roots)
    sidecar = Path(stem.path).with_suffix(".json")
    before = files(project)
    command = [sys.executable, "-c", FILL_UP, str(sidecar)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "the disk is full" in done.stdout
    assert files(project) == before


def test_of_several_stems_all_appear_or_none(project: Path, roots: Roots, make_take: MakeTake, tone: Tone):
    kept = publish(tone(make_take().request.frames), make_take(), roots=roots, raw=(tone(100), 32_000))
    before = files(project)
    takes = [make_take(variations=3, variation=index, index=index, total=3) for index in range(3)]
    stems = [(tone(take.request.frames), take, (tone(100), 32_000)) for take in takes]
    last, take, raw = stems[2]
    with pytest.raises(InternalError):
        publish_all([*stems[:2], (last * np.nan, take, raw)], roots=roots)
    assert files(project) == before and Path(kept.path).is_file()
    assert [stem.index for stem in publish_all(stems, roots=roots)] == [0, 1, 2]
    assert len(files(project)) == len(before) + 9


def test_space_is_checked_against_the_real_disk(project: Path):
    check_space(project, 1)
    with pytest.raises(DiskError, match=r"need 1000000000000000 MB and \d+ MB are free at .*; free some space"):
        check_space(project, 10**21)
    with pytest.raises(PathError, match="is gone"):
        check_space(project / "gone", 1)


@pytest.mark.parametrize("locked", ["song", "song/MusicGen"])
def test_a_folder_that_may_not_be_written_is_told_before_the_render(unprivileged: Path, locked: str):
    (unprivileged / "song" / "MusicGen").mkdir(parents=True)
    check_space(unprivileged / "song", 1)
    if locked == "song":
        (unprivileged / "song" / "MusicGen").rmdir()
    (unprivileged / locked).chmod(0o555)
    with pytest.raises(DiskError, match=f"{locked} may not be written; allow it or choose another project folder"):
        check_space(unprivileged / "song", 1)


@pytest.mark.parametrize("changes", [{}, {"bits": 32, "bars": 8.0}, {"format": "flac"}, {"variations": 3}])
def test_a_request_never_needs_more_space_than_said(
    project: Path, roots: Roots, make_take: MakeTake, changes: dict[str, Any]
):
    """Noise is what FLAC can't make smaller."""
    take = make_take(**changes)
    noise = np.random.default_rng(0).uniform(-1, 1, (take.request.frames, 2)).astype(np.float32)
    for index in range(take.request.variations):
        take = make_take(index=index, variation=index, total=take.request.variations, **changes)
        publish(noise, take, roots=roots, raw=(noise, 32_000))
    used = sum((project / name).stat().st_size for name in files(project))
    assert used <= space_for(take.request)
