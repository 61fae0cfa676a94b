"""The command line with a real daemon, by itself on the real starter model, and the demonstration."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.cli.shell import run, samples, stems_of
from tests.conftest import COMMAND, PATIENCE_S, free_port

BAR = ("--bars", "1", "--bpm", "126.5", "--signature", "7/8", "--sample-rate", "48000", "--seed", "3")
BAR_FRAMES = 79_684  # floor(3.5 * 60 * 48000 / 126.5 + 0.5)
posix = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")


@pytest.fixture
def tune(tmp_path: Path) -> Path:
    """A second of a falling fifth, as a recording."""
    t = np.arange(22_050) / 44_100
    path = tmp_path / "tune.wav"
    soundfile.write(path, 0.5 * np.concatenate([np.sin(2 * np.pi * f * t) for f in (660.0, 440.0)]), 44_100)
    return path


def test_status_shows_what_the_daemon_says(daemon) -> None:
    said = json.loads(run("status", "--json", "--port", daemon.port).stdout)
    assert (said["state"], said["model"], said["device"]) == ("ready", "starter", "cpu")
    text = run("status", "--port", daemon.port).stdout
    assert [key for key in said if key not in text] == []


def test_send_prints_the_answer(daemon) -> None:
    ran = run("send", "/musicgen/ping", "--port", daemon.port)
    assert (ran.returncode, ran.stdout.split()[0], ran.stdout.split()[-1]) == (0, "/musicgen/pong", "ready")
    ran = run("send", "/musicgen/session", "bpm", "126.123456789", "beat", "-1.5", "name", "808", "--port", daemon.port)
    assert ran.returncode == 0 and " beat -1.5 " in ran.stdout and " name 808" in ran.stdout


def test_send_follows_a_job_to_its_end_when_asked_to(daemon) -> None:
    ask = ("send", "/musicgen/render", "prompt", "techno", "bars", 1, "bpm", 126.5, "signature", "7/8")
    first = run(*ask, "--port", daemon.port).stdout
    assert first.startswith("/musicgen/queued ") and "/musicgen/done" not in first
    last = run(*ask, "--wait", "--port", daemon.port).stdout.splitlines()[-1]
    assert last.startswith("/musicgen/done ") and f" {BAR_FRAMES} 48000 126.5" in last


def test_send_tells_a_refusal(daemon) -> None:
    ran = run("send", "/musicgen/rendr", "--port", daemon.port)
    assert ran.returncode == 1
    assert ran.stderr.startswith("E_PROTO ") and "/musicgen/render" in ran.stderr


def test_render_goes_through_the_daemon_and_takes_its_session(daemon) -> None:
    run("send", "/musicgen/session", "bpm", 126.5, "signature", "7/8", "--port", daemon.port)
    (stem,) = stems_of(run("render", "techno", "--bars", 1, "--seed", 5, "--json", "--port", daemon.port))
    assert stem == {"path": stem["path"], "frames": BAR_FRAMES, "sample_rate": 48_000, "bpm": 126.5, "seed": 5}
    assert Path(str(stem["path"])).parent == daemon.song.resolve() / "MusicGen"
    with daemon.client() as bridge:
        newest = bridge.request("/musicgen/list", {"what": "jobs"})[0]
    assert ("prompt", "techno") in zip(newest.arguments[3::2], newest.arguments[4::2], strict=True)


def test_render_follows_a_tempo_map(daemon) -> None:
    changes = "0 120; 4 100>80 3/4"
    asked = ("--bars", 2, "--signature", "4/4", "--tempo-map", changes, "--sample-rate", 44100, "--seed", 5)
    (stem,) = stems_of(run("render", "techno drums", *asked, "--json", "--port", daemon.port))
    assert stem["frames"] == 44_100 * 4 // 2 + 44_100 * 2  # 4 quarters at 120, 3 from 100 to 80: 3 * 60 / 90 s
    assert stem["bpm"] == 7 * 60 / 4
    sidecar = json.loads(Path(str(stem["path"])).with_suffix(".json").read_text("utf-8"))
    assert sidecar["request"]["tempo_map"] == "0 120 4/4; 4 100>80 3/4"
    again = stems_of(
        run("render", "--again", Path(str(stem["path"])).with_suffix(".json"), "--json", "--port", daemon.port)
    )
    assert np.array_equal(samples(again[0]), samples(stem))


def test_again_takes_nothing_from_the_session_or_the_defaults(daemon) -> None:
    (stem,) = stems_of(run("render", "techno", *BAR, "--json", "--port", daemon.port))
    first = Path(str(stem["path"])).with_suffix(".json")
    with daemon.client() as bridge:
        bridge.request("/musicgen/session", {"key": "F# minor"})
        bridge.request("/musicgen/set", {"tempo_map": "0 90; 2 110", "parts": "drums: a; bass: b", "name": "mine"})
        again = stems_of(run("render", "--again", first, "--json", "--port", daemon.port))
        bridge.request("/musicgen/session", {"key": ""})
        bridge.request("/musicgen/set", {"reset": True})
    second = Path(str(again[0]["path"])).with_suffix(".json")
    requests = [json.loads(sidecar.read_text("utf-8"))["request"] for sidecar in (first, second)]
    assert requests[0] == requests[1]
    assert np.array_equal(samples(again[0]), samples(stem))


def test_a_preset_stands_below_the_flags(daemon) -> None:
    ran = run("render", "--preset", "1", *BAR, "--name", "mine", "--json", "--port", daemon.port)
    (stem,) = stems_of(ran)
    assert stem["frames"] == BAR_FRAMES and Path(str(stem["path"])).name.startswith("mine_")
    sidecar = json.loads(Path(str(stem["path"])).with_suffix(".json").read_text("utf-8"))
    assert sidecar["request"]["prompt"]


def test_a_failure_in_the_daemon_is_told(daemon, tmp_path: Path) -> None:
    ran = run("render", "x", "--project", tmp_path / "no-such-folder", "--json", "--port", daemon.port)
    assert ran.returncode == 1
    assert json.loads(ran.stdout)["error"]["code"] == "E_PATH"


@posix
def test_jobs_are_listed_and_whoever_asked_for_them_cancelled(daemon) -> None:
    with daemon.client() as bridge:
        for name in ("long one", "long two", "long three"):
            bridge.request("/musicgen/render", {"prompt": name, "seconds": 300.0})
    port = ("--port", daemon.port)
    open_jobs = [one for one in json.loads(run("jobs", "--json", *port).stdout)["jobs"] if one["fraction"] < 1]
    assert [one["prompt"] for one in open_jobs] == ["long one", "long two", "long three"]
    first, second, _ = (one["job"] for one in open_jobs)
    assert run("cancel", first, second, *port).returncode == 0
    assert "cancelled" in next(line for line in run("jobs", *port).stdout.splitlines() if "long two" in line)
    again = run("cancel", second, *port)
    assert again.returncode == 2 and f"no job {second} waits or runs" in again.stderr
    assert run("cancel", "--all", *port).returncode == 0
    with daemon.client() as bridge:
        bridge.request("/musicgen/sync")
    states = {one["state"] for one in json.loads(run("jobs", "--json", *port).stdout)["jobs"][-3:]}
    assert states <= {"cancelled", "running"}  # one that runs ends with its worker's next step
    assert run("cancel", *port).returncode == 2


def test_ctrl_c_cancels_the_daemon_s_job(daemon) -> None:
    command = [*COMMAND, "render", "slow pad", "--seconds", "120", "--port", str(daemon.port)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while "generating" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 130
    ran = run("send", "/musicgen/list", "what", "jobs", "--port", daemon.port)
    assert " cancelled " in ran.stdout.splitlines()[0]


def test_stop_ends_the_daemon_and_waits_for_it(new_daemon) -> None:
    running = new_daemon().start()
    ran = run("stop", "--port", running.port, "--state", running.state)
    assert ran.returncode == 0, ran.stderr
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", running.port))
    assert running.process.wait(PATIENCE_S) == 0


def test_stop_needs_the_daemon_s_own_token(daemon, tmp_path: Path) -> None:
    ran = run("stop", "--port", daemon.port, "--state", tmp_path / "elsewhere")
    assert ran.returncode == 1 and ran.stderr.startswith("E_AUTH ")
    assert daemon.status()["state"] == "ready"


def test_by_itself_it_renders_exactly_and_the_same_take_again(tmp_path: Path, tune: Path) -> None:
    (tmp_path / "song").mkdir()
    ask = ("render", "warm lead", *BAR, "--melody", tune.name, "--project", "song", "--json", "--port", free_port())
    first = run(*ask, cwd=tmp_path)
    (stem,) = stems_of(first)
    assert stem == {"path": stem["path"], "frames": BAR_FRAMES, "sample_rate": 48_000, "bpm": 126.5, "seed": 3}
    assert Path(str(stem["path"])).parent == (tmp_path / "song" / "MusicGen").resolve()
    assert soundfile.info(str(stem["path"])).frames == BAR_FRAMES
    assert "generating" in first.stderr
    assert "no daemon answers on 127.0.0.1:" in first.stderr

    sidecar = Path(str(stem["path"])).with_suffix(".json")
    (second,) = stems_of(run("render", "--again", sidecar, "--json", "--port", free_port()))
    assert second["path"] != stem["path"]
    assert np.array_equal(samples(second), samples(stem))
    (third,) = stems_of(run("render", "--again", sidecar, "--seed", 4, "--json", "--port", free_port()))
    assert not np.array_equal(samples(third), samples(stem))


def test_by_itself_a_preset_s_length_gives_way_to_a_flag(tmp_path: Path) -> None:
    ask = ("render", "--preset", 1, "--seconds", 0.5, "--sample-rate", 44_100, "--json", "--port", free_port())
    (stem,) = stems_of(run(*ask, cwd=tmp_path))
    assert stem["frames"] == 22_050
    assert (tmp_path / "MusicGen").is_dir()


@posix
def test_ctrl_c_ends_a_render_by_itself(tmp_path: Path) -> None:
    command = [*COMMAND, "render", "slow pad", "--seconds", "120", "--port", str(free_port())]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while "generating" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 130
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_the_demonstration_leaves_three_exact_stems(tmp_path: Path) -> None:
    ran = run("demo", "--project", "demo-project", cwd=tmp_path)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    lengths = sorted(soundfile.info(path).frames for path in (tmp_path / "demo-project" / "MusicGen").glob("*.wav"))
    # floor(B * n * 4/d * 60 * 48000 / 126.5 + 0.5) for 4 bars of 7/8, 2 and 4 bars of 4/4
    assert lengths == [182_134, 318_735, 364_269]
    assert ran.stdout.count("→ /musicgen/render") == 3 and ran.stdout.count("← /musicgen/done") == 3
