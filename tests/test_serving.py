"""Several renders at once through a real daemon and its worker, and models that leave memory and come again."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
import soundfile

from musicgen_bridge.client import Rendered, pairs
from musicgen_bridge.errors import BridgeError
from tests.conftest import PATIENCE_S, Daemon

ASKED = [
    {"prompt": "techno drum loop", "seconds": 2.0, "seed": 1},
    {"prompt": "sub bass", "seconds": 1.0, "seed": 2},
    {"prompt": "warm pad", "seconds": 1.5, "seed": 3, "format": "flac"},
]


class Render(threading.Thread):
    """A render that is followed by a client of its own."""

    def __init__(self, daemon: Daemon, values: dict[str, object]) -> None:
        super().__init__(daemon=True)
        self.bridge, self.values = daemon.client(), {"match": False, "loop": False, **values}
        self.stems: list[Rendered] = []
        self.error: BridgeError | None = None
        self.stages: set[str] = set()
        self.start()

    def run(self) -> None:
        try:
            self.stems = self.bridge.render(self.values, lambda now: self.stages.add(now.stage))
        except BridgeError as error:
            self.error = error

    def audio(self) -> np.ndarray:
        self.join(PATIENCE_S)
        assert self.stems, self.error
        return soundfile.read(self.stems[0].path)[0]


def wait_for(what: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.fixture(scope="module")
def alone(daemon: Daemon) -> list[np.ndarray]:
    """What is asked for, each with nobody beside it."""
    return [Render(daemon, values).audio() for values in ASKED]


def test_in_company_everybody_gets_what_it_gets_alone(daemon: Daemon, alone: list[np.ndarray]) -> None:
    renders = [Render(daemon, values) for values in ASKED]
    renders.append(Render(daemon, {"melody": str(daemon.root / "song" / "gone.wav")}))
    for render, wanted in zip(renders, alone, strict=False):
        assert np.array_equal(render.audio(), wanted)
    renders[-1].join(PATIENCE_S)
    assert renders[-1].error is not None and renders[-1].error.code == "E_PATH"


def test_several_are_in_hand_at_once_and_a_cancel_ends_one(daemon: Daemon, alone: list[np.ndarray]) -> None:
    first = Render(daemon, {**ASKED[0], "seconds": 20.0})
    wait_for(lambda: "generating" in first.stages)
    others = [Render(daemon, values) for values in ASKED[1:]]
    wait_for(lambda: daemon.status()["running"] == 3)
    with daemon.client() as bridge:
        _, _, oldest = (pairs(reply) for reply in bridge.request("/musicgen/list", {"what": "jobs"})[:3])
    first.bridge.send("c", "/musicgen/cancel", {"target": oldest["target"]})
    first.join(PATIENCE_S)
    assert first.error is not None and first.error.code == "E_CANCELLED"
    for render, wanted in zip(others, alone[1:], strict=True):
        assert np.array_equal(render.audio(), wanted)


@pytest.mark.skipif(os.name != "posix", reason="kills the worker as POSIX can")
def test_a_dead_worker_loses_none_of_those_in_hand(daemon: Daemon, alone: list[np.ndarray]) -> None:
    renders = [Render(daemon, values) for values in ASKED]
    wait_for(lambda: any("generating" in render.stages for render in renders) and daemon.status()["running"] == 3)
    before = daemon.worker.pid
    daemon.worker.kill()
    for render, wanted in zip(renders, alone, strict=True):
        assert np.array_equal(render.audio(), wanted)
    assert daemon.worker.pid != before


def test_a_model_leaves_memory_and_comes_again(daemon: Daemon) -> None:
    assert daemon.status()["loaded"] == "starter"
    with daemon.client() as bridge:
        bridge.request("/musicgen/unload", {"model": "starter"})
        wait_for(lambda: daemon.status()["loaded"] == "")
        assert daemon.status() | {"state": "ready", "model": "starter"} == daemon.status()
        bridge.render({**ASKED[1], "match": False})
        assert daemon.status()["loaded"] == "starter"
        with pytest.raises(BridgeError) as caught:
            bridge.request("/musicgen/unload", {"model": "nobody"})
        assert caught.value.code == "E_MODEL"


def test_after_an_idle_time_models_leave_memory(new_daemon: Callable[..., Daemon]) -> None:
    daemon = new_daemon().start("--unload-after", "1")
    wait_for(lambda: daemon.status()["loaded"] == "")
    assert "unloaded starter" in daemon.log("worker")
    with daemon.client() as bridge:
        assert len(bridge.render({**ASKED[1], "match": False})) == 1
