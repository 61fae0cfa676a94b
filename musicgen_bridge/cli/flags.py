"""The flags of the command line, made from the tables of settings and render keys that they stand for."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from musicgen_bridge.asking.keys import RENDER_KEYS, SESSION_KEYS, Key, Value
from musicgen_bridge.asking.record import RECORD_KEYS
from musicgen_bridge.cli.spool import Spool
from musicgen_bridge.settings import documentation, load

Command = Callable[..., Any]

SETTINGS = tuple(name for name, variable, _ in documentation() if variable)
"""The settings that a flag can hold: all but tables."""
SWITCHES = ("panel",)
"""The settings that are on or off."""
_METAVARS = {"s": "TEXT", "i": "WHOLE", "f": "NUMBER"}


def setting_flags(*names: str) -> Callable[[Command], Command]:
    """Add `--config` and the flags of these settings to a command, whose first argument is the `Settings`."""
    texts = {name: (variable, text) for name, variable, text in documentation()}

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_settings(config: Path | None, **given: Any) -> Any:
            flags = {name: given.pop(name) for name in names}
            return command(load({name: one for name, one in flags.items() if one != ()}, file=config), **given)

        for name in reversed(names):
            variable, text = texts[name]
            flag = "--root" if name == "roots" else f"--{name.replace('_', '-')}"
            kind: dict[str, Any] = {"multiple": name == "roots", "metavar": "TEXT"}
            if name in SWITCHES:
                flag, kind = f"{flag}/--no-{name}", {"default": None}
            click.option(flag, name, help=f"{text} [{variable}]", **kind)(with_settings)
        file = click.Path(path_type=Path)
        return click.option("--config", type=file, metavar="FILE", help="settings to read instead of the user's own")(
            with_settings
        )

    return decorate


def key_flags(keys: Mapping[str, Key], *, but: str = "") -> Callable[[Command], Command]:
    """Add a flag for every key of a table but one to a command, which gets those that were given as `keys`."""
    chosen = [key for key in keys.values() if key.name != but]

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_keys(*others: Any, **given: Any) -> Any:
            values = {key.name: given.pop(key.name) for key in chosen}
            return command(*others, keys={name: one for name, one in values.items() if one is not None}, **given)

        for key in reversed(chosen):
            _flag(key)(with_keys)
        return with_keys

    return decorate


def _flag(key: Key) -> Callable[[Command], Command]:
    flag = f"--{key.name.replace('_', '-')}"
    if key.kind == "b":
        return click.option(f"{flag}/--no-{flag[2:]}", key.name, default=None, help=key.doc)
    if key.choices:
        choice = click.Choice([str(one) for one in key.choices])
        return click.option(flag, key.name, type=choice, callback=_read, help=key.doc)
    text = key.doc.replace("absolute ", "")  # a relative path is one from the shell's folder
    reach = f" ({key.low:.10g} to {key.high:.10g})" if key.low is not None and key.high is not None else ""
    return click.option(flag, key.name, metavar=_METAVARS[key.kind], callback=_read, help=text + reach)


def _read(_: click.Context, option: click.Parameter, text: str | None) -> Value | None:
    return None if text is None else typed(str(option.name), text)


def typed(name: str, text: str) -> Value:
    """Return a key's value from its text: as text where the key holds text, else the number that it reads as."""
    known = SESSION_KEYS.get(name) or RENDER_KEYS.get(name) or RECORD_KEYS.get(name)
    if known is not None and known.kind == "s":
        return text
    if re.fullmatch(r"[+-]?\d{1,18}", text):
        return int(text)
    try:
        return float(text)
    except ValueError:
        return text


def _ask_json(context: click.Context, _: click.Parameter, value: bool) -> bool:
    context.obj.json = value
    return value


json_flag = click.option("--json", "as_json", is_flag=True, callback=_ask_json, help="print one JSON object")
"""Also makes a failure of the command a JSON object; the root context's `obj.json` tells."""


def _ask_spool(context: click.Context, _: click.Parameter, file: Path | None) -> Spool | None:
    context.obj.spool = Spool(file) if file is not None else None
    return context.obj.spool


spool_flag = click.option(
    "--spool",
    type=click.Path(path_type=Path),
    metavar="FILE",
    is_eager=True,
    callback=_ask_spool,
    help="for programs: render keys as JSON; FILE.report tells how it goes, FILE.cancel ends it",
)
"""Also makes a failure of the command a report; the root context's `obj.spool` tells."""
