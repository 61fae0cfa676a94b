"""The command line as a shell runs it: what it imports, what it prints, and how it exits."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from musicgen_bridge import __version__
from musicgen_bridge.asking.keys import RENDER_KEYS
from tests.conftest import COMMAND

HEAVY = {"torch", "torchaudio", "transformers", "numpy", "scipy", "soundfile", "rich", "asyncio", "sqlite3"}


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """The environment of a user who has set nothing: folders of his own, no settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MUSICGEN_BRIDGE_")}
    homes = {name: str(tmp_path / "home") for name in ("HOME", "USERPROFILE", "LOCALAPPDATA", "APPDATA")}
    (tmp_path / "home").mkdir()
    return kept | homes | {"XDG_CONFIG_HOME": homes["HOME"], "XDG_STATE_HOME": homes["HOME"], "PYTHONUTF8": "1"}


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port of a program that takes datagrams and never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        yield other.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    """A port where nothing listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run(env: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, env=env, capture_output=True, text=True, encoding="utf-8", timeout=240)


def test_a_folder_that_the_pipe_s_code_page_can_t_say_is_told_all_the_same(env: dict[str, str], tmp_path: Path) -> None:
    code_page = env | {"PYTHONUTF8": "0", "PYTHONIOENCODING": "cp1252"}  # as on Windows
    ran = run(code_page, "install", "reaper", "--dest", tmp_path / "日本")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "\\u65e5\\u672c" in ran.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["render", "--help"], ["send", "/musicgen/ping"]])
def test_help_and_send_import_nothing_heavy(arguments: list[str], env: dict[str, str]) -> None:
    code = f"""
import sys
from musicgen_bridge.cli import main
try:
    main({arguments})
except SystemExit:
    print("imported", *sorted({{name.partition(".")[0] for name in sys.modules}}))
"""
    ran = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, encoding="utf-8")
    imported = set(ran.stdout.rpartition("imported")[2].split())
    assert "musicgen_bridge" in imported, ran.stderr
    assert imported & HEAVY == set()


def test_the_version_is_the_package_s(env: dict[str, str]) -> None:
    assert __version__ in run(env, "--version").stdout


def test_every_render_key_has_a_flag(env: dict[str, str]) -> None:
    text = run(env, "render", "--help").stdout
    assert [name for name in RENDER_KEYS if name != "prompt" and f"--{name.replace('_', '-')}" not in text] == []


def test_help_documents_the_exit_codes(env: dict[str, str]) -> None:
    text = run(env, "--help").stdout
    assert [code for code in ("0 ", "1 ", "2 ", "3 ", "130 ") if f"\n    {code}" not in text] == []


@pytest.mark.parametrize("command", [["send", "/musicgen/ping"], ["status"], ["stop"]])
def test_without_a_daemon_the_exit_code_is_3(command: list[str], env: dict[str, str], closed_port: int) -> None:
    ran = run(env, *command, "--port", closed_port)
    assert (ran.returncode, ran.stdout) == (3, "")
    assert f"127.0.0.1:{closed_port}" in ran.stderr and "musicgen-bridge start" in ran.stderr


def test_a_port_of_another_program_is_no_daemon(env: dict[str, str], taken_port: int) -> None:
    assert run(env, "status", "--port", taken_port).returncode == 3


def test_a_failure_with_json_is_one_object_on_stdout(env: dict[str, str], closed_port: int) -> None:
    ran = run(env, "status", "--json", "--port", closed_port)
    assert ran.returncode == 3
    assert json.loads(ran.stdout)["error"]["code"] == "E_NO_DAEMON"
    assert ran.stderr == ""


def test_all_mistakes_in_the_settings_are_told_at_once(env: dict[str, str], tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('prot = 1\nqueue = "many"\n')
    ran = run(env | {"MUSICGEN_BRIDGE_DEVICES": "cpu"}, "start", "--config", config, "--dtype", "float64")
    assert ran.returncode == 2
    lines = ran.stderr.splitlines()
    assert [word in " ".join(lines) for word in ('"prot"', '"port"', "queue", '"devices"', '"device"', "dtype")] == [
        True
    ] * 6
    assert len(lines) == 4 and all(line.startswith("E_ARGS ") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["render", "x", "--bpm", "fast"], ["E_ARGS", "bpm", "fast"]),
        (["render", "x", "--bars", "0"], ["E_ARGS", "bars"]),
        (["render", "x", "--seconds", "2", "--bars", "1"], ["E_ARGS", "one length"]),
        (["render", "x", "--model", "stater"], ["E_MODEL", "starter"]),
        (["render", "x", "--project", "nowhere"], ["E_PATH", "nowhere", "does not exist"]),
        (["render", "x", "--melody", "nothing.wav"], ["E_PATH", "nothing.wav", "does not exist"]),
        (["render", "x", "--again", "nothing.json"], ["E_PATH", "nothing.json"]),
        (["render", "x", "--preset", "no such preset"], ["E_ARGS", "no such preset"]),
        (["render", "x", "--format", "mp3"], ["mp3", "wav"]),
        (["render", "x", "--host", "no..host"], ["E_ARGS", "no..host", "--host"]),
        (["send", "/musicgen/ping", "odd"], ["odd", "pairs"]),
        (["send", "ping"], ["/musicgen/ping"]),
        (["cancel"], ["musicgen-bridge jobs", "--all"]),
    ],
)
def test_wrong_arguments_say_what_to_do(
    arguments: list[str], words: list[str], env: dict[str, str], closed_port: int
) -> None:
    ran = run(env, *arguments, "--port", closed_port)
    assert ran.returncode == (1 if words[0] in ("E_PATH", "E_MODEL") else 2)
    assert [word for word in words if word not in ran.stderr] == []
    assert "Traceback" not in ran.stderr


def test_presets_are_listed_with_the_user_s_own(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('slot = 9000\nname = "my own"\n[render]\nprompt = "hum"\n')
    (tmp_path / "bad.toml").write_text("slot = ")
    ran = run(env, "presets", "--json", "--presets", tmp_path)
    listed = json.loads(ran.stdout)["presets"]
    assert [one["render"] for one in listed if one["name"] == "my own"] == [{"prompt": "hum"}]
    assert len(listed) > 24 and "bad.toml" in ran.stderr
    assert "my own" in run(env, "presets", "--presets", tmp_path).stdout


def test_models_tell_where_they_are_or_how_to_fetch_them(env: dict[str, str]) -> None:
    listed = {one["model"]: one for one in json.loads(run(env, "models", "list", "--json").stdout)["models"]}
    assert Path(listed["starter"]["folder"], "config.json").is_file()
    assert listed["starter"]["licence"] == "mit" and listed["starter"]["bytes"] > 20_000_000
    assert listed["small"]["folder"] is None and "models pull facebook/musicgen-small" in listed["small"]["missing"]
    assert "cc-by-nc-4.0 (not for commercial use)" in run(env, "models", "list").stdout
