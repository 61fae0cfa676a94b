"""The folders a client may name: everything read or written lies below one of the allowed roots."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import BinaryIO, Self, TypeVar

from musicgen_bridge.errors import PathError

Kind = TypeVar("Kind", bound=PurePath)

MAX_PATH_BYTES = 4096
MAX_NAME_BYTES = 255


class Roots(tuple[Path, ...]):
    """The allowed roots, resolved; a path from the wire goes through `project` or `readable` before anything else.

    Both only stat, never open, so that no FIFO or device can hold the daemon up; `open_plain` opens what they return.
    """

    __slots__ = ()

    @classmethod
    def of(cls, paths: Iterable[str | Path]) -> Self:
        """Return the roots that the settings name; `~` is the user's home here, and only here."""
        named = [Path(path).expanduser().absolute() for path in paths]
        return cls(root for path in named for root in said_as(path, path.resolve()))

    def project(self, path: str) -> Path:
        """Return the resolved folder that `path` names.

        Raises PathError unless it is absolute, exists, is a folder, and lies below a root or is one.
        """
        folder, mode = self._resolve(path)
        if not stat.S_ISDIR(mode):
            raise PathError(f"{shown(path)} is not a folder; name the folder of the project")
        return folder

    def readable(self, path: str) -> Path:
        """Return the resolved file that `path` names.

        Raises PathError unless it is absolute, exists, is a regular file, and lies below a root.
        """
        file, mode = self._resolve(path)
        if not stat.S_ISREG(mode):
            raise PathError(f"{shown(path)} is not a plain file; name an audio file")
        return file

    def _resolve(self, path: str) -> tuple[Path, int]:
        plain = check_text(path)
        if not on_drive_of(plain, self):
            raise self._outside(path)
        try:
            real = Path(plain).resolve(strict=True)
            if not self._holds(real):
                raise self._outside(path)
            return real, real.stat().st_mode
        except PermissionError:
            raise PathError(f"{shown(path)} may not be read; give this user the right to read it") from None
        except FileNotFoundError:
            raise PathError(f"{shown(path)} does not exist; check the path") from None
        except (OSError, RuntimeError, ValueError):  # too long, a loop of links, a file used as a folder
            raise PathError(f"{shown(path)} cannot be followed; check the path") from None

    def _holds(self, real: Path) -> bool:
        # By identity, not by spelling: on macOS and Windows one folder has many spellings (case, composed accents).
        return any(folder.samefile(root) for root in self if root.exists() for folder in (real, *real.parents))

    def _outside(self, path: str) -> PathError:
        allowed = " or ".join(str(root) for root in self) or "no folder at all"
        return PathError(f"{shown(path)} lies outside of the allowed folders; only {allowed} may be used")


def open_plain(path: Path) -> BinaryIO:
    """Open a regular file to read it, and never wait for one that is not.

    A path may change between the check by `Roots` and now, so the opened file itself is asked what it is. O_NONBLOCK
    and O_NOFOLLOW exist on POSIX alone; Windows has neither FIFOs in folders nor links without the right to make them.

    Raises PathError if it is missing, may not be read, or is not a regular file.
    """
    flags = sum(getattr(os, name, 0) for name in ("O_BINARY", "O_NONBLOCK", "O_NOFOLLOW", "O_NOCTTY", "O_CLOEXEC"))
    try:
        descriptor = os.open(path, os.O_RDONLY | flags)
    except PermissionError:
        raise PathError(f"{shown(path)} may not be read; give this user the right to read it") from None
    except (OSError, ValueError):
        raise PathError(f"{shown(path)} can't be opened; name a plain file that exists") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise PathError(f"{shown(path)} is not a plain file; name an audio file")
    return os.fdopen(descriptor, "rb")


def check_text(path: str, kind: type[PurePath] = PurePath) -> PurePath:
    """Return `path` as a path of `kind` (this system's by default) if its text alone is sound.

    Raises PathError for a relative path, `..`, a NUL byte, a name or path too long, and on Windows for a device's name
    (CON, NUL, COM1 …) and for a stream behind a colon.
    """
    plain = kind(path)
    names = plain.parts[1:]
    if "\0" in path:
        raise PathError("a path holds a NUL byte; check how it is put together")
    if not plain.is_absolute():
        raise PathError(f"{shown(path)} is not absolute; give the whole path from the root")
    if ".." in names:
        raise PathError(f"{shown(path)} holds '..'; give the path without it")
    sizes = [len(name.encode(errors="surrogatepass")) for name in names]
    if len(path) > MAX_PATH_BYTES or sum(sizes) > MAX_PATH_BYTES or max(sizes, default=0) > MAX_NAME_BYTES:
        raise PathError(f"{shown(path)} is too long; use a shorter path")
    if any(kind(name).is_reserved() or (plain.drive and ":" in name) for name in names):
        raise PathError(f"{shown(path)} is a name that Windows keeps for itself; use another")
    return plain


def said_as(named: Kind, real: Kind) -> tuple[Kind, ...]:
    """Return how a root may be said: as it is resolved, and as it was named too where it is on another drive then.

    On Windows a drive letter may stand for a share, or for a folder of another drive.
    """
    return (real,) if on_drive_of(named, (real,)) else (named, real)


def on_drive_of(path: PurePath, roots: Iterable[PurePath]) -> bool:
    """Return whether a path is on the drive or share of one of the roots; on POSIX it always is.

    On Windows another drive, share or device (`\\\\?\\`, `\\\\.\\`) is told by its name alone: merely to ask a foreign
    share for a file would log in there.
    """
    return path.drive.casefold() in {root.drive.casefold() for root in roots}


def shown(path: str | os.PathLike[str], limit: int = 120) -> str:
    """Return a path as an error's text may show it: printable, and cut in the middle when it is long."""
    text = os.fspath(path)
    if len(text) > limit:
        text = f"{text[: limit // 3]}…{text[-(limit * 2 // 3) :]}"
    return "".join(letter if letter.isprintable() else "?" for letter in text)
