"""Draws the page's pictures anew, as a real daemon serves it: python docs/panel_pictures.py (with Chromium)."""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from musicgen_bridge.client import Bridge, Rendered

HERE = Path(__file__).parent
TAKES = ("drums: dusty boom-bap break; bass: deep round sub", "warm Rhodes chords, lazy", "muted trumpet, smoky solo")
PICTURES = (
    ("panel-dark", "dark", 1360, 1130),
    ("panel-light", "light", 1360, 1130),
    ("panel-narrow", "dark", 400, 900),
)
FOLDED = "for (const one of document.querySelectorAll('.more, .take:nth-child(3) .cut')) one.open = arguments[0];"
TO_END = "document.querySelector('.fields').scrollTo(0, 9999);"


def free_port() -> int:
    """Return a port that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def render(port: int) -> list[Rendered]:
    """Return stems that go together."""
    with Bridge.connect(port=port, timeout=60) as bridge:
        bridge.request("/musicgen/session", {"bpm": 92.0, "key": "A minor"})
        parts, *words = TAKES
        asked: list[dict[str, Any]] = [{"parts": parts}, *({"prompt": prompt} for prompt in words)]
        return [stem for one in asked for stem in bridge.render({**one, "bars": 2.0, "seed": 7})]


def browse(url: str, melody: Path, profile: str) -> webdriver.Chrome:
    """Return a browser with the page open, a recording chosen, three takes that play, and one more under way."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "hide-scrollbars",
        "autoplay-policy=no-user-gesture-required",
    ):
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={profile}")
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    driver.set_window_size(1360, 1000)
    driver.get(url)
    until(driver, "return document.querySelectorAll('.take.drawn').length >= 3")
    driver.find_element(By.ID, "file").send_keys(str(melody))
    until(driver, "return document.getElementById('chroma').hasAttribute('aria-label')")
    driver.find_element(By.ID, "prompt").send_keys("solo violin over the break, legato")
    _, rhodes, bass, drums = driver.find_elements(By.CSS_SELECTOR, ".take")
    for card, button in ((drums, "play"), (bass, "a"), (rhodes, "b")):
        card.find_element(By.CSS_SELECTOR, f".{button}").click()
    driver.find_element(By.ID, "bars").clear()
    driver.find_element(By.ID, "bars").send_keys("32")
    driver.find_element(By.ID, "render").click()
    until(driver, "return document.getElementById('queue').textContent.includes('to go')")
    return driver


def until(driver: webdriver.Chrome, script: str) -> None:
    """Wait until a script says true."""
    for _ in range(600):
        if driver.execute_script(script):
            return
        time.sleep(0.1)
    sys.exit(f"still not so: {script}")


def main() -> None:
    """Start a daemon, and draw the page in the dark, in the light, and in a narrow window."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as profile:
        song = Path(folder, "my-song")
        song.mkdir()
        port, panel = free_port(), free_port()
        where = ("--port", str(port), "--panel", "--panel-port", str(panel), "--state", str(Path(folder, "state")))
        command = [sys.executable, "-m", "musicgen_bridge.cli", "start", *where, "--root", folder]
        daemon = subprocess.Popen([*command, "--project", str(song), "--midi", "off"], stdout=subprocess.PIPE)
        try:
            assert daemon.stdout is not None and b"ready" in daemon.stdout.readline()
            melody = Path(folder, "humming.wav")
            melody.write_bytes(Path(render(port)[-1].path).read_bytes())
            driver = browse(f"http://127.0.0.1:{panel}/", melody, profile)
            for name, scheme, width, height in PICTURES:
                features = [{"name": "prefers-color-scheme", "value": scheme}]
                driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
                driver.set_window_size(width, height)
                driver.execute_script(FOLDED + TO_END, name == "panel-light")
                time.sleep(2)
                driver.save_screenshot(str(HERE / f"{name}.png"))
            driver.quit()
        finally:
            daemon.kill()
            daemon.wait()


if __name__ == "__main__":
    main()
