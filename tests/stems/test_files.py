"""Files appear complete or not at all, and never in the place of another: with real processes, disks and rights."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from musicgen_bridge.errors import DiskError, PathError
from musicgen_bridge.stems.files import NewFile, appear, disk_errors, make_folder

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX only")


def pair(folder: Path, text: bytes = b"stem") -> list[NewFile]:
    return [NewFile(folder, ".json", b"{}"), NewFile(folder, ".wav", text)]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(params=["links", "no links"])
def any_disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to publish: the second is a disk that answers link(2) as exFAT does."""
    if request.param == "no links":

        def refuse(*args: object, **named: object) -> None:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr(os, "link", refuse)


@pytest.mark.usefixtures("any_disk")
class TestAppear:
    def test_all_appear_with_their_content(self, tmp_path: Path):
        paths = appear("loop_126.5bpm", pair(tmp_path, b"samples"))
        assert [path.name for path in paths] == ["loop_126.5bpm.json", "loop_126.5bpm.wav"]
        assert paths[1].read_bytes() == b"samples"
        assert names(tmp_path) == ["loop_126.5bpm.json", "loop_126.5bpm.wav"]

    def test_a_taken_name_gets_a_number(self, tmp_path: Path):
        for number in range(12):
            appear("loop", pair(tmp_path, b"%d" % number))
        assert (tmp_path / "loop.wav").read_bytes() == b"0"
        assert [(tmp_path / f"loop-{number + 1}.wav").read_bytes() for number in range(1, 12)] == [
            b"%d" % number for number in range(1, 12)
        ]
        assert len(names(tmp_path)) == 24

    @pytest.mark.parametrize("taken", ["loop.wav", "loop.json"])
    def test_one_taken_name_moves_all_of_them(self, tmp_path: Path, taken: str):
        (tmp_path / taken).write_bytes(b"mine")
        assert [path.name for path in appear("loop", pair(tmp_path))] == ["loop-2.json", "loop-2.wav"]
        assert (tmp_path / taken).read_bytes() == b"mine"
        assert names(tmp_path) == sorted([taken, "loop-2.json", "loop-2.wav"])

    def test_a_folder_or_a_dangling_link_takes_a_name_too(self, tmp_path: Path):
        (tmp_path / "loop.wav").mkdir()
        (tmp_path / "loop-2.wav").symlink_to(tmp_path / "elsewhere")
        assert appear("loop", pair(tmp_path))[1].name == "loop-3.wav"
        assert not (tmp_path / "elsewhere").exists()

    def test_who_looks_at_a_new_file_does_not_keep_it_from_appearing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        """As virus scanners do; able to fail on Windows alone, which renames no open file."""
        sync = os.fsync

        def look(descriptor: int) -> None:
            sync(descriptor)
            for part in tmp_path.glob(".*.part"):
                threading.Timer(0.3, part.open("rb").close).start()

        monkeypatch.setattr(os, "fsync", look)
        assert [path.read_bytes() for path in appear("loop", pair(tmp_path))] == [b"{}", b"stem"]

    def test_a_path_that_is_too_long_is_told_as_that(self, tmp_path: Path):
        with pytest.raises(PathError, match="too long; choose a project folder with a shorter one"):
            appear("x" * 300, pair(tmp_path))
        assert names(tmp_path) == []

    def test_so_is_one_that_windows_calls_missing(self, tmp_path: Path):
        error = FileNotFoundError(errno.ENOENT, "The system cannot find the path specified")
        with pytest.raises(PathError, match="too long"), disk_errors(tmp_path):
            raise error
        with pytest.raises(PathError, match="is gone"), disk_errors(tmp_path / "gone"):
            raise error

    def test_files_in_two_folders_share_the_name(self, tmp_path: Path):
        (tmp_path / "raw").mkdir()
        (tmp_path / "raw" / "loop.flac").write_bytes(b"an older take's")
        files = [NewFile(tmp_path / "raw", ".flac", b"raw"), *pair(tmp_path)]
        assert {path.stem for path in appear("loop", files)} == {"loop-2"}
        assert (tmp_path / "raw" / "loop.flac").read_bytes() == b"an older take's"

    def test_many_threads_get_a_name_each(self, tmp_path: Path):
        with ThreadPoolExecutor(8) as pool:
            paths = list(pool.map(lambda number: appear("loop", pair(tmp_path, b"%d" % number))[1], range(40)))
        assert [path.read_bytes() for path in paths] == [b"%d" % number for number in range(40)]
        assert len(names(tmp_path)) == 80

    def test_a_failure_in_between_takes_everything_back(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        """The folder of the last file goes away after the others were staged and the first one had its name."""
        gone = tmp_path / "gone"
        gone.mkdir()
        files = [NewFile(tmp_path, ".json", b"{}"), NewFile(gone, ".wav", b"stem")]
        sync, count = os.fsync, []

        def vanish(descriptor: int) -> None:
            sync(descriptor)
            count.append(descriptor)
            if len(count) == 2:  # both are staged
                for left in gone.iterdir():
                    left.unlink()
                gone.rmdir()

        monkeypatch.setattr(os, "fsync", vanish)
        with pytest.raises(PathError, match="is gone; choose a project folder that exists"):
            appear("loop", files)
        assert names(tmp_path) == []


WRITER = """
import sys
from pathlib import Path
from musicgen_bridge.stems.files import NewFile, appear
folder, letter, rounds = Path(sys.argv[1]), sys.argv[2].encode(), int(sys.argv[3])
print("ready", flush=True)
for _ in range(rounds):
    path = appear("loop", [NewFile(folder, ".json", letter), NewFile(folder, ".wav", letter * 300_000)])[1]
    print(path.name, flush=True)
"""


def writer(folder: Path, letter: str, rounds: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(folder), letter, str(rounds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_several_processes_never_share_a_name(tmp_path: Path):
    writers = [writer(tmp_path, letter, 25) for letter in "abcd"]
    given = [line for one in writers for line in one.communicate()[0].split() if line != "ready"]
    assert len(set(given)) == len(given) == 100
    assert len(names(tmp_path)) == 200
    for stem in tmp_path.glob("*.wav"):
        content = stem.read_bytes()
        assert content == stem.with_suffix(".json").read_bytes() * 300_000


@posix
def test_a_killed_process_leaves_no_half_file_in_sight(tmp_path: Path):
    for letter in "abcde":
        process = writer(tmp_path, letter, 100_000)
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.readline()  # at least one stem is there, others are under way
        process.send_signal(signal.SIGKILL)
        process.communicate()
    stems = [path for path in tmp_path.glob("*.wav") if not path.name.startswith(".")]
    assert len(stems) >= 5
    for stem in stems:
        assert stem.read_bytes() == stem.with_suffix(".json").read_bytes() * 300_000


def test_what_a_killed_process_left_is_cleared_away_once_it_is_old(tmp_path: Path):
    old, young, other = tmp_path / ".0a.part", tmp_path / ".0b.part", tmp_path / ".settings"
    for path in (old, young, other):
        path.write_bytes(b"half")
    an_age_ago = time.time() - 7_200
    os.utime(old, (an_age_ago, an_age_ago))
    os.utime(other, (an_age_ago, an_age_ago))
    appear("loop", pair(tmp_path))
    assert names(tmp_path) == sorted([".0b.part", ".settings", "loop.json", "loop.wav"])


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if sys.platform != "linux" or os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a disk")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_says_so_and_keeps_nothing(tiny_disk: Path):
    appear("small", pair(tiny_disk, b"x" * 20_000))
    with pytest.raises(DiskError, match=r"the disk is full at .*; free some space"):
        appear("large", pair(tiny_disk, b"x" * 60_000))
    assert names(tiny_disk) == ["small.json", "small.wav"]
    appear("small", pair(tiny_disk, b"x" * 20_000))
    assert names(tiny_disk) == ["small-2.json", "small-2.wav", "small.json", "small.wav"]


@posix
def test_a_write_that_the_system_cuts_off_keeps_nothing(tmp_path: Path):
    """The largest file allowed is 10 kB: write(2) fails half-way, as on a full disk, without being root."""
    import resource  # POSIX only

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(DiskError, match="full"):
            appear("loop", pair(tmp_path, b"x" * 50_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(tmp_path) == []


def test_a_folder_that_may_not_be_written(unprivileged: Path):
    folder = unprivileged / "project"
    folder.mkdir()
    folder.chmod(0o555)
    with pytest.raises(DiskError, match="may not be written; allow it or choose another"):
        appear("loop", pair(folder))
    with pytest.raises(DiskError, match="may not be written"):
        make_folder(folder, "MusicGen")
    assert names(folder) == []


def test_a_folder_that_is_gone(tmp_path: Path):
    with pytest.raises(PathError, match="is gone"):
        appear("loop", pair(tmp_path / "gone"))
    with pytest.raises(PathError, match="is gone"):
        make_folder(tmp_path / "gone", "MusicGen")


def test_any_other_failure_is_a_disk_error(tmp_path: Path):
    with pytest.raises(DiskError, match=r"failed .*check the disk"), disk_errors(tmp_path):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_make_folder_makes_and_finds(tmp_path: Path):
    tmp_path = tmp_path.resolve()
    assert make_folder(tmp_path, "MusicGen") == make_folder(tmp_path, "MusicGen") == tmp_path / "MusicGen"
    assert (tmp_path / "MusicGen").is_dir()


def test_a_folder_that_leads_out_is_refused(tmp_path: Path):
    project, outside = tmp_path.resolve() / "project", tmp_path.resolve() / "outside"
    project.mkdir()
    outside.mkdir()
    (project / "MusicGen").symlink_to(outside, target_is_directory=True)
    with pytest.raises(PathError, match="leads out of the project; replace the link"):
        make_folder(project, "MusicGen")
    (project / "kept").mkdir()
    (project / "inside").symlink_to(project / "kept", target_is_directory=True)
    assert make_folder(project, "inside") == project / "kept"


def test_a_file_or_a_dangling_link_in_the_way_of_the_folder(tmp_path: Path):
    tmp_path = tmp_path.resolve()
    (tmp_path / "MusicGen").write_bytes(b"")
    (tmp_path / "dangling").symlink_to(tmp_path.parent / "nowhere")
    for name in ("MusicGen", "dangling"):
        with pytest.raises(PathError, match="is not a folder"):
            make_folder(tmp_path, name)
    assert not (tmp_path.parent / "nowhere").exists()
