"""Any model that can be opened, written anew as one in Hugging Face's layout."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

from musicgen_bridge.engine import config as configs
from musicgen_bridge.engine.checkpoint import TIED, Checkpoint, Find
from musicgen_bridge.engine.config import Json
from musicgen_bridge.engine.layouts import opened
from musicgen_bridge.errors import DiskError, ExistsError

_CLASSES = {
    "musicgen": "MusicgenForConditionalGeneration",
    "musicgen_melody": "MusicgenMelodyForConditionalGeneration",
}
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "spiece.model")


def convert(folder: Path, destination: Path, find: Find) -> None:
    """Write the model in `folder` to the new folder `destination`, which transformers can load too.

    Audiocraft's layout is renamed, T5 and the codec that it names are put in, and an adapter is merged. Raises
    ModelError as `opened` does, ExistsError where something stands there, DiskError where there is no room.
    """
    if destination.exists():
        raise ExistsError(f"{destination} exists already: name a new folder.")
    destination = destination.absolute()
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{destination.name}-", dir=destination.parent) as scratch:
            whole = Path(scratch) / "model"  # what TemporaryDirectory makes is readable by its owner alone
            whole.mkdir()
            with opened(folder, torch.device("cpu"), find) as checkpoint:
                _write(checkpoint, whole)
            whole.rename(destination)
    except OSError as error:
        raise DiskError(f"{destination} could not be written ({error}): free some space, or name another.") from error


def _write(checkpoint: Checkpoint, folder: Path) -> None:
    size = configs.parse(checkpoint.config).decoder
    kind = str(checkpoint.config["model_type"])
    generation: Json = {
        "bos_token_id": size.pad,
        "decoder_start_token_id": size.pad,
        "pad_token_id": size.pad,
        "do_sample": True,
        "guidance_scale": 3.0,
        "max_length": 1500,
    }
    twice = {other for name, other in TIED.items() if name in checkpoint.tensors}
    save_file(
        {
            name: checkpoint(name).clone(memory_format=torch.contiguous_format)
            for name in checkpoint.tensors.keys() - twice
        },
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    _write_json(folder / "config.json", {"architectures": [_CLASSES[kind]], **checkpoint.config})
    _write_json(folder / "generation_config.json", generation)
    for name in _TOKENIZER:
        if (checkpoint.tokenizer / name).is_file():
            shutil.copyfile(checkpoint.tokenizer / name, folder / name)


def _write_json(path: Path, values: Json) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8", newline="\n")
