"""Ardour's scripts use no name that they don't define and Ardour doesn't give."""

import subprocess
from pathlib import Path

from tests.programs import needed

SCRIPTS = Path(__file__).resolve().parents[2] / "ardour_scripts"


def test_luacheck_is_clean():
    command = [needed("luacheck", "lua-check"), "--no-color", "--config", SCRIPTS / ".luacheckrc", SCRIPTS]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
