"""The models in memory: as many as fit beside each other, and the one used longest ago goes first."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from musicgen_bridge.engine import Engine
from musicgen_bridge.engine.device import device_called, free_memory, give_back, memory_of
from musicgen_bridge.errors import OutOfMemoryError
from musicgen_bridge.hub import downloaded
from musicgen_bridge.settings import Settings, model_folder
from musicgen_bridge.shipped import sha256

log = logging.getLogger(__name__)

SPARE = 0.15
"""Part of the device's memory that stays free for takes, and for what else the machine does, when models are kept."""


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """One model in memory."""

    engine: Engine
    digest: Future[str]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of its weights; waits until they have been read once more."""
        return self.digest.result()


class Shelf:
    """Loads models by their alias, and keeps them until there is no room or somebody asks."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._models: dict[str, Model] = {}  # the one used last stands last

    @property
    def device(self) -> torch.device:
        """Where models are loaded to."""
        return device_called(self._settings.device)

    def __iter__(self) -> Iterator[str]:
        """Yield the aliases in memory, the one used last first."""
        return reversed(list(self._models))

    def get(self, alias: str) -> Model:
        """Return a model, loaded if need be; others leave where there is no room for all.

        Raises:
            ModelError, ArgumentError: it can't be loaded.
            OutOfMemoryError: the device is too small, also for this one alone.
        """
        if alias in self._models:
            self._models[alias] = self._models.pop(alias)
            return self._models[alias]
        folder = model_folder(alias, self._settings)
        self._make_room(sum(path.stat().st_size for path in folder.glob("*.safetensors")))
        try:
            engine = self._load(alias, folder)
        except OutOfMemoryError:
            if not self.unload():
                raise
            engine = self._load(alias, folder)
        digest = ThreadPoolExecutor(1).submit(sha256, *sorted(engine.files))
        self._models[alias] = Model(engine, digest)
        return self._models[alias]

    def unload(self, alias: str | None = None, *, but: str | None = None) -> bool:
        """Free one model, or all `but` one; whether there was any to free."""
        named = [one for one in self._models if one == alias or (alias is None and one != but)]
        for one in named:
            del self._models[one]
            log.info("unloaded %s", one)
        if named:
            give_back()
        return bool(named)

    def _make_room(self, size: int) -> None:
        """Free models until `size` bytes fit beside the others; in half precision they need half of that."""
        while self._models and free_memory(self.device) - size < SPARE * memory_of(self.device)[1]:
            self.unload(next(iter(self._models)))

    def _load(self, alias: str, folder: Path) -> Engine:
        settings, began = self._settings, time.monotonic()
        fast = settings.kernels == "auto"
        engine = Engine.load(folder, settings.device, settings.dtype, fast=fast, find=downloaded)
        log.info("loaded %s in %.1f s", alias, time.monotonic() - began)
        return engine
