"""Files read only if they are plain ones, and written so that they appear complete or not at all and replace nothing.

Each file is written under a hidden name in its own folder, flushed to the disk, and only then given its name by an
operation that refuses a name in use: `link(2)` on POSIX, where `rename` would replace, and `rename` on Windows, where
it refuses. exFAT, FAT and some network shares have no hard links: there a hidden claim file, made with O_EXCL, keeps
our own processes apart while one of them looks and renames; only a program that is not ours could slip in between.
"""

from __future__ import annotations

import errno
import itertools
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from musicgen_bridge.errors import DiskError, PathError
from musicgen_bridge.patience import patiently
from musicgen_bridge.roots import shown

_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_GONE = {errno.ENOENT, errno.ENOTDIR}
_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK}
_ABANDONED_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to come: `suffix` ends its name, `.wav` for instance."""

    folder: Path
    suffix: str
    data: bytes


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a failure of the system while writing at `path` into a DiskError or PathError that says what to do."""
    try:
        yield
    except OSError as error:
        place = shown(path)
        if error.errno in _FULL:
            raise DiskError(f"the disk is full at {place}; free some space and render again") from error
        if error.errno in _FORBIDDEN:
            raise DiskError(f"{place} may not be written; allow it or choose another project folder") from error
        # Windows calls a path of more than 260 characters one that is not there.
        if error.errno == errno.ENAMETOOLONG or (error.errno in _GONE and path.exists()):
            raise PathError(f"a path below {place} is too long; choose a project folder with a shorter one") from error
        if error.errno in _GONE:
            raise PathError(f"{place} is gone; choose a project folder that exists") from error
        raise DiskError(f"writing at {place} failed ({error.strerror}); check the disk and render again") from error


def make_folder(parent: Path, name: str) -> Path:
    """Return the folder `name` in `parent`, made if need be; `parent` is resolved.

    Raises:
        PathError: a file stands there, a link leads out of `parent`, or `parent` is gone.
        DiskError: it can't be made.
    """
    folder = parent / name
    with disk_errors(folder):
        try:
            folder.mkdir(exist_ok=True)
        except FileExistsError:
            raise PathError(f"{shown(folder)} is not a folder; move it away, as stems are kept there") from None
        real = folder.resolve(strict=True)
    if not real.is_relative_to(parent):
        raise PathError(f"{shown(folder)} leads out of the project; replace the link by a folder")
    return real


def appear(name: str, files: Sequence[NewFile]) -> list[Path]:
    """Write the files and let them appear, in order, under one `name` with their suffixes; return their paths.

    Where any of the names is taken, all become `name-2`, then `name-3` … Either all appear or none stays behind.

    Raises:
        DiskError: the disk is full or may not be written.
        PathError: a folder is gone.
    """
    with disk_errors(files[-1].folder), ExitStack() as stack:
        temporary = [stack.enter_context(staged(file)) for file in files]
        for number in itertools.count(1):
            ending = "" if number == 1 else f"-{number}"
            finals = [file.folder / f"{name}{ending}{file.suffix}" for file in files]
            if _appear_all(temporary, finals):
                break
        for folder in {file.folder for file in files}:
            _sync_folder(folder)
    return finals


@contextmanager
def staged(file: NewFile) -> Iterator[Path]:
    """Write the data under a hidden name, which is gone in the end; clear away what a killed process left long ago."""
    for left in file.folder.glob(".*.part"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _ABANDONED_SECONDS:
                left.unlink()
    temporary = file.folder / f".{uuid.uuid4().hex}.part"
    try:
        with temporary.open("xb") as stream:
            stream.write(file.data)
            stream.flush()
            os.fsync(stream.fileno())
        yield temporary
    finally:
        with suppress(OSError):
            temporary.unlink()


def _appear_all(staged: Sequence[Path], finals: Sequence[Path]) -> bool:
    """Give each staged file its name; where one is taken, or anything fails, take back those already given."""
    given: list[tuple[Path, Path]] = []
    try:
        for temporary, final in zip(staged, finals, strict=True):
            _appear(temporary, final)
            given.append((temporary, final))
    except BaseException as error:
        for temporary, final in reversed(given):
            if temporary.exists():  # a link: both names are the same file
                final.unlink()
            else:
                patiently(final.rename, temporary)
        if isinstance(error, FileExistsError):
            return False
        raise
    return True


def _appear(temporary: Path, final: Path) -> None:
    """Name a complete file; raises FileExistsError where the name is taken."""
    if os.name == "nt":
        patiently(temporary.rename, final)
        return
    try:
        os.link(temporary, final)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _claim_and_rename(temporary, final)


def _claim_and_rename(temporary: Path, final: Path) -> None:
    claim = final.with_name(f".{final.name}.claim")
    os.close(os.open(claim, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    try:
        if os.path.lexists(final):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(final))
        temporary.rename(final)
    finally:
        claim.unlink()


def _sync_folder(folder: Path) -> None:
    """Make the new names last through a power cut; Windows keeps them by itself and opens no folders."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
