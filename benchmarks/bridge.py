"""What a musician waits for, on a real daemon: time to ready, ping while it renders, request to stem, cancel to free.

uv run python benchmarks/bridge.py [--bars 4] [--bpm 126.5] [--device auto] [--repeat 3]
"""

from __future__ import annotations

import argparse
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from musicgen_bridge.client import Bridge
from musicgen_bridge.errors import BridgeError


@contextmanager
def daemon(folder: Path, device: str) -> Iterator[tuple[int, float]]:
    """Run a daemon on the starter model; yield its port and the seconds from its start to its ready line."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "musicgen_bridge.cli", "start", "--port", str(port), "--project", str(folder)]
    began = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--state", str(folder / "state"), "--device", device], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    took = time.perf_counter() - began
    if "ready" not in line:
        sys.exit("the daemon did not come up")
    try:
        yield port, took
    finally:
        process.terminate()
        process.wait(60)


def pings(bridge: Bridge, busy: threading.Thread) -> list[float]:
    """Return the milliseconds of each ping until the thread ends."""
    took = []
    while busy.is_alive():
        began = time.perf_counter()
        bridge.request("/musicgen/ping")
        took.append(1e3 * (time.perf_counter() - began))
        time.sleep(0.01)
    return took


def cancel_ms(port: int) -> float:
    """Return the milliseconds from a cancel, in the midst of generating, to the job's end."""
    with Bridge.connect(port=port) as bridge:
        rid, asked = bridge.new_id(), 0.0
        try:
            for reply in bridge.replies(
                rid, "/musicgen/render", {"prompt": "pad", "seconds": 60.0, "seed": 1}, patience=60
            ):
                if not asked and reply.address == "/musicgen/progress" and float(str(reply.arguments[2])) > 0.05:
                    asked = time.perf_counter()
                    bridge.send(bridge.new_id(), "/musicgen/cancel", {"target": rid})
        except BridgeError as error:
            if error.code != "E_CANCELLED":
                raise
    return 1e3 * (time.perf_counter() - asked)


def start_ms(*arguments: str) -> float:
    """Return the median milliseconds that Python takes with these arguments, from its start to its end."""
    took = []
    for _ in range(11):
        began = time.perf_counter()
        subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
        took.append(1e3 * (time.perf_counter() - began))
    return statistics.median(took)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bars", type=float, default=4)
    parser.add_argument("--bpm", type=float, default=126.5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    asked = {"prompt": "techno drum loop", "bars": options.bars, "bpm": options.bpm}
    with tempfile.TemporaryDirectory() as folder, daemon(Path(folder), options.device) as (port, ready_s):
        took, pinged = [], []
        for seed in range(options.repeat):
            with Bridge.connect(port=port) as renderer, Bridge.connect(port=port) as pinger:
                began = time.perf_counter()
                busy = threading.Thread(target=renderer.render, args=({**asked, "seed": seed},))
                busy.start()
                pinged += pings(pinger, busy)
                busy.join()
                took.append(time.perf_counter() - began)
        cancels = [cancel_ms(port) for _ in range(options.repeat)]
        bare = start_ms("-c", "pass")
        command = ("-m", "musicgen_bridge.cli")
        help_ms = start_ms(*command, "--help") - bare
        send_ms = start_ms(*command, "send", "/musicgen/ping", "--port", str(port)) - bare
    seconds = options.bars * 4 * 60 / options.bpm
    pinged.sort()
    print(f"{platform.machine()}, Python {platform.python_version()}, torch {version('torch')}, starter model")
    print(f"time to ready                          {ready_s:8.1f} s")
    print(f"request to stem, {options.bars:g} bars ({seconds:.1f} s), median {statistics.median(took):8.2f} s")
    print(f"  the same, times real time            {seconds / statistics.median(took):8.2f}")
    print(f"ping while it renders, p50             {statistics.median(pinged):8.2f} ms  ({len(pinged)} pings)")
    print(f"ping while it renders, p99             {pinged[int(0.99 * (len(pinged) - 1))]:8.2f} ms")
    print(f"cancel to the job's end, worst         {max(cancels):8.1f} ms")
    print(f"--help, beyond Python's own start      {help_ms:8.0f} ms")
    print(f"send, beyond Python's own start        {send_ms:8.0f} ms")


if __name__ == "__main__":
    main()
