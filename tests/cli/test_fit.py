"""The command fit: by itself and through a real daemon, its answer, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests import small_demucs
from tests.cli.shell import run, samples, stems_of
from tests.conftest import free_port

RATE = 44_100
SESSION = ("--bpm", 126.5, "--signature", "4/4", "--sample-rate", 48_000)


@pytest.fixture
def clicks(tmp_path: Path) -> Path:
    """Eight bars of clicks at 118, the first of each bar twice as loud over a bass that enters with it."""
    beat = 60 / 118
    out = np.zeros(round(34 * beat * RATE))
    for number in range(32):
        at = round((0.25 + number * beat) * RATE)
        time = np.arange(2_000) / RATE
        tone = np.sin(2 * np.pi * (60 if number % 4 == 0 else 1_500) * time) * np.exp(-time / 0.02)
        out[at : at + 2_000] += (0.8 if number % 4 == 0 else 0.3) * tone
    path = tmp_path / "clicks.wav"
    soundfile.write(path, out, RATE)
    return path


def test_by_itself_it_writes_where_it_is_told_and_says_what_it_did(tmp_path: Path, clicks: Path) -> None:
    before = clicks.read_bytes()
    ask = ("fit", "clicks.wav", *SESSION, "--bars", 4, "--out", "new/fitted", "--json", "--port", free_port())
    (stem,) = stems_of(run(*ask, cwd=tmp_path))
    out = tmp_path / "new" / "fitted"
    assert stem["path"] == str(out / Path(str(stem["path"])).name)
    assert sorted(path.suffix for path in out.iterdir()) == [".json", ".wav"]
    assert (
        stem["frames"] == soundfile.info(str(stem["path"])).frames == 364_269
    )  # floor(4 * 4 * 60 * 48000 / 126.5 + .5)
    assert stem["source_bpm"] == pytest.approx(118, rel=1e-3)
    assert stem["stretch"] == pytest.approx(126.5 / 118, rel=1e-3)
    assert stem["downbeat_s"] == pytest.approx(0.25, abs=0.01)
    assert (stem["file"], stem["bars"], stem["bpm"], stem["sample_rate"]) == ("clicks.wav", 4, 126.5, 48_000)
    assert {"confidence", "key", "key_confidence", "lufs", "true_peak_db", "part", "warnings"} <= stem.keys()
    assert clicks.read_bytes() == before


def test_several_recordings_and_nothing_overwritten(tmp_path: Path, clicks: Path) -> None:
    (tmp_path / "other.flac").touch()
    soundfile.write(tmp_path / "other.flac", soundfile.read(clicks)[0][: 3 * RATE], RATE)
    ask = ("fit", "clicks.wav", "other.flac", "clicks.wav", "--bars", 1, "--project", ".", "--port", free_port())
    paths = {Path(path) for path in run(*ask, cwd=tmp_path).stdout.splitlines()}
    assert paths == set((tmp_path / "MusicGen").glob("*.wav"))
    assert sorted(path.name.partition("_")[0] for path in paths) == ["clicks", "clicks", "other"]


def test_what_was_done_is_told_beside_what_failed(tmp_path: Path, clicks: Path) -> None:
    (tmp_path / "bad.wav").write_text("no audio")
    ask = ("fit", "clicks.wav", "bad.wav", "nowhere.wav", "clicks.wav", "--bars", 1, "--out", "out")
    ran = run(*ask, "--port", free_port(), cwd=tmp_path)
    assert ran.returncode == 1
    assert set(ran.stdout.split()) == {str(path) for path in (tmp_path / "out").glob("*.wav")}
    told = [line for line in ran.stderr.splitlines() if line.startswith("E_")]
    assert [line.split()[1] for line in told] == ["bad.wav:", "nowhere.wav:"]

    ran = run(*ask, "--json", "--port", free_port(), cwd=tmp_path)
    answer = json.loads(ran.stdout)
    assert [stem["file"] for stem in answer["stems"]] == ["clicks.wav", "clicks.wav"]
    assert answer["error"]["code"] == "E_AUDIO" and "nowhere.wav" in answer["error"]["text"]
    assert ran.returncode == 1


def test_what_is_wrong_with_all_is_told_once(tmp_path: Path, clicks: Path) -> None:
    ran = run("fit", clicks, clicks, "other.wav", "--bars", 1000, "--out", "out", "--port", free_port(), cwd=tmp_path)
    assert ran.returncode == 2
    assert ran.stderr.count("too long") == 1


def test_warnings_are_told(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "pad.wav", 0.2 * np.sin(np.arange(2 * RATE) / 30), RATE)
    ran = run("fit", "pad.wav", "--bars", 4, "--out", ".", "--json", "--port", free_port(), cwd=tmp_path)
    (stem,) = stems_of(ran)
    assert ["no beat" in stem["warnings"][0], "s too short" in stem["warnings"][1]] == [True, True]
    assert "pad.wav: no beat was heard" in ran.stderr


def test_stems_of_a_mix_by_the_command_line(tmp_path: Path, clicks: Path) -> None:
    (tmp_path / "demucs").mkdir()
    small_demucs.make(tmp_path / "demucs", suffix=".th")
    untouched = ("--no-match", "--no-loop", "--loudness", "off", "--sample-rate", RATE, "--out", "stems")
    separate = ("--separate", "drums, bass, other, vocals", "--demucs", "demucs")
    stems = stems_of(run("fit", clicks, *untouched, *separate, "--json", "--port", free_port(), cwd=tmp_path))
    assert [stem["part"] for stem in stems] == ["drums", "bass", "other", "vocals"]
    whole = soundfile.read(clicks)[0]
    rest = sum(samples(stem) for stem in stems) - whole
    assert 10 * np.log10(np.mean(rest**2) / np.mean(whole**2)) < -60


def test_without_weights_it_says_how_to_get_them(tmp_path: Path, clicks: Path) -> None:
    ran = run("fit", clicks, "--separate", "drums", "--out", tmp_path, "--json", "--port", free_port())
    assert ran.returncode == 1
    error = json.loads(ran.stdout)["error"]
    assert error["code"] == "E_MODEL" and "models pull demucs" in error["text"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("bad.wav",), 1, "E_AUDIO"),
        (("nowhere.wav",), 1, "E_PATH"),
        (("bad.wav", "--bars", 2, "--seconds", 3), 2, "give one length"),
        (("bad.wav", "--bpm", 2), 2, "bpm must be from 20"),
        ((), 2, "name a recording"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, arguments: tuple[object, ...], code: int, said: str) -> None:
    (tmp_path / "bad.wav").write_text("no audio")
    ran = run("fit", *arguments, "--port", free_port(), cwd=tmp_path)
    assert ran.returncode == code
    assert said in ran.stderr and "Traceback" not in ran.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bad.wav"]


def test_a_daemon_does_it_in_its_session_s_time(daemon, clicks: Path) -> None:
    mine = daemon.song / "clicks.wav"
    mine.write_bytes(clicks.read_bytes())
    with daemon.client() as bridge:
        bridge.request("/musicgen/session", {"bpm": 110.0, "sample_rate": 44_100})
        bridge.request("/musicgen/set", {"prompt": "techno", "variations": 3, "bars": 2.0})
    (stem,) = stems_of(run("fit", mine, "--json", "--port", daemon.port))
    # floor(2 * 4 * 60 * 44100 / 110 + 0.5): the daemon's default length; of its other defaults only what fits
    assert (stem["frames"], stem["sample_rate"], stem["bpm"]) == (192_436, 44_100, 110.0)
    assert Path(str(stem["path"])).parent == daemon.song.resolve() / "MusicGen"
    with daemon.client() as bridge:
        newest = bridge.request("/musicgen/list", {"what": "jobs"})[0]
    assert ("state", "done") in zip(newest.arguments[3::2], newest.arguments[4::2], strict=True)

    sidecar = Path(str(stem["path"])).with_suffix(".json")
    (again,) = stems_of(run("render", "--again", sidecar, "--json", "--port", free_port()))
    assert np.array_equal(samples(again), samples(stem))


def test_with_a_folder_of_its_own_it_still_takes_the_daemon_s_session(daemon, tmp_path: Path, clicks: Path) -> None:
    with daemon.client() as bridge:
        bridge.request("/musicgen/session", {"bpm": 131.25, "signature": "4/4", "sample_rate": 48_000})
    outside = tmp_path / "outside"  # of the daemon's roots
    (stem,) = stems_of(run("fit", clicks, "--bars", 2, "--out", outside, "--json", "--port", daemon.port))
    assert (stem["bpm"], stem["frames"]) == (131.25, 175_543)
    assert Path(str(stem["path"])).parent == outside


def test_a_daemon_reads_below_its_roots_only(daemon, clicks: Path) -> None:
    ran = run("fit", clicks, "--port", daemon.port)
    assert ran.returncode == 1
    assert ran.stderr.startswith("E_PATH ") and "allowed folders" in ran.stderr


def test_a_spooled_fit_reports(tmp_path: Path, clicks: Path) -> None:
    spool = tmp_path / "job.json"
    keys = {"file": str(clicks), "bars": 1, "bpm": 126.5, "project": str(tmp_path)}
    spool.write_text(json.dumps(keys))
    assert run("fit", "--spool", spool, "--port", free_port()).returncode == 0
    (stem,) = json.loads((tmp_path / "job.json.report").read_text())["stems"]
    assert stem["frames"] == 91_067
    spool.write_text(json.dumps({"bars": 1}))
    assert run("fit", "--spool", spool, "--port", free_port()).returncode == 2
    assert "needs a recording" in json.loads((tmp_path / "job.json.report").read_text())["error"]["text"]
