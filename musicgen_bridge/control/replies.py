"""Every message that the daemon sends: its fields, and how it is built so that it fits into one datagram."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from musicgen_bridge.asking.keys import RENDER_KEYS, SESSION_KEYS, Key
from musicgen_bridge.control.osc_codec import Argument, Message, encode
from musicgen_bridge.errors import BridgeError
from musicgen_bridge.jobs import Done, Event, Failed, Job, Noted, Queued, error_of
from musicgen_bridge.request import RECORDING_STAGES, STAGES, Progress, RecordRequest

MAX_DATAGRAM = 1400
"""Every message is shorter than this, in bytes; where one would not be, its longest texts are cut."""
MAX_EVENTS = 256
"""The most events of one answer."""


@dataclass(frozen=True, slots=True)
class Id:
    """A request id; `floating` when it came, and is echoed, as a float."""

    value: str | int
    floating: bool = False

    @property
    def wire(self) -> str | int | float:
        """The id as the client sent it."""
        return float(self.value) if self.floating else self.value


NO_ID = Id("")
"""What stands in a reply to a request whose id cannot be read."""


@dataclass(frozen=True, slots=True)
class Field:
    """One argument of a reply."""

    name: str
    type: Literal["i", "f", "s", "id"]
    doc: str = ""
    whole: bool = False
    """Never cut to make the message fit."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One message that the daemon sends: its arguments in order, then `key value` pairs where there are any."""

    address: str
    summary: str
    fields: tuple[Field, ...] = ()
    pairs: tuple[Field, ...] = ()


ID = Field("id", "id")
JOB = Field("job", "i")


def _typed(keys: Mapping[str, Key], *whole: str) -> tuple[Field, ...]:
    return tuple(
        Field(key.name, "i" if key.kind == "b" else key.kind, key.doc, key.name in whole) for key in keys.values()
    )


HELLO_REPLY = Reply(
    "/musicgen/hello.reply",
    "the daemon introduces itself",
    (ID,),
    (
        Field("proto", "i", "version of the protocol"),
        Field("version", "s", "version of the daemon"),
        Field("instance", "s", "another one means that the daemon was restarted"),
        Field("lease_s", "i", "how long the heartbeat goes on after the client's last message"),
        Field("max_bytes", "i", "the longest packet that the daemon takes"),
    ),
)
PONG = Reply("/musicgen/pong", "the daemon is there", (ID, Field("instance", "s"), Field("state", "s")))
STATUS_REPLY = Reply(
    "/musicgen/status.reply",
    "how the daemon is; other keys may come",
    (ID,),
    (
        Field("state", "s", "loading, ready, busy, degraded, draining, stopped"),
        Field("version", "s", "version of the daemon"),
        Field("model", "s", "alias of the model used last"),
        Field("loaded", "s", "aliases of the models in memory, the one used last first"),
        Field("device", "s", "where it runs"),
        Field("memory", "i", "MiB of the device's memory in use after the last render; 0 while unknown"),
        Field("memory_total", "i", "MiB that the device has"),
        Field("queued", "i", "jobs that wait"),
        Field("running", "i", "jobs in hand"),
        Field("bad_packets", "i", "packets that could not be parsed, since the start"),
        Field("receive_buffer", "i", "bytes that the system holds for UDP"),
        Field("midi", "s", "the MIDI ports in use"),
        Field("tempo_source", "s", "where the tempo comes from"),
        Field("bpm", "f", "the session's tempo"),
    ),
)
SESSION_REPLY = Reply("/musicgen/session.reply", "the session as it now stands", (ID,), _typed(SESSION_KEYS, "project"))
SET_REPLY = Reply(
    "/musicgen/set.reply", "the defaults as they now stand; only keys that have one", (ID,), _typed(RENDER_KEYS)
)
QUEUED = Reply("/musicgen/queued", "accepted and written down", (ID, JOB, Field("position", "i", "jobs before it")))
PROGRESS = Reply(
    "/musicgen/progress",
    "at most ten a second; may be lost; of a recording, `level` f follows: the input's peak in dBFS since the last one",
    (
        ID,
        JOB,
        Field("fraction", "f", "0 to 1"),
        Field("eta_s", "f", "seconds to go; -1 when unknown"),
        Field("stage", "s", f"{', '.join(STAGES)}; of a recording {' and '.join(RECORDING_STAGES)}"),
    ),
)
NOTE = Reply(
    "/musicgen/note",
    "something that a person should know of a job, which goes on all the same",
    (ID, JOB, Field("text", "s", "one sentence")),
)
DONE = Reply(
    "/musicgen/done",
    "one stem, or the recording, lies complete in the project folder; one message a stem, sent once",
    (
        ID,
        JOB,
        Field("index", "i", "from 0"),
        Field("total", "i", "stems of this job"),
        Field("path", "s", "absolute, never cut", whole=True),
        Field("frames", "i"),
        Field("sample_rate", "i", "Hz"),
        Field("bpm", "f", "quarter notes a minute"),
    ),
)
CANCEL_DONE = Reply(
    "/musicgen/done", "the job has ended, or ends as soon as its worker lets go; it is not heard any more", (ID, JOB)
)
PLAIN_DONE = Reply("/musicgen/done", "it is done", (ID,))
FAIL = Reply(
    "/musicgen/fail",
    "why a request or a job came to nothing; `retry_ms` i, with E_BUSY and E_LOADING, says when to try again",
    (
        ID,
        Field("command", "s", "the request's address; /musicgen/render or /musicgen/record when a job failed"),
        Field("code", "s"),
        Field("text", "s", "one sentence that says what to do about it"),
    ),
)
LIST_REPLY = Reply(
    "/musicgen/list.reply",
    "one message an item; an empty list is one message with total 0 and no pairs",
    (ID, Field("index", "i", "from 0"), Field("total", "i", "items of this list")),
    (
        Field("name", "s", "presets, models, midi, inputs, outputs: the name to choose it by"),
        Field("slot", "i", "presets"),
        Field("summary", "s", "presets, models"),
        Field("role", "s", "presets"),
        Field("genre", "s", "presets"),
        Field("job", "i", "jobs, newest first, at most 64"),
        Field("target", "id", "jobs: the id of its request"),
        Field("client", "s", "jobs: who asked for it"),
        Field("state", "s", "jobs: queued, running, done, failed, cancelled"),
        Field("position", "i", "jobs: jobs before it"),
        Field("fraction", "f", "jobs: 0 to 1"),
        Field("prompt", "s", "jobs"),
        Field("api", "s", "inputs, outputs: the system that the device belongs to"),
        Field("channels", "i", "inputs, outputs"),
        Field("rate", "i", "inputs, outputs: Hz"),
        Field("default", "i", "inputs, outputs: 1 for the system's own choice"),
    ),
)
EVENTS_REPLY = Reply(
    "/musicgen/events.reply",
    "one message an event, oldest first, then the arguments of that event's own message; none is one message with"
    " total 0, the number that was asked for and an empty event",
    (
        ID,
        Field("index", "i", "from 0"),
        Field("total", "i", f"events of this answer, at most {MAX_EVENTS}: then ask again"),
        Field("number", "i", "the event's number: `since` of the next request"),
        Field("event", "s", "queued, done, fail, note"),
    ),
)
SUBSCRIBE_REPLY = Reply("/musicgen/subscribe.reply", "the lease begins", (ID,), (Field("lease_s", "i", "seconds"),))
SYNCED = Reply("/musicgen/synced", "everything sent before it on that socket has been taken in", (ID,))
HEARTBEAT = Reply(
    "/musicgen/heartbeat",
    "once a second to clients with a lease; 3.5 s of silence mean that the daemon is gone",
    (
        Field("instance", "s", "another one means restarted: say hello and query again"),
        Field("seq", "i", "counts up"),
        Field("state", "s"),
    ),
)
BYE = Reply(
    "/musicgen/bye", "the daemon goes, to clients with a lease and to who asked for it", (Field("instance", "s"),)
)

REPLIES = (
    HELLO_REPLY, PONG, STATUS_REPLY, SESSION_REPLY, SET_REPLY, QUEUED, PROGRESS, NOTE, DONE, CANCEL_DONE, PLAIN_DONE,
    FAIL, LIST_REPLY, EVENTS_REPLY, SUBSCRIBE_REPLY, SYNCED, HEARTBEAT, BYE,
)  # fmt: skip

OURS = frozenset(reply.address for reply in REPLIES)
"""What only the daemon says; it is never answered, or two daemons could talk for ever."""


_ELLIPSIS = "…".encode()


class _Text(str):
    """A text that may be cut."""

    __slots__ = ()


def build(
    reply: Reply, *values: object, pairs: Mapping[str, object] | None = None, then: tuple[Argument, ...] = ()
) -> Message:
    """Return the message of `reply` with its fields' values, the pairs, and what comes `then`, shorter than a datagram.

    Raises:
        ValueError: the number of values is wrong, or the message stays too long with all its texts cut.
    """
    arguments = [_as(field, value) for field, value in zip(reply.fields, values, strict=True)]
    whole = {field.name for field in reply.pairs if field.whole}
    for name, value in (pairs or {}).items():
        arguments += [name, _plain(value, whole=name in whole)]
    return Message(reply.address, tuple(_fitted(reply.address, [*arguments, *then])))


def failure(request_id: Id, command: str, error: BridgeError) -> Message:
    """Return the /musicgen/fail of a request; `retry_ms` stands last where the error has one."""
    then: tuple[Argument, ...] = () if error.retry_ms is None else (error.retry_ms,)
    return build(FAIL, request_id, command, error.code, error.text, then=then)


def job_event(request_id: Id, job: Job, event: Event) -> Message:
    """Return what a client hears of an event of its job."""
    match event:
        case Queued(position):
            return build(QUEUED, request_id, job.number, position)
        case Progress():
            level: tuple[Argument, ...] = () if event.level is None else (event.level,)
            return build(PROGRESS, request_id, job.number, event.fraction, event.eta_s, event.stage, then=level)
        case Noted(text):
            return build(NOTE, request_id, job.number, text)
        case Done(stem):
            where = (stem.index, stem.total, stem.path)
            return build(DONE, request_id, job.number, *where, stem.frames, stem.sample_rate, stem.bpm)
        case Failed():
            command = "/musicgen/record" if isinstance(job.request, RecordRequest) else "/musicgen/render"
            return failure(request_id, command, error_of(event))


def _as(field: Field, value: object) -> Argument:
    match field.type, value:
        case "id", Id():
            return value.wire
        case "i", int() | float():
            return int(value)
        case "f", int() | float():
            return float(value)
        case "s", str():
            return value if field.whole else _Text(value)
    raise ValueError(f"{field.name} can't be {value!r}")


def _plain(value: object, *, whole: bool) -> Argument:
    match value:
        case Id():
            return value.wire
        case bool():
            return int(value)
        case int() | float():
            return value
    text = "" if value is None else str(value)
    return text if whole else _Text(text)


def _fitted(address: str, arguments: list[Argument]) -> list[Argument]:
    """Cut the longest texts, on a letter's boundary, until the message is short enough."""
    while (excess := len(encode(Message(address, tuple(arguments)))) - MAX_DATAGRAM) >= 0:
        texts = [at for at, argument in enumerate(arguments) if isinstance(argument, _Text)]
        longest = max(texts, key=lambda at: len(_bytes(arguments[at])), default=-1)
        data = _bytes(arguments[longest]) if texts else b""
        kept = max(len(data) - excess - len(_ELLIPSIS) - 1, 0)
        if kept + len(_ELLIPSIS) >= len(data):
            raise ValueError(f"{address} stays longer than {MAX_DATAGRAM} bytes")
        arguments[longest] = _Text(data[:kept].decode(errors="ignore") + _ELLIPSIS.decode())
    return arguments


def _bytes(text: Argument) -> bytes:
    return str(text).encode()
