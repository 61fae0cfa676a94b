"""The recorder's supervisor: a child process for each recording, beside whatever renders."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
from dataclasses import dataclass
from typing import Any

from musicgen_bridge.errors import AudioError, BridgeError, CancelledError, InternalError, from_code
from musicgen_bridge.jobs import Job, Jobs
from musicgen_bridge.pipe import command, heard, tell
from musicgen_bridge.request import Progress, RecordRequest, Stem, Transport
from musicgen_bridge.settings import Settings

log = logging.getLogger(__name__)

SILENT_S = 20.0
"""A recorder that says nothing for this long is killed: a driver may hang for ever."""


@dataclass
class Recorder:
    """Makes the recordings that are asked for, one at a time."""

    settings: Settings
    jobs: Jobs
    transport: Transport
    _job: Job | None = None
    _process: asyncio.subprocess.Process | None = None
    _task: asyncio.Task[None] | None = None

    def feed(self) -> None:
        """Begin the recording that waits, if one does."""
        if self._job is None and (job := self.jobs.take(RecordRequest)) is not None:
            self._job = job
            self._task = asyncio.create_task(self._record(job))

    def follow(self, transport: Transport) -> None:
        """Take in where the session's bar lines are now."""
        self.transport = transport
        tell(self._process, do="transport", transport=transport.to_json())

    def cancel(self, job: Job) -> None:
        """End a running recording; nothing of it is kept."""
        if job is self._job:
            tell(self._process, do="cancel")

    async def stop(self) -> None:
        """End the child now; the next start of the daemon tells that its recording came to nothing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def _record(self, job: Job) -> None:
        error: BridgeError = InternalError("the recorder died; see recorder.log in the daemon's folder")
        try:
            await self._run(job)
        except TimeoutError:
            assert isinstance(job.request, RecordRequest)
            error = AudioError(f"the input {job.request.input} does not answer; connect it anew or choose another one")
        except OSError as failed:
            error = InternalError(f"the recorder can't be started: {failed}")
        except Exception:
            log.exception("the recorder said what can't be understood, and was killed")
            error = InternalError("the recorder failed; record again, and report it with the end of daemon.log")
        finally:
            await self._kill()
            self._job = None
        self.jobs.fail(job, CancelledError("cancelled") if job.cancelling else error)
        self.feed()

    async def _run(self, job: Job) -> None:
        self.settings.home.mkdir(parents=True, exist_ok=True)
        with (self.settings.home / "recorder.log").open("wb") as errors:
            self._process = await asyncio.create_subprocess_exec(
                *command("sound.recorder"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        roots = [str(root) for root in self.settings.allowed_roots]
        tell(self._process, request=job.request.to_json(), transport=self.transport.to_json(), roots=roots)
        assert self._process.stdout is not None
        while line := await asyncio.wait_for(self._process.stdout.readline(), SILENT_S):
            if (message := heard(line, "recorder")) is not None:
                self._heard(job, message)

    def _heard(self, job: Job, message: dict[str, Any]) -> None:
        match message.pop("is"):
            case "progress":
                self.jobs.report(job, Progress.from_json(message))
            case "note":
                self.jobs.note(job, message["text"])
            case "done":
                self.jobs.finish(job, [Stem.from_json(message["stem"])])
            case "fail":
                self.jobs.fail(job, from_code(message["code"], message["text"]))

    async def _kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
