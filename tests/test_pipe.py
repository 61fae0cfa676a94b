"""Children whose libraries print into what the daemon reads: real recorders and workers, and no job is left open."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest

from musicgen_bridge.errors import ModelError
from musicgen_bridge.jobs import Job, Jobs
from musicgen_bridge.journal import Journal
from musicgen_bridge.pipe import heard
from musicgen_bridge.recorders import Recorder
from musicgen_bridge.request import RecordRequest, Transport
from musicgen_bridge.settings import Settings, load
from musicgen_bridge.sound.playback import Playback
from musicgen_bridge.workers import Worker

PATIENCE_S = 120.0
NOISE = ["ALSA lib pcm.c: unknown PCM", "[1, 2]", '{"no": "message"}', "\udcff"]


@pytest.fixture
def prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return what has every Python process from now on print lines before it does anything else."""

    def choose(*lines: str) -> None:
        said = "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape")
        (tmp_path / "sitecustomize.py").write_text(f"import os\nos.write(1, {said!r})\n")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return choose


def settings_in(folder: Path, **flags: str) -> Settings:
    (folder / "none.toml").touch()
    return load({"state": str(folder), "device": "cpu", **flags}, file=folder / "none.toml", environment={})


async def recorded(folder: Path) -> Job:
    """Return a recording of an input that is not there, once it has ended."""
    jobs = Jobs(Journal(folder / "journal.sqlite3"))
    recorder = Recorder(settings_in(folder), jobs, Transport())
    ended = asyncio.Event()
    jobs.on_change = lambda: ended.set() if not jobs.open else None
    request = RecordRequest(project=str(folder), input="no such input", bars=1.0)
    job = jobs.submit("live", "a", "digest", lambda: request, "udp:127.0.0.1:9")
    recorder.feed()
    await asyncio.wait_for(ended.wait(), PATIENCE_S)
    return job


def test_a_recorder_s_noise_is_passed_over(tmp_path, prints):
    prints(*NOISE)
    job = asyncio.run(recorded(tmp_path))
    assert job.error is not None and job.error.code == "E_AUDIO"


@pytest.mark.parametrize("line", ['{"is": "progress", "fraction": "half"}', "x" * 100_000])
def test_a_recorder_that_can_t_be_understood_ends_its_job(tmp_path, prints, line):
    prints(line)
    job = asyncio.run(recorded(tmp_path))
    assert job.error is not None and job.error.code == "E_INTERNAL" and "record again" in job.error.text


async def supervised(folder: Path, until) -> Worker:
    """Return a worker whose model is missing, after what `until` waits for."""
    worker = Worker(settings_in(folder, model="small"), Jobs(Journal(folder / "journal.sqlite3")), Transport())
    worker.start()
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not until(worker):
                await asyncio.sleep(0.05)
        return worker
    finally:
        await worker.stop()


def test_a_worker_s_noise_is_passed_over(tmp_path, prints, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    prints(*NOISE)
    worker = asyncio.run(supervised(tmp_path, lambda worker: worker.task.done()))
    assert isinstance(worker.fatal, ModelError)


def test_a_worker_that_can_t_be_understood_is_started_again(tmp_path, prints):
    prints('{"is": "ready"}')
    worker = asyncio.run(supervised(tmp_path, lambda worker: len(worker._deaths) > 1))
    assert worker.fatal is None


CHILD = """
import os, signal
from musicgen_bridge.pipe import private_pipes
stdin, stdout = private_pipes()
os.write(1, b"a library's print")
signal.raise_signal(signal.SIGINT)
print(os.read(0, 9), stdin.readline(), file=stdout)
"""


def test_what_a_child_is_told_and_says_is_out_of_the_reach_of_libraries_and_of_ctrl_c():
    child = subprocess.run([sys.executable, "-c", CHILD], input=b"an order\n", capture_output=True, check=True)
    assert child.stdout == b"b'' b'an order\\n'\n"
    assert child.stderr == b"a library's print"


@pytest.mark.parametrize("line", [b"", b"\xff\xfe\n", b"NaN\n", b"null\n", b'{"is"', b'"is"\n'])
def test_only_objects_that_say_what_they_are_are_messages(line):
    assert heard(line, "worker") is None
    assert heard(b'{"is": "pong", "n": 3}\n', "worker") == {"is": "pong", "n": 3}


def test_a_player_that_cannot_be_understood_at_first_is_still_heard(prints):
    prints(*NOISE)
    told: list[str] = []
    playback = Playback(
        rate=32_000, channels=1, seconds=1.0, output="no such", volume=0.0, transport=Transport, note=told.append
    )
    playback.wait()
    until = time.monotonic() + PATIENCE_S
    while not told and time.monotonic() < until:
        time.sleep(0.01)
    assert told
    assert told[0].endswith("it is not heard, and rendered all the same")
