"""What comes with the package beside its code, and the checksums by which files are told apart."""

from __future__ import annotations

import hashlib
from pathlib import Path


def shipped_folder(name: str) -> Path:
    """Return a folder that comes with the package: the wheel's copy, or the checkout's own."""
    here = Path(__file__).parent
    packed = here / "_data" / name
    return packed if packed.is_dir() else here.parent / name


def sha256(*files: Path) -> str:
    """Return the SHA-256 of files, one behind the other, as hexadecimal digits."""
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
