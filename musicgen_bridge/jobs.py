"""The bounded queue: ids, duplicates, cancelling, and exactly one end for each job.

    queued ──► running ──► done | failed | cancelled
       ▲          │
       └──────────┘  the worker died: once more, then failed

Everything here runs on the daemon's loop; nothing blocks longer than a commit to the journal.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from musicgen_bridge.errors import (
    ArgumentError,
    AudioError,
    BridgeError,
    BusyError,
    CancelledError,
    DiskError,
    InternalError,
    RequestIdError,
    from_code,
)
from musicgen_bridge.journal import JobRow, Journal
from musicgen_bridge.request import Progress, RecordRequest, RenderRequest, Stem

log = logging.getLogger(__name__)

RequestId = str | int
Request = RenderRequest | RecordRequest
State = Literal["queued", "running", "done", "failed", "cancelled"]

MAX_ATTEMPTS = 2
REMEMBERED_S = 600.0
"""How long after a job's end its id still means that job and no other."""


@dataclass(frozen=True, slots=True)
class Queued:
    """The job was accepted, or moved up to `position` (0 is running)."""

    position: int


@dataclass(frozen=True, slots=True)
class Done:
    """One stem of the job lies complete in the project folder."""

    stem: Stem


@dataclass(frozen=True, slots=True)
class Failed:
    """The job ended without a stem."""

    code: str
    text: str
    retry_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Noted:
    """Something that a person should know of the job, which goes on all the same."""

    text: str


Event = Queued | Progress | Done | Failed | Noted


@dataclass(slots=True)
class Job:
    """One accepted request and what has become of it."""

    number: int
    owner: str
    rid: RequestId
    digest: str
    reply_to: str
    request: Request
    state: State = "queued"
    attempts: int = 0
    cancelling: bool = False
    progress: Progress | None = None
    stems: tuple[Stem, ...] = ()
    error: Failed | None = None
    ended: float | None = None
    """Seconds since the epoch."""

    @property
    def events(self) -> list[Event]:
        """The latest that is to be said of this job: its ends, else its progress; empty while it only waits."""
        if self.state == "done":
            return [Done(stem) for stem in self.stems]
        if self.error is not None:
            return [self.error]
        return [self.progress] if self.progress is not None else []


@dataclass
class Jobs:
    """The queue, its journal, and who hears of what happens."""

    journal: Journal
    limit: int = 64
    accepting: bool = True
    """False while the daemon ends."""
    on_event: Callable[[int, Job, Event], None] = lambda number, job, event: None
    """Called with the event's number (0 for progress, which is not kept), the job and the event."""
    on_cancel: Callable[[Job], None] = lambda job: None
    """Called when a running job is to end, and whoever runs it answers with `fail`; or when one that is done is no
    longer to be heard.
    """
    on_change: Callable[[], None] = lambda: None
    """Called when a job was queued or has ended."""
    _open: dict[int, Job] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Take up what an earlier daemon left behind; what it was rendering waits again, at no cost of attempts."""
        for row in self.journal.unfinished():
            try:
                job = _job(row)
            except (TypeError, ValueError) as error:
                log.error("job %d of an earlier version can't be taken up: %s", row.number, error)
                self.journal.end(row.number, "failed", [], ["E_INTERNAL", "written by another version", None])
                continue
            if isinstance(job.request, RecordRequest):
                self._end_recording(job)
                continue
            job.attempts = max(0, job.attempts - (row.state == "running"))
            job.state = "queued"
            self.journal.requeue(job.number, job.attempts)
            self._open[job.number] = job

    # What clients ask

    def submit(
        self, owner: str, rid: RequestId, digest: str, make_request: Callable[[], Request], reply_to: str
    ) -> Job:
        """Accept a job, or return the one that this very request already is; it is in the journal before this returns.

        Raises:
            RequestIdError: the id belongs to a job with other content.
            BusyError: the queue is full, or a recording is asked for while one is made.
            DiskError: the journal can't be written.
        """
        known = self.find(owner, rid)
        if known is not None and (known.ended is None or time.time() - known.ended < REMEMBERED_S):
            if known.digest != digest:
                raise RequestIdError(f"id {rid!r} already stands for another request; choose a new one")
            self.move(known, reply_to)
            return known
        if not self.accepting:
            raise BusyError("the daemon is about to end and takes no more jobs; start it again first", retry_ms=2000)
        request = make_request()
        self._check_room(request)
        number = self.journal.add(owner, rid, digest, reply_to, request.to_json())
        job = self._open[number] = Job(number, owner, rid, digest, reply_to, request)
        self._announce(job, Queued(self.position(job)))
        self.on_change()
        return job

    def cancel(self, owner: str, target: RequestId) -> Job:
        """End a job: at once if it waits, else as soon as its worker has let go. An ended job stays as it is.

        Raises:
            ArgumentError: there is no such job.
        """
        job = self.find(owner, target)
        if job is None:
            raise ArgumentError(f"no job has the id {target!r}; /musicgen/list what jobs shows those there are")
        return self._cancel(job)

    def cancel_number(self, number: int) -> Job:
        """End the open job of a number, whosever it is, as `cancel` does.

        Raises:
            ArgumentError: no such job waits or runs.
        """
        if number not in self._open:
            raise ArgumentError(f"no job {number} waits or runs; /musicgen/list what jobs shows those that do")
        return self._cancel(self._open[number])

    def _cancel(self, job: Job) -> Job:
        if job.state == "queued":
            self.fail(job, CancelledError("cancelled while it waited"))
        elif job.state == "running" and not job.cancelling:
            job.cancelling = True
            self.on_cancel(job)
        elif job.state == "done":
            self.on_cancel(job)
        return job

    def move(self, job: Job, reply_to: str) -> None:
        """Send the job's answers elsewhere from now on."""
        if job.reply_to != reply_to:
            job.reply_to = reply_to
            self._written(lambda: self.journal.move(job.number, reply_to))

    def find(self, owner: str, rid: RequestId) -> Job | None:
        """Return the latest job with this id, open or ended, or None. Ids 1 and "1" are two."""
        for job in reversed(self._open.values()):
            if job.owner == owner and job.rid == rid and type(job.rid) is type(rid):
                return job
        row = self.journal.find(owner, rid)
        return _job(row) if row else None

    def listed(self, count: int = 64) -> list[Job]:
        """Return the newest jobs, newest first."""
        return [self._open.get(row.number) or _job(row) for row in self.journal.latest(count)]

    def events_since(self, number: int, count: int = 256) -> list[tuple[int, Job, Event]]:
        """Return the first `count` kept events after `number`, oldest first."""
        kinds: dict[str, Callable[..., Event]] = {"queued": Queued, "failed": Failed, "noted": Noted}
        return [
            (n, _job(row), Done(Stem.from_json(body)) if kind == "done" else kinds[kind](**body))
            for n, row, kind, body in self.journal.events_since(number, count)
        ]

    def position(self, job: Job) -> int:
        """How many jobs will be finished before this one; 0 also for one that runs or has ended."""
        before = (other for other in self._open_like(job.request) if other.number < job.number)
        return sum(1 for _ in before) if job.state == "queued" else 0

    @property
    def open(self) -> int:
        """How many jobs have not ended."""
        return len(self._open)

    @property
    def queued(self) -> int:
        """How many jobs wait."""
        return sum(job.state == "queued" for job in self._open.values())

    @property
    def running(self) -> list[Job]:
        """The jobs that workers have in hand."""
        return [job for job in self._open.values() if job.state == "running"]

    # What the supervisors of worker and recorder tell

    def take(self, kind: type[Request] = RenderRequest, fits: Callable[[Job], bool] = lambda job: True) -> Job | None:
        """Return the oldest waiting job of a kind, now running; None where there is none, or that one does not fit."""
        waiting = (job for job in self._open.values() if job.state == "queued" and isinstance(job.request, kind))
        job = next(waiting, None)
        if job is None or not fits(job):
            return None
        job.state, job.attempts = "running", job.attempts + 1
        self._written(lambda: self.journal.start(job.number, job.attempts))
        return job

    def report(self, job: Job, progress: Progress) -> None:
        """Pass on how far a running job has come."""
        if job.state == "running":
            job.progress = progress
            self.on_event(0, job, progress)

    def note(self, job: Job, text: str) -> None:
        """Pass on something that a person should know of an open job."""
        if job.ended is None:
            self._announce(job, Noted(text))

    def finish(self, job: Job, stems: Sequence[Stem]) -> None:
        """End a job with its stems; a job that has ended already stays as it is."""
        if job.ended is None:
            job.stems = tuple(stems)
            self._end(job, "done", [Done(stem) for stem in stems])

    def fail(self, job: Job, error: BridgeError) -> None:
        """End a job with an error; a job that has ended already stays as it is."""
        if job.ended is None:
            job.error = Failed(error.code, error.text, error.retry_ms)
            self._end(job, "cancelled" if isinstance(error, CancelledError) else "failed", [job.error])

    def worker_died(self, job: Job, *, begun: bool = True) -> None:
        """Put a job whose worker died back at its place in the queue, or end it after `MAX_ATTEMPTS`.

        One that had not `begun` had no part in it.
        """
        job.attempts -= not begun
        if job.cancelling:
            self.fail(job, CancelledError("cancelled"))
        elif job.attempts >= MAX_ATTEMPTS:
            self.fail(job, InternalError("the worker died twice on this take; see its log, or try a smaller request"))
        else:
            job.state, job.progress = "queued", None
            self._written(lambda: self.journal.requeue(job.number, job.attempts))
            self.on_change()

    def _open_like(self, request: Request) -> list[Job]:
        return [job for job in self._open.values() if isinstance(job.request, type(request))]

    def _check_room(self, request: Request) -> None:
        """Raise BusyError where there is no room for one more: renders wait in line, recordings don't."""
        like = self._open_like(request)
        if like and isinstance(request, RecordRequest):
            raise BusyError("a recording is being made; wait for its end or cancel it", retry_ms=self._retry_ms(like))
        if len(like) >= self.limit:
            raise BusyError(f"{self.limit} jobs are waiting; try again or cancel one", retry_ms=self._retry_ms(like))

    def _end_recording(self, job: Job) -> None:
        """End a recording that an earlier daemon left behind: its moment has passed."""
        job.error = Failed(AudioError.code, "the daemon ended while it recorded; record again")
        self.journal.end(job.number, "failed", [], [job.error.code, job.error.text, None])
        self.journal.add_event(job.number, "failed", asdict(job.error))

    def _end(self, job: Job, state: State, events: Sequence[Done | Failed]) -> None:
        job.state, job.ended = state, time.time()
        self._open.pop(job.number, None)
        error = [job.error.code, job.error.text, job.error.retry_ms] if job.error else None
        self._written(lambda: self.journal.end(job.number, state, [stem.to_json() for stem in job.stems], error))
        for event in events:
            self._announce(job, event)
        self.on_change()

    def _announce(self, job: Job, event: Queued | Done | Failed | Noted) -> None:
        kind = type(event).__name__.lower()
        body = event.stem.to_json() if isinstance(event, Done) else asdict(event)
        numbers: list[int] = []
        self._written(lambda: numbers.append(self.journal.add_event(job.number, kind, body)))
        self.on_event(numbers[0] if numbers else 0, job, event)

    def _written(self, write: Callable[[], None]) -> None:
        """Write to the journal; a full disk must not keep a client from hearing how its job ended."""
        try:
            write()
        except DiskError as error:
            log.error("%s", error.text)

    def _retry_ms(self, jobs: Sequence[Job]) -> int:
        etas = [job.progress.eta_s for job in jobs if job.progress is not None and job.progress.eta_s > 0]
        return int(1000 * max(0.5, min(etas, default=2.0)))


def error_of(failed: Failed) -> BridgeError:
    """Return the error that a failed job ended with."""
    return from_code(failed.code, failed.text, failed.retry_ms)


def _job(row: JobRow) -> Job:
    return Job(
        number=row.number,
        owner=row.owner,
        rid=row.rid,
        digest=row.digest,
        reply_to=row.reply_to,
        request=_request(row.request),
        state=row.state,  # type: ignore[arg-type]
        attempts=row.attempts,
        stems=tuple(Stem.from_json(stem) for stem in row.stems),
        error=Failed(*row.error) if row.error else None,
        ended=row.ended,
    )


def _request(values: dict[str, Any]) -> Request:
    return RecordRequest.from_json(values) if "input" in values else RenderRequest.from_json(values)
