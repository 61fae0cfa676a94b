"""Models fetched from the Hugging Face hub, held against the checksums that they had, and removed again."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from musicgen_bridge import hub
from musicgen_bridge.errors import ArgumentError, DiskError, ModelError
from musicgen_bridge.hub import DEMUCS, HUB_NAME, STOCK_LICENCE, STOCK_MODELS
from musicgen_bridge.settings import STARTER, Settings, model_folder
from musicgen_bridge.shipped import sha256

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo, RepoSibling

_BESIDE = (
    *("config.json", "generation_config.json", "adapter_config.json", "README.md", "LICENSE*"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
)
_WEIGHTS = (
    ("model.safetensors",),
    ("model-*-of-*.safetensors", "model.safetensors.index.json"),
    ("adapter_model.safetensors",),
    ("pytorch_model.bin",),
    ("pytorch_model-*-of-*.bin", "pytorch_model.bin.index.json"),
    ("state_dict.bin", "compression_state_dict.bin"),
    ("*.safetensors",),
    ("*.th",),
)
"""The forms in which a repository may have its weights: the first that it has is fetched. The last two are Demucs'."""
_SPARE = 256 << 20
"""Bytes that stay free on the disk."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A model that can be named, and what is known of it."""

    model: str
    """Its alias, or its name on the hub."""
    source: str
    folder: str | None
    missing: str | None
    """What to do, where it is not on this machine."""
    bytes: int
    licence: str
    revision: str
    """The commit that was pulled; "" for what was not."""


def listing(settings: Settings) -> list[Listed]:
    """Return the models of the settings, then what else was pulled."""
    targets = {**settings.known_models, **({"demucs": settings.demucs} if settings.demucs else {})}
    rest = {one.name: one.name for one in hub.pins() if one.name not in targets.values()}
    return [_listed(name, target, settings) for name, target in {**targets, **rest}.items()]


def _listed(name: str, target: str, settings: Settings) -> Listed:
    folder, missing = None, None
    try:
        folder = model_folder(name, settings) if name in settings.known_models else _folder_of(target)
    except ModelError as error:
        missing = error.text
    pin = hub.pinned(target) if HUB_NAME.fullmatch(target) else None
    licence = pin.licence if pin else STOCK_LICENCE if target in STOCK_MODELS.values() else ""
    return Listed(
        model=name,
        source=target,
        folder=str(folder) if folder else None,
        missing=missing,
        bytes=sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder else 0,
        licence="mit" if target == str(STARTER) else licence,
        revision=pin.revision if pin else "",
    )


def _folder_of(target: str) -> Path:
    folder = Path(target).expanduser()
    return folder if folder.is_dir() else hub.downloaded(target)


def hub_name(name: str, settings: Settings) -> str:
    """Return the name on the hub of an alias, or of "demucs"; raises ArgumentError where it names a folder."""
    target = {"demucs": DEMUCS, **settings.known_models}.get(name, name)
    if not HUB_NAME.fullmatch(target) or Path(target).is_dir():
        raise ArgumentError(
            f"{name} is no name on the hub: give an alias of one, or one such as {STOCK_MODELS['small']}"
        )
    return target


def pull(name: str, revision: str | None, tell: Callable[[str], None]) -> Path:
    """Fetch a model by its `name` on the hub and pin it, and return its folder.

    `revision` is a branch, tag or commit; None is the one pinned before, else `main`. Files that are there already are
    not fetched again. `tell` is told the size and the licence before, and the hub's client draws the progress.

    Raises:
        ModelError: there is no such model, none of a kind that is read, no connection, or a checksum is wrong.
        DiskError: there is no room for it.
    """
    from huggingface_hub import HfApi, snapshot_download

    before = hub.pinned(name)
    revision = revision or (before.revision if before else None)
    with _told(name):
        info = HfApi().model_info(name, revision=revision, files_metadata=True)
        files = {one.rfilename: one for one in info.siblings or []}
        wanted = {file: files[file] for file in _wanted(name, list(files))}
        licence = _licence(info)
        lacking = _lacking(name, wanted.values(), str(info.sha))
        tell(f"{name}: {readable(lacking)} to fetch, licence {described(licence)}")
        _check_space(name, lacking)
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=list(wanted)))
    if folder.name != info.sha:
        raise ModelError(f"{name} was changed while it was fetched: pull it again")
    sums = {file: _checked(folder / file, sibling) for file, sibling in wanted.items()}
    hub.pin(hub.Pin(name=name, revision=str(info.sha), licence=licence, files=sums))
    return folder


def verify(name: str) -> dict[str, str]:
    """Return "ok", "changed" or "missing" for each file of a model that was pulled.

    Raises ModelError where it was not.
    """
    pin = hub.pinned(name)
    if pin is None:
        raise ModelError(f"{name} was not pulled, so nothing is known of it; run: musicgen-bridge models pull {name}")
    folder = hub.folder(name) / "snapshots" / pin.revision
    states = {}
    for file, wanted in pin.files.items():
        path = folder / file
        states[file] = ("ok" if sha256(path) == wanted else "changed") if path.is_file() else "missing"
    return states


def remove(name: str) -> int:
    """Delete a model from the hub's cache and return how many bytes that freed.

    Raises ModelError where it isn't there, DiskError where it can't be deleted.
    """
    folder = hub.folder(name)
    if not folder.is_dir():
        raise ModelError(f"{name} is not in the hub's cache on this machine: there is nothing to remove")
    freed = sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise DiskError(f"{name} could not be removed ({error}): end what uses it, and try again") from error
    return freed


def described(licence: str) -> str:
    """Return a licence as a person should read it."""
    return f"{licence} (not for commercial use)" if "-nc" in licence else licence or "not told"


def readable(size: int) -> str:
    """Return a number of bytes for people."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def _wanted(name: str, files: Sequence[str]) -> list[str]:
    """Return the files of a repository that are used."""
    for form in _WEIGHTS:
        weights = [file for file in files if any(fnmatch(file, pattern) for pattern in form)]
        if weights:
            beside = [file for file in files if any(fnmatch(file, pattern) for pattern in _BESIDE)]
            return [*beside, *weights]
    raise ModelError(f"{name} has no weights of a form that is read here: choose a MusicGen, or an adapter to one.")


def _licence(info: ModelInfo) -> str:
    told = info.card_data.get("license") if info.card_data else None
    return str(
        told or next((tag.removeprefix("license:") for tag in info.tags or () if tag.startswith("license:")), "")
    )


def _lacking(name: str, files: Iterable[RepoSibling], revision: str) -> int:
    """Return the bytes of those files that are not in the cache."""
    from huggingface_hub import try_to_load_from_cache

    return sum(
        file.size or 0
        for file in files
        if not isinstance(try_to_load_from_cache(name, file.rfilename, revision=revision), str)
    )


def _check_space(name: str, size: int) -> None:
    there = hub.cache()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if size and size > free - _SPARE:
        raise DiskError(
            f"{name} needs {readable(size)}, and {readable(free)} are free in {there}: free some space, or set HF_HOME "
            "to a folder on another disk"
        )


def _checked(path: Path, told: RepoSibling) -> str:
    """Return the SHA-256 of a file that was fetched; where it is not the hub's, delete it and raise ModelError."""
    found = sha256(path)
    if told.lfs is not None:
        same = found == told.lfs.sha256
    else:  # git's own checksum: a SHA-1 of a header and the content
        content = path.read_bytes()
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
        same = told.blob_id in (None, blob.hexdigest())
    if not same:
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise ModelError(f"{path.name} came damaged: its checksum is not the hub's; it was deleted, so pull again")
    return found


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Turn what the hub's client raises into ModelError and DiskError."""
    from huggingface_hub import errors

    # httpx's HTTPError, whichever httpx the client was built on
    transport: type[Exception] = errors.HfHubHTTPError.__bases__[0]
    try:
        yield
    except errors.HFValidationError as error:
        raise ArgumentError(f"{name} is no name on the hub: give one such as {STOCK_MODELS['small']}") from error
    except errors.GatedRepoError as error:
        raise ModelError(f"{name} asks for consent: give it on its page, then run `hf auth login`") from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise ModelError(
            f"the hub has no {name}, or not in that revision: check the name; for a private one run `hf auth login`"
        ) from error
    except errors.HfHubHTTPError as error:
        raise ModelError(f"the hub refused ({error.response.status_code}): try again later") from error
    except (transport, errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError) as error:
        raise ModelError(
            f"there is no connection to the hub, or it broke: pull {name} again when there is, what is whole is kept; "
            "or copy the folder from another machine and name it in the settings' [models]"
        ) from error
    except OSError as error:
        raise DiskError(f"{name} could not be stored ({error}): free some space, and pull again") from error
