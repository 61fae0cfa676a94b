"""The worker's process: JSON lines in on stdin, JSON lines out on stdout; it ends when its stdin does.

In:  {"do": "start", "settings": {…}} first, then {"do": "render", "job": 7, "request": {…}},
     {"do": "cancel", "job": 7}, {"do": "ping", "n": 3}, {"do": "transport", "transport": {…Transport}}, which also
     stands in each render, {"do": "silence", "job": 7}: it is not to be heard any more, {"do": "unload", "model": …}:
     it leaves memory when its turn in the line comes, or all do for null
Out: {"is": "ready", …what it holds}, {"is": "pong", "n": 3},
     {"is": "progress", "job": 7, …Progress}, {"is": "note", "job": 7, "text": …},
     {"is": "done", "job": 7, "stems": […Stem], …what it holds}, {"is": "holds", …what it holds},
     {"is": "fail", "job": 7 or null, "code": …, "text": …}
What it holds: "models": those in memory, the one used last first, "device": …, "memory": [bytes in use, and there].
Several jobs may be in hand at once; each ends with one done or fail.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO

from musicgen_bridge.errors import BridgeError, CancelledError, InternalError
from musicgen_bridge.pipe import private_pipes
from musicgen_bridge.request import RenderRequest, Stem, Transport
from musicgen_bridge.settings import Settings
from musicgen_bridge.worker.line import Errand, Line, Unload
from musicgen_bridge.worker.reporter import Asker

if TYPE_CHECKING:
    from musicgen_bridge.worker.worker import Worker

log = logging.getLogger(__name__)


class _Out:
    """The one writer of lines; both threads use it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def say(self, **message: Any) -> None:
        with self._lock:
            self._stream.write(json.dumps(message) + "\n")
            self._stream.flush()

    def fail(self, job: int | None, error: BaseException) -> None:
        if not isinstance(error, BridgeError):
            log.error("%s", "".join(traceback.format_exception(error)))
            error = InternalError(f"{type(error).__name__}: {error}; the worker's log has the trace")
        self.say(**{"is": "fail"}, job=job, code=error.code, text=error.text)


class _In(threading.Thread):
    """Reads commands while the main thread renders: answers pings, notes what is cancelled, fills the line."""

    def __init__(self, stream: BinaryIO, out: _Out) -> None:
        super().__init__(daemon=True, name="commands")
        self.line = Line()
        self.transport = Transport()
        self.silence: Callable[[int], None] = lambda job: None
        self.holds: Callable[[], dict[str, Any]] = dict
        """What the worker tells of its memory."""
        self._cancelled: set[int] = set()
        self._stream, self._out = stream, out

    def run(self) -> None:
        for line in self._stream:
            message = json.loads(line)
            match message["do"]:
                case "ping":
                    self._out.say(**{"is": "pong"}, n=message["n"])
                case "cancel":
                    self._cancel(message["job"])
                case "transport":
                    self.transport = Transport.from_json(message["transport"])
                case "silence":
                    self.silence(message["job"])
                case "render":
                    self.transport = Transport.from_json(message["transport"])
                    self._render(message["job"], message["request"])
                case "unload":
                    self.line.put(Unload(message["model"]))
        os._exit(0)  # the daemon is gone: whatever is in hand stays in its journal

    def _cancel(self, job: int) -> None:
        if (errand := self.line.withdraw(job)) is not None:
            errand.failed(CancelledError("cancelled"))
        else:
            self._cancelled.add(job)
        self.silence(job)

    def _render(self, job: int, request: dict[str, Any]) -> None:
        def done(stems: list[Stem]) -> None:
            self._cancelled.discard(job)
            self._out.say(**{"is": "done"}, job=job, stems=[stem.to_json() for stem in stems], **self.holds())

        def failed(error: BaseException) -> None:
            self._cancelled.discard(job)
            self._out.fail(job, error)

        try:
            errand = Errand(
                RenderRequest.from_json(request),
                Asker(
                    job=job,
                    progress=lambda now: self._out.say(**{"is": "progress"}, job=job, **now.to_json()),
                    note=lambda text: self._out.say(**{"is": "note"}, job=job, text=text),
                    cancelled=lambda: job in self._cancelled,
                    transport=lambda: self.transport,
                ),
                done,
                failed,
            )
        except (TypeError, ValueError) as error:
            failed(error)
        else:
            self.line.put(errand)


def main() -> int:
    """Serve until stdin ends; exit code 1 when the model can't be loaded."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stdin, stdout = private_pipes()
    out = _Out(stdout)
    commands = _In(stdin, out)
    settings = Settings.from_json(json.loads(stdin.readline())["settings"])
    commands.start()
    try:
        from musicgen_bridge.engine.device import leave_a_core, trim
        from musicgen_bridge.worker.company import Company
        from musicgen_bridge.worker.worker import Worker

        log.info("torch uses %d threads of the CPU", leave_a_core())
        worker = Worker(settings)
        company = Company(worker, commands.line)
        company.warm_up()
        commands.silence, commands.holds = worker.silence, lambda: _holds(worker)
    except Exception as error:
        out.fail(None, error)
        return 1
    out.say(**{"is": "ready"}, **_holds(worker))
    # With it comes scipy.signal, which takes a second: it shall be there when the first take is matched.
    threading.Thread(target=import_module, args=("pyloudnorm",), daemon=True, name="imports").start()
    while True:
        match commands.line.get(settings.unload_after or None):
            case Errand() as errand:
                company.serve(errand)
                trim()
            case asked:
                worker.unload(asked.model if asked is not None else None)
        out.say(**{"is": "holds"}, **_holds(worker))


def _holds(worker: Worker) -> dict[str, Any]:
    """Return which models are in memory, and the bytes of the device's memory in use and there.

    Asked between steps alone, as a graph's capture would not bear it.
    """
    from musicgen_bridge.engine.device import memory_of

    device = worker.models.device
    return {"models": list(worker.models), "device": str(device), "memory": memory_of(device)}


if __name__ == "__main__":
    sys.exit(main())
