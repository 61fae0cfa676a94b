"""THE table of the wire: every address in and out, its keys and fields; dispatch, docs/protocol.md and tests use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from musicgen_bridge.asking.keys import FIT_KEYS, RENDER_KEYS, SESSION_KEYS, Key, Value, check_values, suggestion, table
from musicgen_bridge.asking.plausible import MAX_STEMS
from musicgen_bridge.asking.record import RECORD_KEYS
from musicgen_bridge.asking.recut import RECUT_KEYS
from musicgen_bridge.control.osc_codec import Argument, Message, Refused
from musicgen_bridge.control.replies import (
    BYE,
    CANCEL_DONE,
    DONE,
    EVENTS_REPLY,
    FAIL,
    HELLO_REPLY,
    LIST_REPLY,
    NOTE,
    PLAIN_DONE,
    PONG,
    PROGRESS,
    QUEUED,
    SESSION_REPLY,
    SET_REPLY,
    STATUS_REPLY,
    SUBSCRIBE_REPLY,
    SYNCED,
    Id,
    Reply,
)
from musicgen_bridge.errors import ArgumentError, ProtocolError

PROTO = 1
"""The version of the protocol."""
LEASE_S = 30
"""The longest lease, and the one that hello gives; whatever the client sends afterwards renews it."""
MAX_ID_BYTES = 64
MAX_FLOAT_ID = 2**24
"""Whole numbers beyond are not exact as 32-bit floats."""
MAX_PROJECT_BYTES = 850
"""The longest project folder: the path of a stem below it still fits whole into one datagram."""
_PATTERN = frozenset("*?[]{}")


@dataclass(frozen=True, slots=True)
class IdKey(Key):
    """A key that holds a text or a whole number, told apart: a request id, a slot."""


@dataclass(frozen=True, slots=True)
class Command:
    """One address that the daemon takes.

    `replies` is what a success answers; `codes` are the failures beyond `COMMON_CODES`. A command that is `at_once`
    does not wait in line behind others.
    """

    address: str
    summary: str
    replies: tuple[Reply, ...]
    keys: Mapping[str, Key] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    at_once: bool = False
    secured: bool = False
    """Only with the daemon's token."""

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.address.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Request:
    """One message that fits the table, its values checked."""

    command: Command
    id: Id
    values: dict[str, Value]


COMMON_CODES = ("E_ARGS", "E_PROTO", "E_TIME", "E_BUSY", "E_INTERNAL")
"""What any request can fail with."""
_ACCEPTING = ("E_PATH", "E_MODEL", "E_RID", "E_DISK")
_ENDING = ("E_OOM", "E_AUDIO", "E_CANCELLED")

_TARGET = IdKey("target", "s", "id of the request meant")
_TOKEN = Key("token", "s", "the daemon's token", longest=200)

COMMANDS: Mapping[str, Command] = {
    command.address: command
    for command in (
        Command(
            "/musicgen/hello",
            "introduce the client: where its replies go, and by what name its ids are known",
            (HELLO_REPLY,),
            table(
                Key("proto", "i", f"version of the protocol that is spoken; {PROTO} when left out"),
                Key("client", "s", "name of the client, no two alike; its ids stay its own by this name", longest=64),
                Key("reply_port", "i", "UDP port for all replies; 0 is the port it sends from", 0, 65_535),
                Key("token", "s", "may be left out; a wrong one is refused", longest=200),
            ),
            codes=("E_AUTH",),
            at_once=True,
        ),
        Command("/musicgen/ping", "ask whether the daemon is there", (PONG,), at_once=True),
        Command("/musicgen/status", "ask how the daemon is", (STATUS_REPLY,), at_once=True),
        Command(
            "/musicgen/session",
            "tell the session's tempo, meter, rate and folder; without keys, ask for them",
            (SESSION_REPLY,),
            SESSION_KEYS,
            codes=("E_PATH",),
        ),
        Command(
            "/musicgen/set",
            "choose defaults for later requests; a length replaces another",
            (SET_REPLY,),
            {**RENDER_KEYS, "reset": Key("reset", "b", "first forget all defaults chosen before")},
            codes=("E_PATH", "E_MODEL"),
        ),
        Command(
            "/musicgen/render",
            "render stems; what is left out comes from /musicgen/set, then from the session",
            (QUEUED, PROGRESS, NOTE, DONE),
            RENDER_KEYS,
            codes=_ACCEPTING + _ENDING,
        ),
        Command(
            "/musicgen/trigger",
            "render a preset; any render key goes over it",
            (QUEUED, PROGRESS, NOTE, DONE),
            {"slot": IdKey("slot", "s", "a preset's name or number", longest=64), **RENDER_KEYS},
            required=("slot",),
            codes=_ACCEPTING + _ENDING,
        ),
        Command(
            "/musicgen/fit",
            "bring a recording to the session, as a take is: its tempo, bars, rate and loudness, or its stems",
            (QUEUED, PROGRESS, NOTE, DONE),
            FIT_KEYS,
            required=("file",),
            codes=_ACCEPTING + _ENDING,
        ),
        Command(
            "/musicgen/recut",
            "cut an earlier take anew from what the model made of it: another downbeat, length, tempo or loudness",
            (QUEUED, PROGRESS, NOTE, DONE),
            {
                **RECUT_KEYS,
                "target": IdKey("target", "s", "instead of take: id of the request that made it"),
                "index": Key("index", "i", "which of that request's stems; 0 when left out", 0, MAX_STEMS - 1),
            },
            codes=_ACCEPTING + _ENDING,
        ),
        Command(
            "/musicgen/record",
            "record an input from the next bar line on, or at once while nothing plays; renders go on meanwhile",
            (QUEUED, PROGRESS, NOTE, DONE),
            RECORD_KEYS,
            codes=("E_PATH", "E_RID", "E_DISK", "E_AUDIO", "E_CANCELLED"),
        ),
        Command(
            "/musicgen/cancel",
            "end a job of this client, or any by its number; the job itself ends with E_CANCELLED, and one that has"
            " ended stays as it is, but falls silent",
            (CANCEL_DONE,),
            table(
                _TARGET,
                Key("job", "i", "instead of target: number of a job, whoever asked for it", 1, 2**31 - 1),
            ),
        ),
        Command(
            "/musicgen/query",
            "repeat the latest reply to a request of this client, under that request's id; what is still to come goes"
            " where this was asked from",
            (QUEUED, PROGRESS, NOTE, DONE, FAIL),
            table(_TARGET),
            required=("target",),
        ),
        Command(
            "/musicgen/list",
            "list what there is",
            (LIST_REPLY,),
            table(Key("what", "s", "what to list", choices=("presets", "models", "jobs", "midi", "inputs", "outputs"))),
            required=("what",),
            codes=("E_AUDIO",),
        ),
        Command(
            "/musicgen/events",
            "repeat what happened to any client's jobs; progress is not kept",
            (EVENTS_REPLY,),
            table(Key("since", "i", "number of the last event that is known; 0 when left out", 0, 2**31 - 1)),
        ),
        Command(
            "/musicgen/subscribe",
            "have the events of every client's jobs, each under its request's id, and the heartbeat",
            (SUBSCRIBE_REPLY,),
            table(Key("lease_s", "i", f"for how many seconds; 0 ends it, {LEASE_S} when left out", 0, LEASE_S)),
        ),
        Command(
            "/musicgen/unload",
            "have a model leave memory once no job is in hand any more; the next job that wants it loads it again",
            (PLAIN_DONE,),
            table(Key("model", "s", "alias; all models when left out", longest=64)),
            codes=("E_MODEL",),
        ),
        Command(
            "/musicgen/sync",
            "wait in line; requests that wait for their timetag don't count, nor do the jobs themselves",
            (SYNCED,),
        ),
        Command(
            "/musicgen/drain",
            "take no more jobs, finish those there are, and go",
            (PLAIN_DONE, BYE),
            table(_TOKEN),
            codes=("E_AUTH",),
            secured=True,
        ),
        Command(
            "/musicgen/quit",
            "go at once; jobs that are open are taken up at the next start",
            (PLAIN_DONE, BYE),
            table(_TOKEN),
            codes=("E_AUTH",),
            secured=True,
        ),
    )
}


def read_id(message: Message) -> Id:
    """Return the request id of a message.

    Raises:
        ArgumentError: there is none, or it is no text of at most 64 bytes and no whole number.
    """
    match message.arguments[:1]:
        case (str(text),) if len(text.encode()) <= MAX_ID_BYTES:
            return Id(text)
        case (int(number),) if not isinstance(number, bool) and -(2**31) <= number < 2**31:
            return Id(number)
        case (float(number),) if number.is_integer() and abs(number) <= MAX_FLOAT_ID:
            return Id(int(number), floating=True)
    raise ArgumentError(
        f"the first argument of {_shown(message.address)} must be a request id: a text of at most {MAX_ID_BYTES} bytes,"
        f" a whole number of 32 bits, or a whole float up to {MAX_FLOAT_ID}"
    )


def read(message: Message) -> Request:
    """Return the request that a message stands for.

    Raises:
        ProtocolError: the address is not in the table.
        ArgumentError: id, keys or values are wrong; the text names the key.
    """
    command = _command(message.address)
    request_id = read_id(message)
    given = _pairs(message.arguments[1:])
    idents = {name: value for name, value in given.items() if isinstance(command.keys.get(name), IdKey)}
    values = check_values(
        {name: value for name, value in given.items() if name not in idents}, command.keys, f" of {command.address}"
    )
    values |= {name: _check_ident(command.keys[name], value) for name, value in idents.items()}
    for name in command.required:
        if name not in values:
            raise ArgumentError(f"{command.address} needs {name}: {command.keys[name].doc}")
    return Request(command, request_id, values)


def _command(address: str) -> Command:
    if address in COMMANDS:
        return COMMANDS[address]
    if _PATTERN & set(address):
        raise ProtocolError(f"{_shown(address)} holds a pattern; addresses are exact here, send to one at a time")
    raise ProtocolError(f"no address {_shown(address)}{suggestion(address[:64], COMMANDS)}")


def _pairs(arguments: tuple[Argument, ...]) -> dict[str, object]:
    pairs: dict[str, object] = {}
    for at in range(0, len(arguments), 2):
        key, value = arguments[at], arguments[at + 1 : at + 2]
        if not isinstance(key, str):
            what = f"is {key.why}" if isinstance(key, Refused) else f"is {key!r}"
            raise ArgumentError(f"argument {at + 2} must be a key, but it {what}; give pairs of key and value")
        if not value:
            raise ArgumentError(f'key "{_shown(key)}" has no value; give pairs of key and value')
        if isinstance(value[0], Refused):
            raise ArgumentError(f'key "{_shown(key)}" has a value that is {value[0].why}; send i, f, s, T or F')
        if key in pairs:
            raise ArgumentError(f'key "{_shown(key)}" stands twice; give it once')
        pairs[key] = value[0]
    return pairs


def _check_ident(key: Key, value: object) -> str | int:
    match value:
        case str() if len(value.encode()) <= MAX_ID_BYTES:
            return value
        case int() | float() if not isinstance(value, bool) and value == int(value):
            return int(value)
    raise ArgumentError(f"{key.name} must be a whole number or a text of at most {MAX_ID_BYTES} bytes")


def _shown(text: str) -> str:
    return text if len(text) <= 64 else f"{text[:64]}…"
