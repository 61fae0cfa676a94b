"""A model's weights under the names of Hugging Face's layout, each read when asked for, straight to the device."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from musicgen_bridge.engine.config import Json
from musicgen_bridge.errors import ModelError

Tensors = Mapping[str, Callable[[], Tensor]]
"""What reads each tensor, by its name."""
Find = Callable[[str], Path]
"""The folder of a model by its name on the hub; raises ModelError where it is not on this machine."""

TIED = {"text_encoder.shared.weight": "text_encoder.encoder.embed_tokens.weight"}
"""Tensors of two names, of which a checkpoint may have kept the other."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An open model."""

    config: Json
    """What its config.json says, or would say."""
    tensors: Tensors
    tokenizer: Path
    """The folder with its tokenizer.json."""
    files: tuple[Path, ...]
    """All that its weights are read from."""

    def __call__(self, name: str, *shape: int) -> Tensor:
        """Return the tensor `name` as it is stored; raises ModelError where it is missing or of another shape."""
        name = name if name in self.tensors else TIED.get(name, name)
        if name not in self.tensors:
            raise ModelError(f"The model's weights lack {name}: copy or download them again.")
        tensor = self.tensors[name]()
        if shape and tensor.shape != shape:
            raise ModelError(f"{name} is {list(tensor.shape)} where config.json says {list(shape)}: they don't belong.")
        return tensor

    def codec(self) -> dict[str, Tensor]:
        """Return the codec's tensors, their names without the prefix."""
        prefix = "audio_encoder."
        return {name.removeprefix(prefix): self(name) for name in self.tensors if name.startswith(prefix)}


def huggingface(folder: Path, device: torch.device, stack: ExitStack) -> Checkpoint:
    """Return the model of a folder in the stock layout; its files stay open with `stack`. Raises ModelError."""
    config, files = read_json(folder / "config.json"), weight_files(folder)
    if not files:
        raise ModelError(
            f"{folder} has no model.safetensors, nor another file with weights: download the model again, as a whole."
        )
    return Checkpoint(config, read_files(files, device, stack), folder, files)


def weight_files(folder: Path) -> tuple[Path, ...]:
    """Return the files of a folder's weights, one or shards, safetensors before PyTorch's own; none where it has none.

    Raises ModelError where an index of shards is damaged.
    """
    for name in ("model.safetensors", "pytorch_model.bin"):
        single, index = folder / name, folder / f"{name}.index.json"
        if single.is_file():
            return (single,)
        if index.is_file():
            try:
                names = sorted(set(read_json(index)["weight_map"].values()))
            except (KeyError, AttributeError) as error:
                raise ModelError(f"{index} can't be read ({error}): copy or download it again.") from error
            return tuple(folder / Path(name).name for name in names)
    return ()


def read_files(files: tuple[Path, ...], device: torch.device, stack: ExitStack) -> Tensors:
    """Return what the files hold; they stay open with `stack`. Raises ModelError where one is missing or damaged."""
    tensors: dict[str, Callable[[], Tensor]] = {}
    for path in files:
        if path.suffix != ".safetensors":
            state = read_pickle(path)
            tensors |= {name: partial(tensor.to, device) for name, tensor in state.items()}
            continue
        try:
            file = stack.enter_context(safe_open(path, framework="pt", device=str(device)))
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{path} can't be read ({error}): copy or download it again.") from error
        tensors |= {name: partial(file.get_tensor, name) for name in file.keys()}  # noqa: SIM118
    return tensors


def read_json(path: Path) -> Json:
    """Return the JSON object in a file. Raises ModelError where there is none."""
    try:
        values: Json = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path.parent} has no {path.name}: name a folder with a MusicGen model.") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} can't be read ({error}): copy or download the model again.") from error
    return values


def read_pickle(path: Path, stand_ins: list[tuple[Any, str]] | None = None) -> dict[str, Any]:
    """Return what PyTorch saved: tensors and plain containers, mapped from the disk; nothing in the file can run code.

    `stand_ins` are classes that are put in the place of others, by their full names. Raises ModelError where the file
    is damaged or holds more than that.
    """
    try:
        with torch.serialization.safe_globals(stand_ins or []):  # type: ignore[arg-type]
            mapped = zipfile.is_zipfile(path)  # torch's format since 1.6
            values: dict[str, Any] = torch.load(path, "cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        raise ModelError(f"{path} holds more than weights, and is not read for safety: get them elsewhere.") from error
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise ModelError(f"{path} can't be read ({error}): copy or download it again.") from error
    return values
