"""A tiny random model, so that what calls an engine can be tested in moments."""

from __future__ import annotations

import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor

from musicgen_bridge.engine import config as configs
from musicgen_bridge.engine import weights
from musicgen_bridge.engine.codec import Codec
from musicgen_bridge.engine.codec_config import CodecConfig
from musicgen_bridge.engine.device import device_called
from musicgen_bridge.engine.engine import Engine
from musicgen_bridge.engine.text import MAX_TOKENS, TextEncoder
from musicgen_bridge.engine.transformer import Transformer

_WIDTH = 16
_CONFIG: configs.Json = {
    "model_type": "musicgen",
    "decoder": {
        "hidden_size": _WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "ffn_dim": 4 * _WIDTH,
        "vocab_size": 400,
        "num_codebooks": 4,
    },
    "text_encoder": {
        "d_model": _WIDTH,
        "num_layers": 1,
        "num_heads": 2,
        "d_kv": 8,
        "d_ff": _WIDTH,
        "vocab_size": 256,
        "relative_attention_num_buckets": 32,
    },
    "audio_encoder": {
        "sampling_rate": 32_000,
        "target_bandwidths": [0.9],  # four codes of nine bits, 25 times a second
        "hidden_size": 32,
        "num_filters": 4,
        "upsampling_ratios": [10, 8, 16],
        "codebook_size": 400,
        "use_causal_conv": False,
        "use_conv_shortcut": False,
    },
}
"""The sizes of audiocraft's `get_debug_lm_model` and `get_debug_compression_model`."""


def debug_engine(device: str = "auto") -> Engine:
    """Return an engine of the text family, 25 frames a second at 32 kHz, whose weights torch's generator draws.

    Raises ArgumentError where the device is not there.
    """
    where = device_called(device)
    config = configs.parse(_CONFIG)
    sizes = CodecConfig.from_json(config.codec)
    codec = Codec(sizes)
    codec.quantizer.embed.normal_()
    positions = MAX_TOKENS + int(config.window * sizes.frame_rate) + config.decoder.codebooks

    def drawn(name: str, *shape: int) -> Tensor:
        return torch.randn(shape).mul(shape[-1] ** -0.5).to(where)

    tokenizer = Tokenizer(BPE({byte: index for index, byte in enumerate(sorted(ByteLevel.alphabet()))}, []))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    text = TextEncoder(tokenizer, weights.text(drawn, config.text), config.text)
    model = Transformer(weights.decoder(drawn, config, torch.float32), config.decoder, positions)
    return Engine("debug", config, text, model, codec.to(where).requires_grad_(False).eval())
