"""How long a model takes to load, and how much memory at most: while it loads, and while it renders 30 s.

    python benchmarks/memory.py                                             the starter, on the CPU or the GPU there is
    python benchmarks/memory.py --size small --size large --dtype bfloat16

Other sizes than the starter are random weights at the true sizes, written to a folder first, as float16. On CUDA the
figures are torch's own count of what its tensors hold; on the CPU, of the whole process beyond what it had before.
Each size has a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import click
import psutil

sys.path.insert(0, str(Path(__file__).parent))

SIZES = ("starter", "small", "medium", "melody", "large")
_CHILD = "--child"


class Peak:
    """The most that this process has held since it was made: on CUDA torch's tensors, else all that it holds."""

    def __init__(self, on_cuda: bool) -> None:
        import torch

        self._torch, self._on_cuda = torch, on_cuda
        self._most, self._over = 0, threading.Event()
        if on_cuda:
            torch.cuda.reset_peak_memory_stats()
        else:
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(0.005):
            self._most = max(self._most, _resident())

    def bytes(self) -> int:
        """Return it."""
        if self._on_cuda:
            return int(self._torch.cuda.max_memory_allocated())
        self._over.set()
        self._thread.join()
        return self._most


def _resident() -> int:
    """Return the bytes that this process holds; not the pages of a file, such as a model's, which cost nothing."""
    held = psutil.Process().memory_info()
    return held.rss - getattr(held, "shared", 0)


def measure(folder: Path, device: str, dtype: str, seconds: float) -> dict[str, float]:
    """Return seconds to load, and bytes: of the process before, at most while loading, then, and while rendering."""
    from musicgen_bridge.engine import Engine, Row, Sampling
    from musicgen_bridge.engine.device import device_called

    on_cuda = device_called(device).type == "cuda"
    before = 0 if on_cuda else _resident()
    peak, began = Peak(on_cuda), time.perf_counter()
    engine = Engine.load(folder, device, dtype)
    engine.wait()
    took, loading = time.perf_counter() - began, peak.bytes()
    held = Peak(on_cuda)
    time.sleep(0.05)
    stays = held.bytes()
    host = _resident()
    peak = Peak(on_cuda)
    engine.generate([Row("warm house chords with a rolling bass, 120 BPM", 1)], seconds, sampling=Sampling())
    return {
        "load_s": took,
        "before": before,
        "loading": loading,
        "stays": stays,
        "rendering": peak.bytes(),
        "host": host,
        "file": sum(path.stat().st_size for path in folder.glob("*.safetensors")),
    }


@click.command()
@click.option("--size", "sizes", multiple=True, type=click.Choice(SIZES), default=["starter"])
@click.option("--device", default="auto", show_default=True)
@click.option("--dtype", default="auto", show_default=True)
@click.option("--seconds", default=30.0, show_default=True, help="How much is rendered.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where checkpoints are kept; a temporary folder.")
@click.option(_CHILD, "child", type=click.Path(path_type=Path), hidden=True)
def main(
    sizes: tuple[str, ...], device: str, dtype: str, seconds: float, folder: Path | None, child: Path | None
) -> None:
    """Print the table."""
    if child is not None:
        click.echo(json.dumps(measure(child, device, dtype, seconds)))
        return
    from checkpoints import CHECKPOINTS, checkpoint

    click.echo(f"GB at most, {seconds:g} s rendered, one take with guidance; {device}, {dtype}")
    for size in sizes:
        path = checkpoint(size, folder or CHECKPOINTS)
        command = [sys.executable, __file__, _CHILD, str(path)]
        command += ["--device", device, "--dtype", dtype, "--seconds", str(seconds)]
        told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        gb = {name: value / 1e9 for name, value in told.items()}
        loading, stays, rendering = (gb[name] - gb["before"] for name in ("loading", "stays", "rendering"))
        click.echo(
            f"{size}: file {gb['file']:.2f}; loads in {told['load_s']:.1f} s with {loading:.2f}, then holds {stays:.2f}"
            f"; renders with {rendering:.2f}; of the machine's own memory the process holds {gb['host']:.2f}"
        )


if __name__ == "__main__":
    main()
