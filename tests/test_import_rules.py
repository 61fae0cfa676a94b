"""Who may import whom, read off the imports; the tables are the rules, and a planted breach must be found."""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = "musicgen_bridge"
ROOT = Path(__file__).parents[1] / PACKAGE


class Room(NamedTuple):
    """What a room's files may import beside the standard library, the room itself and `TYPES`."""

    rooms: str = ""
    packages: str = ""
    lazily: str = ""
    """Rooms and packages that only a function may import, when it is called."""


TYPES = ("errors", "pitch", "request", "tempo_map")
"""They know nobody but each other, and every other room may know them."""
ROOMS = {
    "errors": Room(),
    "request": Room("tempo_map"),
    "tempo_map": Room(),
    "pitch": Room(),
    "roots": Room(),
    "asking": Room("roots shipped sidecar"),
    "pipe": Room(),
    "patience": Room(),
    "sound": Room("pipe ports roots stems", "numpy soxr", lazily="sounddevice"),
    "hub": Room(lazily="huggingface_hub"),
    "setting_values": Room("asking hub"),
    "settings": Room("asking hub roots setting_values", "platformdirs"),
    "models": Room("hub settings shipped", lazily="huggingface_hub"),
    "shipped": Room(),
    "journal": Room(),
    "jobs": Room("journal"),
    "ports": Room("pipe", lazily="mido"),
    "medians": Room(packages="numpy scipy"),
    "engine": Room(
        "medians",
        packages="psutil torch tokenizers safetensors yaml numpy scipy soxr platformdirs",
        lazily="cuda demucs",
    ),
    "match": Room("medians", packages="numpy scipy soxr pyloudnorm python_stretch sf_limiter"),
    "sidecar": Room("roots"),
    "stems": Room("asking patience roots sidecar __init__", "numpy soundfile riffy"),
    "waveform": Room(packages="torch", lazily="julius torchaudio"),
    "audio": Room("stems waveform", "torch"),
    "musicgen": Room("engine hub settings waveform", "torch numpy"),
    "sharing": Room(),
    "worker": Room("asking engine hub match pipe roots settings sharing shipped sidecar sound stems", "numpy torch"),
    "workers": Room("jobs pipe settings sharing"),
    "recorders": Room("jobs pipe settings"),
    "control": Room("asking roots jobs __init__", lazily="mido rtmidi"),
    "follow": Room("asking control", lazily="jack link"),
    "daemon": Room(
        "asking hub jobs journal ports recorders settings workers control follow __init__", "psutil", lazily="panel"
    ),
    "panel": Room("asking roots control sidecar stems", "starlette uvicorn"),
    "client": Room("asking control", "pythonosc"),
    "cli": Room(
        "asking patience pipe settings __init__",
        "click",
        lazily="cli.demo cli.doctor cli.install cli.melody_picture cli.rendering "
        "client control daemon engine hub models ports rich",
    ),
    "cli.demo": Room("asking cli control client daemon pipe", lazily="numpy soundfile"),
    "cli.doctor": Room(
        "asking cli.install hub ports settings", lazily="client daemon mido packaging psutil soundfile torch"
    ),
    "cli.install": Room("shipped", "platformdirs"),
    "cli.melody_picture": Room("asking engine roots settings stems", "numpy"),
    "cli.rendering": Room("asking roots settings sidecar client stems", lazily="worker"),
    "__init__": Room(lazily="audio musicgen waveform"),
}

LIGHT = ("__init__", "asking", "cli", "client", "control", "jobs", "journal", "daemon", "settings")
HEAVY = ("torch", "torchaudio", "transformers", "numpy", "scipy", "engine", "match", "stems", "worker", "musicgen")
"""Importing a light room never runs a heavy one, through however many other files."""

ENGINE_ORDER = ("engine.kernels", "engine.transformer", "engine.decode", "engine.engine")
"""Each may reach those before it, none that comes after it."""
CODEC = tuple(f"engine.{name}" for name in ("codec", "codec_stream", "codec_config", "seanet", "lstm", "quantizer"))
LANGUAGE_MODEL = ("engine.transformer", "engine.decode", "engine.cache", "engine.sampler", "engine.pattern")

NO_DISK_NO_WIRE = (
    "match",
    "asyncio http io mmap os pathlib shutil socket sqlite3 subprocess tempfile urllib wave open",
)
AUDIO_WRITERS = "aifc riffy soundfile sunau wave scipy.io torchaudio.io"
"""Only stems imports what can write audio; doctor asks soundfile for its formats, the demo plays a DAW's recorder."""
MAY_WRITE_AUDIO = ("stems", "cli.doctor", "cli.demo")

WORK_AT_IMPORT = (ast.For, ast.While, ast.With, ast.Delete, ast.Global)


class Import(NamedTuple):
    """One import: the module it stands in, what it names (dotted; own modules without the package), and where."""

    module: str
    target: str
    line: int
    lazy: bool


@functools.cache
def modules() -> dict[str, ast.Module]:
    """Return every module's tree by its dotted name within the package."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): ast.parse(path.read_text("utf-8"), str(path))
        for path in sorted(ROOT.rglob("*.py"))
    }


def room_of(target: str) -> str:
    """Return the room of a module, or the package that a target lies in; a module with a row is a room of its own."""
    return target if target in ROOMS else target.partition(".")[0]


def imports(name: str, tree: ast.Module, known: Iterable[str]) -> Iterator[Import]:
    """Yield each import of a module; one inside a function or under TYPE_CHECKING is lazy."""
    own = set(known) | {room_of(one) for one in known}

    def walk(node: ast.AST, lazy: bool) -> Iterator[Import]:
        lazy = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        lazy = lazy or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
        for target in targets(node):
            yield Import(name, target, node.lineno, lazy)  # type: ignore[attr-defined]
        for child in ast.iter_child_nodes(node):
            yield from walk(child, lazy)

    def targets(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (strip(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = [PACKAGE, *name.split(".")][: -node.level]
                base = ".".join([*parts, *filter(None, [base])])
            for alias in node.names:
                whole, part = strip(f"{base}.{alias.name}"), strip(base)
                yield whole if whole in own else part if part != PACKAGE else "__init__"
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in (
            "import_module",
            "__import__",
        ):
            yield "import_module"

    def strip(target: str) -> str:
        bare = target.removeprefix(f"{PACKAGE}.")
        return f"{bare}.__init__" if f"{bare}.__init__" in own else bare

    yield from walk(tree, lazy=False)


def own_imports(trees: Mapping[str, ast.Module]) -> dict[str, list[Import]]:
    return {name: list(imports(name, tree, trees)) for name, tree in trees.items()}


def is_own(target: str, trees: Mapping[str, ast.Module]) -> bool:
    return target in trees or room_of(target) in {room_of(name) for name in trees}


def reached(start: str, found: Mapping[str, list[Import]], *, lazily: bool) -> dict[str, str]:
    """Return everything that importing `start` leads to, each with the module that imports it."""
    seen: dict[str, str] = {}
    waiting = [start]
    while waiting:
        for one in found.get(waiting.pop(), []):
            if (lazily or not one.lazy) and one.target not in seen:
                seen[one.target] = one.module
                waiting.append(one.target)
    return seen


def breaches(trees: Mapping[str, ast.Module]) -> list[str]:
    """Return every broken rule of these modules, one line each."""
    found = own_imports(trees)
    return [
        *outside_the_table(trees, found),
        *heavy_in_light(found),
        *engine_order(found),
        *disk_or_wire(trees, found),
        *audio_writers(found),
        *work_at_import(trees),
    ]


def outside_the_table(trees: Mapping[str, ast.Module], found: Mapping[str, list[Import]]) -> Iterator[str]:
    for one in (one for several in found.values() for one in several):
        room, target = room_of(one.module), room_of(one.target)
        if room not in ROOMS:
            yield f"{one.module} stands in no room of the table"
            continue
        now, later = (ROOMS[room].rooms + " " + ROOMS[room].packages).split(), ROOMS[room].lazily.split()
        if target == room or (target in TYPES and room not in TYPES):
            continue
        if target in sys.stdlib_module_names and not is_own(target, trees):
            continue
        if target not in now and not (one.lazy and target in later):
            when = "" if one.lazy or target not in later else " at import"
            yield f"{one.module}:{one.line} may not import {one.target}{when}"


def heavy_in_light(found: Mapping[str, list[Import]]) -> Iterator[str]:
    for name in found:
        if room_of(name) in LIGHT:
            for target, by in reached(name, found, lazily=False).items():
                if room_of(target) in HEAVY:
                    yield f"importing {name} leads to {target}, through {by}"


def engine_order(found: Mapping[str, list[Import]]) -> Iterator[str]:
    apart = [(low, high) for at, low in enumerate(ENGINE_ORDER) for high in ENGINE_ORDER[at + 1 :]]
    apart += [pair for codec in CODEC for model in LANGUAGE_MODEL for pair in ((codec, model), (model, codec))]
    for low, high in apart:
        for name in found:
            if name == low or name.startswith(f"{low}."):
                reach = {
                    target: by
                    for target, by in reached(name, found, lazily=True).items()
                    if target != "engine.__init__"
                }
                for target, by in reach.items():
                    if target == high or target.startswith(f"{high}."):
                        yield f"{name} leads to {target}, through {by}"


def disk_or_wire(trees: Mapping[str, ast.Module], found: Mapping[str, list[Import]]) -> Iterator[str]:
    room, words = NO_DISK_NO_WIRE
    for name in (name for name in trees if room_of(name) == room):
        used = {room_of(one.target): one.line for one in found[name]}
        used |= {node.func.id: node.lineno for node in ast.walk(trees[name]) if _calls_by_name(node)}
        for word in words.split():
            if word in used:
                yield f"{name}:{used[word]} uses {word}: no disk and no wire there"


def _calls_by_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


def audio_writers(found: Mapping[str, list[Import]]) -> Iterator[str]:
    for one in (one for several in found.values() for one in several):
        writes = any(one.target == word or one.target.startswith(f"{word}.") for word in AUDIO_WRITERS.split())
        if writes and room_of(one.module) not in MAY_WRITE_AUDIO:
            yield f"{one.module}:{one.line} imports {one.target}: only stems writes audio"


def work_at_import(trees: Mapping[str, ast.Module]) -> Iterator[str]:
    for name, tree in trees.items():
        for node in tree.body:
            bare_call = isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant)
            if isinstance(node, WORK_AT_IMPORT) or bare_call:
                yield f"{name}:{node.lineno} works at import"
        yield from (f"{name}:{node.lineno} has global state" for node in ast.walk(tree) if isinstance(node, ast.Global))


def test_every_import_keeps_the_rules() -> None:
    assert breaches(modules()) == []


def test_every_room_of_the_table_exists() -> None:
    places = {room: ROOT.joinpath(*room.split(".")) for room in ROOMS}
    missing = [room for room, at in places.items() if not at.is_dir() and not at.with_suffix(".py").is_file()]
    assert missing == []


def test_every_allowance_of_the_table_is_used() -> None:
    used = {(room_of(one.module), room_of(one.target)) for found in own_imports(modules()).values() for one in found}
    allowed = {(name, word) for name, room in ROOMS.items() for part in room for word in part.split()}
    assert allowed - used == set()


PLANTED = {
    "rule 1: the types know nobody": ("request", "import numpy", "request:1 may not import numpy"),
    "rule 1: not even a room": (
        "errors",
        "from musicgen_bridge.asking.keys import Key",
        "errors:1 may not import asking",
    ),
    "rule 2: no torch in the daemon": ("daemon", "import torch", "daemon:1 may not import torch"),
    "rule 2: not inside a function either": (
        "jobs",
        "def f():\n    from musicgen_bridge.engine import Engine",
        "jobs:2 may not import engine",
    ),
    "rule 2: not through another file": (
        "workers",
        "from musicgen_bridge.worker.worker import Worker",
        "importing daemon leads to worker.worker, through workers",
    ),
    "rule 2: rich waits until it is needed": (
        "cli.console",
        "import rich",
        "cli.console:1 may not import rich at import",
    ),
    "rule 3: the engine knows the types only": (
        "engine.decode",
        "from musicgen_bridge.settings import Settings",
        "engine.decode:1 may not import settings",
    ),
    "rule 3: kernels lie below the transformer": (
        "engine.kernels.norm",
        "from musicgen_bridge.engine.transformer import Layer",
        "engine.kernels.norm leads to engine.transformer, through engine.kernels.norm",
    ),
    "rule 3: the codec knows no language model": (
        "engine.codec",
        "from ..engine import pattern",
        "engine.codec leads to engine.pattern, through engine.codec",
    ),
    "rule 4: no disk in match": ("match.loop", "from pathlib import Path", "match.loop:1 uses pathlib: "),
    "rule 4: no open() either": ("match.loop", "def f():\n    return open('x')", "match.loop:2 uses open: "),
    "rule 4: no model in match": ("match.loop", "import torch", "match.loop:1 may not import torch"),
    "rule 5: only stems writes audio": ("worker.worker", "import soundfile", "worker.worker:1 imports soundfile: "),
    "rule 6: only worker joins the rooms": (
        "cli.takes",
        "from musicgen_bridge import match",
        "cli.takes:1 may not import match",
    ),
    "a module with a row keeps its own": (
        "cli.takes",
        "from musicgen_bridge.cli.rendering import render",
        "cli.takes:1 may not import cli.rendering at import",
    ),
    "rule 7: no work at import": ("settings", "print('hello')", "settings:1 works at import"),
    "rule 7: no global state": ("settings", "def f():\n    global x\n    x = 1", "settings:2 has global state"),
    "every file stands in the table": ("somewhere", "import os", "somewhere stands in no room of the table"),
    "no import by name": (
        "jobs",
        "from importlib import import_module\nimport_module('torch')",
        "jobs:2 may not import import_module",
    ),
}


@pytest.mark.parametrize("rule", PLANTED)
def test_a_planted_breach_is_found(rule: str) -> None:
    module, source, expected = PLANTED[rule]
    trees = modules() | {module: ast.parse(source)}
    assert [breach for breach in breaches(trees) if breach.startswith(expected)]


def test_the_rules_allow_what_they_should() -> None:
    source = "import json\nfrom musicgen_bridge.errors import BridgeError\nfrom musicgen_bridge.request import Stem\n"
    trees = {"control.osc": ast.parse(source), "errors": ast.parse(""), "request": ast.parse("X = 1")}
    assert breaches(trees) == []
