"""What the published models weigh, and that both layouts of one give the same function at its true size.

    python benchmarks/layouts.py --size small

The table counts transformers' own models, without storage. Then random weights at the true size are written twice, as
transformers saves them and as Audiocraft does, with T5-base and the codec beside; both are loaded, and give logits and
codes, which are held against each other and the logits against transformers'. `small` takes 8 GB of memory and disk.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import yaml
from torch import Tensor
from transformers import EncodecModel, T5EncoderModel

sys.path.insert(0, str(Path(__file__).parent))

from engine_cpu import STARTER, TOKENS, build

from musicgen_bridge.engine import Engine, Row, Sampling
from musicgen_bridge.engine.cache import Cache
from musicgen_bridge.engine.conditioning import condition

CAPTURED = Path(__file__).parents[1] / "tests" / "engine" / "audiocraft" / "text" / "state_dict.bin"
RENAMED = (
    (r"^decoder\.model\.decoder\.embed_tokens\.", "emb."),
    (r"^decoder\.model\.decoder\.layers\.", "transformer.layers."),
    (r"^decoder\.model\.decoder\.layer_norm\.", "out_norm."),
    (r"^decoder\.lm_heads\.", "linears."),
    (r"\.encoder_attn\.", ".cross_attention."),
    (r"\.self_attn_layer_norm\.", ".norm1."),
    (r"\.encoder_attn_layer_norm\.", ".norm_cross."),
    (r"\.final_layer_norm\.", ".norm2."),
    (r"\.fc1\.", ".linear1."),
    (r"\.fc2\.", ".linear2."),
    (r"^enc_to_dec_proj\.", "condition_provider.conditioners.description.output_proj."),
)
PUBLISHED = {
    "small": ("small", 1, 4),
    "medium": ("medium", 1, 4),
    "melody": ("melody", 1, 4),
    "large": ("large", 1, 4),
    "stereo-small": ("small", 2, 2),
    "stereo-medium": ("medium", 2, 2),
    "stereo-melody": ("melody", 2, 4),
    "stereo-large": ("large", 2, 2),
}
"""Size, channels, and bytes a parameter of the file on the hub."""


def table() -> None:
    """Print what each published model has to fetch, and what its weights take on a GPU."""
    for alias, (size, channels, width) in PUBLISHED.items():
        model = build(size, torch.device("meta"), torch.float32, 64)
        c = model.config.decoder
        more = (channels - 1) * c.num_codebooks * (2 * c.vocab_size + 1) * c.hidden_size  # embeddings and heads
        rest = sum(each.numel() for part in (model.text_encoder, model.audio_encoder) for each in part.parameters())
        rest += sum(layer.codebook.embed.numel() for layer in model.audio_encoder.quantizer.layers)
        decoder = sum(each.numel() for each in model.decoder.parameters()) + more
        whole, memory = decoder + rest, 2 * decoder + 4 * rest
        click.echo(f"{alias:<14} {whole / 1e6:6.0f} M  file {whole * width / 1e9:5.1f} GB  GPU {memory / 1e9:4.1f} GB")


def as_audiocraft(model: Any, folder: Path) -> None:
    """Write the language model of transformers' `model` as Audiocraft exports it, and name the rest."""
    state: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        if name.startswith(("text_encoder.", "audio_encoder.")) or "embed_positions" in name:
            continue
        for pattern, new in RENAMED:
            name = re.sub(pattern, new, name)
        state[name] = tensor
    for name in [name for name in state if name.endswith("q_proj.weight")]:
        parts = [state.pop(name.replace("q_proj", f"{part}_proj")) for part in "qkv"]
        state[name.replace("q_proj.weight", "in_proj_weight")] = torch.cat(parts)
    settings = yaml.safe_load(torch.load(CAPTURED, weights_only=True)["xp.cfg"])
    c = model.config.decoder
    settings["transformer_lm"] |= {"dim": c.hidden_size, "num_heads": c.num_attention_heads}
    settings["transformer_lm"] |= {"num_layers": c.num_hidden_layers, "card": c.vocab_size}
    folder.mkdir()
    torch.save({"best_state": state, "xp.cfg": yaml.safe_dump(settings)}, folder / "state_dict.bin")
    torch.save({"pretrained": "facebook/encodec_32khz"}, folder / "compression_state_dict.bin")


def logits(engine: Engine, codes: Tensor, states: Tensor) -> Tensor:
    """Return the logits [K, T, V] after `codes` [1, K, T], conditioned on text `states` [S, d]."""
    model = engine._model
    with torch.inference_mode():
        heard = condition(model, [states], None, guided=False)
        x, position = model.embed(codes), torch.arange(codes.shape[2])
        cache = Cache.allocate(model.config, 1, len(position), model.device, model.dtype)
        mask = model.mask(position, len(position), heard.start)
        return model.logits(model.forward(x, position, len(position), mask, cache, heard)[0]).transpose(0, 1)


def prove(size: str, folder: Path) -> None:
    """Write a model twice, load both, and print how far they are apart."""
    torch.manual_seed(0)
    model = build(size, torch.device("cpu"), torch.float32, 64).requires_grad_(False)
    for layer in model.audio_encoder.quantizer.layers:
        layer.codebook.embed.normal_()
    ours = {"hub": folder / "hub", "audiocraft": folder / "audiocraft"}
    model.save_pretrained(ours["hub"])
    shutil.copy(STARTER / "tokenizer.json", ours["hub"])
    as_audiocraft(model, ours["audiocraft"])
    beside = {"google-t5/t5-base": folder / "t5", "facebook/encodec_32khz": folder / "codec"}
    T5EncoderModel.save_pretrained(model.text_encoder, beside["google-t5/t5-base"])
    shutil.copy(STARTER / "tokenizer.json", beside["google-t5/t5-base"])
    EncodecModel.save_pretrained(model.audio_encoder, beside["facebook/encodec_32khz"])
    codes = torch.randint(0, 2049, (1, 4, 20))
    with torch.inference_mode():
        states = model.text_encoder(TOKENS).last_hidden_state
        theirs = model.decoder(codes[0], encoder_hidden_states=model.enc_to_dec_proj(states)).logits
    del model
    found = {}
    for name, where in ours.items():
        engine = Engine.load(where, "cpu", "float32", find=beside.__getitem__)
        take = engine.generate([Row("house chords", 7)], 0.2, sampling=Sampling())
        found[name] = (logits(engine, codes, states[0]), take.codes, take.audio)
        off = (found[name][0] - theirs).abs().max() / theirs.abs().max()
        click.echo(f"{size}, {name}: logits off transformers' by {off:.1e} of their scale")
        del engine
    same = [torch.equal(*(one[0] for one in found.values()))]
    same += [np.array_equal(*(one[index] for one in found.values())) for index in (1, 2)]
    click.echo(f"{size}: both layouts give the same logits, codes, audio: {same}")
    if not all(same):
        raise SystemExit(1)


@click.command()
@click.option("--size", type=click.Choice(["small", "medium", "large"]), help="write, load and compare this one too")
def main(size: str | None) -> None:
    """Print the table, and the proof of one size."""
    table()
    if size:
        with tempfile.TemporaryDirectory() as folder:
            prove(size, Path(folder))


if __name__ == "__main__":
    main()
