"""At the published sizes the names and shapes that come of Audiocraft's layout are those of transformers' models.

No weights are there: tensors without storage stand for them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import EncodecConfig as Codec
from transformers import (
    MusicgenConfig,
    MusicgenDecoderConfig,
    MusicgenForConditionalGeneration,
    MusicgenMelodyConfig,
    MusicgenMelodyDecoderConfig,
    MusicgenMelodyForConditionalGeneration,
    T5Config,
)

from musicgen_bridge.engine import audiocraft, weights
from musicgen_bridge.engine import config as configs
from musicgen_bridge.engine.checkpoint import Checkpoint, read_pickle

CAPTURED = Path(__file__).parent / "audiocraft"
META = torch.device("meta")
SIZES = {"small": (1024, 24, 16), "medium": (1536, 48, 24), "large": (2048, 48, 32)}
"""Hidden size, layers and heads (Copet et al. 2023); melody is of medium's size."""
T5_BASE = T5Config(d_model=768, d_ff=3072, d_kv=64, num_heads=12, num_layers=12, vocab_size=32_128)
CODEC = Codec(
    sampling_rate=32_000,
    target_bandwidths=[2.2],
    codebook_size=2048,
    num_filters=64,
    upsampling_ratios=[8, 5, 4, 4],
    use_causal_conv=False,
    use_conv_shortcut=False,
)


def theirs(size: str, channels: int, melody: bool) -> Any:
    """Return transformers' model, without storage."""
    hidden, layers, heads = SIZES[size]
    sizes: dict[str, Any] = {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "ffn_dim": 4 * hidden,
        "num_codebooks": 4 * channels,
        "audio_channels": channels,
    }
    with META:
        if melody:
            decoder = MusicgenMelodyDecoderConfig(**sizes)
            return MusicgenMelodyForConditionalGeneration(
                MusicgenMelodyConfig(text_encoder=T5_BASE, audio_encoder=CODEC, decoder=decoder)
            )
        decoder = MusicgenDecoderConfig(**sizes)
        return MusicgenForConditionalGeneration(
            MusicgenConfig(text_encoder=T5_BASE, audio_encoder=CODEC, decoder=decoder)
        )


def audiocraft_s(size: str, channels: int, melody: bool) -> dict[str, torch.Tensor]:
    """Return what audiocraft has at that size: the names of its tiny checkpoint, with as many layers and books."""
    hidden, layers, _ = SIZES[size]
    books = 4 * channels
    captured = read_pickle(CAPTURED / ("melody" if melody else "text") / "state_dict.bin")["best_state"]
    grown = {16: hidden, 48: 3 * hidden, 64: 4 * hidden, 33: 2049, 32: 2048, 24: 768, 12: 12}
    state: dict[str, torch.Tensor] = {}
    for name, tensor in captured.items():
        if "spec.window" in name:
            state[name] = tensor
            continue
        shape = [grown[side] for side in tensor.shape]
        count = (
            layers
            if name.startswith("transformer.layers.0.")
            else books
            if re.match(r"(emb|linears)\.0\.", name)
            else 0
        )
        names = [name.replace(".0.", f".{index}.", 1) for index in range(count)] if count else [name]
        if not re.match(r"(transformer\.layers|emb|linears)\.[1-9]", name):
            state |= {one: torch.empty(shape, device=META) for one in names}
    return state


MODELS = [("small", 1, False), ("melody", 1, True), ("large", 2, False), ("melody", 2, True)]


@pytest.mark.parametrize(
    ("alias", "channels", "melody"), MODELS, ids=["small", "melody", "stereo-large", "stereo-melody"]
)
def test_names_and_shapes_are_transformers_own(alias: str, channels: int, melody: bool) -> None:
    size = "medium" if alias == "melody" else alias
    model = theirs(size, channels, melody)
    wanted = {
        name: tuple(tensor.shape)
        for name, tensor in model.state_dict().items()
        if not name.startswith(("text_encoder.", "audio_encoder.")) and "embed_positions" not in name
    }
    ours = audiocraft._language_model(audiocraft_s(size, channels, melody), META)
    assert {name: tuple(read().shape) for name, read in ours.items()} == wanted
    rest = {
        name: lambda tensor=tensor: tensor
        for name, tensor in model.state_dict().items()
        if name.startswith("text_encoder.")
    }
    values = model.config.to_dict()
    config = configs.parse(values)
    checkpoint = Checkpoint(values, {**ours, **rest}, CAPTURED, ())
    decoder = weights.decoder(checkpoint, config, torch.float16)
    assert len(decoder.layers) == SIZES[size][1]
    assert decoder.embedding.shape == (4 * channels * 2049, SIZES[size][0])
    assert len(weights.text(checkpoint, config.text).layers) == 12
