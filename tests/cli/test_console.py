"""What stands in the terminal: a bar where it is one, lines where it is not, tables whole in a pipe."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from musicgen_bridge.cli.console import meter, progress, table
from musicgen_bridge.request import Progress

SHOWN = """
from musicgen_bridge.cli.console import progress
from musicgen_bridge.request import Progress
with progress() as tell:
    tell(Progress(fraction=0.0, eta_s=-1.0, stage="waiting"))
    tell(Progress(fraction=0.25, eta_s=7.0, stage="generating"))
"""


def test_without_a_terminal_each_stage_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as tell:
        for fraction, eta, stage in ((0.0, -1.0, "waiting"), (0.1, -1.0, "generating"), (0.5, 4.0, "generating")):
            tell(Progress(fraction=fraction, eta_s=eta, stage=stage))
        tell(Progress(fraction=0.95, eta_s=0.6, stage="matching"))
    written = capsys.readouterr()
    assert written.err.splitlines() == ["waiting  0%", "generating  10%", "matching  95%  1 s to go"]
    assert written.out == ""


@pytest.mark.skipif(os.name != "posix", reason="Windows has no pseudo-terminals in the standard library")
def test_in_a_terminal_a_bar_has_stage_share_and_time_to_go() -> None:
    import pty

    near, far = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "80"}
    with subprocess.Popen([sys.executable, "-c", SHOWN], stderr=far, stdout=subprocess.PIPE, env=environment) as run:
        os.close(far)
        drawn = b""
        while block := _read(near):
            drawn += block
        assert run.stdout is not None and run.stdout.read() == b""
    os.close(near)
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", drawn.decode())
    assert re.search(r"generating +[━╺]+ +25% 7 s to go", plain)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # Linux's way of telling the end
        return b""


def test_in_a_pipe_a_table_s_lines_are_whole(capsys: pytest.CaptureFixture[str]) -> None:
    path = "/home/me/" + "very-long-" * 30
    table(("name", "path"), [("a [b]", path), (3, "x")])
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split() == ["a", "[b]", path] for line in lines)
    assert any(line.split() == ["3", "x"] for line in lines)


def test_a_meter_goes_from_60_below_full_scale_to_full_scale() -> None:
    assert meter(None) == ""
    assert meter(-138.0) == f"{'░' * 20} -138 dB"
    assert meter(-30.0) == f"{'█' * 10}{'░' * 10} -30 dB"
    assert meter(0.0) == f"{'█' * 20} 0 dB  clips"


def test_a_recording_s_level_stands_in_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as tell:
        tell(Progress(fraction=0.0, eta_s=2.0, stage="recording", level=-30.0))
    assert capsys.readouterr().err == f"recording  0%  2 s to go  {'█' * 10}{'░' * 10} -30 dB\n"
