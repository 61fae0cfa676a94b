"""The client against a real daemon, with a relay between them that loses, doubles and cuts off."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from musicgen_bridge.client import Bridge, pairs
from musicgen_bridge.control.osc_codec import Message, decode
from musicgen_bridge.errors import ArgumentError, CancelledError, ProtocolError
from musicgen_bridge.request import Progress
from tests.conftest import PATIENCE_S

LONG = {"prompt": "slow pad", "seconds": 60.0, "seed": 1}
HALF_BAR = {"prompt": "techno drum loop", "bars": 0.5, "bpm": 126.5, "seed": 3}


class Relay:
    """Stands between one client and the daemon; `passes` says how often a message goes on: 0 loses it, 2 doubles it."""

    def __init__(self, port: int, passes: Callable[[str], int]) -> None:
        self._port, self._passes = port, passes
        self._near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._far = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._near.bind(("127.0.0.1", 0))
        self._far.bind(("127.0.0.1", 0))
        self._client: tuple[str, int] | None = None
        self.port = int(self._near.getsockname()[1])
        for work in (self._there, self._back):
            threading.Thread(target=work, daemon=True).start()

    def _there(self) -> None:
        while True:
            data, self._client = self._near.recvfrom(65_536)
            for _ in range(self._passes(address_of(data))):
                self._far.sendto(data, ("127.0.0.1", self._port))

    def _back(self) -> None:
        while True:
            data = self._far.recv(65_536)
            assert self._client is not None
            for _ in range(self._passes(address_of(data))):
                self._near.sendto(data, self._client)


def address_of(data: bytes) -> str:
    message = decode(data)
    assert isinstance(message, Message)
    return message.address


def losing(address: str, count: int) -> Callable[[str], int]:
    """Lose the first `count` messages to an address."""
    left = [count]

    def passes(seen: str) -> int:
        if seen == address and left[0]:
            left[0] -= 1
            return 0
        return 1

    return passes


@pytest.fixture
def through(daemon) -> Iterator[Callable[[Callable[[str], int]], Bridge]]:
    bridges: list[Bridge] = []

    def make(passes: Callable[[str], int]) -> Bridge:
        bridges.append(Bridge.connect(port=Relay(daemon.port, passes).port, timeout=PATIENCE_S))
        return bridges[-1]

    yield make
    for bridge in bridges:
        bridge.close()


def jobs_of(bridge: Bridge) -> list[dict[str, object]]:
    """Return the jobs of this very client."""
    rows = [
        dict(zip(reply.arguments[3::2], reply.arguments[4::2], strict=True))
        for reply in bridge.request("/musicgen/list", {"what": "jobs"})
    ]
    return [row for row in rows if row.get("client") == bridge._greeting["client"]]


@pytest.mark.parametrize("lost", ["/musicgen/hello", "/musicgen/render", "/musicgen/queued", "/musicgen/done"])
def test_what_is_lost_is_sent_again_and_stays_one_job(lost: str, through) -> None:
    bridge = through(losing(lost, 2))
    (stem,) = bridge.render(HALF_BAR)
    assert Path(stem.path).is_file()
    assert [job["state"] for job in jobs_of(bridge)] == ["done"]


def test_a_lost_item_of_a_list_is_asked_for_again(through, daemon) -> None:
    with daemon.client() as direct:
        whole = direct.request("/musicgen/list", {"what": "presets"})
    found = through(losing("/musicgen/list.reply", 3)).request("/musicgen/list", {"what": "presets"})
    assert sorted(str(reply.arguments[1:]) for reply in found) == sorted(str(reply.arguments[1:]) for reply in whole)


def test_doubled_messages_give_one_job_and_each_stem_once(through) -> None:
    bridge = through(lambda address: 2)
    stems = bridge.render(HALF_BAR | {"variations": 2})
    assert [(stem.index, stem.total) for stem in stems] == [(0, 2), (1, 2)]
    assert len(jobs_of(bridge)) == 1


def test_every_digit_of_a_tempo_arrives(daemon) -> None:
    with daemon.client() as bridge:
        (stem,) = bridge.render(HALF_BAR | {"bpm": 126.123456789})
    assert json.loads(Path(stem.path).with_suffix(".json").read_text("utf-8"))["request"]["bpm"] == 126.123456789


def test_an_interrupt_cancels_the_job(daemon) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.stage == "generating":
            raise KeyboardInterrupt

    with daemon.client() as bridge:
        with pytest.raises(KeyboardInterrupt):
            bridge.render(LONG, interrupt)
        (job,) = jobs_of(bridge)
        with pytest.raises(CancelledError):
            list(bridge.replies(str(job["target"]), "/musicgen/render", LONG, patience=PATIENCE_S))


def test_a_daemon_that_is_killed_and_started_again_goes_on_with_the_job(new_daemon) -> None:
    first = new_daemon().start()
    killed: list[object] = []

    def kill(progress: Progress) -> None:
        if progress.stage == "generating" and not killed:
            first.kill()
            killed.append(new_daemon(port=first.port).start())

    with first.client() as bridge:
        (stem,) = bridge.render(HALF_BAR | {"bars": 4.0}, kill)
        assert killed and Path(stem.path).is_file()
        assert [job["state"] for job in jobs_of(bridge)] == ["done"]


def test_a_refusal_is_the_error_of_its_code(daemon) -> None:
    with daemon.client() as bridge:
        with pytest.raises(ArgumentError, match='did you mean "bars"'):
            bridge.request("/musicgen/render", {"prompt": "x", "bar": 4})
        with pytest.raises(ProtocolError, match="/musicgen/ping"):
            bridge.request("/musicgen/pings")


def test_a_plain_request_gives_its_one_answer(daemon) -> None:
    with daemon.client() as bridge:
        (reply,) = bridge.request("/musicgen/session", {"bpm": 126.5, "signature": "7/8"})
        assert pairs(reply) | {"bpm": 126.5, "signature": "7/8"} == pairs(reply)
        (pong,) = bridge.request("/musicgen/ping")
        assert pong.arguments[1:] == (bridge.instance, "ready")


def test_two_clients_never_use_the_same_id(daemon) -> None:
    with daemon.client() as one, daemon.client() as other:
        ids = [bridge.new_id() for bridge in (one, other) for _ in range(3)]
    assert len(set(ids)) == 6
    assert max(len(rid) for rid in ids) < 60


def test_a_closed_port_and_a_silent_one_are_no_daemon() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        with pytest.raises(ConnectionError, match=f"127.0.0.1:{port}"):
            Bridge.connect(port=port, timeout=0.3)
    with pytest.raises(ConnectionError, match="musicgen-bridge start"):
        Bridge.connect(port=port)


def test_an_unknown_host_is_told_as_such() -> None:
    with pytest.raises(ArgumentError, match=r"no\.such\.host\.invalid"):
        Bridge.connect("no.such.host.invalid")


@pytest.mark.parametrize("text", ["tab\0le", "/music/caf\udce9.wav"], ids=["NUL", "no UTF-8"])
def test_what_no_message_can_carry_is_told_by_its_key(daemon, text: str) -> None:
    with Bridge.connect(port=daemon.port) as bridge, pytest.raises(ArgumentError, match="melody holds what is no text"):
        bridge.render({"melody": text})


def test_a_request_that_is_too_long_for_a_message_is_told(daemon) -> None:
    with Bridge.connect(port=daemon.port) as bridge, pytest.raises(ArgumentError, match="shorten its texts"):
        bridge.render({"prompt": 70_000 * "a"})
