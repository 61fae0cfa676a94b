"""What the page about the wire says in words is what the table says, and the examples of clients run as they stand."""

import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from musicgen_bridge.asking.keys import RENDER_KEYS, SESSION_KEYS
from musicgen_bridge.control.commands import COMMANDS
from musicgen_bridge.settings import Settings
from tests.conftest import PATIENCE_S
from tests.programs import needed

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "protocol.md").read_text("utf-8")
EXAMPLES = (DOCS / "clients.md").read_text("utf-8")


def test_the_prose_says_what_the_table_says():
    at_once = [f"`{command.name}`" for command in COMMANDS.values() if command.at_once]
    assert f"- {', '.join(at_once[:-1])} and {at_once[-1]} are answered at once" in PAGE
    assert f"port **{Settings().port}**" in PAGE
    shared = [f"`{name}`" for name, key in RENDER_KEYS.items() if SESSION_KEYS.get(name) is key]
    assert f"{', '.join(shared[:-1])} and {shared[-1]} are those of the session" in " ".join(PAGE.split())


def example(rig, language, number=0):
    """Return an example, made to fit this machine: its port and a folder that is there."""
    code = re.findall(rf"```{language}\n(.*?)```", EXAMPLES, flags=re.DOTALL)[number]
    assert "32050" in code or "/home/me/song" in code
    return code.replace("32050", str(rig.port)).replace("/home/me/song", rig.song.as_posix())


def play_worker(rig):
    """Finish the first job as soon as there is one."""

    def work():
        while not rig.jobs.queued:
            time.sleep(0.01)
        rig.finish()

    threading.Thread(target=work, daemon=True).start()


def test_the_python_example_runs(rig):
    play_worker(rig)
    code = example(rig, "python")
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    heard = [line.split()[0] for line in ended.stdout.splitlines()]
    assert heard == ["/musicgen/session.reply", "/musicgen/queued", "/musicgen/done"]
    assert rig.jobs.listed()[0].request.signature == (7, 8)


def test_the_shell_example_runs(rig, connect, tmp_path):
    ear = connect()
    script = example(rig, "text").replace("9001", str(ear.socket.getsockname()[1]))
    (tmp_path / "session.osc").write_text(script)
    _, command = example(rig, "sh").splitlines()
    needed("oscsendfile", "liblo-tools")
    subprocess.run(command.split(), cwd=tmp_path, timeout=PATIENCE_S, check=True)
    heard = [ear.hear().address for _ in range(3)]
    assert heard == ["/musicgen/hello.reply", "/musicgen/session.reply", "/musicgen/queued"]


def test_the_lua_example_runs(rig):
    lua = shutil.which("lua5.4") or shutil.which("lua")
    if lua is None or subprocess.run([lua, "-e", 'require("socket")'], capture_output=True, check=False).returncode:
        pytest.skip("Lua with LuaSocket is missing: sudo apt-get install -y lua5.4 lua-socket")
    code = example(rig, "lua")
    ended = subprocess.run([lua, "-"], input=code.encode(), capture_output=True, timeout=PATIENCE_S, check=True)
    assert ended.stdout.startswith(b"/musicgen/queued\0")
    assert rig.jobs.listed()[0].request.prompt == "dub techno"
