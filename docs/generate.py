"""Writes what stands between `<!-- name -->` and `<!-- end -->` on these pages anew: python docs/generate.py"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click

from musicgen_bridge.cli import cli
from musicgen_bridge.control.controllers import CONTROL, NOTE, ControllerMap, Maps
from musicgen_bridge.errors import BY_CODE
from musicgen_bridge.presets import Presets, shipped
from musicgen_bridge.settings import Settings, documentation

HERE = Path(__file__).parent


def settings() -> str:
    """Every setting, its flag, its environment variable and its default."""
    standing = Settings()
    rows = []
    for name, variable, text in documentation():
        value = getattr(standing, name)
        default = f"`{str(value).lower()}`" if isinstance(value, str | int | float) else ""
        flag = {"roots": "`--root`", "models": ""}.get(name, f"`--{name.replace('_', '-')}`")
        rows.append((f"`{name}`", flag, f"`{variable}`" if variable else "", default, text))
    return _table(("in the file", "flag", "environment", "default", "meaning"), rows)


def errors() -> str:
    """Every code of the wire, with its class and meaning."""
    rows = ((f"`{code}`", f"`{kind.__name__}`", str(kind.__doc__)) for code, kind in BY_CODE.items())
    return _table(("code", "class", "meaning"), rows)


def commands() -> str:
    """The flags of every command."""
    parts = []
    for name, command in sorted(_commands(cli)):
        arguments = [
            one.make_metavar(click.Context(command)) for one in command.params if isinstance(one, click.Argument)
        ]
        rows = [_flag(one) for one in command.params if isinstance(one, click.Option)]
        summary = " ".join(str(command.help).split())
        parts.append(
            f"### {name}\n`musicgen-bridge {' '.join([name, *arguments])}`\n\n{summary}\n\n{_table(('flag', ''), rows)}"
        )
    return "\n\n".join(parts)


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


PARTS: dict[str, Callable[[], str]] = {
    part.__name__: part for part in (settings, errors, commands, presets, controllers)
}


def _table(headers: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [headers, tuple("---" for _ in headers), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines)


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
