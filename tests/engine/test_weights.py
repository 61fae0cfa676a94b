"""Folders that are no model, or half of one: each is refused with a text that says what to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from twins import STARTER, Twin

from musicgen_bridge.engine import Engine, Row, Sampling
from musicgen_bridge.errors import ArgumentError, ModelError

TENSOR = "decoder.model.decoder.layers.1.fc1.weight"


@pytest.fixture
def folder(text: Twin, tmp_path: Path) -> Path:
    """A copy of the tiny text model, to be spoilt."""
    return Path(shutil.copytree(text.folder, tmp_path / "model"))


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "config.json"
    values = json.loads(path.read_text("utf-8"))
    change(values)
    path.write_text(json.dumps(values), "utf-8")


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, {"format": "pt"})


def first_codes(engine: Engine) -> list[int]:
    take = engine.generate([Row("drums", 1)], 0.2, sampling=Sampling())
    return take.codes.ravel().tolist()


CONFIGS = {
    "musicgen or musicgen_melody": lambda values: values.update(model_type="bark"),
    "'decoder'": lambda values: values.pop("decoder"),
    "'hidden_size'": lambda values: values["decoder"].pop("hidden_size"),
    "activation_function": lambda values: values["decoder"].update(activation_function="relu"),
    "heads or channels": lambda values: values["decoder"].update(num_attention_heads=5),
    "pad_token_id": lambda values: values["decoder"].update(pad_token_id=3),
    "feed_forward_proj": lambda values: values["text_encoder"].update(feed_forward_proj="gated-gelu"),
    "more tokens than": lambda values: values["text_encoder"].update(vocab_size=300),
    r"says \[128, 32\]": lambda values: values["decoder"].update(ffn_dim=128),
    "don't belong together": lambda values: values["audio_encoder"].update(target_bandwidths=[0.6]),
    "normalize": lambda values: values["audio_encoder"].update(normalize=True),
}


@pytest.mark.parametrize("says", CONFIGS)
def test_a_config_of_another_model_is_refused(folder: Path, says: str) -> None:
    edit(folder, CONFIGS[says])
    with pytest.raises(ModelError, match=says):
        Engine.load(folder, "cpu")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_or_damaged_file_is_named(folder: Path, name: str) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelError, match=name):
        Engine.load(folder, "cpu")
    path.unlink()
    with pytest.raises(ModelError, match=name):
        Engine.load(folder, "cpu")


def test_a_missing_tensor_is_named(folder: Path) -> None:
    rewrite(folder, lambda tensors: tensors.pop(TENSOR))
    with pytest.raises(ModelError, match=TENSOR):
        Engine.load(folder, "cpu")


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json"):
        Engine.load(tmp_path / "nowhere", "cpu")


def shards(folder: Path) -> None:
    """Split the weights in two, with an index, as transformers does with large models."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    files = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, keys in files.items():
        save_file({key: tensors[key] for key in keys}, folder / file)
    index = {"weight_map": {key: file for file, keys in files.items() for key in keys}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")


def test_shards_load_as_one_file_does(folder: Path, text: Twin) -> None:
    shards(folder)
    assert first_codes(Engine.load(folder, "cpu", "float32")) == first_codes(text.engine)


@pytest.mark.parametrize("split", [False, True])
def test_pytorch_s_own_files_load_as_safetensors_do(folder: Path, text: Twin, split: bool) -> None:
    """The hub has facebook/musicgen-medium and -large as such alone."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    halves = [names[::2], names[1::2]] if split else [names]
    files = [f"pytorch_model-0000{n}-of-00002.bin" if split else "pytorch_model.bin" for n in range(1, len(halves) + 1)]
    for file, keys in zip(files, halves, strict=True):
        torch.save({key: tensors[key] for key in keys}, folder / file)
    if split:
        index = {"weight_map": {key: file for file, keys in zip(files, halves, strict=True) for key in keys}}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index), "utf-8")
    assert first_codes(Engine.load(folder, "cpu", "float32")) == first_codes(text.engine)


def test_a_missing_shard_is_named(folder: Path) -> None:
    shards(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(ModelError, match="model-00002-of-00002"):
        Engine.load(folder, "cpu")


def test_the_other_name_of_tied_embeddings_will_do(folder: Path, text: Twin) -> None:
    def rename(tensors: dict[str, torch.Tensor]) -> None:
        tensors["text_encoder.encoder.embed_tokens.weight"] = tensors.pop("text_encoder.shared.weight")

    rewrite(folder, rename)
    assert first_codes(Engine.load(folder, "cpu", "float32")) == first_codes(text.engine)


@pytest.mark.parametrize(
    ("device", "dtype"), [("tpu", "auto"), ("cpu", "int3"), ("cuda:99", "auto"), ("cpu:x", "auto")]
)
def test_a_device_or_dtype_that_is_not_there_is_refused(device: str, dtype: str) -> None:
    with pytest.raises(ArgumentError, match="choose"):
        Engine.load(STARTER, device, dtype)


def test_half_precision_is_close_to_full(text: Twin) -> None:
    """The language model alone is in bfloat16; text and codec stay in float32."""
    half = Engine.load(text.folder, "cpu", "bfloat16")
    codes = torch.randint(0, 64, (1, 4, 8))
    full, close = (engine._model.embed(codes).float() for engine in (text.engine, half))
    assert half.dtype == torch.bfloat16
    assert 0 < (full - close).abs().max() < 0.02 * full.abs().max()
    take = half.generate([Row("drums", 1)], 0.2, sampling=Sampling())
    assert take.audio.dtype == "float32"
    assert abs(take.audio).max() > 0
