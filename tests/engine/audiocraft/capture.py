"""Writes what stands beside it anew, with audiocraft 1.3.0 itself: tiny random models, and what they compute.

    python capture.py FOLDER

It needs an environment with what this project has, and besides (pip install --no-deps) audiocraft, flashy, dora-search,
treetable, submitit, hydra-core, hydra-colorlog, colorlog, retrying, cloudpickle, omegaconf and antlr4-python3-runtime.
The weights of T5 and Demucs are no part of such a checkpoint, nor are librosa's filters: nothings stand for them, as
for the packages that audiocraft imports and doesn't need here.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import sys
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import transformers
from omegaconf import OmegaConf
from safetensors.torch import save_file

UNUSED = ("xformers", "spacy", "av", "num2words", "librosa", "torchtext", "encodec", "torchmetrics", "laion_clap")


class Unused(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds packages in which there is whatever is asked for, and nothing in it."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        if name.split(".")[0] in UNUSED:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: Any) -> types.ModuleType:
        module = types.ModuleType(spec.name)
        module.__path__ = []

        def anything(name: str) -> type:
            if name.startswith("__"):
                raise AttributeError(name)
            return type(name, (), {})

        module.__getattr__ = anything  # type: ignore[method-assign]
        return module

    def exec_module(self, module: types.ModuleType) -> None:
        pass


assert transformers.T5EncoderModel  # loaded before anything stands in
sys.meta_path.insert(0, Unused())

import audiocraft.modules.chroma as chroma_module  # noqa: E402
import audiocraft.modules.transformer as transformer_module  # noqa: E402
from audiocraft.models import builders  # noqa: E402
from audiocraft.modules import conditioners  # noqa: E402
from audiocraft.utils import export  # noqa: E402

transformer_module._is_profiled = lambda: False
transformer_module.ops = SimpleNamespace(unbind=torch.unbind)

CODEC = """
compression_model: encodec
sample_rate: 32000
channels: 1
encodec:
  autoencoder: seanet
  quantizer: rvq
  sample_rate: ${sample_rate}
  channels: ${channels}
  causal: false
  renormalize: false
seanet:
  dimension: 8
  channels: ${channels}
  causal: ${encodec.causal}
  n_filters: 2
  n_residual_layers: 1
  ratios: [8, 5, 4, 4]
  activation: ELU
  activation_params: {alpha: 1.0}
  norm: weight_norm
  norm_params: {}
  kernel_size: 7
  residual_kernel_size: 3
  last_kernel_size: 7
  dilation_base: 2
  pad_mode: constant
  true_skip: true
  compress: 2
  lstm: 1
  disable_norm_outer_blocks: 0
  decoder: {trim_right_ratio: 1.0, final_activation: null, final_activation_params: null}
  encoder: {}
rvq:
  n_q: 4
  q_dropout: false
  bins: 32
  decay: 0.99
  kmeans_init: true
  kmeans_iters: 5
  threshold_ema_dead_code: 2
  orthogonal_reg_weight: 0.0
  orthogonal_reg_active_codes_only: false
device: cpu
"""
LANGUAGE_MODEL = """
lm_model: transformer_lm
sample_rate: 32000
channels: 1
dtype: float32
device: cpu
compression_model_checkpoint: //pretrained/facebook/encodec_32khz
dataset: {segment_duration: 2}
codebooks_pattern: {modeling: delay, delay: {delays: [0, 1, 2, 3], flatten_first: 0, empty_initial: 0}}
interleave_stereo_codebooks: {use: false, per_timestep: false}
transformer_lm:
  dim: 16
  num_heads: 2
  num_layers: 2
  hidden_scale: 4
  n_q: 4
  card: 32
  dropout: 0.0
  emb_lr: null
  activation: gelu
  norm_first: true
  bias_ff: false
  bias_attn: false
  bias_proj: false
  past_context: null
  causal: true
  custom: true
  memory_efficient: false
  attention_as_float32: false
  layer_scale: null
  positional_embedding: sin
  xpos: false
  checkpointing: none
  weight_init: gaussian
  depthwise_init: current
  zero_bias_init: true
  norm: layer_norm
  cross_attention: false
  qk_layer_norm: false
  qk_layer_norm_cross: false
  attention_dropout: null
  kv_repeat: 1
  two_step_cfg: false
classifier_free_guidance: {training_dropout: 0.3, inference_coef: 3.0}
attribute_dropout: {}
fuser:
  cross_attention_pos_emb: false
  cross_attention_pos_emb_scale: 1
  sum: []
  prepend: []
  cross: [description]
  input_interpolate: []
conditioners:
  description:
    model: t5
    t5: {name: t5-base, finetune: false, word_dropout: 0.3, normalize_text: false}
"""
MELODY = """
channels: 2
codebooks_pattern: {delay: {delays: [0, 0, 1, 1, 2, 2, 3, 3]}}
interleave_stereo_codebooks: {use: true}
transformer_lm: {n_q: 8, memory_efficient: true}
fuser: {prepend: [self_wav, description], cross: []}
conditioners:
  self_wav:
    model: chroma_stem
    chroma_stem:
      sample_rate: ${sample_rate}
      n_chroma: 12
      radix2_exp: 14
      argmax: true
      match_len_on_eval: true
      eval_wavs: null
      n_eval_wavs: 100
      cache_path: null
"""
D_TEXT = 24


def spread(model: torch.nn.Module) -> None:
    """Make every weight large enough to matter."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or name.endswith("output_proj.bias"):
                parameter.add_(0.2 * torch.randn_like(parameter))
            else:
                parameter.copy_(0.4 * torch.randn_like(parameter))


def exported(model: torch.nn.Module, cfg: object, file: Path, how: Any) -> None:
    """Export a model as audiocraft's trainer saves it and its `export` makes a release of it."""
    raw = file.with_suffix(".th")
    torch.save({"best_state": {"model": model.state_dict()}, "fsdp_best_state": {}, "xp.cfg": cfg}, raw)
    with patch("torch.load", functools.partial(torch.load, weights_only=False)):
        how(raw, file)
    raw.unlink()


def codec(folder: Path) -> dict[str, torch.Tensor]:
    """Write a codec, and return what it makes of noise."""
    cfg = OmegaConf.create(CODEC)
    model = builders.get_compression_model(cfg)
    wave = 0.3 * torch.randn(1, 1, 3000)
    with torch.no_grad():
        model.train()
        model.quantizer(model.encoder(torch.randn(4, 1, 32_000)), 50)  # lays out the codebooks
    model.eval()
    exported(model, cfg, folder / "compression_state_dict.bin", export.export_encodec)
    with torch.no_grad():
        codes, _ = model.encode(wave)
        return {"wave": wave, "codes": codes, "decoded": model.decode(codes)}


def built(cfg: Any) -> Any:
    """Return audiocraft's language model, with nothings for T5 and Demucs."""
    nothing = SimpleNamespace(to=lambda device: nothing, train=lambda mode: nothing, sources=["vocals", "other"])
    loaded = SimpleNamespace(from_pretrained=lambda name: nothing)
    filters = SimpleNamespace(chroma=lambda sr, n_fft, tuning, n_chroma: np.zeros((n_chroma, n_fft // 2 + 1), "f"))
    plain = OmegaConf.merge(cfg, {"transformer_lm": {"memory_efficient": False}})  # xformers is not there
    with (
        patch.multiple(conditioners, T5Tokenizer=loaded, T5EncoderModel=loaded),
        patch("demucs.pretrained.get_model", lambda name: nothing),
        patch.object(chroma_module, "filters", filters),
        patch.dict(conditioners.T5Conditioner.MODELS_DIMS, {"t5-base": D_TEXT}),
    ):
        return builders.get_lm_model(plain).eval()


def language_model(folder: Path, cfg: Any, melody: bool) -> dict[str, torch.Tensor]:
    """Write a language model, and return its logits for what it is given."""
    model = built(cfg)
    spread(model)
    exported(model.half(), cfg, folder / "state_dict.bin", export.export_lm)
    model.float()  # what was stored is what computes
    states = torch.randn(1, 5, D_TEXT)
    given = model.condition_provider.conditioners
    heard = {"description": (given["description"].output_proj(states), torch.ones(1, 5))}
    known = {"states": states}
    if melody:
        chroma = torch.nn.functional.one_hot(torch.randint(12, (1, given["self_wav"].chroma_len)), 12).float()
        heard["self_wav"] = (given["self_wav"].output_proj(chroma), torch.ones(1, chroma.shape[1]))
        known["chroma"] = chroma
    sequence = torch.randint(0, 33, (1, model.n_q, 9))
    with torch.no_grad():
        logits = model(sequence, conditions=[], condition_tensors=heard)
    return known | {"sequence": sequence, "logits": logits}


def main(root: Path) -> None:
    """Write both families, and what a trainer pickles."""
    torch.manual_seed(0)
    text = OmegaConf.create(LANGUAGE_MODEL)
    melody = OmegaConf.merge(text, OmegaConf.create(MELODY))
    for kind, cfg in (("text", text), ("melody", melody)):
        folder = root / kind
        folder.mkdir(parents=True)
        known = language_model(folder, cfg, kind == "melody")
        if kind == "text":
            known |= codec(folder)
        else:
            export.export_pretrained_compression_model("facebook/encodec_32khz", folder / "compression_state_dict.bin")
        save_file({name: each.detach().contiguous() for name, each in known.items()}, folder / "known.safetensors")
    torch.save({"xp.cfg": melody, "best_state": {"model": {}}, "fsdp_best_state": {}}, root / "trained.th")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
