"""The allowed roots, with real files, links, pipes, sockets and devices."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicgen_bridge.errors import PathError
from musicgen_bridge.roots import Roots, check_text, on_drive_of, said_as, shown
from tests.rights import unprivileged

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX file kinds")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "music"
    (folder / "song").mkdir(parents=True)
    (folder / "song" / "take.wav").write_bytes(b"sound")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key.wav").write_bytes(b"secret")
    return folder


@pytest.fixture
def roots(root: Path) -> Roots:
    return Roots.of([root])


@pytest.fixture
def locked_folder() -> Iterator[Path]:
    """A folder that this process may not search."""
    with tempfile.TemporaryDirectory() as base:
        Path(base).chmod(0o755)
        folder = Path(base).resolve() / "locked"
        folder.mkdir()
        (folder / "take.wav").write_bytes(b"sound")
        folder.chmod(0)
        try:
            with unprivileged():
                yield folder
        finally:
            folder.chmod(0o700)


def test_a_file_and_a_folder_below_a_root_are_returned_resolved(root: Path, roots: Roots):
    (root / "alias").symlink_to(root / "song", target_is_directory=True)
    assert roots.project(str(root / "alias")) == root / "song"
    assert roots.readable(str(root / "alias" / "take.wav")) == root / "song" / "take.wav"
    assert roots.project(str(root)) == root


def test_several_roots_and_one_that_does_not_exist(root: Path, tmp_path: Path):
    roots = Roots.of([tmp_path / "unplugged drive", tmp_path / "secret", root])
    assert roots.project(str(root / "song")) == root / "song"
    assert roots.readable(str(tmp_path / "secret" / "key.wav")).read_bytes() == b"secret"


def test_without_roots_nothing_is_allowed(root: Path):
    with pytest.raises(PathError, match="outside"):
        Roots.of([]).project(str(root))


def test_home_is_expanded_in_the_settings_but_not_from_the_wire(root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(root))
    monkeypatch.setenv("USERPROFILE", str(root))
    roots = Roots.of(["~"])
    assert roots == (root,)
    with pytest.raises(PathError, match="not absolute"):
        roots.project("~/song")


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("", "not absolute"),
        ("song/take.wav", "not absolute"),
        ("{root}/song/../song/take.wav", r"'\.\.'"),
        ("{root}/../secret/key.wav", r"'\.\.'"),
        ("{root}/song/take\0.wav", "NUL"),
        ("{root}/song/" + "x" * 256, "too long"),
        ("{root}/" + "x/" * 2100, "too long"),
        ("{root}/song/missing.wav", "does not exist"),
        ("{root}/song/take.wav/inside", "cannot be followed"),
        ("{root}/song", "plain file"),
        ("{root}/../secret", r"'\.\.'"),
        ("{outside}/secret/key.wav", "outside"),
        ("{root}/\ud800.wav", "cannot be followed|does not exist"),
    ],
)
def test_a_bad_file_is_refused_with_what_to_do(root: Path, roots: Roots, path: str, says: str):
    with pytest.raises(PathError, match=says) as caught:
        roots.readable(path.format(root=root, outside=root.parent))
    assert ";" in caught.value.text or "check" in caught.value.text


@pytest.mark.parametrize("path", ["{root}/song/take.wav", "{root}/missing", "{root}/link-out", "relative"])
def test_a_bad_folder_is_refused(root: Path, roots: Roots, path: str):
    (root / "link-out").symlink_to(root.parent / "secret", target_is_directory=True)
    with pytest.raises(PathError):
        roots.project(path.format(root=root))


def test_a_root_whose_name_only_begins_alike_does_not_count(root: Path, roots: Roots):
    neighbour = root.with_name("music-of-others")
    neighbour.mkdir()
    with pytest.raises(PathError, match="outside"):
        roots.project(str(neighbour))


@pytest.mark.parametrize("link", ["file", "folder", "chain", "relative"])
def test_a_link_that_leads_out_is_refused(root: Path, roots: Roots, link: str):
    secret = root.parent / "secret"
    (root / "file").symlink_to(secret / "key.wav")
    (root / "folder").symlink_to(secret, target_is_directory=True)
    (root / "chain").symlink_to(root / "file")
    (root / "relative").symlink_to(Path("..") / "secret" / "key.wav")
    path = root / link / "key.wav" if link == "folder" else root / link
    assert path.read_bytes() == b"secret"
    with pytest.raises(PathError, match="outside"):
        roots.readable(str(path))


def test_a_loop_of_links_is_refused(root: Path, roots: Roots):
    (root / "a").symlink_to(root / "b")
    (root / "b").symlink_to(root / "a")
    with pytest.raises(PathError, match="cannot be followed"):
        roots.readable(str(root / "a"))


@posix
def test_a_pipe_a_socket_and_a_device_are_not_files(root: Path, roots: Roots, monkeypatch: pytest.MonkeyPatch):
    os.mkfifo(root / "pipe.wav")
    (root / "device.wav").symlink_to("/dev/zero")
    monkeypatch.chdir(root)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.wav")
        for name in ("pipe.wav", "socket.wav"):
            with pytest.raises(PathError, match="plain file"):
                roots.readable(str(root / name))
    with pytest.raises(PathError, match="outside"):
        roots.readable(str(root / "device.wav"))
    with pytest.raises(PathError, match="plain file"):
        Roots.of(["/dev"]).readable("/dev/zero")


@posix
def test_nothing_is_opened(root: Path):
    """An audit hook sees every open of the interpreter; a process of its own, as hooks stay for good."""
    script = (
        "import sys; from musicgen_bridge.roots import Roots; seen = []\n"
        "sys.addaudithook(lambda event, args: seen.append(args[0]) if event == 'open' else None)\n"
        "roots = Roots.of([sys.argv[1]])\n"
        "roots.project(sys.argv[1]); roots.readable(sys.argv[1] + '/song/take.wav'); print(seen)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(root)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_folder_that_may_not_be_searched(locked_folder: Path):
    with pytest.raises(PathError, match="may not be read"):
        Roots.of([locked_folder.parent]).readable(str(locked_folder / "take.wav"))


@pytest.mark.parametrize(
    "path",
    [
        r"C:\Music\con",
        r"C:\Music\NUL.wav",
        r"C:\Music\com1\take.wav",
        r"C:\Music\take.wav:stream",
        r"C:\Music\..\secret",
        r"Music\take.wav",
        r"\Music\take.wav",
        r"C:take.wav",
    ],
)
def test_windows_names_and_drives(path: str):
    with pytest.raises(PathError):
        check_text(path, PureWindowsPath)


@pytest.mark.parametrize(
    ("path", "same"),
    [
        (r"c:\music\take.wav", True),
        (r"D:\take.wav", False),
        (r"\\studio\takes\song\take.wav", True),
        (r"\\STUDIO\Takes\take.wav", True),
        (r"\\elsewhere\takes\take.wav", False),
        (r"\\?\C:\music\take.wav", False),
        (r"\\.\C:\music\take.wav", False),
    ],
)
def test_another_drive_or_share_of_windows_is_told_by_its_name(path: str, same: bool):
    roots = [PureWindowsPath(r"C:\Music"), PureWindowsPath(r"\\studio\takes\song")]
    assert on_drive_of(PureWindowsPath(path), roots) == same


def test_a_root_on_a_drive_of_windows_that_stands_for_another_place_may_be_said_both_ways():
    named, share = PureWindowsPath(r"Z:\Songs"), PureWindowsPath(r"\\studio\takes\Songs")
    assert said_as(named, share) == (named, share)
    assert all(on_drive_of(said, said_as(named, share)) for said in (named / "a.wav", share / "a.wav"))
    assert said_as(PureWindowsPath(r"c:\songs"), PureWindowsPath(r"C:\Songs")) == (PureWindowsPath(r"C:\Songs"),)


def test_what_only_windows_reserves_is_fine_elsewhere():
    assert check_text(r"C:\Music\console.wav", PureWindowsPath) == PureWindowsPath("c:/music/CONSOLE.wav")
    assert check_text("/music/aux.wav", PurePosixPath) == PurePosixPath("/music/aux.wav")


@given(st.text())
def test_any_text_is_resolved_below_the_root_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str):
    root = tmp_path_factory.getbasetemp().resolve()
    try:
        found = Roots.of([root]).readable(str(root) + "/" + text)
    except PathError as error:
        assert error.text.isprintable()
    else:
        assert found.is_relative_to(root)


def test_a_long_or_strange_path_is_shown_short_and_printable():
    text = shown("/music/" + "x" * 500 + "\n\x1b[31m.wav")
    assert len(text) <= 121
    assert text.isprintable()
    assert text.endswith(".wav")
