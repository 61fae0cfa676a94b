"""Writes the parts of protocol.md that the table of commands tells anew: python docs/generate_protocol.py."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from musicgen_bridge.control import commands, osc, osc_codec, replies
from musicgen_bridge.control.clients import MAX_CLIENTS
from musicgen_bridge.control.commands import COMMANDS, COMMON_CODES, Command, IdKey
from musicgen_bridge.control.intake import MAX_WAITING
from musicgen_bridge.control.replies import REPLIES, Field, Reply
from musicgen_bridge.errors import BY_CODE
from musicgen_bridge.keys import FIT_KEYS, RENDER_KEYS, SESSION_KEYS, Key

PAGE = Path(__file__).with_name("protocol.md")


def requests() -> str:
    """Every address that the daemon takes."""
    return _table(
        ("address", "keys", "what for", "answer"),
        ((f"`{one.address}`", _key_names(one), one.summary, _answers(one)) for one in COMMANDS.values()),
    )


def session_keys() -> str:
    """The keys of the session."""
    return _keys(SESSION_KEYS.values())


def render_keys() -> str:
    """The keys of a render."""
    return _keys(RENDER_KEYS.values())


def fit_keys() -> str:
    """The render keys that /musicgen/fit takes."""
    return ", ".join(f"`{name}`" for name in FIT_KEYS) + "."


def other_keys() -> str:
    """The keys that are neither the session's nor a render's."""
    rows = ((one, key) for one in COMMANDS.values() for key in _own(one))
    return _table(
        ("address", "key", "value", "meaning"),
        ((f"`{one.address}`", f"`{key.name}`", _values(key), key.doc) for one, key in rows),
    )


def answers() -> str:
    """Every message that the daemon sends."""
    return "\n\n".join(map(_reply, REPLIES))


def failures() -> str:
    """Every code, what it means and which requests it can end."""
    rows = []
    for code, error in BY_CODE.items():
        where = ", ".join(f"`{one.name}`" for one in COMMANDS.values() if code in one.codes)
        rows.append((f"`{code}`", str(inspect.getdoc(error)), "any request" if code in COMMON_CODES else where))
    return _table(("code", "meaning", "where"), rows)


def limits() -> str:
    """The most that is taken of anything."""
    longest_id = f"{commands.MAX_ID_BYTES} bytes of text, 32 bits, or a whole float up to {commands.MAX_FLOAT_ID}"
    rows = (
        ("bytes of a packet that the daemon takes", f"{osc_codec.MAX_PACKET}"),
        ("bytes of a message that it sends", f"under {replies.MAX_DATAGRAM}"),
        ("bundles in each other", f"{osc_codec.MAX_DEPTH}"),
        ("messages in a packet", f"{osc_codec.MAX_MESSAGES}"),
        ("how far ahead a timetag lies", f"{osc.MAX_AHEAD_S:g} s"),
        ("requests that wait for their timetags, requests in line", f"{MAX_WAITING} each"),
        ("a request id", longest_id),
        ("the path of a project folder", f"{commands.MAX_PROJECT_BYTES} bytes"),
        ("events in one answer", f"{replies.MAX_EVENTS}"),
        ("TCP connections", f"{osc.MAX_CONNECTIONS}; one more closes the one silent longest"),
        ("bytes that a TCP client leaves unread", f"{osc.MAX_UNREAD}, then it is cut off"),
        ("clients with a name or a lease", f"{MAX_CLIENTS}; one more, and the one silent longest is forgotten"),
        ("a lease", f"{commands.LEASE_S} s"),
    )
    return _table(("what", "at most"), rows)


PARTS: dict[str, Callable[[], str]] = {
    part.__name__: part
    for part in (requests, session_keys, render_keys, fit_keys, other_keys, answers, failures, limits)
}


def _table(headers: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [headers, tuple("---" for _ in headers), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)


def _keys(keys: Iterable[Key]) -> str:
    return _table(("key", "value", "meaning"), ((f"`{key.name}`", _values(key), key.doc) for key in keys))


def _own(command: Command) -> list[Key]:
    """Return the keys of a command that it shares with no other table."""
    shared = SESSION_KEYS if command.keys is SESSION_KEYS else RENDER_KEYS
    return [key for key in command.keys.values() if shared.get(key.name) is not key]


def _key_names(command: Command) -> str:
    needed = {*command.required, *(["token"] if command.secured else [])}
    names = [f"`{key.name}`" + " (needed)" * (key.name in needed) for key in _own(command)]
    if command.keys is SESSION_KEYS:
        names.append("session keys")
    elif command.keys.items() >= RENDER_KEYS.items():
        names.append("render keys")
    elif command.keys is FIT_KEYS:
        names.append("`file` (needed), render keys of a recording")
    else:
        names = [f"`{name}`" + " (needed)" * (name in needed) for name in command.keys]
    return ", ".join(names) or "none"


def _answers(command: Command) -> str:
    short = (reply.address.removeprefix("/musicgen") for reply in command.replies)
    return ", ".join(f"`{address}`" for address in dict.fromkeys(short))


def _values(key: Key) -> str:
    if isinstance(key, IdKey):
        return "s or i"
    if key.choices:
        return ", ".join(map(str, key.choices))
    if key.low is not None and key.high is not None:
        return f"{key.kind}, {_number(key.low)} to {_number(key.high)}"
    return {"b": "1 or 0", "s": f"s, up to {key.longest} letters"}.get(key.kind, key.kind)


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def _reply(reply: Reply) -> str:
    shape = [field.name for field in reply.fields]
    if reply is replies.FAIL:
        shape.append("[retry_ms]")
    elif reply is replies.PROGRESS:
        shape.append("[level]")
    elif reply is replies.EVENTS_REPLY:
        shape.append("arguments …")
    elif reply.pairs:
        shape.append("key value …")
    told = [field for field in reply.fields if field.doc and field is not replies.ID]
    shared = {replies.SESSION_REPLY: "the session keys", replies.SET_REPLY: "render keys"}.get(reply)
    told += [] if shared else reply.pairs
    lines = [f"- `{field.name}` {_type(field)}" + (f": {field.doc}" if field.doc else "") for field in told]
    if shared:
        lines.append(f"- pairs of {shared}")
    return "\n".join([f"**`{reply.address}`** `{' '.join(shape)}`: {reply.summary}.", *([""] if lines else []), *lines])


def _type(field: Field) -> str:
    return "s, i or f" if field.type == "id" else field.type


def filled(page: str) -> str:
    """Return the page with what stands between `<!-- table: name -->` and `<!-- end -->` as it is now."""
    return re.sub(
        r"<!-- table: (\w+) -->\n.*?<!-- end -->",
        lambda found: f"<!-- table: {found[1]} -->\n{PARTS[found[1]]()}\n<!-- end -->",
        page,
        flags=re.DOTALL,
    )


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text("utf-8")), "utf-8", newline="\n")
