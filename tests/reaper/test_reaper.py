"""Reaper's scripts: luacheck, and busted under Lua 5.4 with a strict stand-in for Reaper and a real daemon."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import small_demucs
from tests.conftest import Daemon
from tests.programs import needed

HERE = Path(__file__).parent
SCRIPTS = HERE.parents[1] / "reaper_scripts"


def busted(spec: str, daemon: Daemon, folder: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MUSICGEN_BRIDGE_")}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "MUSICGEN_BRIDGE_PORT": str(daemon.port),
        "MUSICGEN_BRIDGE_STATE": str(daemon.state),
        "MUSICGEN_BRIDGE_ROOTS": str(daemon.root),
        "MUSICGEN_BRIDGE_DEVICE": "cpu",
        "REAPER_TEST_FOLDER": str(folder),
        "REAPER_TEST_SONG": str(daemon.song),
        "REAPER_SCRIPTS": str(SCRIPTS),
    }
    command = [needed("busted", "lua-busted"), f"--lua={needed('lua5.4', 'lua5.4')}", "--lpath=./?.lua", spec]
    ran = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, encoding="utf-8")
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("folder", [SCRIPTS, HERE], ids=["scripts", "tests"])
def test_luacheck_is_clean(folder: Path) -> None:
    command = [needed("luacheck", "lua-check"), "--no-color", "--config", str(folder / ".luacheckrc"), str(folder)]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout


def test_what_is_said_before_anything_is_rendered(new_daemon, tmp_path: Path) -> None:
    busted("dialogs_spec.lua", new_daemon(), tmp_path)


def test_the_actions_with_a_daemon(daemon: Daemon, tmp_path: Path) -> None:
    busted("actions_spec.lua", daemon, tmp_path)


def test_takes_are_cut_anew(daemon: Daemon, tmp_path: Path) -> None:
    busted("cuts_spec.lua", daemon, tmp_path)


def test_an_item_is_split_and_fitted(new_daemon, tmp_path: Path) -> None:
    (tmp_path / "demucs").mkdir()
    small_demucs.make(tmp_path / "demucs")
    busted("split_spec.lua", new_daemon().start("--demucs", str(tmp_path / "demucs")), tmp_path)


def test_the_window_and_a_daemon_that_it_starts_and_stops(new_daemon, tmp_path: Path) -> None:
    daemon = new_daemon()
    daemon.song.mkdir()
    busted("window_spec.lua", daemon, tmp_path)
    with pytest.raises(ConnectionError):
        daemon.client()


def test_the_drawing_in_the_docs_is_of_this_window(tmp_path: Path) -> None:
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "MUSICGEN_BRIDGE_PRESETS": str(tmp_path),
        "REAPER_SCRIPTS": str(SCRIPTS),
    }
    command = [needed("lua5.4", "lua5.4"), "drawing.lua", str(tmp_path / "reaper.svg")]
    subprocess.run(command, cwd=HERE, env=environment, check=True)
    drawn = (HERE.parents[1] / "docs" / "reaper.svg").read_text("utf-8")
    assert (tmp_path / "reaper.svg").read_text("utf-8") == drawn, "draw it anew: tests/reaper/drawing.lua says how"
