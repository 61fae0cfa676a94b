"""A small HTDemucs with weights in the layout of the published one, in both of the forms that Demucs writes."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

NAME = "955717e8"
SOURCES = ("drums", "bass", "other", "vocals")


def make(folder: Path, *, levels: tuple[float, ...] | None = None, suffix: str = ".safetensors", **changes: Any) -> Any:
    """Write a random model into `folder`, as Demucs' tools/export_hf.py or its `serialize_model` do, and return it.

    With `levels`, one a source, it hears nothing and gives each source so many standard deviations of the mix as a
    constant: what comes out is known.
    """
    htdemucs = pytest.importorskip("demucs.htdemucs", reason="the extra `separate` is not installed")
    torch.manual_seed(0)
    kwargs = {"sources": list(SOURCES), "channels": 8, "t_layers": 1, "bottom_channels": 16} | changes
    model = htdemucs.HTDemucs(**kwargs, segment=Fraction(2, 1))
    if levels is not None:
        _constant(model, levels)
    state = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    if suffix == ".safetensors":
        segment = {"_type": "fraction", "numerator": 2, "denominator": 1}
        metadata = {
            "klass": "demucs.htdemucs.HTDemucs",
            "args": "[]",
            "kwargs": json.dumps(kwargs | {"segment": segment}),
        }
        save_file(state, folder / f"{NAME}.safetensors", metadata=metadata)
    else:
        package = {"klass": htdemucs.HTDemucs, "args": (), "kwargs": kwargs | {"segment": Fraction(2, 1)}}
        package |= {"state": state, "training_args": {"dset": {"sources": list(SOURCES)}, "epochs": 360, "lr": 3e-4}}
        torch.save(package, folder / f"{NAME}-8726e21a.th")
    return model


@torch.no_grad()
def _constant(model: Any, levels: tuple[float, ...]) -> None:
    for layer in (model.decoder[-1].conv_tr, model.tdecoder[-1].conv_tr):
        layer.weight.zero_()
        layer.bias.zero_()
    channels = model.audio_channels
    model.tdecoder[-1].conv_tr.bias.copy_(torch.tensor(levels).repeat_interleave(channels))
