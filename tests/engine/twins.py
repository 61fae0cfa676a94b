"""Tiny models of both families with random weights, made and saved by transformers, and our engine beside each."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import (
    AutoTokenizer,
    EncodecConfig,
    GenerationConfig,
    MusicgenConfig,
    MusicgenDecoderConfig,
    MusicgenForConditionalGeneration,
    MusicgenMelodyForConditionalGeneration,
    T5Config,
)

import musicgen_bridge
from musicgen_bridge.engine import Engine

STARTER = Path(musicgen_bridge.__file__).parent / "starter"
MODELS = {"musicgen": MusicgenForConditionalGeneration, "musicgen_melody": MusicgenMelodyForConditionalGeneration}
WORDS = Tokenizer.from_file(str(STARTER / "tokenizer.json")).get_vocab_size()
TEXT = T5Config(d_model=24, d_ff=32, d_kv=8, num_heads=2, num_layers=2, vocab_size=WORDS)
CODEC = EncodecConfig(
    sampling_rate=32_000,
    target_bandwidths=[1.2],
    codebook_size=64,
    codebook_dim=16,
    hidden_size=16,
    num_filters=4,
    num_lstm_layers=1,
    upsampling_ratios=[8, 5, 4, 4],
    norm_type="weight_norm",
    use_causal_conv=False,
    use_conv_shortcut=False,
)
DECODER = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "ffn_dim": 64,
    "pad_token_id": 64,
    "bos_token_id": 64,
    "initializer_factor": 0.3,
}


@dataclass
class Twin:
    """One checkpoint, as transformers and as the engine load it."""

    folder: Path
    model: Any
    engine: Engine
    tokenizer: Any

    def codes(self, prompt: str, frames: int, seed: int, **kwargs: Any) -> np.ndarray:
        """Return the codes [K, T] that transformers' `generate` draws, which it hands to its codec's `decode`."""
        lag = self.engine._decoder.lag
        seen: list[torch.Tensor] = []
        decode = self.model.audio_encoder.decode
        self.model.audio_encoder.decode = lambda codes, **rest: (seen.append(codes[0]), decode(codes, **rest))[1]
        torch.manual_seed(seed)
        try:
            self.model.generate(**self.inputs(prompt), max_new_tokens=frames + lag, **kwargs)
        finally:
            self.model.audio_encoder.decode = decode
        return torch.stack(seen, dim=2).flatten(1, 2)[0].numpy()  # stereo comes as left, then right

    def inputs(self, prompt: str) -> dict[str, torch.Tensor]:
        """Return what transformers' processor makes of a prompt."""
        return self.tokenizer([prompt], padding=True, return_tensors="pt")


def twin(folder: Path) -> Twin:
    """Load a folder twice."""
    engine = Engine.load(folder, "cpu", "float32")
    kind = "musicgen_melody" if engine.family == "melody" else "musicgen"
    model = MODELS[kind].from_pretrained(folder, dtype=torch.float32).eval()
    return Twin(folder, model, engine, AutoTokenizer.from_pretrained(folder))


def save(folder: Path, config: Any) -> Path:
    """Save a model of random weights, all of them large enough to matter."""
    torch.manual_seed(0)
    model = MODELS[config.model_type](config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "layer_norm" in name or "proj.bias" in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
            elif "dec_proj" in name:
                parameter.copy_(0.3 * torch.randn_like(parameter))
        spread_codebooks(model.audio_encoder)
    pad = config.decoder.pad_token_id
    model.generation_config = GenerationConfig(
        do_sample=True, pad_token_id=pad, bos_token_id=pad, decoder_start_token_id=pad, max_length=1500
    )
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(STARTER / name, folder)
    return folder


def spread_codebooks(codec: Any) -> None:
    """Lay the codebooks, which begin as zeros, over what the random encoder makes of noise."""
    latents = codec.encoder(torch.randn(1, 1, 64_000))[0]  # [D, T]
    centre, spread = latents.mean(1), latents.std(1)
    for layer in codec.quantizer.layers:
        layer.codebook.embed.copy_(centre + spread * torch.randn_like(layer.codebook.embed))
        centre = torch.zeros_like(centre)


def text_config(**changes: Any) -> MusicgenConfig:
    """Return the config of a tiny model of the text family."""
    decoder = MusicgenDecoderConfig(**DECODER | {"num_codebooks": 4} | changes)
    return MusicgenConfig(text_encoder=TEXT, audio_encoder=CODEC, decoder=decoder)


def tone(hertz: float, seconds: float, sample_rate: int = 32_000) -> np.ndarray:
    """Return a sine [1, N], float32."""
    time = np.arange(int(seconds * sample_rate)) / sample_rate
    return (0.3 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)[None]
