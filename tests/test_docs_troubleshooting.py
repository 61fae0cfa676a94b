"""The docs name only what there is: codes, commands, flags, addresses, settings, headings, and messages as said."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from musicgen_bridge.cli.program import cli
from musicgen_bridge.control.commands import COMMANDS
from musicgen_bridge.errors import BY_CODE
from musicgen_bridge.settings import documentation

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TROUBLE = ROOT / "docs" / "troubleshooting.md"
SHELL = "E_NO_DAEMON"
SAID_BY = ("musicgen_bridge/**/*.py", "max_for_live/*.js", "reaper_scripts/**/*.lua")


def flags(command: click.Command) -> set[str]:
    own = {flag for one in command.params for flag in (*one.opts, *one.secondary_opts) if flag.startswith("--")}
    return own.union(*map(flags, command.commands.values())) if isinstance(command, click.Group) else own


FLAGS = {name: flags(command) | {"--help"} for name, command in cli.commands.items()}


@cache
def said() -> str:
    """All that the programs may say: their sources, with texts that go over several lines joined."""
    sources = [path.read_text("utf-8") for pattern in SAID_BY for path in sorted(ROOT.glob(pattern))]
    joined = re.sub(r'"\s*\n\s*f?"', "", "\n".join(sources))
    return joined.replace('\\"', '"').replace("\\n", "\n")


def spans(text: str) -> Iterator[str]:
    """Yield what stands as code, in a line or in a block of commands."""
    for block in re.findall(r"```(?:sh)?\n(.*?)```", text, re.DOTALL):
        yield from block.splitlines()
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def rows(page: Path) -> list[list[str]]:
    lines = [line for line in page.read_text("utf-8").splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]


def test_every_code_has_a_row_of_its_own() -> None:
    codes = [row[0].strip("`") for row in rows(TROUBLE) if re.fullmatch(r"`E_[A-Z_]+`", row[0])]
    assert sorted(codes) == sorted([*BY_CODE, SHELL])
    assert f'"{SHELL}"' in said()


def test_every_row_says_what_it_means_and_what_to_do() -> None:
    assert [row for row in rows(TROUBLE) if len(row) != 3 or not all(row)] == []


def messages() -> list[str]:
    first = [row[0] for row in rows(TROUBLE) if not row[0].startswith("`E_")]
    return [span for cell in first for span in re.findall(r"`([^`]+)`", cell)]


@pytest.mark.parametrize("message", messages())
def test_every_message_is_one_that_is_said(message: str) -> None:
    pieces = [piece.strip() for piece in message.split("…") if len(piece.strip()) > 1]
    assert pieces, "there is nothing to look for"
    assert [piece for piece in pieces if piece not in said()] == [], "name it on the page as the program says it now"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_flag_and_address_exists(page: Path) -> None:
    wrong = []
    for span in set(spans(page.read_text("utf-8"))).difference(messages()):
        for name, rest in re.findall(r"(?:^|\s)musicgen-bridge ([a-z]+)\b([^|#&;]*)", span):
            unknown = set(re.findall(r"(?<!\S)--[a-z][a-z-]*", rest)) - FLAGS.get(name, set())
            wrong += [f"musicgen-bridge {name}"] * (name not in FLAGS) + [f"{name} {flag}" for flag in unknown]
        if flag := re.match(r"--[a-z][a-z-]*", span):
            wrong += [flag[0]] * (not any(flag[0] in known for known in FLAGS.values()))
    assert wrong == []


@pytest.mark.parametrize("page", [TROUBLE, ROOT / "README.md"], ids=lambda page: page.name)
def test_every_address_and_setting_named_exists(page: Path) -> None:
    text = page.read_text("utf-8")
    addresses = set(re.findall(r"(/musicgen/[a-z]+)", text))
    settings = set(re.findall(r"[Tt]he settings? `([a-z]+)`", text))
    assert addresses - set(COMMANDS) == set()
    assert settings - {name for name, _, _ in documentation()} == set()


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_anchor_leads_to_a_heading(page: Path) -> None:
    links = re.findall(r"\]\(((?!https?:)[^)#]*)#([^)]+)\)", page.read_text("utf-8"))
    targets = [(page.parent / path if path else page, anchor) for path, anchor in links]
    assert [(path.name, anchor) for path, anchor in targets if anchor not in anchors(path)] == []
