"""The page's server on the daemon's own loop: open before the desk takes packets, until it has said goodbye."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import socket
from collections.abc import Callable, Iterator

import uvicorn

from musicgen_bridge.control.osc import Server
from musicgen_bridge.panel.app import app
from musicgen_bridge.panel.wire import Wire
from musicgen_bridge.request import Session
from musicgen_bridge.roots import Roots

HOST = "127.0.0.1"
"""The page is for this machine alone, wherever the daemon listens."""
GOODBYE_S = 2
"""How long open connections may take to end."""


class Panel:
    """One open port, from `open` to `close`."""

    def __init__(self, server: Server, *, session: Callable[[], Session], roots: Roots, token: str, port: int) -> None:
        """`session` tells the session as it stands; `token` is the daemon's, from which the page's is made."""
        self._wire = Wire(server)
        self._port = port
        served = app(wire=self._wire, session=session, roots=roots, token=page_token(token), port=port)
        self._http = _Http(
            uvicorn.Config(
                served,
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=GOODBYE_S,
            )
        )
        self._serving: asyncio.Task[None]

    async def open(self) -> None:
        """Begin to serve. Raises OSError where the port is taken."""
        listening = socket.create_server((HOST, self._port))
        self._serving = asyncio.create_task(self._http.serve([listening]))

    async def close(self) -> None:
        """End the streams and the server."""
        self._wire.close()
        self._http.should_exit = True
        await asyncio.wait({self._serving})


def page_token(token: str) -> str:
    """Return the page's token: the same after a restart, so that an open page goes on; no good for /musicgen/quit."""
    return hmac.new(token.encode(), b"panel", hashlib.sha256).hexdigest()


class _Http(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the daemon."""
        yield
