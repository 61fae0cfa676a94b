"""What a setting may be: each function reads what stands in the file, a flag or the environment.

Each raises ArgumentError that says what the setting must be.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from musicgen_bridge.asking.keys import suggestion
from musicgen_bridge.errors import ArgumentError
from musicgen_bridge.hub import HUB_NAME

_WORDS = {"on": True, "true": True, "yes": True, "1": True, "off": False, "false": False, "no": False, "0": False}


def whole(low: int, high: int) -> Callable[[Any], int]:
    """A whole number within bounds."""

    def read(value: Any) -> int:
        try:
            number = int(value) if isinstance(value, int | str) and not isinstance(value, bool) else low - 1
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            raise ArgumentError(f"must be a whole number from {low} to {high}, not {value!r}")
        return number

    return read


def number(low: float, high: float) -> Callable[[Any], float]:
    """A number within bounds."""

    def read(value: Any) -> float:
        try:
            found = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else low - 1
        except ValueError:
            found = low - 1
        if not low <= found <= high:
            raise ArgumentError(f"must be a number from {low:g} to {high:g}, not {value!r}")
        return found

    return read


def switch(value: Any) -> bool:
    """On or off."""
    known = _WORDS.get(str(value).lower())
    if known is None:
        raise ArgumentError(f"must be true or false, not {value!r}")
    return known


def text(value: Any) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value:
        raise ArgumentError(f"must be text, not {value!r}")
    return value


def one_of(*choices: str) -> Callable[[Any], str]:
    """One of some words."""

    def read(value: Any) -> str:
        if value not in choices:
            raise ArgumentError(f"must be one of {', '.join(choices)}, not {value!r}{suggestion(str(value), choices)}")
        return str(value)

    return read


def device(value: Any) -> str:
    """A device of torch's, such as cuda:1."""
    if re.fullmatch(r"cuda:\d{1,3}", str(value)):
        return str(value)
    return one_of("auto", "cpu", "cuda", "mps")(value)


def some_of(*choices: str) -> Callable[[Any], tuple[str, ...]]:
    """A list of words, or "none"."""

    def read(value: Any) -> tuple[str, ...]:
        must = f"must be a list of {', '.join(choices)}, not"
        listed = value.split(",") if isinstance(value, str) else value
        if not isinstance(listed, list | tuple) or not all(isinstance(one, str) for one in listed):
            raise ArgumentError(f"{must} {value!r}")
        names = tuple(name for name in (one.strip() for one in listed) if name not in ("", "none"))
        for name in names:
            if name not in choices:
                raise ArgumentError(f"{must} {name!r}{suggestion(name, choices)}")
        return names

    return read


def folder(value: Any) -> Path:
    """A folder, there or not; a relative one is below the current folder."""
    if not isinstance(value, str | Path) or not str(value):
        raise ArgumentError(f"must be a folder, not {value!r}")
    return Path(value).expanduser().absolute()


def folders(value: Any) -> tuple[Path, ...]:
    """Folders, in a text with the system's own separator of paths between them."""
    listed = value.split(os.pathsep) if isinstance(value, str) else value
    if not isinstance(listed, list | tuple) or not listed:
        raise ArgumentError(f"must be a list of folders, not {value!r}")
    return tuple(folder(one) for one in listed)


def folder_or_hub(value: Any) -> str:
    """A name on the hub, which is left alone; all else is a folder."""
    found = folder(value)
    return str(value) if HUB_NAME.fullmatch(str(value)) and not found.is_dir() else str(found)


def models(value: Any) -> dict[str, str]:
    """A table of folders and names on the hub, by their aliases."""
    if not isinstance(value, dict) or not all(isinstance(target, str) for target in value.values()):
        raise ArgumentError('must be a table such as [models] mine = "/folder"')
    return dict(value)
