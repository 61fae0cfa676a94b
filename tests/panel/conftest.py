"""The page's server on a real desk; and a browser before the real daemon, one of each for all tests of the page."""

from __future__ import annotations

import http.client
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest

from musicgen_bridge.panel.serve import Panel, page_token
from musicgen_bridge.request import Part, RenderRequest
from musicgen_bridge.roots import Roots
from musicgen_bridge.stems.manifest import Take
from musicgen_bridge.stems.publish import publish
from tests.conftest import Daemon, free_port
from tests.control.conftest import TOKEN as DAEMON_TOKEN
from tests.control.conftest import Rig
from tests.panel.browser import CHROMIUM, DRIVER, Page
from tests.programs import needed

TOKEN = page_token(DAEMON_TOKEN)


def make_take(root: Path, project: Path, hertz: float = 220.0, **changes) -> Path:
    """Publish a take of sine bars, exactly as the worker does, and return the stem's path."""
    request = RenderRequest(
        **{"project": str(project), "prompt": f"sine of {hertz:g} Hz", "bars": 1.0, "bpm": 120.0, "seed": 7, **changes}
    )
    take = Take(
        request=request,
        part=Part("", request.prompt),
        index=0,
        total=1,
        variation=0,
        seed=request.seed,
        bpm=request.bpm,
        key="A minor",
        fingerprint="ab" * 32,
        device="cpu",
        dtype="float32",
        job="1",
        created=datetime.now(UTC),
    )
    time = np.arange(request.frames) / request.sample_rate
    audio = np.repeat(0.5 * np.sin(2 * np.pi * hertz * time)[:, None], 2, axis=1).astype(np.float32)
    return Path(publish(audio, take, roots=Roots.of([root])).path)


class Served:
    """The page's server beside a desk without a worker, and plain HTTP to it."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.rig = Rig(folder)
        self.port = port or free_port()
        self.panel = Panel(
            self.rig.server,
            session=lambda: self.rig.desk.session,
            roots=Roots.of([folder]),
            token=DAEMON_TOKEN,
            port=self.port,
        )
        self.rig.on_loop(self.panel.open)

    @property
    def song(self) -> Path:
        return self.rig.song

    def ask(
        self, method: str, path: str, body: bytes = b"", **headers: str | None
    ) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body; the headers are those of the page itself unless given (None: left out)."""
        own = f"127.0.0.1:{self.port}"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {"host": own, "origin": f"http://{own}", "x-panel-token": TOKEN, **named}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in sent.items():
            if value is not None:
                connection.putheader(name, value)
        connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        got = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        connection.close()
        return got

    def file(self, route: str, path: Path | str) -> tuple[int, dict[str, str], bytes]:
        return self.ask("GET", f"/{route}?path={quote(str(path))}")

    def stream(self) -> Stream:
        return Stream(self.port)

    def close(self) -> None:
        self.rig.on_loop(self.rig.desk.close)
        self.rig.on_loop(self.panel.close)
        self.rig.close()


class Stream:
    """A page's stream of server-sent events."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        self._connection.request("GET", "/events", headers={"Host": f"127.0.0.1:{port}"})
        self._answer = self._connection.getresponse()
        self.peer = self.next()

    def next(self):
        """Return the next event's data; None at the end."""
        for line in iter(self._answer.readline, b""):
            if line.startswith(b"data: "):
                return json.loads(line.removeprefix(b"data: "))
        return None

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def serve(tmp_path):
    """Return a starter of servers, one after the other, as a daemon is started anew."""
    made: list[Served] = []

    def start(port: int = 0) -> Served:
        made.append(Served(tmp_path, port))
        return made[-1]

    yield start
    made[-1].close()


@pytest.fixture
def served(serve):
    return serve()


@pytest.fixture(scope="session")
def bridge(tmp_path_factory):
    """A real daemon that serves its page, and its port."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "root").mkdir()
    running, port = Daemon(folder / "root", folder / "state"), free_port()
    yield running.start("--panel", "--panel-port", str(port), "--midi", "off"), port
    running.kill()


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """One headless Chromium."""
    needed(CHROMIUM, "chromium")
    needed(DRIVER, "chromium-driver")
    running = Page.browser(tmp_path_factory.mktemp("chromium"))
    yield running
    running.quit()


@pytest.fixture
def page(chromium, bridge):
    """The page of a project without takes; it must not have complained in the browser's console by the end."""
    daemon, port = bridge
    shutil.rmtree(daemon.song / "MusicGen", ignore_errors=True)
    opened = Page(chromium, daemon, port)
    opened.open()
    yield opened
    assert opened.complaints() == []


@pytest.fixture
def two(page):
    """The page with two takes in it: two bars of 4/4 and three, at 120 BPM."""
    paths = [
        make_take(page.daemon.root, page.daemon.song, hertz, bars=bars) for hertz, bars in ((220, 2.0), (330, 3.0))
    ]
    page.open()
    return [page.take(path) for path in paths]
