"""The page in a headless Chromium, as the tests drive it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.conftest import PATIENCE_S

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
FLAGS = (
    "headless=new",
    "no-sandbox",
    "disable-gpu",
    "disable-dev-shm-usage",
    "disable-quic",
    "no-first-run",
    "disable-background-networking",
    "disable-component-update",
    "disable-sync",
    "use-fake-device-for-media-stream",
    "use-fake-ui-for-media-stream",
    "window-size=1360,1000",
)


class Page:
    """The page that a port serves; `daemon` is whose it is, for tests that look there too."""

    def __init__(self, driver: webdriver.Chrome, daemon: Any, port: int) -> None:
        self.driver, self.daemon, self.url = driver, daemon, f"http://127.0.0.1:{port}/"

    @staticmethod
    def browser(profile: Path) -> webdriver.Chrome:
        """Start Chromium with a profile of its own, a microphone that beeps, and nobody to ask for leave."""
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in (*FLAGS, f"user-data-dir={profile}"):
            options.add_argument(f"--{flag}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        driver.set_script_timeout(PATIENCE_S)
        return driver

    def open(self) -> None:
        """Load it and wait until it has heard from the daemon."""
        self.driver.get(self.url)
        self.until(lambda: self.js("return performance.getEntriesByName('ready').length"))

    def js(self, script: str, *given: Any) -> Any:
        """Run a script; with `await` in it, what it returns last."""
        if "await " not in script:
            return self.driver.execute_script(script, *given)
        wrapped = f"const done = arguments[arguments.length - 1]; (async (...given) => {{ {script} }})(...arguments)"
        said = self.driver.execute_async_script(f"{wrapped}.then((v) => done([v]), (e) => done(String(e)))", *given)
        assert isinstance(said, list), said
        return said[0]

    def __getitem__(self, name: str) -> WebElement:
        return self.driver.find_element(By.ID, name)

    def all(self, selector: str, within: WebElement | None = None) -> list[WebElement]:
        return (within or self.driver).find_elements(By.CSS_SELECTOR, selector)

    def until(self, true: Callable[[], Any]) -> Any:
        """Wait until something holds, and return it."""
        end = time.monotonic() + PATIENCE_S
        while not (found := true()):
            assert time.monotonic() < end, f"still not so; the page says: {self['trouble'].text or self['said'].text}"
            time.sleep(0.05)
        return found

    def write(self, name: str, text: object) -> None:
        """Put a text into a field in place of what stands there."""
        self[name].clear()
        self[name].send_keys(str(text))

    def take(self, path: Path | str) -> WebElement:
        """Return the card of a take, once it is there and drawn."""
        chosen = f'.take.drawn[data-path="{path}"]'
        self.until(
            lambda: self.all(chosen) or self.js("document.querySelector(arguments[0])?.scrollIntoView()", chosen)
        )
        return self.all(chosen)[0]

    @staticmethod
    def name_of(element: WebElement) -> str:
        """Return what a failure says of an element."""
        return f"{element.tag_name} {element.get_attribute('id') or element.accessible_name or element.text}"

    def press(self, card: WebElement, label: str) -> None:
        """Press a button of a card."""
        (found,) = [button for button in self.all("button", card) if button.text == label]
        found.click()

    def chosen(self) -> str:
        """Return the name of the recording that is chosen, once its picture is drawn."""
        self.until(lambda: self["chosen"].is_displayed() and self["chroma"].get_attribute("aria-label"))
        return self["chosen-name"].text

    def complaints(self) -> list[str]:
        """Return what the browser's console says of errors: scripts that broke, or what the policy forbids."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if entry["level"] == "SEVERE" and "Failed to load resource" not in entry["message"]
        ]
