"""Checkpoints of random weights at the true sizes, in a folder as the hub has them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import torch
from engine_cpu import SIZES, STARTER, build

CHECKPOINTS = Path(tempfile.gettempdir()) / "musicgen-checkpoints"
"""Where they are kept unless a flag says otherwise."""


def checkpoint(size: str, parent: Path, filters: int = 64) -> Path:
    """Return a folder with the checkpoint of a size, made if it is not there; the starter is what ships.

    It is stored in float16, as large takes 6.7 GB then; made where there is a GPU, in its memory.
    """
    if size == "starter":
        return STARTER
    folder = parent / size
    if not folder.is_dir():
        where = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model = build(size, where, torch.float16, filters=filters)
        model.save_pretrained(folder)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(STARTER / name, folder)
        del model
        torch.cuda.empty_cache()
    return folder


__all__ = ["CHECKPOINTS", "SIZES", "checkpoint"]
