"""Decoding at once, as the codes come, and in transformers: speed, latency of the first audio, largest difference.

    uv run python benchmarks/codec_stream.py [--device cpu] [--seconds 4] [--repeats 5]

Two codecs: the starter's, with its weights, and one of facebook/musicgen's sizes with random weights.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import EncodecConfig, EncodecModel

import musicgen_bridge
from musicgen_bridge.engine.codec import Codec

CHUNKS = (5, 25)


def starter() -> EncodecModel:
    """Return transformers' codec with the starter's weights."""
    folder = Path(musicgen_bridge.__file__).parent / "starter"
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))["audio_encoder"]
    prefix = "audio_encoder."
    tensors = load_file(folder / "model.safetensors")
    model = EncodecModel(EncodecConfig(**config))
    model.load_state_dict({name.removeprefix(prefix): x for name, x in tensors.items() if name.startswith(prefix)})
    return model


def stock() -> EncodecModel:
    """Return transformers' codec at the sizes of facebook/musicgen, with random weights."""
    torch.manual_seed(0)
    model = EncodecModel(
        EncodecConfig(
            sampling_rate=32_000,
            target_bandwidths=[2.2],
            num_filters=64,
            upsampling_ratios=[8, 5, 4, 4],
            codebook_size=2048,
            use_causal_conv=False,
            use_conv_shortcut=False,
        )
    )
    for layer in model.quantizer.layers:
        layer.codebook.embed.normal_()
    return model


def streamed(codec: Codec, codes: Tensor, chunk: int) -> Tensor:
    """Return the audio of `codes` [1, K, T] pushed `chunk` frames at a time."""
    stream, frames = codec.stream(1, alike=True), codes.shape[-1]
    pushed = [stream.push(codes[..., at : at + chunk], at + chunk >= frames) for at in range(0, frames, chunk)]
    return torch.cat(pushed, dim=-1)


def frames_to_first_audio(codec: Codec, codes: Tensor) -> int:
    """Return how many frames of codes are in when the first audio comes out."""
    stream = codec.stream(1)
    return next(at for at in range(1, codes.shape[-1]) if stream.push(codes[..., at - 1 : at]).shape[-1])


def wait(device: torch.device) -> None:
    """Wait until `device` has done its work."""
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()


def median_ms(decode: Callable[[], Tensor], device: torch.device, repeats: int) -> float:
    """Return the median of `repeats` timed calls, after one that warms up."""
    times = []
    for _ in range(repeats + 1):
        wait(device)
        start = time.perf_counter()
        decode()
        wait(device)
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[1:])


@torch.no_grad()
def measure(name: str, model: EncodecModel, device: torch.device, seconds: float, repeats: int) -> None:
    """Print one codec's table."""
    model = model.to(device).eval()
    codec = Codec.load(model.state_dict(), model.config.to_dict(), device)
    frames = int(seconds * codec.frame_rate)
    codes = torch.randint(codec.codebook_size, (1, codec.codebooks, frames), device=device)
    ways: dict[str, Callable[[], Tensor]] = {
        "transformers": lambda: model.decode(codes[None], [None]).audio_values,
        "at once": lambda: codec.decode(codes),
    }
    for chunk in CHUNKS:
        ways[f"stream, {chunk} frames a push"] = lambda chunk=chunk: streamed(codec, codes, chunk)
    whole = codec.decode(codes)
    print(f"\n{name}: {seconds:g} s, peak {float(whole.abs().max()):.3f}, "
          f"first audio after {frames_to_first_audio(codec, codes)} frames of codes")  # fmt: skip
    print(f"{'':26}{'ms per s of audio':>20}{'ms per push':>14}{'max difference to at once':>28}")
    for way, decode in ways.items():
        difference = float((decode() - whole).abs().max())
        ms = median_ms(decode, device, repeats)
        pushes = -(-frames // int(way.split()[1])) if way.startswith("stream") else 1
        print(f"{way:26}{ms / seconds:20.2f}{ms / pushes:14.2f}{difference:28.1e}")


def main() -> None:
    """Read the options and measure both codecs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"), help="cuda, mps or cpu")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of the take")
    parser.add_argument("--repeats", type=int, default=5, help="timed calls, of which the median counts")
    options = parser.parse_args()
    chip = torch.cuda.get_device_name() if options.device.type == "cuda" else platform.processor() or platform.machine()
    print(f"{options.device} ({chip}), torch {torch.__version__}, fp32, {torch.get_num_threads()} threads")
    measure("starter", starter(), options.device, options.seconds, options.repeats)
    measure("facebook/musicgen sizes", stock(), options.device, options.seconds, options.repeats)


if __name__ == "__main__":
    main()
