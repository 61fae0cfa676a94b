"""Takes of a real daemon and what is made of them: cut anew over the wire, from the shell and from Python."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from musicgen_bridge.client import Rendered
from musicgen_bridge.errors import ArgumentError, BridgeError
from tests.cli.shell import run, samples, stems_of
from tests.conftest import free_port


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
    assert ran.stderr.splitlines()[-1].startswith("E_ARGS what the model played is enough for ")
    with daemon.client() as bridge, pytest.raises(ArgumentError, match="it can be cut anew at"):
        bridge.render({"take": take.path, "bpm": 300.0}, address="/musicgen/recut")


def test_the_best_of_several_parts_and_their_mix(daemon) -> None:
    keys = {"parts": "drums: house drum loop; bass: deep bass", "best_of": 2, "mix": True, "bars": 1.0, "bpm": 124.0}
    with daemon.client() as bridge:
        stems = bridge.render({**keys, "seed": 20, "key": "A minor"})
    takes = [told(stem.path) for stem in stems]
    assert [take["part"]["name"] for take in takes] == ["drums", "bass", "mix"]
    assert {(stem.total, stem.frames) for stem in stems} == {(3, 92_903)}  # floor(4 * 60 * 48000 / 124 + 0.5)
    for take, seeds in zip(takes, ([20, 21], [22, 23]), strict=False):
        candidates = take["report"]["candidates"]
        assert [one["seed"] for one in candidates] == seeds
        assert take["seed"] == max(candidates, key=lambda one: one["total"])["seed"]
        assert all(0 <= one[name] <= 1 for one in candidates for name in ("total", "tempo", "downbeat", "key"))
    assert takes[2]["report"]["mix"] == ["drums", "bass"]
    assert takes[2]["report"]["true_peak_db"] <= -0.9


def test_a_section_is_made_anew_and_the_rest_stays(daemon, take) -> None:
    wanted = {"fill": take.path, "fill_start": 1.96, "fill_end": 2.94, "prompt": "house drum loop", "seed": 8}
    with daemon.client() as bridge:
        bridge.request("/musicgen/session", {"sample_rate": 44_100})
        (new,) = bridge.render(wanted)
        bridge.request("/musicgen/session", {"sample_rate": 48_000})
    assert (new.frames, new.sample_rate) == (take.frames, take.sample_rate)
    old, filled = samples({"path": take.path}), samples({"path": new.path})
    changed = np.flatnonzero(np.abs(filled - old).reshape(len(old), -1).max(axis=1))
    assert round(1.92 * 48_000) <= changed[0] < round(2.0 * 48_000)
    assert round(2.9 * 48_000) < changed[-1] <= round(2.94 * 48_000)
    request = told(new.path)["request"]
    assert (request["mode"], request["fill"], request["seed"]) == ("fill", take.path, 8)
    assert (request["bars"], request["bpm"], request["loop"]) == (told(take.path)["request"]["bars"], 122.5, True)
    assert new.bpm == 122.5 and b"smpl" in Path(new.path).read_bytes()[:4096]
    with daemon.client() as bridge:
        (unmatched,) = bridge.render(wanted | {"match": False})
    assert unmatched.bpm == 122.5 and b"smpl" in Path(unmatched.path).read_bytes()[:4096]
    ran = run("recut", new.path, "--bars", 1, "--port", daemon.port)
    assert ran.returncode == 2 and "fill that again" in ran.stderr


def test_of_a_recording_without_a_sidecar_the_tempo_is_heard(daemon, take) -> None:
    recording = daemon.song / "bounce.wav"
    recording.write_bytes(Path(take.path).read_bytes())
    with daemon.client() as bridge:
        (new,) = bridge.render({"fill": str(recording), "fill_start": 1.96, "fill_end": 2.94, "seed": 8})
    request = told(new.path)["request"]
    assert request["bpm"] == pytest.approx(122.5, rel=0.01)
    assert (request["seconds"], request["loop"]) == (take.frames / take.sample_rate, False)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"fill_start": 1.0}, "give fill_start, and fill_end behind it"),
        ({"fill_start": 0.1, "fill_end": 1.0}, "fill_start is at least 0.5"),
        ({"fill_start": 1.0, "fill_end": 2.0, "best_of": 2}, "fill goes with none of"),
        ({"fill_start": 1.0, "fill_end": 20.0}, "fill_end lies behind its end"),
    ],
)
def test_a_section_that_is_none_is_refused(daemon, take, keys, says) -> None:
    with daemon.client() as bridge, pytest.raises(BridgeError, match=says):
        bridge.render({"fill": take.path, **keys})
