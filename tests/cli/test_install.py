"""The clients land where each program looks, nothing of the musician's is touched, and all of it can be taken back."""

import sys
from pathlib import Path

import pytest

from musicgen_bridge import shipped as package
from musicgen_bridge.cli import install as module
from musicgen_bridge.cli import main
from musicgen_bridge.cli.install import PROGRAMS, check, install, installed, shipped, uninstall
from musicgen_bridge.errors import ArgumentError, ExistsError, PathError

SYSTEMS = [
    ("darwin", "live", "Music/Ableton/User Library", "Presets/Audio Effects/Max Audio Effect"),
    ("win32", "live", "Documents/Ableton/User Library", "Presets/Audio Effects/Max Audio Effect"),
    ("darwin", "max", "Documents/Max 9", "Library/musicgen-bridge"),
    ("win32", "max", "Documents/Max 9", "Library/musicgen-bridge"),
    ("darwin", "ardour", "Library/Preferences/Ardour8", "scripts"),
    ("win32", "ardour", "AppData/Local/Ardour8", "scripts"),
    ("linux", "ardour", ".config/ardour8", "scripts"),
    ("darwin", "reaper", "Library/Application Support/REAPER", "Scripts/musicgen-bridge"),
    ("win32", "reaper", "AppData/Roaming/REAPER", "Scripts/musicgen-bridge"),
    ("linux", "reaper", ".config/REAPER", "Scripts/musicgen-bridge"),
]


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Return a function that makes this machine another system, its folders as platformdirs knows them there."""

    def become(name: str) -> Path:
        home = tmp_path / "home"
        data = {"darwin": "Library/Application Support", "win32": "AppData/Roaming", "linux": ".local/share"}[name]
        monkeypatch.setattr(sys, "platform", name)
        monkeypatch.setattr(module.platformdirs, "user_music_path", lambda: home / "Music")
        monkeypatch.setattr(module.platformdirs, "user_documents_path", lambda: home / "Documents")
        config = "AppData/Local" if name == "win32" else ".config"
        monkeypatch.setattr(Path, "home", lambda: home)
        monkeypatch.setattr(module.platformdirs, "user_config_path", lambda app, **_: home / config / app)
        monkeypatch.setattr(module.platformdirs, "user_data_path", lambda app, **_: home / data / app)
        return home

    return become


@pytest.mark.parametrize(("name", "program", "own", "below"), SYSTEMS)
def test_each_program_has_its_place_on_each_system(system, state, name, program, own, below):
    home = system(name)
    with pytest.raises(PathError, match="once, or give --dest"):
        install(program, state)
    (home / own).mkdir(parents=True)
    folder = install(program, state)
    assert folder == (home / own / below).resolve()
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == set(shipped(PROGRAMS[program]))


def test_the_newest_max_is_served(system, state):
    home = system("darwin")
    for name in ("Max 8", "Max 10", "Max 9", "Max Sketches"):
        (home / "Documents" / name).mkdir(parents=True)
    assert "Max 10" in install("max", state).parts


def test_the_newest_ardour_is_served(system, state):
    home = system("linux")
    for name in ("ardour7", "ardour10", "ardour9", "ardour-notes"):
        (home / ".config" / name).mkdir(parents=True)
    assert "ardour10" in install("ardour", state).parts


def test_live_is_not_on_linux_but_its_files_may_be_copied(system, state, tmp_path):
    system("linux")
    with pytest.raises(PathError, match="--dest"):
        install("live", state)
    folder = install("live", state, tmp_path / "usb stick")
    assert (folder / "musicgen-bridge.amxd").read_bytes()[:4] == b"ampf"


@pytest.mark.parametrize("program", PROGRAMS)
def test_it_is_taken_back_without_a_trace_and_can_be_repeated(state, tmp_path, program):
    dest = tmp_path / "musicgen-bridge"
    (tmp_path / "mine.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    for _ in range(2):
        install(program, state, dest)
    assert list(check(state)) == [(program, dest, "")]
    assert uninstall(program, state) == (dest, [])
    assert sorted(path for path in tmp_path.rglob("*") if state not in (path, *path.parents)) == before
    with pytest.raises(ArgumentError, match="not installed"):
        uninstall(program, state)


def test_a_file_of_somebody_else_s_is_left_alone(state, tmp_path):
    mine = tmp_path / "musicgen-bridge.amxd"
    mine.write_text("mine")
    with pytest.raises(ExistsError, match="move it away"):
        install("live", state, tmp_path)
    assert mine.read_text() == "mine"
    assert installed(state) == {}


def test_what_the_musician_changed_is_neither_replaced_nor_removed(state, tmp_path):
    dest = tmp_path / "musicgen-bridge"
    changed = install("max", state, dest) / "musicgen_client.js"
    changed.write_text("// mine")
    assert list(check(state)) == [("max", dest, "musicgen_client.js was changed")]
    with pytest.raises(ExistsError):
        install("max", state, dest)
    assert uninstall("max", state) == (dest, [changed])
    assert [path.name for path in dest.iterdir()] == ["musicgen_client.js"]


def test_an_older_version_is_found_and_replaced_with_what_it_had_more(state, tmp_path, monkeypatch):
    old = tmp_path / "old" / "max_for_live"
    old.mkdir(parents=True)
    for name in ("musicgen-bridge.maxpat", "musicgen_client.js"):
        (old / name).write_text("an older one")
    (old / "musicgen_more.js").write_text("gone since")
    with monkeypatch.context() as before:
        before.setattr(package, "__file__", str(tmp_path / "old" / "package" / "shipped.py"))
        before.setitem(PROGRAMS, "max", module.Program("max_for_live", ("*",), lambda: None, "", ""))
        install("max", state, tmp_path / "here")
    assert list(check(state)) == [("max", tmp_path / "here", "it is from another version")]
    install("max", state, tmp_path / "here")
    assert list(check(state)) == [("max", tmp_path / "here", "")]
    assert not (tmp_path / "here" / "musicgen_more.js").exists()


def test_a_missing_file_is_found_and_an_installation_elsewhere_has_to_go_first(state, tmp_path):
    (install("live", state, tmp_path / "a") / "musicgen-bridge.amxd").unlink()
    assert list(check(state)) == [("live", tmp_path / "a", "musicgen-bridge.amxd is missing")]
    with pytest.raises(ExistsError, match="uninstall live"):
        install("live", state, tmp_path / "b")
    assert install("live", state, tmp_path / "a").is_dir()
    assert list(check(state)) == [("live", tmp_path / "a", "")]


def test_an_unknown_program_and_a_broken_record_are_told(state, tmp_path):
    with pytest.raises(ArgumentError, match="live, max, ardour, reaper"):
        install("logic", state, tmp_path)
    state.mkdir()
    (state / "installed.json").write_text("{")
    with pytest.raises(ArgumentError, match="move it away"):
        install("live", state, tmp_path)


def test_the_command_line_says_what_it_did(state, tmp_path, capsys):
    def run(*words):
        with pytest.raises(SystemExit) as ended:
            main([*words, "--state", str(state)])
        return ended.value.code, capsys.readouterr()

    code, said = run("install", "max", "--dest", str(tmp_path / "here"))
    assert (code, str(tmp_path / "here") in said.out, "open musicgen-bridge.maxpat" in said.out) == (0, True, True)
    (tmp_path / "here" / "musicgen_client.js").write_text("// mine")
    code, said = run("uninstall", "max")
    assert (code, "kept, since it was changed" in said.out) == (0, True)
    code, said = run("uninstall", "max")
    assert (code, "not installed" in said.err) == (2, True)


def test_the_command_line_offers_every_program():
    from musicgen_bridge.cli.program import cli

    assert [list(cli.commands[name].params[0].type.choices) for name in ("install", "uninstall")] == [[*PROGRAMS]] * 2
