"""A desk on a real port with a real journal, and clients of it built on python-osc."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder
from pythonosc.tcp_client import SimpleTCPClient
from pythonosc.udp_client import SimpleUDPClient

from musicgen_bridge.asking.presets import Presets
from musicgen_bridge.control.desk import Desk
from musicgen_bridge.control.house import House, Offer
from musicgen_bridge.control.osc import serve
from musicgen_bridge.control.osc_codec import Message
from musicgen_bridge.control.replies import MAX_DATAGRAM, REPLIES
from musicgen_bridge.jobs import Jobs
from musicgen_bridge.journal import Journal
from musicgen_bridge.request import Session, Stem
from musicgen_bridge.roots import Roots
from tests.conftest import PATIENCE_S

TOKEN = "a-long-secret"
TYPES = {"i": int, "f": float, "s": str, "id": (str, int, float)}

PRESETS = {
    "break": 'slot = 1\nname = "tight-break"\n[render]\nprompt = "tight break"\nbars = 2.0\nseed = 5\n',
    "pad": 'slot = 9\nname = "wide-pad"\nsummary = "slow and wide"\n[render]\nprompt = "wide pad"\nloop = false\n',
}


class Rig:
    """The daemon's control side, its loop in a thread; a test plays the worker through `jobs`, on that loop."""

    def __init__(
        self, folder: Path, host: str = "127.0.0.1", port: int = 0, instance: str = "one", limit: int = 64
    ) -> None:
        self.folder, self.song, self.instance = folder, folder / "song", instance
        self.song.mkdir(exist_ok=True)
        for name, text in PRESETS.items():
            (folder / f"{name}.toml").write_text(text)
        self.stopped: list[bool] = []
        self.unloaded: list[str | None] = []
        self.devices: Callable[[str], list[dict[str, str | int]]] = lambda kind: [
            {"name": f"Mic {number}", "api": "Core Audio", "channels": number, "rate": 48_000, "default": number == 1}
            for number in (1, 2)
            if kind == "input"
        ]
        self.state: Callable[[], dict[str, str | int | float]] = lambda: {"state": "ready", "model": "starter"}
        self.jobs = Jobs(Journal(folder / "journal.sqlite3"), limit=limit)
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.on_loop(self._open, host, port)

    async def _open(self, host: str, port: int) -> None:
        self.server = await serve(host, port)
        offer = Offer(
            presets=Presets(self.folder),
            models={"starter": "ships with the package", "melody": "follows melodies"},
            roots=Roots.of([self.folder]),
            defaults={"model": "starter"},
            recorded="default",
        )
        house = House(
            instance=self.instance,
            token=TOKEN,
            state=lambda: self.state(),
            stop=self.stopped.append,
            unload=self.unloaded.append,
            midi=list,
            devices=lambda kind: self.devices(kind),
        )
        self.desk = Desk(self.server, self.jobs, Session(project=str(self.song)), offer, house)
        self.desk.open()

    def on_loop(self, call, *arguments):
        """Call on the loop's thread and return the result."""

        async def run():
            result = call(*arguments)
            return await result if asyncio.iscoroutine(result) else result

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(PATIENCE_S)

    @property
    def port(self) -> int:
        return self.server.port

    def finish(self, count: int = 1) -> list[Stem]:
        """End the oldest waiting job with `count` stems, as the worker would."""
        job = self.on_loop(self.jobs.take)
        stems = [
            Stem(
                index=index,
                total=count,
                path=str(self.song / "MusicGen" / f"take-{index}.wav"),
                frames=79_684,
                sample_rate=48_000,
                bpm=126.5,
                seed=1,
            )
            for index in range(count)
        ]
        self.on_loop(self.jobs.finish, job, stems)
        return stems

    def close(self) -> None:
        if self._thread.is_alive():
            self.on_loop(self.desk.close)
            self.on_loop(self.server.close)
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join()
            self.loop.close()
            self.jobs.journal.close()


class Client:
    """One client over UDP or TCP; every reply it hears is held against the table."""

    def __init__(self, port: int, transport: str = "udp") -> None:
        self.transport = transport
        if transport == "udp":
            self.osc = SimpleUDPClient("127.0.0.1", port, timeout=PATIENCE_S)
            self.osc._sock.bind(("127.0.0.1", 0))
            self.socket = self.osc._sock
        else:
            self.osc = SimpleTCPClient("127.0.0.1", port, mode="1.0", timeout=PATIENCE_S)
            self.socket = self.osc.socket
        self.address = f"{transport}:127.0.0.1:{self.socket.getsockname()[1]}"

    def send(self, address: str, *arguments, types: str | None = None) -> None:
        builder = OscMessageBuilder(address)
        for at, argument in enumerate(arguments):
            builder.add_arg(argument, types[at] if types else None)
        self.osc.send(builder.build())

    def send_bytes(self, data: bytes) -> None:
        if self.transport == "udp":
            self.socket.sendto(data, ("127.0.0.1", self.osc._port))
        else:
            self.socket.sendall(len(data).to_bytes(4, "big") + data)

    def hear(self, *addresses: str) -> Message:
        """Return the next message; heartbeats only if one of `addresses` is theirs."""
        while True:
            data = self.osc.receive()
            assert data, f"silence, while waiting for {addresses or 'anything'}"
            data = data[0] if isinstance(data, list) else data
            heard = OscMessage(data)
            message = Message(heard.address, tuple(heard.params))
            check_reply(message, data)
            if message.address != "/musicgen/heartbeat" or message.address in addresses:
                break
        assert not addresses or message.address in addresses, message
        return message

    def ask(self, address: str, *arguments, types: str | None = None) -> Message:
        self.send(address, *arguments, types=types)
        return self.hear()

    def values(self, address: str, *arguments) -> dict[str, object]:
        """Return the pairs of the answer."""
        arguments = self.ask(address, *arguments).arguments
        return dict(zip(arguments[1::2], arguments[2::2], strict=True))

    def fails(self, address: str, *arguments, types: str | None = None) -> str:
        """Return "CODE text" of the failure that must come, under the id that was sent."""
        message = self.ask(address, *arguments, types=types)
        assert message.address == "/musicgen/fail", message
        assert message.arguments[:2] == (arguments[0], address)
        return f"{message.arguments[2]} {message.arguments[3]}"

    def hears_nothing_more(self) -> bool:
        """Whether nothing lies between what was heard and an answer asked for now."""
        return self.ask("/musicgen/sync", "nothing more").address == "/musicgen/synced"

    def close(self) -> None:
        self.osc.close()


def check_reply(message: Message, data: bytes) -> None:
    """Assert that a message is one of the table's, short enough, its arguments of the fields' types."""
    assert len(data) < MAX_DATAGRAM
    assert any(fits(message, reply) for reply in REPLIES if reply.address == message.address), message


def fits(message: Message, reply) -> bool:
    count = len(reply.fields)
    fixed, rest = message.arguments[:count], message.arguments[count:]
    if len(fixed) < count or not all(isinstance(v, TYPES[f.type]) for v, f in zip(fixed, reply.fields, strict=True)):
        return False
    match reply.address:
        case "/musicgen/fail":
            return len(rest) <= 1 and all(isinstance(argument, int) for argument in rest)
        case "/musicgen/progress":
            return len(rest) <= 1 and all(isinstance(argument, float) for argument in rest)
        case "/musicgen/events.reply":
            event = Message(f"/musicgen/{fixed[-1]}", rest)
            return (not fixed[-1] and not rest) or any(fits(event, r) for r in REPLIES if r.address == event.address)
    known = {field.name: TYPES[field.type] for field in reply.pairs}
    pairs = dict(zip(rest[::2], rest[1::2], strict=True))
    return all(name in known and isinstance(value, (known[name], str)) for name, value in pairs.items())


@pytest.fixture
def make_rig(tmp_path):
    """Return a maker of rigs in one folder."""
    rigs = []

    def make(**options):
        rigs.append(Rig(tmp_path, **options))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()


@pytest.fixture
def rig(make_rig):
    return make_rig()


@pytest.fixture
def connect(rig):
    """Return a maker of clients of the rig."""
    clients = []

    def make(transport: str = "udp", port: int | None = None) -> Client:
        clients.append(Client(port or rig.port, transport))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture(params=["udp", "tcp"])
def client(request, connect):
    return connect(request.param)


@pytest.fixture
def udp(connect):
    return connect("udp")


@pytest.fixture
def tcp(connect):
    return connect("tcp")
