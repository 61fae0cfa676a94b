"""The files by which a program without sockets renders: request, report, cancel; with the real command line."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from musicgen_bridge.cli.spool import Spool
from musicgen_bridge.errors import ArgumentError
from musicgen_bridge.request import Progress
from tests.conftest import COMMAND, PATIENCE_S, Daemon


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tâke 1.json"


def report(file: Path) -> dict[str, dict]:
    return json.loads(Path(f"{file}.report").read_text("utf-8"))


def render(daemon: Daemon, file: Path, *flags: str) -> subprocess.Popen[str]:
    command = [*COMMAND, "render", "--spool", str(file), "--port", str(daemon.port), *flags]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8")


def test_progress_is_replaced_by_the_end(file: Path) -> None:
    spool = Spool(file)
    spool.progress(Progress(fraction=0.5, eta_s=2.0, stage="generating"))
    assert report(file) == {"progress": {"fraction": 0.5, "eta_s": 2.0, "stage": "generating"}}
    spool.end({"stems": []})
    assert report(file) == {"stems": []}
    assert [path.name for path in file.parent.iterdir()] == ["tâke 1.json.report"]


def test_a_cancel_file_interrupts_the_next_progress(file: Path) -> None:
    Path(f"{file}.cancel").touch()
    with pytest.raises(KeyboardInterrupt):
        Spool(file).progress(Progress(fraction=0.5, eta_s=2.0, stage="generating"))


@pytest.mark.parametrize("text", [None, "", "[]", '{"prompt": ', "\xff", "[" * 100_000])
def test_what_is_no_object_is_refused(file: Path, text: str | None) -> None:
    if text is not None:
        file.write_text(text, "latin-1")
    with pytest.raises(ArgumentError, match="write the render keys to it"):
        Spool(file).request()


def test_a_render_reads_its_keys_and_reports_what_json_prints(daemon: Daemon, file: Path) -> None:
    prompt = 'o\'ne "two" `three` %PATH% $HOME\nüber'
    keys = {"prompt": prompt, "bars": 1, "bpm": 97.5, "signature": "7/8", "sample_rate": 44100, "loop": False}
    file.write_text(json.dumps(keys, ensure_ascii=False), "utf-8")
    ran = render(daemon, file, "--seed", "7", "--json")
    assert ran.communicate()[1] is not None and ran.returncode == 0
    (stem,) = report(file)["stems"]
    # floor(1 * 7 * 4/8 * 60 * 44100 / 97.5 + 0.5)
    assert stem | {"path": ""} == {"path": "", "frames": 94_985, "sample_rate": 44100, "bpm": 97.5, "seed": 7}
    request = json.loads(Path(stem["path"]).with_suffix(".json").read_text("utf-8"))["request"]
    assert (request["prompt"], request["loop"]) == (prompt, False)


@pytest.mark.parametrize(
    ("keys", "code"),
    [({"prompt": "x", "project": "nowhere"}, "E_PATH"), ({"promt": "x"}, "E_ARGS"), ({"bars": "two"}, "E_ARGS")],
)
def test_a_failure_is_reported(daemon: Daemon, file: Path, keys: dict[str, str], code: str) -> None:
    file.write_text(json.dumps(keys))
    stderr = render(daemon, file).communicate()[1]
    error = report(file)["error"]
    assert error["code"] == code and f"{code} {error['text']}" in stderr


def test_a_wrong_flag_is_reported_too(daemon: Daemon, file: Path) -> None:
    render(daemon, file, "--format", "mp3").communicate()
    assert report(file)["error"]["code"] == "E_ARGS"


def test_a_cancel_file_ends_the_daemon_s_job(daemon: Daemon, file: Path) -> None:
    file.write_text(json.dumps({"prompt": "slow pad", "seconds": 120}))
    with render(daemon, file) as process:
        assert process.stderr is not None
        while "generating" not in str(report(file) if Path(f"{file}.report").exists() else ""):
            assert process.poll() is None
        Path(f"{file}.cancel").touch()
        assert process.wait(PATIENCE_S) == 130
    assert report(file)["error"]["code"] == "E_CANCELLED"
    with daemon.client() as bridge:
        newest = bridge.request("/musicgen/list", {"what": "jobs"})[0]
    assert ("state", "cancelled") in zip(newest.arguments[3::2], newest.arguments[4::2], strict=True)
