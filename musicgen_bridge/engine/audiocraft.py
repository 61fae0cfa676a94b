"""Audiocraft's checkpoints, state_dict.bin and compression_state_dict.bin, under the names of Hugging Face's layout.

After audiocraft's `models/loaders.py` and `models/builders.py`, and transformers' `convert_musicgen_transformers.py`,
`convert_musicgen_melody_transformers.py` and `convert_encodec_checkpoint_to_pytorch.py`. Neither T5 nor, often, the
codec is part of such a checkpoint: it names them, and they come from the hub's cache.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from musicgen_bridge.engine import chroma, omegaconf
from musicgen_bridge.engine.checkpoint import (
    Checkpoint,
    Find,
    Tensors,
    read_files,
    read_json,
    read_pickle,
    weight_files,
)
from musicgen_bridge.engine.config import Json
from musicgen_bridge.errors import ModelError

LANGUAGE_MODEL, CODEC = "state_dict.bin", "compression_state_dict.bin"

_T5 = {name: f"google-t5/{name}" for name in ("t5-small", "t5-base", "t5-large")}
"""Audiocraft's names of T5 on the hub."""

_CONDITIONERS = r"^condition_provider\.conditioners\."
_RENAMED = (
    (r"^emb\.", "decoder.model.decoder.embed_tokens."),
    (r"^transformer\.layers\.", "decoder.model.decoder.layers."),
    (r"^out_norm\.", "decoder.model.decoder.layer_norm."),
    (r"^linears\.", "decoder.lm_heads."),
    (r"\.mha\.", "."),
    (r"\.cross_attention\.", ".encoder_attn."),
    (r"\.norm1\.", ".self_attn_layer_norm."),
    (r"\.norm_cross\.", ".encoder_attn_layer_norm."),
    (r"\.norm2\.", ".final_layer_norm."),
    (r"\.linear1\.", ".fc1."),
    (r"\.linear2\.", ".fc2."),
    (_CONDITIONERS + r"description\.output_proj\.", "enc_to_dec_proj."),
    (_CONDITIONERS + r"self_wav\.output_proj\.", "audio_enc_to_dec_proj."),
    (_CONDITIONERS + r"description\.t5\.", "text_encoder."),
)
_RENAMED_CODEC = (
    (r"^(encoder|decoder)\.model\.", r"\1.layers."),
    (r"\.(conv|convtr)\.\1\.", ".conv."),
    (r"^quantizer\.vq\.", "quantizer."),
    (r"\._codebook\.", ".codebook."),
)
_QKV = ("q_proj.weight", "k_proj.weight", "v_proj.weight")

_ONLY: dict[str, object] = {
    "lm_model": "transformer_lm",
    "transformer_lm.norm": "layer_norm",
    "transformer_lm.norm_first": True,
    "transformer_lm.activation": "gelu",
    "transformer_lm.bias_ff": False,
    "transformer_lm.bias_attn": False,
    "transformer_lm.bias_proj": False,
    "transformer_lm.layer_scale": None,
    "transformer_lm.positional_embedding": "sin",
    "transformer_lm.past_context": None,
    "transformer_lm.qk_layer_norm": False,
    "transformer_lm.qk_layer_norm_cross": False,
    "transformer_lm.kv_repeat": 1,
    "codebooks_pattern.modeling": "delay",
    "fuser.sum": [],
    "fuser.input_interpolate": [],
    "fuser.cross_attention_pos_emb": False,
    "interleave_stereo_codebooks.per_timestep": False,
    "conditioners.description.model": "t5",
    "conditioners.self_wav.model": "chroma_stem",
    "conditioners.self_wav.chroma_stem.sample_rate": chroma.SAMPLE_RATE,
    "conditioners.self_wav.chroma_stem.radix2_exp": int(math.log2(chroma.N_FFT)),
    "conditioners.self_wav.chroma_stem.argmax": True,
}
"""What a checkpoint's settings may be where they say something."""
_FAMILIES = {
    ("description",): ("musicgen", [], ["description"]),
    ("description", "self_wav"): ("musicgen_melody", ["self_wav", "description"], []),
}
"""The model type by the conditioners, and which of these are a prefix and which are attended to."""


def is_model(folder: Path) -> bool:
    """Whether a folder holds a language model in this layout."""
    return (folder / LANGUAGE_MODEL).is_file()


def read(folder: Path, device: torch.device, find: Find, stack: ExitStack) -> Checkpoint:
    """Return the model in `folder`, with T5 and the codec that it names, which `find` finds.

    Raises ModelError where a file is missing or damaged, or holds another kind of model.
    """
    package = _package(folder / LANGUAGE_MODEL)
    settings = _checked(omegaconf.settings(package["xp.cfg"]), folder)
    own = _language_model(package["best_state"], device)
    name = str(_at(settings, "conditioners.description.t5.name"))
    t5 = find(_T5.get(name, name))
    t5_files = weight_files(t5)
    t5_tensors = read_files(t5_files, device, stack)
    text = {
        f"text_encoder.{key}": tensor for key, tensor in t5_tensors.items() if key.startswith(("shared", "encoder"))
    }
    books = settings["transformer_lm"]["n_q"] // _channels(settings)
    section, codec, codec_files = _codec(folder / CODEC, books, device, find, stack)
    config = _config(settings, read_json(t5 / "config.json"), section)
    if config["text_encoder"].get("d_model") == config["decoder"]["hidden_size"]:
        raise ModelError(f"{folder} projects its text to the size that it has: such a model can't be run here.")
    return Checkpoint(config, {**text, **own, **codec}, t5, (folder / LANGUAGE_MODEL, *t5_files, *codec_files))


def _package(path: Path) -> dict[str, Any]:
    """Return what audiocraft's `export` wrote, or its trainer."""
    if not path.is_file():
        raise ModelError(f"{path.parent} has no {path.name}: copy or download the model again, as a whole.")
    package = read_pickle(path, omegaconf.STAND_INS)
    if "pretrained" in package:
        return package
    state = package.get("best_state")
    if not isinstance(state, dict) or "xp.cfg" not in package:
        raise ModelError(f"{path} is no checkpoint of Audiocraft's: export it with its `export_lm`.")
    nested = package.get("fsdp_best_state") or state
    return {**package, "best_state": nested.get("model", nested)}


def _language_model(state: Mapping[str, Tensor], device: torch.device) -> Tensors:
    tensors: dict[str, Callable[[], Tensor]] = {}
    for key, tensor in state.items():
        name = _renamed(key, _RENAMED)
        if name.endswith("in_proj_weight"):
            for part, wanted in zip(tensor.chunk(3), _QKV, strict=True):  # [3 * d, d]
                tensors[name.replace("in_proj_weight", wanted)] = partial(part.to, device)
        elif not name.startswith("condition_provider."):
            tensors[name] = partial(tensor.to, device)
    return tensors


def _codec(
    path: Path, books: int, device: torch.device, find: Find, stack: ExitStack
) -> tuple[Json, Tensors, tuple[Path, ...]]:
    """Return the codec's config section, its tensors and their files."""
    package = _package(path)
    if name := package.get("pretrained"):
        folder = find(str(name).removeprefix("//pretrained/"))
        files = weight_files(folder)
        tensors = read_files(files, device, stack)
        return read_json(folder / "config.json"), {f"audio_encoder.{k}": v for k, v in tensors.items()}, (path, *files)
    state = {_renamed(key, _RENAMED_CODEC): tensor for key, tensor in package["best_state"].items()}
    tensors = {f"audio_encoder.{name}": partial(tensor.to, device) for name, tensor in state.items()}
    return _codec_config(omegaconf.settings(package["xp.cfg"]), books), tensors, (path,)


def _renamed(name: str, table: tuple[tuple[str, str], ...]) -> str:
    for pattern, new in table:
        name = re.sub(pattern, new, name)
    return name


def _at(settings: Json, path: str, otherwise: object = None) -> Any:
    """Return the setting at a dotted path."""
    value: Any = settings
    for key in path.split("."):
        if not isinstance(value, dict) or key not in value:
            return otherwise
        value = value[key]
    return value


def _channels(settings: Json) -> int:
    return 2 if _at(settings, "interleave_stereo_codebooks.use") else 1


def _checked(settings: Json, folder: Path) -> Json:
    """Return the settings; raises ModelError where they are those of a model that this engine can't run."""
    for path, wanted in _ONLY.items():
        value = _at(settings, path, wanted)
        if value != wanted:
            raise ModelError(f"{folder} has {path} = {value!r} where only {wanted!r} is supported: choose another.")
    heard = tuple(sorted(name for name in _at(settings, "conditioners", {}) if name != "args"))
    fused = [_at(settings, f"fuser.{way}", []) for way in ("prepend", "cross")]
    if heard not in _FAMILIES or fused != list(_FAMILIES[heard][1:]):
        raise ModelError(f"{folder} is conditioned on {', '.join(heard)} in a way unknown here: choose another model.")
    channels, books = _channels(settings), _at(settings, "transformer_lm.n_q")
    delays = _at(settings, "codebooks_pattern.delay.delays")
    if not books or delays != [book // channels for book in range(books)]:
        raise ModelError(f"{folder} delays its codebooks by {delays}: only one step each is supported.")
    return settings


def _config(settings: Json, text: Json, codec: Json) -> Json:
    lm = settings["transformer_lm"]
    heard = tuple(sorted(name for name in settings["conditioners"] if name != "args"))
    kind = _FAMILIES[heard][0]
    config: Json = {
        "model_type": kind,
        "text_encoder": text,
        "audio_encoder": codec,
        "decoder": {
            "model_type": f"{kind}_decoder",
            "hidden_size": lm["dim"],
            "num_hidden_layers": lm["num_layers"],
            "num_attention_heads": lm["num_heads"],
            "ffn_dim": int(lm["hidden_scale"] * lm["dim"]),
            "vocab_size": lm["card"],
            "num_codebooks": lm["n_q"],
            "audio_channels": _channels(settings),
            "activation_function": "gelu",
            "pad_token_id": lm["card"],
            "bos_token_id": lm["card"],
            "tie_word_embeddings": False,
        },
    }
    if kind == "musicgen_melody":
        samples = int(settings["sample_rate"] * _at(settings, "dataset.segment_duration"))
        config["num_chroma"] = _at(settings, "conditioners.self_wav.chroma_stem.n_chroma")
        config["chroma_length"] = 1 + samples // chroma.HOP
    return config


def _codec_config(settings: Json, books: int) -> Json:
    """Return the `audio_encoder` section for an EnCodec of audiocraft's, of which `books` codebooks are used."""
    net, rate, size = settings["seanet"], settings["encodec"]["sample_rate"], settings["rvq"]["bins"]
    bits, hop = math.ceil(math.log2(size)), math.prod(net["ratios"])
    return {
        "model_type": "encodec",
        "sampling_rate": rate,
        "audio_channels": settings["encodec"]["channels"],
        "target_bandwidths": [books * math.ceil(rate / hop) * bits / 1000],
        "hidden_size": net["dimension"],
        "codebook_dim": net["dimension"],
        "codebook_size": size,
        "num_filters": net["n_filters"],
        "num_residual_layers": net["n_residual_layers"],
        "upsampling_ratios": net["ratios"],
        "kernel_size": net["kernel_size"],
        "last_kernel_size": net["last_kernel_size"],
        "residual_kernel_size": net["residual_kernel_size"],
        "dilation_growth_rate": net["dilation_base"],
        "compress": net["compress"],
        "num_lstm_layers": net["lstm"],
        "norm_type": net["norm"],
        "pad_mode": net["pad_mode"],
        "use_causal_conv": net["causal"],
        "use_conv_shortcut": not net["true_skip"],
        "normalize": settings["encodec"]["renormalize"],
    }
