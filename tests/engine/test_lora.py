"""Adapters that peft trained, merged at load: the weights that peft itself merges, and so the same music."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from twins import Twin

from musicgen_bridge.engine import Engine, Row, Sampling
from musicgen_bridge.engine.convert import convert
from musicgen_bridge.engine.layouts import nowhere, opened
from musicgen_bridge.errors import ModelError

ATTENTION = ["q_proj", "v_proj", "out_proj"]
KINDS: dict[str, dict[str, Any]] = {
    "attention": {"target_modules": ATTENTION},
    "every map": {"target_modules": "all-linear"},
    "rank-stabilized": {"target_modules": ATTENTION, "use_rslora": True},
    "DoRA": {"target_modules": ATTENTION, "use_dora": True},
    "patterns": {"target_modules": ATTENTION, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"layers.1.*v_proj": 32}},
    "a projection as a whole": {"target_modules": ATTENTION, "modules_to_save": ["enc_to_dec_proj"]},
    "embeddings": {"target_modules": ["embed_tokens.0", "fc1"]},
}


def trained(twin: Twin, folder: Path, module: str = "", **changes: Any) -> Any:
    """Save an adapter of random weights, and return the model with peft's own merge of it."""
    torch.manual_seed(4)
    model = copy.deepcopy(twin.model)
    target = getattr(model, module) if module else model
    adapted = get_peft_model(target, LoraConfig(r=4, lora_alpha=16, init_lora_weights=False, **changes))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "modules_to_save" in name or "lora_" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
    adapted.save_pretrained(folder)
    config = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    config["base_model_name_or_path"] = str(twin.folder)
    (folder / "adapter_config.json").write_text(json.dumps(config), "utf-8")
    merged = adapted.merge_and_unload()
    if module:
        setattr(model, module, merged)
        return model
    return merged


@pytest.fixture
def adapter(text: Twin, tmp_path: Path) -> Path:
    trained(text, tmp_path / "adapter", target_modules=ATTENTION)
    return tmp_path / "adapter"


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    with opened(folder, torch.device("cpu")) as checkpoint:
        return {name: checkpoint(name) for name in checkpoint.tensors}


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_merged_as_peft_merges_it(text: Twin, tmp_path: Path, kind: str) -> None:
    theirs = trained(text, tmp_path, **KINDS[kind]).state_dict()
    plain, ours = tensors_of(text.folder), tensors_of(tmp_path)
    assert ours.keys() == plain.keys()
    changed = [name for name in ours if not torch.equal(ours[name], plain[name])]
    assert len(changed) > 2
    for name in ours.keys() & theirs.keys():
        assert (ours[name] - theirs[name]).abs().max() <= 2e-6 * theirs[name].abs().max(), name


def test_an_adapter_of_the_melody_family_changes_what_is_drawn(melody: Twin, tmp_path: Path) -> None:
    sampling = Sampling(0.0, 250, 0.0, 2.0)
    merged = trained(melody, tmp_path, target_modules=[*ATTENTION, "audio_enc_to_dec_proj"])
    ours = Engine.load(tmp_path, "cpu", "float32")
    take = ours.generate([Row("drums", 1)], 0.3, sampling=sampling)
    theirs = Twin(tmp_path, merged, ours, melody.tokenizer).codes("drums", 15, 1, do_sample=False, guidance_scale=2.0)
    assert np.array_equal(take.codes[0], theirs)
    before = melody.engine.generate([Row("drums", 1)], 0.3, sampling=sampling)
    assert not np.array_equal(take.codes, before.codes)
    assert [path.name for path in ours.files] == ["model.safetensors", "adapter_model.safetensors"]


def test_one_that_was_trained_on_the_decoder_alone_fits_too(text: Twin, tmp_path: Path) -> None:
    merged = trained(text, tmp_path, "decoder", target_modules=ATTENTION).state_dict()
    name = "decoder.model.decoder.layers.1.self_attn.v_proj.weight"
    assert torch.allclose(tensors_of(tmp_path)[name], merged[name], atol=1e-6)


def test_it_can_be_merged_for_good(adapter: Path, tmp_path: Path) -> None:
    convert(adapter, tmp_path / "merged", nowhere)
    merged, written = tensors_of(adapter), load_file(tmp_path / "merged" / "model.safetensors")
    assert all(torch.equal(each, written[name]) for name, each in merged.items())


def rewrite(folder: Path, **changes: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")


def test_its_model_is_found_beside_it_or_on_the_hub(text: Twin, adapter: Path) -> None:
    with pytest.raises(ModelError, match=r"me/base.*pull it"):
        rewrite(adapter, base_model_name_or_path="me/base")
        Engine.load(adapter, "cpu")
    assert Engine.load(adapter, "cpu", find={"me/base": text.folder}.__getitem__).family == "text"
    shutil.copytree(text.folder, adapter.parent / "base")
    rewrite(adapter, base_model_name_or_path="../base")
    assert Engine.load(adapter, "cpu").family == "text"
    with pytest.raises(ModelError, match="names no base"):
        rewrite(adapter, base_model_name_or_path=None)
        Engine.load(adapter, "cpu")
    with pytest.raises(ModelError, match="another adapter"):
        rewrite(adapter, base_model_name_or_path=str(adapter))
        Engine.load(adapter, "cpu")


def test_what_does_not_fit_is_refused(text: Twin, adapter: Path) -> None:
    file = adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    name = next(iter(tensors))

    def refused(given: dict[str, torch.Tensor], says: str) -> None:
        save_file(given, file)
        with pytest.raises(ModelError, match=says):
            Engine.load(adapter, "cpu")

    refused({key.replace("layers.1", "layers.7"): each for key, each in tensors.items()}, "which its model has not")
    refused({key: each for key, each in tensors.items() if key != name}, "half of an adapter")
    refused(
        {key: each[:, :8].contiguous() if "lora_A" in key else each for key, each in tensors.items()}, "don't belong"
    )
    refused({}, "changes nothing")
    file.unlink()
    with pytest.raises(ModelError, match=r"adapter_model\.safetensors"):
        Engine.load(adapter, "cpu")
    rewrite(adapter, peft_type="IA3")
    with pytest.raises(ModelError, match="only LORA"):
        Engine.load(adapter, "cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_cuda_takes_the_likeliest_codes_that_the_cpu_takes(starter: Twin, tmp_path: Path, dtype: str) -> None:
    trained(starter, tmp_path, target_modules=ATTENTION)
    rows, greedy = [Row("techno, 120 BPM", 1)], Sampling(temperature=0)
    cuda = Engine.load(tmp_path, "cuda", dtype).generate(rows, 0.5, sampling=greedy).codes
    cpu = Engine.load(tmp_path, "cpu", "float32").generate(rows, 0.5, sampling=greedy).codes
    plain = starter.engine.generate(rows, 0.5, sampling=greedy).codes
    frames = 2 if dtype == "float16" else 4  # until rounding once decides a close call
    assert (cuda == cpu)[..., :frames].mean() > 0.8
    assert not np.array_equal(cuda, plain)
