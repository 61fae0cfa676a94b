"""The engine on a CUDA GPU beside transformers' `generate` and a plain CUDA graph of the step, in one run.

    python benchmarks/gpu.py --size small --size medium --size melody --size large

Random weights at the true sizes, T5-base and the published codec's size; batch of one with guidance unless it says
otherwise. A step is 20 ms of audio. `floor` is the time to read all weights once at the bandwidth measured here.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
import transformers
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))

from engine_cpu import SIZES, STARTER, build, theirs

from musicgen_bridge.engine import Engine, Melody, Row, Sampling, config, weights
from musicgen_bridge.engine.cache import Cache
from musicgen_bridge.engine.codec import Codec
from musicgen_bridge.engine.conditioning import condition, null_chroma
from musicgen_bridge.engine.fused import FusedStep
from musicgen_bridge.engine.graphs import GraphedStep
from musicgen_bridge.engine.linear import Rounding, computed
from musicgen_bridge.engine.step import Step
from musicgen_bridge.engine.text import TextEncoder, load_tokenizer
from musicgen_bridge.engine.transformer import Condition, Transformer

FRAMES = (10, 750, 1490)
LENGTHS = ((1, 16.0), (4, 16.0), (1, 30.0))
"""Takes in a batch and their seconds: eight bars at 120 BPM, four variations of them, and the longest."""
PROMPT = "warm house chords with a rolling bass, 120 BPM"
TUNE = Melody(np.sin(np.arange(32_000 * 10, dtype=np.float32) * 0.08)[None], 32_000)


def engine_of(
    size: str, model: Any, c: config.ModelConfig, dtype: torch.dtype, *, fast: bool, rounding: Rounding = "none"
) -> Engine:
    """Return the engine of transformers' model, without a checkpoint on disk."""
    tensors = model.state_dict()

    def read(name: str, *shape: int) -> Tensor:
        return tensors[name]

    positions = c.chroma_length + 2_200
    lean = Transformer(weights.decoder(read, c, dtype, fast, rounding), c.decoder, positions)
    text = TextEncoder(load_tokenizer(STARTER, c.text), weights.text(read, c.text), c.text)
    prefix = "audio_encoder."
    codec = {name.removeprefix(prefix): tensor.float() for name, tensor in tensors.items() if name.startswith(prefix)}
    return Engine(size, c, text, lean, Codec.load(codec, c.codec, lean.device))


def timed(run: Callable[[], object], repeats: int = 40) -> float:
    """Return ms a run, by the device's clock."""
    for _ in range(3):
        run()
    first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    first.record()
    for _ in range(repeats):
        run()
    last.record()
    torch.cuda.synchronize()
    return first.elapsed_time(last) / repeats


def bandwidth() -> float:
    """Return bytes a millisecond that a sum over 4 GiB reads."""
    data = torch.randn(1 << 30, device="cuda")
    return data.nbytes / timed(data.sum, 10)


def hears(engine: Engine, batch: int = 1) -> Condition:
    """Return what `batch` guided rows of one prompt hear."""
    c = engine._config
    chroma = [null_chroma(c.chroma_length, c.chroma)] * batch if c.family == "melody" else None
    return condition(engine._model, [engine._text(PROMPT)] * batch, chroma, guided=True)


@torch.inference_mode()
def steps(engine: Engine, kind: type[Step] | type[FusedStep], batch: int = 1) -> list[float]:
    """Return ms a step at each of `FRAMES`."""
    model, heard = engine._model, hears(engine, batch)
    c, before = model.config, heard.prefix.shape[1]
    cache = Cache.allocate(c, 2 * batch, before + 1536, model.device, model.dtype)
    cache.data.normal_()
    sequence = torch.randint(c.vocab, (batch, c.codebooks, 1600), device=model.device)
    step = kind(model, heard, sequence, Sampling(), cache)
    advance = GraphedStep(step) if isinstance(step, Step) else step
    noise = torch.empty(batch, c.codebooks, c.vocab, device=model.device).exponential_()

    def at(frame: int) -> float:
        def run() -> None:
            if isinstance(step, Step):
                step.position.fill_(frame)
            advance(step.reach(frame + 1), noise)

        return timed(run)

    return [at(frame) for frame in FRAMES]


@torch.inference_mode()
def parity(engine: Engine, plain: Engine, exact: Transformer, frames: int = 100) -> float:
    """Return how far the kernel's logits are from float32, as a multiple of how far the portable path's are."""
    c, heard = engine._model.config, hears(engine)
    sequence = torch.randint(c.vocab, (1, c.codebooks, frames + 1), device="cuda")

    def at_once(model: Transformer) -> Tensor:
        cast = {name: getattr(heard, name) for name in ("prefix", "cross", "cross_mask")}
        mine = replace(heard, **{k: v.to(model.dtype) for k, v in cast.items() if v is not None})
        x = torch.cat([mine.prefix, model.embed(sequence[:, :, :-1]).repeat(2, 1, 1)], dim=1)
        position = torch.arange(x.shape[1], device="cuda")
        cache = Cache.allocate(c, 2, len(position), model.device, model.dtype)
        states = model.forward(x, position, len(position), model.mask(position, len(position), mine.start), cache, mine)
        return model.logits(states[:, -frames + 1 :].flatten(0, 1)).unflatten(0, (2, -1))

    cache = Cache.allocate(c, 2, heard.prefix.shape[1] + frames + 8, exact.device, engine.dtype)
    step = FusedStep(engine._model, heard, sequence, Sampling(), cache)
    step.prefill(1)
    logits = []
    for position in range(2, frames + 1):
        step(position, torch.ones(1, c.codebooks, c.vocab, device="cuda"))
        logits.append(step.logits.clone())
    wanted = at_once(exact)
    return float((torch.stack(logits, dim=1) - wanted).norm() / (at_once(plain._model) - wanted).norm())


def takes(engine: Engine) -> tuple[float, list[float], float]:
    """Return ms to the first audio (median of five), seconds for `LENGTHS`, ms from cancel to idle."""
    row, *others = (Row(PROMPT, seed, TUNE if engine.family == "melody" else None) for seed in range(4))
    engine.generate([row], 1.0, sampling=Sampling())
    first, cancelled = [], []

    def stop(audio: object) -> None:
        torch.cuda.synchronize()
        first.append(time.perf_counter() - began)
        raise StopIteration

    def cancel(done: int, total: int) -> None:
        if done == 300:
            cancelled.append(time.perf_counter())
            raise StopIteration

    for _ in range(5):
        began = time.perf_counter()
        with suppress(StopIteration):
            engine.generate([row], 16.0, sampling=Sampling(), on_audio=stop)
    with suppress(StopIteration):
        engine.generate([row], 16.0, sampling=Sampling(), on_step=cancel)
    torch.cuda.synchronize()
    cancelled.append(time.perf_counter())
    walls = []
    for rows, seconds in LENGTHS:
        engine.generate([row, *others][:rows], 1.0, sampling=Sampling())
        began = time.perf_counter()
        engine.generate([row, *others][:rows], seconds, sampling=Sampling())
        walls.append(time.perf_counter() - began)
    return 1000 * statistics.median(first), walls, 1000 * (cancelled[1] - cancelled[0])


@click.command()
@click.option("--size", "sizes", multiple=True, type=click.Choice(list(SIZES)), default=list(SIZES))
@click.option("--dtype", type=click.Choice(["float16", "bfloat16", "int8"]), default="float16", show_default=True)
@click.option("--peer-frames", default=40, show_default=True, help="Frames that transformers decodes.")
def main(sizes: tuple[str, ...], dtype: str, peer_frames: int) -> None:
    """Print the table."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    where, rate = torch.device("cuda:0"), bandwidth()
    kind, rounding = computed(dtype, where)
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    click.echo(f"{torch.cuda.get_device_name()}, {dtype}, {versions}; reads {rate / 1e9:.2f} TB/s")
    for size in sizes:
        model = build(size, where, torch.float32, filters=64)
        c = config.parse(model.config.to_dict())
        exact = engine_of(size, model, c, torch.float32, fast=False)._model
        plain = engine_of(size, model, c, kind, fast=False)
        fast = engine_of(size, model, c, kind, fast=True, rounding=rounding)
        ratio = parity(fast, plain, exact)
        del exact
        peer = theirs(model.to(kind), peer_frames)
        del model
        graph, ours, four = steps(plain, Step), steps(fast, FusedStep), steps(fast, FusedStep, batch=4)
        del plain
        torch.cuda.empty_cache()
        maps = [m for layer in fast._model.weights.layers for m in (layer.qkv, layer.out, layer.up, layer.down)]
        floor = sum(m.packed.nbytes for m in [*maps, fast._model.weights.heads]) / rate  # type: ignore[attr-defined]
        audible, (bars, variations, half_minute), idle = takes(fast)
        mean = statistics.mean(ours)
        click.echo(
            f"{size}: transformers {peer:.1f} ms a step; at frames {FRAMES}: graph {_listed(graph)}, "
            f"kernel {_listed(ours)}, four takes {_listed(four)}; floor {floor:.3f}\n"
            f"    {peer / mean:.0f} times transformers, {statistics.mean(graph) / mean:.2f} times the graph; "
            f"logits {ratio:.2f} times as far from float32 as the portable path's: "
            f"{'rounded' if dtype == 'int8' else 'pass' if ratio <= 1.1 else 'FAIL'}\n"
            f"    first audio {audible:.0f} ms, cancel to idle {idle:.0f} ms; eight bars at 120 BPM {bars:.2f} s, four "
            f"variations of them {variations:.2f} s, {variations / bars:.2f} times as long; 30 s {half_minute:.2f} s"
        )
        del fast
        torch.cuda.empty_cache()


def _listed(times: list[float]) -> str:
    return " / ".join(f"{each:.3f}" for each in times)


if __name__ == "__main__":
    main()
