"""The daemon's own folder: a token that stays, nobody else may look, and no second daemon works in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from musicgen_bridge.daemon import read_token
from musicgen_bridge.errors import DiskError
from musicgen_bridge.journal import lock_folder
from tests.conftest import COMMAND, PATIENCE_S


def test_the_token_stays_and_is_another_for_each_daemon(tmp_path: Path) -> None:
    first = read_token(tmp_path / "1")
    assert len(first) == 32
    assert read_token(tmp_path / "1") == first
    assert read_token(tmp_path / "2") != first


@pytest.mark.skipif(os.name != "posix", reason="Windows has other rights")
def test_only_its_owner_may_look(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        read_token(tmp_path / "1")
    finally:
        os.umask(before)
    assert (tmp_path / "1").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "1" / "token").stat().st_mode & 0o777 == 0o600


def test_a_file_in_the_folder_s_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "1").touch()
    with pytest.raises(DiskError, match="choose another --state"):
        read_token(tmp_path / "1")


def test_a_second_daemon_is_kept_out_until_the_first_lets_go(tmp_path: Path) -> None:
    first = lock_folder(tmp_path)
    with pytest.raises(DiskError, match=r"another daemon works in .*; end it, or start this one with another --port"):
        lock_folder(tmp_path)
    first.close()
    lock_folder(tmp_path).close()


def test_a_killed_daemon_leaves_its_folder_free(tmp_path: Path) -> None:
    code = "import sys, pathlib; from musicgen_bridge.journal import lock_folder\n"
    code += "lock = lock_folder(pathlib.Path(sys.argv[1])); print('locked', flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], text=True, **pipes) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "locked\n"
        with pytest.raises(DiskError, match="another daemon"):
            lock_folder(tmp_path)
        child.kill()
    lock_folder(tmp_path).close()


def test_a_folder_that_cannot_be_locked_is_told(tmp_path: Path) -> None:
    (tmp_path / "lock.sqlite3").mkdir()
    with pytest.raises(DiskError, match="choose another --state"):
        lock_folder(tmp_path)


def test_start_on_another_host_with_the_same_folder_ends_at_once(new_daemon) -> None:
    first = new_daemon()
    home = first.state / str(first.port)
    home.mkdir(parents=True)
    lock = lock_folder(home)  # as a daemon on another host of this port holds it
    ended = subprocess.run(
        [*COMMAND, "start", "--port", str(first.port), "--state", str(first.state)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    lock.close()
    assert ended.returncode == 2
    assert ended.stderr.startswith("E_DISK another daemon works in")
    assert not (home / "daemon.log").exists()


LOGS = """
import logging, sys
from pathlib import Path
from musicgen_bridge.daemon import _write_logs
_write_logs(Path(sys.argv[1]))
logging.info("the session's folder is %s", "C:/M\\xfcsik/\\u65e5\\u672c/\\udcff")
"""


def test_the_log_holds_every_script(tmp_path: Path) -> None:
    """Whatever the system's own encoding is: on Windows a code page, here ASCII."""
    narrow = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ran = subprocess.run([sys.executable, "-c", LOGS, str(tmp_path)], env=narrow, capture_output=True, check=True)
    assert ran.stderr == b""
    assert "C:/Müsik/日本/\\udcff" in (tmp_path / "daemon.log").read_text("utf-8")
