"""What the page's server answers: the page and its files, the wire to the desk, takes, sound and uploads."""

from __future__ import annotations

import mimetypes
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote

from starlette.applications import Starlette
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from musicgen_bridge.asking.keys import NO_PROJECT
from musicgen_bridge.errors import ArgumentError, BridgeError, InternalError, PathError
from musicgen_bridge.panel.guard import Guard, refusal
from musicgen_bridge.panel.takes import take_at, takes_in
from musicgen_bridge.panel.wire import Wire, message_of
from musicgen_bridge.request import Session
from musicgen_bridge.roots import Roots, open_plain

PAGE = Path(__file__).parent / "page"
MAX_UPLOAD = 128 * 2**20
"""The largest recording that the page may send, in bytes."""
_DECODED = {".wav": "audio/wav", ".flac": "audio/flac", ".mp3": "audio/mpeg", ".ogg": "audio/ogg"}
"""What every browser decodes by itself."""
_SOUNDS = {**_DECODED, ".aiff": "audio/aiff", ".aif": "audio/aiff"}
_BLOCK = 1 << 18


def app(*, wire: Wire, session: Callable[[], Session], roots: Roots, token: str, port: int) -> Starlette:
    """Return the page's application; `session` tells the session as it stands, `token` is what the page is given."""
    mimetypes.add_type("text/javascript", ".js")  # Windows' registry may say otherwise, and then no module is run
    answers = _Answers(wire, session, roots, token)
    return Starlette(
        routes=[
            Route("/", answers.page),
            Mount("/static", StaticFiles(directory=PAGE)),
            Route("/events", answers.events),
            Route("/send", answers.send, methods=["POST"]),
            Route("/takes", answers.takes),
            Route("/take", answers.take),
            Route("/sound", answers.sound),
            Route("/file", answers.file),
            Route("/recordings", answers.keep, methods=["POST"]),
        ],
        middleware=[Middleware(Guard, port=port, token=token)],
        exception_handlers={BridgeError: _tell, Exception: _tell},
    )


class _Answers:
    """One method for each route; what asks the disk does so in a thread."""

    def __init__(self, wire: Wire, session: Callable[[], Session], roots: Roots, token: str) -> None:
        self._wire, self._session, self._roots, self._token = wire, session, roots, token

    async def page(self, request: Request) -> Response:
        """The page itself, with the token that its changes need."""
        text = await run_in_threadpool((PAGE / "index.html").read_text, "utf-8")
        return HTMLResponse(text.replace("{{token}}", self._token), headers={"cache-control": "no-store"})

    async def events(self, request: Request) -> Response:
        """Everything that the desk says to this page, as server-sent events."""
        return StreamingResponse(
            self._wire.stream(), media_type="text/event-stream", headers={"cache-control": "no-store"}
        )

    async def send(self, request: Request) -> Response:
        """One message for the desk; its answer goes into the page's stream."""
        self._wire.take(request.headers.get("x-peer", ""), message_of(await request.body()))
        return Response(status_code=204)

    async def takes(self, request: Request) -> Response:
        """The takes of the session's project."""
        project = self._session().project
        return JSONResponse(await run_in_threadpool(takes_in, project, self._roots) if project else [])

    async def take(self, request: Request) -> Response:
        """The take that a stem is."""
        return JSONResponse(await run_in_threadpool(take_at, _path(request), self._roots))

    async def sound(self, request: Request) -> Response:
        """A recording or stem in a form that the browser decodes."""
        path = await run_in_threadpool(self._audio, _path(request))
        if path.suffix.lower() in _DECODED:
            return await _streamed(path)
        from musicgen_bridge.stems.exchange import as_wav

        return Response(await run_in_threadpool(as_wav, path), media_type="audio/wav")

    async def file(self, request: Request) -> Response:
        """A recording or stem as it lies there, to be dragged out or saved."""
        path = await run_in_threadpool(self._audio, _path(request))
        return await _streamed(path, {"content-disposition": f"attachment; filename*=UTF-8''{quote(path.name)}"})

    async def keep(self, request: Request) -> Response:
        """A recording, which is kept in the session's project."""
        project = self._session().project
        if not project:
            raise PathError(NO_PROJECT)
        data = bytearray()
        async for block in request.stream():
            data += block
            if len(data) > MAX_UPLOAD:
                raise ArgumentError(
                    f"the recording has more than {MAX_UPLOAD >> 20} MB; cut out the part that is meant"
                )
        from musicgen_bridge.stems.exchange import keep_upload

        name = unquote(request.headers.get("x-name", ""))
        path = await run_in_threadpool(keep_upload, bytes(data), name, project, self._roots)
        return JSONResponse({"path": str(path), "name": path.name}, 201)

    def _audio(self, path: str) -> Path:
        """Return the resolved sound file that a path names. Raises PathError for any other."""
        found = self._roots.readable(path)
        if found.suffix.lower() not in _SOUNDS:
            raise PathError(f"{found.name} is no sound; only recordings and stems are served")
        return found


def _path(request: Request) -> str:
    return request.query_params.get("path", "")


async def _streamed(path: Path, headers: dict[str, str] | None = None) -> Response:
    file = await run_in_threadpool(open_plain, path)
    return StreamingResponse(_blocks(file), media_type=_SOUNDS[path.suffix.lower()], headers=headers)


async def _blocks(file: BinaryIO) -> AsyncIterator[bytes]:
    with file:
        async for block in iterate_in_threadpool(iter(lambda: file.read(_BLOCK), b"")):
            yield block


async def _tell(request: Request, error: Exception) -> Response:
    """The choke point: whatever went wrong is told with its code and what to do."""
    known = error if isinstance(error, BridgeError) else None
    return refusal(known or InternalError("the daemon made a mistake; try again, and report it with the daemon's log"))
