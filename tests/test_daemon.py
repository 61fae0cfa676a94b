"""The whole bridge on the starter model: real processes, real sockets, real files; what goes wrong and what is kept."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import soundfile

from musicgen_bridge.errors import BridgeError
from musicgen_bridge.pipe import ENVIRONMENT
from tests.conftest import COMMAND, PATIENCE_S

posix = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
BAR = {"prompt": "techno drum loop", "bars": 1.0, "bpm": 126.5, "signature": "7/8", "seed": 3}
BAR_FRAMES = 79_684  # floor(3.5 * 60 * 48000 / 126.5 + 0.5)
LONG = {"prompt": "slow pad", "seconds": 120.0, "seed": 1}


def wait_for(what):
    until = time.monotonic() + PATIENCE_S
    while not (found := what()):
        assert time.monotonic() < until, f"not within {PATIENCE_S:.0f} s"
        time.sleep(0.02)
    return found


class Render(threading.Thread):
    """A render that is followed on a thread of its own."""

    def __init__(self, daemon, values):
        super().__init__(daemon=True)
        self.bridge, self.values = daemon.client(), values
        self.seen, self.stems, self.error = [], None, None
        self.start()

    def run(self):
        try:
            self.stems = self.bridge.render(self.values, self.seen.append)
        except (BridgeError, ConnectionError) as error:
            self.error = error

    def generating(self):
        return any(progress.stage == "generating" and progress.fraction > 0.03 for progress in self.seen)

    def ended(self):
        self.join(PATIENCE_S)
        assert not self.is_alive()
        return self


def test_it_says_that_it_is_ready_once(daemon):
    assert daemon.ready.count("\n") == 1
    assert str(daemon.port) in daemon.ready
    assert daemon.status() | {"state": "ready", "model": "starter", "device": "cpu", "queued": 0} == daemon.status()
    megabytes = psutil.virtual_memory().total >> 20
    assert 0 < int(str(daemon.status()["memory"])) < int(str(daemon.status()["memory_total"])) == megabytes


def test_models_are_listed_with_the_licence_of_their_weights(daemon):
    with daemon.client() as bridge:
        listed = [message.arguments[3:] for message in bridge.request("/musicgen/list", {"what": "models"})]
    summaries = {values[1]: values[3] for values in listed}
    assert summaries["stereo-melody"].endswith("cc-by-nc-4.0: not for commercial use")
    assert "cc-by" not in summaries["starter"]


def test_a_render_leaves_an_exact_stem_with_its_sidecar(daemon):
    with daemon.client() as bridge:
        (stem,) = bridge.render(BAR)
    info = soundfile.info(stem.path)
    assert (info.frames, info.samplerate, info.subtype) == (BAR_FRAMES, 48_000, "PCM_24")
    assert stem.frames == BAR_FRAMES
    assert stem.path.startswith(str(daemon.song / "MusicGen"))
    sidecar = json.loads(Path(stem.path).with_suffix(".json").read_text("utf-8"))
    assert sidecar["request"]["seed"] == 3


def test_the_same_request_gives_the_same_samples_and_overwrites_nothing(daemon):
    with daemon.client() as bridge:
        stems = [bridge.render(BAR)[0].path for _ in range(2)]
    assert stems[0] != stems[1]
    first, second = (soundfile.read(path)[0] for path in stems)
    assert np.array_equal(first, second)
    assert np.abs(first).max() > 0.01


def test_parts_and_variations_come_as_one_batch(daemon):
    with daemon.client() as bridge:
        stems = bridge.render({**BAR, "prompt": "", "parts": "drums: tight break; bass: sub", "variations": 2})
    assert [(stem.index, stem.total, stem.frames) for stem in stems] == [(i, 4, BAR_FRAMES) for i in range(4)]
    assert len({stem.path for stem in stems}) == 4
    assert sum("drums" in stem.path.rsplit("/", 1)[-1] for stem in stems) == 2


def test_progress_comes_with_stages(daemon):
    seen = []
    with daemon.client() as bridge:
        bridge.render({**BAR, "bars": 4.0}, seen.append)
    fractions = [progress.fraction for progress in seen]
    assert fractions == sorted(fractions)
    assert {progress.stage for progress in seen} >= {"generating"}


def test_a_cancelled_render_frees_the_worker(daemon):
    render = Render(daemon, LONG)
    wait_for(render.generating)
    before = daemon.worker.pid
    with daemon.client() as other:
        newest = other.request("/musicgen/list", {"what": "jobs"})[0].arguments
    rid = newest[newest.index("target") + 1]
    with daemon.client() as other, pytest.raises(BridgeError, match="no job has the id"):
        other.request("/musicgen/cancel", {"target": rid})  # another client's job
    render.bridge.send("cancel", "/musicgen/cancel", {"target": rid})
    assert render.ended().error.code == "E_CANCELLED"
    with daemon.client() as bridge:
        assert len(bridge.render(BAR)) == 1
    assert daemon.worker.pid == before
    assert not list((daemon.song / "MusicGen").glob("*slow-pad*"))


@posix
def test_a_killed_worker_is_replaced_and_its_job_runs_again(daemon):
    render = Render(daemon, {**BAR, "bars": 8.0})
    wait_for(render.generating)
    killed = daemon.worker
    killed.kill()
    wait_for(lambda: daemon.status()["state"] == "degraded")
    stems = render.ended().stems
    assert len(stems) == 1
    assert soundfile.info(stems[0].path).frames == stems[0].frames
    wait_for(lambda: daemon.status()["state"] == "ready")
    assert daemon.worker.pid != killed.pid


@posix
def test_a_job_that_kills_its_worker_twice_fails(daemon):
    render = Render(daemon, LONG)
    for _ in range(2):
        render.seen.clear()
        wait_for(render.generating)
        daemon.worker.kill()
    assert render.ended().error.code == "E_INTERNAL"
    wait_for(lambda: daemon.status()["state"] == "ready")


@pytest.mark.skipif(sys.platform != "linux", reason="limits another process's memory, as Linux can")
def test_a_worker_out_of_memory_says_so_and_lives(daemon):
    worker = daemon.worker
    room = psutil.RLIM_INFINITY
    worker.rlimit(psutil.RLIMIT_AS, (worker.memory_info().vms + (96 << 20), room))
    with daemon.client() as bridge:
        with pytest.raises(BridgeError) as caught:
            bridge.render({"prompt": "wide", "seconds": 60.0, "variations": 32, "seed": 1})
        assert caught.value.code == "E_OOM"
        worker.rlimit(psutil.RLIMIT_AS, (room, room))
        assert len(bridge.render(BAR)) == 1
    assert daemon.worker.pid == worker.pid


@posix
def test_a_killed_daemon_takes_its_jobs_up_again(new_daemon):
    first = new_daemon().start()
    renders = [Render(first, {**BAR, "bars": 8.0}), Render(first, BAR)]
    wait_for(renders[0].generating)
    worker = first.worker
    first.process.kill()
    first.process.wait()
    wait_for(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
    second = new_daemon(port=first.port).start()
    for render in renders:
        assert len(render.ended().stems) == 1
    assert second.status()["queued"] == 0
    assert second.end() == 0


@posix
def test_sigterm_finishes_what_was_accepted(new_daemon):
    daemon = new_daemon().start()
    render = Render(daemon, {**BAR, "bars": 4.0})
    wait_for(render.generating)
    daemon.process.send_signal(signal.SIGTERM)
    wait_for(lambda: daemon.status()["state"] == "draining")
    with daemon.client() as bridge, pytest.raises(BridgeError) as caught:
        bridge.render(BAR)
    assert caught.value.code == "E_BUSY"
    assert len(render.ended().stems) == 1
    assert daemon.process.wait(PATIENCE_S) == 0


@posix
def test_a_second_sigterm_ends_at_once_and_keeps_the_job(new_daemon):
    daemon = new_daemon().start()
    render = Render(daemon, LONG)
    wait_for(render.generating)
    worker = daemon.worker
    daemon.process.send_signal(signal.SIGTERM)
    wait_for(lambda: daemon.status()["state"] == "draining")
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(PATIENCE_S) == 0
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE
    again = new_daemon(port=daemon.port).start()
    wait_for(lambda: again.status()["running"] == 1)


def test_a_busy_port_is_named_with_its_owner(daemon, tmp_path):
    ended = subprocess.run(
        [*COMMAND, "start", "--port", str(daemon.port), "--state", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ended.returncode == 2
    assert str(daemon.port) in ended.stderr
    assert str(daemon.process.pid) in ended.stderr


def test_a_port_busy_for_tcp_only_is_busy_too(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        ended = subprocess.run(
            [*COMMAND, "start", "--port", str(port), "--state", str(tmp_path)],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    assert ended.returncode == 2
    assert f"process {os.getpid()}" in ended.stderr


def test_a_model_that_cannot_be_loaded_ends_the_start(tmp_path):
    (tmp_path / "config.toml").write_text(f'[models]\nmine = "{tmp_path.as_posix()}/gone"\n')
    (tmp_path / "gone").mkdir()
    flags = ["--model", "mine", "--config", str(tmp_path / "config.toml"), "--state", str(tmp_path / "state")]
    from tests.conftest import free_port

    ended = subprocess.run(
        [*COMMAND, "start", "--port", str(free_port()), *flags, "--project", str(tmp_path / "typo")],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert ended.returncode == 1
    assert "E_MODEL" in ended.stderr
    assert f"{tmp_path / 'typo'} does not exist yet; make it, or check --project" in ended.stderr
    assert "ready" not in ended.stdout


def test_the_daemon_never_imports_torch(daemon):
    if sys.platform == "linux":
        maps = Path(f"/proc/{daemon.process.pid}/maps").read_text()
        assert "torch" not in maps
        assert "numpy" not in maps


def test_the_worker_is_given_what_its_c_libraries_read(daemon):
    given = daemon.worker.environ()
    wanted = {name: os.environ.get(name, value) for name, value in ENVIRONMENT.items()}
    assert {name: given.get(name) for name in ENVIRONMENT} == wanted


# Bad input: each gets its code, nothing is left behind, and the daemon lives.


@pytest.fixture
def recordings(daemon):
    folder = daemon.root / "recordings"
    folder.mkdir(exist_ok=True)
    rate = 32_000
    second = np.sin(2 * np.pi * 440 / rate * np.arange(rate)).astype(
        np.float32
    )  # an A: a steady C stands for no melody

    def audio(name, samples, **options):
        soundfile.write(folder / name, samples, rate, **options)

    (folder / "text.wav").write_text("la la la " * 500)
    (folder / "empty.wav").write_bytes(b"")
    audio("none.wav", second[:0])
    audio("nan.wav", np.full(rate, np.nan, np.float32), subtype="FLOAT")
    audio("wide.wav", np.tile(second[:, None], (1, 8)))
    audio("silent.wav", second * 0)
    audio("good.wav", second)
    audio("long.flac", np.tile(second[::4], 1)[:0])
    with soundfile.SoundFile(folder / "long.flac", "w", 8_000, 1) as file:
        for _ in range(180):
            file.write(np.zeros(60 * 8_000, np.float32))
    if hasattr(os, "mkfifo") and not (folder / "fifo.wav").exists():
        os.mkfifo(folder / "fifo.wav")
    (daemon.root.parent / "outside.wav").write_bytes((folder / "good.wav").read_bytes())
    return folder


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"melody": "{r}/text.wav"}, "E_AUDIO"),
        ({"melody": "{r}/empty.wav"}, "E_AUDIO"),
        ({"melody": "{r}/none.wav"}, "E_AUDIO"),
        ({"melody": "{r}/nan.wav"}, "E_AUDIO"),
        ({"melody": "{r}/wide.wav"}, "E_AUDIO"),
        ({"melody": "{r}/silent.wav"}, "E_AUDIO"),
        ({"melody": "{r}/long.flac"}, "E_AUDIO"),
        ({"continue": "{r}/text.wav"}, "E_AUDIO"),
        ({"continue": "{r}/wide.wav"}, "E_AUDIO"),
        pytest.param({"melody": "{r}/fifo.wav"}, "E_PATH", marks=posix),
        pytest.param({"melody": "/dev/zero"}, "E_PATH", marks=posix),
        ({"melody": "{r}"}, "E_PATH"),
        ({"melody": "{r}/nowhere.wav"}, "E_PATH"),
        ({"melody": "{r}/../../outside.wav"}, "E_PATH"),
        ({"melody": "good.wav"}, "E_PATH"),
        ({"project": "{r}/nowhere"}, "E_PATH"),
        ({"project": "{r}/good.wav"}, "E_PATH"),
        ({"project": "/"}, "E_PATH"),
        ({"model": "startr"}, "E_MODEL"),
        ({"model": "large"}, "E_MODEL"),
        ({"model": "/etc"}, "E_MODEL"),
        ({"bar": 4}, "E_ARGS"),
        ({"bpm": 3159345}, "E_ARGS"),
    ],
    ids=str,
)
def test_bad_input_gets_its_code_and_harms_nothing(daemon, recordings, values, code):
    values = {key: value.format(r=recordings) if isinstance(value, str) else value for key, value in values.items()}
    worker, before = daemon.worker.pid, sorted(daemon.song.rglob("*"))
    with daemon.client() as bridge:
        with pytest.raises(BridgeError) as caught:
            bridge.render({"bars": 1.0, "seed": 1, **values})
        assert caught.value.code == code
        assert len(caught.value.text) > 20
        bridge.request("/musicgen/ping")
    assert daemon.worker.pid == worker
    assert sorted(daemon.song.rglob("*")) == before


def test_a_melody_and_a_continuation_are_followed(daemon, recordings):
    with daemon.client() as bridge:
        (melody,) = bridge.render({**BAR, "melody": str(recordings / "good.wav")})
        (continued,) = bridge.render({**BAR, "continue": str(recordings / "good.wav"), "format": "flac"})
        (plain,) = bridge.render(BAR)
    sounds = [soundfile.read(stem.path)[0] for stem in (melody, continued, plain)]
    assert [len(sound) for sound in sounds] == [BAR_FRAMES] * 3
    assert not np.array_equal(sounds[0], sounds[2])
    assert not np.array_equal(sounds[1], sounds[2])


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounts a small disk, as root on Linux can")
def test_a_full_disk_loses_nothing(daemon):
    small = daemon.root / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", small], check=False).returncode:
        pytest.skip("no mount is allowed here")
    try:
        with daemon.client() as bridge:
            with pytest.raises(BridgeError) as caught:
                bridge.render({**BAR, "project": str(small)})
            assert caught.value.code == "E_DISK"
            assert not [path for path in small.rglob("*") if path.is_file()]
            assert len(bridge.render(BAR)) == 1
    finally:
        subprocess.run(["umount", small], check=True)
