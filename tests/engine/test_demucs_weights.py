"""Demucs' weights are loaded in both of their forms, safely or not at all."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from musicgen_bridge.engine.demucs_weights import load_demucs
from musicgen_bridge.errors import ModelError
from tests import small_demucs

PLAIN = {"klass": "demucs.htdemucs.HTDemucs", "args": "[]", "kwargs": "{}"}


@pytest.mark.parametrize("suffix", [".safetensors", ".th"])
def test_what_demucs_writes_is_read(tmp_path: Path, suffix: str) -> None:
    written = small_demucs.make(tmp_path, suffix=suffix)
    read = load_demucs(tmp_path)
    assert type(read) is type(written)
    assert (read.sources, read.segment, read.training) == (written.sources, written.segment, False)
    for name, value in read.state_dict().items():
        torch.testing.assert_close(value, written.state_dict()[name], rtol=1e-3, atol=1e-3)


class Trap:
    """What a pickle may hold: a call of any function when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_that_hides_code_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    torch.save({"klass": Trap(trap)}, tmp_path / "955717e8.th")
    with pytest.raises(ModelError, match="cannot be read"):
        load_demucs(tmp_path)
    assert not trap.exists()
    torch.load(tmp_path / "955717e8.th", weights_only=False)
    assert trap.exists()  # the trap is a real one


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"klass": "subprocess.Popen", "args": '[["touch", "owned"]]', "kwargs": "{}"},
        PLAIN | {"structure": '{"_class": "os.system"}'},
    ],
    ids=["no class", "another class", "quantized"],
)
def test_weights_that_name_code_are_refused(tmp_path: Path, metadata: dict[str, str]) -> None:
    save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors", metadata=metadata)
    with pytest.raises(ModelError, match="not a plain Demucs model"):
        load_demucs(tmp_path)


def test_a_folder_holds_one_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="exactly one model and holds 0"):
        load_demucs(tmp_path)
    for name in ("a.th", "b.safetensors"):
        (tmp_path / name).write_bytes(b"not weights")
    with pytest.raises(ModelError, match="exactly one model and holds 2"):
        load_demucs(tmp_path)


@pytest.mark.parametrize("name", ["955717e8.th", "955717e8.safetensors"])
def test_broken_files_are_told(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not weights")
    with pytest.raises(ModelError, match=f"{name} cannot be read as weights .*; download it again"):
        load_demucs(tmp_path)


def test_weights_that_fit_no_model_are_told(tmp_path: Path) -> None:
    pytest.importorskip("demucs.hf")
    save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors", metadata=PLAIN)
    with pytest.raises(ModelError, match="is not a Demucs model that this Demucs knows"):
        load_demucs(tmp_path)


def test_a_model_of_other_sources_is_told(tmp_path: Path) -> None:
    small_demucs.make(tmp_path, sources=["vocals", "rest"])
    with pytest.raises(ModelError, match="finds vocals, rest"):
        load_demucs(tmp_path)


def test_a_missing_demucs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors", metadata=PLAIN)
    for module in ("demucs", "demucs.hf"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ModelError, match="pip install"):
        load_demucs(tmp_path)
