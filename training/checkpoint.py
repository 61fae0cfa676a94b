"""Writes a language model, a codec and the tokenizer as one stock MusicGen-Melody folder, and reads it back."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from safetensors.torch import load_file, save_file
from transformers import EncodecConfig, EncodecModel, GenerationConfig, MusicgenMelodyConfig, PreTrainedTokenizerFast
from transformers.models.musicgen_melody.configuration_musicgen_melody import MusicgenMelodyDecoderConfig

from training.model import BOOKS, CODES, LanguageModel, Size, stock_views
from training.prompts import SPECIAL, build_tokenizer
from training.render import CHROMA_FRAMES

SIZE_LIMIT = 24 * 2**20
"""What the checkpoint may weigh in all its files, in bytes."""


NAMES = ("pad_token", "eos_token", "unk_token")


def codec_config() -> EncodecConfig:
    """Return a 32 kHz, 50 Hz EnCodec of four books of 1024; 2 kbit/s is what makes the books four."""
    return EncodecConfig(
        target_bandwidths=[2.0], sampling_rate=32_000, audio_channels=1, normalize=False, chunk_length_s=None,
        overlap=None, hidden_size=64, num_filters=16, num_residual_layers=1, upsampling_ratios=[8, 5, 4, 4],
        norm_type="weight_norm", kernel_size=7, last_kernel_size=7, residual_kernel_size=3, dilation_growth_rate=2,
        use_causal_conv=False, pad_mode="reflect", compress=2, num_lstm_layers=1, trim_right_ratio=1.0,
        codebook_size=CODES, codebook_dim=64, use_conv_shortcut=False,
    )  # fmt: skip


def load_codec(path: Path) -> EncodecModel:
    """Return the codec of a checkpoint folder or of a safetensors file, in float32."""
    weights = load_file(path / "model.safetensors" if path.is_dir() else path)
    own = {k.removeprefix("audio_encoder."): v.float() for k, v in weights.items() if k.startswith("audio_encoder.")}
    codec = EncodecModel(codec_config())
    codec.load_state_dict(own)
    return codec.eval()


def save_codec(codec: EncodecModel, path: Path) -> None:
    """Write the codec's weights in half precision to one safetensors file, which appears complete."""
    unfinished = path.with_suffix(".part")
    save_file({f"audio_encoder.{k}": v.half().cpu().contiguous() for k, v in codec.state_dict().items()}, unfinished)
    unfinished.replace(path)


def stock_config(size: Size) -> MusicgenMelodyConfig:
    """Return the configuration of the whole checkpoint."""
    decoder = MusicgenMelodyDecoderConfig(
        vocab_size=CODES, hidden_size=size.width, num_hidden_layers=size.layers, num_attention_heads=size.heads,
        ffn_dim=size.feed_forward, dropout=0.0, max_position_embeddings=2048, num_codebooks=BOOKS, audio_channels=1,
        pad_token_id=CODES, bos_token_id=CODES, activation_function="gelu", scale_embedding=False,
    )  # fmt: skip
    return MusicgenMelodyConfig(
        text_encoder=size.t5().to_dict(), audio_encoder=codec_config().to_dict(), decoder=decoder.to_dict(),
        num_chroma=12, chroma_length=CHROMA_FRAMES, architectures=["MusicgenMelodyForConditionalGeneration"],
        dtype="float32", opens_on_downbeat=True,
    )  # fmt: skip


def save_checkpoint(model: LanguageModel, codec: EncodecModel, folder: Path) -> int:
    """Write the folder and return its size in bytes: half-precision weights under a float32 configuration."""
    folder.mkdir(parents=True)
    weights = stock_views(model) | {f"audio_encoder.{k}": v for k, v in codec.state_dict().items()}
    halves = {k: v.detach().cpu().half().contiguous() for k, v in weights.items()}
    save_file(halves, folder / "model.safetensors", metadata={"format": "pt"})
    stock_config(model.size).save_pretrained(folder)
    GenerationConfig(
        do_sample=True, guidance_scale=3.0, max_length=1500, top_k=50, pad_token_id=CODES, bos_token_id=CODES,
        decoder_start_token_id=CODES,
    ).save_pretrained(folder)  # fmt: skip
    PreTrainedTokenizerFast(
        tokenizer_object=build_tokenizer(), model_max_length=64, **dict(zip(NAMES, SPECIAL, strict=True))
    ).save_pretrained(folder)
    return sum(file.stat().st_size for file in folder.iterdir())


def read_weights(model: LanguageModel, path: Path) -> None:
    """Set the language model's weights from a safetensors file under stock names."""
    weights = load_file(path)
    for name, own in stock_views(model).items():
        own.copy_(weights[name])


def load_model(folder: Path) -> LanguageModel:
    """Return the language model of a checkpoint folder, in float32."""
    config = json.loads((folder / "config.json").read_text())
    decoder, text = config["decoder"], config["text_encoder"]
    size = Size(
        decoder["hidden_size"], decoder["num_hidden_layers"], decoder["num_attention_heads"], decoder["ffn_dim"],
        text["d_model"], text["num_layers"], text["num_heads"], text["vocab_size"],
    )  # fmt: skip
    model = LanguageModel(size)
    read_weights(model, folder / "model.safetensors")
    return model.eval()


def main() -> None:
    """Join a trained language model and a codec into one checkpoint folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("decoder", type=Path, help="decoder.safetensors of training.decoder")
    parser.add_argument("codec", type=Path, help="codec safetensors or a checkpoint folder")
    parser.add_argument("folder", type=Path, help="new folder")
    o = parser.parse_args()
    model = LanguageModel(Size())
    read_weights(model, o.decoder)
    size = save_checkpoint(model, load_codec(o.codec), o.folder)
    print(f"{o.folder}: {size} bytes, {size / SIZE_LIMIT:.1%} of the limit")


if __name__ == "__main__":
    main()
