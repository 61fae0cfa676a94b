"""Which layout a model's folder has: Hugging Face's, Audiocraft's, or an adapter to another model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from musicgen_bridge.engine import audiocraft, lora
from musicgen_bridge.engine.checkpoint import Checkpoint, Find, huggingface, weight_files
from musicgen_bridge.errors import ModelError


def nowhere(name: str) -> Path:
    """Find nothing on the hub: raises ModelError, whatever is asked for."""
    raise ModelError(f"The model needs {name}, which is not on this machine: pull it first.")


@contextmanager
def opened(folder: Path, device: torch.device, find: Find = nowhere) -> Iterator[Checkpoint]:
    """Open the model in `folder`; `find` finds the others that it names.

    Raises ModelError where a file is missing or damaged, or it is a model of another kind.
    """
    with ExitStack() as stack:
        yield _open(folder, device, find, stack)


def _open(folder: Path, device: torch.device, find: Find, stack: ExitStack) -> Checkpoint:
    if lora.is_adapter(folder):
        return lora.merged(_open(lora.base_of(folder, find), device, find, stack), folder, device, stack)
    if audiocraft.is_model(folder) and not weight_files(folder):
        return audiocraft.read(folder, device, find, stack)
    return huggingface(folder, device, stack)
