"""A Demucs model from a folder with its weights: nothing in the file can run code."""

from __future__ import annotations

import pickle
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from musicgen_bridge.errors import ModelError

_KINDS = ("demucs.htdemucs.HTDemucs", "demucs.hdemucs.HDemucs")
_NEEDED = {"drums", "bass", "vocals"}


def load_demucs(folder: Path) -> Any:
    """Return the Demucs model in `folder`, on the CPU: one file, .safetensors from the hub or .th as first published.

    Raises ModelError where there is none that is safe to load, it finds no drums, bass and vocals, or Demucs is not
    installed.
    """
    files = [path for path in sorted(folder.glob("*")) if path.suffix in (".safetensors", ".th")]
    if len(files) != 1:
        raise ModelError(
            f"The Demucs folder {folder} should hold exactly one model and holds {len(files)}: "
            "put HTDemucs there, its .safetensors or its .th file."
        )
    (file,) = files
    try:
        model = _from_safetensors(file) if file.suffix == ".safetensors" else _from_pickle(file)
    except ImportError as error:
        raise ModelError("Demucs is not installed: run `pip install musicgen-bridge[separate]`.") from error
    except (SafetensorError, pickle.UnpicklingError, OSError, EOFError) as error:
        raise ModelError(f"{file.name} cannot be read as weights and nothing else; download it again.") from error
    except (RuntimeError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise ModelError(f"{file.name} is not a Demucs model that this Demucs knows: put HTDemucs there.") from error
    if not set(model.sources) >= _NEEDED:
        raise ModelError(f"{file.name} finds {', '.join(model.sources)}, no drums, bass and vocals: take HTDemucs.")
    return model.eval()


def _from_safetensors(file: Path) -> Any:
    """Such a file names a class to call, with arguments, in its metadata: only Demucs' own two are let through.

    No quantized ones either, whose metadata names more classes.
    """
    with safe_open(file, framework="pt") as opened:
        metadata = opened.metadata() or {}
    if metadata.get("klass") not in _KINDS or "structure" in metadata:
        raise ModelError(f"{file.name} is not a plain Demucs model: put HTDemucs there instead.")
    from demucs.hf import load_safetensors_model

    return load_safetensors_model(file)


def _from_pickle(file: Path) -> Any:
    """Such a file is a pickle, which could run any code: torch reads it with tensors and these three classes alone."""
    from demucs.hdemucs import HDemucs
    from demucs.htdemucs import HTDemucs
    from demucs.states import load_model

    with torch.serialization.safe_globals([HTDemucs, HDemucs, Fraction]):
        package = torch.load(file, "cpu", weights_only=True)
    if package["klass"] not in (HTDemucs, HDemucs) or "__quantized" in package["state"]:
        raise ModelError(f"{file.name} is not a plain Demucs model: put HTDemucs there instead.")
    return load_model(package)
