"""The worker's supervisor: starts it, feeds it, sees it die or hang, and starts it again.

It has one job in hand at a time, and with it those that wait and may be drawn with it: the worker then does as many at
once as go well together. A job whose worker died goes alone from then on, so that it can harm no other.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from musicgen_bridge.errors import BridgeError, from_code
from musicgen_bridge.jobs import Job, Jobs
from musicgen_bridge.pipe import command, heard, tell
from musicgen_bridge.request import Progress, RenderRequest, Stem, Transport
from musicgen_bridge.settings import Settings
from musicgen_bridge.sharing import MOST_ROWS, rides

log = logging.getLogger(__name__)

Health = Literal["loading", "ready", "busy", "degraded", "stopped"]

FRESH_S = 5.0
"""A worker that answered within this time counts as there."""
SILENT_S = 30.0
"""A worker that does not answer pings for this long is killed."""
STALLED_S = 180.0
"""A worker whose job makes no progress for this long is killed."""
CANCEL_S = 10.0
"""A worker that does not let go of a cancelled job within this time is killed."""
LONGEST_PAUSE_S = 30.0
_LINE = 16 * 1024 * 1024


@dataclass
class Worker:
    """One supervised child process and the jobs it has in hand.

    `on_state` is called whenever `health` may have changed or a job has ended.
    """

    settings: Settings
    jobs: Jobs
    transport: Transport
    on_state: Callable[[], None] = lambda: None
    models: tuple[str, ...] = ()
    """Aliases of those in memory, the one used last first."""
    device: str = ""
    memory: tuple[int, int] = (0, 0)
    """Bytes of the device's memory that were in use after the last render, and that there are; 0 while unknown."""
    fatal: BridgeError | None = None
    """Why the worker could not come up the first time; nothing will change that, so the daemon ends."""
    task: asyncio.Task[None] = field(init=False)
    """Runs as long as the worker is supervised."""
    _process: asyncio.subprocess.Process | None = None
    _jobs: dict[int, Job] = field(default_factory=dict)
    _up: bool = False
    _was_up: bool = False
    _stopping: bool = False
    _answered: float = 0.0
    _moved: float = 0.0
    _cancelled: dict[int, float] = field(default_factory=dict)
    """When each was."""
    _deaths: list[float] = field(default_factory=list)

    @property
    def health(self) -> Health:
        """What a client is told: ready only if the worker is warm and has answered within the last `FRESH_S`."""
        if self._stopping:
            return "stopped"
        if not self._up:
            return "degraded" if self._was_up or self._deaths else "loading"
        if time.monotonic() - self._answered > FRESH_S:
            return "degraded"
        return "busy" if self._jobs else "ready"

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    def start(self) -> None:
        """Begin supervising on the running loop."""
        self.task = asyncio.create_task(self._supervise())

    async def stop(self) -> None:
        """End the child now; its job stays in the journal."""
        self._stopping = True
        self._kill()
        self.task.cancel()
        await asyncio.wait({self.task})

    async def _supervise(self) -> None:
        while True:
            try:
                await self._run_once()
            except OSError as error:
                log.error("the worker can't be started: %s", error)
            except Exception:
                log.exception("the worker said what can't be understood, and was killed")
            now = time.monotonic()
            self._deaths = [died for died in self._deaths if now - died < 300] + [now]
            self._up, self._process = False, None
            self.on_state()
            self.models, jobs = (), list(self._jobs.values())
            self._jobs, self._cancelled = {}, {}
            for job in jobs:
                self.jobs.worker_died(job, begun=job is jobs[0] or job.progress is not None)
            if self.fatal is not None:
                return
            pause = min(LONGEST_PAUSE_S, 0.1 * 4 ** (len(self._deaths) - 1))
            log.warning("the worker ended; it is started again in %.1f s", pause)
            await asyncio.sleep(pause)

    async def _run_once(self) -> None:
        self.settings.home.mkdir(parents=True, exist_ok=True)
        with (self.settings.home / "worker.log").open("ab" if self._deaths else "wb") as errors:
            self._process = await asyncio.create_subprocess_exec(
                *command("worker"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                limit=_LINE,
            )
        self._answered = time.monotonic()
        tell(self._process, do="start", settings=self.settings.to_json())
        watch = asyncio.create_task(self._watch())
        try:
            assert self._process.stdout is not None
            async for line in self._process.stdout:
                if (message := heard(line, "worker")) is not None:
                    self._heard(message)
        finally:
            watch.cancel()
            self._kill()
            await self._process.wait()

    async def _watch(self) -> None:
        """Ping once a second, and kill a worker that is silent, stalled or deaf to a cancel."""
        n = 0
        while True:
            n += 1
            tell(self._process, do="ping", n=n)
            await asyncio.sleep(1.0)
            now = time.monotonic()
            late = (
                ("does not answer", now - self._answered > SILENT_S),
                ("makes no progress", bool(self._jobs) and now - self._moved > STALLED_S),
                ("does not let go", any(now - since > CANCEL_S for since in self._cancelled.values())),
            )
            for what, true in late:
                if true:
                    log.error("the worker %s and is killed", what)
                    self._kill()

    def _heard(self, message: dict[str, Any]) -> None:
        was = self.health
        self._answered = time.monotonic()
        match message.pop("is"):
            case "ready":
                self._up = self._was_up = True
                self._holds(message)
                log.info("the worker is warm: %s on %s", ", ".join(self.models), self.device)
                self.feed()
            case "holds":
                self._holds(message)
            case "progress":
                if (job := self._jobs.get(message.pop("job"))) is not None:
                    self._moved = self._answered
                    self.jobs.report(job, Progress.from_json(message))
            case "note":
                log.info("job %d: %s", message["job"], message["text"])
                if (job := self._jobs.get(message["job"])) is not None:
                    self.jobs.note(job, message["text"])
            case "done":
                self._holds(message)
                if (job := self._let_go(message["job"])) is not None:
                    self.jobs.finish(job, [Stem.from_json(stem) for stem in message["stems"]])
            case "fail":
                error = from_code(message["code"], message["text"])
                if message["job"] is None:
                    log.error("the worker can't come up: %s", error.text)
                    self.fatal = None if self._was_up else error
                elif (job := self._let_go(message["job"])) is not None:
                    self.jobs.fail(job, error)
        if self.health != was:
            self.on_state()

    def _holds(self, message: dict[str, Any]) -> None:
        self.models, self.device = tuple(message["models"]), message["device"]
        self.memory = tuple(message["memory"])

    def _let_go(self, number: int) -> Job | None:
        self._cancelled.pop(number, None)
        self._moved = time.monotonic()
        return self._jobs.pop(number, None)

    def feed(self) -> None:
        """Hand the next job to the worker if it has none, and those after it that may be drawn with it."""
        while self._up and not self._stopping and (job := self.jobs.take(fits=self._fits)) is not None:
            if not self._jobs:
                self._moved = time.monotonic()
            self._jobs[job.number] = job
            request, transport = job.request.to_json(), self.transport.to_json()
            tell(self._process, do="render", job=job.number, request=request, transport=transport)
        self.on_state()

    def _fits(self, job: Job) -> bool:
        """Whether a job may be handed to the worker now, before it is counted as an attempt."""
        if not self._jobs:
            return True
        first, *others = (self._request(one) for one in self._jobs.values())
        asked = self._request(job)
        fresh = job.attempts == 0 and all(one.attempts == 1 for one in self._jobs.values())
        rows = sum(len(one.candidates) for one in (first, *others, asked))
        return fresh and rows <= MOST_ROWS and rides(asked, first)

    def _request(self, job: Job) -> RenderRequest:
        assert isinstance(job.request, RenderRequest)
        return job.request

    def unload(self, model: str | None) -> None:
        """Have a model leave memory, or all for None, once the worker has none of its jobs in hand any more."""
        tell(self._process, do="unload", model=model)

    def cancel(self, job: Job) -> None:
        """End a running job; one that has ended is no longer to be heard."""
        if job.number in self._jobs:
            self._cancelled[job.number] = time.monotonic()
            tell(self._process, do="cancel", job=job.number)
        else:
            tell(self._process, do="silence", job=job.number)

    def follow(self, transport: Transport) -> None:
        """Take in where the session's bar lines are now."""
        self.transport = transport
        if self._jobs:
            tell(self._process, do="transport", transport=transport.to_json())

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
