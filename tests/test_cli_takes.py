"""Takes of a real daemon and what is made of them: cut anew over the wire, from the shell and from Python."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from musicgen_bridge.client import Rendered
from musicgen_bridge.errors import ArgumentError
from tests.conftest import free_port
from tests.test_cli_render import run, samples, stems_of


def told(path: object) -> dict[str, object]:
    """Return the sidecar beside a stem."""
    return json.loads(Path(str(path)).with_suffix(".json").read_text("utf-8"))


@pytest.fixture(scope="module")
def take(daemon) -> Rendered:
    """Two bars of drums."""
    with daemon.client() as bridge:
        (stem,) = bridge.render({"prompt": "house drum loop", "bars": 2.0, "bpm": 122.5, "seed": 3})
    return stem


def test_a_take_is_cut_anew_from_python_and_from_the_shell(daemon, take) -> None:
    before = Path(take.path).read_bytes()
    with daemon.client() as bridge:
        (moved,) = bridge.render({"take": take.path, "shift_beats": 0.5, "bars": 1.0}, address="/musicgen/recut")
    assert (moved.frames, moved.bpm) == (94_041, 122.5)  # floor(4 * 60 * 48000 / 122.5 + 0.5)
    began = float(told(take.path)["report"]["downbeat_s"])
    # half a beat of the take's own, which is as long as the session's divided by the stretch
    later = 0.5 * 60 / float(told(take.path)["report"]["bpm"])
    assert told(moved.path)["report"]["downbeat_s"] == pytest.approx(began + later, abs=1e-3)
    assert told(moved.path)["request"]["take"] == take.path

    ask = ("recut", take.path, "--shift-beats", 0.5, "--bars", 1, "--json", "--port")
    (through,) = stems_of(run(*ask, daemon.port))
    (alone,) = stems_of(run(*ask, free_port()))
    assert len({moved.path, through["path"], alone["path"]}) == 3
    assert np.array_equal(samples(through), samples({"path": moved.path}))
    assert np.array_equal(samples(alone), samples(through))
    assert Path(take.path).read_bytes() == before


def test_outside_of_its_limits_one_line_says_how_far_it_goes(daemon, take) -> None:
    ran = run("recut", take.path, "--bars", 8, "--port", daemon.port)
    assert ran.returncode == 2
    assert ran.stderr.splitlines()[-1].startswith("E_ARGS from there the raw take holds ")
    with daemon.client() as bridge, pytest.raises(ArgumentError, match="it can be cut anew at"):
        bridge.render({"take": take.path, "bpm": 300.0}, address="/musicgen/recut")
