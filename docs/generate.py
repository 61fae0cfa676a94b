"""Writes what stands between `<!-- name -->` and `<!-- end -->` on these pages anew: python docs/generate.py"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click

from musicgen_bridge.asking.keys import FIT_KEYS, RENDER_KEYS, SESSION_KEYS, Key
from musicgen_bridge.asking.presets import Presets, shipped
from musicgen_bridge.cli.program import cli
from musicgen_bridge.control import commands, osc, osc_codec, replies
from musicgen_bridge.control.clients import MAX_CLIENTS
from musicgen_bridge.control.commands import COMMANDS, COMMON_CODES, Command, IdKey
from musicgen_bridge.control.controllers import CONTROL, NOTE, ControllerMap, Maps
from musicgen_bridge.control.intake import MAX_WAITING
from musicgen_bridge.control.replies import REPLIES, Field, Reply
from musicgen_bridge.errors import BY_CODE
from musicgen_bridge.settings import Settings, documentation

HERE = Path(__file__).parent
HERE_AND_THERE = {
    "models": "none",
    "project": "none",
    "demucs": "none",
    "roots": "your home",
    "presets": "`presets` beside the file",
    "state": "[here](daemon.md#its-folder)",
}
"""Defaults that are no value, or another one on each machine."""


def settings() -> str:
    """Every setting, its flag, its environment variable and its default."""
    standing = Settings()
    rows = []
    for name, variable, text in documentation():
        value = getattr(standing, name)
        plain = ", ".join(value) if name == "follow" else str(value).lower()
        default = HERE_AND_THERE.get(name) or f"`{plain}`"
        flag = {"roots": "`--root`", "models": ""}.get(name, f"`--{name.replace('_', '-')}`")
        rows.append((f"`{name}`", flag, f"`{variable}`" if variable else "", default, text))
    return _table(("in the file", "flag", "environment", "default", "meaning"), rows)


def errors() -> str:
    """Every code of the wire: what it means, which requests it can end, and its class in Python."""
    rows = []
    for code, kind in BY_CODE.items():
        named = ", ".join(f"`{one.name}`" for one in COMMANDS.values() if code in one.codes)
        where = "any request" if code in COMMON_CODES else named or "no request to this daemon"
        rows.append((f"`{code}`", str(inspect.getdoc(kind)), where, f"`{kind.__name__}`"))
    return _table(("code", "meaning", "after", "in Python"), rows)


def flags() -> str:
    """The flags of every command."""
    parts = []
    for name, command in sorted(_commands(cli)):
        arguments = [
            one.make_metavar(click.Context(command)) for one in command.params if isinstance(one, click.Argument)
        ]
        options = [one for one in command.params if isinstance(one, click.Option)]
        own = [_flag(one) for one in options if not _is_setting(one)]
        shared = [f"`{one.opts[0]}`" for one in options if _is_setting(one)]
        parts += [f"### {name}\n`musicgen-bridge {' '.join([name, *arguments])}`", " ".join(str(command.help).split())]
        parts += [_table(("flag", ""), own)] if own else []
        parts += [f"[Settings](settings.md): {', '.join(shared)}."] if shared else []
    return "\n\n".join(parts)


def _is_setting(option: click.Option) -> bool:
    """Whether a flag is that of a setting, or of the file with all of them."""
    return option.name == "config" or any(f"[{variable}]" in str(option.help) for _, variable, _ in documentation())


def _commands(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield each command with its whole name, those of groups too."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def _flag(option: click.Option) -> tuple[str, str]:
    flags = " / ".join(f"`{flag}`" for flag in (*option.opts, *option.secondary_opts))
    value = {"choice": " or ".join(getattr(option.type, "choices", ()))}.get(option.type.name, option.metavar or "")
    return f"{flags} {value}".strip(), str(option.help)


def presets() -> str:
    """The presets that come with the package."""
    rows = ((str(one.slot), one.name, one.role, one.genre, one.summary) for one in Presets(shipped()).all())
    return _table(("slot", "name", "role", "genre", ""), rows)


def controllers() -> str:
    """The controllers whose maps come with the package."""
    rows = (
        (one.name, _pads(one, NOTE), _pads(one, CONTROL), _knobs(one), "yes" if one.lights else "no")
        for one in Maps(shipped() / "controllers").all()
    )
    return _table(("controller", "notes", "buttons (control changes)", "knobs and faders", "lights"), rows)


def _pads(one: ControllerMap, kind: int) -> str:
    slots = {pad.number: slot for pad, slot in one.pads.items() if pad.kind == kind}
    runs: list[list[int]] = []
    for number in sorted(number for number, slot in slots.items() if isinstance(slot, int)):
        if runs and number == runs[-1][-1] + 1 and slots[number] == int(slots[number - 1]) + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    texts = [
        f"{run[0]}–{run[-1]}: slots {slots[run[0]]}–{slots[run[-1]]}" if run[1:] else f"{run[0]}: slot {slots[run[0]]}"
        for run in runs
    ]
    return ", ".join(texts + [f"{number}: {slot}" for number, slot in slots.items() if isinstance(slot, str)])


def _knobs(one: ControllerMap) -> str:
    return ", ".join(f"{number}: {knob.key.name} {knob.low:g}–{knob.high:g}" for number, knob in one.knobs.items())


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
    """The keys of a render but those that are the session's."""
    return _keys(key for key in RENDER_KEYS.values() if SESSION_KEYS.get(key.name) is not key)


def fit_keys() -> str:
    """The render keys that /musicgen/fit takes."""
    return ", ".join(f"`{name}`" for name in FIT_KEYS) + "."


def other_keys() -> str:
    """The keys that are neither the session's nor a render's; one that several addresses share stands once."""
    shared: dict[Key, list[str]] = {}
    for one in COMMANDS.values():
        for key in _own(one):
            shared.setdefault(key, []).append(f"`{one.name}`")
    rows = ((", ".join(names), f"`{key.name}`", _values(key), key.doc) for key, names in shared.items())
    return _table(("with", "key", "value", "meaning"), rows)


def answers() -> str:
    """Every message that the daemon sends."""
    return "\n\n".join(map(_reply, REPLIES))


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
    for part in (
        *(settings, errors, flags, presets, controllers),
        *(requests, session_keys, render_keys, fit_keys, other_keys, answers, limits),
    )
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
    more = {replies.FAIL: "[retry_ms]", replies.PROGRESS: "[level]", replies.EVENTS_REPLY: "arguments …"}
    shape = [field.name for field in reply.fields]
    shape += [more[reply]] if reply in more else ["key value …"] if reply.pairs else []
    told = [f"`{field.name}` ({_type(field)}, {field.doc})" for field in reply.fields if field.doc]
    head = f"**`{reply.address}`** `{' '.join(shape)}`: {reply.summary}."
    if told:
        head += f" {', '.join(told)}."
    if reply in (replies.SESSION_REPLY, replies.SET_REPLY):
        return head  # whose pairs are the keys of the request
    pairs = [f"- `{field.name}` {_type(field)}" + (f": {field.doc}" if field.doc else "") for field in reply.pairs]
    return "\n".join([head, *([""] if pairs else []), *pairs])


def _type(field: Field) -> str:
    return "s, i or f" if field.type == "id" else field.type


def filled(page: str) -> str:
    """Return a page with its generated parts as they are now."""
    return re.sub(
        rf"<!-- ({'|'.join(PARTS)}) -->\n.*?<!-- end -->",
        lambda found: f"<!-- {found[1]} -->\n{PARTS[found[1]]()}\n<!-- end -->",
        page,
        flags=re.DOTALL,
    )


if __name__ == "__main__":
    for path in sorted(HERE.glob("*.md")):
        path.write_text(filled(path.read_text("utf-8")), "utf-8", newline="\n")
