"""Puts the clients for Live, Max, Reaper and Ardour where each program looks, and takes away what it put there."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from musicgen_bridge.errors import ArgumentError, DiskError, ExistsError, PathError
from musicgen_bridge.shipped import sha256, shipped_folder

Files = dict[str, str]
"""SHA-256 by path within the folder, with forward slashes."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program: which of our folders it needs, which files of it, where it keeps such things, and what is below."""

    folder: str
    files: tuple[str, ...]
    home: Callable[[], Path | None]
    """Its own folder, which must be there already; None where this system has no such program."""
    below: str
    then: str
    """What is left to do by hand."""


def _system() -> str:
    return sys.platform  # in a function, since mypy takes the name itself for the system that it runs on


def _ableton() -> Path | None:
    homes = {"darwin": platformdirs.user_music_path, "win32": platformdirs.user_documents_path}
    home = homes.get(_system())
    return home() / "Ableton" / "User Library" if home else None


def _max() -> Path | None:
    if _system() not in ("darwin", "win32"):
        return None
    documents = platformdirs.user_documents_path()
    found = [path for path in documents.glob("Max *") if re.fullmatch(r"Max \d+", path.name)]
    return max(found, key=lambda path: int(path.name.split()[1]), default=documents / "Max 9")


def _reaper() -> Path:
    if _system() in ("darwin", "win32"):
        return platformdirs.user_data_path("REAPER", appauthor=False, roaming=True)
    return platformdirs.user_config_path("REAPER", appauthor=False)


def _ardour() -> Path:
    home = Path.home() / "Library/Preferences" if _system() == "darwin" else platformdirs.user_config_path("")
    found = [path for path in home.glob("*") if re.fullmatch(r"ardour\d+", path.name, re.IGNORECASE)]
    return max(found, key=lambda path: int(path.name[6:]), default=home / "ardour8")


PROGRAMS = {
    "live": Program(
        "max_for_live",
        ("musicgen-bridge.amxd",),
        _ableton,
        "Presets/Audio Effects/Max Audio Effect",
        "in Live's browser, drag User Library / musicgen-bridge onto an audio track",
    ),
    "max": Program(
        "max_for_live",
        ("musicgen-bridge.maxpat", "musicgen_client.js"),
        _max,
        "Library/musicgen-bridge",
        "open musicgen-bridge.maxpat in Max",
    ),
    "ardour": Program(
        "ardour_scripts",
        ("*.lua",),
        _ardour,
        "scripts",
        "in Ardour: Edit / Lua Scripts / Script Manager, and set musicgen-bridge's action and hook",
    ),
    "reaper": Program(
        "reaper_scripts",
        ("**/*.lua",),
        _reaper,
        "Scripts/musicgen-bridge",
        "in Reaper: Actions / Show action list / New action / Load ReaScript, and choose the musicgen-bridge scripts",
    ),
}


def install(name: str, state: Path, dest: Path | None = None) -> Path:
    """Copy a program's files to `dest`, or to where it looks, and return that folder; an older copy is replaced.

    Raises:
        PathError: the program's own folder is not there, or the package lacks the files.
        ExistsError: a file is in the way that is not from here or was changed, or it is installed elsewhere.
        DiskError: a file can't be written.
    """
    program = known(name)
    folder = (dest.expanduser().absolute() if dest else _place(name, program)).resolve()
    before = installed(state).get(name)
    if before and before[0] != folder:
        raise ExistsError(f"{name} is installed in {before[0]}; run `musicgen-bridge uninstall {name}` first")
    ours = before[1] if before else {}
    files = shipped(program)
    digests = {relative: sha256(path) for relative, path in files.items()}
    for relative, wanted in digests.items():
        if (folder / relative).exists() and sha256(folder / relative) not in (wanted, ours.get(relative)):
            raise ExistsError(f"{folder / relative} is not from here or was changed; move it away")
    try:
        _note(state, name, (folder, ours | digests))  # first, so that whatever is copied can be taken back
        for relative, source in files.items():
            _write(folder / relative, source.read_bytes())
        for relative in ours.keys() - digests.keys():
            _remove(folder / relative, ours[relative])
        _note(state, name, (folder, digests))
    except OSError as error:
        raise DiskError(f"{folder} can't be written: {error.strerror}; give another --dest") from error
    return folder


def uninstall(name: str, state: Path) -> tuple[Path, list[Path]]:
    """Remove what `install` put there; return its folder and the files that were changed since and so stay.

    Raises:
        ArgumentError: it is not installed.
        DiskError: a file can't be removed.
    """
    known(name)
    before = installed(state).get(name)
    if before is None:
        raise ArgumentError(f"{name} is not installed; there is nothing to take back")
    folder, files = before
    try:
        kept = [folder / relative for relative, wanted in files.items() if not _remove(folder / relative, wanted)]
        for inner in sorted({(folder / relative).parent for relative in files} - {folder}, reverse=True):
            _remove_empty(inner)
        if folder.name == "musicgen-bridge":
            _remove_empty(folder)
        _note(state, name, None)
    except OSError as error:
        raise DiskError(f"{folder} can't be changed: {error.strerror}; close the program and try again") from error
    return folder, kept


def check(state: Path) -> Iterator[tuple[str, Path, str]]:
    """Yield each installed program, its folder, and what is wrong with it, or ""."""
    for name, (folder, files) in installed(state).items():
        missing = [relative for relative in files if not (folder / relative).is_file()]
        changed = [
            relative
            for relative, wanted in files.items()
            if relative not in missing and sha256(folder / relative) != wanted
        ]
        newest = {relative: sha256(path) for relative, path in shipped(known(name)).items()}
        if missing:
            yield name, folder, f"{missing[0]} is missing"
        elif changed:
            yield name, folder, f"{changed[0]} was changed"
        else:
            yield name, folder, "" if files == newest else "it is from another version"


def known(name: str) -> Program:
    """Return the program of that name; raises ArgumentError if there is none."""
    if name not in PROGRAMS:
        raise ArgumentError(f"{name} is no program that is known here; choose {', '.join(PROGRAMS)}")
    return PROGRAMS[name]


def shipped(program: Program) -> dict[str, Path]:
    """Return a program's files as they come with the package, by their path within the folder.

    Raises:
        PathError: they are not there.
    """
    folder = shipped_folder(program.folder)
    files = {path.relative_to(folder).as_posix(): path for one in program.files for path in sorted(folder.glob(one))}
    if not files:
        raise PathError(f"the package lacks {program.folder}; install musicgen-bridge again")
    return files


def installed(state: Path) -> dict[str, tuple[Path, Files]]:
    """Return the folder and files of each program that was installed, as noted in the state folder.

    Raises:
        ArgumentError: the note can't be read.
    """
    try:
        noted = json.loads(_record(state).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ArgumentError(f"{_record(state)} can't be read: {error}; move it away and install again") from error
    return {name: (Path(one["folder"]), dict(one["files"])) for name, one in noted.items()}


def _place(name: str, program: Program) -> Path:
    home = program.home()
    if home is None:
        raise PathError(f"there is no {name} for this system; give --dest to copy the files elsewhere")
    if not home.is_dir():
        raise PathError(f"{home} is not there; start {name} once, or give --dest")
    return home / program.below


def _record(state: Path) -> Path:
    return state / "installed.json"


def _note(state: Path, name: str, one: tuple[Path, Files] | None) -> None:
    everything: Mapping[str, tuple[Path, Files]] = installed(state)
    kept = {other: value for other, value in everything.items() if other != name}
    if one is not None:
        kept[name] = one
    noted = {other: {"folder": str(folder), "files": files} for other, (folder, files) in kept.items()}
    _write(_record(state), json.dumps(noted, indent=2).encode())


def _write(path: Path, content: bytes) -> None:
    """Write a file so that it appears only complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{os.getpid()}")
    half.write_bytes(content)
    half.replace(path)


def _remove(path: Path, wanted: str) -> bool:
    """Remove a file if it is still the one that was installed; whether nothing is left of it."""
    if path.is_file() and sha256(path) != wanted:
        return False
    path.unlink(missing_ok=True)
    return True


def _remove_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
