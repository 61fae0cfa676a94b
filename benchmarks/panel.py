"""How long the local page takes to load, cold: a real daemon, and each time a Chromium that has never seen the page.

uv run python benchmarks/panel.py [--repeat 5] [--chromium /usr/bin/chromium] [--driver /usr/bin/chromedriver]
"""

from __future__ import annotations

import argparse
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

FLAGS = ("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking")
TOLD = """
const { loadEventEnd, transferSize } = performance.getEntriesByType("navigation")[0];
const [ready] = performance.getEntriesByName("ready");
const bytes = performance.getEntriesByType("resource").reduce((sum, one) => sum + one.transferSize, transferSize);
return ready && [loadEventEnd, ready.startTime, bytes];
"""


def free_port() -> int:
    """Return a port that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def page(folder: Path) -> Iterator[str]:
    """Run a daemon on the starter model, idle; yield its page's address."""
    port = free_port()
    command = [sys.executable, "-m", "musicgen_bridge.cli", "start", "--panel", "--panel-port", str(port)]
    flags = ["--port", str(free_port()), "--project", str(folder), "--state", str(folder / "state"), "--device", "cpu"]
    process = subprocess.Popen([*command, *flags, "--midi", "off"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    if "ready" not in process.stdout.readline():
        sys.exit("the daemon did not come up")
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(60)


def load(url: str, chromium: str, driver: str) -> tuple[float, float, int]:
    """Return milliseconds to the load event and to the daemon's answers in the page, and bytes, in a new browser."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for flag in (*FLAGS, f"user-data-dir={profile}"):
            options.add_argument(f"--{flag}")
        with webdriver.Chrome(options=options, service=Service(driver)) as browser:
            time.sleep(1)  # its own start is not the page's
            browser.get(url)
            while not (told := browser.execute_script(TOLD)):
                time.sleep(0.02)
    return tuple(told)


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--driver", default="/usr/bin/chromedriver")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, page(Path(folder)) as url:
        loads = [load(url, given.chromium, given.driver) for _ in range(given.repeat)]
    shown, ready, sizes = zip(*loads, strict=True)
    for what, values in (("load event", shown), ("answers of the daemon shown", ready)):
        print(f"{what}: {statistics.median(values):.0f} ms (from {min(values):.0f} to {max(values):.0f})")
    print(f"{sizes[0] / 1000:.0f} kB, {given.repeat} loads, each in a new browser")


if __name__ == "__main__":
    main()
