"""The example patch of the docs in a real Pure Data, against the real daemon."""

import subprocess
import threading
from contextlib import contextmanager

import pytest
import soundfile

from tests.conftest import free_port
from tests.max.conftest import PATIENCE_S, ROOT
from tests.programs import needed

PATCH = ROOT / "docs" / "examples" / "musicgen-bridge.pd"


@pytest.fixture
def pd():
    """Return a function that runs the patch with messages to its receivers and gives a reader of what it prints."""
    path = needed("pd", "puredata-core")

    @contextmanager
    def run(daemon, *messages):
        first = (
            f"mgb-daemon 127.0.0.1 {daemon.port}",
            f"mgb-listen {free_port()}",
            f"mgb-project symbol {daemon.song}",
        )
        sends = [part for message in (*first, *messages) for part in ("-send", message)]
        command = [path, "-nogui", "-noaudio", "-nomidi", "-stderr", "-open", str(PATCH), *sends]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        watchdog = threading.Timer(PATIENCE_S, process.kill)
        watchdog.start()
        lines = []

        def says(*words):
            for line in process.stderr:
                lines.append(line)
                assert "error" not in line.lower(), line
                if all(word in line for word in words):
                    return line.split()
            raise AssertionError(f"{words} never came; only: {''.join(lines)}")

        try:
            yield says
        finally:
            watchdog.cancel()
            process.kill()
            process.communicate()

    return run


def test_the_example_patch_renders(daemon, pd):
    with pd(daemon, "mgb-session bpm 97.5 signature 7/8", r"mgb-render prompt dub\ techno bars 1 variations 2") as says:
        assert "97.5" in says("SESSION", "bpm 97.5", "7/8")
        says("QUEUED")
        done = [says("DONE") for _ in range(2)]
        says("STATE", "ready")
    for index, words in enumerate(done):
        assert words[-6:-4] == [str(index), "2"]
        assert soundfile.info(words[-4]).frames == int(words[-3]) == int(3.5 * 60 * 48_000 / 97.5 + 0.5)


def test_the_example_patch_cancels(daemon, pd):
    with pd(daemon, r"mgb-render prompt slow\ pad seconds 300", "mgb-cancel bang") as says:
        says("FAIL", "E_CANCELLED")


def test_the_example_patch_finds_a_daemon_that_is_started_later(new_daemon, pd):
    daemon = new_daemon()
    daemon.song.mkdir()
    with pd(daemon) as says:
        daemon.start()
        says("STATE", "ready")
        daemon.end()
        says("STATE", "gone")
