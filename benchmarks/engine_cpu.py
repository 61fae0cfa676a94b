"""Milliseconds a step of our decode beside transformers' `generate`, batch of one with guidance, in one run.

    python benchmarks/engine_cpu.py                                  the starter and `small`, on one thread of the CPU
    python benchmarks/engine_cpu.py --size small --dtype float32 --dtype int8 --threads 2
    python benchmarks/engine_cpu.py --device cuda --size small --size large --frames 500

`small`, `medium`, `large` and `melody` have random weights at the true sizes, with T5-base; steps take as long as with
the real ones. The codec takes no part. A step is 20 ms of audio. transformers computes in float32 on the CPU and in
float16 on CUDA; the two take turns, and the least of `--repeats` counts. On one thread it is the CPU's time that is
counted, so that other processes spoil it less.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch
import transformers
from transformers import (
    EncodecConfig,
    GenerationConfig,
    MusicgenConfig,
    MusicgenDecoderConfig,
    MusicgenForConditionalGeneration,
    MusicgenMelodyConfig,
    MusicgenMelodyDecoderConfig,
    MusicgenMelodyForConditionalGeneration,
    StoppingCriteria,
    T5Config,
)

import musicgen_bridge
from musicgen_bridge.engine import Sampling, config, weights
from musicgen_bridge.engine.cache import Cache
from musicgen_bridge.engine.conditioning import condition, null_chroma
from musicgen_bridge.engine.decode import decode
from musicgen_bridge.engine.layouts import opened
from musicgen_bridge.engine.linear import computed, roundings
from musicgen_bridge.engine.pattern import UNKNOWN
from musicgen_bridge.engine.sampler import Noise
from musicgen_bridge.engine.transformer import Transformer
from musicgen_bridge.pipe import ENVIRONMENT

STARTER = Path(musicgen_bridge.__file__).parent / "starter"
SIZES = {"small": (24, 1024, 16), "medium": (48, 1536, 24), "large": (48, 2048, 32), "melody": (48, 1536, 24)}
"""Layers, hidden size and heads; the feed-forward layer is four times as wide (Copet et al. 2023)."""
TOKENS = torch.arange(3, 23)[None]
"""Stands for a prompt of twenty tokens."""


class Clock(StoppingCriteria):
    """Takes the time from the end of the first step to the end of the last; never stops anything."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._now = time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
        self._times: list[float] = []

    def __call__(self, input_ids: torch.Tensor | None = None, scores: Any = None, **rest: Any) -> Any:
        if self._device.type == "cuda" and len(self._times) == 0:
            torch.cuda.synchronize()
        self._times.append(self._now())
        return torch.zeros(0 if input_ids is None else len(input_ids), dtype=torch.bool, device=self._device)

    def ms_a_step(self) -> float:
        """Return the mean."""
        if self._device.type == "cuda":
            torch.cuda.synchronize()
            self._times[-1] = self._now()
        return 1000 * (self._times[-1] - self._times[0]) / (len(self._times) - 1)


def build(size: str, device: torch.device, dtype: torch.dtype, filters: int = 4) -> Any:
    """Return transformers' model of a size, its codec with `filters`, 64 in the published one."""
    kinds = {False: MusicgenForConditionalGeneration, True: MusicgenMelodyForConditionalGeneration}
    if size == "starter":
        return kinds[True].from_pretrained(STARTER, dtype=dtype).to(device).eval()
    layers, hidden, heads = SIZES[size]
    decoder = {
        "num_hidden_layers": layers,
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "ffn_dim": 4 * hidden,
        "vocab_size": 2048,
    }
    text = T5Config(d_model=768, d_ff=3072, num_layers=12, num_heads=12, d_kv=64, vocab_size=32_128)
    codec = EncodecConfig(
        sampling_rate=32_000,
        target_bandwidths=[2.2],
        codebook_size=2048,
        num_filters=filters,
        upsampling_ratios=[8, 5, 4, 4],
        use_causal_conv=False,
        use_conv_shortcut=False,
    )
    if size == "melody":
        whole: Any = MusicgenMelodyConfig(
            text_encoder=text, audio_encoder=codec, decoder=MusicgenMelodyDecoderConfig(**decoder)
        )
    else:
        whole = MusicgenConfig(text_encoder=text, audio_encoder=codec, decoder=MusicgenDecoderConfig(**decoder))
    with device:
        model = kinds[size == "melody"](whole).to(dtype).eval()
    model.generation_config = GenerationConfig(pad_token_id=2048, bos_token_id=2048, decoder_start_token_id=2048)
    return model


def theirs(model: Any, frames: int) -> float:
    """Return ms a step of transformers' `generate`."""
    clock = Clock(model.device)
    ids = TOKENS.to(model.device)
    model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        do_sample=True,
        top_k=250,
        guidance_scale=3.0,
        max_new_tokens=frames + 3,
        stopping_criteria=[clock],
    )
    return clock.ms_a_step()


def our_weights(size: str, model: Any, c: config.ModelConfig, dtype: str) -> weights.DecoderWeights:
    """Return what the engine would load: the starter as it is stored, else the model's random weights."""
    kind, rounding = computed(dtype, model.device)
    if size == "starter":
        with opened(STARTER, model.device) as checkpoint:
            return weights.decoder(checkpoint, c, kind, rounding=rounding)
    tensors = model.state_dict()
    return weights.decoder(lambda name, *shape: tensors[name], c, kind, rounding=rounding)


@torch.inference_mode()
def prepare(size: str, model: Any, frames: int, dtype: str) -> Callable[[], float]:
    """Return what measures ms a step of our decode, of the same weights, hearing the same text."""
    c = config.parse(model.config.to_dict())
    lean = Transformer(our_weights(size, model, c, dtype), c.decoder, c.chroma_length + frames + 64)
    states = model.text_encoder(input_ids=TOKENS.to(model.device)).last_hidden_state[0]
    chroma = [null_chroma(c.chroma_length, c.chroma)] if c.family == "melody" else None
    heard = condition(lean, [states], chroma, guided=True)
    cache = Cache.allocate(c.decoder, 2, heard.prefix.shape[1] + frames + 256, lean.device, lean.dtype)
    codes = torch.full((1, c.decoder.codebooks, frames), UNKNOWN, device=lean.device)

    def measure() -> float:
        clock = Clock(lean.device)
        noise = Noise([0], c.decoder.codebooks, c.decoder.vocab, lean.device)
        decode(lean, heard, codes, Sampling(), noise, cache, clock)
        return clock.ms_a_step()

    return measure


@click.command()
@click.option("--size", "sizes", multiple=True, type=click.Choice(["starter", *SIZES]), default=["starter", "small"])
@click.option("--device", default="cpu", show_default=True)
@click.option("--frames", default=100, show_default=True, help="Frames of codes that each decodes.")
@click.option("--repeats", default=3, show_default=True, help="The best of so many counts.")
@click.option("--threads", default=1, show_default=True, help="Of the CPU.")
@click.option("--dtype", "dtypes", multiple=True, default=["auto", "int8"], show_default=True, help="Ours.")
def main(sizes: tuple[str, ...], device: str, frames: int, repeats: int, threads: int, dtypes: tuple[str, ...]) -> None:
    """Print ms a step of our decode beside transformers' `generate`."""
    torch.set_num_threads(threads)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    where = torch.device(device)
    theirs_in = torch.float16 if where.type == "cuda" else torch.float32
    dtypes = tuple(dtype for dtype in dtypes if dtype != "int8" or ("int8" in roundings() and where.type == "cpu"))
    name = torch.cuda.get_device_name() if where.type == "cuda" else f"{threads} of {os.cpu_count()} CPU threads"
    click.echo(f"{name}, torch {torch.__version__}, transformers {transformers.__version__}, {frames} frames")
    click.echo(
        f"{'':8}  {'ours in':8}  {'transformers':>12}  {'ours':>8}  {'ratio':>5}  {'steps a second':>14}   (ms a step)"
    )
    for size in sizes:
        model = build(size, where, theirs_in)
        measures = [prepare(size, model, frames, dtype) for dtype in dtypes]
        rounds = [(theirs(model, frames), *(measure() for measure in measures)) for _ in range(repeats)]
        slow, *fast = (min(times) for times in zip(*rounds, strict=True))
        for dtype, ms in zip(dtypes, fast, strict=True):
            click.echo(f"{size:8}  {dtype:8}  {slow:12.2f}  {ms:8.2f}  {slow / ms:5.1f}  {1000 / ms:14.1f}")
        del model, measures


if __name__ == "__main__":
    if ENVIRONMENT.keys() <= os.environ.keys():
        main()
    else:  # both in a process that was started as the worker is
        sys.exit(subprocess.run([sys.executable, *sys.argv], env={**ENVIRONMENT, **os.environ}, check=False).returncode)
