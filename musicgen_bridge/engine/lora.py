"""LoRA adapters in peft's layout, merged into the model that they were trained on.

Hu et al. 2021, "LoRA": W' = W + s B A with s = alpha / rank; rank-stabilized (Kalajdzievski 2023), s = alpha / √rank.
DoRA (Liu et al. 2024): W' = m (W + s B A) / |W + s B A|, each output's row to its length m. After peft's
`tuners/lora/layer.py` and `utils/save_and_load.py`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from musicgen_bridge.engine.checkpoint import Checkpoint, Find, Tensors, read_files, read_json
from musicgen_bridge.engine.config import Json
from musicgen_bridge.errors import ModelError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

_PREFIX = "base_model.model."
_PARTS = {
    ".lora_A.weight": "A",  # [rank, in]
    ".lora_B.weight": "B",  # [out, rank]
    ".lora_embedding_A": "A.T",  # [rank, entries]
    ".lora_embedding_B": "B.T",  # [d, rank]
    ".lora_magnitude_vector": "m",  # [out]
    ".lora_magnitude_vector.weight": "m",
}


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter."""
    return (folder / CONFIG).is_file()


def base_of(folder: Path, find: Find) -> Path:
    """Return the folder of the model that an adapter belongs to, a folder or a name on the hub. Raises ModelError."""
    name = read_json(folder / CONFIG).get("base_model_name_or_path")
    if not name:
        raise ModelError(f"{folder / CONFIG} names no base_model_name_or_path: write there which model it belongs to.")
    path = Path(str(name)).expanduser()
    path = path if path.is_absolute() else folder / path
    if is_adapter(path):
        raise ModelError(f"{folder} belongs to another adapter, {path}: merge that one first, with models convert.")
    return path if path.is_dir() else find(str(name))


def merged(base: Checkpoint, folder: Path, device: torch.device, stack: ExitStack) -> Checkpoint:
    """Return `base` with the adapter in `folder`; raises ModelError where it is no LoRA of that model."""
    config = read_json(folder / CONFIG)
    if config.get("peft_type") != "LORA":
        raise ModelError(f"{folder} is an adapter of the type {config.get('peft_type')}: only LORA is supported.")
    file = folder / WEIGHTS
    changed: dict[str, Callable[[], Tensor]] = {}
    for module, parts in _modules(read_files((file,), device, stack)).items():
        name = _name_in(base, module, folder)
        if "" in parts:
            changed[name] = parts[""]
        elif {"A", "B"} <= parts.keys() or {"A.T", "B.T"} <= parts.keys():
            changed[name] = partial(_merge, base, name, parts, config, module)
        else:
            raise ModelError(f"{file} has half of an adapter for {module}: copy or download it again.")
    if not changed:
        raise ModelError(f"{file} changes nothing: copy or download it again.")
    return Checkpoint(base.config, {**base.tensors, **changed}, base.tokenizer, (*base.files, file))


def _modules(tensors: Tensors) -> dict[str, dict[str, Callable[[], Tensor]]]:
    """Return the parts of each adapted module by its name; "" is a whole tensor that was trained."""
    modules: dict[str, dict[str, Callable[[], Tensor]]] = {}
    for key, tensor in tensors.items():
        name = key.removeprefix(_PREFIX)
        suffix = next((suffix for suffix in _PARTS if name.endswith(suffix)), "")
        modules.setdefault(name.removesuffix(suffix), {})[_PARTS.get(suffix, "")] = tensor
    return modules


def _name_in(base: Checkpoint, module: str, folder: Path) -> str:
    """Return the tensor that a module of the adapter changes; it may have been trained on the decoder alone."""
    names = [f"{prefix}{module}{suffix}" for prefix in ("", "decoder.") for suffix in ("", ".weight")]
    for name in names:
        if name in base.tensors:
            return name
    raise ModelError(f"{folder} adapts {module}, which its model has not: it belongs to another model.")


def _merge(base: Checkpoint, name: str, parts: dict[str, Callable[[], Tensor]], config: Json, module: str) -> Tensor:
    weight = base(name)
    if "A" in parts:
        low, high = parts["A"]().float(), parts["B"]().float()
        change = high @ low
    else:
        low, high = parts["A.T"]().float(), parts["B.T"]().float()
        change = (high @ low).T
    if change.shape != weight.shape:
        raise ModelError(f"{name} is {list(weight.shape)} and its adapter {list(change.shape)}: they don't belong.")
    summed = weight.float() + _scale(config, module, len(low)) * change
    if "m" in parts:
        summed *= (parts["m"]().float() / summed.norm(dim=1))[:, None]
    return summed.to(weight.dtype)


def _scale(config: Json, module: str, rank: int) -> float:
    alpha = float(config.get("lora_alpha", 8))
    for pattern, own in (config.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            alpha = float(own)
            break
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
