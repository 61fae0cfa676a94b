"""Models in memory: what fits stays, the one used longest ago goes first, and what runs out is tried once more."""

from __future__ import annotations

import gc
import shutil
import weakref
from pathlib import Path

import pytest

from musicgen_bridge.engine import Engine
from musicgen_bridge.errors import ModelError, OutOfMemoryError
from musicgen_bridge.settings import STARTER, Settings
from musicgen_bridge.worker import shelf
from musicgen_bridge.worker.shelf import Shelf

SIZE = (STARTER / "model.safetensors").stat().st_size


@pytest.fixture
def models(tmp_path: Path) -> Shelf:
    """The starter under three names."""
    shutil.copytree(STARTER, tmp_path / "copy")
    named = {name: str(tmp_path / "copy") for name in ("one", "two")}
    return Shelf(Settings(device="cpu", models=named))


def has_room_for(monkeypatch: pytest.MonkeyPatch, models: Shelf, count: int) -> None:
    """Have the device hold so many models beside what stays free for takes."""
    total = 1_000 * SIZE
    free = int(shelf.SPARE * total) + count * SIZE
    monkeypatch.setattr(shelf, "memory_of", lambda device: (0, total))
    monkeypatch.setattr(shelf, "free_memory", lambda device: free - len(list(models)) * SIZE)


def test_what_fits_stays_and_the_one_used_longest_ago_goes_first(
    models: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_room_for(monkeypatch, models, 2)
    starter, one = models.get("starter"), models.get("one")
    assert models.get("starter") is starter
    assert list(models) == ["starter", "one"]
    gone = weakref.ref(one.engine)
    del one
    models.get("two")
    assert list(models) == ["two", "starter"]
    gc.collect()
    assert gone() is None
    assert models.get("starter") is starter


def test_where_there_is_room_for_one_alone_there_is_one(models: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    has_room_for(monkeypatch, models, 1)
    for alias in ("starter", "one", "two"):
        models.get(alias)
        assert list(models) == [alias]


def test_a_load_that_runs_out_is_tried_once_more_in_empty_memory(
    models: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, tries = Engine.load, []

    def short(*every: object, **named: object) -> Engine:
        tries.append(list(models))
        if tries[-1]:
            raise OutOfMemoryError("too little")
        return load(*every, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Engine, "load", short)
    models.get("starter")
    models.get("one")
    assert tries == [[], ["starter"], []]
    assert list(models) == ["one"]
    monkeypatch.setattr(Engine, "load", lambda *every, **named: (_ for _ in ()).throw(OutOfMemoryError("too little")))
    with pytest.raises(OutOfMemoryError):
        models.get("two")


def test_one_leaves_or_all_but_one(models: Shelf) -> None:
    for alias in ("starter", "one", "two"):
        models.get(alias)
    assert models.unload("one")
    assert not models.unload("one")
    assert list(models) == ["two", "starter"]
    assert models.unload(but="starter")
    assert list(models) == ["starter"]
    assert models.unload()
    assert not models.unload()


def test_what_is_no_model_costs_none_of_the_others(models: Shelf) -> None:
    models.get("starter")
    with pytest.raises(ModelError):
        models.get("nobody")
    assert list(models) == ["starter"]
    assert len(models.get("starter").fingerprint) == 64
