"""What of the Hugging Face hub lies on this machine, in the hub's own cache, and what was pinned when it was pulled."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from musicgen_bridge.errors import ModelError

STOCK_MODELS = {
    "small": "facebook/musicgen-small",
    "medium": "facebook/musicgen-medium",
    "melody": "facebook/musicgen-melody",
    "large": "facebook/musicgen-large",
    "stereo-small": "facebook/musicgen-stereo-small",
    "stereo-medium": "facebook/musicgen-stereo-medium",
    "stereo-melody": "facebook/musicgen-stereo-melody",
    "stereo-large": "facebook/musicgen-stereo-large",
}
"""Aliases of the published checkpoints by their names on the Hugging Face hub."""
STOCK_LICENCE = "cc-by-nc-4.0"
"""Of their weights: not for commercial use."""
DEMUCS = "adefossez/HTDemucs"
"""Demucs' own weights on the hub."""

HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
"""How a name on the hub looks."""

_PIN = "musicgen-bridge.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """A model as it was pulled."""

    name: str
    """On the hub."""
    revision: str
    """The commit."""
    licence: str
    """As the hub names it, such as "cc-by-nc-4.0"; "" where it doesn't say."""
    files: Mapping[str, str]
    """SHA-256 by name."""


def cache() -> Path:
    """Return the hub's cache folder."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def folder(name: str) -> Path:
    """Return the folder that the cache has, or would have, for a model."""
    return cache() / f"models--{name.replace('/', '--')}"


def pinned(name: str) -> Pin | None:
    """Return the pin of a model; None where it was not pulled, or its pin can't be read."""
    return _read(_pin_file(name))


def pins() -> Iterator[Pin]:
    """Yield the pins of all models that were pulled."""
    for path in sorted(cache().glob(f"models--*/{_PIN}")):
        if pin := _read(path):
            yield pin


def pin(model: Pin) -> None:
    """Write down a model as it was pulled, beside it."""
    path = _pin_file(model.name)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(asdict(model), indent=2) + "\n", encoding="utf-8")
    fresh.replace(path)


def downloaded(name: str) -> Path:
    """Return the folder of a model in the cache, whole: the pinned revision, or what `main` was when it was fetched.

    Raises ModelError where it is not there.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    known = pinned(name)
    revision, files = (known.revision, list(known.files)) if known else (None, None)
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=files, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError) as error:
        raise ModelError(f"{name} is not on this machine; run: musicgen-bridge models pull {name}") from error


def _pin_file(name: str) -> Path:
    return folder(name) / _PIN


def _read(path: Path) -> Pin | None:
    try:
        return Pin(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
