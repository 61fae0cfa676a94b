"""The worker's process: JSON lines in on stdin, JSON lines out on stdout; it ends when its stdin does.

In:  {"do": "start", "settings": {…}} first, then {"do": "render", "job": 7, "request": {…}},
     {"do": "cancel", "job": 7}, {"do": "ping", "n": 3}, {"do": "transport", "transport": {…Transport}}, which also
     stands in each render, {"do": "silence", "job": 7}: it is not to be heard any more
Out: {"is": "ready", "model": …, "device": …, "memory": [used, total]}, {"is": "pong", "n": 3},
     {"is": "progress", "job": 7, …Progress}, {"is": "note", "job": 7, "text": …},
     {"is": "done", "job": 7, "stems": […Stem], "model": …, "memory": …},
     {"is": "fail", "job": 7 or null, "code": …, "text": …}
"""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TextIO

from musicgen_bridge.errors import BridgeError, InternalError
from musicgen_bridge.request import Progress, RenderRequest, Transport
from musicgen_bridge.settings import Settings

if TYPE_CHECKING:
    from musicgen_bridge.worker import Worker

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
    """Reads commands while the main thread renders: answers pings, notes what is cancelled, hands renders on."""

    def __init__(self, stream: TextIO, out: _Out) -> None:
        super().__init__(daemon=True, name="commands")
        self.renders: queue.Queue[tuple[int, dict[str, Any]]] = queue.Queue()
        self.cancelled: set[int] = set()
        self.transport = Transport()
        self.silence: Callable[[int], None] = lambda job: None
        self._stream, self._out = stream, out

    def run(self) -> None:
        for line in self._stream:
            message = json.loads(line)
            match message["do"]:
                case "ping":
                    self._out.say(**{"is": "pong"}, n=message["n"])
                case "cancel":
                    self.cancelled.add(message["job"])
                    self.silence(message["job"])
                case "transport":
                    self.transport = Transport.from_json(message["transport"])
                case "silence":
                    self.silence(message["job"])
                case "render":
                    self.transport = Transport.from_json(message["transport"])
                    self.renders.put((message["job"], message["request"]))
        os._exit(0)  # the daemon is gone: whatever is in hand stays in its journal


def _private_stdout() -> TextIO:
    """Return our own handle of stdout and point file descriptor 1 at stderr, where a library's prints do no harm."""
    own = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    os.dup2(2, 1)
    return own


def main() -> int:
    """Serve until stdin ends; exit code 1 when the model can't be loaded."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the daemon, which ends us in order
    out = _Out(_private_stdout())
    commands = _In(sys.stdin, out)
    settings = Settings.from_json(json.loads(sys.stdin.readline())["settings"])
    commands.start()
    try:
        from musicgen_bridge.worker import Worker

        worker = Worker(settings)
        worker.warm_up()
        commands.silence = worker.silence
    except Exception as error:
        out.fail(None, error)
        return 1
    out.say(**{"is": "ready"}, model=worker.model, device=worker.device, memory=_memory(worker))
    while True:
        _render(worker, commands, out, *commands.renders.get())


def _render(worker: Worker, commands: _In, out: _Out, job: int, request: dict[str, Any]) -> None:
    def tell(progress: Progress) -> None:
        out.say(**{"is": "progress"}, job=job, **progress.to_json())

    try:
        stems = worker.render(
            RenderRequest.from_json(request),
            job=job,
            on_progress=tell,
            on_note=lambda text: out.say(**{"is": "note"}, job=job, text=text),
            cancelled=lambda: job in commands.cancelled,
            transport=lambda: commands.transport,
        )
        done = [stem.to_json() for stem in stems]
        out.say(**{"is": "done"}, job=job, stems=done, model=worker.model, memory=_memory(worker))
    except Exception as error:
        out.fail(job, error)
    commands.cancelled.discard(job)


def _memory(worker: Worker) -> tuple[int, int]:
    """Return the bytes of the device's memory in use and there; asked between renders alone, as a graph's capture
    would not bear it.
    """
    import torch

    from musicgen_bridge.engine.device import memory_of

    return memory_of(torch.device(worker.device)) if worker.device else (0, 0)


if __name__ == "__main__":
    sys.exit(main())
